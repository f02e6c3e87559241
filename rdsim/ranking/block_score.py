r"""The rank distribution of items of n letters, described letter by letter: exact sums over types (C12).

A query $x^n$ ranks the descriptions $u^n$ by $\sum_i s(x_i; u_i)$. Given the type of $x^n$ the score
of a competitor and that of the target are sums of independent letters, so their distributions are
n-fold convolutions; with them the rank distribution (C1) gives the loss at every database size.

Scores are put on a lattice $\Delta k$, exactly where the densities lie on one (given x, an additive
constant ranks none). Elsewhere they are rounded, which is another decoder, and a valid one: its loss
is computed exactly and lies above the optimal decoder's by an amount of the order of $\Delta^2 n$.

A competitor's probabilities f(k) reach down to $2^{-1000}$. They are carried as
$h(k) = f(k)\, 2^{\Delta k}$ divided by its sum, an exponential tilt, which up to the rounding of the
scores is the target's own distribution; and the upper tail as
$A(k) = \sum_{j>k} h(j)\, 2^{-\Delta (j-k)}$ by Horner's rule. All terms are positive and of moderate
size wherever the target can be, so that probabilities keep their relative accuracy.
"""

from functools import partial
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rdsim import validation
from rdsim.information import LN2, at_most_one, information_density, log_from_zero, safe_log2
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.codewords import scored_loss
from rdsim.ranking.loss import Loss, RankLoss, parse_loss
from rdsim.ranking.rank_distribution import weighted_loss
from rdsim.sources.sequence_types import composition_count, compositions, log_probability
from rdsim.transformations import on_host

WORK_LIMIT: Final = 2e10
"""Most multiplications of one loss: 2 n T (nL+1) (L+1) for T types of queries and L levels."""
_CELL_LIMIT: Final = 2e7  # most scores of all types together, T (nL+1): they are held in memory
_EXACT_LEVELS: Final = (1, 2)
"""Levels that are tried before scores are rounded: binary and symmetric ternary descriptions fit them."""
_ON_LATTICE: Final = 1e-7  # distance from the lattice, in steps, up to which a density lies on it
_SAME_LETTER: Final = 1e-12
"""Difference of probabilities and logarithms below which two query letters score alike."""
_RARE: Final = 1e-6  # probability P(x) P(u) below which a pair does not set the step of the lattice
_UNROLLED: Final = 8
"""Levels that are added in one pass over memory; more only take longer to compile."""
_TIE_BITS: Final = 2.0**-36
"""Unit to which densities of single letters are rounded, so that equal ones tie in float64."""


class Lattice(NamedTuple):
    """Scores as integer multiples of a step: s(x,u) is level[x,u] * step up to a constant of x."""

    level: Int[Array, "x u"]
    step: Float[Array, ""]


class LetterScores(NamedTuple):
    r"""Distributions of one letter's score over levels k, given the query letter x."""

    competitor: Float[Array, "x k"]  # tilted: P(u) 2^(step k) over its sum
    target: Float[Array, "x k"]
    log_sum: Float[Array, " x"]  # ln of that sum
    step: Float[Array, ""]


