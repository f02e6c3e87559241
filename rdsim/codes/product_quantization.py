r"""Product quantization: blocks of coordinates, each with a small codebook of its own.

$$y' = A (y - c), \quad y' = (y'_1, \dots, y'_S), \quad
    \text{index} = \sum_s \arg\min_j |y'_s - u_{sj}|^2 \, W^{S-s},$$

so that $K = W^S$ codewords need only S W stored points. A is the identity, or a rotation onto the
principal axes of the training items, dealt out to the blocks so that their variances balance.
"""

import functools
import operator
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key
from scipy.cluster.vq import vq

from rdsim import validation
from rdsim.codes.distances import (
    distinct_rows,
    host_generator,
    indicator,
    nearest,
    squared_error,
    training_items,
)
from rdsim.codes.hashing import word_indices
from rdsim.codes.item_code import item_points
from rdsim.codes.vector_quantization import best_codebook
from rdsim.number_types import ArrayLike, Integer
from rdsim.results import result
from rdsim.transformations import on_host

MAX_WORDS: Final = 1 << 16
"""Most codewords, so that they can be listed."""
_TABLE_WORDS: Final = 1 << 10
"""Most words of blocks that share a table of distances: 8 KiB a query, which the cache holds."""


@result
class ProductQuantizer:
    """A code that quantizes blocks of (rotated) coordinates by themselves.

    Attributes:
        codebooks: of each block, S arrays of shape (W, d_s) in the rotated coordinates.
        rotation: A, shape (d, d), orthogonal.
        centre: c, shape (d,).
        distortion: mean squared error of the training items.
        converged: of each block, whether no item changed its cell any more: a local optimum.
        iterations: of each block, steps of the start that was kept.

    """

    codebooks: tuple[Float[Array, "w s"], ...]
    rotation: Float[Array, "d d"]
    centre: Float[Array, " d"]
    distortion: Float[Array, ""]
    converged: Bool[Array, " s"]
    iterations: Int[Array, " s"]

    @property
    def codewords(self) -> Float[Array, "k d"]:
        """Every combination of the blocks' words, shape (W^S, d), the last block fastest."""
        choice = _digits(jnp.arange(self._words), self._counts)
        parts = [book[choice[:, s]] for s, book in enumerate(self.codebooks)]
        return jnp.concatenate(parts, axis=1) @ self.rotation + self.centre

    @property
    def _counts(self) -> tuple[int, ...]:
        return tuple(book.shape[0] for book in self.codebooks)

    @property
    def _words(self) -> int:
        return int(np.prod(self._counts))

    def channel(self, items: ArrayLike) -> Float[Array, "n k"]:
        """Rows with a one at the codeword chosen, shape (N, K), for items of shape (N, d)."""
        return indicator(self._indices(items), self._words)

    def encode(self, key: Key[Array, ""], items: ArrayLike) -> Int[Array, " n"]:
        """Index of the codeword chosen for each item, int32, shape (N,); the key goes unused.

        Raises:
            ValueError: if the items are not finite numbers of shape (N, d).

        """
        del key
        return self._indices(items)

    def _indices(self, items: Any) -> Int[Array, " n"]:
        return _encode(self, item_points(items, self.centre.shape[0]))

    def asymmetric_distances(self, queries: ArrayLike, indices: ArrayLike) -> Float[Array, "q m"]:
        r"""Squared distances of queries, kept as they are, to stored items' codewords.

        $$|x - u|^2 = \sum_s |x'_s - u_{s j_s}|^2:$$

        a table of W numbers a block and query, or one for a few small blocks together, then one
        look-up a table and item.

        Args:
            queries: x, shape (Q, d).
            indices: stored indices of the items, integers in [0, K), shape (M,).

        Returns:
            Distances, shape (Q, M).

        Raises:
            ValueError: if queries are not finite numbers of that shape, or an index is out of
                range.
            TypeError: if indices are not integers.

        """
        points = item_points(queries, self.centre.shape[0], "queries")
        return _looked_up(*_tables(self, points, word_indices(indices, self._words)))


