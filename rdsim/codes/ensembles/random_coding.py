r"""A random code for items of n letters: what is drawn, how codewords are chosen and how they are scored.

Every item $y^n$ has a codebook of its own, $K = \lfloor 2^{nR} \rfloor$ codewords drawn i.i.d. from
$q^n$. The encoder stores the codeword of least distortion $\sum_i d(y_i,u_i)$, ties at random, or picks
one with probabilities proportional to $2^{-s \sum_i d(y_i,u_i)}$ (the likelihood encoder). The decoder
scores a stored codeword by $\sum_i s(x_i,u_i)$.

Sums are compared, so they have to be exact: tables are kept as integers of a step, with a
constant a row left out, which moves no comparison between the codewords of one item or one query.
"""

import dataclasses
import math
from typing import Final, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.codes.ensembles.dsbs import log2_codebook_size
from rdsim.codes.letter_tables import check_apart
from rdsim.information import information_density, safe_log2
from rdsim.limits.rate_distortion.discrete import rate_distortion_curve
from rdsim.number_types import ArrayLike, Integer
from rdsim.results import result
from rdsim.root_finding import bisect_on_host
from rdsim.transformations import on_host

ENCODERS: Final = ("minimum_distortion", "likelihood")
MAX_CODEBOOK_BITS: Final = 900.0
"""Codebooks of more than 2^900 codewords would meet probabilities below the least float."""
MAX_LATTICE: Final = 4096
"""Steps of the widest row up to which a table counts as lying on a lattice."""
_SAME: Final = 1e-12
"""Two entries closer than this, as a fraction of the range of the table, are taken for equal."""
_ON_LATTICE: Final = 1e-9
"""Largest distance from the lattice that is taken for rounding, in steps."""
_DENOMINATORS: Final = 16
"""The step is looked for among the least entry divided by 1 to 16."""
_SLOPES: Final = 9
"""Slopes of R(D) that are computed in one call, in each round of the search for a rate."""
_ROUNDS: Final = 10
"""Rounds of that search, each of which divides the bracket by 8: a slope to 1e-8 of the steepest."""
_STEEPEST_BITS: Final = 1024.0
"""Steepest slope times the least positive excess distortion, in bits: 2^-1024 is zero in float64."""
_STEEPEST_SOLVED_BITS: Final = 64.0
"""Steepest of the slopes at which R(D) is solved for the default output marginal, in the same unit: 2^-64 is rounding."""


class IntegerTable(NamedTuple):
    """A table as integer multiples of a step, up to a constant of each row."""

    units: np.ndarray
    step: float

    @property
    def levels(self) -> int:
        """Steps of the widest row."""
        return int(self.units.max())


@result
class RandomCode:
    r"""A random code and its source; letters without mass are left out of every table.

    Attributes:
        joint: P(x,y) of query and item letter, shape (|X|, |Y|).
        distortions: d(y,u), shape (|Y|, |U|), finite.
        output_marginal: q(u) > 0, from which codewords are drawn, shape (|U|,).
        slope: s, bits per unit of distortion, of the likelihood encoder.
        scores: s(x,u), shape (|X|, |U|); -inf for a pair that cannot occur.
        log2_codebook_size: log2 K, the number of codewords.
        n: letters in a block.
        encoder: "minimum_distortion" or "likelihood".

    """

    joint: Float[Array, "x y"]
    distortions: Float[Array, "y u"]
    output_marginal: Float[Array, " u"]
    slope: Float[Array, ""]
    scores: Float[Array, "x u"]
    log2_codebook_size: Float[Array, ""]
    n: int = dataclasses.field(metadata={"static": True})
    encoder: str = dataclasses.field(metadata={"static": True})


