r"""Certified tails of sums without a lattice, from the characteristic function on a tilted line.

$P[S > t] = e^{K(\theta) - \theta t}\, E_\theta f(S - t)$ with $f(x) = e^{-\theta x} 1\{x > 0\}$ and the
tilted law. Among functions whose Fourier transform ends at frequency $1/\Delta$, Graham and Vaaler
found the least one above f and the greatest below it; with $\lambda = \theta\Delta$ they interpolate
$e^{-\lambda k}$ at the points $k\Delta > 0$, zero at $k < 0$, and one (above) or zero (below) at k = 0.
Their integrals differ by exactly $\Delta$, so the bounds on a tail differ by a share of about
$\theta\Delta$, whatever the number of letters; letter values rounded to a step of $\Delta$ would give
$n\theta\Delta$.

The expectations are finite sums over frequencies m/P: they are those of the functions made periodic
with period P. A majorant, being positive, stays above f; a minorant is lowered by what it may have
gained, which Chernoff's bound limits. The rounding of the sum is bounded and added.
"""

from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rdsim.ranking import letter_scores
from rdsim.ranking.letter_scores import ScoreSums

CHUNK: Final = 4096
"""Frequencies computed side by side; their number is a multiple of it."""
_DEEP: Final = 45.0  # e^(-45) is below the rounding of the sums
_ROUNDING: Final = 4 * float(np.finfo(float).eps)
_FURTHER_TILTS: Final = np.geomspace(1e-3, 30.0, 24)


def period_of(
    sums: ScoreSums, tilt: Float[Array, " b"], deviation: Float[Array, " b"]
) -> Float[Array, " b"]:
    """A period that leaves no more than e^(-45) or so to its neighbours, never above twice the range."""
    enough = jnp.maximum(2 * _DEEP / tilt, 24.0 * deviation + 2 * _DEEP / tilt)
    return jnp.minimum(enough, 2 * (sums.highest - sums.lowest) + 2 * _DEEP / tilt)


@jax.jit
def tail_bounds(
    sums: ScoreSums,
    tilt: Float[Array, " b"],
    period: Float[Array, " b"],
    chunks: Int[Array, ""],
) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """Bounds on ln P[S > t] and ln P[S >= t] from `chunks` times 4096 frequencies, any tilt > 0."""
    cells = chunks * CHUNK
    law = letter_scores.tilted(sums, tilt)
    means = jnp.sum(law * sums.values, axis=-1, keepdims=True)
    rest = jnp.where(law > 0, sums.values - means, 0.0)
    cumulants = letter_scores.centred_cumulants(sums, tilt)
    wanted = sums.threshold - letter_scores.mean_of(sums)
    ahead = cumulants.mean - wanted  # by how much the tilted mean exceeds t
    decay = tilt * period / cells
    width = jnp.max(jnp.abs(rest), axis=(1, 2))
    letters = jnp.sum(sums.counts, axis=1)

    def add(chunk: Array, total: Float[Array, "3 b"]) -> Float[Array, "3 b"]:
        m = 1.0 + chunk * CHUNK + jnp.arange(CHUNK)
        y = m / cells
        angular = 2 * jnp.pi * m / period[:, None]
        phase = angular[:, :, None, None] * rest[:, None]
        real = jnp.sum(law[:, None] * jnp.cos(phase), axis=-1)
        imaginary = jnp.sum(law[:, None] * jnp.sin(phase), axis=-1)
        size = real**2 + imaginary**2
        log_size = 0.5 * jnp.log(jnp.maximum(size, 1e-300))
        counts = sums.counts[:, None]
        modulus = jnp.exp(jnp.sum(counts * log_size, axis=-1))
        argument = jnp.sum(counts * jnp.arctan2(imaginary, real), axis=-1)
        turn = modulus * jnp.exp(1j * (argument + angular * ahead[:, None]))
        above, below = _transforms(y, decay[:, None])
        error = (
            modulus
            * jnp.abs(above)
            * (
                4
                + letters[:, None] * (4 + angular * width[:, None])
                + angular * jnp.abs(ahead)[:, None]
            )
        )
        terms = jnp.stack([(above * turn).real, (below * turn).real, _ROUNDING * error])
        return total + jnp.sum(jnp.where(m < cells, terms, 0.0), axis=-1)

    upper, lower, error = jax.lax.fori_loop(0, chunks, add, jnp.zeros((3, tilt.size)))
    at_zero = 1 / -jnp.expm1(-decay)
    upper = (at_zero + 2 * (upper + error)) / cells
    lower = (at_zero - 1 + 2 * (lower - error)) / cells
    upper, lower = upper * (1 + 1e-12), lower * (1 - 1e-12) - _gained(sums, tilt, period, wanted)
    log_scale = cumulants.log_mean - tilt * wanted + sums.log_mass
    positive = lower > 0
    log_lower = jnp.log(jnp.where(positive, lower, 1.0)) + log_scale
    # A scale of a thousand nats is itself known to a thousand roundings only.
    slack = _ROUNDING * (10 + letters) * (1 + jnp.abs(log_scale))
    log_upper = jnp.log(upper) + log_scale + slack
    return jnp.where(positive, log_lower - slack, -jnp.inf), jnp.minimum(log_upper, sums.log_mass)


def _transforms(y: Float[Array, " m"], decay: Float[Array, "b 1"]) -> tuple[Array, Array]:
    r"""Fourier transforms of majorant and minorant at 0 < y < 1, in units of the step.

    A function that takes values F(k) with slopes F'(k) and ends at frequency one has the transform
    $\sum_k e^{-2\pi i k y} ((1-y) F(k) + F'(k) / (2\pi i))$. Here the slopes are
    $-\lambda e^{-\lambda k}$, and at k = 0 what makes them sum to zero.
    """
    ratio = jnp.exp(-decay - 2j * jnp.pi * y)
    whole = 1 / (1 - ratio)
    slope = decay / (2j * jnp.pi)
    above = (1 - y) * whole + slope * (1 / -jnp.expm1(-decay) - whole)
    below = (1 - y) * (whole - 1) + slope * (1 / jnp.expm1(decay) - (whole - 1))
    return above, below


def _gained(
    sums: ScoreSums,
    tilt: Float[Array, " b"],
    period: Float[Array, " b"],
    wanted: Float[Array, " b"],
) -> Float[Array, " b"]:
    r"""Bound what the copies of f at $kP$, k not 0, add in the mean: $x < -P/2$, $x > P$ or far off."""
    here = letter_scores.centred_cumulants(sums, tilt).log_mean

    def chance(side: float, distance: Float[Array, " b"]) -> Float[Array, " b"]:
        """Chernoff's bound on the tilted probability that side (S - t) exceeds the distance."""
        unit = 1 / jnp.sqrt(letter_scores.centred_cumulants(sums, tilt).variance)

        def exponent(further: Array) -> Array:
            other = side * further * unit
            there = letter_scores.centred_cumulants(sums, tilt + other).log_mean
            return there - here - other * wanted - further * unit * distance

        return jnp.exp(jnp.min(jax.lax.map(exponent, jnp.asarray(_FURTHER_TILTS)), axis=0))

    far = jnp.exp(-tilt * period / 2)
    span = sums.highest - sums.lowest
    low = jnp.where(period / 2 > span, 0.0, chance(-1.0, period / 2))
    high = jnp.where(period > span, 0.0, chance(1.0, period))
    return (far + jnp.minimum(low, 1.0) + jnp.minimum(high, 1.0)) / -jnp.expm1(-tilt * period)
