r"""Exact tails of summed letter scores: convolution on a lattice, certified bounds off it (C15).

On a lattice the distribution of the sum is convolved letter by letter
(`block_score.score_probabilities`), that of each letter tilted by $e^{\theta v}$ at the saddlepoint of the
threshold. Only positive numbers are added, so every probability keeps its relative accuracy, and the
tilt keeps those near the threshold at moderate size down to $2^{-1000}$ and far below. A Fourier
transform is faster for large lattices but errs relative to the largest probability, not to each; a power
by repeated squaring saves nothing, since the last squaring costs as much as all letters together.

A sum without a lattice takes nearly as many values as there are sequences. Its tail is bounded by
`extremal_bounds`, which needs no rounding of the letter scores.
"""

from functools import partial
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rdsim import validation
from rdsim.certified import Certified
from rdsim.information import LN2
from rdsim.number_types import ArrayLike
from rdsim.ranking.block_score import LetterScores, score_probabilities
from rdsim.ranking.tails import extremal_bounds, letter_scores
from rdsim.ranking.tails.letter_scores import TIED, ScoreSums, score_sums
from rdsim.results import result
from rdsim.transformations import on_host

WORK_LIMIT: Final = 2e9
"""Most multiplications of one exact tail; a sum on a wider lattice is bounded as one without any."""
_CELLS: Final = 2**22  # most scores of all settings together that are convolved side by side
_MOST_CHUNKS: Final = 2**10  # most chunks of 4096 frequencies for the bounds without a lattice
_USED: Final = 0.7
"""Fraction of the tolerance that the number of frequencies is chosen for; the rest is a margin."""
_EPSILON: Final = float(np.finfo(float).eps)


@result
class ScoreTail:
    """Tail and tie of a sum of letter scores, certified.

    Attributes:
        log_tail: ln P[S > t], shape (...). Bounds differ by rounding on a lattice; off it by about
            the tolerance, and `converged` says whether by less.
        log_tie: ln P[S = t], shape (...). Off a lattice only bounded above, by P[S >= t] - P[S > t],
            but for the ends of the range.
        step: spacing of the lattice of the convolution, 0 where bounds were used, shape (...).

    """

    log_tail: Certified
    log_tie: Certified
    step: Float[Array, "..."]


