r"""Which lengths of codewords are the best, certified: the concave hull of the excess of one codeword (C27).

With $F_\gamma(r)$ the excess $E_\gamma$ of a codeword of probability $q = 2^{-r}$, see `_half_spaces`, and
$F = \sum_j w_j F_{\gamma_j}$ over the shares of a reward, codes of fixed length have an excess of at most
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

from rdsim.information import LN2
from rdsim.limits.converses._recalls import Reals, Recalls
from rdsim.limits.converses._tails import CodewordTails, Edges, MakeTails

_LONGER: Final = 1e-3, 40.0
"""Bits by which the good codewords of a code of fixed length may exceed the mean length, to begin with. Longer ones
have a fraction of at most 2^-40 of the probability and count as certain to be found."""
_UNLIMITED: Final = 1e-3, 4000.0
"""Least and largest such excess for codes of an entropy: at the cost of one bit on average a codeword may be as long as the largest
with a probability of 1/4000."""


class _Fineness(NamedTuple):
    """How finely a bound is computed.

    Attributes:
        longer: number of lengths above the mean, to begin with.
        shorter: number of those below.
        weight: fraction of all weight that shares have which are joined with their neighbours.
        width: largest difference of ln t of these, as a part of that within which the recall rises.

    """

    longer: int
    shorter: int
    weight: float
    width: float


_FINE: Final = _Fineness(57, 24, 2e-3, 0.25)
_COARSE: Final = _Fineness(25, 8, 2e-2, 0.5)
"""Joining so many shares loosens a bound by some 5e-4 (measured)."""
COARSELY: Final = 1e-4
"""Tolerance from which on a bound is computed coarsely."""
_AT_ONCE: Final = 64
"""Number of tents that are halved together."""
_ROUNDS: Final = 40
"""Times that tents are halved at most: a cell then has 2^-40 of its first width."""
_MOST_LENGTHS: Final = 500
"""Lengths from which on none are added. At the best thresholds many lengths may have the same excess, and all cells between them
would have to be halved: a bound is then looser by up to 1e-5, not by its tolerance."""
_MOST: Final = 600
"""Number of shares, at most about, of which a bound is certified; near correlation one more would be told apart."""
_TRIED: Final = 2, 8
"""Every second length above R, and every eighth below, makes the pairs among which the best mixture is first sought."""
_STEP: Final = 0.1
"""Step of the grid of ln gamma on which mixtures are sought."""
_LOWEST: Final = -10.0
"""Least ln gamma of the grid: so small a threshold adds 5e-5 to the recall at most."""
_MOST_THRESHOLDS: Final = 400
"""Most values of that grid; where the range is larger the step is, and thresholds are sought between them."""
_PARTS: Final = 0.5 ** np.arange(12)
"""Parts of the way to a better pair of lengths that are tried."""
_FRANK_WOLFE_STEPS: Final = 60
"""Most steps of Frank and Wolfe's method in the search for the best mixture."""
_NEAR: Final = 1e-5
"""Distance of the two sides of the search, as a fraction of all weight, at which it ends: the bound is flat there."""
_APART: Final = 1e-3
"""Distance of the two sides, as a fraction of all weight, at which the search ends where no step is better. Near correlation
one the excess of a codeword has kinks in gamma, at which a mixture of one pair stays while the sides are up to .5 apart."""
_SEARCHES: Final = 3
"""Times that thresholds are searched at most: each certificate adds lengths, with which the search is repeated."""


def fineness(tolerance: float) -> _Fineness:
    """How finely a bound of such a tolerance is computed."""
    return _FINE if tolerance < COARSELY else _COARSE


@dataclass(frozen=True)
class Codewords:
    """Codewords of one kind of source, by what is needed to bound their excess.

    Attributes:
        tails: makes their tails, given the lengths r.
        sigma: standard deviation of the query given the item, both of unit variance.
        exactly: how much larger the excess of unequal codewords may be where equal ones are reported as the best.

    """

    tails: MakeTails
    sigma: float
    exactly: float

    def joined(self, recalls: Recalls, bits: float, tolerance: float) -> Recalls:
        """Join shares, but none that a codeword tells from one another unless there were too many."""
        fine, nats = fineness(tolerance), float(np.ptp(recalls.log_t))
        return recalls.joined(fine.weight, max(fine.width * self._steep(bits), nats / _MOST))

    def _steep(self, bits: float) -> float:
        """Nats of t within which the recall rises: sigma around the list's edge a, which is about b."""
        return self.sigma * math.sqrt(2 * LN2 * max(bits, 1.0))


