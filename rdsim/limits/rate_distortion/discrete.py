r"""The rate-distortion function of a discrete source, certified at every point (C5).

For a source pmf p(y), a distortion d(y,u) and a slope s (bits per unit of distortion), every pmf q
gives, with $Z_y = \sum_u q_u 2^{-s d(y,u)}$ and $c_u = \sum_y p_y 2^{-s d(y,u)} / Z_y$,

- an achievable point: the test channel $Q(u|y) = q_u 2^{-s d(y,u)} / Z_y$ has distortion D and
  rate at most $-\sum_y p_y \log_2 Z_y - s D$;
- a lower bound on the whole curve: $R(D') \ge -\sum_y p_y \log_2 Z_y - s D' - \log_2 \max_u c_u$.

At D' = D they differ by $\log_2 \max_u c_u \ge 0$, the certificate (Blahut 1972; Csiszar 1974).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.certified import Certified
from rdsim.limits._curve import RateCurve, achieved, check_distortion
from rdsim.limits.rate_distortion._point import (
    constant_distortions,
    excess_distortions,
    tilted_channel,
)
from rdsim.limits.rate_distortion._slopes import points_at
from rdsim.limits.rate_distortion._targets import bounds_at_targets
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.transformations import A_STOPPING_RULE, not_differentiable


@result
class RateDistortionCurve(RateCurve):
    r"""Certified points of R(D), one a slope, with the problem they belong to.

    Attributes:
        slope: s, bits per unit of distortion, shape (S,).
        distortion: $D = \sum p_y Q(u|y) d(y,u)$, shape (S,).
        rate: R(D) there, bits, shape (S,); the upper bound is achieved. Its gap includes an allowance
            for rounding.
        output_marginal: q, shape (S, |U|); exact zeros off the support.
        source: p, shape (|Y|,).
        distortions: d, shape (|Y|, |U|).

    """

    output_marginal: Float[Array, "s u"]
    source: Float[Array, " y"]
    distortions: Float[Array, "y u"]
    method: str = dataclasses.field(metadata={"static": True}, default="auto")

    @property
    def minimum_distortion(self) -> Float[Array, ""]:
        r"""$D_{\min} = \sum_y p_y \min_u d(y,u)$, below which no rate suffices."""
        return minimum_distortion(self.source, self.distortions)

    @property
    def maximum_distortion(self) -> Float[Array, ""]:
        r"""$D_{\max} = \min_u \sum_y p_y d(y,u)$, from which on the rate is zero; may be inf."""
        return jnp.min(constant_distortions(self.source, self.distortions))

    def test_channel(self) -> Float[Array, "s y u"]:
        r"""Return the optimal test channels $Q(u|y) = q_u 2^{-s d(y,u)} / Z_y$, shape (S, |Y|, |U|).

        A row whose source letter has no mass is set to the output marginal.
        """
        excess, _ = excess_distortions(jnp.where((self.source > 0)[:, None], self.distortions, 0.0))
        return jax.vmap(lambda s, q: tilted_channel(excess, s, q)[0])(
            self.slope, self.output_marginal
        )

    def rate_at(self, distortion: ArrayLike) -> Certified:
        """Solve for R(D) at given distortions, to the curve's tolerance; see `limits.rate_at`."""
        problem = (self.source, self.distortions)
        return rate_at(*problem, distortion, tolerance=self.tolerance, method=self.method)

    def distortion_at(self, rate: ArrayLike) -> Certified:
        """Solve for D(R) at given rates, to the curve's tolerance; see `limits.distortion_at`."""
        problem = (self.source, self.distortions)
        return distortion_at(*problem, rate, tolerance=self.tolerance, method=self.method)


@not_differentiable(tolerance=A_STOPPING_RULE)
@validation.needs_float64
def rate_distortion_curve(
    p: ArrayLike,
    distortions: ArrayLike,
    slopes: ArrayLike,
    *,
    tolerance: ArrayLike = 1e-9,
    method: str = "auto",
) -> RateDistortionCurve:
    r"""Compute certified points of R(D), one for each slope.

    $$R(D) = \min_{Q(u|y): E d \le D} I(Y;U), \qquad Q(u|y) \propto q_u 2^{-s d(y,u)}.$$

    Derivatives in p (which stands for p / sum(p)), d and the slopes exist in both modes: of the
    Lagrangian R + s D by the envelope theorem, of q, D and R by implicit differentiation on the
    active letters. The gap counts as a constant. Where a letter enters or leaves, D has a kink.

    Args:
        p: source pmf, shape (|Y|,); zeros allowed.
        distortions: d, shape (|Y|, |U|), each >= 0; inf forbids a pair, but every source letter
            with mass keeps a finite one.
        slopes: s >= 0, shape (S,), bits per unit of distortion. Slope 0 is the point
            (D_max, 0), slope inf the point (D_min, R(D_min)).
        tolerance: certified gap to reach, bits.
        method: "column_generation" (fewest operations; in NumPy, one slope after the other, nothing is
            compiled), "dense" (compiled; all letters, slopes side by side; also what is done where the
            numbers are not known, as under `jax.jit`), or "auto": the first on CPU, the second on
            accelerators.

    Returns:
        The curve. A point whose gap stayed above the tolerance has `converged` False; its bounds
        hold all the same.

    References:
        Blahut (1972), IEEE Trans. Inf. Theory 18(4), Theorems 5 and 6; Csiszar (1974), 20(1);
        Koenker and Mizera (2014), J. Am. Stat. Assoc. 109, for the interior point.

    """
    p = validation.pmf("p", p)
    d = validation.distortions(distortions, p)
    slope = validation.interval("slopes", slopes, low=0.0, ndim=1)
    target = validation.tolerance(tolerance)
    excess, least = excess_distortions(d)
    points = points_at(p, excess, slope, target, method)
    return RateDistortionCurve(
        slope=slope,
        distortion=jnp.sum(p * least) + points.excess,
        rate=achieved(points.rate, points.gap, target),
        output_marginal=points.q,
        source=p,
        distortions=d,
        method=method,
    )


