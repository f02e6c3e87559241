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

from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rdsim import validation
from rdsim.information import LN2, at_most_one, density_bits, log_from_zero, safe_log2
from rdsim.namespaces import fori_loop, namespace_of, on_numpy, scan, window
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
_HOST_WORK: Final = 1e8
HOST_SCORES: Final = 1e5
"""Multiplications, and scores of all types at all sizes, up to which NumPy takes a fraction of the second that XLA compiles."""
_UNROLLED: Final = 8
"""Levels that are added in one pass over memory; more only take longer to compile."""
_TIE_BITS: Final = 2.0**-36
"""Unit to which densities of single letters are rounded, so that equal ones tie in float64."""


class Lattice(NamedTuple):
    """Scores as integer multiples of a step: s(x,u) is level[x,u] * step up to a constant of x."""

    level: Int[Any, "... x u"]
    step: Float[Any, "..."]


class LetterScores(NamedTuple):
    r"""Distributions of one letter's score over levels k, given the query letter x."""

    competitor: Float[Any, "... x k"]  # tilted: P(u) 2^(step k) over its sum
    target: Float[Any, "... x k"]
    log_sum: Float[Any, "... x"]  # ln of that sum
    step: Float[Any, "..."]


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
        density = density_bits(through)
        tied = np.round(density / _TIE_BITS) * _TIE_BITS
        scores = np.where(np.isinf(density), density, tied)
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
    scores = types * (n * levels + 1) * np.size(size)
    few = work <= _HOST_WORK and scores <= HOST_SCORES
    of = _block_loss if few else _compiled_block_loss
    found = of(distributions, letters, counts, p_type, np.asarray(size), parsed)
    return jnp.asarray(found, float)


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


def lattice_of(through: Float[Any, "... x u"], levels: int) -> Lattice:
    """Round the information densities of P(x,u) to so many levels: tables of NumPy on the host, of JAX in compiled code.

    The step is set by the pairs that are not rare; the others are clipped to the lattice, and so
    are impossible ones, whose weight in the target's distribution is zero.
    """
    xp = namespace_of(through)
    product = through.sum(axis=-1, keepdims=True) * through.sum(axis=-2, keepdims=True)
    density = density_bits(through)
    usual = (product >= _RARE) & (through > 0)
    top = xp.max(xp.where(usual, density, -xp.inf), axis=-1)
    bottom = xp.min(xp.where(usual, density, xp.inf), axis=-1)
    known = xp.isfinite(top)
    width = xp.max(xp.where(known, top, 0.0) - xp.where(known, bottom, 0.0), axis=-1)
    step = xp.where(width > 0, width, 1.0) / levels
    base = xp.where(known, bottom, 0.0)[..., None]
    level = xp.round((xp.where(through > 0, density, base) - base) / step[..., None, None])
    return Lattice(xp.clip(level, 0, levels).astype(int), step)


def _lattice(through: np.ndarray, levels: int) -> tuple[Lattice, int]:
    """The coarsest lattice that holds the densities exactly, else the one of the levels given."""
    density = density_bits(through)
    for count in _EXACT_LEVELS:
        lattice = lattice_of(through, count)
        on_lattice = lattice.level * lattice.step
        rest = np.where(through > 0, density - on_lattice, np.nan)
        error = np.max(np.nanmax(rest, axis=1) - np.nanmin(rest, axis=1))
        if error < _ON_LATTICE * lattice.step:
            return lattice, count
    return lattice_of(through, levels), levels


def letter_distributions(
    through: Float[Any, "... x u"], lattice: Lattice, levels: int
) -> LetterScores:
    """Distributions of one letter's score on a lattice, given the query letter."""
    xp = namespace_of(through)
    px = through.sum(axis=-1, keepdims=True)
    at_level = (lattice.level[..., None] == xp.arange(levels + 1)).astype(float)
    possible = xp.where(through > 0, through.sum(axis=-2, keepdims=True), 0.0)
    tilted = possible * xp.exp2(lattice.step[..., None, None] * lattice.level)
    total = tilted.sum(axis=-1)
    competitor = xp.einsum("...u,...uk->...k", tilted, at_level)
    competitor /= xp.where(total > 0, total, 1.0)[..., None]
    target = xp.einsum("...u,...uk->...k", through / xp.where(px > 0, px, 1.0), at_level)
    return LetterScores(competitor, target, LN2 * safe_log2(total), lattice.step)


