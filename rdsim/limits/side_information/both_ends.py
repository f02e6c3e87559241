r"""Rate-distortion with side information at both ends, and of a source seen through a channel.

Both are ordinary rate-distortion problems in disguise, so their certificate is that of C5.

- Conditional: $R_{Y|Z}(D) = \min I(Y;U|Z)$. Let the letter (y, z) be reproduced by a pair (u, z')
  at distortion d(y,u), infinite unless z' = z. Then $I(Y,Z;U,Z) = H(Z) + I(Y;U|Z)$: the rate of
  that problem is the conditional one plus the constant H(Z).
- Indirect: only Y is seen of the remote source X. Then $E\,d(X,U) = E\,d'(Y,U)$ with
  $d'(y,u) = E[d(X,u)|Y=y]$.

All functions raise a ValueError if the joint is no pmf, shapes do not match, a distortion is negative or a
letter has no finite one, a slope is out of range, or D is below D_min (naming both).
"""

from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.certified import Certified
from rdsim.information import entropy
from rdsim.limits._curve import RateCurve, achieved
from rdsim.limits._supporting_lines import Points
from rdsim.limits.rate_distortion.discrete import (
    minimum_distortion,
    rate_at,
    rate_distortion_curve,
)
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.transformations import A_STOPPING_RULE, least, not_differentiable

_ROUNDING: Final = 1e-14
"""Bits that the subtraction of H(Z) may cost."""

_BATCH: Final = 8
"""Slopes solved in one call of a search."""


@result
class SideInformationCurve(RateCurve):
    """Certified points of an R(D) whose decoder knows Z: the ends of the curve do not depend on the encoder.

    Attributes:
        joint: P(y,z), shape (|Y|, |Z|).
        distortions: d, shape (|Y|, |U|).

    """

    joint: Float[Array, "y z"]
    distortions: Float[Array, "y u"]

    @property
    def minimum_distortion(self) -> Float[Array, ""]:
        r"""$D_{\min} = \sum_y p_y \min_u d(y,u)$, below which no rate suffices."""
        return minimum_distortion(self.joint.sum(axis=1), self.distortions)

    @property
    def maximum_distortion(self) -> Float[Array, ""]:
        r"""$D_{\max} = \sum_z p_z \min_u E[d(Y,u)|z]$, from which on the rate is zero."""
        return maximum_distortion(self.joint, self.distortions)


@result
class ConditionalCurve(SideInformationCurve):
    r"""Certified points of the conditional R(D), one a slope, with the problem they belong to.

    Attributes:
        slope: s, bits per unit of distortion, shape (S,).
        distortion: $E\,d(Y,U)$, shape (S,).
        rate: $I(Y;U|Z)$ with its bounds, bits, shape (S,); the upper bound is achieved.
        joint: P(y,z), shape (|Y|, |Z|).
        distortions: d, shape (|Y|, |U|).

    """

    def rate_at(self, distortion: ArrayLike) -> Certified:
        """Solve for R(D) at given distortions, to the curve's tolerance; see `conditional_rate_at`."""
        problem = (self.joint, self.distortions)
        return conditional_rate_at(*problem, distortion, compress="rows", tolerance=self.tolerance)

    def _solve(self, slopes: np.ndarray, tolerance: float) -> Points:
        # Always the same number at a time, so that one program serves.
        padded = np.pad(slopes, (0, -slopes.size % _BATCH), mode="edge")
        curve = conditional_rate_distortion(
            self.joint, self.distortions, padded, compress="rows", tolerance=tolerance
        )
        found = (curve.distortion, curve.rate.lower, curve.rate.upper)
        return Points(slopes, *(np.asarray(part)[: slopes.size] for part in found))


@not_differentiable(tolerance=A_STOPPING_RULE)
@validation.needs_float64
def conditional_rate_distortion(
    joint: ArrayLike,
    distortions: ArrayLike,
    slopes: ArrayLike,
    *,
    compress: str,
    tolerance: ArrayLike = 1e-9,
) -> ConditionalCurve:
    r"""Compute certified points of the conditional R(D): encoder and decoder both know Z.

    $$R_{Y|Z}(D) = \min_{E\,d(Y,U) \le D} I(Y;U|Z)
        = \min_{\sum_z p_z D_z = D} \sum_z p_z R_{Y|Z=z}(D_z).$$

    Args:
        joint: P(y,z), shape (|Y|, |Z|), or its transpose: `compress` says which.
        distortions: d(y,u) >= 0, shape (|Y|, |U|); inf forbids a pair.
        slopes: s > 0, bits per unit of distortion, shape (S,); inf for the point at D_min.
        compress: "rows" or "columns", the side of the joint along which the compressed Y runs.
        tolerance: certified gap to reach, bits.

    Returns:
        The points; one whose gap stayed above the tolerance has `converged` False.

    References:
        Gray (1973), "A new class of lower bounds to information rates of stationary sources via
        conditional rate-distortion functions", IEEE Trans. Inf. Theory 19(4).

    """
    P, d = check_joint(joint, distortions, compress)
    slopes = validation.interval("slopes", slopes, low=0.0, open_low=True, ndim=1)
    curve = rate_distortion_curve(*_both_ends(P, d), slopes, tolerance=tolerance)
    # With the reproduction extended by Z, which must be met exactly, the rate is I(Y,Z;U,Z) = H(Z) + I(Y;U|Z).
    known = entropy(P.sum(axis=0))
    return ConditionalCurve(
        slope=slopes,
        distortion=curve.distortion,
        rate=achieved(
            jnp.maximum(curve.rate.value - known, 0.0), curve.gap + _ROUNDING, curve.tolerance
        ),
        joint=P,
        distortions=d,
    )


