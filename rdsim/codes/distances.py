r"""Distortions between items and codewords, and what the quantizers share: chunks, cells, seeds."""

from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rdsim import validation
from rdsim.codes.assignment import assign, squared_lengths
from rdsim.number_types import ArrayLike
from rdsim.transformations import is_traced

Distortions = Callable[[Any, Any], Array]
"""Takes items (N, d) and codewords (K, d), returns d(y, u) >= 0, shape (N, K)."""

MOST_CODEWORDS: Final = 1 << 20
"""Most codewords of a codebook fitted to a sample."""
_MOST_FITTED: Final = 20_000
"""Most training items that fits of codes of many bits look at."""
_CANCELS: Final = 1e-6
"""A squared distance that is a smaller part of its terms has lost six digits, and is computed directly."""
_CHUNK_ENTRIES: Final = 1 << 22
"""Entries of the table of distortions held at a time (32 MiB of float64)."""


@jax.jit
def squared_error(items: ArrayLike, codewords: ArrayLike) -> Float[Array, "n k"]:
    r"""Squared Euclidean distance $|y - u|^2$ of every item to every codeword.

    Summed over differences, one coordinate after the other: nothing cancels far from the origin.

    Args:
        items: shape (N, d).
        codewords: shape (K, d).

    Returns:
        Distances, shape (N, K).

    """
    items, codewords = (jnp.asarray(points, float) for points in (items, codewords))
    total = jnp.zeros((items.shape[0], codewords.shape[0]))
    for i in range(items.shape[1]):
        total = total + (items[:, None, i] - codewords[None, :, i]) ** 2
    return total


def in_chunks(function: Callable[[Any], Any], rows: Any, width: int) -> Any:
    """Apply a function of one row to all, as many at a time as keep rows * width entries small."""
    return jax.lax.map(function, rows, batch_size=max(1, _CHUNK_ENTRIES // width))


def sum_in_chunks(function: Callable[[Any], Any], rows: tuple[Array, Array], width: int) -> Any:
    """Sum a function of (items, masses) over chunks of them; rows of zero mass pad the last one."""
    items, masses = rows
    number = items.shape[0]
    size = max(1, min(number, _CHUNK_ENTRIES // width))
    missing = -number % size
    items = jnp.concatenate([items, jnp.broadcast_to(items[:1], (missing, items.shape[1]))])
    masses = jnp.concatenate([masses, jnp.zeros(missing)])
    chunks = (items.reshape(-1, size, items.shape[1]), masses.reshape(-1, size))
    return jax.tree.map(lambda parts: parts.sum(axis=0), jax.lax.map(function, chunks))


def nearest(items: Any, codewords: Any, offsets: Any) -> Int[Array, " n"]:
    """Index of the codeword of least squared error plus offset; the first of equals.

    Numbers are compared on the host, where a large table is one product of matrices and nothing is compiled for its
    shape.

    Args:
        items: shape (N, d), of NumPy or JAX.
        codewords: shape (K, d).
        offsets: shape (K,).

    Returns:
        int32, shape (N,).

    """
    if is_traced(items, codewords, offsets):
        return _nearest(items, codewords, offsets)
    points, words, costs = (np.asarray(one, float) for one in (items, codewords, offsets))
    # |y - u|^2 + o is a squared distance once more, with one coordinate added. A constant in all offsets changes
    # nothing.
    added = np.sqrt(costs - costs.min())
    found = assign(
        np.column_stack([points, np.zeros(len(points))]), np.column_stack([words, added])
    )
    return jax.device_put(found.astype(np.int32))


@jax.jit
def _nearest(
    items: Float[Array, "n d"], codewords: Float[Array, "k d"], offsets: Float[Array, " k"]
) -> Int[Array, " n"]:
    """The same where the numbers are not known yet."""

    def one(item: Float[Array, " d"]) -> Int[Array, ""]:
        cost = squared_error(item[None], codewords)[0] + offsets
        return jnp.argmin(cost).astype(jnp.int32)

    return in_chunks(one, items, codewords.shape[0])


def indicator(indices: Int[Array, " n"], K: int) -> Float[Array, "n k"]:
    """Channel of a deterministic code: rows with a single one."""
    xp = jnp if is_traced(indices) else np
    return jax.device_put((xp.asarray(indices)[:, None] == xp.arange(K)).astype(float))


def training_items(items: ArrayLike) -> Float[Array, "n d"]:
    """Check training items: finite numbers of shape (N, d), N and d at least 1.

    They are all equal, or differ by enough that squared distances do not underflow.
    """
    points = validation.coordinates("items", items, ndim=2)
    if 0 in points.shape:
        raise ValueError(f"items must have shape (N, d) with N, d >= 1, got {points.shape}")
    return validation.apart("items", points)


def most_fitted(generator: np.random.Generator, items: ArrayLike) -> np.ndarray:
    """Check training items; of more than 20 000, draw so many without replacement."""
    points = np.asarray(training_items(items))
    if len(points) <= _MOST_FITTED:
        return points
    return points[generator.choice(len(points), _MOST_FITTED, replace=False)]


def distinct_rows(points: np.ndarray, enough: int) -> int:
    """Number of distinct rows, or `enough` if one coordinate alone has so many values: much sooner seen."""
    if len(np.unique(points[:, 0])) >= enough:
        return enough
    return len(np.unique(points, axis=0))


def cell_sums(points: np.ndarray, labels: np.ndarray, K: int) -> tuple[np.ndarray, np.ndarray]:
    """Number and sum of the points in each cell, shapes (K,) and (K, d)."""
    counts = np.bincount(labels, minlength=K)
    sums = np.stack([np.bincount(labels, column, minlength=K) for column in points.T], axis=1)
    return counts, sums


def seeds(generator: np.random.Generator, points: np.ndarray, count: int) -> np.ndarray:
    """Draw codewords from the points as k-means++ does: with probability proportional to the squared error so far.

    Arthur and Vassilvitskii (2007), SODA. The codewords are distinct.
    """
    if count > 1:
        # The points may be a block of coordinates of items that do differ.
        validation.apart("items (in these coordinates)", points)
    codewords = np.empty((count, points.shape[1]))
    codewords[0] = points[generator.integers(len(points))]
    centred = points - points.mean(axis=0)
    squares = squared_lengths(centred)
    least = _squares_to(points, centred, squares, codewords[0])
    for i in range(1, count):
        cumulative = np.cumsum(least)
        if cumulative[-1] == 0:
            raise ValueError(
                f"codebook_size must not exceed the number of distinct items, {i}, got {count}"
            )
        drawn = np.searchsorted(cumulative, generator.random() * cumulative[-1], side="right")
        codewords[i] = points[min(drawn, len(points) - 1)]
        least = np.minimum(least, _squares_to(points, centred, squares, codewords[i]))
    return codewords


def _squares_to(
    points: np.ndarray, centred: np.ndarray, squares: np.ndarray, codeword: np.ndarray
) -> np.ndarray:
    """Squared distances of all points to a codeword, by one product; those that cancel are summed anew.

    The codeword is one of the points, and its distance to itself and to its copies must be zero.
    """
    moved = codeword - (points[0] - centred[0])
    square = moved @ moved
    found = squares - 2 * (centred @ moved) + square
    small = np.flatnonzero(found <= _CANCELS * (squares + square))
    found[small] = ((points[small] - codeword) ** 2).sum(axis=1)
    return found
