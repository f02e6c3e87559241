r"""Codes of tens of bits for real embeddings: product quantizers and binary hashes.

An item is stored as a row of small integers, not as the index of a listed codeword, so there may
be hundreds of bits. Items and queries live in one space, where an inner product is a similarity.
"""

import dataclasses
import math
from typing import Any, Final, Protocol

import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key
from scipy.cluster.vq import vq

from rdsim import validation
from rdsim.codes.distances import distinct_rows, host_generator, training_items
from rdsim.codes.item_code import item_points
from rdsim.codes.vector_quantization import best_codebook
from rdsim.number_types import ArrayLike, Integer
from rdsim.transformations import on_host

_MOST_WORD_BITS: Final = 8
_MOST_BITS: Final = 2**20
_ITEMS_A_WORD: Final = 4
"""Fewest training items for each word of a block, on average."""
_FITTED: Final = 20_000
"""Most training items that k-means and rotations look at."""
_ROTATIONS: Final = 50
"""Steps of the alternating fit of a rotation."""


class StoredCode(Protocol):
    """A code whose stored items are rows of small integers."""

    def encode(self, key: Key[Array, ""], items: ArrayLike) -> Int[np.ndarray, "n g"]:
        """Store items of shape (N, d); the key may go unused."""

    def query_features(self, queries: ArrayLike) -> Float[np.ndarray, "q f"]:
        """Features of queries; inner products with those of stored items are scores."""

    def item_features(self, digits: Int[np.ndarray, "m g"]) -> Float[np.ndarray, "m f"]:
        """Features of stored items, a function of nothing but what is stored."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LongProductQuantizer:
    """A product quantizer whose codewords are too many to list.

    Attributes:
        codebooks: of each block of coordinates, shapes (W_s, d_s).
        centre: subtracted first, shape (d,).
        rotation: applied next, columns are the new axes, shape (d, d).
        converged: of each block, whether k-means came to a local optimum before its iterations ran
            out, shape (S,).

    """

    __no_type_check__ = True  # blocks differ in shape

    codebooks: tuple[Float[np.ndarray, "w s"], ...]
    centre: Float[np.ndarray, " d"]
    rotation: Float[np.ndarray, "d d"]
    converged: Bool[np.ndarray, " s"]

    @on_host
    def encode(self, key: Key[Array, ""], items: ArrayLike) -> Int[np.ndarray, "n g"]:
        """Nearest word of each block; the key goes unused."""
        del key
        parts = np.split(self._turned("items", items), self._ends, axis=1)
        found = [
            vq(part, book, check_finite=False)[0]
            for part, book in zip(parts, self.codebooks, strict=True)
        ]
        return np.stack(found, axis=1)

    @on_host
    def query_features(self, queries: ArrayLike) -> Float[np.ndarray, "q f"]:
        """Turned queries, kept as they are, and a one."""
        x = self._turned("queries", queries)
        return np.column_stack([x, np.ones(len(x))])

    @on_host
    def item_features(self, digits: Int[np.ndarray, "m g"]) -> Float[np.ndarray, "m f"]:
        """Codewords u, and half their squared length off: |x - u|^2 orders as |u|^2/2 - <x, u>."""
        chosen = [book[digits[:, s]] for s, book in enumerate(self.codebooks)]
        u = np.concatenate(chosen, axis=1)
        return np.column_stack([u, -0.5 * (u**2).sum(axis=1)])

    def _turned(self, name: str, points: Any) -> np.ndarray:
        given = np.asarray(item_points(points, len(self.centre), name))
        return np.asarray((given - self.centre) @ self.rotation)

    @property
    def _ends(self) -> np.ndarray:
        return np.cumsum([book.shape[1] for book in self.codebooks])[:-1]


@on_host
def long_product_quantizer(
    key: Key[Array, ""], items: ArrayLike, bits: Integer, *, starts: int = 2, iterations: int = 25
) -> LongProductQuantizer:
    """Fit a product quantizer of so many bits, in blocks of at most eight.

    The items are first turned onto their principal axes, which are dealt to the blocks in turn,
    so that every block has a share of the large ones.

    Args:
        key: PRNG key of the starts of k-means.
        items: training items, shape (N, d), N >= 8.
        bits: B >= 1; blocks have up to 8 bits, fewer where N < 4 * 2^8, and at least one
            coordinate each.
        starts: of k-means, a block.
        iterations: most steps of k-means a start.

    Returns:
        The code.

    Raises:
        ValueError: if the bits need more blocks than there are coordinates.
        TypeError: if the key is not a typed key.

    References:
        Jegou, Douze and Schmid (2011), IEEE Trans. PAMI 33(1).

    """
    generator = host_generator(key)
    points = _sample(generator, items)
    count = validation.integer("bits", bits, low=1)
    validation.integer("starts", starts, low=1)
    validation.integer("iterations", iterations, low=1)
    if len(points) < 2 * _ITEMS_A_WORD:
        raise ValueError(f"items must be at least {2 * _ITEMS_A_WORD}, got {len(points)}")
    word_bits = most_word_bits(len(points))
    blocks = math.ceil(count / word_bits)
    dimension = points.shape[1]
    if blocks > dimension:
        raise ValueError(
            f"bits must be at most {word_bits * dimension} with {dimension} coordinates and "
            f"{len(points)} training items, got {count}"
        )
    centre = points.mean(axis=0)
    variances, axes = np.linalg.eigh(np.cov(points.T, bias=True).reshape(dimension, dimension))
    falling = axes[:, np.argsort(-variances, kind="stable")]
    dealt = [np.arange(block, dimension, blocks) for block in range(blocks)]
    rotation = falling[:, np.concatenate(dealt)]
    parts = np.split((points - centre) @ rotation, np.cumsum([*map(len, dealt)])[:-1], axis=1)
    sizes = [count // blocks + (block < count % blocks) for block in range(blocks)]
    fits = [
        best_codebook(generator, part, min(1 << size, distinct_rows(part)), starts, iterations)
        for part, size in zip(parts, sizes, strict=True)
    ]
    return LongProductQuantizer(
        codebooks=tuple(fit.codewords for fit in fits),
        centre=centre,
        rotation=rotation,
        converged=np.array([fit.converged for fit in fits]),
    )


def most_word_bits(items: int) -> int:
    """Bits of the words of a block that so many training items can fill."""
    return max(1, min(_MOST_WORD_BITS, int(math.log2(items / _ITEMS_A_WORD))))


@dataclasses.dataclass(frozen=True, kw_only=True)
class LongHash:
    r"""A binary hash of items: the signs of projections.

    Only items are stored, so a query may keep its projections as they are. They are compared with
    the stored signs by

    $$s(x, b) = \langle A^\top (x - c), b \rangle, \quad b = \mathrm{sign}\, A^\top (y - c),$$

    the asymmetric distance of Gordo et al. The Hamming distance, which takes the signs of the query
    too, saves time and no bit of an item, and ranks worse.

    Attributes:
        planes: A, columns are normals, shape (d, B).
        centre: c, a point on all planes, shape (d,).
        converged: whether the planes are those that were searched for; random ones are not searched
            for.
        iterations: steps of the search.

    References:
        Gordo, Perronnin, Gong and Lazebnik (2014), "Asymmetric distances for binary embeddings",
        IEEE Trans. PAMI 36(1).

    """

    planes: Float[np.ndarray, "d b"]
    centre: Float[np.ndarray, " d"]
    converged: bool
    iterations: int

    @on_host
    def encode(self, key: Key[Array, ""] | None, items: ArrayLike) -> Int[np.ndarray, "n b"]:
        """Signs of the items as 0 and 1; the key goes unused."""
        del key
        return (self._projected("items", items) > 0).astype(np.int8)

    @on_host
    def query_features(self, queries: ArrayLike) -> Float[np.ndarray, "q b"]:
        """Projections of the queries, which are not stored and so not rounded to signs."""
        return self._projected("queries", queries)

    @on_host
    def hamming_features(self, queries: ArrayLike) -> Float[np.ndarray, "q b"]:
        """Signs of the queries, -1 or 1: inner products are B less twice the Hamming distance."""
        return 2.0 * (self._projected("queries", queries) > 0) - 1

    @on_host
    def item_features(self, digits: Int[np.ndarray, "m b"]) -> Float[np.ndarray, "m b"]:
        """Signs of the stored items, -1 or 1."""
        return 2.0 * digits - 1

    def _projected(self, name: str, points: Any) -> np.ndarray:
        given = np.asarray(item_points(points, len(self.centre), name))
        return np.asarray((given - self.centre) @ self.planes)


@on_host
def long_hyperplane_hash(key: Key[Array, ""], items: ArrayLike, bits: Integer) -> LongHash:
    """Draw B random hyperplanes through the mean of the training items of shape (N, d).

    References:
        Charikar (2002), STOC.

    """
    generator = host_generator(key)
    count = validation.integer("bits", bits, low=1, high=_MOST_BITS)
    points = np.asarray(training_items(items))
    planes = generator.standard_normal((points.shape[1], count))
    return LongHash(planes=planes, centre=points.mean(axis=0), converged=True, iterations=0)


@on_host
def rotated_hash(key: Key[Array, ""], items: ArrayLike, bits: Integer) -> LongHash:
    r"""Fit the rotation of the B first principal axes whose signs are nearest to the items (ITQ).

    $$\min_{R, b} \sum_i |b_i - R^\top V^\top (y_i - c)|^2, \quad b_i \in \{-1, 1\}^B,$$

    by alternating signs and rotations from a random start, to a local optimum.

    Args:
        key: PRNG key of the start.
        items: training items, shape (N, d).
        bits: B, 1 to d.

    Returns:
        The hash; a local optimum if it `converged`, within 50 steps.

    Raises:
        ValueError: if there are more bits than coordinates.
        TypeError: if the key is not a typed key.

    References:
        Gong, Lazebnik, Gordo and Perronnin (2013), IEEE Trans. PAMI 35(12).

    """
    generator = host_generator(key)
    points = _sample(generator, items)
    count = validation.integer("bits", bits, low=1, high=points.shape[1])
    centre = points.mean(axis=0)
    _, axes = np.linalg.eigh((points - centre).T @ (points - centre))
    leading = axes[:, ::-1][:, :count]
    projected = (points - centre) @ leading
    rotation, _ = np.linalg.qr(generator.standard_normal((count, count)))
    before: np.ndarray | None = None
    for step in range(_ROTATIONS + 1):
        signs = np.where(projected @ rotation > 0, 1.0, -1.0)
        converged = before is not None and np.array_equal(signs, before)
        if converged or step == _ROTATIONS:
            break
        left, _, right = np.linalg.svd(projected.T @ signs)
        rotation, before = left @ right, signs
    return LongHash(planes=leading @ rotation, centre=centre, converged=converged, iterations=step)


def _sample(generator: np.random.Generator, items: Any) -> np.ndarray:
    points = np.asarray(training_items(items))
    if len(points) <= _FITTED:
        return points
    return points[generator.choice(len(points), _FITTED, replace=False)]
