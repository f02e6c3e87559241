r"""Distribution shift: what a codebook made for another distribution costs (C24).

Codewords drawn i.i.d. from q describe a source P within distortion D at the rate

$$R(P,q,D) = \inf_{W:\, E\,d \le D} D(P W \,\|\, P \times q)
  = \max_{s \ge 0} \Big\{ -\sum_y P_y \log_2 \sum_u q_u 2^{-s d(y,u)} - s D \Big\}$$

(Dembo and Kontoyiannis 2002). Every s gives a lower bound, and the tilted channel of an s that
meets the distortion an upper one. In the arguments P is `p`, q `codebook` and D `distortion`.
"""

from collections.abc import Callable
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.certified import Certified
from rdsim.information import safe_log2
from rdsim.limits.rate_distortion.discrete import rate_at
from rdsim.number_types import ArrayLike
from rdsim.transformations import (
    A_STOPPING_RULE,
    falling,
    implicit_root,
    not_differentiable,
    with_derivatives_of,
)

_OCTAVES: Final = 65.0  # log2 of the largest slope that is tried, and minus that of the least
_MOST_STEPS: Final = 200
"""Steps of the search at most. Every fourth halves the bracket of 130 octaves, so that 200 exhaust the
digits of a float64 even if Newton's method never helped; some 15 are usual."""
_LARGEST_EXPONENT: Final = 1000.0
"""Largest exponent of two in the derivatives, so that no power overflows."""


@not_differentiable(tolerance=A_STOPPING_RULE)
@validation.needs_float64
def mismatched_rate(
    p: ArrayLike,
    distortions: ArrayLike,
    codebook: ArrayLike,
    distortion: ArrayLike,
    *,
    tolerance: ArrayLike = 1e-9,
) -> Certified:
    r"""Compute R(P,q,D), the rate of random codewords from q on the source P.

    Args:
        p: source pmf P, shape (|Y|,).
        distortions: d(y,u) >= 0, shape (|Y|, |U|); inf forbids a pair.
        codebook: q, the distribution of a codeword letter, shape (|U|,).
        distortion: D >= 0, any shape. Below $\sum_y P_y \min_{u: q_u > 0} d(y,u)$ the rate is inf;
            from $\sum P_y q_u d(y,u)$ on it is zero.
        tolerance: certified gap that counts as converged, bits.

    Returns:
        Bits, shape of D; `value` is the upper bound, at which a channel meets the distortion.

    References:
        Dembo and Kontoyiannis (2002), "Source coding, large deviations, and approximate pattern
        matching", IEEE Trans. Inf. Theory 48(6), Theorem 2; Yang and Kieffer (1998), 44(1).

    """
    p, d, q = check_codebook(p, distortions, codebook)
    D = validation.interval("distortion", distortion, low=0.0)
    target = validation.tolerance(tolerance)
    lower, upper, _ = mismatched_bounds(p, d, q, D)
    return Certified(value=upper, lower=lower, upper=upper, tolerance=target)


@not_differentiable(tolerance=A_STOPPING_RULE)
@validation.needs_float64
def redundancy(
    p: ArrayLike,
    distortions: ArrayLike,
    codebook: ArrayLike,
    distortion: ArrayLike,
    *,
    tolerance: ArrayLike = 1e-9,
) -> Certified:
    r"""Compute $R(P,q,D) - R(P,D) \ge 0$, what a codebook q costs that was not made for P.

    For a codebook made for another source P', q is the output marginal of P' at that distortion. The
    arguments are those of `mismatched_rate`, D at least the D_min of P.

    Returns:
        Bits, shape of D; inf where q cannot meet the distortion at all.

    """
    spent = mismatched_rate(p, distortions, codebook, distortion, tolerance=tolerance)
    needed = rate_at(p, distortions, distortion, tolerance=0.5 * spent.tolerance)
    upper = jnp.maximum(spent.upper - needed.lower, 0.0)
    lower = jnp.where(jnp.isinf(upper), upper, jnp.maximum(spent.lower - needed.upper, 0.0))
    return Certified(value=upper, lower=lower, upper=upper, tolerance=spent.tolerance)


