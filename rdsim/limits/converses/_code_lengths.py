r"""Which lengths of codewords are the best, certified: the concave hull of what one codeword is worth (C27).

With $F_\gamma(r)$ what a codeword of probability $q = 2^{-r}$ is worth, see `_half_spaces`, and
$F = \sum_j w_j F_{\gamma_j}$ over the shares of a reward, codes of fixed length are worth at most
$2^R \mathrm{conv}(qF)(2^{-R})$ and codes of an entropy $\mathrm{conv}(F)(R)$, conv being the upper concave hull in q and
in r. A hull over finitely many lengths alone would be no bound: for correlations near one F rises within a small part of
a bit. So F is also bounded between neighbouring lengths. For a given list $qF$ is concave in q, and its slope there is
known (`CodewordTails.slopes`); two lines through the neighbours with the least and the largest of these slopes form a
tent above F, whose apex joins the points of which the hull is taken. Tents that raise the hull are halved.
"""

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from rdsim.information import LN2
from rdsim.limits.converses._recalls import Reals, Recalls
from rdsim.limits.converses._tails import CodewordTails, Edges, MakeTails

_LONGER: Final = np.geomspace(1e-3, 40.0, 57)
"""Bits by which the good codewords of a code of fixed length may exceed the mean length, to begin with. Longer ones
have a fraction of at most 2^-40 of the probability and count as certain to be found."""
_UNLIMITED: Final = np.geomspace(1e-3, 4000.0, 57)
"""The same for codes of an entropy: a fraction of 1/4000 of the bits may be spent on codewords as long as this."""
_SHORTER: Final = 24
"""Number of lengths below the mean, to begin with."""
_AT_ONCE: Final = 64
"""Number of tents that are halved together."""
_ROUNDS: Final = 40
"""Times that tents are halved at most: a cell then has 2^-40 of its first width."""
_SEARCHED: Final = 28
"""Number of lengths of good codewords that are tried first."""
_VALLEYS: Final = 2
"""Number of local minima among these around which the best length is sought more finely."""
_LIGHT: Final = 0.01
"""Shares that have a smaller fraction of all weight are joined with their neighbours while lengths are searched."""
_FEW: Final = 80
"""Number of shares, about, that are left for the first search."""
_MOST: Final = 600
"""Number of shares, at most about, of which a bound is certified; near correlation one more would be told apart."""
_TILTS: Final = (-0.5, 0.2)
"""Range of the powers of the share by which thresholds are tilted."""
_PART_OF_TILT: Final = 0.01
"""Accuracy to which the best of these powers is sought; the bound is flat there."""
_PART: Final = 0.02
"""Accuracy to which the best length is sought, in units of the distance of two lengths; the bound is flat there."""
_ROUGH: Final = 1e-6
"""Accuracy, as a fraction of all weight, to which a bound is certified where unequal codewords are the better ones."""
_SEARCHES: Final = 3
"""Times that thresholds are searched at most: each certificate adds lengths, with which the search is repeated."""


@dataclass(frozen=True)
class Codewords:
    """What codewords of one kind of source are worth.

    Attributes:
        tails: makes their tails, given the lengths r.
        sigma: standard deviation of the query given the item, both of unit variance.
        exactly: how much more unequal codewords may be worth where equal ones are reported as the best.

    """

    tails: MakeTails
    sigma: float
    exactly: float

    def joined(self, recalls: Recalls, bits: float) -> Recalls:
        """Join shares, but none that a codeword tells from one another unless there were too many."""
        nats = float(np.ptp(recalls.log_t))
        return recalls.joined(width=max(self._steep(bits) / 4, nats / _MOST))

    def thinned(self, recalls: Recalls, bits: float) -> Recalls:
        """Take few shares for all, while lengths are searched."""
        nats = float(np.ptp(recalls.log_t))
        return recalls.thinned(light=_LIGHT, width=max(self._steep(bits), nats / _FEW))

    def _steep(self, bits: float) -> float:
        """Nats of t within which the recall rises: sigma around the list's edge a, which is about b."""
        return self.sigma * math.sqrt(2 * LN2 * max(bits, 1.0))


class _Rows(NamedTuple):
    """Lengths in increasing order, what they are worth in all, and the slopes in each cell between them."""

    r: Reals  # shape (r,)
    worth: Reals  # F, shape (r,)
    edges: Edges
    lowest: Reals  # slope of qF in q, shape (r - 1,)
    highest: Reals


