"""Training pairs, drawn once from a source or given as arrays, and the best of a few runs on them."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from rdsim import validation
from rdsim.learning.training.batches import RowBatch
from rdsim.learning.training.learner import Learner
from rdsim.learning.training.loop import train
from rdsim.learning.training.networks import Architecture, architecture
from rdsim.learning.training.schedule import Schedule, checked_schedule
from rdsim.number_types import ArrayLike, Integer
from rdsim.simulation.coded_items import Decoder
from rdsim.sources import GaussianSource
from rdsim.sources.mixture import GaussianMixtureSource
from rdsim.transformations import on_host

BATCH: Final = 256
"""Pairs in a batch."""
draw_batch: Final = RowBatch(BATCH)
"""Draws a batch of a sample of `Triples`."""
STARTS: Final = 2
"""Runs from other first parameters; the best on held-out pairs is kept."""

Triples = tuple[Float[Array, "n m q"], Float[Array, "n d"], Int[Array, " n"]]
"""Queries, items and classes; a class of -1 is unknown."""

Source = GaussianMixtureSource | GaussianSource
"""A source from which pairs can be drawn."""

System = tuple[Any, Decoder]
"""A code of items, an `ItemCode`, and the decoder that scores its codewords for a query."""


class ItemPairs(NamedTuple):
    """A training sample.

    Attributes:
        sample: (queries (N, K, d_x), items (N, d_y), classes (N,)) that steps draw from.
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
    def modality_size(self) -> int:
        """Dimension of one query modality."""
        return int(self.sample[0].shape[2])

    @property
    def output_size(self) -> int:
        """Coordinates of learned outputs of any length: as many as an item has, 4 to 64."""
        return max(4, min(64, self.item_size))

    @property
    def embedding_size(self) -> int:
        """Coordinates of embeddings of unit length: as many as an item has, 8 to 64."""
        return max(8, min(64, self.item_size))

    @property
    def hidden(self) -> tuple[int, int]:
        """Widths of the hidden layers of encoders: four times the embedding's, 32 to 256."""
        return (4 * self.embedding_size,) * 2

    @property
    def item_size(self) -> int:
        """Dimension of an item."""
        return int(self.sample[1].shape[1])

    def encoders(self, module: Callable[..., nnx.Module], **sizes: Any) -> Architecture:
        """Say how a module of two encoders is built for these pairs; given sizes come before the usual ones."""
        usual = {
            "query_size": self.query_size,
            "item_size": self.item_size,
            "hidden": self.hidden,
            "dimension": self.embedding_size,
        }
        return architecture(module, **usual | sizes)

    def of_modalities(self, module: Callable[..., nnx.Module], **sizes: Any) -> Architecture:
        """Say how a module that reads the modalities apart is built for these pairs, with these sizes besides."""
        return architecture(
            module,
            modalities=self.modalities,
            size=self.modality_size,
            item_size=self.item_size,
            **sizes,
        )


def item_pairs(
    key: Key[Array, ""], source: Source, training: Integer, *, held_out: Integer = BATCH
) -> ItemPairs:
    """Draw training pairs and held-out pairs of a source.

    Args:
        key: PRNG key.
        source: distribution of items, queries and classes: a Gaussian mixture, or Gaussian pairs of any
            dimension, which have one query modality and one class.
        training: number of training pairs, at least 2.
        held_out: number of held-out pairs, at least 2.

    Returns:
        The pairs.

    """
    validation.prng_key("key", key)
    validation.instance("source", source, GaussianMixtureSource, GaussianSource)
    number = validation.integer("training", training, low=2)
    aside = validation.integer("held_out", held_out, low=2)
    sample_key, held_key = jax.random.split(key)
    return ItemPairs(drawn(sample_key, source, number), drawn(held_key, source, aside))


def drawn(key: Key[Array, ""], source: Source, number: int) -> Triples:
    """Draw queries (N, K, d_x), items (N, d_y) and classes of a source."""
    if isinstance(source, GaussianMixtureSource):
        return source.sample(key, (number,))
    x, y = source.sample(key, (number,))
    return x[:, None], y, jnp.zeros(number, int)


@on_host
def array_pairs(
    key: Key[Array, ""],
    queries: ArrayLike,
    items: ArrayLike,
    *,
    classes: ArrayLike | None = None,
    held_out: Integer = BATCH,
) -> ItemPairs:
    """Take pairs from arrays, and keep some of them, chosen at random, for early stopping.

    Networks expect coordinates of about unit variance, and are given them as they are.

    Args:
        key: PRNG key of the choice.
        queries: of one modality, shape (N, d_x), or of K, shape (N, K, d_x).
        items: shape (N, d_y); row i is the target of query i.
        classes: integers of shape (N,), -1 where unknown, for the families that use classes; None
            where all are unknown.
        held_out: number of pairs that no step sees, at least 2 and at most N - 2.

    Returns:
        The pairs.

    """
    validation.prng_key("key", key)
    x = np.asarray(validation.coordinates("queries", queries))
    y = np.asarray(validation.coordinates("items", items, ndim=2))
    x = x[:, None] if x.ndim == 2 else x
    if x.ndim != 3 or len(x) != len(y) or 0 in x.shape or 0 in y.shape:
        raise ValueError(
            "queries and items must have shapes (N, d_x) or (N, K, d_x), and (N, d_y), got "
            f"{np.shape(queries)} and {np.shape(items)}"
        )
    if len(y) < 4:
        raise ValueError(
            f"queries and items must be of four pairs at least, two of them held out, got {len(y)}"
        )
    given = np.full(len(y), -1) if classes is None else classes
    labels = validation.integer_array("classes", given)
    if labels.shape != (len(y),):
        raise ValueError(f"classes must have shape ({len(y)},), got {labels.shape}")
    validation.interval("classes", labels, low=-1.0)
    aside = validation.integer("held_out", held_out, low=2, high=len(y) - 2)
    order = validation.host_generator(key).permutation(len(y))

    def chosen(rows: np.ndarray) -> Triples:
        # jnp.asarray would compile a program for every shape.
        queries, items, classes = (jax.device_put(array[rows]) for array in (x, y, labels))
        return queries, items, classes

    return ItemPairs(chosen(order[aside:]), chosen(order[:aside]))


@on_host
def fitted_models(
    key: Key[Array, ""],
    learner: Learner,
    data: ItemPairs,
    schedule: Schedule,
    *,
    settings: ArrayLike = (0.0,),
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
    runs = np.repeat(np.asarray(wanted, np.float32), starts)
    trained = train(key, learner, draw_batch, data.sample, data.held_out, runs, schedule=schedule)
    losses = np.nanmin(trained.held_out, axis=1).reshape(-1, starts)
    return [
        trained.model(row * starts + int(best)) for row, best in enumerate(losses.argmin(axis=1))
    ]
