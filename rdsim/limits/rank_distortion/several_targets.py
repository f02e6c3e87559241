r"""The rank-distortion function of several targets (C31): bits that a ranking of all of them needs.

P of M items are relevant, all sets of P equally likely; a ranking puts them on a set of places and pays the
loss of that set. With $\pi$ over the $\binom MP$ sets of places,

$$R(D) = \log_2 \binom MP - \max\{H(\pi) : E\,L(\pi) \le D\},$$

and the maximiser is the Gibbs distribution, $\pi \propto e^{-\lambda L}$. One target gives C2. Where targets have
gains of several sizes, the arrangement of gains on places takes the role of the set.

| name | loss |
|---|---|
| "average_precision" | one minus the average precision |
| "ndcg", ("ndcg", k) | one minus the normalised discounted cumulative gain, of the first k places |
| "reciprocal_rank" | one minus the reciprocal rank of the first target |
| ("success", K) | 1 if no target is among the first K |
| ("recall", K) | one minus the share of the targets among the first K |

`_places` sums over all arrangements at a slope, which gives a point of the curve and its supporting line.
"""

import math
from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.certified import Certified
from rdsim.information import LN2
from rdsim.limits._curve import between, check_distortion
from rdsim.limits._supporting_lines import Points, search
from rdsim.limits.rank_distortion._places import (
    AveragePrecision,
    Gains,
    Levels,
    PlaceSums,
    discounts,
    log_choose,
    rounding,
)
from rdsim.limits.rank_distortion.uniform import TOLERANCE, checked_distortion, checked_rate
from rdsim.number_types import ArrayLike, Integer
from rdsim.transformations import on_host

SetLoss = str | tuple[str, int]
"""A loss of several targets: "average_precision", "ndcg", ("ndcg", k), "reciprocal_rank", ("success", K) or
("recall", K)."""

MAX_LISTED: Final = 2**22
"""Most places that are looked at one by one; losses of the first K places alone have no such limit."""
MAX_AVERAGE_PRECISION: Final = 2**17
"""Most items for the average precision, whose recursion goes through the places in order."""
MAX_COEFFICIENTS: Final = 4096
"""Most coefficients of a polynomial: one more than the number of targets, multiplied over the gains."""
_LARGEST_INTEGER: Final = 52.0  # log2 M up to which M is rounded to an integer
_ENOUGH: Final = 3e-13  # gap at which the search over slopes stops, beside what rounding leaves


@on_host
@validation.needs_float64
def rank_rate_several_targets(
    log2_size: ArrayLike,
    loss: SetLoss,
    *,
    targets: Integer,
    distortion: ArrayLike,
    gains: ArrayLike | None = None,
) -> Certified:
    r"""Compute the rank-distortion function of P targets, all sets of P equally likely (C31).

    $$R(D) = \log_2 \binom MP - \max\{H(\pi) : E\,L(\pi) \le D\}.$$

    Args:
        log2_size: log2 M, a scalar; M is the nearest integer up to 2^52.
        loss: a `SetLoss`.
        targets: P, from 1 to M.
        distortion: D, expected loss allowed, in [0, 1], any shape, at least the least loss there is.
        gains: of each target, positive, shape (P,), for the NDCG alone; equal by default.

    Returns:
        Bits, shape of D, with bounds that include rounding; `value` is the upper one. 0 from the mean
        loss of a random ranking on.

    Raises:
        ValueError: if D is below the least loss (recall of more targets than K has one), or the loss has
            more places to look at than `MAX_LISTED` or `MAX_AVERAGE_PRECISION`.

    References:
        Cover and Thomas (2006), Theorem 12.1.1 (maximum entropy is Gibbs); Chen and Liu (1997), Statistica
        Sinica 7, for elementary symmetric polynomials as conditional Bernoulli probabilities.

    """
    D = checked_distortion(distortion)
    sums = place_sums(log2_size, loss, targets, gains)
    check_distortion(D, jnp.asarray(sums.least))
    return _bounds(sums, D, by_rate=False)


