r"""Information bottlenecks known in closed form, beside the DSBS of `bottleneck`, with inverses.

Each function is $\mathrm{IB}(R)$, the most that R bits about Y can tell about X, elementwise over
an array of rates, or its inverse, the least rate with a given relevance. Small rates and small
relevances keep their digits: nothing is subtracted from one.
"""

from typing import Any, Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.information import LN2, entropy, log1p, safe_log2
from rdsim.number_types import ArrayLike
from rdsim.transformations import least

_LONG: Final = 500.0  # bits, beyond which 4^(-R) may underflow
_ROUNDING: Final = 1e-15
"""Relative room above I(X;Y) in which a relevance is taken for I(X;Y), rounded."""


@validation.needs_float64
def bottleneck_erasure(
    pmf: ArrayLike, erasure: ArrayLike, *, rate: ArrayLike
) -> Float[Array, "..."]:
    r"""Compute IB(R) of an erasure pair: X is Y with probability 1 - e, and erased otherwise.

    $$\mathrm{IB}(R) = (1-e) \min(R, H(Y)).$$

    Whether X is erased depends on neither Y nor U, so that I(U;X) = (1-e) I(U;Y) for every U.

    Args:
        pmf: P(y), shape (|Y|,), summing to one.
        erasure: e in [0, 1], a scalar.
        rate: R >= 0 in bits, shape (...).

    Returns:
        IB(R) in bits, shape (...).

    Raises:
        ValueError: if the pmf is not one, the erasure lies outside [0, 1] or a rate is negative.

    Reference:
        Witsenhausen and Wyner (1975), "A conditional entropy bound for a pair of discrete random
        variables".

    """
    pmf = validation.pmf("pmf", pmf)
    e = validation.interval("erasure", erasure, low=0.0, high=1.0, ndim=0)
    R = validation.interval("rate", rate, low=0.0)
    return (1 - e) * jnp.minimum(R, entropy(pmf))


@validation.needs_float64
def bottleneck_erasure_rate(
    pmf: ArrayLike, erasure: ArrayLike, *, relevance: ArrayLike
) -> Float[Array, "..."]:
    r"""Compute the least rate with a given relevance of an erasure pair, $I / (1-e)$.

    Args:
        pmf: P(y), shape (|Y|,), summing to one.
        erasure: e in [0, 1], a scalar.
        relevance: I >= 0 in bits about X, shape (...).

    Returns:
        R in bits, shape (...); infinite where the relevance exceeds $I(X;Y) = (1-e) H(Y)$.

    Raises:
        ValueError: if the pmf is not one, the erasure lies outside [0, 1] or a relevance is
            negative.

    """
    pmf = validation.pmf("pmf", pmf)
    e = validation.interval("erasure", erasure, low=0.0, high=1.0, ndim=0)
    relevance = validation.interval("relevance", relevance, low=0.0)
    most = entropy(pmf)
    everything = (1 - e) * most
    reached = jnp.minimum(relevance / jnp.where(e < 1, 1 - e, 1.0), most)
    return jnp.where(relevance > everything * (1 + _ROUNDING), jnp.inf, reached)


@validation.needs_float64
def bottleneck_gaussian(correlation: ArrayLike, *, rate: ArrayLike) -> Float[Array, "..."]:
    r"""Compute IB(R) of a Gaussian pair with correlation r.

    $$\mathrm{IB}(R) = -\tfrac12 \log_2\left(1 - r^2 (1 - 2^{-2R})\right)
    \to -\tfrac12 \log_2 (1 - r^2).$$

    Args:
        correlation: r in [-1, 1], any shape that broadcasts with the rate.
        rate: R >= 0 in bits about Y, any shape; may be infinite.

    Returns:
        IB(R) in bits, the broadcast shape; R itself where the correlation is one.

    Raises:
        ValueError: if a rate is negative, a correlation lies outside [-1, 1], or the shapes do not
            broadcast.

    Reference:
        Globerson and Tishby (2004), "On the optimality of the Gaussian information bottleneck
        curve"; Chechik et al. (2005), J. Mach. Learn. Res. 6.

    """
    R = validation.interval("rate", rate, low=0.0)
    r = validation.interval("correlation", correlation, low=-1.0, high=1.0)
    return _gaussian(*_broadcast("rate", R, r))


@validation.needs_float64
def bottleneck_gaussian_rate(
    correlation: ArrayLike, *, relevance: ArrayLike
) -> Float[Array, "..."]:
    r"""Compute the least rate with a given relevance of a Gaussian pair.

    $$\mathrm{IB}^{-1}(I) = -\tfrac12 \log_2\left(1 - \frac{1 - 2^{-2I}}{r^2}\right).$$

    Args:
        correlation: r in [-1, 1], any shape that broadcasts with the relevance.
        relevance: I >= 0 in bits about X, any shape.

    Returns:
        R in bits, the broadcast shape; infinite from $I(X;Y) = -\frac12 \log_2(1-r^2)$ on, which no
        finite rate reaches (0 at relevance 0).

    Raises:
        ValueError: if a relevance is negative, a correlation lies outside [-1, 1], or the shapes
            do not broadcast.

    """
    relevance = validation.interval("relevance", relevance, low=0.0)
    r = validation.interval("correlation", correlation, low=-1.0, high=1.0)
    return _gaussian_rate(*_broadcast("relevance", relevance, r))