@on_host
@validation.needs_float64
def block_loss(
    joint: ArrayLike,
    encoder: ArrayLike,
    log2_size: ArrayLike,
    loss: Loss,
    *,
    n: Integer,
    levels: Integer | None = None,
) -> Float[Array, "..."]:
    r"""Compute the expected rank loss of items of n letters behind a memoryless test channel.

    $$E\,\rho(\text{rank}), \quad U^n \sim \prod_i P_{U|Y}(\cdot|y_i), \quad
    \text{score } \sum_i \log_2 \frac{P(x_i|u_i)}{P(x_i)},$$

    ties at random, exact for the decoder whose letter scores are rounded to `levels` levels. Letters
    and densities that allow it (the DSBS with a symmetric test channel) are not rounded.

    Args:
        joint: P(x,y) of query and item letter, shape (|X|, |Y|).
        encoder: P(u|y), shape (|Y|, |U|), rows summing to one.
        log2_size: log2 M >= 1, any shape.
        loss: the rank loss, a `Loss`.
        n: letters in an item, at least 1.
        levels: L >= 1, number of steps to which the widest row of scores is rounded if it must be; by
            default 1024/n, from 12 to 256. A single letter (n = 1) is never rounded.

    Returns:
        Loss in [0, 1], shape of log2_size: achieved, so an upper bound on the optimal decoder's.

    Raises:
        ValueError: if the work exceeds `WORK_LIMIT` multiplications.

    References:
        The method of types: Cover and Thomas (2006), section 11.1. The score is that of
        Tuncel (2009), IEEE Trans. Inf. Theory 55(8).

    """
    parsed = parse_loss(loss)
    through = through_channel(joint, encoder)
    n = validation.integer("n", n, low=1)
    levels = default_levels(n) if levels is None else levels
    levels = validation.integer("levels", levels, low=1)
    size = validation.log2_size(log2_size)
    if n == 1:
        density = information_density(jnp.asarray(through))
        tied = jnp.round(density / _TIE_BITS) * _TIE_BITS
        scores = jnp.where(jnp.isinf(density), density, tied)
        return scored_loss(through, size, parsed, scores=scores)
    through = through[through.sum(axis=1) > 0]
    lattice, levels = _lattice(through, levels)
    p, distributions = _merged_letters(through, lattice, levels)
    types = composition_count(n, p.size)
    # For each type of the query, n letters are convolved one by one: (n L + 1) (L + 1) products and sums a letter.
    work = 2.0 * n * types * (n * levels + 1) * (levels + 1)
    if work > WORK_LIMIT or types * (n * levels + 1) > _CELL_LIMIT:
        raise ValueError(
            f"n = {n} letters with {p.size} kinds of query letter and {levels} levels need "
            f"{work:.1e} multiplications over {types} types, above the limit of "
            f"{WORK_LIMIT:.0e} (or {_CELL_LIMIT:.0e} scores in memory): take fewer levels or letters"
        )
    letters, counts = types_of_queries(n, p.size)
    p_type = np.exp(log_probability(counts, p))
    return _block_loss(distributions, letters, counts, p_type, size, parsed)


