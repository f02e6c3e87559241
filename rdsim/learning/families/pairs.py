"""Training pairs of a mixture source, drawn once, and the best of a few runs on them."""

from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from rdsim import validation
from rdsim.learning.training.loop import train
from rdsim.learning.training.schedule import Schedule, checked_schedule
from rdsim.simulation.coded_items import Decoder
from rdsim.sources.mixture import GaussianMixtureSource
from rdsim.transformations import on_host

BATCH: Final = 256
"""Pairs in a step."""
STARTS: Final = 2
"""Runs from other first parameters; the best on held-out pairs is kept."""

Triples = tuple[Float[Array, "n m d"], Float[Array, "n d"], Int[Array, " n"]]
"""Queries, items and classes."""

System = tuple[Any, Decoder]
"""A code of items, an `ItemCode`, and the decoder that scores its codewords for a query."""


class ItemPairs(NamedTuple):
    """A sample to learn from.

    Attributes:
        sample: (queries (N, K, d), items (N, d), classes (N,)) that steps draw from.
        held_out: the same of pairs that no step sees.

    """

    sample: Triples
    held_out: Triples

    @property
    def modalities(self) -> int:
        """Query modalities K of an item."""
        return int(self.sample[0].shape[1])

    @property
    def query_size(self) -> int:
        """Numbers in the queries of an item."""
        return int(np.prod(self.sample[0].shape[1:]))

    @property
    def item_size(self) -> int:
        """Numbers in an item."""
        return int(self.sample[1].shape[1])


def item_pairs(
    key: Key[Array, ""], source: GaussianMixtureSource, training: Any, *, held_out: Any = BATCH
) -> ItemPairs:
    """Draw training pairs and held-out pairs of a source.

    Args:
        key: PRNG key.
        source: distribution of items, queries and classes.
        training: number of training pairs, at least 2.
        held_out: number of held-out pairs, at least 2.

    Returns:
        The pairs.

    """
    validation.prng_key("key", key)
    validation.instance("source", source, GaussianMixtureSource)
    number = validation.integer("training", training, low=2)
    aside = validation.integer("held_out", held_out, low=2)
    sample_key, held_key = jax.random.split(key)
    return ItemPairs(source.sample(sample_key, (number,)), source.sample(held_key, (aside,)))


def draw_batch(
    key: Key[Array, ""], sample: Triples
) -> tuple[Float[Array, "b m d"], Float[Array, "b d"], Int[Array, " b"]]:
    """Draw a batch of the sample, with repetitions."""
    validation.prng_key("key", key)
    if not isinstance(sample, list | tuple) or len(sample) != 3:
        raise TypeError(f"sample must be (queries, items, classes), got {type(sample)}")
    chosen = jax.random.randint(key, (BATCH,), 0, sample[1].shape[0])
    queries, items, classes = sample
    return queries[chosen], items[chosen], classes[chosen]


@on_host
def fitted_models(
    key: Key[Array, ""],
    learner: Any,
    data: ItemPairs,
    schedule: Schedule,
    *,
    settings: Any = (0.0,),
    starts: int = STARTS,
) -> list[Any]:
    """Train a learner from a few starts at each setting, all side by side, and keep the best.

    Args:
        key: PRNG key.
        learner: a `Learner` of batches (queries, items, classes).
        data: the pairs.
        schedule: how to train.
        settings: one number for each model wanted.
        starts: runs of each setting.

    Returns:
        A module for each setting, the best of its starts on held-out pairs.

    """
    checked_schedule(schedule)
    validation.instance("data", data, ItemPairs)
    validation.integer("starts", starts, low=1)
    wanted = validation.not_empty("settings", validation.coordinates("settings", settings, ndim=1))
    wanted = wanted.astype(jnp.float32)
    runs = jnp.repeat(wanted, starts)
    trained = train(key, learner, draw_batch, data.sample, data.held_out, runs, schedule=schedule)
    losses = np.nanmin(trained.held_out, axis=1).reshape(-1, starts)
    return [
        trained.model(row * starts + int(best)) for row, best in enumerate(losses.argmin(axis=1))
    ]
