r"""One slope of the rank-distortion function with priors: pooling ranks, with a certificate (C3).

At slope s, with $w_r = 2^{-s\rho(r)}$, the mixtures $Z_j = \sum_\pi q(\pi) w_{\pi(j)}$ of C5 are the
vectors majorised by w (Rado), and $\min -\sum_j p_j \log_2 Z_j$ needs
$\sum_{j \le k} Z_j \le \sum_{r \le k} w_r$ only. With multipliers $\lambda_k \ge 0$ of these,
$p_j / Z_j = \sum_{k \ge j} \lambda_k$ decreases, and steps down only where a constraint is tight:
as a function of $\sum_{j \le k} p_j$ the sum $\sum_{j \le k} Z_j$ is the greatest convex minorant of
$\sum_{r \le k} w_r$. Pooling adjacent violators finds it in O(M): on a block B of ranks
$Z_j = p_j W_B / P_B$ and $t_r = w_r P_B / W_B$. By C5, $\log_2 \max_\pi \sum_j (p_j/Z_j) w_{\pi(j)}$
certifies it, and the best ranking is a sort (rearrangement inequality): O(M log M).

The pooling runs on the host, in SciPy: 0.2 ms for 10^4 items.
"""

import math
from typing import Any, Final, NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy.optimize import isotonic_regression

from rdsim.certified import Certified
from rdsim.ranking.loss import Loss, parse_loss

TOLERANCE: Final = 1e-9
"""Certified gap that counts as converged, bits (or units of loss)."""

TIE: Final = 1e-12
"""Relative difference below which two sums of probabilities count as equal."""

_ENOUGH: Final = 1e-12  # gap at which a search over slopes stops
_SEARCH_STEPS: Final = 100
_SLOPES: Final = (1e-17, 4096.0)  # beyond them D is D_max, or below 1e-300, to the last digit
_FIRST_SLOPE: Final = 4.0
_STRIDE: Final = 8.0  # factor between slopes while one side of the goal is open
NEGLIGIBLE: Final = 1e-290  # masses below it move no digit, and their reciprocals overflow


class Problem(NamedTuple):
    """Priors, each with its share: one, or one for every value of some side information."""

    weight: np.ndarray
    """P(z), shape (Z,)."""
    priors: tuple[np.ndarray, ...]
    """The masses of each prior that are not negligible, in decreasing order."""
    rho: np.ndarray
    """Loss at ranks 1..M, shape (M,)."""


class Point(NamedTuple):
    """R(D) at one slope, with its certificate."""

    slope: float
    distortion: float
    rate: float
    gap: float
    blocks: int


def make_problem(weight: np.ndarray, priors: np.ndarray, loss: Loss) -> Problem:
    """Sort the priors, shape (Z, M), and tabulate the loss."""
    rho = parse_loss(loss).of_log_rank(jnp.log(jnp.arange(1.0, priors.shape[1] + 1)))
    ordered = -np.sort(-priors, axis=1)
    kept = tuple(row[row > NEGLIGIBLE] for row in ordered)
    return Problem(weight, kept, np.asarray(rho))


def weights(rho: np.ndarray, slope: float) -> np.ndarray:
    r"""$w = 2^{-s\rho}$; 1 where the loss is zero, also at s = inf. See `pool` on underflow."""
    return np.exp2(-np.where(rho > 0, slope, 0.0) * np.where(rho > 0, rho, 1.0))


