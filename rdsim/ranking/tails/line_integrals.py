r"""Integrals of a tilted characteristic function along a line: what the saddlepoint expansion does not see.

$$\frac{1}{2\pi} \int e^{K(\theta + i\omega) - (\theta + i\omega) t}\, g(\theta + i\omega)\, d\omega,$$

by the midpoint rule, with g that of `saddlepoint`. On a lattice the rule is a discrete Fourier transform: with two
frequencies for every value that the sum can take it is exact but for rounding.
"""

import math
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rdsim.ranking.tails import letter_scores
from rdsim.ranking.tails.letter_scores import Cumulants, ScoreSums

_FREQUENCIES: Final = 2048  # most frequencies of a numerical integral along the line
_SPACING: Final = 0.5  # spacing of the frequencies, in units of one over the tilted deviation
_NEIGHBOURHOOD: Final = 5.0
"""Frequency up to which the expansion sees the integrand, in the same unit: e^(-12.5) of its peak."""
_CHUNK: Final = 64  # least number of frequencies, and the number of those computed side by side


class LineIntegral(NamedTuple):
    r"""Integrals along a line, in units of a scale."""

    rest: Float[Array, " b"]  # the integral beyond the neighbourhood of the saddle
    whole: Float[Array, " b"]  # the integral of the whole line
    log_scale: Float[Array, " b"]  # ln of the scale
    complete: Bool[Array, " b"]  # whether the frequencies reach the end of the lattice's period


def line_integrals(
    sums: ScoreSums,
    tilts: Float[Array, "2 b"],
    cumulants: Cumulants,
    levels: Float[Array, "2 b"],
) -> tuple[LineIntegral, LineIntegral]:
    r"""Integrate $\varphi_\theta(\omega) g(\theta + i\omega)$: for the tail, and with $g = \Delta$ for one value.

    The characteristic function of a sum of few values returns to moduli near one (on a lattice that
    is nearly a coarser one, say), which the expansion does not see. From 5 over the tilted
    deviation on it is integrated numerically, on a lattice to the end of its period. The levels are
    those of S less its mean without tilt; the scale is $e^{K(\theta) - \theta t} / \sqrt{2\pi}$.
    """
    ahead = cumulants.mean - levels
    unit = 1 / jnp.sqrt(jnp.where(cumulants.variance > 0, cumulants.variance, 1.0))
    step = jnp.where(sums.step > 0, sums.step, 1.0)
    needed = jnp.ceil(jnp.maximum(jnp.pi / step / (_SPACING * unit), _CHUNK))
    # Half of the period is integrated: so many frequencies tell all values of the range from one another. Fewer see
    # those that lie a period away as well, which have no mass where the tilted sum is about normal.
    every_value = jnp.ceil((sums.highest - sums.lowest) / step / 2) + 1
    needed = jnp.where(every_value <= _FREQUENCIES, jnp.maximum(needed, every_value), needed)
    fits = (sums.step > 0) & (needed <= _FREQUENCIES)
    spacing = jnp.where(fits, jnp.pi / step / needed, _SPACING * unit)
    needed = jnp.where(fits, needed, _FREQUENCIES)
    p, _, centred, _ = letter_scores.tilted_letters(sums, tilts)
    centred = centred - jnp.sum(p * centred, -1, keepdims=True)

    # On a lattice g is a geometric series over all points beyond the level. It is cut after the last one that the sum
    # can take, for a longer one would reach the points a period away.
    beyond = jnp.where(tilts[0] < 0, -1.0, 1.0)
    end = jnp.where(tilts[0] < 0, sums.lowest, sums.highest) - letter_scores.mean_of(sums)
    reach = step * jnp.round(beyond * (end - levels[0]) / step + 0.5)

    # The midpoint rule; over the whole period of a lattice it converges exponentially.
    def add(chunk: Array, total: Float[Array, "2 2 b"]) -> Float[Array, "2 2 b"]:
        node = (chunk * _CHUNK + jnp.arange(_CHUNK))[:, None, None]
        frequency = (node + 0.5) * spacing
        letters = jnp.sum(p * jnp.exp(1j * frequency[..., None, None] * centred), axis=-1)
        size = jnp.log(jnp.maximum(jnp.abs(letters), 1e-300))
        log_phi = jnp.sum(sums.counts * (size + 1j * jnp.angle(letters)), axis=-1)
        s = tilts[0] + 1j * frequency[:, 0]
        half = jnp.clip(tilts[0] * step / 2, -350.0, 350.0) + 0.5j * frequency[:, 0] * step
        series = step / (2 * jnp.sinh(half)) * (1 - jnp.exp(-beyond * s * reach))
        g = jnp.where(sums.step > 0, series, 1 / s)
        g = jnp.stack([g, jnp.broadcast_to(step.astype(g.dtype), g.shape)], axis=1)
        whole = (jnp.exp(log_phi + 1j * frequency * ahead) * g).real
        whole = jnp.where(node < needed, whole, 0.0)
        far = jnp.where(frequency > _NEIGHBOURHOOD * unit, whole, 0.0)
        return total + jnp.stack([far.sum(axis=0), whole.sum(axis=0)])

    chunks = jnp.ceil(jnp.max(needed) / _CHUNK).astype(int)
    total = jax.lax.fori_loop(0, chunks, add, jnp.zeros((2, *tilts.shape)))
    log_scale = cumulants.log_mean - tilts * levels - 0.5 * math.log(2 * math.pi)
    rest, whole = total * spacing * math.sqrt(2 / math.pi)
    tail, point = (LineIntegral(*parts) for parts in zip(rest, whole, log_scale, fits, strict=True))
    return tail, point
