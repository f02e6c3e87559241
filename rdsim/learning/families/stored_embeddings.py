r"""Float embeddings of items stored at a few bits, and queries compared with what is stored.

An item's embedding g(y) is replaced by its nearest codeword v_u, of k-means or of a product
quantizer; the query keeps its own embedding (asymmetric comparison):

$$u = \arg\min_u |g(y) - v_u|^2, \quad s(x, u) = \langle f(x), v_u \rangle \text{ or } -|f(x) - v_u|^2.$$
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.codes.distances import distinct_rows, training_items
from rdsim.codes.quantizers.product_fits import (
    long_blocks,
    long_product_quantizer,
    product_quantizer,
)
from rdsim.codes.quantizers.vector import vector_quantizer
from rdsim.learning.families.pairs import ItemPairs, System, fitted_models
from rdsim.learning.families.stored.embedded_codes import (
    EmbeddedCode,
    embedded_code,
    embedded_items,
    embedding,
    module_method,
)
from rdsim.learning.families.stored.long_codes import MOST_LISTED_BITS, LongCode, ProductDigits
from rdsim.learning.training.schedule import Schedule
from rdsim.number_types import ArrayLike, Integer
from rdsim.simulation.coded_items import Decoder
from rdsim.sources.host_random import numbered_key
from rdsim.transformations import on_host

QUANTIZERS: Final = ("k-means", "product")
COMPARISONS: Final = ("inner product", "distance")


def quantize_embeddings(
    key: Key[Array, ""], embeddings: Float[Array, "n e"], bits: int, quantizer: str
) -> Any:
    """Fit a quantizer of b bits to embeddings.

    Args:
        key: PRNG key of the starts.
        embeddings: shape (N, e).
        bits: b, 1 to 12.
        quantizer: "k-means" of 2^b codewords; or "product", whose blocks are as many as the least
            factor of b above one, of as many bits each; of a long product quantizer, where these
            are more than coordinates.

    Returns:
        An `ItemCode` of embeddings, with 2^b codewords; where fewer embeddings are distinct, as those of items that
        occur several times, with a codeword for each of them.

    """
    checked_bits((bits,), embeddings, quantizer)
    blocks = _equal_blocks(bits) if quantizer == "product" else 1
    if blocks > embeddings.shape[1]:
        return long_product_quantizer(key, embeddings, bits)
    size = 2 ** (bits // blocks)
    distinct = distinct_rows(np.asarray(embeddings), size)
    if quantizer == "k-means" or distinct < size:
        return vector_quantizer(key, embeddings, min(size, distinct), starts=2)
    return product_quantizer(
        key,
        embeddings,
        subspaces=blocks,
        codebook_size=size,
        rotate=True,
        starts=2,
    )


def checked_bits(
    bits: tuple[int, ...],
    items: jax.ShapeDtypeStruct | Array,
    quantizer: str = "k-means",
    *,
    learner: Any = None,
) -> None:
    """Check that items can be stored in these numbers of bits, before anything is trained.

    K-means has no more codewords than items, and the blocks of a long product quantizer have a coordinate each.

    Args:
        bits: of an item.
        items: training items (N, d), of which the shape and the type are all that counts.
        quantizer: of up to 12 bits.
        learner: of the module whose `embed_items` is stored; None where the items themselves are.

    """
    count = items.shape[0]

    @functools.cache
    def coordinates() -> int:
        def stored(points: Array) -> Array:
            return points if learner is None else learner.build(nnx.Rngs(0)).embed_items(points)

        return int(jax.eval_shape(stored, items).shape[-1])

    for b in sorted(bits, reverse=True):
        listed = b <= MOST_LISTED_BITS
        if not listed or (quantizer == "product" and _equal_blocks(b) > coordinates()):
            long_blocks(b, count, coordinates())
        elif quantizer == "k-means" and 2**b > count:
            raise ValueError(
                f"bits must leave k-means at most one codeword for each of the {count} training items, "
                f"got {b} bits, {2**b} codewords: train on more pairs, or store in fewer bits or in more "
                f"than {MOST_LISTED_BITS}"
            )


def _equal_blocks(bits: int) -> int:
    """Least number of blocks above one that have as many bits each."""
    return next((factor for factor in range(2, bits + 1) if bits % factor == 0), 1)


@on_host
def quantized_system(
    key: Key[Array, ""],
    embed_items: tuple[Callable[[Any, Array], Array], Any],
    embed_queries: tuple[Callable[[Any, Array], Array], Any],
    items: ArrayLike,
    bits: Integer,
    *,
    quantizer: str = "k-means",
    comparison: str = "inner product",
) -> System:
    """Store items as quantized embeddings, and compare queries with the codewords.

    Args:
        key: PRNG key of the quantizer's starts.
        embed_items: pure, hashable function (parameters, items (N, d)) -> (N, e), and parameters.
        embed_queries: the same of the queries of one item, (K, d) -> (e,).
        items: to which the quantizer is fitted, shape (N, d).
        bits: of an item; beyond 12 the quantizer is a long product quantizer, whatever is asked for.
        quantizer: "k-means" or "product".
        comparison: "inner product" or "distance".

    Returns:
        The code and its decoder, for `operating_point`.

    """
    validation.choice("comparison", comparison, COMPARISONS)
    validation.choice("quantizer", quantizer, QUANTIZERS)
    embedding("embed_queries", embed_queries)
    code, codewords = _stored(key, embedding("embed_items", embed_items), items, bits, quantizer)
    scores = Comparison(embed_queries[0], comparison == "distance")
    return code, Decoder(scores, (embed_queries[1], *codewords))


def _stored(
    key: Key[Array, ""],
    embed_items: tuple[Callable[[Any, Array], Array], Any],
    items: ArrayLike,
    bits: Any,
    quantizer: str = "k-means",
) -> tuple[EmbeddedCode | LongCode, tuple[Array, ...]]:
    """Fit a code to embeddings of items; with its codewords, which a long code does not list."""
    embeddings = embedded_items(*embed_items, training_items(items))
    number = validation.integer("bits", bits, low=1)
    if number > MOST_LISTED_BITS:
        digits = ProductDigits(long_product_quantizer(key, embeddings, number))
        return LongCode(embed=embed_items[0], parameters=embed_items[1], digits=digits), ()
    inner = quantize_embeddings(key, embeddings, number, quantizer)
    return embedded_code(*embed_items, inner, items), (inner.codewords,)


def quantized_systems(
    key: Key[Array, ""],
    embed_items: tuple[Callable[[Any, Array], Array], Any],
    embed_queries: tuple[Callable[[Any, Array], Array], Any],
    items: ArrayLike,
    bits: tuple[int, ...],
    **options: str,
) -> list[System]:
    """Return a `quantized_system` for each number of bits, each with a key of its own."""
    return [
        quantized_system(numbered_key(key, b), embed_items, embed_queries, items, b, **options)
        for b in bits
    ]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Scores of codewords for the embedding of the queries, in float64.

    Attributes:
        embed: pure, hashable function (parameters, queries (K, d)) -> (e,).
        distance: whether minus squared distances are taken rather than inner products.

    """

    embed: Callable[[Any, Array], Array]
    distance: bool = False

    def __call__(self, parameters: Any, queries: Float[Array, "m d"]) -> Float[Array, " k"]:
        """Score the codewords; parameters are those of the embedding, and the codewords (k, e)."""
        inner, codewords = parameters
        query = jnp.asarray(self.embed(inner, queries), float)
        if self.distance:
            return -jnp.sum((query - codewords) ** 2, axis=-1)
        return codewords @ query


