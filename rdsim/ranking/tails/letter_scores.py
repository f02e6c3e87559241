r"""Sums of independent letter scores: their distributions, lattices, cumulants and exponential tilts.

A competitor's score is $S = \sum_i S_i$; letters come in kinds (the query letters), and letter i of
kind x takes value v(x,u) with probability P(u|x). Everything a tail needs is in the cumulant function
$K(\theta) = \sum_x n_x \ln \sum_u P(u|x) e^{\theta v(x,u)}$ and in the lattice, if any, that carries S.
"""

import math
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from rdsim import validation
from rdsim.number_types import ArrayLike

ON_LATTICE: Final = 1e-9
"""Fraction of the widest difference of letter values below which a difference counts as zero."""
MOST_LEVELS: Final = 4096
"""Most levels of a letter's score on a lattice; with more the sum counts as one without a lattice."""
MOST_LETTERS: Final = 10**9
"""Most letters in a sum; a larger number is taken for a mistake."""
TIED: Final = 1e-6
"""Fraction of a step (without a lattice: 1e-12 of the range) within which a sum equals a threshold."""
_NEWTON_STEPS: Final = 300
"""Steps after which the search of a saddlepoint ends; a third of them halve the bracket."""
_SMALL: Final = 0.5
"""Exponent up to which a mean of exponentials is computed from its difference to one."""


class ScoreSums(NamedTuple):
    """Sums of letter scores, checked, one for each setting b."""

    values: Float[Array, "x u"]  # v(x,u), finite, zero where P(u|x) is zero
    probabilities: Float[Array, "x u"]  # P(u|x) given that the score is not -inf
    counts: Float[Array, "b x"]  # letters of each kind
    log_mass: Float[Array, " b"]  # ln of the probability that no letter scores -inf
    threshold: Float[Array, " b"]  # t
    step: Float[Array, " b"]  # spacing of the lattice that carries the sum, 0 where there is none
    lowest: Float[Array, " b"]  # least value of the sum
    highest: Float[Array, " b"]  # greatest value of the sum


class Cumulants(NamedTuple):
    """K and its first four derivatives at a tilt, nats and units of score; shape (..., b) of the tilts each."""

    log_mean: Float[Array, "... b"]
    mean: Float[Array, "... b"]
    variance: Float[Array, "... b"]
    third: Float[Array, "... b"]
    fourth: Float[Array, "... b"]


def score_sums(
    values: ArrayLike, probabilities: ArrayLike, counts: ArrayLike, threshold: ArrayLike
) -> tuple[ScoreSums, tuple[int, ...]]:
    """Check the arguments of a tail; return the sums, with settings in one axis, and their own shape.

    What every solver rests on afterwards: values are finite, each row of probabilities sums to one, scores
    of -inf are in `log_mass` alone, and `step` is the lattice of the kinds that occur in the setting.
    """
    table = np.asarray(validation.real_array("values", values, ndim=2))
    p = np.asarray(validation.channel("probabilities", probabilities))
    if p.shape != table.shape or p.size == 0:
        raise ValueError(
            "values and probabilities must be tables of one shape (kinds, values), got "
            f"{table.shape} and {p.shape}"
        )
    if ((table == np.inf) & (p > 0)).any():
        raise ValueError("values must be finite or -inf where probabilities are positive, got inf")
    # Sums of so many letters, and their squares, are numbers.
    validation.coordinates("values", np.where(np.isfinite(table), table, 0.0))
    number = validation.counts("counts", counts, high=MOST_LETTERS)
    if number.ndim == 0 or number.shape[-1] != table.shape[0]:
        raise ValueError(
            f"counts must have one entry a kind, shape (..., {table.shape[0]}), got {number.shape}"
        )
    t = np.asarray(validation.not_empty("threshold", validation.real_array("threshold", threshold)))
    try:
        shape = np.broadcast_shapes(number.shape[:-1], t.shape)
    except ValueError as error:
        raise ValueError(
            f"counts and threshold must have settings that broadcast, got shapes "
            f"{number.shape} and {t.shape}"
        ) from error
    number = np.broadcast_to(number, (*shape, table.shape[0])).reshape(-1, table.shape[0])
    # Condition every letter on a score that is not -inf, and keep the probability of that apart.
    possible = (p > 0) & (table > -np.inf)
    table = np.where(possible, table, 0.0)
    p = np.where(possible, p, 0.0)
    mass = p.sum(axis=1)
    with np.errstate(divide="ignore"):
        log_mass = (number * np.log(np.where(number > 0, np.minimum(mass, 1.0), 1.0))).sum(axis=1)
    # A kind that always scores -inf gets an arbitrary distribution: its log mass of -inf decides.
    possible[mass == 0, 0] = True
    p = np.where(mass[:, None] > 0, p / np.where(mass > 0, mass, 1.0)[:, None], possible)
    low = np.where(possible, table, np.inf).min(axis=1)
    high = np.where(possible, table, -np.inf).max(axis=1)
    # The lattice of a setting is that of the kinds that occur in it.
    present, label = np.unique(number > 0, axis=0, return_inverse=True)
    largest = np.abs(table).max() or 1.0
    steps = np.array([_common_step(table[kinds], possible[kinds], largest) for kinds in present])
    sums = ScoreSums(
        values=jnp.asarray(table, float),
        probabilities=jnp.asarray(p, float),
        counts=jnp.asarray(number, float),
        log_mass=jnp.asarray(log_mass, float),
        threshold=jnp.asarray(np.broadcast_to(t, shape).reshape(-1), float),
        step=jnp.asarray(steps[label.ravel()], float),
        lowest=jnp.asarray(number @ low, float),
        highest=jnp.asarray(number @ high, float),
    )
    return sums, shape


