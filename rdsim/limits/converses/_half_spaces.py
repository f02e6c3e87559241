r"""What a codeword can tell, for Gaussian pairs: half-spaces are the best decoding regions (C27).

Query X and item Y are standard normal vectors of any dimension whose coordinates have correlation
$\rho$. A codeword of probability q is at best a half-space {Y > b_q}, and a list of share t of the
database at best a half-space {X > a} (Borell 1985), so that every quantity below is one integral over
one bivariate normal pair. With gamma a threshold on the likelihood ratio,

$$F_\gamma(r) = \max_a\, P(X > a \mid Y > b_q) - \gamma P(X > a), \qquad q = 2^{-r},$$

is what a codeword of r bits is worth, and for every gamma >= 0 the recall of a share t is at most

- fixed length: $t\gamma + 2^R \,\mathrm{conv}(q F_\gamma(\log_2 1/q))$ at $q = 2^{-R}$;
- entropy: $t\gamma + \mathrm{conv}(F_\gamma)$ at R;
- information: $t\gamma + \lambda R \ln 2 + \sup_a \{\lambda \ln E\, e^{P(X>a|Y)/\lambda}
  - \gamma P(X>a)\}$ for every $\lambda > 0$,

conv being the upper concave hull. Each bound is a line in t, valid at every t, so that finitely many
lines bound the recall at all shares, and with it every rank loss.
"""

import math
from functools import lru_cache, partial
from typing import Final

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import ndtri_exp

from rdsim.limits.converses._recalls import Reals, Recalls
from rdsim.limits.converses._tails import MakeTails, Tails

_LN2: Final = math.log(2.0)
_LONGER: Final = np.append(0.0, np.geomspace(1e-3, 40.0, 399))
"""Bits by which the good codewords of a code may exceed the mean length: 2^-40 of the mass is left then.
Their number less one is a multiple of seven, for every seventh may be taken."""
FEWER_LONGER: Final = _LONGER[::7]
_UNLIMITED: Final = np.append(0.0, np.geomspace(1e-3, 4000.0, 399))
"""The same for codes of an entropy, of whose codewords a share of 1/4000 may be as long as this."""
_PART: Final = 0.02
"""The best length is found to this fraction of the distance between two rows, for the bound is flat at its minimum."""
FEWER_UNLIMITED: Final = _UNLIMITED[::7]


def equal_codewords(correlation: float, bits: float, recalls: Recalls) -> float:
    """Return the reward of half-spaces of probability 2^-R, which no equal codewords exceed."""
    a, row = -ndtri_exp(recalls.log_t), np.zeros(recalls.log_t.shape, int)
    found = _tails(correlation, np.array([bits])).exceed(a, row)
    return float(recalls.weight @ found)


class _FixedLength:
    r"""Codewords of R bits each: $2^R \mathrm{conv}(\varphi_\gamma)(2^{-R})$, $\varphi(q) = q F(\log_2 1/q)$.

    phi is concave up to some q, convex beyond, and ends at q = 1 in (1 - gamma)+, so its hull at 2^-R is phi
    itself or lies on a chord from a smaller q, that of the good codewords, to q = 1, one junk codeword that
    takes the rest. Along the smaller q the chords rise and then fall: where the equal codewords exceed slightly
    longer ones they exceed all, and few rows tell. Rows: the good codeword's excess length, 0 being the equal ones.
    """

    def __init__(self, tails: MakeTails, bits: float, longer: Reals) -> None:
        self.tails = tails(bits + longer)
        left = -np.expm1(-self.tails.r * _LN2)  # 1 - q
        self.mass = (
            -np.expm1(-bits * _LN2) / left * np.exp2(-longer)
        )  # of items with a good codeword
        self.junk = (
            -np.expm1(-longer * _LN2) / left
        )  # 2^R times the share of codewords that are junk

    def values(self, log_gamma: Reals, weight: Reals) -> Reals:
        """Return 2^R phi along the chords, summed over the recalls, shape of the rows."""
        end = float(weight @ np.maximum(-np.expm1(log_gamma), 0.0))
        return np.asarray(self.mass * (weight @ self.tails.worth(log_gamma)) + self.junk * end)


class _Entropy:
    """Codewords of any lengths, R bits on average: the upper concave hull of F at R.

    Rows: pairs of a shorter length, from 0, and a longer one, for chords over R.
    """

    def __init__(self, tails: MakeTails, bits: float, longer: Reals) -> None:
        self.shorter = tails(bits * np.linspace(0.0, 1.0, 33)[:-1])
        self.tails = tails(bits + longer)
        low, high = self.shorter.r[:, None], self.tails.r
        self.share = (bits - low) / (high - low)
        self.mass = bits / self.tails.r if bits > 0 else np.ones(longer.size)

    def values(self, log_gamma: Reals, weight: Reals) -> Reals:
        """Return the chords at R, summed over the recalls."""
        short = weight @ self.shorter.worth(log_gamma)
        long = weight @ self.tails.worth(log_gamma)
        long[-1] = weight.sum()  # no longer codeword is worth more
        return peak(((1 - self.share) * short[:, None] + self.share * long).T)


def fixed_length(correlation: float, bits: float, recalls: Recalls) -> tuple[float, bool]:
    """Bound the reward of codewords of R bits each, separate encoders.

    Returns:
        The bound, and whether unequal codewords may pass `equal_codewords`; where they may not, that is the
        bound, and exact.

    """
    equal = equal_codewords(correlation, bits, recalls)
    return hulled(partial(_tails, correlation), bits, recalls, equal)