@dataclasses.dataclass(frozen=True)
class StoredScores:
    """Scores of stored embeddings by the `compare` of a module.

    Attributes:
        graph: structure of the module, from `nnx.split`.

    """

    graph: Any

    def __call__(self, parameters: Any, queries: Float[Array, "m d"]) -> Float[Array, " k"]:
        """Score; parameters are those of the module, and what is stored, mostly embeddings (K, e)."""
        inner, *stored = parameters
        return jnp.asarray(self.module(inner).compare(queries[None], *stored)[0], float)

    def module(self, parameters: Any) -> Any:
        """Module with these parameters."""
        return nnx.merge(self.graph, parameters)


@on_host
def stored_systems(
    key: Key[Array, ""], model: nnx.Module, items: ArrayLike, bits: tuple[int, ...]
) -> list[System]:
    """Store the items of a module's `embed_items` by k-means, scored by its `compare`.

    Args:
        key: PRNG key of the quantizers' starts.
        model: module with `embed_items` (N, d) -> (N, e), and `compare` of queries (N, K, d) with
            stored embeddings (M, e) -> (N, M).
        items: to which the quantizers are fitted, shape (N, d).
        bits: of an item, one system each; beyond 12 by a long product quantizer.

    Returns:
        A code and its decoder for each number of bits.

    """
    bits = validation.integers("bits", bits, low=1)
    validation.prng_key("key", key)
    if not (
        isinstance(model, nnx.Module)
        and hasattr(model, "embed_items")
        and hasattr(model, "compare")
    ):
        raise TypeError(
            f"model must be a module with the methods embed_items and compare, got {type(model)}"
        )
    embed, parameters = module_method(model, "embed_items")
    systems: list[System] = []
    for b in bits:
        code, codewords = _stored(numbered_key(key, b), (embed, parameters), items, b)
        rule = Decoder(StoredScores(embed.graph), (parameters, *codewords))
        systems.append((code, rule))
    return systems


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredFamily:
    """Train one module, and store items by k-means of its embeddings, scored by its `compare`.

    Attributes:
        learner: makes the learner from the pairs, of modules for `stored_systems`.
        setting: of the runs, for the learner's loss.

    """

    learner: Callable[[ItemPairs], Any]
    setting: float = 0.0

    def __post_init__(self) -> None:
        validation.function("learner", self.learner)
        validation.bounded("setting", self.setting, ndim=0)

    def __call__(
        self, keys: Key[Array, " 3"], data: ItemPairs, bits: tuple[int, ...], schedule: Schedule
    ) -> list[System]:
        """Fit the systems, one for each number of bits."""
        learner = self.learner(data)
        checked_bits(bits, data.sample[1], learner=learner)
        (model,) = fitted_models(keys[0], learner, data, schedule, settings=(self.setting,))
        return stored_systems(keys[1], model, data.sample[1], bits)