def _common_step(values: np.ndarray, possible: np.ndarray, largest: float) -> float:
    """The largest step of which all differences inside rows are multiples; 0 if there is none.

    Euclid's algorithm on real numbers, then a check of every difference against the result. A sum
    that is constant gets the step at which a threshold within 1e-9 of the largest value ties with it.
    """
    constant = ON_LATTICE / TIED * largest
    if values.size == 0:
        return constant
    low = np.where(possible, values, np.inf).min(axis=1, keepdims=True)
    rises = np.where(possible, values - low, 0.0).ravel()
    widest = rises.max()
    if widest == 0:
        return constant
    step = 0.0
    for rise in np.unique(rises):
        larger, smaller = max(rise, step), min(rise, step)
        while smaller > ON_LATTICE * widest:
            rest = math.remainder(larger, smaller)
            larger, smaller = smaller, abs(rest)
        step = larger
    if step <= 0 or round(widest / step) > MOST_LEVELS:
        return 0.0
    levels = np.round(rises / step)
    step = float(rises @ levels / (levels @ levels))
    return step if np.abs(rises - levels * step).max() < ON_LATTICE * widest else 0.0


def next_above(sums: ScoreSums) -> Float[Array, " b"]:
    """Return the least point of the lattice above t; t itself where there is no lattice."""
    step = jnp.where(sums.step > 0, sums.step, 1.0)
    level = jnp.floor((sums.threshold - sums.lowest) / step + TIED) + 1
    return jnp.where(sums.step > 0, sums.lowest + level * step, sums.threshold)


def is_tied(sums: ScoreSums, level: Float[Array, " b"]) -> Bool[Array, " b"]:
    """Whether t equals the level, up to the rounding of sums."""
    span = jnp.where(sums.step > 0, TIED * sums.step, 1e-12 * (sums.highest - sums.lowest))
    return jnp.abs(sums.threshold - level) <= span


def highest_log_mass(sums: ScoreSums) -> Float[Array, " b"]:
    """Ln of the probability that every letter takes the greatest value of its kind."""
    possible = sums.probabilities > 0
    top = jnp.max(jnp.where(possible, sums.values, -jnp.inf), axis=1, keepdims=True)
    mass = jnp.sum(jnp.where(possible & (sums.values == top), sums.probabilities, 0.0), axis=1)
    return sums.log_mass + sums.counts @ jnp.log(jnp.minimum(mass, 1.0))


