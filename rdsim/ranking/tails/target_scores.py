r"""The score of a target among Gaussian vectors, and who passes it there: one contour integral (C29).

With the cumulant generating function K of `ranking.gaussian.vector`, the contour through the saddlepoint t gives the
probability that a competitor passes the score K'(t), and the density of the target's score there.
"""

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rdsim.ranking.tails.contour import Complexes, Reals, contour
from rdsim.threads import one_blas_thread

Counts = NDArray[np.intp]

_TOGETHER: Final = 256
"""Queries whose integrals are in memory together."""
_CUT: Final = -32.0
"""Scores at which the target's density is below e^-32 of its peak are left out."""
_STEP: Final = 0.6
"""Largest step of the scores in the target's standard deviations: exp(-2 pi^2 / 0.36) is below rounding."""
_SHARPNESS: Final = 1.5
"""Largest step in nats of the score: the loss turns from 0 to 1 within about one, and is resolved to
exp(-2 pi^2 / 1.5) = 2e-6, with a sign that changes from query to query."""
_ALIKE: Final = 2.8
"""Queries whose variances of the score differ by a factor of at most e^2.8, about 4^2, share a contour."""
_TINY: Final = 1e-300
"""A probability of zero counts as this one, which has a finite logarithm."""


class TargetScores(NamedTuple):
    """Points of the target's score given each query, their probabilities, and who wins there.

    Attributes:
        t: saddlepoints, shape (T,).
        log_a: ln of the probability that a competitor scores higher, shape (queries, T).
        probability: of the target's score to lie there, shape (queries, T).

    """

    t: Reals
    log_a: Reals
    probability: Reals


def target_scores(beta: Reals, x2: Reals) -> TargetScores:
    r"""Integrate over the target's score given queries, along t = K'^{-1}(score).

    Modes of equal beta are summed first: K holds of a query only the sum of their squares.

    Args:
        beta: $(1 - c_i^2)/c_i^2$, not decreasing, shape (k,).
        x2: squared coordinates of the queries, shape (queries, k).

    """
    beta, first, modes = np.unique(beta, return_index=True, return_counts=True)
    # Thousands of products, each of some hundred queries by some dozen modes.
    with one_blas_thread():
        return _target_scores(beta, np.add.reduceat(x2, first, axis=-1), modes)


def _target_scores(beta: Reals, x2: Reals, modes: Counts) -> TargetScores:
    t, width = _grid(beta, x2, modes)
    variance, log_tail, log_density = _exponents(beta, x2, modes, t)
    seen = log_density > _CUT
    log_a, probability = np.full(seen.shape, -np.inf), np.zeros(seen.shape)
    for point in np.flatnonzero(seen.any(axis=0)):
        rows = np.flatnonzero(seen[:, point])
        # Queries whose scores are alike in variance share a path.
        log_ratio = np.log(variance[rows, point] / variance[rows, point].min())
        alike = (log_ratio / _ALIKE).astype(int)
        for group in np.unique(alike):
            chosen = rows[alike == group]
            at = chosen, point
            one = _Path.at(beta, modes, t[point], variance[at])
            tail, density = one.integrals(x2[chosen])
            log_a[at] = one.with_pole(log_tail[at], tail)
            # The target's density in its score, times d(score) = K'' dt.
            density = np.maximum(density, 0.0) * np.exp(log_density[at])
            probability[at] = width[point] * variance[at] * density
    return TargetScores(t, log_a, probability)