@validation.needs_float64
def bottleneck_vector_gaussian(correlations: ArrayLike, *, rate: ArrayLike) -> Float[Array, "..."]:
    r"""Compute IB(R) of jointly Gaussian vectors from their canonical correlations.

    The pairs of canonical components are independent, each a scalar problem, and the rate goes to
    them at a common slope s: with $\gamma_i = r_i^2 / (1 - r_i^2)$ and the level
    $\theta = (1-s)/s$,

    $$R_i = \tfrac12 \log_2^+ (\gamma_i \theta), \quad R = \sum_i R_i, \quad
      \mathrm{IB}(R) = -\sum_i \tfrac12 \log_2\left(1 - r_i^2 (1 - 2^{-2R_i})\right).$$

    A component enters at slope $r_i^2$. The level is exact, not searched for.

    Args:
        correlations: canonical correlations r_i in [-1, 1], shape (n,).
        rate: R >= 0 in bits about the vector Y, shape (...); may be infinite.

    Returns:
        IB(R) in bits, shape (...).

    Raises:
        ValueError: if a rate is negative, or a correlation lies outside [-1, 1] or there is none.

    Reference:
        Chechik, Globerson, Tishby and Weiss (2005), "Information bottleneck for Gaussian
        variables", J. Mach. Learn. Res. 6, Theorem 3.1.

    """
    R = validation.interval("rate", rate, low=0.0)
    return _vector_gaussian(R, _correlations(correlations))


@validation.needs_float64
def bottleneck_vector_gaussian_rate(
    correlations: ArrayLike, *, relevance: ArrayLike
) -> Float[Array, "..."]:
    r"""Compute the least rate with a given relevance of jointly Gaussian vectors.

    The inverse of `bottleneck_vector_gaussian`, at the same common slope.

    Args:
        correlations: canonical correlations r_i in [-1, 1], shape (n,).
        relevance: I >= 0 in bits about X, shape (...).

    Returns:
        R in bits, shape (...); infinite from $I(X;Y)$ on, which no finite rate reaches.

    Raises:
        ValueError: if a relevance is negative, or a correlation lies outside [-1, 1] or there is
            none.

    """
    relevance = validation.interval("relevance", relevance, low=0.0)
    return _vector_gaussian_rate(relevance, _correlations(correlations))


