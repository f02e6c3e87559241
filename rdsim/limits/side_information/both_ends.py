r"""Rate-distortion with side information at both ends, and of a source seen through a channel.

Both are ordinary rate-distortion problems in disguise, so their certificate is that of C5.

- Conditional: $R_{Y|Z}(D) = \min I(Y;U|Z)$. Let the letter (y, z) be reproduced by a pair (u, z')
  at distortion d(y,u), infinite unless z' = z. Then $I(Y,Z;U,Z) = H(Z) + I(Y;U|Z)$: the rate of
  that problem is the conditional one plus the constant H(Z).
- Indirect: only Y is seen of the remote source X. Then $E\,d(X,U) = E\,d'(Y,U)$ with
  $d'(y,u) = E[d(X,u)|Y=y]$.
"""

from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from rdsim import validation
from rdsim.certified import Certified
from rdsim.information import entropy
from rdsim.limits.rate_distortion.discrete import (
    RateDistortionCurve,
    rate_at,
    rate_distortion_curve,
)
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.transformations import A_STOPPING_RULE, least, not_differentiable

_ROUNDING: Final = 1e-14
"""Bits that the subtraction of H(Z) may cost."""


@result
class ConditionalCurve:
    r"""Certified points of the conditional R(D), one a slope.

    Attributes:
        slope: s, bits per unit of distortion, shape (S,).
        distortion: $E\,d(Y,U)$, shape (S,).
        rate: achievable $I(Y;U|Z)$ at that distortion, bits, shape (S,).
        gap: certified upper minus lower bound there, bits, shape (S,).
        tolerance: the gap asked for, bits.

    """

    slope: Float[Array, " s"]
    distortion: Float[Array, " s"]
    rate: Float[Array, " s"]
    gap: Float[Array, " s"]
    tolerance: Float[Array, ""]

    @property
    def converged(self) -> Bool[Array, " s"]:
        """Whether the certified gap is within the tolerance, a slope at a time."""
        return self.gap <= self.tolerance


@not_differentiable(tolerance=A_STOPPING_RULE)
@validation.needs_float64
def conditional_rate_distortion(
    joint: ArrayLike, d: ArrayLike, slopes: ArrayLike, *, compress: str, tolerance: ArrayLike = 1e-9
) -> ConditionalCurve:
    r"""Compute certified points of the conditional R(D): encoder and decoder both know Z.

    $$R_{Y|Z}(D) = \min_{E\,d(Y,U) \le D} I(Y;U|Z)
        = \min_{\sum_z p_z D_z = D} \sum_z p_z R_{Y|Z=z}(D_z).$$

    Args:
        joint: P(y,z), shape (|Y|, |Z|), or its transpose: `compress` says which.
        d: distortions d(y,u) >= 0, shape (|Y|, |U|); inf forbids a pair.
        slopes: s > 0, bits per unit of distortion, shape (S,); inf for the point at D_min.
        compress: "rows" if the letter that is compressed, Y, runs along the rows of the joint,
            "columns" if along its columns.
        tolerance: certified gap to reach, bits.

    Returns:
        The points; one whose gap stayed above the tolerance has `converged` False.

    Raises:
        ValueError: if the joint is no pmf, shapes do not match, d is negative or leaves a letter
            without a finite distortion, or a slope is not positive.

    References:
        Gray (1973), "A new class of lower bounds to information rates of stationary sources via
        conditional rate-distortion functions", IEEE Trans. Inf. Theory 19(4).

    """
    P, d = check_joint(joint, d, compress)
    slopes = validation.interval("slopes", slopes, low=0.0, open_low=True, ndim=1)
    curve = rate_distortion_curve(*_both_ends(P, d), slopes, tolerance=tolerance)
    known = entropy(P.sum(axis=0))
    return ConditionalCurve(
        slope=slopes,
        distortion=curve.distortion,
        rate=jnp.maximum(curve.rate.value - known, 0.0),
        gap=curve.gap + _ROUNDING,
        tolerance=curve.rate.tolerance,
    )


@not_differentiable(tolerance=A_STOPPING_RULE)
@validation.needs_float64
def conditional_rate_at(
    joint: ArrayLike,
    d: ArrayLike,
    distortion: ArrayLike,
    *,
    compress: str,
    tolerance: ArrayLike = 1e-9,
) -> Certified:
    r"""Compute the conditional R(D) at given distortions, certified.

    Args:
        joint: P(y,z), shape (|Y|, |Z|), or its transpose: `compress` says which.
        d: distortions, shape (|Y|, |U|).
        distortion: D, any shape, each at least D_min. From
            $D_{\max} = \sum_z p_z \min_u E[d(Y,u)|z]$ on the rate is zero.
        compress: "rows" if the letter that is compressed, Y, runs along the rows of the joint,
            "columns" if along its columns.
        tolerance: certified gap to reach, bits.

    Returns:
        Bits, shape of D.

    Raises:
        ValueError: as `conditional_rate_distortion`, and if D is below D_min (naming both).

    References:
        Gray (1973), as for `conditional_rate_distortion`.

    """
    P, d = check_joint(joint, d, compress)
    limit = rate_at(*_both_ends(P, d), distortion, tolerance=tolerance)
    known = entropy(P.sum(axis=0))
    free = validation.real_array("distortion", distortion) >= maximum_distortion(P, d)
    lower = jnp.where(free, 0.0, jnp.maximum(limit.lower - known - _ROUNDING / 2, 0.0))
    upper = jnp.where(free, 0.0, jnp.maximum(limit.upper - known + _ROUNDING / 2, 0.0))
    return Certified(value=upper, lower=lower, upper=upper, tolerance=limit.tolerance)


