r"""A random code for items of n letters: what is drawn, how words are chosen and how they are scored.

Every item $y^n$ has a codebook of its own, $K = \lfloor 2^{nR} \rfloor$ words drawn i.i.d. from
$q^n$. The encoder stores the word of least distortion $\sum_i d(y_i,u_i)$, ties at random, or picks
one with probabilities proportional to $2^{-s \sum_i d(y_i,u_i)}$ (the likelihood encoder). The decoder
scores a stored word by $\sum_i s(x_i,u_i)$.

Sums are compared, so they have to be exact: tables are kept as integers of a step, with a
constant a row left out, which moves no comparison between the words of one item or one query.
"""

import dataclasses
import math
from typing import Final, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.codes.dsbs import codebook_size
from rdsim.information import information_density
from rdsim.limits.rate_distortion.discrete import rate_distortion_curve
from rdsim.number_types import ArrayLike, Integer
from rdsim.results import result
from rdsim.transformations import on_host

ENCODERS: Final = ("minimum_distortion", "likelihood")
MAX_CODEBOOK_BITS: Final = 900.0
"""Codebooks of more than 2^900 words would meet probabilities below the least float."""
MAX_LATTICE: Final = 4096
"""Steps of the widest row up to which a table counts as lying on a lattice."""
_SAME: Final = 1e-12  # share of the spread within which two entries are one
_ON_LATTICE: Final = 1e-9  # steps from the lattice that are rounding
_DENOMINATORS: Final = 16  # the step is the least entry over one of 1..16
_SLOPES: Final = 9  # computed in one call of the search for the slope
_ROUNDS: Final = 10  # of that search: a slope to 1e-8 of the steepest tried
_STEEPEST: Final = 1024.0  # bits a unit of mean excess distortion; 2^-1024 is nothing


class Units(NamedTuple):
    """A table as whole multiples of a step, up to a constant of each row."""

    whole: np.ndarray
    step: float

    @property
    def levels(self) -> int:
        """Steps of the widest row."""
        return int(self.whole.max())


