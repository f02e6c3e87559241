r"""Tails of summed letter scores by the saddlepoint: Lugannani and Rice, on lattices and off them.

With the tilt $\hat\theta$ that moves the mean to the threshold, $P[S > t]$ is an integral along the
line $\hat\theta + i\omega$ of $e^{K(s) - st} g(s)$, where $g(s) = 1/s$; on a lattice of step $\Delta$
the threshold moves half a step down from the next point and $g(s) = \Delta / (2 \sinh(s\Delta/2))$,
Daniels' second continuity correction. Expanding about the saddle,

$$P \approx \bar\Phi(w) + \varphi(w) \Big[\frac{1}{w^3} - \frac1w + \frac{1}{\sqrt{K''}} \Big(g \big(1 +
\frac{\rho_4}{8} - \frac{5 \rho_3^2}{24}\big) + \frac{g' \rho_3}{2 \sqrt{K''}} - \frac{g''}{2K''}
\Big)\Big], \quad w = \mathrm{sgn}\,\hat\theta \sqrt{2(\hat\theta t - K(\hat\theta))},$$

derivatives at $\hat\theta$, $\rho_3$ and $\rho_4$ the standardised cumulants of the tilted sum. The
terms with $\rho$, $g'$, $g''$ and $w^{-3}$ are of the next order in 1/n; first order has none of them.

On a lattice that is not too fine the whole line is integrated, to the end of its period: that is exact but for
rounding. Elsewhere the expansion is used, which sees the neighbourhood of the saddle. Letters of few values bring
the integrand back to moduli near one elsewhere on the line; that part is integrated numerically and added. Where so
few letters are left to choose that the expansion fails at the saddle, or where the added part is not small, the
integral as far as it reaches takes its place.
"""

import math
import operator
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from rdsim import validation
from rdsim.number_types import ArrayLike
from rdsim.ranking.tails import letter_scores
from rdsim.ranking.tails.letter_scores import Cumulants, ScoreSums, score_sums
from rdsim.ranking.tails.line_integrals import LineIntegral, line_integrals
from rdsim.results import result
from rdsim.transformations import on_host

_NODES: Final = np.array([-1.5, -1.0, -0.5, 0.5, 1.0, 1.5])
"""Tilts, in units of `_AROUND_MEAN` over the deviation, between which the bracket is interpolated."""
_INNERMOST: Final = 0.5
"""Distance of the innermost nodes from the mean, in the same units: nearer it is interpolated."""
_AROUND_MEAN: Final = 0.4  # unit of the nodes, standard deviations without tilt
_TRUSTED: Final = 0.01  # size of second-order terms up to which terms of third order do not matter
_FAR: Final = 12.0
"""Distance u from the pole of g, in tilted deviations, at which the term 3/u^4 is below 2e-4."""
_NO_VALUE: Final = 1e-11
"""Fraction of the smooth density below which a lattice point is one the sum cannot take."""
_NO_VALUE_SEEN: Final = 1e-3  # the same fraction where the line is not integrated to its end


@result
class SaddlepointTail:
    """Approximate tail of a sum of letter scores, shape (...) of the settings each.

    Attributes:
        log_tail: ln P[S > t].
        log_tie: ln P[S = t] on a lattice; -inf off the lattice, at values of less than 1e-11 of the smooth
            density, which rounding hides, and for a sum without a lattice, of which the saddlepoint does not
            resolve single values.
        first_order: ln P[S > t] by the first-order formula.
        second_order: ln P[S > t] by the second-order formula, without the rest of the line; where the
            three agree they may be trusted.
        tilt: the saddlepoint, nats per unit of score; infinite at the ends of the range.
        deviation: standard deviation of the tilted sum, units of score.
        step: spacing of the lattice that was used, 0 for the formula without one.

    """

    log_tail: Float[Array, "..."]
    log_tie: Float[Array, "..."]
    first_order: Float[Array, "..."]
    second_order: Float[Array, "..."]
    tilt: Float[Array, "..."]
    deviation: Float[Array, "..."]
    step: Float[Array, "..."]