@on_host
@validation.needs_float64
def score_tail(
    values: ArrayLike,
    probabilities: ArrayLike,
    counts: ArrayLike,
    threshold: ArrayLike,
    *,
    tolerance: ArrayLike = 2e-3,
) -> ScoreTail:
    r"""Compute $\ln P[S > t]$ and $\ln P[S = t]$ of a sum of independent letter scores (C15).

    $$S = \sum_x \sum_{i=1}^{n_x} S_{x,i}, \quad P[S_{x,i} = v(x,u)] = P(u|x).$$

    Differences of values inside a kind that are multiples of one step, up to 1e-9 of the widest and
    with at most 4096 levels, make a lattice; a threshold within 1e-6 of a step from one of its
    points is that point. So is one within 1e-9 of the largest value from a sum that is constant.

    Args:
        values: v(x,u), shape (kinds, values), any unit; -inf for a letter that rules the sum out.
        probabilities: P(u|x), shape (kinds, values), rows summing to one.
        counts: n_x, integers >= 0, shape (..., kinds).
        threshold: t, units of values; broadcasts with the leading shape of counts.
        tolerance: nats between the bounds on ln P[S > t] of a sum without a lattice, at least 1e-5.

    Returns:
        Certified natural logarithms, the broadcast shape each.

    References:
        Graham and Vaaler (1981), Trans. Amer. Math. Soc. 265(1), for the bounds without a lattice.

    """
    wanted = validation.interval("tolerance", tolerance, low=1e-5, high=1.0, ndim=0)
    sums, shape = score_sums(values, probabilities, counts, threshold)
    step, levels, lengths = (
        np.asarray(sums.step),
        _widest_levels(sums),
        np.asarray(sums.counts).sum(1),
    )
    exact = (step > 0) & (2 * lengths * (lengths * levels + 1) * (levels + 1) <= WORK_LIMIT)
    found = np.empty((6, step.size))
    for level in np.unique(levels[exact]):
        rows = np.flatnonzero(exact & (levels == level))
        n = int(lengths[rows].max())
        most = max(_CELLS // (n * int(level) + 1), 1)
        for start in range(0, rows.size, most):
            some = rows[start : start + most]
            # Sizes that are powers of two, so that few shapes are compiled.
            padded = np.resize(some, min(1 << (some.size - 1).bit_length(), most))
            part = _some_settings(sums, padded)
            letters = _padded_letters(np.asarray(part.counts).astype(int), n)
            found[:, some] = _tails_on_lattice(part, letters, int(level), n)[:, : some.size]
    for row in np.flatnonzero(~exact):
        found[:, row] = _tail_without_lattice(_some_settings(sums, np.array([row])), float(wanted))

    def certified(lower: np.ndarray, value: np.ndarray, upper: np.ndarray) -> Certified:
        shaped = [jnp.asarray(x.reshape(shape)) for x in (lower, value, upper)]
        return Certified(lower=shaped[0], value=shaped[1], upper=shaped[2], tolerance=wanted)

    return ScoreTail(
        log_tail=certified(*found[:3]),
        log_tie=certified(*found[3:]),
        step=jnp.asarray(np.where(exact, step, 0.0).reshape(shape)),
    )


def _some_settings(sums: ScoreSums, rows: np.ndarray) -> ScoreSums:
    """Some of the settings."""
    return ScoreSums(sums.values, sums.probabilities, *(leaf[rows] for leaf in sums[2:]))


def _widest_levels(sums: ScoreSums) -> np.ndarray:
    """Steps from the least to the greatest value of the widest kind that occurs."""
    possible, values = np.asarray(sums.probabilities) > 0, np.asarray(sums.values)
    top = np.where(possible, values, -np.inf).max(axis=1)
    width = top - np.where(possible, values, np.inf).min(axis=1)
    widest = np.max(np.where(np.asarray(sums.counts) > 0, width, 0.0), axis=1)
    step = np.asarray(sums.step)
    return np.round(widest / np.where(step > 0, step, np.inf)).astype(int)


def _padded_letters(counts: np.ndarray, n: int) -> np.ndarray:
    """List the kinds of the letters of each setting, padded by a kind of its own, shape (b, n, 1)."""
    kinds = counts.shape[1]
    filled = np.concatenate([counts, n - counts.sum(axis=1, keepdims=True)], axis=1)
    return np.stack([np.repeat(np.arange(kinds + 1), row) for row in filled])[..., None]


@partial(jax.jit, static_argnames=("levels", "n"))
def _tails_on_lattice(
    sums: ScoreSums, letters: Int[Array, "b n 1"], levels: int, n: int
) -> Float[Array, "6 b"]:
    """Bound ln P[S > t] and ln P[S = t] by convolution, at the saddlepoints of tail and tie.

    Every letter is put on levels 0..L of the lattice. The padding letters score zero. The rounding that
    widens the bounds is that of the n convolutions, of Horner's rule and of the tilts.
    """
    low, high, half = sums.lowest, sums.highest, sums.step / 2
    steps_up = (sums.threshold - low) / sums.step
    index = jnp.clip(jnp.floor(steps_up + TIED), -1, n * levels)
    point = jnp.round(jnp.clip(steps_up, -1, n * levels + 1))
    mean = jnp.stack([low + index * sums.step + half, low + point * sums.step])
    mean = jnp.clip(mean, jnp.minimum(low + half, high), jnp.maximum(high - half, low))
    tilts = letter_scores.saddlepoint_of(sums, mean).tilt
    # Horner's rule divides by e^(tilt), so that no tilt may be negative: a tail above one half has none.
    tilts = jnp.stack([jnp.maximum(tilts[0], 0.0), tilts[1]])
    possible = sums.probabilities > 0
    base = jnp.min(jnp.where(possible, sums.values, jnp.inf), axis=1, keepdims=True)
    level = jnp.round((sums.values - base) / sums.step[:, None, None])
    level = jnp.clip(jnp.where(possible, level, 0.0), 0, levels).astype(int)
    at_level = jax.nn.one_hot(level, levels + 1, dtype=float)
    tilted = letter_scores.tilted(sums, tilts)
    letter = jnp.einsum("cbxu,bxuk->cbxk", tilted, at_level)
    padding = jnp.zeros((2, low.size, 1, levels + 1)).at[..., 0].set(1.0)
    letter = jnp.concatenate([letter, padding], axis=2)
    log_means = letter_scores.letter_log_means(sums, tilts)
    log_sums = jnp.pad(log_means - tilts[..., None] * base[:, 0], ((0, 0), (0, 0), (0, 1)))
    counts = jnp.pad(sums.counts, ((0, 0), (0, 1)))

    distributions = LetterScores(letter[0], letter[1], log_sums[0], tilts[0] * sums.step / LN2)
    log_a, _, at_score = jax.vmap(score_probabilities)(
        distributions, letters, counts[:, None].astype(int)
    )

    def at(table: Float[Array, "b 1 s"], k: Float[Array, " b"]) -> Float[Array, " b"]:
        inside = jnp.clip(k, 0, n * levels).astype(int)
        return jnp.take_along_axis(table[:, 0], inside[:, None], axis=1)[:, 0]

    log_tail = jnp.where(index < 0, 0.0, jnp.minimum(at(log_a, index), 0.0))
    p = at(at_score, point)
    log_tie = jnp.log(jnp.where(p > 0, p, 1.0)) + jnp.sum(counts * log_sums[1], axis=1)
    log_tie = jnp.minimum(log_tie - tilts[1] * sums.step * point, 0.0)
    tied = letter_scores.is_tied(sums, low + point * sums.step) & (p > 0)
    log_tie = jnp.where(tied & (point >= 0) & (point <= n * levels), log_tie, -jnp.inf)
    largest = jnp.max(jnp.abs(tilts)) * jnp.max(jnp.abs(sums.values))
    rounding = _EPSILON * n * (2 * levels + 16 + 8 * largest)
    values = jnp.stack([log_tail, log_tie]) + sums.log_mass
    bounds = jnp.stack([values - rounding, values, jnp.minimum(values + rounding, sums.log_mass)])
    return jnp.swapaxes(bounds, 0, 1).reshape(6, -1)


def _tail_without_lattice(sums: ScoreSums, tolerance: float) -> np.ndarray:
    """Bounds and values of one setting without a lattice, exact at both ends of the range."""
    mass, top = float(sums.log_mass[0]), float(letter_scores.highest_log_mass(sums)[0])
    bottom = float(letter_scores.highest_log_mass(letter_scores.mirrored(sums))[0])
    none = (-np.inf,) * 3
    if letter_scores.is_tied(sums, sums.highest)[0]:
        return np.array([*none, top, top, top])
    if letter_scores.is_tied(sums, sums.lowest)[0]:
        others = mass + np.log1p(-np.exp(min(bottom - mass, 0.0)))
        return np.array([others, others, others, bottom, bottom, bottom])
    if sums.threshold[0] > sums.highest[0]:
        return np.array([*none, *none])
    if sums.threshold[0] < sums.lowest[0] or mass == -np.inf:
        return np.array([mass, mass, mass, *none])
    tilt, period = _tilt_and_period(sums)
    # The relative gap is tilt * period / frequencies; a power of two keeps compilations few.
    needed = float(tilt[0] * period[0]) / (_USED * tolerance * extremal_bounds.CHUNK)
    chunks = min(1 << max(int(np.ceil(np.log2(needed))), 0), _MOST_CHUNKS)
    bounds = extremal_bounds.tail_bounds(sums, tilt, period, jnp.asarray(chunks))
    lower, upper = max(float(bounds[0][0]), top), float(bounds[1][0])
    value = float(np.logaddexp(lower, upper)) - LN2
    tie = upper + np.log1p(-np.exp(lower - upper)) if lower < upper else -np.inf
    return np.array([lower, value, upper, -np.inf, -np.inf, tie])


@jax.jit
def _tilt_and_period(sums: ScoreSums) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """Tilt and period for the bounds: the saddlepoint, or a standard deviation from the mean up."""
    span = sums.highest - sums.lowest
    level = jnp.clip(sums.threshold, sums.lowest + 1e-6 * span, sums.highest - 1e-6 * span)
    saddlepoint = letter_scores.saddlepoint_of(sums, level).tilt
    tilt = jnp.maximum(saddlepoint, 1 / jnp.sqrt(letter_scores.variance_of(sums)))
    deviation = jnp.sqrt(letter_scores.centred_cumulants(sums, tilt).variance)
    return tilt, extremal_bounds.period_of(sums, tilt, deviation)
