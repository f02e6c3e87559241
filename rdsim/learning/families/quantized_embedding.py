r"""Float embeddings of items stored at a few bits, and queries compared with what is stored.

An item's embedding g(y) is replaced by its nearest codeword v_u, of k-means or of a product
quantizer; the query keeps its own embedding (asymmetric comparison):

$$u = \arg\min_u |g(y) - v_u|^2, \quad s(x, u) = \langle f(x), v_u \rangle \text{ or } -|f(x) - v_u|^2.$$
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.codes.distances import training_items
from rdsim.codes.quantizers.product import product_quantizer
from rdsim.codes.quantizers.vector import vector_quantizer
from rdsim.learning.families.embedded import embedded_code, embedding, module_method
from rdsim.learning.families.pairs import check_fit, fitted_models, item_pairs
from rdsim.learning.training.loop import Schedule
from rdsim.simulation.coded_items import Decoder
from rdsim.sources.mixture import GaussianMixtureSource
from rdsim.transformations import on_host

QUANTIZERS: Final = ("k-means", "product")
COMPARISONS: Final = ("inner product", "distance")


@on_host
def quantize_embeddings(key: Key[Array, ""], embeddings: Any, bits: Any, quantizer: str) -> Any:
    """Fit a quantizer of b bits to embeddings.

    Args:
        key: PRNG key of the starts.
        embeddings: shape (N, e).
        bits: b, 1 to 12.
        quantizer: "k-means" of 2^b words; or "product", whose blocks are as many as the least
            factor of b above one, of as many bits each.

    Returns:
        An `ItemCode` of embeddings, with 2^b codewords.

    Raises:
        ValueError: if an argument is out of range, or there are fewer coordinates than blocks.
        TypeError: if the key is not a typed key, or bits no integer.

    """
    validation.prng_key("key", key)
    embeddings = training_items(embeddings, "embeddings")
    number = validation.integer("bits", bits, low=1, high=12)
    if known_quantizer(quantizer) == "k-means":
        return vector_quantizer(key, embeddings, 2**number, starts=2)
    blocks = next((factor for factor in range(2, number + 1) if number % factor == 0), 1)
    return product_quantizer(
        key,
        embeddings,
        subspaces=blocks,
        codebook_size=2 ** (number // blocks),
        rotate=True,
        starts=2,
    )


def known_quantizer(quantizer: Any) -> Any:
    """Check the name of a quantizer.

    Raises:
        ValueError: if there is none of that name.

    """
    if quantizer not in QUANTIZERS:
        raise ValueError(f"quantizer must be one of {QUANTIZERS}, got {quantizer!r}")
    return quantizer


@on_host
def quantized_system(
    key: Key[Array, ""],
    embed_items: tuple[Callable[[Any, Array], Array], Any],
    embed_queries: tuple[Callable[[Any, Array], Array], Any],
    items: Any,
    bits: Any,
    quantizer: str = "k-means",
    comparison: str = "inner product",
) -> tuple[Any, Decoder]:
    """Store items as quantized embeddings, and compare queries with the codewords.

    Args:
        key: PRNG key of the quantizer's starts.
        embed_items: pure, hashable function (parameters, items (N, d)) -> (N, e), and parameters.
        embed_queries: the same of the queries of one item, (K, d) -> (e,).
        items: to which the quantizer is fitted, shape (N, d).
        bits: of an item, 1 to 12.
        quantizer: "k-means" or "product".
        comparison: "inner product" or "distance".

    Returns:
        The code and its decoder, for `operating_point`.

    Raises:
        ValueError: if an argument is out of range.
        TypeError: if the key is not a typed key, or bits no integer.

    """
    if comparison not in COMPARISONS:
        raise ValueError(f"comparison must be one of {COMPARISONS}, got {comparison!r}")
    function, parameters = embedding("embed_items", embed_items)
    embedding("embed_queries", embed_queries)
    embeddings = jnp.asarray(function(parameters, training_items(items)), float)
    inner = quantize_embeddings(key, embeddings, bits, quantizer)
    scores = Comparison(embed_queries[0], comparison == "distance")
    return (
        embedded_code(function, parameters, inner, items),
        Decoder(scores, (embed_queries[1], inner.codewords)),
    )


@on_host
def quantized_systems(
    key: Key[Array, ""],
    model: Any,
    items: Any,
    bits: tuple[int, ...],
    quantizer: str = "k-means",
    comparison: str = "inner product",
) -> list[tuple[Any, Decoder]]:
    """Store the items of a module's `embed_items`, for its `embed_queries`, at several rates.

    Args:
        key: PRNG key of the quantizers' starts.
        model: module with `embed_items` and `embed_queries`.
        items: to which the quantizers are fitted, shape (N, d).
        bits: of an item, one system each.
        quantizer: "k-means" or "product".
        comparison: "inner product" or "distance".

    Returns:
        A code and its decoder for each number of bits.

    Raises:
        ValueError: if an argument is out of range.
        TypeError: if the key is not a typed key, or bits no integers.

    """
    bits = validation.integers("bits", bits, low=1, high=12)
    validation.prng_key("key", key)
    ways = (module_method(model, name) for name in ("embed_items", "embed_queries"))
    to_items, to_queries = ways
    return [
        quantized_system(
            jax.random.fold_in(key, b), to_items, to_queries, items, b, quantizer, comparison
        )
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
        """Score; parameters are those of the module, and the stored embeddings (K, e)."""
        inner, stored = parameters
        model = nnx.merge(self.graph, inner)
        return jnp.asarray(model.compare(queries[None], stored)[0], float)


def stored_systems(
    key: Key[Array, ""], model: Any, items: Any, bits: tuple[int, ...]
) -> list[tuple[Any, Decoder]]:
    """Store the items of a module's `embed_items` by k-means, scored by its `compare`.

    Args:
        key: PRNG key of the quantizers' starts.
        model: module with `embed_items` (N, d) -> (N, e), and `compare` of queries (N, K, d) with
            stored embeddings (M, e) -> (N, M).
        items: to which the quantizers are fitted, shape (N, d).
        bits: of an item, 1 to 12, one system each.

    Returns:
        A code and its decoder for each number of bits.

    Raises:
        ValueError: if bits or items are out of range.
        TypeError: if bits are no integers, or the key is not a typed key.

    """
    bits = validation.integers("bits", bits, low=1, high=12)
    embed, parameters = module_method(model, "embed_items")
    embeddings = jnp.asarray(embed(parameters, jnp.asarray(items)), float)
    systems = []
    for b in bits:
        words = quantize_embeddings(jax.random.fold_in(key, b), embeddings, b, "k-means")
        rule = Decoder(StoredScores(embed.graph), (parameters, words.codewords))
        systems.append((embedded_code(embed, parameters, words, items), rule))
    return systems


def fit_stored_systems(
    key: Key[Array, ""],
    source: GaussianMixtureSource,
    bits: tuple[int, ...],
    schedule: Schedule,
    training: int,
    learner: Callable[..., Any],
    setting: float = 0.0,
) -> list[tuple[Any, Decoder]]:
    """Draw pairs of a source, train on them, and store the items: `stored_systems` from the start.

    Args:
        key: PRNG key.
        source: to draw pairs from.
        bits: of an item, 1 to 12, one system each.
        schedule: how to train.
        training: number of training pairs.
        learner: makes the learner, of modules for `stored_systems`, given `modalities`, K of a
            query, and `size`, d of an item and of each modality.
        setting: of the runs, for the learner's loss.

    Returns:
        A code and its decoder for each number of bits.

    Raises:
        ValueError: if bits or a number are out of range.
        TypeError: if bits are no integers, or the key is not a typed key.

    """
    bits = check_fit(key, source, bits, schedule, training)
    data_key, train_key, code_key = jax.random.split(key, 3)
    data = item_pairs(data_key, source, training)
    _, modalities, size = data.sample[0].shape
    made = learner(modalities=modalities, size=size)
    (model,) = fitted_models(train_key, made, data, schedule, (setting,))
    return stored_systems(code_key, model, data.sample[1], bits)