@on_host
@validation.needs_float64
def random_code(
    joint: ArrayLike,
    distortions: ArrayLike,
    *,
    n: Integer,
    rate: ArrayLike,
    output_marginal: ArrayLike | None = None,
    slope: ArrayLike | None = None,
    scores: ArrayLike | None = None,
    encoder: str = "minimum_distortion",
) -> RandomCode:
    r"""Describe a random code for a discrete source.

    With $Q(u|y) \propto q(u)\, 2^{-s d(y,u)}$, the single-letter test channel, the default slope
    is where $\sum_y P(y) D(Q(\cdot|y) \| q) = R$: the channel that the codeword of least distortion
    among $2^{nR}$ follows in the limit. The default score is its information density
    $\log_2 \frac{P(x,u)}{P(x) q(u)}$, $P(x,u) = \sum_y P(x,y) Q(u|y)$, over its own marginal of u.

    Args:
        joint: P(x,y) of query and item letter, shape (|X|, |Y|).
        distortions: d(y,u) >= 0, finite, shape (|Y|, |U|).
        n: letters in a block, at least 1.
        rate: R >= 0, bits per letter; n R at most 900.
        output_marginal: q, shape (|U|,); by default the one that attains R(D) at rate R.
        slope: s >= 0, bits per unit of distortion; used by the likelihood encoder and the default
            scores alone.
        scores: s(x,u), shape (|X|, |U|), higher is better; -inf for the impossible.
        encoder: "minimum_distortion" or "likelihood".

    Returns:
        The code, for `discrete_ensemble` and `rdsim.simulation.simulate_ensemble`.

    References:
        Dembo and Kontoyiannis (2002), IEEE Trans. Inf. Theory 48(6), for the limiting channel;
        Song, Cuff and Poor (2016), IEEE Trans. Inf. Theory 62(4), for the likelihood encoder.

    """
    table = np.asarray(validation.pmf("joint", joint, ndim=2))
    py = table.sum(axis=0)
    d = np.asarray(validation.distortions(distortions, py, letter="letter of Y", all_finite=True))
    check_apart(d)
    n = validation.integer("n", n, low=1)
    bits = float(validation.interval("rate", rate, low=0.0, ndim=0))
    if n * bits > MAX_CODEBOOK_BITS:
        raise ValueError(f"rate must keep n R at most {MAX_CODEBOOK_BITS:g} bits, got {n * bits:g}")
    validation.choice("encoder", encoder, ENCODERS)
    given = None
    if scores is not None:
        given = np.asarray(validation.real_array("scores", scores, ndim=2))
        if given.shape != (table.shape[0], d.shape[1]) or (given == np.inf).any():
            raise ValueError(
                f"scores must be below inf, shape ({table.shape[0]}, {d.shape[1]}), "
                f"got {given.shape}"
            )
    # Letters that never occur are left out.
    rows, columns = table.sum(axis=1) > 0, table.sum(axis=0) > 0
    table, d = table[rows][:, columns], d[columns]
    p = table.sum(axis=0)
    if output_marginal is None:
        q = _optimal_marginal(p, d, bits)
    else:
        q = np.asarray(validation.pmf("output_marginal", output_marginal))
        if q.size != d.shape[1]:
            raise ValueError(
                f"output_marginal must have {d.shape[1]} letters, one a column of "
                f"distortions, got {q.size}"
            )
    used = q > 0
    q, d = q[used] / q[used].sum(), d[:, used]
    if slope is None:
        s = _slope_at(p, d, q, bits)
    else:
        s = float(validation.non_negative("slope", slope, ndim=0))
    if given is None:
        through = table @ _test_channel(d, q, s)[0]
        chosen = np.asarray(information_density(jnp.asarray(through)))
    else:
        chosen = given[rows][:, used]
    return RandomCode(
        joint=jnp.asarray(table),
        distortions=jnp.asarray(d),
        output_marginal=jnp.asarray(q),
        slope=jnp.asarray(s),
        scores=jnp.asarray(chosen),
        log2_codebook_size=log2_codebook_size(n, jnp.asarray(bits)),
        n=n,
        encoder=encoder,
    )


def integer_units(table: np.ndarray, n: int) -> IntegerTable:
    """Write a table in integer steps, so that sums of n entries of it are exact in float64.

    Entries on a lattice lie on it exactly. Others are rounded to a binary grid, so fine that n times
    the rounding is below 2^-20 of the range at a thousand letters and far below at fewer. An entry
    of -inf becomes one so low that n others cannot make up for it.
    """
    possible = np.isfinite(table)
    least = np.where(possible, table, np.inf).min(axis=1, keepdims=True)
    excess = np.where(possible, table - np.where(np.isfinite(least), least, 0.0), 0.0)
    widest = excess.max()
    if widest == 0:
        units, step = np.zeros_like(excess), 1.0
    else:
        excess = _merged(excess)
        # Below 2^52 in all, so that sums of n entries, and of n that are impossible, are exact.
        grid = 2.0 ** (math.frexp(widest)[1] - 52 + math.ceil(math.log2(n * (n + 2))))
        # Otherwise a binary grid: a power of two, so that rounding to it and scaling are exact.
        step = _lattice_step(excess) or grid
        units = np.round(excess / step)
    if not possible.all():
        # n possible letters add up to at most n max; one impossible letter costs more than all of them give.
        units = np.where(possible, units, -(n * units.max() + 1))
        units -= units.min(axis=1, keepdims=True)
    return IntegerTable(units, step)


