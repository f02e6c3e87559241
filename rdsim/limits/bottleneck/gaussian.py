r"""Information bottlenecks of Gaussian pairs: scalars and vectors.

Each function is $\mathrm{IB}(R)$, the most that R bits about Y can tell about X, elementwise over
an array of rates, or its inverse, the least rate with a given relevance. Small rates and small
relevances keep their digits: nothing is subtracted from one.

All raise ValueError if a rate or a relevance is negative, or a correlation lies outside [-1, 1].
"""

from typing import Any, Final

from jaxtyping import Array, Float

from rdsim import validation
from rdsim.information import LN2, log1p, log_from_zero, safe_log2
from rdsim.namespaces import namespace_of
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.transformations import least, small_on_host

_LONG: Final = 500.0  # bits, beyond which 4^(-R) may underflow
_BELOW_ONE: Final = 0.9999999999999999  # the largest float64 below one, whose log1p(-x) is finite


@result
class BottleneckPoint:
    """One point of a bottleneck's curve.

    Attributes:
        relevance: I(U;X), bits.
        complexity: I(U;Y), bits.

    """

    relevance: Float[Array, "..."]
    complexity: Float[Array, "..."]


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

    Reference:
        Globerson and Tishby (2004), "On the optimality of the Gaussian information bottleneck
        curve"; Chechik et al. (2005), J. Mach. Learn. Res. 6.

    """
    R = validation.interval("rate", rate, low=0.0)
    r = validation.interval("correlation", correlation, low=-1.0, high=1.0)
    R, r = validation.broadcast(rate=R, correlation=r)
    return _scalar_gaussian(R, r)


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

    """
    v = validation.interval("relevance", relevance, low=0.0)
    r = validation.interval("correlation", correlation, low=-1.0, high=1.0)
    v, r = validation.broadcast(relevance=v, correlation=r)
    return _scalar_gaussian_rate(v, r)


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

    Reference:
        Chechik, Globerson, Tishby and Weiss (2005), "Information bottleneck for Gaussian
        variables", J. Mach. Learn. Res. 6, Theorem 3.1.

    """
    R = validation.interval("rate", rate, low=0.0)
    return _vector_gaussian(R, _correlations(correlations))


@validation.needs_float64
def bottleneck_vector_gaussian_rates(
    correlations: ArrayLike, *, rate: ArrayLike
) -> Float[Array, "... n"]:
    r"""Share R bits among the canonical components as `bottleneck_vector_gaussian` does (water-filling).

    $$R_i = \tfrac12 \log_2^+ (\gamma_i \theta), \qquad \gamma_i = r_i^2 / (1 - r_i^2), \qquad
      \sum_i R_i = R.$$

    Args:
        correlations: canonical correlations r_i in [-1, 1], shape (n,).
        rate: R >= 0 in bits about the vector Y, shape (...); may be infinite.

    Returns:
        R_i in bits, in the order of the correlations, shape (..., n); a component without correlation gets
        none, and if some correlations are one they alone share all.

    Reference:
        Chechik et al. (2005), Theorem 3.1.

    """
    R = validation.interval("rate", rate, low=0.0)
    _correlations(correlations)
    r = validation.interval("correlations", correlations, low=-1.0, high=1.0, ndim=1)
    return _rates_in_order(R, r)


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

    """
    v = validation.interval("relevance", relevance, low=0.0)
    return _vector_gaussian_rate(v, _correlations(correlations))


