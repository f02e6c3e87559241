r"""The rank-distortion function (C2): bits needed to rank a uniform target well enough.

$$R_\rho(D; M) = \log_2 M - \max\{H(q) : q \text{ on } \{1..M\}, \ \sum_r q_r \rho(r) \le D\}.$$

The maximiser is Gibbs, $q_r \propto e^{-\lambda \rho(r)}$. With $Z(\lambda) = \sum_r e^{-\lambda\rho(r)}$
every $\lambda \ge 0$ certifies both sides: q itself is achievable, and by weak duality
$R \ge -\log_2 (Z(\lambda)/M) - \lambda D / \ln 2$.

Ranks are never listed: the first thousand are summed one by one, the rest by an integral in ln r
with Euler-Maclaurin's corrections at both ends, so M = 2^1000 costs what M = 2^20 does.
"""

import functools
import math
from functools import partial
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.certified import Certified
from rdsim.information import LN2
from rdsim.number_types import ArrayLike
from rdsim.ranking.loss import Loss, RankLoss, log_database_size, parse_loss
from rdsim.ranking.rank_distribution import reach_of
from rdsim.transformations import (
    M_IS_AN_INTEGER,
    falling,
    implicit_root,
    not_differentiable,
    with_derivatives_of,
)

_HEAD: Final = 1024  # ranks summed one by one before the integral starts
_CORRECTED: Final = 6  # ranks at each end that carry Euler-Maclaurin's corrections
_PANEL: Final = 3.0  # length of an integration panel in ln r
_NODES: Final = 16  # Gauss-Legendre nodes a panel
_LOG_SLOPES: Final = (math.log(1e-17), math.log(1e7))
_SUMMATION_ERROR: Final = 2e-13  # of log2 Z; see tests/limits/test_rank.py
TOLERANCE: Final = 1e-9


@not_differentiable(log2_size=M_IS_AN_INTEGER)
@validation.needs_float64
def rank_rate(log2_size: ArrayLike, loss: Loss, *, D: ArrayLike) -> Certified:
    r"""Compute the rank-distortion function of a uniform target (C2).

    Args:
        log2_size: log2 M >= 1, broadcast against D; M is the nearest integer up to 2^52.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        D: expected loss allowed, in [0, 1].

    Returns:
        Bits, broadcast shape; 0 from the mean loss of a random ranking on; at D = 0 log2 of M over
        the number of ranks without loss. The bounds include the error of summing over ranks, and
        have the derivative of the limit, $dR/dD = -\lambda / \ln 2$.

    Raises:
        ValueError: if D lies outside [0, 1], log2_size < 1, or the loss is unknown.

    References:
        Cover and Thomas (2006), Theorem 12.1.1 (maximum entropy is Gibbs); for the error it is
        Fano's inequality.

    """
    parsed = parse_loss(loss)
    target = validation.not_empty("D", validation.interval("D", D, low=0.0, high=1.0))
    size = validation.log2_size(log2_size)
    target, size = jnp.broadcast_arrays(target, size)
    lower, upper = _rank_bounds(target.ravel(), size.ravel(), parsed, reach_of(size), by_rate=False)
    return _certified(lower, upper, target.shape)


@not_differentiable(log2_size=M_IS_AN_INTEGER)
@validation.needs_float64
def rank_loss(log2_size: ArrayLike, loss: Loss, *, rate: ArrayLike) -> Certified:
    r"""Compute the least expected loss of a ranking that rests on a given number of bits (C2).

    The inverse of `rank_rate` in D.

    Args:
        log2_size: log2 M >= 1, broadcast against the rate.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        rate: bits, >= 0.

    Returns:
        Loss in [0, 1], broadcast shape, with bounds. One minus it, for the reciprocal rank, is the
        best possible MRR.

    Raises:
        ValueError: if the rate is negative, log2_size < 1, or the loss is unknown.

    """
    parsed = parse_loss(loss)
    target = validation.not_empty(
        "rate", validation.interval("rate", rate, low=0.0, high=math.inf, open_high=True)
    )
    size = validation.log2_size(log2_size)
    target, size = jnp.broadcast_arrays(target, size)
    lower, upper = _rank_bounds(target.ravel(), size.ravel(), parsed, reach_of(size), by_rate=True)
    return _certified(lower, upper, target.shape)


