r"""R(D) of continuous letters in closed form: Gaussian, Laplace and exponential."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.information import safe_log2
from rdsim.limits.closed_forms._levels import (
    at_most,
    checked_distortion,
    descending,
    greatest,
    up_to,
    with_rate_at_zero,
)
from rdsim.number_types import ArrayLike


@validation.needs_float64
def gaussian(variance: ArrayLike, *, distortion: ArrayLike) -> Float[Array, "..."]:
    r"""Compute R(D) of a Gaussian letter under squared error.

    $$R(D) = \tfrac12 \log_2 \frac{\sigma^2}{D}, \quad 0 \le D \le \sigma^2,$$

    infinite at D = 0 unless the variance is zero.

    Args:
        variance: sigma^2 >= 0, finite, a scalar.
        distortion: D >= 0, mean squared error, shape (...).

    Returns:
        R(D) in bits per letter, shape (...).

    Reference:
        Shannon (1949), "Communication in the presence of noise".

    """
    variance = validation.non_negative("variance", variance, ndim=0)
    return _vector_gaussian(variance[None], checked_distortion(distortion))


@validation.needs_float64
def vector_gaussian(variances: ArrayLike, *, distortion: ArrayLike) -> Float[Array, "..."]:
    r"""Compute R(D) of a Gaussian vector under total squared error, by reverse water-filling.

    $$D = \sum_k \min(\sigma_k^2, \theta), \qquad
      R(D) = \sum_k \tfrac12 \log_2^+ \frac{\sigma_k^2}{\theta}, \quad
      0 \le D \le \sum_k \sigma_k^2,$$

    infinite at D = 0 unless all variances are zero. The level $\theta$ is exact, not searched for.

    Args:
        variances: sigma_k^2 >= 0, finite, of independent components (the eigenvalues of a
            covariance), shape (n,).
        distortion: D >= 0, squared error summed over the components, shape (...).

    Returns:
        R(D) in bits per vector, shape (...).

    Reference:
        Kolmogorov (1956), "On the Shannon theory of information transmission".

    """
    variances = validation.non_negative("variances", variances, ndim=1)
    validation.not_empty("variances", variances)
    return _vector_gaussian(variances, checked_distortion(distortion))


@validation.needs_float64
def laplacian_absolute(rate_parameter: ArrayLike, *, distortion: ArrayLike) -> Float[Array, "..."]:
    r"""Compute R(D) of the Laplace density $\tfrac{\lambda}{2} e^{-\lambda|y|}$ under |y - u|.

    $$R(D) = -\log_2 (\lambda D), \quad 0 \le D \le 1/\lambda.$$

    Args:
        rate_parameter: lambda > 0, finite, a scalar; the mean of |Y| is 1/lambda.
        distortion: D >= 0, mean absolute error, shape (...).

    Returns:
        R(D) in bits per letter, shape (...); infinite at D = 0.

    Reference:
        Berger (1971), "Rate distortion theory", section 4.3.

    """
    return _minus_log2(_rate_parameter(rate_parameter), checked_distortion(distortion))


@validation.needs_float64
def exponential_one_sided(
    rate_parameter: ArrayLike, *, distortion: ArrayLike
) -> Float[Array, "..."]:
    r"""Compute R(D) of the density $\lambda e^{-\lambda y}$, y >= 0, under one-sided error.

    The error is y - u where u <= y, and infinite where the reproduction overshoots:

    $$R(D) = -\log_2 (\lambda D), \quad 0 \le D \le 1/\lambda.$$

    Args:
        rate_parameter: lambda > 0, finite, a scalar; the mean of Y is 1/lambda.
        distortion: D >= 0, mean one-sided error, shape (...).

    Returns:
        R(D) in bits per letter, shape (...); infinite at D = 0.

    Reference:
        Verdu (1996), "The exponential distribution in information theory".

    """
    return _minus_log2(_rate_parameter(rate_parameter), checked_distortion(distortion))


def _rate_parameter(rate_parameter: ArrayLike) -> Float[Array, ""]:
    return validation.positive("rate_parameter", rate_parameter, ndim=0)


@jax.jit
def _vector_gaussian(
    variances: Float[Array, " n"], distortion: Float[Array, "*grid"]
) -> Float[Array, "*grid"]:
    variance, unfilled = descending(variances)
    maximal = variances.sum()
    D = at_most(distortion, maximal)
    # Water-filling: with k components coded, D = k theta + (variance of the others).
    components = jnp.arange(1, variance.size + 1)
    theta, last = greatest((D[..., None] - unfilled) / components)
    # The components above the water level; the others are reproduced by their mean.
    coded = components <= 1 + last[..., None]
    # A difference of logarithms: the ratio may leave float64 where neither variance nor level does.
    gain = safe_log2(variance) - safe_log2(theta)[..., None]
    rate = 0.5 * jnp.sum(jnp.where(coded, gain, 0.0), axis=-1)
    # Components without variance cost nothing even at D = 0: only where something varies is the rate infinite there.
    lossless = (distortion == 0) & (maximal > 0)
    rate = up_to(maximal, rate, distortion)
    return jnp.where(lossless, with_rate_at_zero(distortion, rate, jnp.inf), rate)


@jax.jit
def _minus_log2(
    rate_parameter: Float[Array, ""], distortion: Float[Array, "*grid"]
) -> Float[Array, "*grid"]:
    maximal = 1 / rate_parameter
    D = at_most(distortion, maximal)
    # A harmless argument where D is zero, since a NaN of the unused branch would spread into derivatives. The product
    # lambda D is not formed: it may underflow where both logarithms are ordinary numbers.
    log_D = jnp.log2(jnp.where(D > 0, D, 1.0))
    rate = up_to(maximal, -jnp.log2(rate_parameter) - log_D, distortion)
    return with_rate_at_zero(distortion, rate, jnp.inf)