@on_host
@validation.needs_float64
def saddlepoint_tail(
    values: ArrayLike, probabilities: ArrayLike, counts: ArrayLike, threshold: ArrayLike
) -> SaddlepointTail:
    r"""Approximate $\ln P[S > t]$ of a sum of independent letter scores (C15).

    $$S = \sum_x \sum_{i=1}^{n_x} S_{x,i}, \quad P[S_{x,i} = v(x,u)] = P(u|x).$$

    A sum whose letters share a lattice (differences inside kinds are multiples of one step, looked
    for down to 1/4096 of the widest) has the lattice formula; any other the smooth one, whose error
    is at least that of the steps between the values that the sum can take.

    On a lattice of up to some 4000 values, or of up to 320 in a deviation of the tilted sum, the tail is exact but for
    rounding: to 1e-9 as a rule, but to a few per cent where no value near t lies above it and the tail is less than
    1e-11 of the values below t.

    The arguments are those of `score_tail`.

    Returns:
        Natural logarithms of tail and tie with their saddlepoint, the broadcast shape each. At and
        beyond the ends of the range they are exact.

    References:
        Lugannani and Rice (1980), Adv. Appl. Probab. 12(2); Daniels (1987), Int. Stat. Rev. 55(1),
        sections 4 (second-order term) and 6 (lattice).

    """
    sums, shape = score_sums(values, probabilities, counts, threshold)
    found = saddlepoint_kernel(sums)
    return jax.tree.map(lambda leaf: leaf.reshape(shape), found)


@jax.jit
def saddlepoint_kernel(sums: ScoreSums) -> SaddlepointTail:
    """Compute `saddlepoint_tail` without validation.

    Two saddlepoints are found at once, of the tail and of the tie. At the ends of the range, where none
    exists, the exact probabilities of the extreme values take the place of the formula.

    All tilts go through each formula in one batch: XLA compiles every copy of a formula anew, and a copy more is a tenth
    of a first call.
    """
    on_lattice = sums.step > 0
    step = jnp.where(on_lattice, sums.step, 1.0)
    above = letter_scores.next_above(sums)
    point = sums.lowest + step * jnp.round((sums.threshold - sums.lowest) / step)
    level = above - sums.step / 2
    inside = (level > sums.lowest) & (level < sums.highest)
    tie_inside = (point > sums.lowest + step / 2) & (point < sums.highest - step / 2)
    middle = (sums.lowest + sums.highest) / 2
    found = letter_scores.saddlepoint_of(
        sums, jnp.stack([jnp.where(inside, level, middle), jnp.where(tie_inside, point, middle)])
    )
    tilts, tilt = found.tilt, found.tilt[0]
    # A line through the pole of g cannot be integrated: near the mean one beside it is.
    beside = jnp.maximum(jnp.abs(tilt), 1 / jnp.sqrt(found.variance[0]))
    beside = jnp.where(tilt < 0, -beside, beside)
    unit = _AROUND_MEAN / jnp.sqrt(letter_scores.variance_of(sums))
    nodes = jnp.asarray(_NODES)[:, None] * unit
    # Rows: the lines of tail and tie, of which the latter is that of its saddlepoint, then the tilts of the expansions.
    rows = jnp.concatenate([beside[None], tilts[::-1], nodes])
    at = letter_scores.centred_cumulants(sums, rows)
    of_lines, of_tie, of_expansions = (
        jax.tree.map(operator.itemgetter(chosen), at) for chosen in (slice(0, 2), 1, slice(2, None))
    )
    line, point_line = line_integrals(sums, rows[:2], of_lines, found.rise)
    expansions = _expansion(sums, rows[2:], of_expansions)
    first, second, full = _log_tail(tilt, tilt / unit, expansions, line)
    top = letter_scores.highest_log_mass(sums)
    bottom = letter_scores.highest_log_mass(letter_scores.mirrored(sums))
    # Only the greatest value of all lies at or above the point.
    last = on_lattice & (above > sums.highest - step / 2)
    beyond = jnp.where(on_lattice, above > sums.highest + step / 2, above >= sums.highest)

    def at_ends(log_tail: Float[Array, " b"]) -> Float[Array, " b"]:
        log_tail = jnp.where(last, top, log_tail + sums.log_mass)
        log_tail = jnp.where(level <= sums.lowest, sums.log_mass, log_tail)
        return jnp.where(beyond, -jnp.inf, log_tail)

    log_point = _log_point(tilts[1], of_tie, step, point_line)
    log_tie = jnp.where(tie_inside, log_point + sums.log_mass, -jnp.inf)
    log_tie = jnp.where(on_lattice & letter_scores.is_tied(sums, point), log_tie, -jnp.inf)
    log_tie = jnp.where(letter_scores.is_tied(sums, sums.lowest), bottom, log_tie)
    log_tie = jnp.where(letter_scores.is_tied(sums, sums.highest), top, log_tie)
    return SaddlepointTail(
        log_tail=at_ends(full),
        log_tie=log_tie,
        first_order=at_ends(first),
        second_order=at_ends(second),
        tilt=jnp.where(inside, tilt, jnp.where(level <= sums.lowest, -jnp.inf, jnp.inf)),
        deviation=jnp.where(inside, expansions.deviation[0], 0.0),
        step=sums.step,
    )


