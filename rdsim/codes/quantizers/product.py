r"""Product quantization: blocks of coordinates, each with a small codebook of its own.

$$y' = A (y - c), \quad y' = (y'_1, \dots, y'_S), \quad
    j_s = \arg\min_j |y'_s - u_{sj}|^2,$$

so that $\prod_s W_s$ codewords need only $\sum_s W_s$ stored points. A is the identity, or a rotation onto
the principal axes of the training items, which are divided among the blocks. An item is stored as the digits
$j_1..j_S$; up to 2^16 codewords can be listed, with the digits as an index in mixed radix.

Every fit raises a ValueError that names the argument if one lies outside its range, and a TypeError if
the key is not a typed key or a count is not an integer; every method raises a ValueError if points are not
finite numbers of shape (N, d).

References:
    Jegou, Douze and Schmid (2011), IEEE Trans. PAMI 33(1); Ge, He, Ke and Sun (2014), 36(4), for the
    balanced principal axes.

"""

import functools
import math
import operator
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from rdsim import validation
from rdsim.codes.assignment import assign
from rdsim.codes.distances import (
    distinct_rows,
    indicator,
    most_fitted,
    nearest,
    squared_error,
    training_items,
)
from rdsim.codes.item_code import codeword_indices, host_points, item_points
from rdsim.codes.quantizers.vector import KMeans, best_codebook, first_codebooks
from rdsim.number_types import ArrayLike, Integer
from rdsim.results import result
from rdsim.threads import side_by_side
from rdsim.transformations import on_host

MAX_LISTED: Final = 1 << 16
"""Most codewords that are listed."""
_TABLE_ENTRIES: Final = 1 << 10
"""Most entries of a table of distances that several blocks share: 8 KiB a query, which the cache holds."""
_STORED_AT_ONCE: Final = 1 << 13
"""Items that are rotated and quantized at a time, so that the work stays in the cache."""
_MOST_BLOCK_BITS: Final = 8
"""Most bits of a block of a code of many bits."""
_ITEMS_PER_CODEWORD: Final = 4
"""Fewest training items for each codeword of a block of such a code, on average."""