@not_differentiable(tolerance=A_STOPPING_RULE)
@validation.needs_float64
def conditional_rate_at(
    joint: ArrayLike,
    distortions: ArrayLike,
    distortion: ArrayLike,
    *,
    compress: str,
    tolerance: ArrayLike = 1e-9,
) -> Certified:
    r"""Compute the conditional R(D) at given distortions, certified.

    Args:
        joint: P(y,z), shape (|Y|, |Z|), or its transpose: `compress` says which.
        distortions: d, shape (|Y|, |U|).
        distortion: D, any shape, each at least D_min. From
            $D_{\max} = \sum_z p_z \min_u E[d(Y,u)|z]$ on the rate is zero.
        compress: "rows" or "columns", the side of the joint along which the compressed Y runs.
        tolerance: certified gap to reach, bits.

    Returns:
        Bits, shape of D.

    """
    P, d = check_joint(joint, distortions, compress)
    limit = rate_at(*_both_ends(P, d), distortion, tolerance=tolerance)
    known = entropy(P.sum(axis=0))
    # From D_max on the rate is exactly zero, which the difference of two rounded numbers would
    # not be.
    free = validation.real_array("distortion", distortion) >= maximum_distortion(P, d)
    lower = jnp.where(free, 0.0, jnp.maximum(limit.lower - known - _ROUNDING / 2, 0.0))
    upper = jnp.where(free, 0.0, jnp.maximum(limit.upper - known + _ROUNDING / 2, 0.0))
    return Certified(value=upper, lower=lower, upper=upper, tolerance=limit.tolerance)


@validation.needs_float64
def indirect_problem(
    joint: ArrayLike, distortions: ArrayLike, *, compress: str
) -> tuple[Float[Array, " y"], Float[Array, "y u"]]:
    r"""Write the indirect R(D), whose encoder sees X only through Y, as an ordinary one.

    $$R(D) = \min_{X - Y - U,\; E\,d(X,U) \le D} I(Y;U) = \min_{E\,d'(Y,U) \le D} I(Y;U), \quad
        d'(y,u) = E[d(X,u)|Y=y].$$

    Args:
        joint: P(x,y) of the remote X, shape (|X|, |Y|), or its transpose: `compress` says which.
        distortions: d(x,u) >= 0 of the remote letter, shape (|X|, |U|); inf forbids a pair.
        compress: "rows" or "columns", the side of the joint along which the encoder's Y runs.

    Returns:
        P(y), shape (|Y|,), and d', shape (|Y|, |U|), for `rate_distortion_curve`, `rate_at` and
        `distortion_at`.

    References:
        Dobrushin and Tsybakov (1962), "Information transmission with additional noise"; Witsenhausen
        (1980), "Indirect rate distortion problems", IEEE Trans. Inf. Theory 26(5).

    """
    P, d = check_joint(joint, distortions, compress, along="columns")
    py = P.sum(axis=0)
    weights = (P / jnp.where(py > 0, py, 1.0)).T
    return py, expected(weights, d)


def check_joint(
    joint: ArrayLike, distortions: ArrayLike, compress: Any, *, along: str = "rows"
) -> tuple[Float[Array, "y z"], Float[Array, "y u"]]:
    """Check a joint pmf, transposed if need be, and the distortions of the letter along its rows."""
    P = validation.sided_joint(joint, compress, along=along)
    letter = f"letter {'y' if along == 'rows' else 'x'} of the joint"
    d = validation.distortions(distortions, P.sum(axis=1), letter=letter)
    return P, d


def expected(weights: Float[Array, "a b"], d: Float[Array, "b u"]) -> Float[Array, "a u"]:
    """Mean of d under each row of weights; inf only where an infinite entry has positive weight."""
    forbidden = jnp.isinf(d)
    mean = weights @ jnp.where(forbidden, 0.0, d)
    # Zero times infinity is avoided: infinite entries are averaged as zero, and marked where they
    # have weight.
    hit = (weights > 0).astype(float) @ forbidden.astype(float)
    return jnp.where(hit > 0, jnp.inf, mean)


def maximum_distortion(P: Float[Array, "y z"], d: Float[Array, "y u"]) -> Float[Array, ""]:
    r"""$D_{\max} = \sum_z \min_u \sum_y P(y,z) d(y,u)$: nothing is sent, the decoder knows z."""
    return jnp.sum(least(expected(P.T, d)))


def _both_ends(
    P: Float[Array, "y z"], d: Float[Array, "y u"]
) -> tuple[Float[Array, " yz"], Float[Array, "yz uz"]]:
    """Lift the conditional problem to the source (y, z) and the reproduction (u, z'), z' = z."""
    (ys, zs), us = P.shape, d.shape[1]
    same = jnp.eye(zs, dtype=bool)[None, :, None, :]
    lifted = jnp.where(same, d[:, None, :, None], jnp.inf)
    # A letter without mass may have had no finite distortion: any will do.
    reached = jnp.isfinite(d).any(axis=1)
    lifted = jnp.where(reached[:, None, None, None], lifted, 0.0)
    return P.reshape(ys * zs), lifted.reshape(ys * zs, us * zs)