def default_levels(n: int) -> int:
    """Levels of a letter's score at which the rounding of n letters hardly matters."""
    return min(max(1024 // n, 12), 256)


def through_channel(joint: ArrayLike, encoder: ArrayLike, name: str = "encoder") -> np.ndarray:
    """Check a joint distribution and a channel, and return P(x,u), shape (|X|, |U|), on the host."""
    joint = np.asarray(validation.pmf("joint", joint, ndim=2))
    channel = np.asarray(validation.channel(name, encoder))
    if channel.shape[0] != joint.shape[1]:
        raise ValueError(
            f"{name} must have one row a letter of Y, shape ({joint.shape[1]}, |U|), "
            f"got {channel.shape}"
        )
    return joint @ channel


@jax.jit
def lattice_of(through: Float[Array, "x u"], levels: int | Int[Array, ""]) -> Lattice:
    """Round the information densities of P(x,u) to so many levels; also inside compiled code.

    The number of levels is an argument of the program: several are tried, and one program serves them all.

    The step is set by the pairs that are not rare; the others are clipped to the lattice, and so
    are impossible ones, whose weight in the target's distribution is zero.
    """
    product = through.sum(axis=1, keepdims=True) * through.sum(axis=0, keepdims=True)
    density = information_density(through)
    usual = (product >= _RARE) & (through > 0)
    top = jnp.max(jnp.where(usual, density, -jnp.inf), axis=1)
    bottom = jnp.min(jnp.where(usual, density, jnp.inf), axis=1)
    known = jnp.isfinite(top)
    width = jnp.max(jnp.where(known, top - bottom, 0.0))
    step = jnp.where(width > 0, width, 1.0) / levels
    base = jnp.where(known, bottom, 0.0)[:, None]
    level = jnp.round((jnp.where(through > 0, density, base) - base) / step)
    return Lattice(jnp.clip(level, 0, levels).astype(int), step)


def _lattice(through: np.ndarray, levels: int) -> tuple[Lattice, int]:
    """The coarsest lattice that holds the densities exactly, else the one of the levels given."""
    density = np.asarray(information_density(jnp.asarray(through)))
    for count in _EXACT_LEVELS:
        lattice = lattice_of(jnp.asarray(through), count)
        on_lattice = np.asarray(lattice.level) * float(lattice.step)
        rest = np.where(through > 0, density - on_lattice, np.nan)
        error = np.max(np.nanmax(rest, axis=1) - np.nanmin(rest, axis=1))
        if error < _ON_LATTICE * float(lattice.step):
            return lattice, count
    return lattice_of(jnp.asarray(through), levels), levels


@partial(jax.jit, static_argnames="levels")
def letter_distributions(
    through: Float[Array, "x u"], lattice: Lattice, levels: int
) -> LetterScores:
    """Distributions of one letter's score on a lattice, given the query letter."""
    possible = through > 0
    px = through.sum(axis=1, keepdims=True)
    at_level = jax.nn.one_hot(lattice.level, levels + 1, dtype=float)
    tilted = jnp.where(possible, through.sum(axis=0), 0.0) * jnp.exp2(lattice.step * lattice.level)
    total = tilted.sum(axis=1)
    competitor = jnp.einsum("xu,xuk->xk", tilted, at_level)
    competitor /= jnp.where(total > 0, total, 1.0)[:, None]
    target = jnp.einsum("xu,xuk->xk", through / jnp.where(px > 0, px, 1.0), at_level)
    return LetterScores(competitor, target, LN2 * safe_log2(total), lattice.step)


def _merged_letters(
    through: np.ndarray, lattice: Lattice, levels: int
) -> tuple[np.ndarray, LetterScores]:
    """Merge the query letters that score alike into kinds: their probabilities and distributions."""
    found = letter_distributions(jnp.asarray(through), lattice, levels)
    table = np.concatenate([found.competitor, found.target, found.log_sum[:, None]], axis=1)
    first: list[int] = []  # the first letter of each kind
    p: list[float] = []
    for x, row in enumerate(table):
        alike = [i for i, k in enumerate(first) if np.abs(table[k] - row).max() < _SAME_LETTER]
        if alike:
            p[alike[0]] += float(through[x].sum())
        else:
            first.append(x)
            p.append(float(through[x].sum()))
    competitor, target, log_sum, step = jax.device_get(found)
    return np.array(p), LetterScores(competitor[first], target[first], log_sum[first], step)


def types_of_queries(n: int, kinds: int) -> tuple[np.ndarray, np.ndarray]:
    """List all types: one sequence of each, shape (n, T), and its counts, shape (T, kinds)."""
    counts = compositions(n, kinds).astype(int)
    position = np.arange(n)[:, None, None]
    letters = np.sum(position >= np.cumsum(counts, axis=1)[None], axis=2)
    return letters, counts


@partial(jax.jit, static_argnames="loss")
def _block_loss(
    distributions: LetterScores,
    letters: Int[Array, "n t"],
    counts: Int[Array, "t x"],
    p_type: Float[Array, " t"],
    log2_size: Float[Array, "..."],
    loss: RankLoss,
) -> Float[Array, "..."]:
    log_a, log_e, of_target = score_probabilities(distributions, letters, counts)
    weight = p_type[:, None] * of_target
    return at_most_one(weighted_loss(weight, log_a, log_e, log2_size, loss))


def score_probabilities(
    distributions: LetterScores, letters: Int[Array, "n t"], counts: Int[Array, "t x"]
) -> tuple[Float[Array, "t s"], Float[Array, "t s"], Float[Array, "t s"]]:
    """Ln a and ln e of a competitor, and the target's probability, at every score 0..nL of every type.

    Both distributions are convolved letter by letter. Sequences of one type have letters in one order,
    so that step i of the scan convolves all types at once, each with the kernel of its i-th letter.
    """
    competitor, target, log_sum, step = distributions
    levels = competitor.shape[1] - 1
    scores = letters.shape[0] * levels + 1
    kernels = jnp.stack([competitor, target])

    def add_letter(sums: Float[Array, "2 t s"], letter: Int[Array, " t"]) -> tuple[Array, None]:
        kernel = kernels[:, letter]
        padded = jnp.pad(sums, ((0, 0), (0, 0), (levels, 0)))

        def add_level(j: Array, total: Float[Array, "2 t s"]) -> Float[Array, "2 t s"]:
            shifted = jax.lax.dynamic_slice_in_dim(padded, levels - j, scores, axis=2)
            return total + jnp.take(kernel, j, axis=2)[..., None] * shifted

        start = jnp.zeros_like(sums)
        return jax.lax.fori_loop(0, levels + 1, add_level, start, unroll=_UNROLLED), None

    no_letters = jnp.zeros((2, letters.shape[1], scores)).at[..., 0].set(1.0)
    (tilted, of_target), _ = jax.lax.scan(add_letter, no_letters, letters)

    def horner(tail: Float[Array, " t"], at: Float[Array, " t"]) -> tuple[Array, Array]:
        return jnp.exp2(-step) * (tail + at), tail

    # The scan emits A(k) at k, before k itself is added.
    _, tail = jax.lax.scan(horner, jnp.zeros(letters.shape[1]), tilted.T, reverse=True)
    untilt = (counts @ log_sum)[:, None] - LN2 * step * jnp.arange(scores)
    return log_from_zero(tail.T) + untilt, log_from_zero(tilted) + untilt, of_target
