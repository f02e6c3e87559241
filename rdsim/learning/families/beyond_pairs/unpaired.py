r"""Unpaired translation with cycle consistency: queries and items as two sets, of which few pairs are known.

Two networks translate, $F$ a query into an item and $G$ an item into a query. What they make must be distributed like what
there is, and what is translated to and fro must come back:

$$\mathcal{E}(F(X), Y) + \mathcal{E}(G(Y), X) + \lambda \bigl(\mathbb{E}|G(F(X)) - X|^2 + \mathbb{E}|F(G(Y)) - Y|^2\bigr)
    + \mu\, \mathbb{E}[|F(X) - Y|^2 + |G(Y) - X|^2 \mid \text{known}].$$

$\mathcal{E}$ is the energy distance, which is zero for equal distributions alone. Without a known pair a translation
can be told from another one by the two distributions only: whatever map leaves that of the items as it is may be put behind F.
Of Gaussian pairs these are all rotations of the whitened items, so that few known pairs are what finds the right one.
Items are stored as they are, quantized, and ranked by their distance to the translated query.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.learning.families.cca import as_they_are
from rdsim.learning.families.pairs import ItemPairs, System, Triples, fitted_models
from rdsim.learning.families.stored.embedded_codes import module_method
from rdsim.learning.families.stored_embeddings import checked_bits, quantized_systems
from rdsim.learning.training.learner import LossAndRecord
from rdsim.learning.training.networks import MLP, architecture
from rdsim.learning.training.schedule import Schedule


class Translators(nnx.Module):
    """Networks from queries to items and back.

    Attributes:
        to_item: F, from all query modalities, one after the other.
        to_query: G.

    """

    def __init__(
        self,
        *,
        query_size: int,
        item_size: int,
        hidden: tuple[int, ...] = (32, 32),
        rngs: nnx.Rngs,
    ) -> None:
        """Make the networks for so many numbers in the queries of an item and in an item."""
        self.to_item = MLP((query_size, *hidden, item_size), rngs)
        self.to_query = MLP((item_size, *hidden, query_size), rngs)

    def embed_queries(self, queries: Float[Array, "... m d"]) -> Float[Array, "... e"]:
        """Translate the queries of items."""
        return self.to_item(jnp.asarray(queries).reshape(*queries.shape[:-2], -1))


def energy_distance(a: Float[Array, "n d"], b: Float[Array, "m d"]) -> Float[Array, ""]:
    r"""Energy distance of two samples, $2 E|A - B| - E|A - A'| - E|B - B'|$ over all pairs of points.

    References:
        Székely and Rizzo (2013), "Energy statistics: a class of statistics based on distances".

    """
    return 2 * _mean_distance(a, b) - _mean_distance(a, a) - _mean_distance(b, b)


def _mean_distance(a: Float[Array, "n d"], b: Float[Array, "m d"]) -> Float[Array, ""]:
    square = jnp.sum(a**2, axis=1)[:, None] + jnp.sum(b**2, axis=1) - 2 * a @ b.T
    # The gradient of a root is not finite at zero, the distance of a point from itself; the product
    # in float32 may leave it a little below.
    return jnp.mean(jnp.sqrt(jnp.maximum(square, 0.0) + 1e-6))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TranslationLearner:
    """Train `Translators`; a pair is known where its class is 1.

    Attributes:
        build: makes the translators.
        cycle: weight of what does not come back, per coordinate.
        known: weight of the errors of known pairs, per coordinate.

    References:
        Zhu, Park, Isola and Efros (2017), "Unpaired image-to-image translation using cycle-consistent
        adversarial networks", ICCV, with an energy distance in the place of discriminators.

    """

    build: Callable[[nnx.Rngs], Any]
    cycle: float = 1.0
    known: float = 1.0

    def loss(self, model: Any, batch: Any, *_: Any) -> LossAndRecord:
        """Loss of a batch (queries, items, known); records how far what is translated comes back from."""
        x = jnp.asarray(batch[0], jnp.float32).reshape(len(batch[0]), -1)
        y = jnp.asarray(batch[1], jnp.float32)
        to_item, to_query = model.to_item(x), model.to_query(y)
        alike = energy_distance(to_item, y) + energy_distance(to_query, x)
        back = jnp.mean((model.to_query(to_item) - x) ** 2)
        back += jnp.mean((model.to_item(to_query) - y) ** 2)
        each = jnp.mean((to_item - y) ** 2, axis=1) + jnp.mean((to_query - x) ** 2, axis=1)
        known = batch[2] == 1
        wrong = jnp.sum(jnp.where(known, each, 0.0)) / jnp.maximum(jnp.sum(known), 1)
        return alike + self.cycle * back + self.known * wrong, {"back": back}


def without_pairs(key: Key[Array, ""], triples: Triples, paired: float) -> Triples:
    """Shuffle the items of all pairs but the first so many, which alone have the class 1."""
    queries, items, _ = triples
    kept = round(paired * len(items))
    order = kept + jax.random.permutation(key, len(items) - kept)
    known = (jnp.arange(len(items)) < kept).astype(int)
    return queries, jnp.concatenate([items[:kept], items[order]]), known


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnpairedFamily:
    """Translate queries into items, and rank stored items by their distance to the translation.

    Attributes:
        paired: share of the training pairs that are known; of the others the training sees two sets.

    """

    paired: float = 0.125

    def __post_init__(self) -> None:
        validation.interval("paired", self.paired, low=0.0, high=1.0, ndim=0)

    def __call__(
        self, keys: Key[Array, " 3"], data: ItemPairs, bits: tuple[int, ...], schedule: Schedule
    ) -> list[System]:
        """Fit the systems, one for each number of bits."""
        checked_bits(bits, data.sample[1])
        learner = TranslationLearner(
            build=architecture(
                Translators,
                query_size=data.query_size,
                item_size=data.item_size,
                hidden=data.hidden,
            )
        )
        shuffled = ItemPairs(
            *(
                without_pairs(jax.random.fold_in(keys[2], part), triples, self.paired)
                for part, triples in enumerate(data)
            )
        )
        (model,) = fitted_models(keys[0], learner, shuffled, schedule)
        translated = module_method(model, "embed_queries")
        return quantized_systems(
            keys[1], (as_they_are, None), translated, data.sample[1], bits, comparison="distance"
        )