def mirrored(sums: ScoreSums) -> ScoreSums:
    """Return -S, whose upper tail is the lower one of S."""
    return sums._replace(
        values=-sums.values,
        threshold=-sums.threshold,
        lowest=-sums.highest,
        highest=-sums.lowest,
    )


class TiltedLetters(NamedTuple):
    """One letter of each kind under a tilt: its distribution, and what centring the values leaves."""

    distribution: Float[Array, "... b x u"]
    log_means: Float[Array, "... b x"]  # ln of the mean of exponentials, of centred values
    centred: Float[Array, "x u"]  # values less their mean without tilt, zero where P(u|x) is zero
    middle: Float[Array, " x"]  # that mean


def tilted_letters(sums: ScoreSums, tilt: Float[Array, "... b"]) -> TiltedLetters:
    """Tilt the letters; of centred values, whose means of exponentials keep their digits near zero tilt."""
    possible = sums.probabilities > 0
    middle = jnp.sum(sums.probabilities * sums.values, axis=1)
    centred = jnp.where(possible, sums.values - middle[:, None], 0.0)
    # The largest exponents are those of the extreme values: no maximum is taken over every tilt.
    low, high = (
        jnp.min(jnp.where(possible, centred, jnp.inf), axis=1),
        jnp.max(jnp.where(possible, centred, -jnp.inf), axis=1),
    )
    by_kind = tilt[..., None]
    top = jnp.maximum(by_kind * low, by_kind * high)
    rise = by_kind[..., None] * centred
    weight = sums.probabilities * jnp.exp(jnp.where(possible, rise - top[..., None], 0.0))
    total = jnp.sum(weight, axis=-1)
    is_near = jnp.abs(by_kind) * jnp.maximum(high, -low) < _SMALL
    near = jnp.where(is_near[..., None], rise, 0.0)
    small = jnp.log1p(jnp.sum(sums.probabilities * (jnp.expm1(near) - near), axis=-1))
    log_means = jnp.where(is_near, small, top + jnp.log(total))
    return TiltedLetters(weight / total[..., None], log_means, centred, middle)


def tilted(sums: ScoreSums, tilt: Float[Array, "... b"]) -> Float[Array, "... b x u"]:
    r"""Distributions proportional to $P(u|x) e^{\theta v(x,u)}$."""
    return tilted_letters(sums, tilt).distribution


def letter_log_means(sums: ScoreSums, tilt: Float[Array, "... b"]) -> Float[Array, "... b x"]:
    r"""$\ln \sum_u P(u|x) e^{\theta v(x,u)}$ of each kind, accurate near zero tilt as well."""
    letters = tilted_letters(sums, tilt)
    return tilt[..., None] * letters.middle + letters.log_means


def centred_cumulants(sums: ScoreSums, tilt: Float[Array, "... b"]) -> Cumulants:
    """Cumulants of S less its mean without tilt, which keeps their digits near the mean."""
    p, log_means, centred, _ = tilted_letters(sums, tilt)
    means = jnp.sum(p * centred, axis=-1)
    rest = centred - means[..., None]
    variances = jnp.sum(p * rest**2, axis=-1)
    number = sums.counts
    # Sums over letters and values at once: fewer of them are fewer loops to compile.
    of_values = number[..., None] * p
    return Cumulants(
        log_mean=jnp.sum(number * log_means, axis=-1),
        mean=jnp.sum(number * means, axis=-1),
        variance=jnp.sum(number * variances, axis=-1),
        third=jnp.sum(of_values * rest**3, axis=(-2, -1)),
        fourth=jnp.sum(of_values * rest**4, axis=(-2, -1))
        - 3 * jnp.sum(number * variances**2, axis=-1),
    )


def mean_of(sums: ScoreSums) -> Float[Array, " b"]:
    """Return the mean of S without tilt."""
    return sums.counts @ jnp.sum(sums.probabilities * sums.values, axis=1)


