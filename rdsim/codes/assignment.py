r"""The nearest codeword of each point, on the host: products in float32, and the labels of float64.

The nearest codeword has the greatest score $\langle y, u \rangle - |u|^2/2$, a product of matrices, computed in
float32 for blocks of points that stay in the cache. Where another codeword comes so near to the greatest score
that rounding may have exchanged them, the distances of that point are computed again in float64, coordinate by
coordinate. So the result is that of float64, whatever the size of the blocks and the order of the sums.
"""

import math
from typing import Final, NamedTuple

import numpy as np

from rdsim.threads import one_blas_thread

_CACHED_SCORES: Final = 1 << 16
"""Scores of a block of points that are compared while they are in the cache (256 KiB of float32)."""
_REPAIRED_AT_ONCE: Final = 1 << 20
"""Distances that are computed again at a time (8 MiB of float64)."""


class Nearest(NamedTuple):
    """The nearest codewords of some points.

    Attributes:
        labels: index of the nearest codeword, the first of equals, shape (N,).
        own: an upper bound on the distance to it, shape (N,).
        others: a lower bound on the distance to every other codeword, shape (N,). Both bounds are zero where
            float32 did not tell the two best apart.

    """

    labels: np.ndarray
    own: np.ndarray
    others: np.ndarray


class Points:
    """Points that are assigned to codewords once or, as in k-means, again and again."""

    def __init__(self, points: np.ndarray) -> None:
        """Centre, scale and round the points: float64, shape (N, d)."""
        self.points = np.ascontiguousarray(points)
        # A translation changes no order of distances. By the mean of the points, their differences do not cancel.
        self._centre = np.full(len(points), 1 / len(points)) @ self.points
        y = self.points - self._centre
        # A power of two scales without rounding, and keeps float32 from overflow and underflow.
        self._scale = math.ldexp(1.0, -max(math.frexp(max(y.max(), -y.min()))[1], -1000))
        y *= self._scale
        self._squares = squared_lengths(y)
        # A one beside each point and -|u|^2/2 below each codeword make the score a single product.
        self._rows = np.ones((len(y), y.shape[1] + 1), np.float32)
        self._rows[:, :-1] = y

    @np.errstate(over="ignore", invalid="ignore")
    def nearest(self, codewords: np.ndarray, which: np.ndarray | None = None) -> Nearest:
        """Find the nearest of the codewords, float64, shape (K, d), of all points or those of these numbers.

        Codewords too far for float32 have scores that are not finite, which are not told apart.
        """
        u = (codewords - self._centre) * self._scale
        half = 0.5 * squared_lengths(u)
        columns = np.ascontiguousarray(np.column_stack([u, -half]).T, np.float32)
        squares = self._squares if which is None else self._squares[which]
        labels, first, second = self._two_best(columns, which)
        # Each of d products and sums, and of the few roundings beside them, errs by at most one unit in the last
        # place, relative to |y| |u| + |u|^2/2, or by the least normal number; two scores that differ by less than
        # twice that are not told apart.
        farthest = float(half.max())
        size = np.sqrt(2 * farthest * squares) + farthest
        unsure = 2 * (u.shape[1] + 8) * (2.0**-24 * size + 2.0**-126)
        near = np.flatnonzero(~(first - second > unsure))
        # |y - u|^2 = |y|^2 - 2 (<y, u> - |u|^2/2), and what rounding may have added to the score or taken from it.
        own = np.sqrt(np.maximum(squares - 2 * (first - unsure), 0.0)) / self._scale
        others = np.sqrt(np.maximum(squares - 2 * (second + unsure), 0.0)) / self._scale
        own[near] = others[near] = 0.0
        for part in np.array_split(near, max(1, near.size * len(codewords) // _REPAIRED_AT_ONCE)):
            points = self.points[part if which is None else which[part]]
            labels[part] = _direct_squares(points, codewords).argmin(axis=1)
        return Nearest(labels, own, others)

    def _two_best(
        self, columns: np.ndarray, which: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Index of the greatest score of each point in float32, this score, and the second one, in float64."""
        size = len(self._rows) if which is None else len(which)
        count = max(1, min(_CACHED_SCORES // columns.shape[1], size))
        labels, best = np.empty(size, np.int64), np.empty((2, size), np.float32)
        buffer, number = np.empty((count, columns.shape[1]), np.float32), np.arange(count)
        with one_blas_thread():
            for start in range(0, size, count):
                block = slice(start, start + count)
                rows = self._rows[block] if which is None else self._rows.take(which[block], axis=0)
                place = number[: len(rows)]
                scores = np.matmul(rows, columns, out=buffer[: len(rows)])
                found = scores.argmax(axis=1, out=labels[block])
                best[0, block] = scores[place, found]
                scores[place, found] = -np.inf
                # The second argmax is twice as fast as a maximum.
                best[1, block] = scores[place, scores.argmax(axis=1)]
        return labels, *best.astype(np.float64)


def assign(points: np.ndarray, codewords: np.ndarray) -> np.ndarray:
    """Index of the nearest codeword, shape (K, d), of each point, shape (N, d), in float64: the first of equals."""
    return Points(points).nearest(codewords).labels


def squared_lengths(differences: np.ndarray) -> np.ndarray:
    """Squared Euclidean length of each row, shape (N,)."""
    return np.asarray(np.einsum("ij,ij->i", differences, differences))


def _direct_squares(points: np.ndarray, codewords: np.ndarray) -> np.ndarray:
    """Squared distances, summed over differences one coordinate after the other."""
    total = np.zeros((len(points), len(codewords)))
    for one, other in zip(points.T, codewords.T, strict=True):
        total += (one[:, None] - other) ** 2
    return total
