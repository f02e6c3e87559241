r"""Binary hashing: an item is stored as the signs of a few projections.

$$b_j(y) = 1\{\langle a_j, y - c \rangle > 0\}.$$

The normals $a_j$ are random ($N(0, I)$) or fitted (ITQ). Only items are stored, so a query may keep its
projections as they are. They are compared with the stored signs by

$$s(x, b) = \sum_j \langle a_j, x - c \rangle (2 b_j - 1),$$

the asymmetric distance of Gordo et al. (2014), "Asymmetric distances for binary embeddings", IEEE Trans.
PAMI 36(1). The Hamming distance, which takes the signs of the query too, saves time and no bit of an
item, and ranks worse.

Up to 16 bits the cells can be listed, with index $\sum_j b_j 2^{B-1-j}$; their centroids on training
items serve scores that keep the query as it is.

Every fit raises a ValueError that names the argument if one lies outside its range, and a TypeError if
the key is not a typed key or bits is not an integer; every method raises a ValueError if points are not
finite numbers of shape (N, d).
"""

import dataclasses
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from rdsim import validation
from rdsim.codes.distances import (
    cell_sums,
    most_fitted,
    training_items,
)
from rdsim.codes.item_code import DeterministicCode, host_points, item_points
from rdsim.number_types import ArrayLike, Integer
from rdsim.results import result
from rdsim.threads import blas_threads_for
from rdsim.transformations import on_host

MAX_BITS: Final = 16
"""Most bits of a hash whose cells are listed."""
_MAX_STORED_BITS: Final = 2**20
"""Most bits of a hash whose cells are not listed."""
_ITQ_ITERATIONS: Final = 50
"""Most iterations of the alternating fit of a rotation."""


@result
class BinaryHash:
    """A `StoredCode` that keeps the signs of B projections of the centred item.

    Attributes:
        planes: normals a, shape (B, d).
        centre: c, a point on all planes, shape (d,).
        converged: whether the planes are those that were searched for; random ones are not searched
            for.
        iterations: those of the search.

    """

    planes: Float[Array, "b d"]
    centre: Float[Array, " d"]
    converged: bool = dataclasses.field(metadata={"static": True}, default=True)
    iterations: int = dataclasses.field(metadata={"static": True}, default=0)

    @on_host
    def store(self, key: Key[Array, ""] | None, items: ArrayLike) -> Int[np.ndarray, "n b"]:
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
        return 2.0 * np.asarray(digits) - 1

    def _projected(self, name: str, points: ArrayLike) -> np.ndarray:
        given = host_points(points, len(self.centre), name)
        return np.asarray((given - np.asarray(self.centre)) @ np.asarray(self.planes).T)


@result
class HyperplaneHash(DeterministicCode, BinaryHash):
    """A `BinaryHash` with its cells listed, which makes it an `ItemCode` too.

    Attributes:
        planes: normals a, shape (B, d).
        centre: c, the mean of the training items, shape (d,).
        converged: as in `BinaryHash`.
        iterations: as in `BinaryHash`.
        codewords: centroids of the cells, shape (2^B, d). An empty cell has the mean of the
            training items in the non-empty cells at the least Hamming distances.
        masses: fraction of the training items in each cell, shape (2^B,).

    """

    codewords: Float[Array, "k d"]
    masses: Float[Array, " k"]

    def hash(self, points: ArrayLike) -> Bool[Array, "n b"]:
        """Signs of the projections of items or queries of shape (N, d), shape (N, B)."""
        return self._signs("points", points)

    def _indices(self, items: ArrayLike) -> Int[Array, " n"]:
        return _index(self._signs("items", items))

    def _signs(self, name: str, points: ArrayLike) -> Bool[Array, "n b"]:
        return _signs(self.planes, self.centre, item_points(points, self.centre.shape[0], name))


