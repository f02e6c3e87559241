r"""Random-hyperplane hashing: an item is stored as the signs of a few random projections.

$$b_j(y) = 1\{\langle a_j, y - c \rangle > 0\}, \quad a_j \sim N(0, I), \quad
    \text{index} = \sum_j b_j 2^{B-1-j}.$$

Practice compares the hash of the query with those of the items by Hamming distance. The codewords,
centroids of the cells on training items, serve scores that keep the query as it is.
"""

import dataclasses
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from rdsim import validation
from rdsim.codes.distances import indicator, training_items
from rdsim.codes.item_code import item_points
from rdsim.number_types import ArrayLike, Integer
from rdsim.results import result
from rdsim.transformations import on_host

MAX_BITS: Final = 16
"""Most bits a hash, so that its cells can be listed."""


@result
class HyperplaneHash:
    """A code that stores the signs of B projections of the centred item.

    Attributes:
        codewords: centroids of the cells, shape (2^B, d). An empty cell has the mean of the
            training items in the non-empty cells at the least Hamming distances.
        planes: normals a, shape (B, d).
        centre: c, the mean of the training items, shape (d,).
        masses: share of the training items in each cell, shape (2^B,).

    """

    codewords: Float[Array, "k d"]
    planes: Float[Array, "b d"]
    centre: Float[Array, " d"]
    masses: Float[Array, " k"]

    def hash(self, points: ArrayLike) -> Bool[Array, "n b"]:
        """Signs of the projections of items or queries of shape (N, d), shape (N, B).

        Raises:
            ValueError: if the points are not finite numbers of that shape.

        """
        return self._signs("points", points)

    def channel(self, items: ArrayLike) -> Float[Array, "n k"]:
        """Rows with a one at the item's cell, shape (N, 2^B)."""
        return indicator(self._indices("items", items), self.codewords.shape[0])

    def encode(self, key: Key[Array, ""], items: ArrayLike) -> Int[Array, " n"]:
        """Index of each item's cell, int32, shape (N,); the key goes unused.

        Raises:
            ValueError: if the items are not finite numbers of shape (N, d).

        """
        del key
        return self._indices("items", items)

    def hamming_scores(self, queries: ArrayLike, indices: ArrayLike) -> Int[Array, "q m"]:
        """Minus the Hamming distance between the queries' own hashes and those stored.

        Only items cost bits, so that this rounds the query for speed alone: scores by the codewords
        keep it as it is.

        Args:
            queries: shape (Q, d).
            indices: stored indices of the items, integers in [0, 2^B), shape (M,).

        Returns:
            Scores, int32, shape (Q, M); the nearest hash scores highest, and ties abound.

        Raises:
            ValueError: if queries are not finite numbers of that shape, or an index is out of
                range.
            TypeError: if indices are not integers.

        """
        stored = word_indices(indices, self.codewords.shape[0])
        return _hamming(self._indices("queries", queries), stored)

    def _signs(self, name: str, points: Any) -> Bool[Array, "n b"]:
        return _signs(self, item_points(points, self.centre.shape[0], name))

    def _indices(self, name: str, points: Any) -> Int[Array, " n"]:
        return _index(self._signs(name, points))


def word_indices(indices: ArrayLike, words: int) -> Int[Array, " m"]:
    """Check indices of codewords: integers in [0, words), shape (M,).

    Raises:
        ValueError: if one is out of range.
        TypeError: if they are not integers.

    """
    stored = validation.integer_array("indices", indices)
    validation.interval("indices", stored, low=0.0, high=words - 1.0, ndim=1)
    return jnp.asarray(stored, jnp.int32)


@on_host
@validation.needs_float64
def hyperplane_hashing(key: Key[Array, ""], items: ArrayLike, bits: Integer) -> HyperplaneHash:
    r"""Draw B random hyperplanes through the mean of the training items.

    In R^d they cut out far fewer than 2^B cells once B > d, at most $2 \sum_{i<d} \binom{B-1}{i}$:
    the other indices are never used.

    Args:
        key: PRNG key of the hyperplanes.
        items: training items, shape (N, d).
        bits: B, 1 to 16.

    Returns:
        The code, with $2^B$ codewords.

    Raises:
        ValueError: if an argument lies outside its range; the message names it.
        TypeError: if the key is not a typed key, or bits is not an integer.

    References:
        Charikar (2002), STOC; Cover (1965), IEEE Trans. Electron. Comput. 14(3), for the cells.

    """
    validation.prng_key("key", key)
    points = training_items(items)
    bits = validation.integer("bits", bits, low=1, high=MAX_BITS)
    dimension = points.shape[1]
    code = HyperplaneHash(
        codewords=jnp.zeros((1 << bits, dimension)),
        planes=jax.random.normal(key, (bits, dimension), float),
        centre=jnp.mean(points, axis=0),
        masses=jnp.zeros(1 << bits),
    )
    cells = np.asarray(_index(code.hash(points)))
    counts, codewords = _centroids(np.asarray(points), cells, bits)
    return dataclasses.replace(
        code, codewords=jnp.asarray(codewords), masses=jnp.asarray(counts / len(points))
    )


@jax.jit
def _signs(code: HyperplaneHash, points: Float[Array, "n d"]) -> Bool[Array, "n b"]:
    return (points - code.centre) @ code.planes.T > 0


@jax.jit
def _index(signs: Bool[Array, "n b"]) -> Int[Array, " n"]:
    weights = 1 << jnp.arange(signs.shape[1] - 1, -1, -1, dtype=jnp.int32)
    return jnp.sum(signs * weights, axis=1, dtype=jnp.int32)


@jax.jit
def _hamming(queries: Int[Array, " q"], stored: Int[Array, " m"]) -> Int[Array, "q m"]:
    return -jax.lax.population_count(queries[:, None] ^ stored)


def _centroids(points: np.ndarray, cells: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Items in each cell and their mean; an empty cell borrows from the nearest that are not."""
    words = 1 << bits
    counts = np.bincount(cells, minlength=words)
    sums = np.stack([np.bincount(cells, column, minlength=words) for column in points.T], axis=1)
    means = sums / np.maximum(counts, 1)[:, None]
    used = np.flatnonzero(counts)
    empty = np.flatnonzero(counts == 0)
    for block in np.array_split(empty, max(1, empty.size * used.size >> 22)):
        distance = np.bitwise_count(block[:, None] ^ used)
        near = distance == distance.min(axis=1, keepdims=True)
        means[block] = near @ sums[used] / (near @ counts[used])[:, None]
    return counts, means