@result
class ProductQuantizer:
    """A code that quantizes blocks of (rotated) coordinates by themselves.

    It is a `StoredCode`, and an `ItemCode` if it has at most 2^16 codewords.

    Attributes:
        codebooks: of each block, S arrays of shape (W_s, d_s) in the rotated coordinates.
        rotation: A, shape (d, d), orthogonal; its rows are the new axes.
        centre: c, shape (d,).
        distortion: mean squared error of the training items that were looked at.
        converged: of each block, whether no item changed its cell in the last iteration, so that it is
            a local optimum, shape (S,).
        iterations: of each block, those of the start that was kept, shape (S,).

    """

    codebooks: tuple[Float[Array, "w s"], ...]
    rotation: Float[Array, "d d"]
    centre: Float[Array, " d"]
    distortion: Float[Array, ""]
    converged: Bool[Array, " s"]
    iterations: Int[Array, " s"]

    @property
    def codewords(self) -> Float[Array, "k d"]:
        """Every combination of the blocks' codewords, shape (K, d), the last block fastest."""
        choice = jnp.unravel_index(jnp.arange(self._listed), self._counts)
        parts = [book[place] for book, place in zip(self.codebooks, choice, strict=True)]
        return jnp.concatenate(parts, axis=1) @ self.rotation + self.centre

    @property
    def _counts(self) -> tuple[int, ...]:
        return tuple(book.shape[0] for book in self.codebooks)

    @property
    def _listed(self) -> int:
        """Number of codewords, which must be small enough to be listed."""
        if (number := math.prod(self._counts)) > MAX_LISTED:
            raise ValueError(
                f"a product quantizer of {number} codewords cannot list them, {MAX_LISTED} are the "
                "most: use store, query_features and item_features"
            )
        return number

    def channel(self, items: ArrayLike) -> Float[Array, "n k"]:
        """Rows with a one at the codeword chosen, shape (N, K), for items of shape (N, d)."""
        return indicator(self._indices(items), self._listed)

    def encode(self, key: Key[Array, ""], items: ArrayLike) -> Int[Array, " n"]:
        """Index of the codeword chosen for each item, int32, shape (N,); the key goes unused."""
        del key
        return self._indices(items)

    def _indices(self, items: Any) -> Int[Array, " n"]:
        points = item_points(items, self.centre.shape[0])
        _ = self._listed  # refuses a code of more codewords, whose indices overflow
        return _encode(self, points)

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

        """
        points = item_points(queries, self.centre.shape[0], "queries")
        return _summed_lookups(*_tables(self, points, codeword_indices(indices, self._listed)))

    @on_host
    def store(self, key: Key[Array, ""], items: ArrayLike) -> Int[np.ndarray, "n s"]:
        """Number of the nearest codeword of each block, shape (N, S); the key goes unused."""
        del key
        points = host_points(items, len(self.centre))
        books = [np.asarray(book) for book in self.codebooks]
        ends = np.cumsum([book.shape[1] for book in books])[:-1]
        digits = np.empty((len(points), len(books)), np.int32)

        def store_block(first: int) -> None:
            block = slice(first, first + _STORED_AT_ONCE)
            parts = np.split(self._rotated(points[block]), ends, axis=1)
            for place, (part, book) in enumerate(zip(parts, books, strict=True)):
                digits[block, place] = assign(part, book)

        side_by_side(store_block, range(0, len(points), _STORED_AT_ONCE))
        return digits

    @on_host
    def query_features(self, queries: ArrayLike) -> Float[np.ndarray, "q f"]:
        """Rotated queries, kept as they are, and a one."""
        x = self._rotated(host_points(queries, len(self.centre), "queries"))
        return np.column_stack([x, np.ones(len(x))])

    @on_host
    def item_features(self, digits: Int[np.ndarray, "m s"]) -> Float[np.ndarray, "m f"]:
        """Codewords u, and half their squared length off: |x - u|^2 orders as |u|^2/2 - <x, u>."""
        chosen = [np.asarray(book)[digits[:, s]] for s, book in enumerate(self.codebooks)]
        u = np.concatenate(chosen, axis=1)
        return np.column_stack([u, -0.5 * (u**2).sum(axis=1)])

    def _rotated(self, points: np.ndarray) -> np.ndarray:
        return np.asarray((points - np.asarray(self.centre)) @ np.asarray(self.rotation).T)


@on_host
@validation.needs_float64
def product_quantizer(
    key: Key[Array, ""],
    items: ArrayLike,
    *,
    subspaces: Integer,
    codebook_size: Integer,
    rotate: Any = False,
    starts: Integer = 4,
    iterations: Integer = 50,
) -> ProductQuantizer:
    r"""Fit a codebook of W codewords to each of S blocks of coordinates of the training items.

    Args:
        key: PRNG key of the starts.
        items: training items, shape (N, d).
        subspaces: S, 1 to d; the blocks' sizes differ by at most one.
        codebook_size: W in each block, $W^S \le 2^{16}$, at most the number of distinct items in a block.
        rotate: whether to rotate onto the principal axes first, each in turn given to the open
            block of the least product of variances.
        starts: of k-means, a block.
        iterations: most iterations of k-means a start.

    Returns:
        The code, with $W^S$ codewords; a block that `converged` is at a local optimum.

    """
    generator = validation.host_generator(key)
    points = np.asarray(training_items(items))
    blocks = validation.integer("subspaces", subspaces, low=1, high=points.shape[1])
    W = validation.integer("codebook_size", codebook_size, low=1)
    if W**blocks > MAX_LISTED:
        raise ValueError(
            f"codebook_size ** subspaces must be at most {MAX_LISTED}, got {W} ** {blocks}"
        )
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
        # k-means cannot place more codewords than there are distinct points in a block.
        if (distinct := distinct_rows(part, W)) < W:
            first = sum(sizes[:block])
            which = "principal axes" if rotate else "coordinates"
            raise ValueError(
                f"codebook_size must not exceed the number of distinct items of a block, {distinct} in "
                f"block {block} ({which} {first} to {first + sizes[block] - 1} of items), got {W}"
            )
    return _quantizer(_fitted(generator, parts, [W] * blocks, starts, iterations), rotation, centre)


@on_host
def long_product_quantizer(
    key: Key[Array, ""],
    items: ArrayLike,
    bits: Integer,
    *,
    starts: Integer = 2,
    iterations: Integer = 25,
) -> ProductQuantizer:
    """Fit a product quantizer of so many bits, in blocks of at most eight.

    The items are first rotated onto their principal axes, which are given to the blocks in turn,
    so that every block has a share of the large ones.

    Args:
        key: PRNG key of the starts of k-means.
        items: training items, shape (N, d), N >= 8.
        bits: B >= 1; blocks have up to 8 bits, fewer where N < 4 * 2^8, and at least one
            coordinate each, which bounds B.
        starts: of k-means, a block.
        iterations: most iterations of k-means a start.

    Returns:
        The code.

    """
    generator = validation.host_generator(key)
    points = most_fitted(generator, items)
    count = validation.integer("bits", bits, low=1)
    starts = validation.integer("starts", starts, low=1)
    iterations = validation.integer("iterations", iterations, low=1)
    dimension = points.shape[1]
    blocks = long_blocks(count, len(points), dimension)
    centre = points.mean(axis=0)
    variances, axes = np.linalg.eigh(np.cov(points.T, bias=True).reshape(dimension, dimension))
    falling = axes[:, np.argsort(-variances, kind="stable")]
    # Axis i, by falling variance, belongs to block i modulo the number of blocks.
    axes_of = [np.arange(block, dimension, blocks) for block in range(blocks)]
    rotation = falling[:, np.concatenate(axes_of)].T
    parts = np.split((points - centre) @ rotation.T, np.cumsum([*map(len, axes_of)])[:-1], axis=1)
    # The first blocks take the bits that are left over.
    sizes = [count // blocks + (block < count % blocks) for block in range(blocks)]
    counts = [
        min(1 << size, distinct_rows(part, 1 << size))
        for part, size in zip(parts, sizes, strict=True)
    ]
    return _quantizer(_fitted(generator, parts, counts, starts, iterations), rotation, centre)


def long_blocks(bits: int, items: int, dimension: int) -> int:
    """Blocks of a long product quantizer, each of one coordinate at least.

    Raises:
        ValueError: if so many items of so many coordinates cannot be stored in so many bits.

    """
    if items < 2 * _ITEMS_PER_CODEWORD:
        raise ValueError(f"items must be at least {2 * _ITEMS_PER_CODEWORD}, got {items}")
    block_bits = most_block_bits(items)
    if bits > block_bits * dimension:
        raise ValueError(
            f"bits must be at most {block_bits * dimension} with {dimension} coordinates and "
            f"{items} training items, got {bits}"
        )
    return math.ceil(bits / block_bits)


def most_block_bits(items: int) -> int:
    """Bits of a block whose codewords so many training items can fill."""
    return max(1, min(_MOST_BLOCK_BITS, int(math.log2(items / _ITEMS_PER_CODEWORD))))


def _fitted(
    generator: np.random.Generator,
    parts: list[np.ndarray],
    counts: list[int],
    starts: int,
    iterations: int,
) -> list[KMeans]:
    """Codebooks of the blocks, drawn one after the other and fitted side by side."""
    firsts = [
        first_codebooks(generator, part, count, starts)
        for part, count in zip(parts, counts, strict=True)
    ]
    return side_by_side(best_codebook, parts, firsts, [iterations] * len(parts))


def _quantizer(fits: list[KMeans], rotation: np.ndarray, centre: np.ndarray) -> ProductQuantizer:
    """Make the code of the codebooks that were fitted to the blocks of the training items."""
    return ProductQuantizer(
        # With its type said, an array of the host is copied by no program compiled for its shape.
        codebooks=tuple(jnp.asarray(fit.codewords, float) for fit in fits),
        rotation=jnp.asarray(rotation, float),
        centre=jnp.asarray(centre, float),
        distortion=jnp.asarray(sum(fit.distortion for fit in fits), float),
        converged=jnp.asarray(np.array([fit.converged for fit in fits]), bool),
        iterations=jnp.asarray(np.array([fit.iterations for fit in fits]), int),
    )


def _balanced_axes(centred: np.ndarray, sizes: list[int]) -> np.ndarray:
    """Principal axes as rows, divided so that the blocks' products of variances balance.

    Each axis, of falling variance, goes to the block of the least sum of logarithms that has a place.
    """
    variances, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    # A floor keeps the logarithm of a flat direction finite.
    logs = np.log(np.maximum(variances, 1e-300))
    axes_of: list[list[int]] = [[] for _ in sizes]
    # Above the least of all logarithms, so that each axis adds to its block.
    weight = logs - logs.min() + 1.0
    for axis in np.argsort(-variances):
        open_blocks = [s for s, size in enumerate(sizes) if len(axes_of[s]) < size]
        axes_of[min(open_blocks, key=lambda s: weight[axes_of[s]].sum())].append(int(axis))
    return axes[:, [axis for block in axes_of for axis in block]].T


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
    """Squared distances of queries to the codewords of blocks, and of each item its places in them."""
    tables: list[Array] = []
    for part, book in zip(_blocks(code, queries), code.codebooks, strict=True):
        table = squared_error(part, book)
        if tables and tables[-1].shape[1] * table.shape[1] <= _TABLE_ENTRIES:
            # Neighbouring blocks share a table: half the look-ups.
            table = (tables.pop()[:, :, None] + table[:, None]).reshape(queries.shape[0], -1)
        tables.append(table)
    return tuple(tables), jnp.unravel_index(indices, tuple(table.shape[1] for table in tables))


@jax.jit
def _summed_lookups(tables: tuple[Array, ...], places: tuple[Array, ...]) -> Float[Array, "q m"]:
    """Sum of look-ups: compiled apart, or tables and places would be computed at every one."""
    pairs = zip(tables, places, strict=True)
    found = (table.at[:, place].get(mode="promise_in_bounds") for table, place in pairs)
    return functools.reduce(operator.add, found)