@on_host
@validation.needs_float64
def rank_loss_several_targets(
    log2_size: ArrayLike,
    loss: SetLoss,
    *,
    targets: Integer,
    rate: ArrayLike,
    gains: ArrayLike | None = None,
) -> Certified:
    r"""Compute the least expected loss of a ranking of P targets that rests on given bits (C31).

    The inverse of `rank_rate_several_targets`, whose other arguments it shares.

    Args:
        log2_size: log2 M, a scalar.
        loss: a `SetLoss`.
        targets: P.
        rate: bits, >= 0, any shape.
        gains: of each target, for the NDCG.

    Returns:
        Loss in [0, 1], shape of the rate, with bounds; `value` is the upper one.

    """
    R = checked_rate(rate)
    return _bounds(place_sums(log2_size, loss, targets, gains), R, by_rate=True)


def place_sums(log2_size: Any, loss: Any, targets: Any, gains: Any) -> PlaceSums:
    """Check the problem, and choose how its arrangements are summed over.

    The partition function sums exp(-lambda loss) over the C(M,P) places of the targets. Success, recall and the
    first reciprocal rank take few values: their arrangements are counted, a level each. The average
    precision and the DCG are summed place by place (`_places`).
    """
    size = float(validation.interval("log2_size", log2_size, low=1.0, high=1e5, ndim=0))
    P = validation.integer("targets", targets, low=1)
    kind, cutoff = _parsed(loss)
    if size > 1000 or (size > _LARGEST_INTEGER and kind not in ("success", "recall")):
        raise ValueError(
            f"log2_size must be at most 1000, and at most {_LARGEST_INTEGER:g} unless the loss is "
            f"success or recall, got {size!r} for {kind}"
        )
    M = 2.0**size if size > _LARGEST_INTEGER else float(round(2.0**size))
    if M < P:
        raise ValueError(f"targets must be at most the number of items, {M:.0f}, got {P}")
    if gains is not None and kind != "ndcg":
        raise ValueError(f"gains are for the loss ndcg alone, got them with {kind}")
    listed = {"average_precision": MAX_AVERAGE_PRECISION}.get(kind, MAX_LISTED)
    looked_at = M if cutoff is None else min(float(cutoff), M)
    if looked_at > listed and kind not in ("success", "recall"):
        raise ValueError(
            f"log2_size must keep the places that the loss looks at to {listed}, got {looked_at:.0f} "
            f"for {kind}"
        )
    log_count = log_choose(M, P)
    if kind == "average_precision" and P > 1:
        return AveragePrecision(P, int(M), log_count)
    if kind == "ndcg":
        return _gains(M, P, int(looked_at), gains)
    if kind in ("reciprocal_rank", "average_precision"):
        first = np.arange(1.0, M - P + 2)
        # The P - 1 others are behind the first: ln C(M-r, P-1), again by its factors.
        log_number = np.zeros(first.size)
        for i in range(P - 1):
            log_number += np.log((M - first - i) / (i + 1))
        return Levels(log_number, 1 - 1 / first, log_count, terms=64.0 + P * log_count)
    # j of the P targets among the first K places: C(K,j) C(M-K,P-j) arrangements.
    K = min(float(cutoff or 0), M)
    inside = np.arange(int(min(P, K)) + 1)
    log_number = np.array([log_choose(K, j) + log_choose(M - K, P - j) for j in inside.tolist()])
    values = 1 - inside / P if kind == "recall" else (inside == 0).astype(float)
    return Levels(log_number, values, log_count)


def _parsed(loss: Any) -> tuple[str, int | None]:
    """Read a loss as a caller names it: its kind, and how many places it looks at."""
    if isinstance(loss, str) and loss in ("average_precision", "ndcg", "reciprocal_rank"):
        return loss, None
    if isinstance(loss, tuple | list) and len(loss) == 2:
        kind, cutoff = loss
        whole = isinstance(cutoff, int | np.integer) and not isinstance(cutoff, bool)
        known = isinstance(kind, str) and kind in ("ndcg", "success", "recall")
        if known and whole and 1 <= cutoff <= MAX_LISTED:
            return kind, int(cutoff)
    raise ValueError(
        'loss must be "average_precision", "ndcg", ("ndcg", k), "reciprocal_rank", ("success", K) or '
        f'("recall", K) with an integer from 1 to {MAX_LISTED}, got {loss!r}'
    )