@on_host
@validation.needs_float64
def product_quantizer(
    key: Key[Array, ""],
    items: ArrayLike,
    *,
    subspaces: Integer,
    words: Integer,
    rotate: Any = False,
    starts: Integer = 4,
    iterations: Integer = 50,
) -> ProductQuantizer:
    r"""Fit a codebook of W words to each of S blocks of coordinates of the training items.

    Args:
        key: PRNG key of the starts.
        items: training items, shape (N, d).
        subspaces: S, 1 to d; the blocks' sizes differ by at most one.
        words: W in each block, $W^S \le 2^{16}$, at most the number of distinct items in a block.
        rotate: whether to rotate onto the principal axes first, each in turn given to the open
            block of the least product of variances.
        starts: of k-means, a block.
        iterations: most steps of k-means a start.

    Returns:
        The code, with $W^S$ codewords; a block that `converged` is at a local optimum.

    Raises:
        ValueError: if an argument lies outside its range; the message names it.
        TypeError: if the key is not a typed key, a count is not an integer, or rotate no bool.

    References:
        Jegou, Douze and Schmid (2011), IEEE Trans. PAMI 33(1); Ge, He, Ke and Sun (2014), 36(4),
        for the balanced principal axes.

    """
    generator = host_generator(key)
    points = np.asarray(training_items(items))
    blocks = validation.integer("subspaces", subspaces, low=1, high=points.shape[1])
    words = validation.integer("words", words, low=1)
    if words**blocks > MAX_WORDS:
        raise ValueError(f"words ** subspaces must be at most {MAX_WORDS}, got {words} ** {blocks}")
    if not isinstance(rotate, bool):
        raise TypeError(f"rotate must be a bool, got {rotate!r}")
    starts = validation.integer("starts", starts, low=1)
    iterations = validation.integer("iterations", iterations, low=1)
    dimension = points.shape[1]
    sizes = [len(part) for part in np.array_split(np.arange(dimension), blocks)]
    centre, rotation = np.zeros(dimension), np.eye(dimension)
    if rotate:
        centre = points.mean(axis=0)
        rotation = _balanced_axes(points - centre, sizes)
    parts = np.split((points - centre) @ rotation.T, np.cumsum(sizes)[:-1], axis=1)
    for block, part in enumerate(parts):
        if (distinct := distinct_rows(part)) < words:
            first = sum(sizes[:block])
            which = "principal axes" if rotate else "coordinates"
            raise ValueError(
                f"words must not exceed the number of distinct items of a block, {distinct} in block "
                f"{block} ({which} {first} to {first + sizes[block] - 1} of items), got {words}"
            )
    fits = [best_codebook(generator, part, words, starts, iterations) for part in parts]
    books = [fit.codewords for fit in fits]
    squares = [vq(part, book, False)[1] ** 2 for part, book in zip(parts, books, strict=True)]
    return ProductQuantizer(
        codebooks=tuple(jnp.asarray(book) for book in books),
        rotation=jnp.asarray(rotation),
        centre=jnp.asarray(centre),
        distortion=jnp.asarray(np.mean(np.sum(squares, axis=0))),
        converged=jnp.asarray([fit.converged for fit in fits]),
        iterations=jnp.asarray([fit.iterations for fit in fits]),
    )


def _balanced_axes(centred: np.ndarray, sizes: list[int]) -> np.ndarray:
    """Principal axes as rows, dealt out so that the blocks' products of variances balance."""
    variances, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    # A floor keeps the logarithm of a flat direction finite.
    logs = np.log(np.maximum(variances, 1e-300))
    dealt: list[list[int]] = [[] for _ in sizes]
    # Above the least of all logarithms, so that each axis adds to its block.
    weight = logs - logs.min() + 1.0
    for axis in np.argsort(-variances):
        open_blocks = [s for s, size in enumerate(sizes) if len(dealt[s]) < size]
        dealt[min(open_blocks, key=lambda s: weight[dealt[s]].sum())].append(int(axis))
    return axes[:, [axis for block in dealt for axis in block]].T


def _digits(index: Int[Array, " n"], counts: tuple[int, ...]) -> Int[Array, "n s"]:
    """Digits of indices in mixed radix, the last fastest."""
    return jnp.stack(jnp.unravel_index(index, counts), axis=1)


def _blocks(code: ProductQuantizer, points: Float[Array, "n d"]) -> list[Float[Array, "n s"]]:
    ends = np.cumsum([book.shape[1] for book in code.codebooks])[:-1]
    return jnp.split((points - code.centre) @ code.rotation.T, ends, axis=1)


@jax.jit
def _encode(code: ProductQuantizer, items: Float[Array, "n d"]) -> Int[Array, " n"]:
    index = jnp.zeros(items.shape[0], jnp.int32)
    for part, book in zip(_blocks(code, items), code.codebooks, strict=True):
        index = index * book.shape[0] + nearest(part, book, jnp.zeros(book.shape[0]))
    return index


@jax.jit
def _tables(
    code: ProductQuantizer, queries: Float[Array, "q d"], indices: Int[Array, " m"]
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Squared distances of queries to the words of blocks, and of each item its words' places."""
    tables: list[Array] = []
    for part, book in zip(_blocks(code, queries), code.codebooks, strict=True):
        table = squared_error(part, book)
        if tables and tables[-1].shape[1] * table.shape[1] <= _TABLE_WORDS:
            # Neighbouring blocks share a table: half the look-ups.
            table = (tables.pop()[:, :, None] + table[:, None]).reshape(queries.shape[0], -1)
        tables.append(table)
    return tuple(tables), jnp.unravel_index(indices, tuple(table.shape[1] for table in tables))


@jax.jit
def _looked_up(tables: tuple[Array, ...], places: tuple[Array, ...]) -> Float[Array, "q m"]:
    """Sum of look-ups: compiled apart, or tables and places would be computed at every one."""
    pairs = zip(tables, places, strict=True)
    found = (table.at[:, place].get(mode="promise_in_bounds") for table, place in pairs)
    return functools.reduce(operator.add, found)