@validation.needs_float64
def bottleneck_vector_gaussian_point(
    correlations: ArrayLike, *, slope: ArrayLike
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    r"""Compute the point of the vector Gaussian's bottleneck at a slope.

    At $\beta = 1/s$ the components with $\beta r_i^2 > 1$ are described:

    $$I(U;Y) = \sum_i \tfrac12 \log_2 \frac{(\beta-1) r_i^2}{1-r_i^2}, \qquad
      I(U;X) = I(U;Y) - \sum_i \tfrac12 \log_2 (\beta r_i^2).$$

    Args:
        correlations: canonical correlations r_i in (-1, 1), shape (n,).
        slope: s in (0, 1), bits about X per bit about Y, shape (...).

    Returns:
        I(U;X) and I(U;Y) in bits, each of the shape of the slope.

    Raises:
        ValueError: if a slope lies outside (0, 1), or a correlation outside (-1, 1), or there is
            none.

    Reference:
        Chechik et al. (2005), Theorem 3.1 (their beta is 1/s).

    """
    s = validation.interval("slope", slope, low=0.0, high=1.0, open_low=True, open_high=True)
    validation.interval(
        "correlations", correlations, low=-1.0, high=1.0, open_low=True, open_high=True
    )
    return _vector_gaussian_point(s, _correlations(correlations))


def _correlations(correlations: Any) -> Float[Array, " n"]:
    """Check and sort, the strongest first."""
    r = validation.interval("correlations", correlations, low=-1.0, high=1.0, ndim=1)
    if r.size == 0:
        raise ValueError("correlations must have at least one component, got shape (0,)")
    return jnp.sort(jnp.abs(r))[::-1]


def _broadcast(name: str, value: Array, correlation: Array) -> tuple[Array, Array]:
    try:
        value, correlation = jnp.broadcast_arrays(value, correlation)
    except ValueError as error:
        raise ValueError(
            f"{name} and correlation must broadcast together, got shapes "
            f"{value.shape} and {correlation.shape}"
        ) from error
    return value, correlation


@jax.jit
def _gaussian(R: Float[Array, "*grid"], r: Float[Array, "*grid"]) -> Float[Array, "*grid"]:
    left, kept = (1 - r) * (1 + r), r * r
    # 1 - r^2 (1 - w) with w = 2^(-2R): by its distance from one if that is small, else as a sum.
    distance = -kept * jnp.expm1(-2 * LN2 * R)
    small = distance < 0.5
    near = log1p(-jnp.where(small, distance, 0.0))
    # As a sum of logarithms only where 2^(-2R) may underflow: at r = 1 it is the sum that has slopes.
    long = R > _LONG
    plain = jnp.log(left + kept * jnp.exp2(-2 * jnp.where(small | long, 1.0, R)))
    rest = jnp.where(long & ((left > 0) | jnp.isfinite(R)), _log(kept) - 2 * LN2 * R, 0.0)
    logs = jnp.where((left == 0) & jnp.isinf(R), -jnp.inf, jnp.logaddexp(_log(left), rest))
    far = jnp.where(long, logs, plain)
    return jnp.where(kept > 0, -0.5 * jnp.where(small, near, far) / LN2, 0.0)


@jax.jit
def _gaussian_rate(v: Float[Array, "*grid"], r: Float[Array, "*grid"]) -> Float[Array, "*grid"]:
    left, kept = (1 - r) * (1 + r), r * r
    divisor = jnp.where(kept > 0, kept, 1.0)
    small = v < 1
    near = jnp.expm1(-2 * LN2 * jnp.where(small, v, 0.0)) / divisor
    near = jnp.where(near > -1, log1p(jnp.maximum(near, -0.9999999999999999)), -jnp.inf)
    # w = 2^(-2I) (1 - (1 - r^2) 2^(2I)) / r^2.
    large = jnp.where(small, 1.0, v)
    lost = jnp.exp(2 * LN2 * large + _log(left))
    inside = lost < 1
    far = jnp.where(inside, log1p(-jnp.where(inside, lost, 0.0)), -jnp.inf)
    far = far - 2 * LN2 * large - jnp.log(divisor)
    rate = -0.5 * jnp.where(small, near, far) / LN2
    rate = jnp.where(rate >= 0, rate, 0.0)
    return jnp.where(kept > 0, rate, jnp.where(v == 0, 0.0, jnp.inf))


def _log(x: Float[Array, "..."]) -> Float[Array, "..."]:
    return jnp.where(x > 0, jnp.log(jnp.where(x > 0, x, 1.0)), -jnp.inf)


def _filled(
    total: Float[Array, "*grid"], thresholds: Float[Array, " n"]
) -> Float[Array, "*grid n"]:
    """Fill vessels of these floors, ascending from 0, with a total: the height in each."""
    vessels = jnp.arange(1, thresholds.size + 1)
    level = least((total[..., None] + jnp.cumsum(thresholds)) / vessels)
    reached = jnp.isfinite(thresholds)
    height = level[..., None] - jnp.where(reached, thresholds, 0.0)
    # The first vessel is filled from the first drop on, in derivatives too.
    return jnp.where(reached & ((height > 0) | (vessels == 1)), height, 0.0)


def _floors(log_values: Float[Array, " n"]) -> Float[Array, " n"]:
    """Ascending values above the first; 0 for those as infinite as it."""
    same = log_values == log_values[0]
    return jnp.where(same, 0.0, log_values - jnp.where(same, 0.0, log_values[0]))


@jax.jit
def _vector_gaussian(R: Float[Array, "*grid"], r: Float[Array, " n"]) -> Float[Array, "*grid"]:
    floors = _floors((_log((1 - r) * (1 + r)) - 2 * _log(r)) / LN2)
    return jnp.sum(_gaussian(*jnp.broadcast_arrays(0.5 * _filled(2 * R, floors), r)), axis=-1)


@jax.jit
def _vector_gaussian_rate(v: Float[Array, "*grid"], r: Float[Array, " n"]) -> Float[Array, "*grid"]:
    log_left = _log((1 - r) * (1 + r)) / LN2
    share = 0.5 * _filled(2 * v, _floors(log_left))
    # A component without correlation has no relevance to give, whatever rounding says.
    rate = jnp.where(
        (share > 0) | (jnp.arange(r.size) == 0),
        jnp.where(r > 0, _gaussian_rate(*jnp.broadcast_arrays(share, r)), 0.0),
        0.0,
    )
    everything = -0.5 * jnp.sum(log_left)
    return jnp.where((v >= everything) & (v > 0), jnp.inf, jnp.sum(rate, axis=-1))


@jax.jit
def _vector_gaussian_point(
    s: Float[Array, "*grid"], r: Float[Array, " n"]
) -> tuple[Float[Array, "*grid"], Float[Array, "*grid"]]:
    s = s[..., None]
    active = r * r > s
    gamma = jnp.where(active, r * r / ((1 - r) * (1 + r)) * (1 - s) / s, 1.0)
    rate = 0.5 * jnp.sum(safe_log2(gamma), axis=-1)
    lost = 0.5 * jnp.sum(safe_log2(jnp.where(active, r * r / s, 1.0)), axis=-1)
    return rate - lost, rate