def check_codebook(
    p: ArrayLike, distortions: ArrayLike, codebook: ArrayLike, *, finite: bool = False
) -> tuple[Float[Array, " y"], Float[Array, "y u"], Float[Array, " u"]]:
    """Check a source, distortions and a codebook's distribution; return P, d and q."""
    P, q = validation.pmf("p", p), validation.pmf("codebook", codebook)
    d = validation.interval(
        "distortions", distortions, low=0.0, high=np.inf, open_high=finite, ndim=2
    )
    if d.shape != (P.size, q.size):
        raise ValueError(
            f"distortions must have shape ({P.size}, {q.size}) to fit p and codebook, got {d.shape}"
        )
    return P, d, q


def tilted(
    e: Float[Array, "y u"], q: Float[Array, " u"], s: Float[Array, ""]
) -> tuple[Float[Array, " y"], Float[Array, " y"]]:
    r"""$-\log_2 Z_y$ and the mean of e under the tilted channel, for e >= 0 that reaches zero on q."""
    allowed = jnp.isfinite(e) & (q > 0)
    finite = jnp.where(allowed, e, 0.0)
    weight = jnp.where(allowed, q * jnp.exp2(-s * finite), 0.0)
    Z = weight.sum(axis=1)
    Z = jnp.where(Z > 0, Z, 1.0)
    return -jnp.log2(Z), jnp.sum(weight * finite, axis=1) / Z


