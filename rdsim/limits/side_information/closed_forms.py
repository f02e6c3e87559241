r"""The Wyner-Ziv function in closed form: the doubly symmetric binary source, and Gaussian pairs.

Both functions raise a ValueError if a number is out of range.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.information import binary_entropy
from rdsim.number_types import ArrayLike
from rdsim.root_finding import bisect
from rdsim.transformations import falling, implicit_root


@validation.needs_float64
def wyner_ziv_dsbs(crossover: ArrayLike, *, distortion: ArrayLike) -> Float[Array, "..."]:
    r"""Compute the Wyner-Ziv R(D) of the doubly symmetric binary source, Hamming distortion.

    $$R_{WZ}(D) = \text{lower convex envelope of } g(D) = h(a * D) - h(D),\ 0 \le D \le a,
      \text{ and the point } (a, 0),$$

    that is g up to $D_c$ and from there the tangent through (a, 0): $g(D_c) = (D_c - a)\, g'(D_c)$.

    Args:
        crossover: a in [0, 1], a scalar; beyond 1/2 the side information is inverted first.
        distortion: D >= 0, any shape; the rate is zero from min(a, 1-a) on.

    Returns:
        Bits per letter, shape of D.

    References:
        Wyner and Ziv (1976), IEEE Trans. Inf. Theory 22(1), Section II.

    """
    a = validation.interval("crossover", crossover, low=0.0, high=1.0, ndim=0)
    return _dsbs(jnp.minimum(a, 1 - a), validation.interval("distortion", distortion, low=0.0))


@validation.needs_float64
def wyner_ziv_gaussian(
    correlation: ArrayLike, *, variance: ArrayLike, distortion: ArrayLike
) -> Float[Array, "..."]:
    r"""Compute the Wyner-Ziv R(D) of a Gaussian pair, squared error: no loss over knowing Z.

    $$R_{WZ}(D) = R_{Y|Z}(D) = \tfrac12 \log_2^+ \frac{\sigma^2 (1-\rho^2)}{D}.$$

    Args:
        correlation: rho in [-1, 1], a scalar.
        variance: sigma^2 of Y, positive and finite, a scalar.
        distortion: D >= 0, mean squared error, any shape.

    Returns:
        Bits per letter, shape of D; infinite at D = 0 unless rho is 1 or -1.

    References:
        Wyner (1978), "The rate-distortion function for source coding with side information at the
        decoder II: general sources", Inf. Control 38(1).

    """
    r = validation.interval("correlation", correlation, low=-1.0, high=1.0, ndim=0)
    variance = validation.positive("variance", variance, ndim=0)
    D = validation.interval("distortion", distortion, low=0.0)
    unexplained = variance * (1 - r) * (1 + r)
    inside = unexplained > D
    ratio = jnp.where(inside & (D > 0), unexplained, 1.0) / jnp.where(inside & (D > 0), D, 1.0)
    at_zero = jnp.inf + falling(D)
    return jnp.where(inside, jnp.where(D > 0, 0.5 * jnp.log2(ratio), at_zero), 0.0)


@jax.jit
def _dsbs(a: Float[Array, ""], distortion: Float[Array, "*grid"]) -> Float[Array, "*grid"]:
    def curve(D: Array) -> Array:
        return binary_entropy(a * (1 - D) + D * (1 - a)) - binary_entropy(D)

    def slope(D: Array) -> Array:
        # The derivative of h(a * D) - h(D): h' is the log-odds, and a * D grows 1 - 2a times as
        # fast as D.
        m = a * (1 - D) + D * (1 - a)
        return (1 - 2 * a) * jnp.log2((1 - m) / m) - jnp.log2((1 - D) / D)

    def miss(D: Array) -> Array:
        """How far the tangent at D passes above (a, 0); rising in D, since g is convex."""
        return curve(D) + (a - D) * slope(D)

    # The tangent passes through (a, 0) where `miss` is zero. 200 halvings reach even a subnormal D_c.
    bracket = jnp.zeros_like(a), jnp.where(a > 0, a, 0.5)
    _, critical = bisect(lambda D: ~(miss(D) < 0), *bracket, steps=200)
    critical = implicit_root(miss, critical)
    # Beyond D_c time sharing with the point (a, 0): the chord, which is the tangent at D_c.
    tangent = curve(critical) * (a - distortion) / jnp.where(a > critical, a - critical, 1.0)
    curved = curve(jnp.minimum(distortion, critical))
    return jnp.where(
        distortion < a, jnp.where(distortion <= critical, curved, jnp.maximum(tangent, 0.0)), 0.0
    )