def above_mean(sums: ScoreSums, level: Float[Array, "... b"]) -> Float[Array, "... b"]:
    """Return a level less the mean of S without tilt.

    Both are counted from the sum of the likeliest values: on a lattice that leaves no rounding but that of a difference
    which is small where one value has nearly all mass. There the tail is a tiny part of an integral, which a level that
    lies beside the lattice by one digit of the mean would change.
    """
    likeliest = jnp.argmax(sums.probabilities, axis=1, keepdims=True)
    start = jnp.take_along_axis(sums.values, likeliest, axis=1)
    rise = jnp.sum(sums.probabilities * sums.values, axis=1, keepdims=True) - start
    return (level - sums.counts @ start[:, 0]) - sums.counts @ rise[:, 0]


def variance_of(sums: ScoreSums) -> Float[Array, " b"]:
    """Return the variance of S without tilt."""
    middle = jnp.sum(sums.probabilities * sums.values, axis=1, keepdims=True)
    return sums.counts @ jnp.sum(sums.probabilities * (sums.values - middle) ** 2, axis=1)


class Saddlepoint(NamedTuple):
    """Tilt that moves the mean of S to a level, and the variance of S under it."""

    tilt: Float[Array, "... b"]
    rise: Float[Array, "... b"]  # the level less the mean of S without tilt
    variance: Float[Array, "... b"]


@jax.jit
def saddlepoint_of(sums: ScoreSums, level: Float[Array, "... b"]) -> Saddlepoint:
    r"""Solve $K'(\theta) = $ level, strictly inside the range of S, by safeguarded Newton steps.

    K' rises, so that each step tightens a bracket; a Newton step that leaves it is replaced by bisection, or by
    doubling the tilt while the bracket has one end. A setting that has converged keeps its tilt while others go on.
    """
    width = sums.highest - sums.lowest
    unit = 1.0 / jnp.where(width > 0, width, 1.0)
    wanted = above_mean(sums, level)

    def unfinished(search: _Search) -> Array:
        return (search.steps < _NEWTON_STEPS) & ~jnp.all(search.found)

    def step(search: _Search) -> _Search:
        tilt, _, low, high, count, found = search
        at = centred_cumulants(sums, tilt)
        excess = at.mean - wanted
        low, high = jnp.where(excess <= 0, tilt, low), jnp.where(excess >= 0, tilt, high)
        # An end that is not known yet is taken to be twice as far as the tilt, from the unit on.
        reach = jnp.clip(2 * jnp.abs(tilt), unit, 1e15 * unit)
        left = jnp.where(low == -jnp.inf, -reach, low)
        right = jnp.where(high == jnp.inf, reach, high)
        bracketed = (low > -jnp.inf) & (high < jnp.inf)
        newton = tilt - excess / jnp.where(at.variance > 0, at.variance, 1.0)
        inside = (at.variance > 0) & (newton > left) & (newton < right)
        near = inside & (jnp.abs(newton - tilt) <= 1e-14 * jnp.abs(tilt) + 1e-16 * unit)
        # Every third step halves the bracket: Newton's alone are too short where K' is nearly flat.
        safe = jnp.where(bracketed, (left + right) / 2, jnp.where(excess <= 0, right, left))
        moved = jnp.where(inside & (near | (count % 3 != 2)), newton, safe)
        moved = jnp.where(found | (excess == 0), tilt, moved)
        found = found | near | (excess == 0) | (right - left <= 4e-16 * jnp.abs(moved))
        return _Search(moved, at.variance, low, high, count + 1, found)

    start = _Search(
        tilt=jnp.zeros_like(wanted),
        variance=jnp.zeros_like(wanted),
        low=jnp.full_like(wanted, -jnp.inf),
        high=jnp.full_like(wanted, jnp.inf),
        steps=jnp.asarray(0),
        found=jnp.zeros(wanted.shape, bool),
    )
    end = jax.lax.while_loop(unfinished, step, start)
    return Saddlepoint(end.tilt, wanted, end.variance)


class _Search(NamedTuple):
    """Newton steps for a saddlepoint: the tilt, the variance at the one before, the bracket, whether it has converged."""

    tilt: Float[Array, "... b"]
    variance: Float[Array, "... b"]
    low: Float[Array, "... b"]
    high: Float[Array, "... b"]
    steps: Int[Array, ""]
    found: Bool[Array, "... b"]