def _certified(lower: Array, upper: Array, shape: tuple[int, ...]) -> Certified:
    lower, upper = jnp.reshape(lower, shape), jnp.reshape(upper, shape)
    return Certified(value=upper, lower=lower, upper=upper, tolerance=jnp.array(TOLERANCE))


class _Measure(NamedTuple):
    """Summation over all ranks: losses, and signed weights as shares of M in the log domain."""

    loss: Float[Array, " r"]
    log_weight: Float[Array, " r"]
    sign: Float[Array, " r"]


@functools.cache
def _end_corrections() -> np.ndarray:
    r"""Weights at distances 1/2, 3/2, ... before an end that turn an integral into a sum.

    $\sum_{r > N} f(r) - \int_{N+1/2}^\infty f = \frac{1}{24} f' - \frac{7}{5760} f''' +
    \frac{31}{967680} f^{(5)}$ at N + 1/2, each derivative by the ranks up to N.
    """
    offsets = -(np.arange(_CORRECTED) + 0.5)
    moments = np.zeros(_CORRECTED)
    moments[1], moments[3], moments[5] = 1 / 24, -7 / 5760 * 6, 31 / 967680 * 120
    return np.linalg.solve(np.vander(offsets, increasing=True).T, moments)


def _measure(log2_size: Float[Array, ""], loss: RankLoss, reach: int) -> _Measure:
    """Build the summation over the ranks 1..M of one database size."""
    log_M = log_database_size(log2_size)
    if loss.is_two_valued:
        log_good = jnp.minimum(math.log(loss.cutoff), log_M)
        some_bad = log_M - math.log(loss.cutoff) > 1e-15
        log_bad_share = jnp.where(
            some_bad, jnp.log(-jnp.expm1(jnp.where(some_bad, log_good - log_M, -1.0))), -jnp.inf
        )
        return _Measure(
            jnp.array([0.0, 1.0]), jnp.stack([log_good - log_M, log_bad_share]), jnp.ones(2)
        )
    small = log_M <= math.log(_HEAD + 2 * _CORRECTED)
    log_rank = jnp.log(jnp.arange(1.0, _HEAD + 2 * _CORRECTED + 1))
    last = jnp.where(small, log_M, math.log(_HEAD)) + 1e-12
    corrections = _end_corrections()
    head = (
        jnp.ones(log_rank.shape)
        .at[_HEAD - 1 - np.arange(_CORRECTED)]
        .add(jnp.where(small, 0.0, corrections))
    )
    head = jnp.where(log_rank <= last, head, 0.0)
    panels = math.ceil(max(reach * LN2 - math.log(_HEAD), 1.0) / _PANEL)
    nodes, weights = scipy.special.roots_legendre(_NODES)
    low = math.log(_HEAD + 0.5)
    high = log_M + jnp.log1p(0.5 * jnp.exp(-log_M))
    width = jnp.where(small, 0.0, (high - low) / panels)
    position = (np.arange(panels)[:, None] + 0.5 * (1 + nodes)).ravel()
    t = low + width * position
    log_panel_weight = jnp.log(np.tile(0.5 * weights, panels)) + t
    log_panel_weight += jnp.where(small, -jnp.inf, jnp.log(jnp.where(small, 1.0, width)))
    top = log_M + jnp.log1p(-jnp.arange(_CORRECTED) * jnp.exp(-log_M))
    # At the upper end the ranks before M lie inside the integral: all signs turn but the parity's.
    top_weight = jnp.where(small, 0.0, -corrections)
    top = jnp.where(small, 0.0, top)
    all_weights = jnp.concatenate([head, top_weight])
    log_size = jnp.where(all_weights == 0, 1.0, jnp.abs(all_weights))
    log_size = jnp.where(all_weights == 0, -jnp.inf, jnp.log(log_size))
    return _Measure(
        loss.of_log_rank(jnp.concatenate([log_rank, top, t])),
        jnp.concatenate([log_size, log_panel_weight]) - log_M,
        jnp.concatenate([jnp.sign(all_weights), jnp.ones(t.size)]),
    )