@validation.needs_float64
def bottleneck_vector_gaussian_point(
    correlations: ArrayLike, *, slope: ArrayLike
) -> BottleneckPoint:
    r"""Compute the point of the vector Gaussian's bottleneck at a slope.

    At $\beta = 1/s$ the components with $\beta r_i^2 > 1$ are described:

    $$I(U;Y) = \sum_i \tfrac12 \log_2 \frac{(\beta-1) r_i^2}{1-r_i^2}, \qquad
      I(U;X) = I(U;Y) - \sum_i \tfrac12 \log_2 (\beta r_i^2).$$

    Args:
        correlations: canonical correlations r_i in (-1, 1), shape (n,).
        slope: s in (0, 1), bits about X per bit about Y, shape (...).

    Returns:
        I(U;X) and I(U;Y), each of the shape of the slope.

    Reference:
        Chechik et al. (2005), Theorem 3.1 (their beta is 1/s).

    """
    s = validation.interval("slope", slope, low=0.0, high=1.0, open_low=True, open_high=True)
    validation.interval(
        "correlations", correlations, low=-1.0, high=1.0, open_low=True, open_high=True
    )
    return _vector_gaussian_point(s, _correlations(correlations))


def _correlations(correlations: ArrayLike) -> Float[Any, " n"]:
    """Check and sort, the strongest first."""
    r = validation.interval("correlations", correlations, low=-1.0, high=1.0, ndim=1)
    return _descending(validation.not_empty("correlations", r))


@small_on_host
def _descending(r: Float[Any, " n"]) -> Float[Any, " n"]:
    xp = namespace_of(r)
    return xp.sort(xp.abs(r))[::-1]


def _scalar(R: Float[Any, "*grid"], r: Float[Any, "*grid"]) -> Float[Any, "*grid"]:
    xp = namespace_of(R, r)
    # 1 - r^2 as a product keeps its digits where the correlation is close to one.
    unexplained, explained = (1 - r) * (1 + r), r * r
    # 1 - r^2 (1 - w) with w = 2^(-2R): by its distance from one if that is small, else as a sum.
    distance = -explained * xp.expm1(-2 * LN2 * R)
    small = distance < 0.5
    near = log1p(-xp.where(small, distance, 0.0))
    # As a sum of logarithms only where 2^(-2R) may underflow: at r = 1 it is the sum that has slopes.
    long = R > _LONG
    plain = xp.log(unexplained + explained * xp.exp2(-2 * xp.where(small | long, 1.0, R)))
    # r = 1 at an infinite rate is ln 0 + ln 0, which logaddexp would differentiate to NaN: taken out by hand.
    finite = (unexplained > 0) | xp.isfinite(R)
    remaining = xp.where(long & finite, log_from_zero(explained) - 2 * LN2 * R, 0.0)
    logs = xp.where(finite, xp.logaddexp(log_from_zero(unexplained), remaining), -xp.inf)
    far = xp.where(long, logs, plain)
    return xp.where(explained > 0, -0.5 * xp.where(small, near, far) / LN2, 0.0)


def _scalar_rate(v: Float[Any, "*grid"], r: Float[Any, "*grid"]) -> Float[Any, "*grid"]:
    xp = namespace_of(v, r)
    unexplained, explained = (1 - r) * (1 + r), r * r
    divisor = xp.where(explained > 0, explained, 1.0)
    # The rate is -log2(w) / 2. Below one bit w is had by its distance from one, which keeps the digits
    # of small relevances; above it by logarithms, which cannot underflow.
    small = v < 1
    near = xp.expm1(-2 * LN2 * xp.where(small, v, 0.0)) / divisor
    near = xp.where(near > -1, log1p(xp.maximum(near, -_BELOW_ONE)), -xp.inf)
    # w = 2^(-2I) (1 - (1 - r^2) 2^(2I)) / r^2.
    large = xp.where(small, 1.0, v)
    lost = xp.exp(2 * LN2 * large + log_from_zero(unexplained))
    inside = lost < 1
    far = xp.where(inside, log1p(-xp.where(inside, lost, 0.0)), -xp.inf)
    far = far - 2 * LN2 * large - xp.log(divisor)
    rate = -0.5 * xp.where(small, near, far) / LN2
    rate = xp.where(rate >= 0, rate, 0.0)
    return xp.where(explained > 0, rate, xp.where(v == 0, 0.0, xp.inf))