@result
class RandomCode:
    r"""A random code and its source; letters without mass are left out of every table.

    Attributes:
        joint: P(x,y) of query and item letter, shape (|X|, |Y|).
        distortions: d(y,u), shape (|Y|, |U|), finite.
        output_marginal: q(u) > 0, from which words are drawn, shape (|U|,).
        slope: s, bits a unit of distortion, of the likelihood encoder.
        scores: s(x,u), shape (|X|, |U|); -inf for a pair that cannot occur.
        log2_words: log2 K.
        n: letters in a block.
        encoder: "minimum_distortion" or "likelihood".

    """

    joint: Float[Array, "x y"]
    distortions: Float[Array, "y u"]
    output_marginal: Float[Array, " u"]
    slope: Float[Array, ""]
    scores: Float[Array, "x u"]
    log2_words: Float[Array, ""]
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
    is where $\sum_y P(y) D(Q(\cdot|y) \| q) = R$: the channel that the word of least distortion
    among $2^{nR}$ follows in the limit. The default score is its information density
    $\log_2 \frac{P(x,u)}{P(x) q(u)}$, $P(x,u) = \sum_y P(x,y) Q(u|y)$, over its own marginal of u.

    Args:
        joint: P(x,y) of query and item letter, shape (|X|, |Y|).
        distortions: d(y,u) >= 0, finite, shape (|Y|, |U|).
        n: letters in a block, at least 1.
        rate: R >= 0, bits a letter; n R at most 900.
        output_marginal: q, shape (|U|,); by default the one that attains R(D) at rate R.
        slope: s >= 0, bits a unit of distortion; used by the likelihood encoder and the default
            scores alone.
        scores: s(x,u), shape (|X|, |U|), higher is better; -inf for the impossible.
        encoder: "minimum_distortion" or "likelihood".

    Returns:
        The code, for `discrete_ensemble` and `rdsim.simulation.simulate_ensemble`.

    Raises:
        ValueError: if a table is no law or has the wrong shape, a number lies outside its range,
            or the encoder is unknown.
        TypeError: if n is not an integer.

    References:
        Dembo and Kontoyiannis (2002), IEEE Trans. Inf. Theory 48(6), for the limiting channel;
        Song, Cuff and Poor (2016), IEEE Trans. Inf. Theory 62(4), for the likelihood encoder.

    """
    law = np.asarray(validation.pmf("joint", joint, ndim=2))
    table = np.asarray(
        validation.interval("distortions", distortions, low=0.0, open_high=True, ndim=2)
    )
    if table.shape[0] != law.shape[1] or table.shape[1] == 0:
        raise ValueError(
            f"distortions must have one row a letter of Y, shape ({law.shape[1]}, |U|), "
            f"got {table.shape}"
        )
    n = validation.integer("n", n, low=1)
    bits = float(validation.interval("rate", rate, low=0.0, ndim=0))
    if n * bits > MAX_CODEBOOK_BITS:
        raise ValueError(f"rate must keep n R at most {MAX_CODEBOOK_BITS:g} bits, got {n * bits:g}")
    if encoder not in ENCODERS:
        raise ValueError(f"encoder must be one of {ENCODERS}, got {encoder!r}")
    chosen = None
    if scores is not None:
        chosen = np.asarray(validation.real_array("scores", scores, ndim=2))
        if chosen.shape != (law.shape[0], table.shape[1]) or (chosen == np.inf).any():
            raise ValueError(
                f"scores must be below inf, shape ({law.shape[0]}, {table.shape[1]}), "
                f"got {chosen.shape}"
            )
    law, table, rows = _occurring(law, table)
    if output_marginal is None:
        q = _optimal_marginal(law.sum(axis=0), table, bits)
    else:
        q = np.asarray(validation.pmf("output_marginal", output_marginal))
        if q.size != table.shape[1]:
            raise ValueError(
                f"output_marginal must have {table.shape[1]} letters, one a column of "
                f"distortions, got {q.size}"
            )
    used = q > 0
    q, table = q[used] / q[used].sum(), table[:, used]
    if slope is None:
        steep = _slope_at(law.sum(axis=0), table, q, bits)
    else:
        steep = float(
            validation.interval("slope", slope, low=0.0, high=np.inf, open_high=True, ndim=0)
        )
    if chosen is None:
        through = law @ _channel(table, q, steep)[0]
        chosen = np.asarray(information_density(jnp.asarray(through)))
    else:
        chosen = chosen[rows][:, used]
    return RandomCode(
        joint=jnp.asarray(law),
        distortions=jnp.asarray(table),
        output_marginal=jnp.asarray(q),
        slope=jnp.asarray(steep),
        scores=jnp.asarray(chosen),
        log2_words=codebook_size(n, jnp.asarray(bits)),
        n=n,
        encoder=encoder,
    )


def whole_units(table: np.ndarray, n: int) -> Units:
    """Write a table in whole steps, so that sums of n entries of it are exact in float64.

    Entries on a lattice lie on it exactly. Others are rounded to a binary grid, so fine that n times
    the rounding is below 2^-20 of the spread at a thousand letters and far below at fewer. An entry
    of -inf becomes one so low that n others cannot make up for it.
    """
    possible = np.isfinite(table)
    least = np.where(possible, table, np.inf).min(axis=1, keepdims=True)
    excess = np.where(possible, table - np.where(np.isfinite(least), least, 0.0), 0.0)
    widest = excess.max()
    if widest == 0:
        whole, step = np.zeros_like(excess), 1.0
    else:
        excess = _merged(excess)
        grid = 2.0 ** (math.frexp(widest)[1] - 52 + math.ceil(math.log2(n * (n + 2))))
        step = _lattice_step(excess) or grid
        whole = np.round(excess / step)
    if not possible.all():
        whole = np.where(possible, whole, -(n * whole.max() + 1))
        whole -= whole.min(axis=1, keepdims=True)
    return Units(whole, step)


def rounded_units(table: np.ndarray, n: int, levels: int) -> tuple[Units, float]:
    """Put a table on at most so many levels; and the most that rounding moved an entry."""
    units = whole_units(table, n)
    if units.levels <= MAX_LATTICE:
        return units, 0.0
    step = units.step * units.levels / levels
    coarse = np.round(units.whole * units.step / step)
    return Units(coarse, step), float(np.abs(coarse * step - units.whole * units.step).max())


def _merged(excess: np.ndarray) -> np.ndarray:
    """Make one of entries that differ by rounding alone, so that sums which should tie do."""
    values, place = np.unique(excess, return_inverse=True)
    apart = np.concatenate([[True], np.diff(values) > _SAME * values[-1]])
    return values[apart][np.cumsum(apart) - 1][place].reshape(excess.shape)


def _lattice_step(excess: np.ndarray) -> float | None:
    least = excess[excess > 0].min()
    for denominator in range(1, _DENOMINATORS + 1):
        steps = excess / least * denominator
        if steps.max() > MAX_LATTICE:
            return None
        if np.abs(steps - np.round(steps)).max() < _ON_LATTICE:
            return float(least / denominator)
    return None


def _occurring(law: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Leave out letters that never occur; and which rows of X stay."""
    rows, columns = law.sum(axis=1) > 0, law.sum(axis=0) > 0
    return law[rows][:, columns], table[columns], rows


def _channel(table: np.ndarray, q: np.ndarray, slope: float) -> tuple[np.ndarray, np.ndarray]:
    """Q(u|y) and D(Q(.|y) || q) in bits of each row."""
    tilt = np.exp2(-slope * (table - table.min(axis=1, keepdims=True)))
    total = tilt @ q
    Q = q * tilt / total[:, None]
    ratio = tilt / total[:, None]
    log_ratio = np.log2(np.where(ratio > 0, ratio, 1.0))
    return Q, np.sum(Q * log_ratio, axis=1)


def _slope_at(p: np.ndarray, table: np.ndarray, q: np.ndarray, rate: float) -> float:
    """The slope at which the mean relative entropy is the rate; the steepest if none is."""
    excess = table - table.min(axis=1, keepdims=True)
    if not (excess > 0).any():
        return 0.0
    low, high = 0.0, _STEEPEST / float(excess[excess > 0].min())

    def below(slope: float) -> bool:
        return bool(p @ _channel(table, q, slope)[1] < rate)

    if rate <= 0:
        return 0.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return high


def _optimal_marginal(p: np.ndarray, table: np.ndarray, rate: float) -> np.ndarray:
    """The output marginal of R(D) at the slope whose rate is the nearest that is not below R."""
    excess = table - table.min(axis=1, keepdims=True)
    if not (excess > 0).any():
        return np.full(table.shape[1], 1 / table.shape[1])
    steepest = 64.0 / float(excess[excess > 0].min())
    uniform = np.full(table.shape[1], 1 / table.shape[1])
    low, high = 0.0, min(2 * max(_slope_at(p, table, uniform, rate), 1e-3 * steepest), steepest)
    for _ in range(_ROUNDS):
        slopes = np.linspace(low, high, _SLOPES)
        curve = rate_distortion_curve(p, table, slopes)
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