def _tails(correlation: float, r: Reals) -> Tails:
    """Keep the last tables: they take most of the time, and bounds of several losses share them."""
    return _kept_tails(correlation, np.asarray(r, float).tobytes())


@lru_cache(maxsize=32)  # the numbers of bits of one source, and tens of MB at most
def _kept_tails(correlation: float, r: bytes) -> Tails:
    return Tails(correlation, np.frombuffer(r))


def hulled(
    tails: MakeTails, bits: float, recalls: Recalls, equal: float, longer: Reals = _LONGER
) -> tuple[float, bool]:
    """Bound the reward of codewords of R bits each, from that of equal codewords; say whether the hull passes it."""
    problem, recalls = _FixedLength(tails, bits, longer[::7]), recalls.joined()
    rows = problem.values(_thresholds(problem, 0.0, recalls.log_t), recalls.weight)
    if rows.argmax() == 0:
        return equal, False
    if len(rows := _rows(recalls, longer)) > problem.mass.size:
        problem = _FixedLength(tails, bits, rows)
    return _tightest(problem, recalls), True


def entropy(correlation: float, bits: float, recalls: Recalls) -> tuple[float, bool]:
    """Bound the reward of codewords of R bits on average, separate encoders; codewords may be unequal."""
    return averaged(partial(Tails, correlation), bits, recalls), True


def averaged(tails: MakeTails, bits: float, recalls: Recalls, longer: Reals = _UNLIMITED) -> float:
    """Bound the reward of codewords of R bits on average."""
    return _tightest(_Entropy(tails, bits, _rows(recalls, longer)), recalls)


def _rows(recalls: Recalls, longer: Reals) -> Reals:
    """Excess lengths to look at: fewer where many shares are, whose mean is smoother."""
    return longer if min(recalls.log_t.size, longer.size // 8) <= 8 else longer[::7]


def _thresholds(problem: "_FixedLength | _Entropy", row: float, log_t: Reals) -> Reals:
    """Ln of the likelihood ratios at which good codewords of a length, between rows too, fill their lists.

    Codewords that hold a mass c of the items have lists of share t/c of the database to themselves.
    """
    i = min(int(row), problem.tails.r.size - 2)
    part = row - i
    r = (1 - part) * problem.tails.r[i] + part * problem.tails.r[i + 1]
    c = (1 - part) * problem.mass[i] + part * problem.mass[i + 1]
    log_share = np.minimum(log_t - math.log(c), -1e-12)
    return problem.tails.log_ratio(float(r), log_share)


def _tightest(problem: "_FixedLength | _Entropy", recalls: Recalls) -> float:
    """Minimise the bound over thresholds, which are those of good codewords of one length.

    Whatever the thresholds are, the bound holds. It is minimised over the length on the rows and then,
    by golden section, between them.
    """

    def bound(row: float) -> float:
        log_gamma = _thresholds(problem, row, recalls.log_t)
        rows = problem.values(log_gamma, recalls.weight)
        given = float(recalls.weight @ np.exp(recalls.log_t + log_gamma))
        return given + float(peak(rows))

    size = problem.tails.r.size
    coarse = np.arange(0, size - 1, max(8, size // 25))
    found = [bound(float(row)) for row in coarse]
    best = int(np.argmin(found))
    ends = coarse[max(best - 1, 0)], coarse[min(best + 1, coarse.size - 1)]
    refined = minimize_scalar(bound, bounds=ends, method="bounded", options={"xatol": _PART})
    return min(float(refined.fun), min(found), float(recalls.weight.sum()))


def peak(rows: Reals, x: Reals | None = None) -> Reals:
    """Bound the maximum of a smooth function by its values on a grid x, by default the integers, along the last axis.

    Between its points the function may exceed each of its local maxima on the grid as a parabola through three points
    does: the maximum and its two neighbours, or the last three at an end. Twice this excess is added to every one of
    them, not to the highest alone: a line that touches a hull at two corners is as high at both, and where the grid is
    coarser the function may lie higher in between.
    """
    whole = rows.max(axis=-1)
    if rows.shape[-1] < 3:
        return np.asarray(whole)
    x = np.arange(rows.shape[-1], dtype=float) if x is None else x
    left, right = np.diff(x)[:-1], np.diff(x)[1:]
    step = np.diff(rows, axis=-1) / np.diff(x)
    rise, fall = step[..., :-1], -step[..., 1:]
    # Of the parabola about each inner point: its slope there, and half its curvature, by divided differences.
    slope = (rise * right - fall * left) / (left + right)
    half_curvature = (rise + fall) / (left + right)
    # Its slope at the ends, upwards into the grid.
    first = step[..., :1] + half_curvature[..., :1] * left[0]
    last = -step[..., -1:] + half_curvature[..., -1:] * right[-1]
    slope = np.concatenate([first, slope, last], axis=-1)
    bent = np.concatenate(
        [half_curvature[..., :1], half_curvature, half_curvature[..., -1:]], axis=-1
    )
    highest = np.concatenate(
        [
            (step[..., :1] <= 0) & (first > 0),
            (rise >= 0) & (fall >= 0),
            (step[..., -1:] >= 0) & (last > 0),
        ],
        axis=-1,
    )
    highest &= bent > 0
    # The quotient is taken first: it is at most twice the distance of the neighbours, and the square might overflow.
    excess = slope * (slope / (4 * np.where(highest, bent, np.inf)))
    return np.asarray(np.maximum(whole, np.where(highest, rows + 2 * excess, -np.inf).max(axis=-1)))