class _Expansion(NamedTuple):
    """Terms of the expansion about the saddlepoint, of several tilts."""

    w: Float[Array, "t b"]  # signed root of twice the exponent
    first: Float[Array, "t b"]  # the bracket to first order, less its normal part
    second: Float[Array, "t b"]  # the bracket to second order, less its normal part
    peak: Float[Array, "t b"]  # the part of the bracket that g contributes
    deviation: Float[Array, "t b"]  # standard deviation of the tilted sum
    fails: Bool[Array, "t b"]  # whether terms of third order would matter


def _expansion(sums: ScoreSums, tilt: Float[Array, "t b"], cumulants: Cumulants) -> _Expansion:
    K, mean, variance, third, fourth = cumulants
    w = jnp.sign(tilt) * jnp.sqrt(jnp.maximum(2 * (tilt * mean - K), 0.0))
    safe = jnp.where(w != 0, w, 1.0)
    s = jnp.where(tilt != 0, tilt, 1.0)
    step = jnp.where(sums.step > 0, sums.step, 1.0)
    # sinh overflows where the tail is one value alone: there g is zero to all digits.
    half = jnp.clip(s * step / 2, -350.0, 350.0)
    g = jnp.where(sums.step > 0, step / (2 * jnp.sinh(half)), 1 / s)
    slope = jnp.where(sums.step > 0, -step / 2 / jnp.tanh(half), -1 / s)
    bend = jnp.where(sums.step > 0, step**2 / 4 * (1 + 2 / jnp.sinh(half) ** 2), 2 / s**2)
    deviation = jnp.sqrt(variance)
    skew, excess = third / deviation**3, fourth / variance**2
    first = g / deviation - 1 / safe
    second = (
        (excess / 8 - 5 * skew**2 / 24) + slope * skew / (2 * deviation) - bend / (2 * variance)
    )
    peak = g / deviation * (1 + second)
    fails = _expansion_fails(skew, excess)
    return _Expansion(w, first, peak - 1 / safe + 1 / safe**3, peak, deviation, fails)


def _expansion_fails(
    skew: Float[Array, "... b"], excess: Float[Array, "... b"]
) -> Bool[Array, "... b"]:
    """Whether terms of third order would matter, judged by those of second order without their signs: these may cancel."""
    return jnp.abs(excess) / 8 + 5 * skew**2 / 24 > _TRUSTED


