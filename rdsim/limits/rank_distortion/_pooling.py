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
from typing import Final, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float

from rdsim.certified import Certified
from rdsim.limits._curve import between
from rdsim.limits._supporting_lines import Points, search
from rdsim.limits.rank_distortion.uniform import TOLERANCE
from rdsim.ranking.loss import Loss, parse_loss

TIE: Final = 1e-12  # relative difference below which two sums of probabilities count as equal

NEGLIGIBLE: Final = 1e-290
"""Masses below it move no digit of a result, and their reciprocals overflow."""

_ENOUGH: Final = 1e-12
"""Gap at which the search over slopes stops, bits or units of loss: a thousandth of `TOLERANCE`."""


class PriorProblem(NamedTuple):
    """Priors, each with its weight: one, or one for every value of some side information."""

    weight: np.ndarray  # P(z), shape (Z,)
    priors: tuple[np.ndarray, ...]  # masses of each that are not negligible, in decreasing order
    rho: np.ndarray  # loss at ranks 1..M, shape (M,)


class PooledPoints(NamedTuple):
    """R(D) at S slopes, each with its certificate."""

    slope: np.ndarray
    distortion: np.ndarray
    rate: np.ndarray  # H(p) - H(t) as computed, bits
    error: np.ndarray  # bits by which R may differ from it: the gap to C5's bound, and rounding
    blocks: np.ndarray  # blocks of ranks that are pooled; items without mass are one more


def prior_problem(weight: np.ndarray, priors: np.ndarray, loss: Loss) -> PriorProblem:
    """Sort the priors, shape (Z, M), and tabulate the loss."""
    rho = parse_loss(loss).of_log_rank(jnp.log(jnp.arange(1.0, priors.shape[1] + 1)))
    ordered = -np.sort(-priors, axis=1)
    positive = tuple(row[row > NEGLIGIBLE] for row in ordered)
    return PriorProblem(weight, positive, np.asarray(rho))


def rank_weights(rho: np.ndarray, slope: float) -> np.ndarray:
    r"""$w = 2^{-s\rho}$; 1 where the loss is zero, also at s = inf. See `pool` on underflow."""
    return np.exp2(-np.where(rho > 0, slope, 0.0) * np.where(rho > 0, rho, 1.0))


def pool(p: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pool adjacent violators: the first rank of each block, its mass P and its weight W.

    Underflow of w is harmless: the first level W/P is at least one (w_1 = 1) and levels increase, so
    a rank with w < p is pooled to the left whether its w is 1e-310 or 0.
    """
    w = w[: p.size]
    # Isotonic regression of w/p with weights p pools adjacent violators: its levels W_B/P_B
    # increase, which is the slope of the greatest convex minorant.
    starts = scipy.optimize.isotonic_regression(w / p, weights=p).blocks[:-1]
    return starts, np.add.reduceat(p, starts), np.add.reduceat(w, starts)


def pooled_points(problem: PriorProblem, slopes: np.ndarray) -> PooledPoints:
    """Solve at each slope: the mean over the priors, all at this slope."""
    distortion, rate, error, blocks = np.zeros((4, slopes.size))
    for k, slope in enumerate(slopes):
        w = rank_weights(problem.rho, slope)
        parts = np.array([_pooled(p, w, problem.rho, slope) for p in problem.priors])
        distortion[k], rate[k], error[k] = problem.weight @ parts[:, :3]
        blocks[k] = parts[:, 3].max()
    return PooledPoints(slopes, distortion, rate, error, blocks.astype(int))


def _pooled(
    p: np.ndarray, w: np.ndarray, rho: np.ndarray, slope: float
) -> tuple[float, float, float, int]:
    """Pool the ranks of one prior, sorted to decrease: distortion, rate, error and blocks."""
    starts, P, W = pool(p, w)
    # p/Z of every item, constant within a block, decreasing from one to the next.
    level = np.repeat(P / W, np.diff(starts, append=p.size))
    t = level * w[: p.size]
    distortion = float(np.sum(t * rho[: p.size]))
    cost = slope * distortion if distortion > 0 else 0.0
    source = entropy(p)
    rate = max(source - entropy(t), 0.0)
    # The certificate believes none of the above: any positive level p/Z gives a lower bound (C5).
    best_ranking = np.sort(level)[::-1]
    dual = source + float(np.sum(p * np.log2(level)))
    dual -= math.log2(float(np.sum(best_ranking * w[: p.size])))
    # Each entropy is a sum of terms of at most log2 M bits in all, and the cost is of its own
    # size.
    rounding = 16 * np.finfo(float).eps * (1 + math.log2(rho.size) + cost)
    error = max(rate + cost - dual, 0.0) + rounding
    jumps = int(np.count_nonzero(W[1:] * P[:-1] > (1 + TIE) * W[:-1] * P[1:]))
    # Items without mass are one more block, unless their ranks have no weight either.
    massless = float(np.sum(w[p.size :])) > TIE * float(np.sum(w))
    return distortion, rate, error, 1 + jumps + massless


def entropy(p: np.ndarray) -> float:
    """Entropy in bits, on the host."""
    p = p[p > 0]
    return -float(np.sum(p * np.log2(p)))


def prior_bounds(problem: PriorProblem, target: Float[Array, "..."], *, by_rate: bool) -> Certified:
    """Bound the rate at losses, or the loss at rates, by the search that all curves share."""

    def solve(slopes: np.ndarray) -> Points:
        found = pooled_points(problem, slopes)
        return Points(slopes, found.distortion, found.rate - found.error, found.rate + found.error)

    goal = np.asarray(target).ravel()
    zero = np.zeros(1)
    # Ranking by the prior needs no bits at all: nothing is rounded there.
    without_bits = pooled_points(problem, zero).distortion
    known = Points(zero, without_bits, zero, zero)
    searched = goal > 0 if by_rate else goal >= 0
    lower = np.full(goal.shape, without_bits)
    upper = lower.copy()
    lower[searched], upper[searched] = search(
        solve, known, goal[searched], _ENOUGH, inverse=by_rate
    )
    if by_rate:
        # A loss is not bounded to its last digits by rates that are; a loss of zero is exact.
        rounding = 4 * np.finfo(float).eps
        lower[searched] = np.maximum(lower[searched] - rounding, 0.0)
        upper[searched & (upper > 0)] += rounding
    return between(lower, upper, target.shape, TOLERANCE)