class CodeLengths:
    """The lengths at which the bound of a code of R bits is computed; more are added where they are needed."""

    def __init__(self, codewords: Codewords, bits: float, *, fixed: bool) -> None:
        self.codewords, self.bits, self.fixed = codewords, bits, fixed
        self.longer = bits + np.append(0.0, _LONGER if fixed else _UNLIMITED)
        shorter = bits - np.geomspace(bits, min(1e-3, bits / 2), _SHORTER)  # R > 0
        self.parts = [codewords.tails(np.append(shorter, self.longer))]

    def least(self, recalls: Recalls) -> float:
        """Minimise the bound over thresholds, which are those of good codewords of one length.

        Whatever the thresholds are, the bound holds. The best are searched on the lengths that are there; the bound is
        then certified, which adds lengths, and the search repeated with those.
        """
        best = float(recalls.weight.sum())
        if best == 0:
            return best
        for _ in range(_SEARCHES):
            log_gamma = self._search(recalls)
            before = self._value(log_gamma, recalls)
            tolerance = _ROUGH * float(recalls.weight.sum())
            bound = _given(log_gamma, recalls)
            bound += self.certified(log_gamma, recalls.weight, tolerance)[0]
            best = min(best, bound)
            if bound - before <= 2 * tolerance:
                break
        return best

    def _value(self, log_gamma: Reals, recalls: Recalls) -> float:
        """The bound of some thresholds on the lengths that are there."""
        return _given(log_gamma, recalls) + self._roughly(log_gamma, recalls.weight)

    def _search(self, recalls: Recalls) -> Reals:
        """Return ln of thresholds that give about the least value on the lengths that are there.

        They are those of good codewords of one length, sought in steps on few shares and by Brent's method on all of them
        around the lowest of these; then, for the shares differ in the length that suits them, times a power of the share.
        """
        place = np.arange(self.longer.size, dtype=float)

        def at_length(at: float, log_t: Reals) -> Reals:
            return self.thresholds(float(np.interp(at, place, self.longer)), log_t)

        few = self.codewords.thinned(recalls, self.bits)
        coarse = np.linspace(0.0, place[-1] - 1, _SEARCHED)
        values = np.array([self._value(at_length(float(at), few.log_t), few) for at in coarse])
        around = np.pad(values, 1, constant_values=np.inf)
        valleys = np.flatnonzero((values <= around[:-2]) & (values <= around[2:]))
        found = [
            minimize_scalar(
                lambda at: self._value(at_length(float(at), recalls.log_t), recalls),
                bounds=(coarse[max(i - 2, 0)], coarse[min(i + 2, coarse.size - 1)]),
                method="bounded",
                options={"xatol": _PART},
            )
            for i in valleys[np.argsort(values[valleys])][:_VALLEYS]
        ]
        best = min(found, key=lambda one: float(one.fun))
        log_gamma = at_length(float(best.x), recalls.log_t)
        if recalls.log_t.size == 1:
            return log_gamma
        tilt = recalls.log_t - recalls.weight @ recalls.log_t / recalls.weight.sum()
        tilted = minimize_scalar(
            lambda power: self._value(log_gamma + power * tilt, recalls),
            bounds=_TILTS,
            method="bounded",
            options={"xatol": _PART_OF_TILT},
        )
        return log_gamma + float(tilted.x) * tilt if tilted.fun < best.fun else log_gamma

    def thresholds(self, r: float, log_t: Reals) -> Reals:
        """Ln of the likelihood ratios at which good codewords of length r >= R fill their lists.

        Codewords that hold a mass c of the items have lists of share t/c of the database to themselves; the rest
        have one junk codeword, whose list is empty.
        """
        if self.fixed:
            mass = math.expm1(-self.bits * LN2) / math.expm1(-r * LN2) * 2.0 ** (self.bits - r)
        else:
            mass = self.bits / r
        return self.parts[0].log_ratio(r, np.minimum(log_t - math.log(mass), -1e-12))

    def exceed_equal(self, recalls: Recalls) -> bool:
        """Whether unequal codewords may be worth more than those of R bits each, at the thresholds of these."""
        log_gamma, exactly = self.thresholds(self.bits, recalls.log_t), self.codewords.exactly
        equal = self.codewords.tails(np.array([self.bits])).worth(log_gamma)
        most = float((recalls.weight @ equal)[0]) + exactly
        return self.certified(log_gamma, recalls.weight, exactly, most)[0] > most

    def _roughly(self, log_gamma: Reals, weight: Reals) -> float:
        """The hull over the lengths that are there."""
        r = np.concatenate([part.r for part in self.parts])
        worth = np.concatenate([weight @ part.worth(log_gamma) for part in self.parts])
        order = np.argsort(r)
        return self._hull(r[order], _closed(worth[order], weight))[0]

    def certified(
        self, log_gamma: Reals, weight: Reals, tolerance: float, most: float = math.inf
    ) -> tuple[float, float]:
        """Bound the hull over all lengths, from above, and from below, by the lengths that are there.

        To a tolerance, or until the hull is known to lie above `most`.
        """
        rows = self._rows(log_gamma, weight)
        upper, added = math.inf, []
        for _ in range(_ROUNDS):
            at, height = tents(rows.r, rows.worth, rows.lowest, rows.highest, in_q=self.fixed)
            lower = self._hull(rows.r, rows.worth)[0]
            r = np.append(rows.r, at)
            order = np.argsort(r, kind="stable")
            found, through = self._hull(r[order], np.append(rows.worth, height)[order])
            upper = min(upper, found)
            if upper - lower <= tolerance or lower > most:
                break
            by_tent = np.empty(r.size)
            by_tent[order] = through
            by_tent = by_tent[rows.r.size :]
            cells = np.flatnonzero(by_tent > lower + 0.5 * tolerance)
            cells = np.sort(cells[np.argsort(-by_tent[cells])][:_AT_ONCE])
            middle = 0.5 * (rows.r[cells] + rows.r[cells + 1])
            new = (middle > rows.r[cells]) & (middle < rows.r[cells + 1])
            if not new.any():
                break
            tails = self.codewords.tails(middle[new])
            added.append(tails)
            rows = self._halved(rows, cells[new], tails, log_gamma, weight)
        self.parts += added
        return upper, lower

    def _rows(self, log_gamma: Reals, weight: Reals) -> _Rows:
        r = np.concatenate([part.r for part in self.parts])
        order = np.argsort(r)
        worth = np.concatenate([weight @ part.worth(log_gamma) for part in self.parts])[order]
        each = [part.edges(log_gamma) for part in self.parts]
        codeword = np.concatenate([one.codeword for one in each])[order]
        listed = np.concatenate([one.listed for one in each], axis=-1)[:, order]
        edges = Edges(codeword, listed)
        slopes = self.parts[0].slopes(
            log_gamma, edges.at(slice(None, -1)), edges.at(slice(1, None))
        )
        lowest, highest = (weight @ one for one in slopes)
        return _Rows(r[order], _closed(worth, weight), edges, lowest, highest)

    def _halved(
        self,
        rows: _Rows,
        cells: NDArray[np.intp],
        tails: CodewordTails,
        log_gamma: Reals,
        weight: Reals,
    ) -> _Rows:
        """Divide cells at the lengths of new codewords, one in each."""
        edges = tails.edges(log_gamma)
        left, right = rows.edges.at(cells), rows.edges.at(cells + 1)
        below = [weight @ one for one in tails.slopes(log_gamma, left, edges)]
        above = [weight @ one for one in tails.slopes(log_gamma, edges, right)]
        slopes = []
        for old, low, high in zip((rows.lowest, rows.highest), below, above, strict=True):
            old = old.copy()
            old[cells] = low
            slopes.append(np.insert(old, cells + 1, high))
        at = cells + 1
        return _Rows(
            np.insert(rows.r, at, tails.r),
            np.insert(rows.worth, at, weight @ tails.worth(log_gamma)),
            Edges(
                np.insert(rows.edges.codeword, at, edges.codeword),
                np.insert(rows.edges.listed, at, edges.listed, axis=1),
            ),
            slopes[0],
            slopes[1],
        )

    def _hull(self, r: Reals, worth: Reals) -> tuple[float, Reals]:
        """The largest chord at R between points of increasing lengths; and the largest through each, shape of r."""
        first, last = np.searchsorted(r, self.bits), np.searchsorted(r, self.bits, side="right")
        short, long = slice(0, last), slice(first, r.size)
        chord = chords(self.bits, r[long], worth[long], r[short], worth[short], in_q=self.fixed)
        through = np.full(r.size, -np.inf)
        through[long] = chord.max(axis=1)
        through[short] = np.maximum(through[short], chord.max(axis=0))
        return float(chord.max()), through


