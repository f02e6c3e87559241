r"""Certified tails of sums without a lattice, from the characteristic function on a tilted line.

$P[S > t] = e^{K(\theta) - \theta t}\, E_\theta f(S - t)$ with $f(x) = e^{-\theta x} 1\{x > 0\}$ and the
tilted distribution. Among functions whose Fourier transform ends at frequency $1/\Delta$, Graham and Vaaler
found the least one above f and the greatest below it; with $\lambda = \theta\Delta$ they interpolate
$e^{-\lambda k}$ at the points $k\Delta > 0$, zero at $k < 0$, and one (above) or zero (below) at k = 0.
Their integrals differ by exactly $\Delta$, so the bounds on a tail have a relative difference of about
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

from rdsim.ranking.tails import letter_scores
from rdsim.ranking.tails.letter_scores import ScoreSums

CHUNK: Final = 4096
"""Frequencies computed side by side; their number is a multiple of it."""
_DEEP: Final = 45.0
"""Nats by which neighbouring periods are damped: e^(-45) is below the rounding of the sums."""
_ROUNDING: Final = 4 * float(np.finfo(float).eps)
"""Relative rounding of a few operations, by which the bounds are widened."""
_FURTHER_TILTS: Final = np.geomspace(1e-3, 30.0, 24)
"""Additional tilts that Chernoff's bound is minimised over, in units of one over the deviation."""


def period_of(
    sums: ScoreSums, tilt: Float[Array, " b"], deviation: Float[Array, " b"]
) -> Float[Array, " b"]:
    """A period at which neighbouring copies contribute some e^(-45); never above twice the range."""
    enough = jnp.maximum(2 * _DEEP / tilt, 24.0 * deviation + 2 * _DEEP / tilt)
    return jnp.minimum(enough, 2 * (sums.highest - sums.lowest) + 2 * _DEEP / tilt)


@jax.jit
def tail_bounds(
    sums: ScoreSums,
    tilt: Float[Array, " b"],
    period: Float[Array, " b"],
    chunks: Int[Array, ""],
) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """Bound ln P[S > t] below and ln P[S >= t] above from `chunks` times 4096 frequencies, any tilt > 0.

    Each chunk adds the real parts of (transform of the majorant or minorant) times (characteristic
    function of the tilted sum), and a bound on its rounding: of every letter's modulus and argument.
    """
    cells = chunks * CHUNK
    p = letter_scores.tilted(sums, tilt)
    means = jnp.sum(p * sums.values, axis=-1, keepdims=True)
    rest = jnp.where(p > 0, sums.values - means, 0.0)
    cumulants = letter_scores.centred_cumulants(sums, tilt)
    wanted = sums.threshold - letter_scores.mean_of(sums)
    ahead = cumulants.mean - wanted  # by how much the tilted mean exceeds t
    decay = tilt * period / cells
    width = jnp.max(jnp.abs(rest), axis=(1, 2))
    letters = jnp.sum(sums.counts, axis=1)

    def add(chunk: Array, total: Float[Array, "3 b"]) -> Float[Array, "3 b"]:
        # Frequencies m/P, m = 1..cells-1; frequency zero is added at the end, and negative ones are the
        # conjugates of these: hence real parts, counted twice. y is the frequency times the step.
        m = 1.0 + chunk * CHUNK + jnp.arange(CHUNK)
        y = m / cells
        angular = 2 * jnp.pi * m / period[:, None]
        phase = angular[:, :, None, None] * rest[:, None]
        real = jnp.sum(p[:, None] * jnp.cos(phase), axis=-1)
        imaginary = jnp.sum(p[:, None] * jnp.sin(phase), axis=-1)
        # The characteristic function of a sum is a product over letters: logarithms of moduli and
        # arguments are added, for n may be millions.
        size = real**2 + imaginary**2
        log_size = 0.5 * jnp.log(jnp.maximum(size, 1e-300))
        counts = sums.counts[:, None]
        modulus = jnp.exp(jnp.sum(counts * log_size, axis=-1))
        argument = jnp.sum(counts * jnp.arctan2(imaginary, real), axis=-1)
        characteristic = modulus * jnp.exp(1j * (argument + angular * ahead[:, None]))
        above, below = _transforms(y, decay[:, None])
        roundings = (
            4
            + letters[:, None] * (4 + angular * width[:, None])
            + angular * jnp.abs(ahead)[:, None]
        )
        error = modulus * jnp.abs(above) * roundings
        terms = jnp.stack(
            [(above * characteristic).real, (below * characteristic).real, _ROUNDING * error]
        )
        return total + jnp.sum(jnp.where(m < cells, terms, 0.0), axis=-1)

    upper, lower, error = jax.lax.fori_loop(0, chunks, add, jnp.zeros((3, tilt.size)))
    at_zero = 1 / -jnp.expm1(-decay)
    upper = (at_zero + 2 * (upper + error)) / cells
    lower = (at_zero - 1 + 2 * (lower - error)) / cells
    from_copies = _mass_of_copies(sums, tilt, period, wanted)
    upper, lower = upper * (1 + 1e-12), lower * (1 - 1e-12) - from_copies
    log_scale = cumulants.log_mean - tilt * wanted + sums.log_mass
    positive = lower > 0
    log_lower = jnp.log(jnp.where(positive, lower, 1.0)) + log_scale
    # The logarithm of the scale has a rounding of its own size: a thousand nats, a thousand roundings.
    slack = _ROUNDING * (10 + letters) * (1 + jnp.abs(log_scale))
    log_upper = jnp.log(upper) + log_scale + slack
    return jnp.where(positive, log_lower - slack, -jnp.inf), jnp.minimum(log_upper, sums.log_mass)


