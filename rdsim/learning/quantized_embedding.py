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
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.codes.product_quantizer import product_quantizer
from rdsim.codes.vector_quantizer import vector_quantizer
from rdsim.learning.embedded_code import embedded_code, module_method
from rdsim.simulation.item_code import Decoder

QUANTIZERS: Final = ("k-means", "product")
COMPARISONS: Final = ("inner product", "distance")


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
    number = validation.integer("bits", bits, low=1, high=12)
    if quantizer == "k-means":
        return vector_quantizer(key, embeddings, 2**number, starts=2)
    if quantizer != "product":
        raise ValueError(f"quantizer must be one of {QUANTIZERS}, got {quantizer!r}")
    blocks = next((factor for factor in range(2, number + 1) if number % factor == 0), 1)
    return product_quantizer(
        key, embeddings, blocks, 2 ** (number // blocks), rotate=True, starts=2
    )


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
    function, parameters = embed_items
    embeddings = jnp.asarray(function(parameters, jnp.asarray(items)), float)
    inner = quantize_embeddings(key, embeddings, bits, quantizer)
    scores = Comparison(embed_queries[0], comparison == "distance")
    return (
        embedded_code(function, parameters, inner, items),
        Decoder(scores, (embed_queries[1], inner.codewords)),
    )


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