def _crossing(
    mean_at: Callable[[Float[Array, ""]], Float[Array, ""]], goal: Float[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Bracket the log2 slope at which a mean distortion falls to the goal, by Newton's method.

    The invariant of every step is that of bisection: the mean exceeds the goal at `low`, and does not at
    `high`, as far as it was so at the start. A Newton step is lengthened by a few units in the last
    place, so that it ends beyond the crossing and both ends of the bracket close in; one that leaves
    the bracket, and every fourth, is replaced by its middle.
    """

    def unfinished(state: tuple[Array, Array, Array, Array]) -> Array:
        low, high, _, step = state
        return (high - low > 4 * _nudge(high)) & (step < _MOST_STEPS)

    def narrow(
        state: tuple[Array, Array, Array, Array],
    ) -> tuple[Array, Array, Array, Array]:
        low, high, at, step = state
        mean, slope = jax.jvp(mean_at, (at,), (jnp.ones_like(at),))
        there = mean <= goal
        low, high = jnp.where(there, low, at), jnp.where(there, at, high)
        newton = at + (goal - mean) / jnp.where(slope < 0, slope, -1.0)
        newton = newton + jnp.where(there, -_nudge(at), _nudge(at))
        trusted = (slope < 0) & (newton > low) & (newton < high) & (step % 4 != 3)
        return low, high, jnp.where(trusted, newton, 0.5 * (low + high)), step + 1

    start = (jnp.asarray(-_OCTAVES), jnp.asarray(_OCTAVES), jnp.zeros(()), jnp.asarray(0))
    low, high, _, _ = jax.lax.while_loop(unfinished, narrow, start)
    return low, high


def _nudge(log2_slope: Float[Array, ""]) -> Float[Array, ""]:
    """Two units in the last place of a log2 slope, and no less than those of one."""
    return 2 * jnp.finfo(float).eps * jnp.maximum(jnp.abs(log2_slope), 1.0)


@jax.jit
def mismatched_bounds(
    p: Float[Array, " y"], d: Float[Array, "y u"], q: Float[Array, " u"], D: Float[Array, "*grid"]
) -> tuple[Float[Array, "*grid"], Float[Array, "*grid"], Float[Array, "*grid"]]:
    """Search the slope at which the tilted channel meets each distortion: bounds, and the slope.

    Distortions are reduced to excesses over the least of their row, in units of the largest excess. The
    slope is zero from the mean distortion of independent letters on, and inf at the least distortion.
    """
    least = jnp.min(jnp.where(q > 0, d, jnp.inf), axis=1)
    reached = jnp.all(jnp.isfinite(least) | (p == 0))
    # The rate depends neither on what is subtracted from a row nor on the unit: no derivatives.
    m = jax.lax.stop_gradient(jnp.where(jnp.isfinite(least), least, 0.0))
    e = jnp.where(jnp.isfinite(least)[:, None] & reached, d - m[:, None], 0.0)
    largest_excess = jnp.where(jnp.isfinite(e) & (q > 0) & (p > 0)[:, None], e, 0.0).max()
    unit = jax.lax.stop_gradient(jnp.where(largest_excess > 0, largest_excess, 1.0))
    e = e / unit

    def at(s: Float[Array, ""]) -> tuple[Array, Array]:
        cost, mean = tilted(e, q, s)
        return jnp.sum(p * cost), jnp.sum(p * mean)

    def line(log2_slope: Float[Array, ""], goal: Float[Array, ""]) -> Float[Array, ""]:
        """The supporting line, with the letters of probability zero under q, whose derivatives are not."""
        s = jnp.exp2(log2_slope)
        exponent = jnp.minimum(-s * jnp.where(jnp.isfinite(e), e, 0.0), _LARGEST_EXPONENT)
        Z = jnp.sum(jnp.where(jnp.isfinite(e), q * jnp.exp2(exponent), 0.0), axis=1)
        return -jnp.sum(p * jnp.log2(jnp.where(Z > 0, Z, 1.0))) - s * goal

    # The two ends: the rate at the least distortion, of codewords at distance zero alone, and the
    # mean distortion of a codeword drawn independently, which costs nothing.
    nearest = -jnp.sum(p * safe_log2(jnp.sum(jnp.where(e == 0, q, 0.0), axis=1)))
    free, largest = at(jnp.zeros(()))
    # No fewer than zero bits, with the derivatives of the formulas: q may sum to a rounding above one.
    free, nearest = (x - jax.lax.stop_gradient(jnp.minimum(x, 0.0)) for x in (free, nearest))
    rounding = 8 * jnp.finfo(float).eps * sum(d.shape)

    fixed = jax.lax.stop_gradient((e, p, q))

    def mean_at(log2_slope: Float[Array, ""]) -> Float[Array, ""]:
        e, p, q = fixed
        return jnp.sum(p * tilted(e, q, jnp.exp2(log2_slope))[1])

    def one(goal: Float[Array, ""]) -> tuple[Array, Array, Array]:
        log2_low, log2_high = _crossing(mean_at, jax.lax.stop_gradient(goal))
        low, high = jnp.exp2(log2_low), jnp.exp2(log2_high)
        (cost_low, _), (cost_high, mean) = at(low), at(high)
        # A compiler may sum the mean anew, in another order: one that exceeds the goal by rounding alone
        # meets it, and the excess is paid for at the slope.
        excess = jnp.maximum(mean - goal, 0.0)
        met = cost_high - high * jnp.minimum(mean, goal) + high * excess
        upper = jnp.where(excess <= rounding, met, nearest)
        # Weak duality: the dual function at any slope is a lower bound; both ends of the bracket
        # are tried.
        lower = jnp.maximum(cost_low - low * goal, cost_high - high * goal)
        bounds = jnp.maximum(jnp.stack([lower - rounding, upper + rounding]), 0.0)
        # The envelope theorem: at its own slope the line has the derivatives of the rate.
        log2_slope = implicit_root(lambda x: at(jnp.exp2(x))[1] - goal, log2_high)
        bounds = with_derivatives_of(bounds, line(log2_slope, goal))
        bounds = jnp.where(goal >= largest, free, bounds)
        # At the least distortion the rate falls infinitely fast.
        bounds = jnp.where(goal <= 0, nearest + jnp.where(largest > 0, falling(goal), 0.0), bounds)
        # A distortion that is D_min but for rounding is taken for it.
        short = goal < -1e-12 * (1 + jnp.sum(p * m) / unit)
        bounds = jnp.where(short | ~reached, jnp.inf, bounds)
        slope = jnp.where(goal <= 0, jnp.inf, jnp.exp2(log2_slope) / unit)
        slope = jnp.where(goal >= largest, 0.0, slope)
        return jnp.minimum(bounds[0], bounds[1]), bounds[1], slope

    goals = (D - jnp.sum(p * m)) / unit
    lower, upper, slope = jax.vmap(one)(goals.ravel())
    return lower.reshape(D.shape), upper.reshape(D.shape), slope.reshape(D.shape)