@not_differentiable(tolerance=A_STOPPING_RULE)
@validation.needs_float64
def rate_at(
    p: ArrayLike,
    distortions: ArrayLike,
    distortion: ArrayLike,
    *,
    tolerance: ArrayLike = 1e-9,
    method: str = "auto",
) -> Certified:
    r"""Compute R(D) at given distortions, certified.

    The slope is searched; where the curve is a straight line (a critical slope at which the
    optimum is not unique) its two ends are time-shared.

    First derivatives in p (which stands for p / sum(p)), d and D exist in both modes, $dR/dD = -s$;
    those of the bounds are those of the value. At D_min, where the slope is infinite, they are huge
    numbers. They agree with closed forms to some 1e-6 of themselves, near D_max to some 1e-4. Second
    derivatives are refused.

    Args:
        p: source pmf, shape (|Y|,).
        distortions: d, shape (|Y|, |U|).
        distortion: D, any shape, each at least D_min; from D_max on the rate is zero.
        tolerance: certified gap to reach, bits.
        method: as in `rate_distortion_curve`.

    Returns:
        Bits, shape of D: the upper bound is achieved by one test channel or by time sharing two,
        the lower is the best supporting line; `value` is the upper bound.

    Raises:
        ValueError: also if D is below D_min (naming both).

    """
    p = validation.pmf("p", p)
    d = validation.distortions(distortions, p)
    D = check_distortion(distortion, minimum_distortion(p, d))
    return _solve_targets(p, d, D, validation.tolerance(tolerance), method, by_rate=False)


@not_differentiable(tolerance=A_STOPPING_RULE)
@validation.needs_float64
def distortion_at(
    p: ArrayLike,
    distortions: ArrayLike,
    rate: ArrayLike,
    *,
    tolerance: ArrayLike = 1e-9,
    method: str = "auto",
) -> Certified:
    r"""Compute D(R), the least distortion at given rates, certified.

    First derivatives in p, d and R exist in both modes, $dD/dR = -1/s$, and second ones are refused.
    At rate zero s is the steepest slope at which nothing is sent; where that is zero, as for
    equiprobable bits, the derivative is minus infinity (as -1e300). Derivatives agree with closed forms to some
    1e-5 of themselves from 1e-20 bits on; below, rounding leaves a few per cent.

    Args:
        p: source pmf, shape (|Y|,).
        distortions: d, shape (|Y|, |U|).
        rate: R >= 0 in bits, any shape; from R(D_min) on the distortion is D_min.
        tolerance: certified gap to reach, in units of distortion.
        method: as in `rate_distortion_curve`.

    Returns:
        Distortion, shape of R: upper bound achieved, lower by the supporting lines.

    Raises:
        ValueError: also if a rate is too low for any finite distortion: every constant reproduction may be
            forbidden to some source letter.

    """
    p = validation.pmf("p", p)
    d = validation.distortions(distortions, p)
    R = validation.interval("rate", rate, low=0.0, high=np.inf, open_high=True)
    limit = _solve_targets(p, d, R, validation.tolerance(tolerance), method, by_rate=True)
    if not validation.is_traced(limit.lower):
        lost = np.isinf(np.asarray(limit.lower))
        if lost.any():
            raise ValueError(
                f"rate must allow a finite distortion, got {np.asarray(R)[lost][0].item()!r}"
            )
    return limit


def minimum_distortion(p: Float[Array, " y"], d: Float[Array, "y u"]) -> Float[Array, ""]:
    r"""$D_{\min} = \sum_y p_y \min_u d(y,u)$; a letter without mass may have no finite distortion."""
    return jnp.sum(jnp.where(p > 0, p * jnp.min(d, axis=1), 0.0))


def _solve_targets(
    p: Float[Array, " y"],
    d: Float[Array, "y u"],
    goal: Float[Array, "..."],
    tolerance: Float[Array, ""],
    method: str,
    *,
    by_rate: bool,
) -> Certified:
    """Bound R at distortions, or with `by_rate` D at rates; D is the excess over D_min meanwhile."""
    excess, row_least = excess_distortions(d)
    least = jnp.sum(p * row_least)
    targets = goal.ravel() if by_rate else goal.ravel() - least
    lower, upper = bounds_at_targets(p, excess, targets, tolerance, by_rate, method)
    offset = least if by_rate else 0.0
    lower, upper = jnp.reshape(lower, goal.shape) + offset, jnp.reshape(upper, goal.shape) + offset
    return Certified(value=upper, lower=lower, upper=upper, tolerance=tolerance)