def rounded_units(table: np.ndarray, n: int, levels: int) -> tuple[IntegerTable, float]:
    """Put a table on at most so many levels; and the most that rounding moved an entry."""
    fine = integer_units(table, n)
    if fine.levels <= MAX_LATTICE:
        return fine, 0.0
    # Every level of the coarse grid is the same number of fine steps wide; what rounding moves is bounded by half of
    # it and returned exactly.
    step = fine.step * fine.levels / levels
    coarse = np.round(fine.units * fine.step / step)
    return IntegerTable(coarse, step), float(np.abs(coarse * step - fine.units * fine.step).max())


def _merged(excess: np.ndarray) -> np.ndarray:
    """Make entries equal that differ by rounding alone, so that sums which should tie do."""
    values, place = np.unique(excess, return_inverse=True)
    apart = np.concatenate([[True], np.diff(values) > _SAME * values[-1]])
    return values[apart][np.cumsum(apart) - 1][place].reshape(excess.shape)


def _lattice_step(excess: np.ndarray) -> float | None:
    """The step of a lattice that all entries lie on, or None if none is found that is coarse enough."""
    # If entries lie on a lattice, the least of them is a small multiple of its step.
    least = excess[excess > 0].min()
    for denominator in range(1, _DENOMINATORS + 1):
        steps = excess / least * denominator
        if steps.max() > MAX_LATTICE:
            return None
        if np.abs(steps - np.round(steps)).max() < _ON_LATTICE:
            return float(least / denominator)
    return None


def _test_channel(d: np.ndarray, q: np.ndarray, slope: float) -> tuple[np.ndarray, np.ndarray]:
    """Q(u|y) and D(Q(.|y) || q) in bits of each row."""
    # Rows are shifted by their least distortion: the shift cancels in Q, and no row of a steep slope underflows to
    # zeros.
    tilt = np.exp2(-slope * (d - d.min(axis=1, keepdims=True)))
    total = tilt @ q
    Q = q * tilt / total[:, None]
    return Q, np.sum(Q * safe_log2(tilt / total[:, None]), axis=1)


def _slope_at(p: np.ndarray, d: np.ndarray, q: np.ndarray, rate: float) -> float:
    """The slope at which the mean relative entropy is the rate, by bisection; the steepest if none is."""
    excess = d - d.min(axis=1, keepdims=True)
    if rate <= 0 or not (excess > 0).any():
        return 0.0
    # The mean divergence rises with the slope, from zero: a bracket exists unless the rate is above what the steepest
    # slope has.
    low, high = np.zeros(1), np.array([_STEEPEST_BITS / float(excess[excess > 0].min())])

    def reached(slope: np.ndarray) -> np.ndarray:
        return np.array([p @ _test_channel(d, q, float(slope[0]))[1] >= rate])

    # 100 halvings of a bracket that begins at zero leave no digit open.
    return float(bisect_on_host(reached, low, high, steps=100)[1][0])


def _optimal_marginal(p: np.ndarray, d: np.ndarray, rate: float) -> np.ndarray:
    """The output marginal of R(D) at the slope whose rate is the nearest that is not below R.

    Each round solves R(D) at a grid of slopes over the bracket and keeps the cell in which the rate
    passes R; a bracket that ends below R is moved up and doubled.
    """
    uniform = np.full(d.shape[1], 1 / d.shape[1])
    excess = d - d.min(axis=1, keepdims=True)
    if not (excess > 0).any():
        return uniform
    steepest = _STEEPEST_SOLVED_BITS / float(excess[excess > 0].min())
    low, high = 0.0, min(2 * max(_slope_at(p, d, uniform, rate), 1e-3 * steepest), steepest)
    for _ in range(_ROUNDS):
        # The rate rises with the slope: the first slope of the grid with a rate of at least R closes the bracket.
        slopes = np.linspace(low, high, _SLOPES)
        curve = rate_distortion_curve(p, d, slopes)
        enough = np.asarray(curve.rate) >= rate
        place = int(np.argmax(enough)) if enough.any() else _SLOPES - 1
        marginal = np.asarray(curve.output_marginal)[place]
        if enough.any():
            low, high = float(slopes[max(place - 1, 0)]), float(slopes[place])
        elif high < steepest:
            low, high = high, min(2 * high, steepest)
        else:
            break
    return marginal