def fixed_length(
    codewords: Codewords, bits: float, recalls: Recalls, equal: float
) -> tuple[float, bool]:
    """Bound the reward of codewords of R bits each, separate encoders.

    Args:
        codewords: what codewords of any length are worth.
        bits: R.
        recalls: the reward as a mean of recalls.
        equal: the reward of equal codewords.

    Returns:
        The bound, and whether unequal codewords may pass equal ones; where they may not, those give the bound.

    """
    lengths = CodeLengths(codewords, bits, fixed=True)
    joined = codewords.joined(recalls, bits)
    # Equal codewords are proved the best on the very shares whose mean is reported; joined ones say quickly where not.
    if any(lengths.exceed_equal(shares) for shares in (joined, recalls)):
        return lengths.least(joined), True
    return equal + codewords.exactly, False


def entropy(codewords: Codewords, bits: float, recalls: Recalls) -> float:
    """Bound the reward of codewords of R bits on average, separate encoders."""
    return CodeLengths(codewords, bits, fixed=False).least(codewords.joined(recalls, bits))


def _given(log_gamma: Reals, recalls: Recalls) -> float:
    """What thresholds cost: the mean of the shares times gamma."""
    return float(recalls.weight @ np.exp(recalls.log_t + log_gamma))


def _closed(worth: Reals, weight: Reals) -> Reals:
    """Count the longest codewords as certain, and with them those of any greater length.

    A longer one that is certain lies, in q, between one of no probability and the longest; in r its chord lies lower.
    """
    return np.append(worth[:-1], weight.sum())