class _Rows(NamedTuple):
    """Lengths in increasing order, their excess over all shares, and the slopes in each cell between them."""

    r: Reals  # shape (r,)
    excess: Reals  # F, shape (r,)
    edges: Edges
    lowest: Reals  # slope of qF in q, shape (r - 1,)
    highest: Reals


class Mixture(NamedTuple):
    """Lengths of codewords, and the probability that an item has each."""

    r: Reals
    mass: Reals


class CodeLengths:
    """The lengths at which the bound of a code of R bits is computed; more are added where they are needed."""

    def __init__(self, codewords: Codewords, bits: float, *, fixed: bool, tolerance: float) -> None:
        self.codewords, self.bits, self.fixed, self.tolerance = codewords, bits, fixed, tolerance
        fine = fineness(tolerance)
        self.longer = bits + np.append(
            0.0, np.geomspace(*(_LONGER if fixed else _UNLIMITED), fine.longer)
        )
        shorter = bits - np.geomspace(bits, min(1e-3, bits / 2), fine.shorter)  # R > 0
        self.parts = [codewords.tails(np.append(shorter, self.longer))]

    def least(self, recalls: Recalls) -> float:
        """Minimise the bound over thresholds.

        Whatever the thresholds are, the bound holds. The best are searched on the lengths that are there; the bound is
        then certified, which adds lengths, and the search goes on with those from the mixture that it ended with.
        """
        best = float(recalls.weight.sum())
        if best == 0:
            return best
        # The certificate takes a third of the tolerance. Where it raises the hull on which the
        # thresholds were chosen by more than two thirds, these are searched again.
        allowed = self.tolerance * best / 3
        mixture = Mixture(np.zeros(0), np.zeros(0))
        for _ in range(_SEARCHES):
            mixture = self._best_mixture(recalls, mixture)
            log_gamma = self._thresholds(recalls, mixture)
            # The bound is sum_j w_j t_j gamma_j, for the lists of competitors, plus the hull of
            # the weighted excess.
            given = float(recalls.weight @ np.exp(recalls.log_t + log_gamma))
            before = self._roughly(log_gamma, recalls.weight)
            bound = self.certified(log_gamma, recalls.weight, allowed)[0]
            done = given + bound >= best or bound - before <= 2 * allowed
            best = min(best, given + bound)
            if done:
                break
        return best

    def _best_mixture(self, recalls: Recalls, start: "Mixture") -> "Mixture":
        r"""Return a mixture m of lengths, of the code's rate, that about maximises its excess.

        The bound is a saddle point, $\min_\gamma \max_m \sum_j w_j (t_j \gamma_j + \sum_r m_r F_{\gamma_j}(r))$, linear in
        m and convex in the thresholds: so the best thresholds are those of the mixture whose least over thresholds is
        the largest, a concave function of it. It is maximised by the method of Frank and Wolfe: the thresholds of a
        mixture name the pair of lengths of the largest excess at them, and the mixture goes a part of the way there.
        """
        r = np.concatenate([part.r for part in self.parts])
        order = np.argsort(r)
        r = r[order]
        log_gamma = self._grid(recalls)
        excess = np.concatenate([part.excess(log_gamma) for part in self.parts], axis=1)[:, order]
        excess[:, -1] = 1.0
        shares, gamma = np.exp(recalls.log_t), np.exp(log_gamma)
        # F is convex and decreasing in gamma: t gamma + m . F is least where the mixture's fall
        # has come down to t.
        falls = -np.diff(excess, axis=0) / np.diff(gamma)[:, None]

        def thresholds(falling: Reals) -> NDArray[np.intp]:
            """Numbers of the best thresholds, shape (mixtures, shares): F is convex in gamma, and falls by less than t beyond."""
            return np.stack([np.searchsorted(row, -shares) for row in -falling])

        def least_of(at: NDArray[np.intp], excess_at: Reals) -> Reals:
            """The least over thresholds of each mixture, from its excess at the best ones."""
            return np.asarray((shares * gamma[at] + excess_at) @ recalls.weight)

        def highest(mixtures: Reals) -> tuple[float, Reals]:
            """Return the one of these whose least over thresholds is the largest, and that."""
            at = thresholds(mixtures @ falls.T)
            least = least_of(at, np.take_along_axis(mixtures @ excess.T, at, axis=1))
            return float(least.max()), mixtures[int(least.argmax())]

        long, short = np.flatnonzero(r >= self.bits), np.flatnonzero(r <= self.bits)
        mass, rest = parts_of(self.bits, r[long], r[short], in_q=self.fixed)

        def pair(of_long: int, of_short: int) -> Reals:
            """The mixture of a long and a short length, by their numbers among these."""
            found = np.zeros(r.size)
            found[long[of_long]] += mass[of_long, of_short]
            found[short[of_short]] += rest[of_long, of_short]
            return found

        # A pair has two of the hundreds of lengths: the sums are taken over these two alone.
        # The start: the best pair among a subset of all pairs, found by evaluating every one of
        # them.
        of_long, of_short = np.indices(mass.shape)[:, :: _TRIED[0], :: _TRIED[1]].reshape(2, -1)
        first, second = long[of_long], short[of_short]
        of_first, of_second = mass[of_long, of_short, None], rest[of_long, of_short, None]
        at = thresholds(of_first * falls.T[first] + of_second * falls.T[second])
        each = least_of(
            at, of_first * excess[at, first[:, None]] + of_second * excess[at, second[:, None]]
        )
        best_pair = int(each.argmax())
        least, mixture = float(each[best_pair]), pair(of_long[best_pair], of_short[best_pair])
        if start.r.size:
            before = np.zeros(r.size)
            before[np.searchsorted(r, start.r)] = start.mass
            of_before, _ = highest(before[None])
            if of_before > least:
                least, mixture = of_before, before
        near = max(_NEAR, self.tolerance / 4) * recalls.weight.sum()
        best, found = math.inf, mixture
        for step in range(_FRANK_WOLFE_STEPS):
            at = thresholds((mixture @ falls.T)[None])[0]
            known = recalls.weight @ excess[at]
            # The linearised problem of Frank and Wolfe: at the thresholds of the mixture the
            # excess is linear in it, and the best vertex is a pair of lengths. Its value bounds
            # the maximum from above, which gives the duality gap.
            chord = mass * known[long][:, None] + rest * known[short]
            bound = float(recalls.weight @ (shares * gamma[at]) + chord.max())
            if bound < best:
                best, found = bound, mixture
            if bound - least <= near:
                break
            goal = pair(*np.unravel_index(chord.argmax(), chord.shape))
            # Line search over a dozen halved step sizes at once.
            higher, ahead = highest(mixture + _PARTS[:, None] * (goal - mixture))
            if higher > least:
                least, mixture = higher, ahead
            elif best - least <= _APART * recalls.weight.sum():
                break
            else:
                # At a kink no part of the way is better. Steps that get shorter spread the mixture over lengths, which
                # smooths its excess.
                mixture = mixture + 2 / (step + 4) * (goal - mixture)
        return Mixture(r[found > 0], found[found > 0])

    def _grid(self, recalls: Recalls) -> Reals:
        """Values of ln gamma: with one above the share's inverse the bound says nothing."""
        highest = max(-float(recalls.log_t.min()), 1.0)
        count = min(math.ceil((highest - _LOWEST) / _STEP), _MOST_THRESHOLDS)
        return np.linspace(_LOWEST, highest, count + 1)

    def _thresholds(self, recalls: Recalls, mixture: "Mixture") -> Reals:
        """Find ln of the thresholds that are the best for a mixture, one for each share, by halved steps and a parabola."""
        tails = self.codewords.tails(mixture.r)
        certain = mixture.r == self.longer[-1]

        def value(log_gamma: Reals) -> Reals:
            excess = np.where(certain, 1.0, tails.excess(log_gamma))
            return np.asarray(np.exp(recalls.log_t + log_gamma) + excess @ mixture.mass)

        grid = self._grid(recalls)
        excess = np.where(certain, 1.0, tails.excess(grid)) @ mixture.mass
        log_gamma = grid[(np.exp(recalls.log_t[:, None] + grid) + excess).argmin(axis=1)]
        step = float(grid[1] - grid[0])
        here = value(log_gamma)
        while True:
            below, above = value(log_gamma - step), value(log_gamma + step)
            if step <= _STEP:
                # The last step is a parabola through three points, at most one grid step away.
                bent = np.maximum(below - 2 * here + above, 1e-300)
                return log_gamma + step * np.clip(0.5 * (below - above) / bent, -1.0, 1.0)
            step *= 0.5
            log_gamma = log_gamma + step * np.sign(
                np.minimum(below, here) - np.minimum(above, here)
            )
            here = value(log_gamma)

    def exceed_equal(self, recalls: Recalls) -> bool:
        """Whether unequal codewords may have a larger excess than those of R bits each, at the thresholds of these."""
        log_gamma = self.parts[0].log_ratio(self.bits, np.minimum(recalls.log_t, -1e-12))
        exactly = self.codewords.exactly
        equal = self.codewords.tails(np.array([self.bits])).excess(log_gamma)
        most = float((recalls.weight @ equal)[0]) + exactly
        return self.certified(log_gamma, recalls.weight, exactly, most)[0] > most

    def _roughly(self, log_gamma: Reals, weight: Reals) -> float:
        """The hull over the lengths that are there."""
        r = np.concatenate([part.r for part in self.parts])
        excess = np.concatenate([weight @ part.excess(log_gamma) for part in self.parts])
        order = np.argsort(r)
        return self._hull(r[order], _closed(excess[order], weight))[0]

    def certified(
        self, log_gamma: Reals, weight: Reals, tolerance: float, most: float = math.inf
    ) -> tuple[float, float]:
        """Bound the hull over all lengths, from above, and from below, by the lengths that are there.

        To a tolerance, until the hull is known to lie above `most`, or, where nothing is to be passed, for so many lengths.
        """
        rows = self._rows(log_gamma, weight)
        upper, added = math.inf, []
        for _ in range(_ROUNDS):
            at, height = tents(rows.r, rows.excess, rows.lowest, rows.highest, in_q=self.fixed)
            # The hull of the known points lies below the true hull, that with the apexes of the
            # tents above it: F lies below its tents. So the two enclose the bound, and tents that
            # decide are halved.
            lower = self._hull(rows.r, rows.excess)[0]
            r = np.append(rows.r, at)
            order = np.argsort(r, kind="stable")
            found, through = self._hull(r[order], np.append(rows.excess, height)[order])
            upper = min(upper, found)
            if upper - lower <= tolerance or lower > most:
                break
            if most == math.inf and rows.r.size >= _MOST_LENGTHS:
                break
            by_tent = np.empty(r.size)
            by_tent[order] = through
            by_tent = by_tent[rows.r.size :]
            # Only tents through which a chord passes that is higher than half the tolerance above
            # the lower bound matter; the highest are halved first.
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
        excess = np.concatenate([weight @ part.excess(log_gamma) for part in self.parts])[order]
        each = [part.edges(log_gamma) for part in self.parts]
        codeword = np.concatenate([one.codeword for one in each])[order]
        listed = np.concatenate([one.listed for one in each], axis=-1)[:, order]
        edges = Edges(codeword, listed)
        slopes = self.parts[0].slopes(
            log_gamma, edges.at(slice(None, -1)), edges.at(slice(1, None))
        )
        lowest, highest = (weight @ one for one in slopes)
        return _Rows(r[order], _closed(excess, weight), edges, lowest, highest)

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
            np.insert(rows.excess, at, weight @ tails.excess(log_gamma)),
            Edges(
                np.insert(rows.edges.codeword, at, edges.codeword),
                np.insert(rows.edges.listed, at, edges.listed, axis=1),
            ),
            slopes[0],
            slopes[1],
        )

    def _hull(self, r: Reals, excess: Reals) -> tuple[float, Reals]:
        """The largest chord at R between points of increasing lengths; and the largest through each, shape of r."""
        # A length of exactly R is both a long and a short one: with itself it makes the equal
        # code.
        first, last = np.searchsorted(r, self.bits), np.searchsorted(r, self.bits, side="right")
        short, long = slice(0, last), slice(first, r.size)
        chord = chords(self.bits, r[long], excess[long], r[short], excess[short], in_q=self.fixed)
        through = np.full(r.size, -np.inf)
        through[long] = chord.max(axis=1)
        through[short] = np.maximum(through[short], chord.max(axis=0))
        return float(chord.max()), through


