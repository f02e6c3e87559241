r"""The largest mean of a function over a ball of laws around a centre.

$$\max_{P:\, D(P\|P_0) \le \delta} \sum_y P_y g_y
  = \min_{\tau > 0} \; \tau \delta + \tau \log_2 \sum_y P_0(y)\, 2^{g_y/\tau},$$

reached by $P \propto P_0 2^{g/\tau}$ with $D(P\|P_0) = \delta$. Every $\tau$ gives an upper bound.
"""

from typing import Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rdsim.information import LN2, log1p, relative_entropy

_HALVINGS: Final = 70


@jax.jit
def largest_mean(
    g: Float[Array, "k y"], p0: Float[Array, " y"], delta: Float[Array, ""]
) -> tuple[Float[Array, " k"], Float[Array, "k y"]]:
    """Return the upper bound and a law inside the ball that nearly has it, a function at a time.

    Args:
        g: finite functions of y, shape (k, |Y|).
        p0: centre, shape (|Y|,).
        delta: radius in bits, >= 0; may be inf.

    Returns:
        Bounds of shape (k,) and laws of shape (k, |Y|).

    """
    return jax.vmap(lambda row: _one(row, p0, delta))(g)


def _one(
    g: Float[Array, " y"], p0: Float[Array, " y"], delta: Float[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, " y"]]:
    inside = p0 > 0
    top = jnp.max(jnp.where(inside, g, -jnp.inf))
    below = jnp.where(inside, g - top, 0.0)
    mean = jnp.sum(p0 * below)
    spread = -jnp.min(below)
    unit = jnp.where(spread > 0, spread, 1.0)
    peak = jnp.where(inside & (below == 0), p0, 0.0)
    peak_mass = peak.sum()

    def law(tau: Array) -> Array:
        weight = p0 * jnp.exp2(below / tau)
        return weight / weight.sum()

    def halve(_: Array, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = 0.5 * (low + high)
        fits = relative_entropy(law(unit * jnp.exp2(middle)), p0) <= delta
        return jnp.where(fits, low, middle), jnp.where(fits, middle, high)

    start = jnp.asarray(-20.0), jnp.asarray(30.0)
    _, octave = jax.lax.fori_loop(0, _HALVINGS, halve, start)
    tau = unit * jnp.exp2(octave)
    P = law(tau)
    # log2 of the mean of 2^(g/tau): about the mean where the exponents are small.
    small = tau > unit
    x = LN2 * (below - mean) / tau
    near = mean + tau * log1p(jnp.sum(p0 * jnp.expm1(jnp.where(small, x, 0.0)))) / LN2
    far = tau * jnp.log2(jnp.sum(p0 * jnp.exp2(below / tau)))
    bound = tau * delta + jnp.where(small, near, far)
    whole = delta >= -jnp.log2(peak_mass)
    bound = jnp.where(whole, 0.0, jnp.minimum(bound, 0.0))
    P = jnp.where(whole, peak / peak_mass, P)
    still = delta == 0
    P = jnp.where(still | (relative_entropy(P, p0) > delta), p0, P)
    return top + jnp.where(still & ~whole, mean, bound), P
