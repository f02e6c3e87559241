r"""k-means by Lloyd's algorithm, from several seeded starts: the codebooks of every quantizer here.

$$\min_{u_1..u_K} \frac1N \sum_i \min_k |y_i - u_k|^2,$$

to a local optimum, at which no item changes its cell.
"""

from typing import Final, NamedTuple

import numpy as np

from rdsim.codes.assignment import Points, squared_lengths
from rdsim.codes.distances import cell_sums, distinct_rows, seeds

_SEEDED_FROM: Final = 16
"""Items for each codeword among which k-means draws its first codewords, where there are more."""
_CERTAIN: Final = 1 + 1e-9
"""Factor between two distances of float64 whose order no rounding has changed."""


class KMeans(NamedTuple):
    """What k-means has found.

    Attributes:
        codewords: shape (K, d).
        converged: whether no item changed its cell in the last iteration.
        iterations: how many there were.
        distortion: mean squared error of the items.

    """

    codewords: np.ndarray
    converged: bool
    iterations: int
    distortion: float


def first_codebooks(
    generator: np.random.Generator, points: np.ndarray, K: int, starts: int
) -> list[np.ndarray]:
    """Draw the first codewords of several starts of k-means.

    They are drawn from 16 K of the items where there are more, at the cost of so few. After k-means the distortion is
    the same: within .3 per cent of that of codewords drawn from all, on Gaussian, Laplace and clustered items alike.
    """

    def drawn() -> np.ndarray:
        if len(points) > _SEEDED_FROM * K:
            some = points[generator.choice(len(points), _SEEDED_FROM * K, replace=False)]
            if distinct_rows(some, K) >= K:
                return seeds(generator, some, K)
        return seeds(generator, points, K)

    return [drawn() for _ in range(starts)]


def best_codebook(points: np.ndarray, firsts: list[np.ndarray], iterations: int) -> KMeans:
    """Find the codebook of least distortion among k-means from several starts."""
    items = Points(points)
    return min((lloyd(items, u, iterations) for u in firsts), key=lambda fit: fit.distortion)


def lloyd(items: Points, codewords: np.ndarray, iterations: int) -> KMeans:
    """Alternate nearest codewords and centroids (Lloyd's algorithm) until no item changes its cell.

    A cell that empties is given one of the items farthest from their codewords. An item is at most so far from its
    own codeword as it was, and the way that this has moved, and no other is nearer than it was, less the longest way
    of all: where the first bound stays below the second, the item keeps its cell, and no distance is computed (Hamerly
    2010, SDM).
    """
    points = items.points
    labels, own, others = items.nearest(codewords)
    before = None
    for step in range(iterations + 1):
        stale = np.flatnonzero(own * _CERTAIN >= others)
        if before is not None and stale.size:
            labels[stale], own[stale], others[stale] = items.nearest(codewords, stale)
        converged = before is not None and np.array_equal(labels, before)
        if converged or step == iterations:
            break
        before = labels.copy()
        # Moving codewords to the centroids of their cells never raises the distortion, nor does the next assignment.
        counts, centroids = centroids_of(points, labels, codewords)
        empty = np.flatnonzero(counts == 0)
        if empty.size:
            error = squared_lengths(points - codewords[labels])
            centroids[empty] = points[np.argsort(error)[-empty.size :]]
        moved = np.sqrt(squared_lengths(centroids - codewords)) * _CERTAIN
        own = own * _CERTAIN + moved[labels]
        others = others / _CERTAIN - moved.max()
        codewords = centroids
    error = squared_lengths(points - codewords[labels])
    return KMeans(codewords, converged, step, float(error.mean()))


def centroids_of(
    points: np.ndarray, labels: np.ndarray, codewords: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Number of items in each cell, and their mean; an empty cell keeps its codeword."""
    counts, sums = cell_sums(points, labels, len(codewords))
    means = sums / np.maximum(counts, 1)[:, None]
    return counts, np.where((counts > 0)[:, None], means, codewords)