def fixed_length(
    codewords: Codewords, bits: float, recalls: Recalls, equal: float, tolerance: float
) -> tuple[float, bool]:
    """Bound the reward of codewords of R bits each, separate encoders.

    Args:
        codewords: of any length.
        bits: R.
        recalls: the reward as a mean of recalls.
        equal: the reward of equal codewords.
        tolerance: of the bound, a fraction of all weight.

    Returns:
        The bound, and whether unequal codewords may pass equal ones; where they may not, those give the bound.

    """
    lengths = CodeLengths(codewords, bits, fixed=True, tolerance=tolerance)
    joined = codewords.joined(recalls, bits, tolerance)
    if tolerance >= COARSELY:
        # Whether equal codewords are the best is not asked: it takes longer than the bound.
        found = lengths.least(joined)
        return found, found > equal + tolerance
    # Equal codewords are proved the best on the very shares whose mean is reported; joined ones say quickly where not.
    if any(lengths.exceed_equal(shares) for shares in (joined, recalls)):
        return lengths.least(joined), True
    return equal + codewords.exactly, False


def entropy(codewords: Codewords, bits: float, recalls: Recalls, tolerance: float) -> float:
    """Bound the reward of codewords of R bits on average, separate encoders."""
    lengths = CodeLengths(codewords, bits, fixed=False, tolerance=tolerance)
    return lengths.least(codewords.joined(recalls, bits, tolerance))


