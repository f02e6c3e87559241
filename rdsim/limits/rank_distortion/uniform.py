r"""The rank-distortion function (C2): bits needed to rank a uniform target well enough.

$$R_\rho(D; M) = \log_2 M - \max\{H(q) : q \text{ on } \{1..M\}, \ \sum_r q_r \rho(r) \le D\}.$$

The maximiser is the Gibbs distribution, $q_r \propto e^{-\lambda \rho(r)}$. With
$Z(\lambda) = \sum_r e^{-\lambda\rho(r)}$ every $\lambda \ge 0$ certifies both sides: q itself is
achievable, and by weak duality $R \ge -\log_2 (Z(\lambda)/M) - \lambda D / \ln 2$.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.certified import Certified
from rdsim.information import LN2
from rdsim.limits.rank_distortion._sums_over_ranks import RankSum, gibbs, rank_sum
from rdsim.namespaces import constant, fori_loop, namespace_of, while_loop
from rdsim.number_types import ArrayLike
from rdsim.ranking.loss import Loss, RankLoss, parse_loss
from rdsim.root_finding import bisect, bisect_on_host
from rdsim.transformations import (
    M_IS_AN_INTEGER,
    falling,
    implicit_root,
    not_differentiable,
    with_derivatives_of,
)

_LOG_SLOPES: Final = (math.log(1e-17), math.log(1e7))
"""ln(lambda) at the ends of the search: beyond them D is the loss of guessing, or of no bad rank."""

_HALVINGS: Final = 9  # steps of bisection in ln(lambda), to a tenth of it
_NEWTON: Final = 5  # steps from there, which give all digits but the last ones
_AROUND: Final = 1e-12
"""Relative distance of the two slopes around them between which bisection goes on until no number is left."""

_MOST_HALVINGS: Final = 55
"""Halvings of a bracket of the first bisection that exhaust the digits of a float64."""
_LAST_DIGIT: Final = 2.0**-52
"""Relative width of a bracket between whose ends there is at most one float64."""
_SUMMATION_ERROR: Final = 2e-13
"""Bits by which log2 Z may be off, as tests/limits/test_rank.py measures against long sums."""

_LEAST_REACH: Final = 64
"""Bound of log2 M up to which one program serves all sizes. The panels beyond the first ranks, which are always summed,
cost a tenth of a call up to there."""
_TERMS: Final = 2**15
"""Terms of the sums over ranks of all targets that are searched side by side: they stay in the cache of the processor."""
_TRACED_REACH: Final = 1024
"""Largest log2 M where the size is traced, so that its value is not known."""

TOLERANCE: Final = 1e-9  # certified gap that counts as converged, bits (or units of loss)


@not_differentiable(log2_size=M_IS_AN_INTEGER)
@validation.needs_float64
def rank_rate(log2_size: ArrayLike, loss: Loss, *, distortion: ArrayLike) -> Certified:
    r"""Compute the rank-distortion function of a uniform target (C2).

    Args:
        log2_size: log2 M >= 1, broadcast against the distortion; M is the nearest integer up to 2^52.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        distortion: D, expected loss allowed, in [0, 1].

    Returns:
        Bits, broadcast shape; 0 from the mean loss of a random ranking on; at D = 0 log2 of M over
        the number of ranks without loss. The bounds include the error of summing over ranks, and
        have the derivative of the limit, $dR/dD = -\lambda / \ln 2$.

    References:
        Cover and Thomas (2006), Theorem 12.1.1 (maximum entropy is Gibbs); for the error it is
        Fano's inequality.

    """
    return _checked_rank_bounds(log2_size, loss, checked_distortion(distortion), by_rate=False)


@not_differentiable(log2_size=M_IS_AN_INTEGER)
@validation.needs_float64
def rank_loss(log2_size: ArrayLike, loss: Loss, *, rate: ArrayLike) -> Certified:
    r"""Compute the least expected loss of a ranking that rests on a given number of bits (C2).

    The inverse of `rank_rate` in the distortion.

    Args:
        log2_size: log2 M >= 1, broadcast against the rate.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        rate: bits, >= 0.

    Returns:
        Loss in [0, 1], broadcast shape, with bounds. One minus it, for the reciprocal rank, is the
        best possible MRR.

    """
    return _checked_rank_bounds(log2_size, loss, checked_rate(rate), by_rate=True)


def checked_distortion(distortion: ArrayLike) -> Float[Array, "..."]:
    """Read expected losses: in [0, 1], at least one."""
    return validation.not_empty(
        "distortion", validation.interval("distortion", distortion, low=0.0, high=1.0)
    )


def checked_rate(rate: ArrayLike) -> Float[Array, "..."]:
    """Read rates: finite, not negative, at least one."""
    return validation.not_empty("rate", validation.non_negative("rate", rate))


def _checked_rank_bounds(
    log2_size: ArrayLike, loss: Loss, target: Float[Array, "..."], *, by_rate: bool
) -> Certified:
    """Check the rest, and bound the rate at each target loss, or the loss at each target rate."""
    parsed = parse_loss(loss)
    size = validation.log2_size(log2_size)
    reach = _reach_of(size, parsed)
    if validation.is_traced(target, size):
        target, size = jnp.broadcast_arrays(target, size)
        lower, upper = _bounds_of_all(
            target.ravel(), size.ravel(), loss=parsed, reach=reach, by_rate=by_rate
        )
        lower, upper = lower.reshape(target.shape), upper.reshape(target.shape)
    else:
        targets, sizes = np.broadcast_arrays(target, size)
        lower, upper = _bounds_by_size(targets, sizes, parsed, reach, by_rate)
    return Certified(value=upper, lower=lower, upper=upper, tolerance=jnp.asarray(TOLERANCE, float))


def _bounds_by_size(
    target: np.ndarray, size: np.ndarray, loss: RankLoss, reach: int, by_rate: bool
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Bound the targets of each size in NumPy, some at a time: a program takes half of that, after a second of compiling it."""
    found = np.empty((2, target.size))
    for one in np.unique(size):
        ranks, places = rank_sum(one, loss, reach), np.flatnonzero(size == one)
        portion = max(_TERMS // ranks.loss.size, 1)
        for some in np.split(places, range(portion, places.size, portion)):
            # Exponentials may underflow at steep slopes.
            with np.errstate(all="ignore"):
                found[:, some] = _rank_bounds_at(target.flat[some], ranks, by_rate=by_rate)
    lower, upper = (jnp.asarray(each.reshape(target.shape), float) for each in found)
    return lower, upper


def _reach_of(log2_size: Float[Array, "..."], loss: RankLoss) -> int:
    """Return a power of two that bounds log2 M, the only static information about the sizes.

    The sum over ranks needs more nodes for larger databases; few powers of two mean few compilations. Losses of two
    values have two nodes at every size.
    """
    if validation.is_traced(log2_size):
        return _TRACED_REACH
    if loss.is_two_valued:
        return _LEAST_REACH
    return max(1 << math.ceil(math.log2(float(np.asarray(log2_size).max()) + 1e-9)), _LEAST_REACH)


@functools.partial(jax.jit, static_argnames=("loss", "reach", "by_rate"))
def _bounds_of_all(
    targets: Float[Array, " t"],
    log2_sizes: Float[Array, " t"],
    *,
    loss: RankLoss,
    reach: int,
    by_rate: bool,
) -> tuple[Float[Array, " t"], Float[Array, " t"]]:
    """Bound the rate at each loss, or the loss at each rate, one after the other, with derivatives."""

    def bounds(pair: tuple[Array, Array]) -> tuple[Array, Array]:
        return _rank_bounds_at(pair[0], rank_sum(pair[1], loss, reach), by_rate=by_rate)

    lower, upper = jax.lax.map(bounds, (targets, log2_sizes))
    return lower, upper


def _searched(
    target: Float[Any, "..."], ranks: RankSum, *, by_rate: bool
) -> tuple[Float[Any, "..."], Float[Any, "..."]]:
    """Bracket ln(lambda) at the target as closely as float64 can: bisection, Newton's method, and bisection again.

    Thirty evaluations take the place of the 65 of bisection alone. The bracket is one whatever Newton's method gave: where the
    target does not lie between the two slopes around its result, the last bisection begins with the first one's bracket.
    """
    target, ranks = constant((target, ranks))
    xp = namespace_of(target, *ranks)
    halved = bisect_on_host if xp is np else bisect

    def height(log_slope: Any) -> tuple[Any, Callable[[], Any]]:
        """Rate or minus the mean loss, over the target, which rises with the slope; and its derivative."""
        slope = xp.exp(log_slope)
        log_Z, mean, variance = gibbs(slope, ranks)
        if by_rate:
            rate = (-slope * mean - log_Z) / LN2
            return rate - target, lambda: slope**2 * variance() / LN2
        return target - mean, lambda: slope * variance()

    def passed(log_slope: Any) -> Any:
        above = height(log_slope)[0]
        return (above > 0) if by_rate else (above >= 0)

    start, end = (xp.full(target.shape, end) for end in _LOG_SLOPES)
    # Bisection first, since Newton's method on a curve that is flat at both ends would leave the
    # range from a far start; clipping keeps it inside the bracket.
    low, high = halved(passed, start, end, steps=_HALVINGS)

    def newton(_: Any, log_slope: Any) -> Any:
        above, derivative = height(log_slope)
        rise = derivative()
        step = xp.where(rise > 0, above / xp.where(rise > 0, rise, 1.0), 0.0)
        return xp.clip(log_slope - step, low, high)

    at = fori_loop(_NEWTON, newton, 0.5 * (low + high))
    # Two evaluations beside Newton's result make a bracket of it; where one has the wrong sign,
    # the old end of the bracket is taken on that side.
    around = _AROUND * (1 + xp.abs(at))
    left, right = xp.maximum(at - around, low), xp.minimum(at + around, high)
    left, right = xp.where(passed(left), low, left), xp.where(passed(right), right, high)

    def apart(low: Any, high: Any) -> Any:
        return high - low > _LAST_DIGIT * xp.maximum(xp.abs(low), xp.abs(high))

    def unfinished(state: tuple[Any, Any, Any]) -> Any:
        # Compiled programs need not round the middle alike twice, so that "a number is left between" may hold for ever:
        # what is asked is the distance, and the number of steps is that of bisection alone.
        low, high, steps = state
        return apart(low, high).any() & (steps < _MOST_HALVINGS)

    def halve(state: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        low, high, steps = state
        # A bracket that is narrow enough stays while others are halved: no target depends on its neighbours.
        wide, (left, right) = apart(low, high), halved(passed, low, high, steps=1)
        return xp.where(wide, left, low), xp.where(wide, right, high), steps + 1

    low, high, _ = while_loop(unfinished, halve, (left, right, xp.asarray(0)))
    return low, high


def _rank_bounds_at(
    target: Float[Any, "..."], ranks: RankSum, *, by_rate: bool
) -> tuple[Float[Any, "..."], Float[Any, "..."]]:
    """Search ln(lambda) for the point at the target, then give both bounds at that slope.

    Both hold at every slope, however well it was found: the upper bound is the point of the last
    slope on the achievable side of the target, the lower one its supporting line.
    """
    xp = namespace_of(target, *ranks)

    def point(log_slope: Any) -> tuple[Any, Any, Any, Any]:
        """Slope, ln(Z/M), expected loss and rate in bits of a Gibbs distribution."""
        slope = xp.exp(log_slope)
        log_Z, mean, _ = gibbs(slope, ranks)
        return slope, log_Z, mean, (-slope * mean - log_Z) / LN2

    low, high = _searched(target, ranks, by_rate=by_rate)
    found = low if by_rate else high
    # The bounds are constants to derivatives: theirs are those of the line below.
    slope, log_Z, mean, rate = constant(point(found))

    def missed(log_slope: Any) -> Any:
        return point(log_slope)[3 if by_rate else 2] - target

    # The envelope theorem: at its own slope the supporting line has the derivatives of the limit.
    exact_slope, exact_log_Z, _, _ = point(implicit_root(missed, found))
    if by_rate:
        line = (-exact_log_Z - target * LN2) / exact_slope
    else:
        line = (-exact_slope * target - exact_log_Z) / LN2
    # At zero loss, and at zero bits, the limit falls infinitely fast.
    steep = falling(target)
    log_free = xp.where(ranks.loss == 0, ranks.log_weight, -xp.inf)
    largest = log_free.max()
    rate_of_zero = -(largest + xp.log(ranks.sign @ xp.exp(log_free - largest))) / LN2
    _, mean_of_zero, variance_of_zero = gibbs(xp.zeros(()), ranks)
    error = _SUMMATION_ERROR
    if by_rate:
        # Near rate zero rounding may exceed what the supporting line of so small a slope says; then a steeper one says more: it
        # loses half the variance of the loss times the slope, and rounding over the slope.
        steeper = xp.maximum(slope, xp.sqrt(2 * error / xp.maximum(variance_of_zero(), 1e-30)))
        slopes = xp.stack([slope, steeper])
        log_Zs = xp.stack([log_Z, constant(gibbs(steeper, ranks)[0])])
        duals = (-log_Zs - target * LN2) / slopes
        slack = error * (1 + 1 / slope)
        lower = xp.maximum(xp.max(duals - error * (1 + 1 / slopes), axis=0), 0.0)
        upper = xp.minimum(mean + slack, mean_of_zero)
        lower = xp.minimum(lower, upper)
        free, useless = target >= rate_of_zero, target <= 0
        floor, ceiling = xp.zeros(()), mean_of_zero + steep
    else:
        lower = xp.maximum((-slope * target - log_Z) / LN2 - error, 0.0)
        upper = xp.maximum(rate, 0.0) + error
        free, useless = target <= 0, target >= mean_of_zero
        floor, ceiling = rate_of_zero + steep, xp.zeros(())

    def with_ends(bound: Any) -> Any:
        """The bound with its derivatives; exact where the target is at an end of the curve."""
        smooth = with_derivatives_of(bound, line)
        return xp.where(free, floor, xp.where(useless, ceiling, smooth))

    return with_ends(lower), with_ends(upper)