def _gains(M: float, P: int, looked_at: int, gains: Any) -> Gains:
    """Group the targets by their gains, and count arrangements."""
    if gains is None:
        each = np.ones(P)
    else:
        each = np.asarray(validation.positive("gains", gains, ndim=1))
        if each.size != P:
            raise ValueError(f"gains must hold one number a target, {P}, got {each.size}")
    discount = discounts(np.arange(1.0, looked_at + 1))
    ordered = np.sort(each)[::-1]
    shown = min(P, looked_at)
    ideal = float(np.sum(ordered[:shown] * discount[:shown]))
    distinct, number = np.unique(each, return_counts=True)
    if math.prod(int(n) + 1 for n in number) > MAX_COEFFICIENTS:
        raise ValueError(
            f"gains must take few distinct values: the product of one more than the number of each must "
            f"be at most {MAX_COEFFICIENTS}, got {number.size} values of {P} targets"
        )
    hidden = np.unique(ordered[shown:], return_counts=True)[1]
    return Gains(
        distinct / ideal,
        tuple(int(n) for n in number),
        discount,
        M - looked_at,
        _log_arrangements(M, number),
        # The best lists show the largest gains in order; the others may be anywhere behind.
        _log_arrangements(M - looked_at, hidden) if hidden.size else 0.0,
    )


def _log_arrangements(places: float, number: np.ndarray) -> float:
    """Ln of the number of ways to put so many targets of each gain on places."""
    total, left = 0.0, places
    for n in number.tolist():
        total += log_choose(left, n)
        left -= n
    return total


def _bounds(sums: PlaceSums, target: Float[Array, "..."], *, by_rate: bool) -> Certified:
    """Bound the rate at losses, or the loss at rates, by the search that all curves share.

    Every slope gives a Gibbs distribution: its point is achieved, and the line of that slope through it lies below
    the curve. Both are moved by what rounding may have changed, so that the bounds hold as computed.
    """
    goal = np.asarray(target).ravel()
    # At slope zero the distribution is uniform: the loss of a random ranking, which needs no bits. At the other end the
    # rate is that of naming one of the arrangements of least loss.
    random = sums.at(0.0)[1]
    top = (sums.log_count - sums.log_best) / LN2

    def solve(slopes: np.ndarray) -> Points:
        """Points of the curve: its height as computed, and what rounding may have moved it by."""
        found = np.array([_point(sums, slope) for slope in slopes]).reshape(-1, 3)
        distortion, rate, error = found.T
        return Points(slopes, distortion, rate - error, rate + error)

    zero = np.zeros(1)
    known = Points(zero, np.array([random]), zero, zero)
    if top <= 0 or random <= sums.least:
        # Every arrangement has the same loss, or there is one alone: no bits are of any use.
        flat = np.full(goal.shape, random if by_rate else 0.0)
        return between(flat, flat, target.shape, TOLERANCE)
    searched = goal > 0 if by_rate else goal >= 0
    lower = np.full(goal.shape, random if by_rate else 0.0)
    upper = lower.copy()
    enough = _ENOUGH + 8 * rounding(sums, 0.0)
    bounds = search(solve, known, goal[searched], enough, inverse=by_rate)
    lower[searched], upper[searched] = bounds
    if by_rate:
        upper = np.minimum(upper, random)
        # The loss itself is rounded too, which bounds of the rate do not see; the least loss and
        # that of a random ranking are known, and not exceeded.
        slack = 8 * np.finfo(float).eps
        lower = np.where(lower > sums.least, np.maximum(lower - slack, sums.least), lower)
        upper = np.where(upper > sums.least, np.minimum(upper + slack, random), upper)
    lower = np.maximum(lower, sums.least if by_rate else 0.0)
    return between(np.minimum(lower, upper), upper, target.shape, TOLERANCE)


def _point(sums: PlaceSums, slope: float) -> tuple[float, float, float]:
    """Loss, rate and its error in bits of the Gibbs distribution at a slope in bits per unit of loss."""
    if np.isinf(slope):
        rate = (sums.log_count - sums.log_best) / LN2
        return sums.least, rate, rounding(sums, 0.0)
    nats = slope * LN2
    log_Z, mean = sums.at(nats)
    rate = max((-log_Z - nats * mean) / LN2, 0.0)
    return mean, rate, rounding(sums, nats)