def _closed(excess: Reals, weight: Reals) -> Reals:
    """Count the longest codewords as certain, and with them those of any greater length.

    A longer one that is certain lies, in q, between one of no probability and the longest; in r its chord lies lower.
    """
    return np.append(excess[:-1], weight.sum())


def chords(
    bits: float,
    long: Reals,
    excess_of_long: Reals,
    short: Reals,
    excess_of_short: Reals,
    *,
    in_q: bool,
) -> Reals:
    """Excess of a mixture of long and short codewords of R bits, shape (long, short)."""
    mass, rest = parts_of(bits, long, short, in_q=in_q)
    return mass * excess_of_long[:, None] + rest * excess_of_short


def parts_of(bits: float, long: Reals, short: Reals, *, in_q: bool) -> tuple[Reals, Reals]:
    r"""Probabilities of the long and of the short codewords in a mixture of R bits, shape (long, short) each.

    In q their mass is $\sum q = 1$ at $2^R$ codewords: with $x = 2^{R-r} \le 1$ of a long one and $u = 2^{r-R} \le 1$ of a
    short one, $\frac{(1-u)\,x F_{long} + (1-x) F_{short}}{1 - xu}$. Nothing overflows, however many bits there are, and no difference
    is lost to rounding: $1 - xu = (1-x) + x(1-u)$, so that exponentials are taken of lengths, not of pairs.
    """
    more, less = (long - bits)[:, None], bits - short
    if not in_q:
        width = more + less
        share = np.where(width > 0, less / np.where(width > 0, width, 1.0), 1.0)
        return share, 1 - share
    of_long, of_short = -np.expm1(-more * LN2), np.exp2(-more) * -np.expm1(-less * LN2)
    whole = of_long + of_short
    apart = whole > 0
    if not apart.all():  # a length of R with itself
        whole, of_short = np.where(apart, whole, 1.0), np.where(apart, of_short, 1.0)
    return of_short / whole, of_long / whole