def _gibbs(slope: Float[Array, ""], measure: _Measure) -> tuple[Array, Array]:
    r"""$\ln(Z/M)$ and the expected loss of the Gibbs law at $\lambda$ (nats per unit of loss)."""
    exponent = measure.log_weight - slope * measure.loss
    log_Z = logsumexp(exponent, b=measure.sign)
    return log_Z, jnp.sum(measure.sign * jnp.exp(exponent - log_Z) * measure.loss)


@partial(jax.jit, static_argnames=("loss", "reach", "by_rate"))
def _rank_bounds(
    targets: Float[Array, " t"],
    log2_sizes: Float[Array, " t"],
    loss: RankLoss,
    reach: int,
    *,
    by_rate: bool,
) -> tuple[Float[Array, " t"], Float[Array, " t"]]:
    """Bounds on the rate at a loss, or on the loss at a rate, by bisection in ln(lambda)."""

    def one(arguments: tuple[Array, Array]) -> tuple[Array, Array]:
        target, log2_size = arguments
        measure = _measure(log2_size, loss, reach)

        def point(log_slope: Array) -> tuple[Array, Array, Array, Array]:
            slope = jnp.exp(log_slope)
            log_Z, mean = _gibbs(slope, measure)
            return slope, log_Z, mean, (-slope * mean - log_Z) / LN2

        def halve(_: Array, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = bracket
            middle = 0.5 * (low + high)
            _, _, mean, rate = point(middle)
            beyond = (rate > target) if by_rate else (mean <= target)
            return jnp.where(beyond, low, middle), jnp.where(beyond, middle, high)

        low, high = jax.lax.fori_loop(0, 64, halve, tuple(map(jnp.asarray, _LOG_SLOPES)))
        found = low if by_rate else high
        slope, log_Z, mean, rate = jax.lax.stop_gradient(point(found))

        def missed(log_slope: Array) -> Array:
            return point(log_slope)[3 if by_rate else 2] - target

        # The envelope theorem: at its own slope the supporting line has the derivatives of the limit.
        exact_slope, exact_log_Z, _, _ = point(implicit_root(missed, found))
        if by_rate:
            line = (-exact_log_Z - target * LN2) / exact_slope
        else:
            line = (-exact_slope * target - exact_log_Z) / LN2
        # At zero loss, and at zero bits, the limit falls infinitely fast.
        steep = falling(target)
        free_log_share = jnp.where(measure.loss == 0, measure.log_weight, -jnp.inf)
        rate_of_zero = -logsumexp(free_log_share, b=measure.sign) / LN2
        mean_of_zero = _gibbs(jnp.zeros(()), measure)[1]
        error = _SUMMATION_ERROR
        if by_rate:
            dual = (-log_Z - target * LN2) / slope
            slack = error * (1 + 1 / slope)
            lower, upper = jnp.maximum(dual - slack, 0.0), jnp.minimum(mean + slack, mean_of_zero)
            lower = jnp.minimum(lower, upper)
            free, useless = target >= rate_of_zero, target <= 0
            floor, ceiling = jnp.zeros(()), mean_of_zero + steep
        else:
            lower = jnp.maximum((-slope * target - log_Z) / LN2 - error, 0.0)
            upper = jnp.maximum(rate, 0.0) + error
            free, useless = target <= 0, target >= mean_of_zero
            floor, ceiling = rate_of_zero + steep, jnp.zeros(())
        lower, upper = (with_derivatives_of(bound, line) for bound in (lower, upper))
        return (
            jnp.where(free, floor, jnp.where(useless, ceiling, lower)),
            jnp.where(free, floor, jnp.where(useless, ceiling, upper)),
        )

    lower, upper = jax.lax.map(one, (targets, log2_sizes))
    return lower, upper