@not_differentiable(tolerance=A_STOPPING_RULE)
@validation.needs_float64
def indirect_rate_distortion(
    joint: ArrayLike, d: ArrayLike, slopes: ArrayLike, *, compress: str, tolerance: ArrayLike = 1e-9
) -> RateDistortionCurve:
    r"""Compute certified points of the indirect R(D): the encoder sees X only through Y.

    $$R(D) = \min_{X - Y - U,\; E\,d(X,U) \le D} I(Y;U).$$

    Args:
        joint: P(x,y), X the remote source, shape (|X|, |Y|), or its transpose: `compress` says
            which.
        d: distortions d(x,u) >= 0 of the remote letter, shape (|X|, |U|); inf forbids a pair.
        slopes: s >= 0, bits per unit of distortion, shape (S,).
        compress: "columns" if the letter that the encoder sees, Y, runs along the columns of the
            joint, "rows" if along its rows.
        tolerance: certified gap to reach, bits.

    Returns:
        The curve of the source Y under $d'(y,u) = E[d(X,u)|y]$, in which all its methods work.

    Raises:
        ValueError: if the joint is no pmf, shapes do not match, d is negative or leaves some y
            without a finite distortion, or a slope is negative.

    References:
        Dobrushin and Tsybakov (1962), "Information transmission with additional noise"; Witsenhausen
        (1980), "Indirect rate distortion problems", IEEE Trans. Inf. Theory 26(5).

    """
    return rate_distortion_curve(*_seen(joint, d, compress), slopes, tolerance=tolerance)


@not_differentiable(tolerance=A_STOPPING_RULE)
@validation.needs_float64
def indirect_rate_at(
    joint: ArrayLike,
    d: ArrayLike,
    distortion: ArrayLike,
    *,
    compress: str,
    tolerance: ArrayLike = 1e-9,
) -> Certified:
    r"""Compute the indirect R(D) at given distortions, certified.

    Args:
        joint: P(x,y), X the remote source, shape (|X|, |Y|), or its transpose: `compress` says
            which.
        d: distortions d(x,u), shape (|X|, |U|).
        distortion: D, any shape, at least the least $E\,d'(Y,u(Y))$; from D_max on the rate is 0.
        compress: "columns" if the letter that the encoder sees, Y, runs along the columns of the
            joint, "rows" if along its rows.
        tolerance: certified gap to reach, bits.

    Returns:
        Bits, shape of D.

    Raises:
        ValueError: as `indirect_rate_distortion`, and if D is below D_min (naming both).

    References:
        As for `indirect_rate_distortion`.

    """
    return rate_at(*_seen(joint, d, compress), distortion, tolerance=tolerance)


def check_joint(
    joint: ArrayLike, d: ArrayLike, compress: Any, *, along: str = "rows"
) -> tuple[Float[Array, "y z"], Float[Array, "y u"]]:
    """Check a joint pmf, turn it until Y runs as wanted, and check d of the letter of its rows."""
    P = validation.sided_joint(joint, compress, along=along)
    d = validation.interval("d", d, low=0.0, ndim=2)
    if d.shape[0] != P.shape[0] or d.shape[1] == 0:
        raise ValueError(
            f"d must have one row a letter {'y' if along == 'rows' else 'x'} of the joint and at least one column, "
            f"shape ({P.shape[0]}, |U|), got {d.shape}"
        )
    if not validation.is_traced(P, d):
        lost = np.isinf(np.asarray(d)).all(axis=1) & (np.asarray(P).sum(axis=1) > 0)
        if lost.any():
            raise ValueError(
                f"d must leave every source letter a finite distortion, got only inf in row "
                f"{int(np.argmax(lost))}"
            )
    return P, d


def expected(weights: Float[Array, "a b"], d: Float[Array, "b u"]) -> Float[Array, "a u"]:
    """Mean of d under each row of weights; inf only where an infinite entry has weight."""
    forbidden = jnp.isinf(d)
    mean = weights @ jnp.where(forbidden, 0.0, d)
    hit = (weights > 0).astype(float) @ forbidden.astype(float)
    return jnp.where(hit > 0, jnp.inf, mean)


def maximum_distortion(P: Float[Array, "y z"], d: Float[Array, "y u"]) -> Float[Array, ""]:
    r"""$D_{\max} = \sum_z \min_u \sum_y P(y,z) d(y,u)$: nothing is sent, the decoder knows z."""
    return jnp.sum(least(expected(P.T, d)))


def _both_ends(
    P: Float[Array, "y z"], d: Float[Array, "y u"]
) -> tuple[Float[Array, " yz"], Float[Array, "yz uz"]]:
    (ys, zs), us = P.shape, d.shape[1]
    same = jnp.eye(zs, dtype=bool)[None, :, None, :]
    lifted = jnp.where(same, d[:, None, :, None], jnp.inf)
    # A letter without mass may have had no finite distortion: any will do.
    reached = jnp.isfinite(d).any(axis=1)
    lifted = jnp.where(reached[:, None, None, None], lifted, 0.0)
    return P.reshape(ys * zs), lifted.reshape(ys * zs, us * zs)


def _seen(joint: Any, d: Any, compress: Any) -> tuple[Float[Array, " y"], Float[Array, "y u"]]:
    P, d = check_joint(joint, d, compress, along="columns")
    py = P.sum(axis=0)
    weights = (P / jnp.where(py > 0, py, 1.0)).T
    return py, expected(weights, d)