def tents(
    r: Reals, excess: Reals, lowest: Reals, highest: Reals, *, in_q: bool
) -> tuple[Reals, Reals]:
    r"""Lengths and heights of the apexes of lines above F between neighbouring lengths, shape (.., r - 1).

    With D the slope of $qF$ in q, $F \le D + (F_0 - D) 2^{r - r_0}$ with the lowest D from the shorter codeword and
    $F \le D + (F_1 - D) 2^{r - r_1}$ with the highest D from the longer one, for F rises with r and D is no larger than F:
    lines in q, and in $1/q$. In r the slope of F is $(F - D) \ln 2$.
    """
    short, long, width = excess[..., :-1], excess[..., 1:], np.diff(r)
    if in_q:
        # The slopes are known up to rounding; cutting them to D <= F keeps the two lines of the
        # tent in order. The lowest slope belongs to the line from the shorter codeword, see the
        # docstring.
        highest = np.minimum(highest, long)
        lowest = np.minimum(np.minimum(lowest, short), highest)
        spread = highest - lowest
        whole = (
            spread + (short - long) + (short - lowest) * np.expm1(np.minimum(width * LN2, 700.0))
        )
        # Where the two lines cross: part = 2^(r - r_1) solves highest + (F_1 - highest) part =
        # lowest + (F_0 - lowest) 2^(r_1 - r_0) part, linear in it. The exponent is cut before it
        # overflows.
        part = np.where(whole > 0, spread / np.where(whole > 0, whole, 1.0), 1.0)
        part = np.clip(part, np.exp2(-width), 1.0)  # 2^(r - r_1)
        # An apex a thousand bits away is put at the shorter length, where the excess is larger.
        near = part > 1e-290
        at = np.where(near, r[1:] + np.log2(np.where(near, part, 1.0)), r[:-1])
        return at, highest + (long - highest) * part
    steepest = LN2 * np.maximum(long - lowest, 0.0)
    flattest = LN2 * np.maximum(short - highest, 0.0)
    spread = steepest - flattest
    place = (long - short - flattest * width) / np.where(spread > 0, spread, 1.0)
    place = np.clip(np.where(spread > 0, place, width), 0.0, width)
    return r[:-1] + place, np.minimum(short + steepest * place, long)