def signs_of_cells(bits: int) -> Float[np.ndarray, "k b"]:
    """Signs of all hashes, -1 or 1, in the order of their indices: the first sign is the highest bit."""
    shift = np.arange(bits - 1, -1, -1)
    return 2.0 * ((np.arange(2**bits)[:, None] >> shift) & 1) - 1


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

    References:
        Charikar (2002), STOC; Cover (1965), IEEE Trans. Electron. Comput. 14(3), for the cells.

    """
    validation.prng_key("key", key)
    points = training_items(items)
    bits = validation.integer("bits", bits, low=1, high=MAX_BITS)
    planes = jax.random.normal(key, (bits, points.shape[1]), float)
    centre = jnp.mean(points, axis=0)
    cells = np.asarray(_index(_signs(planes, centre, points)))
    counts, codewords = _centroids(np.asarray(points), cells, bits)
    return HyperplaneHash(
        codewords=jnp.asarray(codewords),
        planes=planes,
        centre=centre,
        masses=jnp.asarray(counts / len(points)),
    )


@on_host
def long_hyperplane_hash(key: Key[Array, ""], items: ArrayLike, bits: Integer) -> BinaryHash:
    """Draw B random hyperplanes through the mean of the training items of shape (N, d).

    As `hyperplane_hashing` (with other draws), for up to 2^20 bits: the cells are not listed.

    References:
        Charikar (2002), STOC.

    """
    generator = validation.host_generator(key)
    count = validation.integer("bits", bits, low=1, high=_MAX_STORED_BITS)
    points = np.asarray(training_items(items))
    planes = generator.standard_normal((points.shape[1], count))
    return BinaryHash(
        planes=jnp.asarray(planes.T, float), centre=jnp.asarray(points.mean(axis=0), float)
    )


@on_host
def rotated_hash(key: Key[Array, ""], items: ArrayLike, bits: Integer) -> BinaryHash:
    r"""Fit the rotation of the B first principal axes whose signs are nearest to the items (ITQ).

    $$\min_{R, b} \sum_i |b_i - R^\top V^\top (y_i - c)|^2, \quad b_i \in \{-1, 1\}^B,$$

    by alternating signs and rotations (a Procrustes problem, solved by the singular value
    decomposition) from a random start, to a local optimum.

    Args:
        key: PRNG key of the start.
        items: training items, shape (N, d).
        bits: B, 1 to d.

    Returns:
        The hash; a local optimum if it `converged`, within 50 iterations.

    References:
        Gong, Lazebnik, Gordo and Perronnin (2013), IEEE Trans. PAMI 35(12).

    """
    generator = validation.host_generator(key)
    points = most_fitted(generator, items)
    count = validation.integer("bits", bits, low=1, high=points.shape[1])
    centre = points.mean(axis=0)
    _, axes = np.linalg.eigh((points - centre).T @ (points - centre))
    leading = axes[:, ::-1][:, :count]
    projected = (points - centre) @ leading
    # A random rotation: the orthogonal factor of a Gaussian matrix.
    rotation, _ = np.linalg.qr(generator.standard_normal((count, count)))
    before: np.ndarray | None = None
    for step in range(_ITQ_ITERATIONS + 1):
        signs = np.where(projected @ rotation > 0, 1.0, -1.0)
        converged = before is not None and np.array_equal(signs, before)
        if converged or step == _ITQ_ITERATIONS:
            break
        # Procrustes: of all rotations, left @ right brings the projected items nearest to their signs. Neither this step
        # nor taking signs raises the error, so that it falls until no sign changes.
        cross = projected.T @ signs
        with blas_threads_for(cross.size):
            left, _, right = np.linalg.svd(cross)
        rotation, before = left @ right, signs
    return BinaryHash(
        planes=jnp.asarray((leading @ rotation).T, float),
        centre=jnp.asarray(centre, float),
        converged=converged,
        iterations=step,
    )


@jax.jit
def _signs(
    planes: Float[Array, "b d"], centre: Float[Array, " d"], points: Float[Array, "n d"]
) -> Bool[Array, "n b"]:
    return (points - centre) @ planes.T > 0


@jax.jit
def _index(signs: Bool[Array, "n b"]) -> Int[Array, " n"]:
    weights = 1 << jnp.arange(signs.shape[1] - 1, -1, -1, dtype=jnp.int32)
    return jnp.sum(signs * weights, axis=1, dtype=jnp.int32)


def _centroids(points: np.ndarray, cells: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Items in each cell and their mean; an empty cell borrows from the nearest that are not."""
    counts, sums = cell_sums(points, cells, 1 << bits)
    means = sums / np.maximum(counts, 1)[:, None]
    used = np.flatnonzero(counts)
    empty = np.flatnonzero(counts == 0)
    # At most 2^22 distances between cells are held at a time.
    for block in np.array_split(empty, max(1, empty.size * used.size >> 22)):
        distance = np.bitwise_count(block[:, None] ^ used)
        # The mean over the items of all used cells at the least Hamming distance, every item counted once.
        near = distance == distance.min(axis=1, keepdims=True)
        means[block] = near @ sums[used] / (near @ counts[used])[:, None]
    return counts, means