def _merged_letters(
    through: np.ndarray, lattice: Lattice, levels: int
) -> tuple[np.ndarray, LetterScores]:
    """Merge the query letters that score alike into kinds: their probabilities and distributions."""
    found = letter_distributions(through, lattice, levels)
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
    kinds = LetterScores(
        found.competitor[first], found.target[first], found.log_sum[first], found.step
    )
    return np.array(p), kinds


def types_of_queries(n: int, kinds: int) -> tuple[np.ndarray, np.ndarray]:
    """List all types: one sequence of each, shape (n, T), and its counts, shape (T, kinds)."""
    counts = compositions(n, kinds).astype(int)
    position = np.arange(n)[:, None, None]
    letters = np.sum(position >= np.cumsum(counts, axis=1)[None], axis=2)
    return letters, counts


def _block_loss(
    distributions: LetterScores,
    letters: Int[Any, "n t"],
    counts: Int[Any, "t x"],
    p_type: Float[Any, " t"],
    log2_size: Float[Any, "..."],
    loss: RankLoss,
) -> Float[Any, "..."]:
    log_a, log_e, of_target = score_probabilities(distributions, letters, counts)
    weight = p_type[:, None] * of_target
    return at_most_one(weighted_loss(weight, log_a, log_e, log2_size, loss))


_compiled_block_loss = jax.jit(_block_loss, static_argnames="loss")


def score_probabilities(
    distributions: LetterScores, letters: Int[Any, "n t"], counts: Int[Any, "t x"]
) -> tuple[Float[Any, "... t s"], Float[Any, "... t s"], Float[Any, "... t s"]]:
    """Ln a and ln e of a competitor, and the target's probability, at every score 0..nL of every type.

    Both distributions are convolved letter by letter. Sequences of one type have letters in one order,
    so that step i of the scan convolves all types at once, each with the kernel of its i-th letter.
    """
    competitor, target, log_sum, step = distributions
    xp = namespace_of(*distributions)
    levels = competitor.shape[-1] - 1
    scores = letters.shape[0] * levels + 1
    kernels = xp.stack([competitor, target])

    def add_letter(sums: Float[Any, "2 ... t s"], letter: Int[Any, " t"]) -> tuple[Any, None]:
        return _convolved(sums, kernels[..., letter, :]), None

    shape = (*kernels.shape[:-2], letters.shape[1], scores)
    no_letters = xp.broadcast_to(xp.where(xp.arange(scores) == 0, 1.0, 0.0), shape)
    (tilted, of_target), _ = scan(add_letter, no_letters, letters)
    down = xp.exp2(-step)[..., None]

    def horner(tail: Float[Any, "... t"], at: Float[Any, "... t"]) -> tuple[Any, Any]:
        return down * (tail + at), tail

    # The scan emits A(k) at k, before k itself is added.
    _, tail = scan(horner, xp.zeros(shape[1:-1]), xp.moveaxis(tilted, -1, 0), reverse=True)
    untilt = (log_sum @ counts.T)[..., None] - LN2 * step[..., None, None] * xp.arange(scores)
    return (
        log_from_zero(xp.moveaxis(tail, 0, -1)) + untilt,
        log_from_zero(tilted) + untilt,
        of_target,
    )


def _convolved(sums: Float[Any, "... s"], kernel: Float[Any, "... k"]) -> Float[Any, "... s"]:
    """Convolve each row with its kernel; what passes its end is left out."""
    xp, levels, scores = namespace_of(sums), kernel.shape[-1] - 1, sums.shape[-1]
    if on_numpy(sums) and sums.size <= scores * levels:
        # Few rows: NumPy loops over the levels of each.
        rows = zip(sums.reshape(-1, scores), kernel.reshape(-1, levels + 1), strict=True)
        return np.reshape([np.convolve(*row)[:scores] for row in rows], sums.shape)
    padded = xp.concatenate([xp.zeros((*sums.shape[:-1], levels)), sums], axis=-1)

    def add_level(j: Any, total: Float[Any, "... s"]) -> Float[Any, "... s"]:
        return total + kernel[..., j, None] * window(padded, levels - j, scores)

    return fori_loop(levels + 1, add_level, xp.zeros(sums.shape), unroll=_UNROLLED)