def pool(p: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pool adjacent violators: the first rank of each block, its mass P and its weight W.

    Underflow of w is harmless: the first level W/P is at least one (w_1 = 1) and levels increase, so
    a rank with w < p is pooled to the left whether its w is 1e-310 or 0.
    """
    w = w[: p.size]
    starts = isotonic_regression(w / p, weights=p).blocks[:-1]
    return starts, np.add.reduceat(p, starts), np.add.reduceat(w, starts)


def point_at(problem: Problem, slope: float) -> Point:
    """Solve at one slope: the priors, weighted, all at this slope."""
    w = weights(problem.rho, slope)
    parts = [_solve(p, w, problem.rho, slope) for p in problem.priors]
    distortion, rate, gap = problem.weight @ np.array([part[1:4] for part in parts])
    return Point(slope, distortion, rate, gap, max(part.blocks for part in parts))


def _solve(p: np.ndarray, w: np.ndarray, rho: np.ndarray, slope: float) -> Point:
    starts, P, W = pool(p, w)
    level = np.repeat(P / W, np.diff(starts, append=p.size))
    law = level * w[: p.size]
    distortion = float(np.sum(law * rho[: p.size]))
    cost = slope * distortion if distortion > 0 else 0.0
    source = entropy(p)
    rate = max(source - entropy(law), 0.0)
    # The certificate believes none of the above: any positive level p/Z gives a lower bound (C5).
    best_ranking = np.sort(level)[::-1]
    dual = source + float(np.sum(p * np.log2(level)))
    dual -= math.log2(float(np.sum(best_ranking * w[: p.size])))
    rounding = 16 * np.finfo(float).eps * (1 + math.log2(rho.size) + cost)
    gap = max(rate + cost - dual, 0.0) + rounding
    jumps = int(np.count_nonzero(W[1:] * P[:-1] > (1 + TIE) * W[:-1] * P[1:]))
    # Items without mass are one more block, unless their ranks have no weight either.
    massless = float(np.sum(w[p.size :])) > TIE * float(np.sum(w))
    return Point(slope, distortion, rate, gap, 1 + jumps + massless)


def entropy(p: np.ndarray) -> float:
    """Entropy in bits, on the host."""
    p = p[p > 0]
    return -float(np.sum(p * np.log2(p)))


class Bracket(NamedTuple):
    """Bounds at a goal, and a slope of the curve there."""

    slope: float
    lower: float
    upper: float


def search(problem: Problem, goal: Any, *, by_rate: bool) -> Certified:
    """Bounds on the rate at losses, or on the loss at rates, one target after the other."""
    targets = np.asarray(goal)
    found = [bracket(problem, float(target), by_rate=by_rate) for target in targets.ravel()]
    lower, upper = (
        jnp.reshape(jnp.array([getattr(ends, end) for ends in found]), targets.shape)
        for end in ("lower", "upper")
    )
    return Certified(value=upper, lower=lower, upper=upper, tolerance=jnp.array(TOLERANCE))


def bracket(problem: Problem, goal: float, *, by_rate: bool) -> Bracket:
    """Narrow the slope until time sharing and supporting lines meet at the goal.

    The points of a smaller and a larger slope enclose the goal: their chord is achieved and their
    tangents bound below. D is continuous in the slope, so the enclosure closes: first by powers of
    a large step, then by interpolation and now and then by halving in the log domain.
    """
    steep = point_at(problem, math.inf)
    # Ranking by the prior needs no bits at all: nothing is rounded there.
    flat = point_at(problem, 0.0)._replace(rate=0.0, gap=0.0)
    if by_rate and goal >= steep.rate:
        return Bracket(math.inf, 0.0, 0.0)
    if not by_rate and goal <= 0:
        return Bracket(math.inf, max(steep.rate - steep.gap, 0.0), steep.rate + steep.gap)
    if by_rate and goal <= 0:
        return Bracket(0.0, flat.distortion, flat.distortion)
    if not by_rate and goal >= flat.distortion:
        return Bracket(0.0, 0.0, 0.0)
    lower, upper, slope, low, high = 0.0, math.inf, _FIRST_SLOPE, 0.0, math.inf
    for step in range(_SEARCH_STEPS):
        point = point_at(problem, slope)
        # What is achieved is the rate with its rounding, which the gap includes.
        if point.rate + point.gap > goal if by_rate else point.distortion <= goal:
            steep, high = point, slope
        else:
            flat, low = point, slope
        floor = point.rate - point.gap + slope * point.distortion
        lower = max(lower, (floor - goal) / slope if by_rate else floor - slope * goal)
        upper = _chord(steep, flat, goal, by_rate=by_rate)
        narrow = high <= low * (1 + 1e-15) or high < _SLOPES[0] or low > _SLOPES[1]
        if upper - lower <= _ENOUGH or narrow:
            break
        slope = _next_slope(low, high, steep, flat, goal, halve=step % 3 == 0, by_rate=by_rate)
    room = 4 * np.finfo(float).eps if by_rate else 0.0
    return Bracket(slope, max(min(lower, upper) - room, 0.0), upper + room)


def _next_slope(
    low: float, high: float, steep: Point, flat: Point, goal: float, *, halve: bool, by_rate: bool
) -> float:
    if low == 0.0:
        return high / _STRIDE
    if math.isinf(high):
        return low * _STRIDE
    x, y = (flat.rate, steep.rate) if by_rate else (flat.distortion, steep.distortion)
    if halve or x == y or high > 4 * low:
        return math.sqrt(low * high)
    return min(max(low + (goal - x) / (y - x) * (high - low), low), high)


def _chord(steep: Point, flat: Point, goal: float, *, by_rate: bool) -> float:
    """Time sharing of two points at the goal."""
    x, y, f, g = steep.distortion, flat.distortion, steep.rate + steep.gap, flat.rate + flat.gap
    if by_rate:
        x, y, f, g = f, g, x, y
    if x == y:
        return min(f, g)
    return f + min(max((goal - x) / (y - x), 0.0), 1.0) * (g - f)
