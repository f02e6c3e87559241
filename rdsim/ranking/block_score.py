r"""The rank law of items of n letters, described letter by letter: exact sums over types (C12).

A query $x^n$ ranks the descriptions $u^n$ by $\sum_i s(x_i; u_i)$. Given the type of $x^n$ the score
of a competitor and that of the target are sums of independent letters, so their laws are n-fold
convolutions; with them the rank law (C1) gives the loss at every database size.

Scores are put on a lattice $\Delta k$, exactly where the densities lie on one (given x, a constant
is of no account). Elsewhere they are rounded, which is another decoder, and a valid one: its loss
is computed exactly and lies above the optimal decoder's by an amount of the order of $\Delta^2 n$.

A competitor's law reaches down to $2^{-1000}$. It is carried as $h(k) = f(k)\, 2^{\Delta k}$ divided
by its sum, which is the target's own law up to the rounding of the scores, and its upper tail as
$A(k) = \sum_{j>k} h(j)\, 2^{-\Delta (j-k)}$ by Horner's rule: all terms are positive and of moderate
size wherever the target can be, so that probabilities keep their relative accuracy.
"""

import itertools
import math
from functools import partial
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Float, Int

from rdsim import validation
from rdsim.information import LN2, at_most_one, information_density, safe_log2
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.loss import Loss, RankLoss, parse_loss
from rdsim.ranking.rank_law import expected_loss_kernel, reach_of
from rdsim.ranking.scored import scored_loss
from rdsim.transformations import on_host

WORK_LIMIT: Final = 2e10
"""Multiplications a law may cost: 2 n T (nL+1) (L+1) for T types of queries and L levels."""
_CELL_LIMIT: Final = 2e7
"""Scores of all types together, T (nL+1): what is held in memory."""
_EXACT_LEVELS: Final = (1, 2)
"""Lattices that are tried before scores are rounded: binary and symmetric ternary descriptions."""
_ON_LATTICE: Final = 1e-7
_SAME_LETTER: Final = 1e-12
_RARE: Final = 1e-6
_UNROLLED: Final = 8  # levels added in one pass over memory; more only take longer to compile
_TIE: Final = 2.0**-36
"""Bits by which densities of single letters must differ not to be called tied."""


class Lattice(NamedTuple):
    """Scores as whole multiples of a step: s(x,u) is level[x,u] * step up to a constant of x."""

    level: Int[Array, "x u"]
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
    levels: Any = None,
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
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        n: letters in an item, at least 1.
        levels: L >= 1, to how many steps the widest row of scores is rounded if it must be; by
            default as many as a total of 1024 allows, from 12 to 256. A single letter (n = 1) is
            never rounded.

    Returns:
        Loss in [0, 1], shape of log2_size: achieved, so an upper bound on the optimal decoder's.

    Raises:
        ValueError: if a law is no law, shapes do not match, n or levels is below 1, a size is
            below 2, the loss is unknown, or the work exceeds `WORK_LIMIT`.
        TypeError: if n or levels is not an integer.

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
        scores = jnp.where(jnp.isinf(density), density, jnp.round(density / _TIE) * _TIE)
        return scored_loss(through, size, parsed, scores=scores)
    through = through[through.sum(axis=1) > 0]
    lattice, levels = _lattice(through, levels)
    chances, competitor, target, log_sum = _merged_letters(through, lattice, levels)
    types = composition_count(n, chances.size)
    work = 2.0 * n * types * (n * levels + 1) * (levels + 1)
    if work > WORK_LIMIT or types * (n * levels + 1) > _CELL_LIMIT:
        raise ValueError(
            f"n = {n} letters with {chances.size} kinds of query letter and {levels} levels need "
            f"{work:.1e} multiplications over {types} types, above the limit of "
            f"{WORK_LIMIT:.0e} (or {_CELL_LIMIT:.0e} scores in memory): take fewer levels or letters"
        )
    letters, counts = types_of_queries(n, chances.size)
    return _block_loss(
        competitor,
        target,
        log_sum,
        lattice.step,
        letters,
        counts,
        type_chances(chances, counts),
        size,
        n,
        parsed,
        reach_of(size),
    )