def _transforms(y: Float[Array, " m"], decay: Float[Array, "b 1"]) -> tuple[Array, Array]:
    r"""Fourier transforms of majorant and minorant at 0 < y < 1, in units of the step.

    A function that takes values F(k) with slopes F'(k) and ends at frequency one has the transform
    $\sum_k e^{-2\pi i k y} ((1-y) F(k) + F'(k) / (2\pi i))$. Here the slopes are
    $-\lambda e^{-\lambda k}$, and at k = 0 the value at which they sum to zero.
    """
    ratio = jnp.exp(-decay - 2j * jnp.pi * y)
    whole = 1 / (1 - ratio)
    slope = decay / (2j * jnp.pi)
    above = (1 - y) * whole + slope * (1 / -jnp.expm1(-decay) - whole)
    below = (1 - y) * (whole - 1) + slope * (1 / jnp.expm1(decay) - (whole - 1))
    return above, below


def _mass_of_copies(
    sums: ScoreSums,
    tilt: Float[Array, " b"],
    period: Float[Array, " b"],
    wanted: Float[Array, " b"],
) -> Float[Array, " b"]:
    r"""Bound what the periodic copies of f at $kP$, k not 0, add to the mean of the minorant.

    Where S - t lies between $-P/2$ and $P$ they add at most $e^{-\theta P/2}$, elsewhere at most one, each
    over $1 - e^{-\theta P}$ for their geometric series. Chernoff bounds the probability of elsewhere.
    """
    here = letter_scores.centred_cumulants(sums, tilt).log_mean

    def chernoff(side: float, distance: Float[Array, " b"]) -> Float[Array, " b"]:
        """Chernoff's bound on the tilted probability that side (S - t) exceeds the distance."""
        unit = 1 / jnp.sqrt(letter_scores.centred_cumulants(sums, tilt).variance)

        def exponent(further: Array) -> Array:
            other = side * further * unit
            there = letter_scores.centred_cumulants(sums, tilt + other).log_mean
            return there - here - other * wanted - further * unit * distance

        return jnp.exp(jnp.min(jax.lax.map(exponent, jnp.asarray(_FURTHER_TILTS)), axis=0))

    far = jnp.exp(-tilt * period / 2)
    span = sums.highest - sums.lowest
    low = jnp.where(period / 2 > span, 0.0, chernoff(-1.0, period / 2))
    high = jnp.where(period > span, 0.0, chernoff(1.0, period))
    return (far + jnp.minimum(low, 1.0) + jnp.minimum(high, 1.0)) / -jnp.expm1(-tilt * period)