class _Path(NamedTuple):
    """One contour, and K on it less its linear part in a form in which nothing cancels.

    Attributes:
        weight: shape (J,).
        over_z: weight over z, shape (J,).
        pole: a number.
        central: the part of the exponent that all queries share, shape (J,).
        of_query: the part that multiplies the squared coordinates, real parts before imaginary ones,
            shape (k, 2J).

    """

    weight: Complexes
    over_z: Complexes
    pole: float
    central: Complexes
    of_query: Reals

    @classmethod
    def at(cls, beta: Reals, modes: Counts, t: float, variance: Reals) -> "_Path":
        """Place a contour through t, for queries with these variances K''(t)."""
        ends = np.array([variance.min()]), np.array([variance.max()])
        path = contour(np.array([t]), -beta[0], *ends)
        shift, v = path.shift[0], t + beta
        ratio = shift[:, None] / v
        central = -0.5 * (np.log1p(ratio) - ratio) @ modes
        of_query = 0.5 * (beta * (1 + beta) / v) * (ratio**2 / (1 + ratio))
        parts = np.concatenate([of_query.real, of_query.imag]).T
        weight = path.weight[0]
        return cls(weight, weight / path.z[0], float(path.pole[0]), central, parts)

    def integrals(self, x2: Reals) -> tuple[Reals, Reals]:
        """The tail and the density over their exponentials at the saddlepoint, shape (queries,)."""
        tail, density = np.empty(len(x2)), np.empty(len(x2))
        for first in range(0, len(x2), _TOGETHER):
            some = slice(first, first + _TOGETHER)
            both = x2[some] @ self.of_query
            nodes = self.weight.size
            values = np.exp(self.central + both[:, :nodes] + 1j * both[:, nodes:])
            tail[some] = (values @ self.over_z).real
            density[some] = (values @ self.weight).real
        return tail, density

    def with_pole(self, log_tail: Reals, tail: Reals) -> Reals:
        """Ln of the tail probability."""
        if self.pole == 0:
            return np.asarray(log_tail + np.log(np.maximum(tail, _TINY)))
        return np.asarray(np.log(np.clip(np.exp(log_tail) * tail + self.pole, _TINY, 1.0)))


def _grid(beta: Reals, x2: Reals, modes: Counts) -> tuple[Reals, Reals]:
    r"""Choose saddlepoints t, evenly in a coordinate tau; and dt over its step, both of shape (T,).

    In $\xi = \ln\frac{t + \beta_1}{1 + \beta_1}$ the target's score is as regular near its bound, at
    t = inf, as elsewhere; what matters of it lies in [-5, 75] for any number of modes, around zero, where
    t = 1, the middle of the target's distribution. Queries that tell little have wide distributions,
    and far out they alone are left: with xi = w sinh(tau) the steps grow in proportion.
    """
    away = np.geomspace(1e-22, 75.0, 300)
    xi = np.concatenate([-away[away < 5][::-1], [0.0], away])
    s = (1 + beta[0]) * np.exp(xi)
    variance, _, log_density = _exponents(beta, x2, modes, 1 + (1 + beta[0]) * np.expm1(xi))
    seen = log_density > _CUT
    inside = np.flatnonzero(seen.any(axis=0))
    low, high = xi[max(inside[0] - 1, 0)], xi[min(inside[-1] + 1, xi.size - 1)]
    largest = np.where(seen, variance, 0.0).max(axis=0)
    finest = min(_STEP, _SHARPNESS / math.sqrt(float(largest[away[away < 5].size])))
    needed = finest / (s * np.sqrt(largest + 1e-300))
    best = (math.inf, 0.0)
    for width in np.geomspace(1e-3, 1e3, 25) * needed.min():
        step = float((needed / np.hypot(width, xi))[seen.any(axis=0)].min())
        count = (math.asinh(high / width) - math.asinh(low / width)) / step
        best = min(best, (count, width))
    count, width = best
    tau = np.linspace(math.asinh(low / width), math.asinh(high / width), math.ceil(count) + 2)
    xi = width * np.sinh(tau)
    dt = (1 + beta[0]) * np.exp(xi) * width * np.cosh(tau) * (tau[1] - tau[0])
    return 1 + (1 + beta[0]) * np.expm1(xi), dt


def _exponents(beta: Reals, x2: Reals, modes: Counts, t: Reals) -> tuple[Reals, Reals, Reals]:
    """K''(t), K(t) - t K'(t) and, of the target, K(t) - K(1) - (t-1) K'(t), each (queries, T)."""
    t = t[:, None]
    v = t + beta
    variance = 0.5 * (1 / v**2) @ modes + x2 @ (beta * (1 + beta) / v**3).T
    of_tail = -0.5 * (np.log1p(t / beta) - t / v) @ modes - 0.5 * x2 @ ((1 + beta) * (t / v) ** 2).T
    of_target = -0.5 * (np.log1p((t - 1) / (1 + beta)) - (t - 1) / v) @ modes
    return variance, of_tail, of_target - 0.5 * x2 @ (beta * ((t - 1) / v) ** 2).T