_scalar_gaussian, _scalar_gaussian_rate = map(small_on_host, (_scalar, _scalar_rate))


def _water_filled(
    total: Float[Any, "*grid"], thresholds: Float[Any, " n"]
) -> Float[Any, "*grid n"]:
    """Water-filling over thresholds that ascend from 0: what each component gets of the total.

    With the first k components filled the level is (total + their thresholds) / k; the least of these
    levels over k is that of the components which are really filled.
    """
    xp = namespace_of(total, thresholds)
    count = xp.arange(1, thresholds.size + 1)
    # Why the least: filling one component too few or too many both give a level that is too high,
    # the former since the omitted one would take some of the total, the latter since its
    # threshold is above the level.
    level = least((total[..., None] + xp.cumsum(thresholds)) / count)
    reached = xp.isfinite(thresholds)
    height = level[..., None] - xp.where(reached, thresholds, 0.0)
    # The first component is filled as soon as the total is positive, in derivatives at zero too.
    return xp.where(reached & ((height > 0) | (count == 1)), height, 0.0)


def _thresholds(log_values: Float[Any, " n"]) -> Float[Any, " n"]:
    """Ascending values above the first; 0 for those as infinite as it."""
    xp = namespace_of(log_values)
    same = log_values == log_values[0]
    return xp.where(same, 0.0, log_values - xp.where(same, 0.0, log_values[0]))


def _shared(R: Float[Any, "*grid"], r: Float[Any, " n"]) -> Float[Any, "*grid n"]:
    # A component enters at the level theta = 1 / gamma = (1 - r^2) / r^2 (thresholds in log2).
    thresholds = _thresholds((log_from_zero((1 - r) * (1 + r)) - 2 * log_from_zero(r)) / LN2)
    return 0.5 * _water_filled(2 * R, thresholds)


@small_on_host
def _rates_in_order(R: Float[Any, "*grid"], r: Float[Any, " n"]) -> Float[Any, "*grid n"]:
    xp = namespace_of(R, r)
    order = xp.argsort(-xp.abs(r))
    return _shared(R, xp.abs(r)[order])[..., xp.argsort(order)]


@small_on_host
def _vector_gaussian(R: Float[Any, "*grid"], r: Float[Any, " n"]) -> Float[Any, "*grid"]:
    xp = namespace_of(R, r)
    rate, r = xp.broadcast_arrays(_shared(R, r), r)
    return xp.sum(_scalar(rate, r), axis=-1)


@small_on_host
def _vector_gaussian_rate(v: Float[Any, "*grid"], r: Float[Any, " n"]) -> Float[Any, "*grid"]:
    xp = namespace_of(v, r)
    # At a common slope 2^(-2 I_i) is proportional to 1 - r_i^2, over the components that are described.
    log_left = log_from_zero((1 - r) * (1 + r)) / LN2
    relevance, r = xp.broadcast_arrays(0.5 * _water_filled(2 * v, _thresholds(log_left)), r)
    filled = (relevance > 0) | (xp.arange(r.shape[-1]) == 0)
    # A component without correlation has no relevance to give, whatever rounding says.
    rate = xp.where(filled & (r > 0), _scalar_rate(relevance, r), 0.0)
    everything = -0.5 * xp.sum(log_left)
    return xp.where((v >= everything) & (v > 0), xp.inf, xp.sum(rate, axis=-1))


@small_on_host
def _vector_gaussian_point(s: Float[Any, "*grid"], r: Float[Any, " n"]) -> BottleneckPoint:
    xp = namespace_of(s, r)
    s = s[..., None]
    active = r * r > s
    gamma = xp.where(active, r * r / ((1 - r) * (1 + r)) * (1 - s) / s, 1.0)
    rate = 0.5 * xp.sum(safe_log2(gamma), axis=-1)
    lost = 0.5 * xp.sum(safe_log2(xp.where(active, r * r / s, 1.0)), axis=-1)
    return BottleneckPoint(relevance=rate - lost, complexity=rate)
