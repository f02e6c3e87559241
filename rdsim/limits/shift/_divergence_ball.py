r"""The largest mean of a function over a divergence ball of distributions around a centre.

$$\max_{P:\, D(P\|P_0) \le \delta} \sum_y P_y g_y
  = \min_{\tau > 0} \; \tau \delta + \tau \log_2 \sum_y P_0(y)\, 2^{g_y/\tau},$$

reached by $P \propto P_0 2^{g/\tau}$ with $D(P\|P_0) = \delta$. Every $\tau$ gives an upper bound (weak
duality), so that the bisection of $\tau$ needs no certificate of its own.
"""

from typing import Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rdsim.information import LN2, log1p, relative_entropy
from rdsim.root_finding import bisect

_HALVINGS: Final = 70  # bisections of log2 tau over 50 octaves: down to the spacing of float64


@jax.jit
def largest_mean(
    g: Float[Array, "k y"], p: Float[Array, " y"], delta: Float[Array, ""]
) -> tuple[Float[Array, " k"], Float[Array, "k y"]]:
    """Return the upper bound and a distribution inside the ball that nearly has it, for each function.

    Args:
        g: finite functions of y, shape (k, |Y|).
        p: centre, shape (|Y|,).
        delta: radius in bits, >= 0; may be inf.

    Returns:
        Bounds of shape (k,) and distributions of shape (k, |Y|).

    """
    return jax.vmap(lambda row: _largest_mean(row, p, delta))(g)


def _largest_mean(
    g: Float[Array, " y"], p: Float[Array, " y"], delta: Float[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, " y"]]:
    """Bisect log2 tau, in units of the range of g, until the tilted distribution is on the sphere.

    The divergence of the tilted distribution falls as tau grows. The bound holds at every tau; the upper
    end of the bracket lies inside the ball, so that its distribution is feasible.
    """
    inside = p > 0
    # All values are taken relative to the largest that has mass: exponentials are then at most one.
    top = jnp.max(jnp.where(inside, g, -jnp.inf))
    below = jnp.where(inside, g - top, 0.0)
    mean = jnp.sum(p * below)
    width = -jnp.min(below)
    unit = jnp.where(width > 0, width, 1.0)
    peak = jnp.where(inside & (below == 0), p, 0.0)
    peak_mass = peak.sum()

    def tilted(tau: Array) -> Array:
        weight = p * jnp.exp2(below / tau)
        return weight / weight.sum()

    _, octave = bisect(
        lambda octave: relative_entropy(tilted(unit * jnp.exp2(octave)), p) <= delta,
        jnp.asarray(-20.0),
        jnp.asarray(30.0),
        steps=_HALVINGS,
    )
    tau = unit * jnp.exp2(octave)
    P = tilted(tau)
    # log2 of the mean of 2^(g/tau): about the mean where the exponents are small.
    # Where tau is large all exponents are close to one another: the logarithm of a mean near one
    # is taken by log1p and expm1 about the mean, or tau times it would be rounding. Where it is
    # small the plain form, of which the largest term is one, loses nothing.
    small = tau > unit
    x = LN2 * (below - mean) / tau
    near = mean + tau * log1p(jnp.sum(p * jnp.expm1(jnp.where(small, x, 0.0)))) / LN2
    far = tau * jnp.log2(jnp.sum(p * jnp.exp2(below / tau)))
    bound = tau * delta + jnp.where(small, near, far)
    # A ball that holds all mass on the largest g reaches it; one of radius zero holds its centre alone.
    reaches_top = delta >= -jnp.log2(peak_mass)
    bound = jnp.where(reaches_top, 0.0, jnp.minimum(bound, 0.0))
    P = jnp.where(reaches_top, peak / peak_mass, P)
    is_centre = delta == 0
    # Whatever rounding left outside the ball is replaced by its centre, so that what is returned
    # is feasible.
    P = jnp.where(is_centre | (relative_entropy(P, p) > delta), p, P)
    return top + jnp.where(is_centre & ~reaches_top, mean, bound), P