def default_levels(n: int) -> int:
    """Levels of a letter's score, so many that the rounding of n letters hardly matters."""
    return min(max(1024 // n, 12), 256)


def through_channel(joint: ArrayLike, encoder: ArrayLike, name: str = "encoder") -> np.ndarray:
    """Check both laws, the second under its name, and return P(x,u), (|X|, |U|), on the host."""
    joint = np.asarray(validation.pmf("joint", joint, ndim=2))
    channel = np.asarray(validation.channel(name, encoder))
    if channel.shape[0] != joint.shape[1]:
        raise ValueError(
            f"{name} must have one row a letter of Y, shape ({joint.shape[1]}, |U|), "
            f"got {channel.shape}"
        )
    return joint @ channel


@partial(jax.jit, static_argnames="levels")
def lattice_of(through: Float[Array, "x u"], levels: int) -> Lattice:
    """Round the information densities of P(x,u) to so many levels; also inside compiled code.

    The step is set by the pairs that are not rare; the others are clipped to the lattice, and so
    is what cannot occur, whose weight in the target's law is zero.
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
    """The coarsest lattice that holds the densities exactly, else the one of so many levels."""
    density = np.asarray(information_density(jnp.asarray(through)))
    for count in _EXACT_LEVELS:
        lattice = lattice_of(jnp.asarray(through), count)
        on_lattice = np.asarray(lattice.level) * float(lattice.step)
        rest = np.where(through > 0, density - on_lattice, np.nan)
        if np.max(np.nanmax(rest, axis=1) - np.nanmin(rest, axis=1)) < _ON_LATTICE * float(
            lattice.step
        ):
            return lattice, count
    return lattice_of(jnp.asarray(through), levels), levels


@partial(jax.jit, static_argnames="levels")
def letter_laws(
    through: Float[Array, "x u"], lattice: Lattice, levels: int
) -> tuple[Float[Array, "x k"], Float[Array, "x k"], Float[Array, " x"]]:
    r"""Laws of one letter's score: the competitor's tilted one, the target's, and $\ln \sum_u$.

    The competitor's is $P(u)\, 2^{\Delta k}$ over its sum, whose logarithm is the third result.
    """
    possible = through > 0
    px = through.sum(axis=1, keepdims=True)
    place = jax.nn.one_hot(lattice.level, levels + 1, dtype=float)
    tilted = jnp.where(possible, through.sum(axis=0), 0.0) * jnp.exp2(lattice.step * lattice.level)
    total = tilted.sum(axis=1)
    competitor = jnp.einsum("xu,xuk->xk", tilted, place)
    competitor /= jnp.where(total > 0, total, 1.0)[:, None]
    target = jnp.einsum("xu,xuk->xk", through / jnp.where(px > 0, px, 1.0), place)
    return competitor, target, LN2 * safe_log2(total)


def _merged_letters(
    through: np.ndarray, lattice: Lattice, levels: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Merge the query letters that score alike: probabilities, both laws and log sums of each kind."""
    laws = letter_laws(jnp.asarray(through), lattice, levels)
    competitor, target, log_sum = (np.asarray(law) for law in laws)
    marks = np.concatenate([competitor, target, log_sum[:, None]], axis=1)
    kinds: list[int] = []
    chances: list[float] = []
    for x, mark in enumerate(marks):
        same = [i for i, k in enumerate(kinds) if np.abs(marks[k] - mark).max() < _SAME_LETTER]
        if same:
            chances[same[0]] += float(through[x].sum())
        else:
            kinds.append(x)
            chances.append(float(through[x].sum()))
    return np.array(chances), competitor[kinds], target[kinds], log_sum[kinds]


def composition_count(n: int, kinds: int) -> int:
    """Count the types of n letters of so many kinds."""
    return math.comb(n + kinds - 1, kinds - 1)


def types_of_queries(n: int, kinds: int) -> tuple[np.ndarray, np.ndarray]:
    """List all types: one sequence of each, shape (n, T), and its counts, shape (T, kinds)."""
    bars = itertools.combinations(range(n + kinds - 1), kinds - 1)
    ends = np.array(list(bars), int).reshape(composition_count(n, kinds), kinds - 1)
    edges = np.pad(ends, ((0, 0), (1, 1)), constant_values=((0, 0), (-1, n + kinds - 1)))
    counts = np.diff(edges, axis=1) - 1
    position = np.arange(n)[:, None, None]
    letters = np.sum(position >= np.cumsum(counts, axis=1)[None], axis=2)
    return letters, counts


def type_chances(chances: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Multinomial probabilities of the types, shape (T,)."""
    log = scipy.special.gammaln(counts.sum(axis=1) + 1.0)
    log = log - scipy.special.gammaln(counts + 1.0).sum(axis=1)
    return np.exp(log + scipy.special.xlogy(counts, chances).sum(axis=1))


@partial(jax.jit, static_argnames=("n", "loss", "reach"))
def _block_loss(
    competitor: Float[Array, "x k"],
    target: Float[Array, "x k"],
    log_sum: Float[Array, " x"],
    step: Float[Array, ""],
    letters: Int[Array, "n t"],
    counts: Int[Array, "t x"],
    chance: Float[Array, " t"],
    log2_size: Float[Array, "..."],
    n: int,
    loss: RankLoss,
    reach: int,
) -> Float[Array, "..."]:
    log_a, log_e, law = rank_chances(competitor, target, log_sum, step, letters, counts, n)
    weight = chance[:, None] * law

    def one_size(size: Float[Array, ""]) -> Float[Array, ""]:
        return at_most_one(jnp.sum(weight * expected_loss_kernel(log_a, log_e, size, loss, reach)))

    return jax.lax.map(one_size, log2_size.ravel()).reshape(log2_size.shape)


def rank_chances(
    competitor: Float[Array, "x k"],
    target: Float[Array, "x k"],
    log_sum: Float[Array, " x"],
    step: Float[Array, ""],
    letters: Int[Array, "n t"],
    counts: Int[Array, "t x"],
    n: int,
) -> tuple[Float[Array, "t s"], Float[Array, "t s"], Float[Array, "t s"]]:
    """Ln a and ln e of a competitor at every score 0..nL of every type, and the target's law."""
    levels = competitor.shape[1] - 1
    scores = n * levels + 1
    kernels = jnp.stack([competitor, target])

    def add_letter(laws: Float[Array, "2 t s"], letter: Int[Array, " t"]) -> tuple[Array, None]:
        kernel = kernels[:, letter]
        padded = jnp.pad(laws, ((0, 0), (0, 0), (levels, 0)))

        def add_level(j: Array, total: Float[Array, "2 t s"]) -> Float[Array, "2 t s"]:
            moved = jax.lax.dynamic_slice_in_dim(padded, levels - j, scores, axis=2)
            return total + jnp.take(kernel, j, axis=2)[..., None] * moved

        start, unroll = jnp.zeros_like(laws), _UNROLLED
        return jax.lax.fori_loop(0, levels + 1, add_level, start, unroll=unroll), None

    nothing = jnp.zeros((2, letters.shape[1], scores)).at[..., 0].set(1.0)
    (tilted, law), _ = jax.lax.scan(add_letter, nothing, letters)

    def horner(tail: Float[Array, " t"], at: Float[Array, " t"]) -> tuple[Array, Array]:
        return jnp.exp2(-step) * (tail + at), tail

    # What is emitted at k is A(k), before k itself is added.
    _, tail = jax.lax.scan(horner, jnp.zeros(letters.shape[1]), tilted.T, reverse=True)
    untilt = (counts @ log_sum)[:, None] - LN2 * step * jnp.arange(scores)
    return _safe_log(tail.T) + untilt, _safe_log(tilted) + untilt, law


def _safe_log(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Natural logarithm, -inf at zero, with a gradient of zero there."""
    positive = x > 0
    return jnp.where(positive, jnp.log(jnp.where(positive, x, 1.0)), -jnp.inf)
