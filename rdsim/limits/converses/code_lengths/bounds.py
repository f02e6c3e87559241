r"""Which lengths of codewords are the best, certified: the concave hull of the excess of one codeword (C27).

With $F_\gamma(r)$ the excess $E_\gamma$ of a codeword of probability $q = 2^{-r}$, see `rdsim.limits.converses._half_spaces`, and
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
from rdsim.limits.converses.code_lengths.hulls import chords, tents
from rdsim.limits.converses.code_lengths.mixtures import Mixture, best_mixture

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
_STEP: Final = 0.1
"""Step of the grid of ln gamma on which mixtures are sought."""
_LOWEST: Final = -10.0
"""Least ln gamma of the grid: so small a threshold adds 5e-5 to the recall at most."""
_MOST_THRESHOLDS: Final = 400
"""Most values of that grid; where the range is larger the step is, and thresholds are sought between them."""
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

    def _best_mixture(self, recalls: Recalls, start: Mixture) -> Mixture:
        r = np.concatenate([part.r for part in self.parts])
        order = np.argsort(r)
        log_gamma = self._grid(recalls)
        excess = np.concatenate([part.excess(log_gamma) for part in self.parts], axis=1)[:, order]
        excess[:, -1] = 1.0
        return best_mixture(
            self.bits,
            recalls,
            r[order],
            log_gamma,
            excess,
            start,
            self.tolerance,
            in_q=self.fixed,
        )

    def _grid(self, recalls: Recalls) -> Reals:
        """Values of ln gamma: with one above the share's inverse the bound says nothing."""
        highest = max(-float(recalls.log_t.min()), 1.0)
        count = min(math.ceil((highest - _LOWEST) / _STEP), _MOST_THRESHOLDS)
        return np.linspace(_LOWEST, highest, count + 1)

    def _thresholds(self, recalls: Recalls, mixture: Mixture) -> Reals:
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