def chords(
    bits: float,
    long: Reals,
    worth_of_long: Reals,
    short: Reals,
    worth_of_short: Reals,
    *,
    in_q: bool,
) -> Reals:
    r"""What is worth a mixture of long and short codewords of R bits, shape (long, short).

    In q their mass is $\sum q = 1$ at $2^R$ codewords: with $x = 2^{R-r} \le 1$ of a long one and $u = 2^{r-R} \le 1$ of a
    short one, $\frac{(1-u)\,x F_{long} + (1-x) F_{short}}{1 - xu}$. Nothing overflows, however many bits there are.
    """
    more, less = (long - bits)[:, None], bits - short
    if not in_q:
        width = more + less
        share = np.where(width > 0, less / np.where(width > 0, width, 1.0), 1.0)
        return share * worth_of_long[:, None] + (1 - share) * worth_of_short
    whole = -np.expm1(-(more + less) * LN2)
    apart = whole > 0
    whole = np.where(apart, whole, 1.0)
    mass = np.where(apart, -np.expm1(-less * LN2) * np.exp2(-more) / whole, 1.0)
    rest = np.where(apart, -np.expm1(-more * LN2) / whole, 0.0)
    return mass * worth_of_long[:, None] + rest * worth_of_short


def tents(
    r: Reals, worth: Reals, lowest: Reals, highest: Reals, *, in_q: bool
) -> tuple[Reals, Reals]:
    r"""Lengths and heights of the apexes of lines above F between neighbouring lengths, shape (.., r - 1).

    With D the slope of $qF$ in q, $F \le D + (F_0 - D) 2^{r - r_0}$ with the lowest D from the shorter codeword and
    $F \le D + (F_1 - D) 2^{r - r_1}$ with the highest D from the longer one, for F rises with r and D is no larger than F:
    lines in q, and in $1/q$. In r the slope of F is $(F - D) \ln 2$.
    """
    short, long, width = worth[..., :-1], worth[..., 1:], np.diff(r)
    if in_q:
        highest = np.minimum(highest, long)
        lowest = np.minimum(np.minimum(lowest, short), highest)
        spread = highest - lowest
        whole = (
            spread + (short - long) + (short - lowest) * np.expm1(np.minimum(width * LN2, 700.0))
        )
        part = np.where(whole > 0, spread / np.where(whole > 0, whole, 1.0), 1.0)
        part = np.clip(part, np.exp2(-width), 1.0)  # 2^(r - r_1)
        # An apex a thousand bits away is put at the shorter length, where it is worth more.
        near = part > 1e-290
        at = np.where(near, r[1:] + np.log2(np.where(near, part, 1.0)), r[:-1])
        return at, highest + (long - highest) * part
    steepest = LN2 * np.maximum(long - lowest, 0.0)
    flattest = LN2 * np.maximum(short - highest, 0.0)
    spread = steepest - flattest
    place = (long - short - flattest * width) / np.where(spread > 0, spread, 1.0)
    place = np.clip(np.where(spread > 0, place, width), 0.0, width)
    return r[:-1] + place, np.minimum(short + steepest * place, long)