def _log_tail(
    tilt: Float[Array, " b"],
    in_units: Float[Array, " b"],
    expansions: _Expansion,
    line: "LineIntegral",
) -> tuple[Float[Array, " b"], Float[Array, " b"], Float[Array, " b"]]:
    """Ln of the tail to first order, to second order, and with the rest of the line.

    At the mean the brackets are differences of infinite terms, analytic in the tilt: within half a
    node of it they are interpolated from six tilts around, where the terms are moderate. The
    expansions are those of the tilt, and of the nodes after it; `in_units` is the tilt in units of the nodes.
    """
    at, around = (jax.tree.map(operator.itemgetter(i), expansions) for i in (0, slice(1, None)))
    # Rare values make the untilted distribution narrow: then w measures how near the mean is, not tilt.
    near = jnp.abs(at.w) < _INNERMOST * _AROUND_MEAN
    # Lagrange's interpolation from the nodes.
    node = jnp.where(near, in_units, 0.0)[:, None]
    itself = jnp.eye(len(_NODES), dtype=bool)
    distances = jnp.where(itself, 1.0, _NODES[:, None] - _NODES)
    basis = jnp.prod(jnp.where(itself, 1.0, (node[..., None] - _NODES) / distances), axis=-1)
    first = jnp.where(near, jnp.sum(basis.T * around.first, axis=0), at.first)
    second = jnp.where(near, jnp.sum(basis.T * around.second, axis=0), at.second)
    log_density = -0.5 * at.w**2 - 0.5 * math.log(2 * math.pi)
    log_normal = jax.scipy.special.log_ndtr(-at.w)

    def log_of(bracket: Float[Array, " b"]) -> tuple[Array, Array]:
        ratio = 1 + bracket * jnp.exp(log_density - log_normal)
        return jnp.log(jnp.where(ratio > 0, ratio, 1.0)) + log_normal, ratio > 0

    # The line of an all but constant sum lies so far out that its integral may be no number: the second order stands.
    known = jnp.isfinite(line.whole) & jnp.isfinite(line.rest)
    rest = jnp.where(known, line.rest * jnp.exp(line.log_scale - log_density), 0.0)
    # Far from the pole the bracket's normal part cancels: the part of g alone is the tail.
    far = tilt * at.deviation > _FAR
    (one, one_valid), (two, two_valid) = log_of(first), log_of(second)
    one = jnp.where(one_valid, one, log_normal)
    peak = jnp.where(at.peak > 0, at.peak, 1.0)
    two = jnp.where(
        far & (at.peak > 0), jnp.log(peak) + log_density, jnp.where(two_valid, two, one)
    )
    ratio = 1 + rest * jnp.exp(log_density - two)
    integrated = known & (line.complete | at.fails | (jnp.abs(ratio - 1) > _TRUSTED))
    # A line left of the pole of g misses its residue, one.
    below = jnp.clip(-line.whole * jnp.exp(jnp.minimum(line.log_scale, 1.0)), 0.0, 0.999)
    above = jnp.log(jnp.where(line.whole > 0, line.whole, 1.0)) + line.log_scale
    whole = jnp.where(tilt < 0, jnp.log1p(-below), above)
    full = two + jnp.log(jnp.where(integrated, 1.0, ratio))
    full = jnp.where(integrated & ((tilt < 0) | (line.whole > 0)), whole, full)
    return jnp.minimum(one, 0.0), jnp.minimum(two, 0.0), jnp.minimum(full, 0.0)


def _log_point(
    tilt: Float[Array, " b"], cumulants: Cumulants, step: Float[Array, " b"], line: LineIntegral
) -> Float[Array, " b"]:
    """Ln of the probability of the lattice point that is the mean of the tilted sum.

    It is -inf where the sum cannot take that value. Every quantity is in units of the normal density's
    peak over the step.
    """
    K, mean, variance, third, fourth = cumulants
    deviation = jnp.sqrt(jnp.where(variance > 0, variance, 1.0))
    skew, excess = third / deviation**3, fourth / deviation**4
    peak = step / deviation
    integrated = line.complete | _expansion_fails(skew, excess)
    integrated |= jnp.abs(line.rest) > _TRUSTED * peak
    smooth = peak * (1 + excess / 8 - 5 * skew**2 / 24)
    density = jnp.where(integrated, line.whole, smooth + line.rest)
    possible = density > jnp.where(line.complete, _NO_VALUE, _NO_VALUE_SEEN) * peak
    log_density = jnp.log(jnp.where(possible, density, 1.0)) - 0.5 * math.log(2 * math.pi)
    return jnp.where(possible, jnp.minimum(K - tilt * mean + log_density, 0.0), -jnp.inf)
