r"""What a word can tell, for Gaussian pairs: half-spaces are the best decoding regions (C27).

Query X and item Y are standard normal vectors of any dimension whose coordinates have correlation
$\rho$. A codeword of probability q is at best a half-space {Y > b_q}, and a list of share t of the
database at best a half-space {X > a} (Borell 1985), so that every quantity below is one integral over
one bivariate normal pair. With gamma a threshold on the likelihood ratio,

$$F_\gamma(r) = \max_a\, P(X > a \mid Y > b_q) - \gamma P(X > a), \qquad q = 2^{-r},$$

is what a word of r bits is worth, and for every gamma >= 0 the recall of a share t is at most

- fixed length: $t\gamma + 2^R \,\mathrm{conv}(q F_\gamma(\log_2 1/q))$ at $q = 2^{-R}$;
- entropy: $t\gamma + \mathrm{conv}(F_\gamma)$ at R;
- information: $t\gamma + \lambda R \ln 2 + \sup_a \{\lambda \ln E\, e^{P(X>a|Y)/\lambda}
  - \gamma P(X>a)\}$ for every $\lambda > 0$,

conv being the upper concave hull. Each bound is a line in t, valid at every t, so that finitely many
lines bound the recall at all shares, and with it every rank loss.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_ndtr, ndtr, ndtri_exp

from rdsim.limits._supporting_lines import lower_hull

Reals = NDArray[np.float64]

_LN2: Final = math.log(2.0)
_REACH: Final = 13.0  # standard deviations of a unit normal beyond which less than 1e-38 lies
CELLS: Final = 208  # cells of X in a table: an eighth of a standard deviation wide
_IN_A_CELL: Final = np.polynomial.legendre.leggauss(8)  # exact to rounding in so narrow a cell
_AT_ONCE: Final = 256  # thresholds
_LONGER: Final = np.append(0.0, np.geomspace(1e-3, 40.0, 399))
"""Bits by which the good words of a code may exceed the mean length: 2^-40 of the mass is left then.
Their number less one is a multiple of seven, for every seventh may be taken."""
FEWER_LONGER: Final = _LONGER[::7]
_UNLIMITED: Final = np.append(0.0, np.geomspace(1e-3, 4000.0, 399))
"""The same for codes of an entropy, of whose words a share of 1/4000 may be as long as this."""
FEWER_UNLIMITED: Final = _UNLIMITED[::7]


class Tails:
    r"""P(X > a | Y > b_q) for words of several lengths r = log2 1/q, exact to about 1e-14.

    Given Y > b the density of X is $\phi(x) \Phi((\rho x - b)/\sigma)/q$: analytic, of a width below
    one. It is integrated once in cells by Gauss and Legendre's rule; a tail is a sum of cells and a part
    of one. All densities are in the log domain, so that r may be hundreds of bits.
    """

    def __init__(self, correlation: float, r: Reals) -> None:
        self.rho, self.r = correlation, np.asarray(r, float)
        self.sigma = math.sqrt((1 - correlation) * (1 + correlation))
        self.log_q = -self.r * _LN2
        self.b = -ndtri_exp(self.log_q)
        mean = np.exp(-0.5 * self.b**2 - 0.5 * math.log(2 * math.pi) - self.log_q)
        self.left = correlation * mean - _REACH
        self.width = 2 * _REACH / CELLS
        cell = np.stack([weight.sum(axis=1) for _, weight in map(self.nodes, range(self.r.size))])
        zero = np.zeros((self.r.size, 1))
        self.below = np.concatenate([zero, np.cumsum(cell, axis=1)], axis=1)
        self.above = np.concatenate([np.cumsum(cell[:, ::-1], axis=1)[:, ::-1], zero], axis=1)

    def nodes(self, row: int, cells: int = CELLS) -> tuple[Reals, Reals]:
        """Return points of X given Y > b, shape (cells, nodes), and their probabilities."""
        nodes, weights = _IN_A_CELL
        width = 2 * _REACH / cells
        middle = self.left[row] + width * (np.arange(cells) + 0.5)
        x = middle[:, None] + 0.5 * width * nodes
        return x, 0.5 * width * weights * self._density(x, np.intp(row))

    def _density(self, x: Reals, row: NDArray[np.intp] | np.intp) -> Reals:
        log_normal = -0.5 * x * x - 0.5 * math.log(2 * math.pi)
        seen = log_ndtr((self.rho * x - self.b[row]) / self.sigma)
        return np.asarray(np.exp(log_normal + seen - self.log_q[row]))

    def exceed(self, a: Reals, row: NDArray[np.intp]) -> Reals:
        """Return P(X > a | Y > b) for thresholds a and rows of the table, broadcast together."""
        a, row = np.broadcast_arrays(a, row)
        place = np.clip((a - self.left[row]) / self.width, 0.0, CELLS)
        cell = np.minimum(place.astype(int), CELLS - 1)
        share = place - cell
        nodes, weights = _IN_A_CELL

        # The side of the mean on which less lies is integrated: it has its relative accuracy.
        right = place > 0.5 * CELLS
        low, high = np.where(right, share, 0.0), np.where(right, 1.0, share)
        middle, half = 0.5 * (low + high)[..., None], 0.5 * (high - low)[..., None]
        x = self.left[row][..., None] + self.width * (cell[..., None] + middle + half * nodes)
        part = self.width * half[..., 0] * (self._density(x, row[..., None]) @ weights)
        whole = np.where(right, self.above[row, cell + 1], self.below[row, cell])
        tail = np.clip(whole + part, 0.0, 1.0)
        return np.asarray(np.where(right, tail, 1 - tail))

    def log_ratio(self, r: float, log_t: Reals) -> Reals:
        """Ln of the likelihood ratio at the edge of the list of share t, for a word of r bits."""
        b, a = -ndtri_exp(-r * _LN2), -ndtri_exp(log_t)
        return np.asarray(log_ndtr((self.rho * a - b) / self.sigma) + r * _LN2)

    def worth(self, log_gamma: Reals) -> Reals:
        r"""Return $F_\gamma(r)$, shape of gamma followed by (r,).

        The best a is where the likelihood ratio $P(Y > b | X = a)/q$ is gamma. Many thresholds are taken
        in turn, for the nodes of a cell multiply the memory.
        """
        if log_gamma.size > _AT_ONCE:
            parts = np.array_split(log_gamma, math.ceil(log_gamma.size / _AT_ONCE))
            return np.concatenate([self.worth(part) for part in parts])
        level = log_gamma[..., None] + self.log_q
        reached = level < 0
        a = (self.b + self.sigma * ndtri_exp(np.where(reached, level, -1.0))) / self.rho
        row = np.broadcast_to(np.arange(self.r.size), a.shape)
        gain = self.exceed(a, row) - np.exp(log_gamma[..., None] + log_ndtr(-a))
        return np.asarray(np.where(reached, np.maximum(gain, 0.0), 0.0))


class WordTails(Protocol):
    """What words of several lengths r are worth, for one kind of source."""

    r: Reals

    def worth(self, log_gamma: Reals) -> Reals:
        """Return the largest recall less gamma times its share, shape of gamma followed by (r,)."""
        ...

    def log_ratio(self, r: float, log_t: Reals) -> Reals:
        """Ln of the likelihood ratio at the edge of the list of share t, for a word of r bits."""
        ...


MakeTails = Callable[[Reals], WordTails]
"""Makes the tails of words of the lengths r."""


@dataclass(frozen=True)
class Recalls:
    """A reward as a mean of recalls: the sum of weight times the recall of a list of share t.

    Attributes:
        log_t: ln of the shares, shape (T,).
        weight: of each, positive, shape (T,).

    """

    log_t: Reals
    weight: Reals


def equal_words(correlation: float, bits: float, recalls: Recalls) -> float:
    """Return the reward of half-spaces of probability 2^-R, which no equal words exceed."""
    tails = Tails(correlation, np.array([bits]))
    found = tails.exceed(-ndtri_exp(recalls.log_t), np.zeros(recalls.log_t.shape, int))
    return float(recalls.weight @ found)


class _FixedLength:
    r"""Words of R bits each: $2^R \mathrm{conv}(\varphi_\gamma)(2^{-R})$, $\varphi(q) = q F(\log_2 1/q)$.

    phi is concave where it increases and ends at q = 1 in (1 - gamma)+, so its hull at 2^-R is phi
    itself or lies on a chord from a smaller q, that of the good words, to q = 1, one junk word that
    takes the rest. Rows: the good word's excess length, 0 being the equal words.
    """

    def __init__(self, tails: MakeTails, bits: float, longer: Reals) -> None:
        self.tails = tails(bits + longer)
        left = -np.expm1(-self.tails.r * _LN2)  # 1 - q
        self.mass = -np.expm1(-bits * _LN2) / left * np.exp2(-longer)  # of items with a good word
        self.junk = -np.expm1(-longer * _LN2) / left  # 2^R times the share of words that are junk

    def values(self, log_gamma: Reals, weight: Reals) -> Reals:
        """Return 2^R phi along the chords, summed over the recalls, shape of the rows."""
        end = float(weight @ np.maximum(-np.expm1(log_gamma), 0.0))
        return np.asarray(self.mass * (weight @ self.tails.worth(log_gamma)) + self.junk * end)


class _Entropy:
    """Words of any lengths, R bits on average: the upper concave hull of F at R.

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
        long[-1] = weight.sum()  # no longer word is worth more
        return np.asarray((1 - self.share) * short[:, None] + self.share * long).max(axis=0)


def fixed_length(correlation: float, bits: float, recalls: Recalls) -> tuple[float, bool]:
    """Bound the reward of words of R bits each, separate encoders.

    Returns:
        The bound, and whether unequal words may pass `equal_words`; where they may not, that is the
        bound, and exact.

    """
    equal = equal_words(correlation, bits, recalls)
    return hulled(partial(Tails, correlation), bits, recalls, equal)


def hulled(
    tails: MakeTails, bits: float, recalls: Recalls, equal: float, longer: Reals = _LONGER
) -> tuple[float, bool]:
    """Bound the reward of words of R bits each, from that of equal words; say whether the hull passes it."""
    problem = _FixedLength(tails, bits, _rows(recalls, longer))
    rows = problem.values(_thresholds(problem, 0.0, recalls.log_t), recalls.weight)
    if rows.argmax() == 0:
        return equal, False
    return _tightest(problem, recalls), True


def entropy(correlation: float, bits: float, recalls: Recalls) -> tuple[float, bool]:
    """Bound the reward of words of R bits on average, separate encoders; words may be unequal."""
    return averaged(partial(Tails, correlation), bits, recalls), True


def averaged(tails: MakeTails, bits: float, recalls: Recalls, longer: Reals = _UNLIMITED) -> float:
    """Bound the reward of words of R bits on average."""
    return _tightest(_Entropy(tails, bits, _rows(recalls, longer)), recalls)


def _rows(recalls: Recalls, longer: Reals) -> Reals:
    """Excess lengths to look at: fewer where many shares are, whose mean is smoother."""
    return longer if min(recalls.log_t.size, longer.size // 8) <= 8 else longer[::7]


def _thresholds(problem: "_FixedLength | _Entropy", row: float, log_t: Reals) -> Reals:
    """Ln of the likelihood ratios at which good words of a length, between rows too, fill their lists.

    Words that hold a mass c of the items have lists of share t/c of the database to themselves.
    """
    i = min(int(row), problem.tails.r.size - 2)
    part = row - i
    r = (1 - part) * problem.tails.r[i] + part * problem.tails.r[i + 1]
    c = (1 - part) * problem.mass[i] + part * problem.mass[i + 1]
    log_share = np.minimum(log_t - math.log(c), -1e-12)
    return problem.tails.log_ratio(float(r), log_share)


def _tightest(problem: "_FixedLength | _Entropy", recalls: Recalls) -> float:
    """Minimise the bound over thresholds, which are those of good words of one length.

    Whatever the thresholds are, the bound holds. It is minimised over the length on the rows and then,
    by golden section, between them.
    """

    def bound(row: float) -> float:
        log_gamma = _thresholds(problem, row, recalls.log_t)
        rows = problem.values(log_gamma, recalls.weight)
        given = float(recalls.weight @ np.exp(recalls.log_t + log_gamma))
        return given + float(rows.max()) + 2 * float(between(rows))

    coarse = np.arange(0, problem.tails.r.size - 1, 8)
    found = [bound(float(row)) for row in coarse]
    best = int(np.argmin(found))
    ends = coarse[max(best - 1, 0)], coarse[min(best + 1, coarse.size - 1)]
    refined = minimize_scalar(bound, bounds=ends, method="bounded", options={"maxiter": 20})
    return min(float(refined.fun), min(found), float(recalls.weight.sum()))


def between(rows: Reals) -> Reals:
    """By how much a smooth function may exceed its largest value on a grid: as a parabola does."""
    i = rows.argmax(axis=-1)
    inside = (i > 0) & (i < rows.shape[-1] - 1)
    j = np.clip(i, 1, rows.shape[-1] - 2)[..., None]
    a, b, c = (np.take_along_axis(rows, j + k, axis=-1)[..., 0] for k in (-1, 0, 1))
    curvature = 2 * b - a - c  # at least |a - c|, for b is the largest
    bent = inside & (curvature > 0)
    return np.asarray(np.where(bent, (a - c) ** 2 / (8 * np.where(bent, curvature, 1.0)), 0.0))


@dataclass(frozen=True)
class Lines:
    """Bounds of the recall at a share t of the database, each a line in t: at most t gamma + height.

    Attributes:
        log_t: shares for which the lines were chosen, ln t, increasing, shape (T,).
        log_gamma: ln of the slopes, shape (T,).
        height: value at t = 0, shape (T,).

    """

    log_t: Reals
    log_gamma: Reals
    height: Reals

    def at(self, log_t: Reals) -> Reals:
        """Return the lower of the two lines chosen for the neighbouring shares: a bound at any share."""
        right = np.clip(np.searchsorted(self.log_t, log_t), 0, self.log_t.size - 1)
        left = np.maximum(right - 1, 0)
        both = [np.exp(log_t + self.log_gamma[i]) + self.height[i] for i in (left, right)]
        return np.asarray(np.clip(np.minimum(*both), 0.0, 1.0))


LEAST_MULTIPLIER: Final = 3e-4
"""Least lambda, recall a nat. At a smaller one the integrals need finer steps, and the bound says nothing
below thousands of bits."""
_MULTIPLIERS: Final = np.geomspace(0.02, 2.0, 20)
"""Values of lambda that are tried first, times the nats: the best one spends a part of the recall on them."""
_FINER: Final = 24  # values tried between the neighbours of the best ones
_STEP: Final = 0.1  # of the thresholds a, standard deviations
_PARTS: Final = 24  # of a step, around the thresholds where a line touches; two for many shares
_STEP_OF_ITEMS: Final = 0.2
"""Step of the points over the root of lambda and the width of P(X > a|Y = y), sigma/rho. The integrand, the
exponential of that probability over lambda, is as narrow as a third of it: the trapezoidal rule is then exact to
rounding."""
_LARGEST_STEP: Final = 0.4  # of the points: the rule is exact for the normal density, to e^-120


class Items:
    """P(X > a | Y = y) at thresholds a, on points y of halved steps as small multipliers need them.

    The probabilities are the same for every multiplier, so that they are computed once a step.
    """

    def __init__(self, correlation: float, a: Reals) -> None:
        self.rho, self.a = correlation, a
        self.sigma = math.sqrt((1 - correlation) * (1 + correlation))
        self.step = _STEP_OF_ITEMS * self.sigma / correlation
        self._seen: dict[float, tuple[Reals, Reals, Reals]] = {}

    def usefulness(self, multiplier: float) -> Reals:
        r"""Return $\lambda \ln E\, e^{P(X>a|Y)/\lambda}$ by the trapezoidal rule over items, shape of a."""
        y, log_normal, seen = self._points(self.step * math.sqrt(multiplier))
        # Beyond the second end a share of exp(-40) is left, even if every item there is found.
        end = int(np.searchsorted(y, math.sqrt(2 / multiplier + 80.0)))
        exponent = seen[:, :end] / multiplier
        exponent += log_normal[:end]
        highest = exponent.max(axis=1, keepdims=True)
        exponent -= highest
        np.exp(exponent, out=exponent)
        return np.asarray(multiplier * (np.log(exponent.sum(axis=1)) + highest[:, 0]))

    def _points(self, largest: float) -> tuple[Reals, Reals, Reals]:
        step = _LARGEST_STEP * 0.5 ** max(math.ceil(math.log2(_LARGEST_STEP / largest)), 0)
        if step not in self._seen:
            high = min(
                max(float(self.a.max()), 6.0) / self.rho + 10.0,
                math.sqrt(2 * (2 * self.step / step) ** 2 + 80.0),
            )
            y = np.arange(-9.0, high, step)
            log_normal = -0.5 * y * y - 0.5 * math.log(2 * math.pi) + math.log(step)
            self._seen[step] = y, log_normal, self._inside(y)
        return self._seen[step]

    def _inside(self, y: Reals) -> Reals:
        """P(X > a | Y = y), shape (a, y)."""
        return np.asarray(ndtr((self.rho * y - self.a[:, None]) / self.sigma))


def information(items: Callable[[Reals], Items], bits: Reals, log_t: Reals) -> list[Lines]:
    """Bound the recall of any code of R bits of information an item, joint encoders too, for several R.

    For each lambda the largest over half-spaces is the upper concave hull of
    U(s) = lambda ln E exp(P(X > a_s|Y)/lambda) over shares s, less a line; gamma is the slope of the
    hull at t. Whatever lambda and gamma are, the bound holds.

    Args:
        items: makes P(X > a|Y) at thresholds a.
        bits: R, shape (bits,).
        log_t: ln of shares, increasing, shape (T,).

    """
    highest = max(1.0 - float(ndtri_exp(log_t.min())), 6.0)
    coarse = items(np.arange(-6.0, highest, _STEP))
    return [_information(items, coarse, float(R), log_t) for R in bits]


def _information(
    items: Callable[[Reals], Items], coarse: Items, bits: float, log_t: Reals
) -> Lines:
    """The lines at one number of bits."""
    parts = _PARTS if log_t.size <= 8 else 2
    around = _STEP * np.arange(-parts, parts + 1) / parts

    def supports(multiplier: float, finely: bool) -> tuple[Reals, Reals]:
        """Touching lines: found on the coarse thresholds, and again on fine ones where they touch."""
        a, useful = coarse.a, coarse.usefulness(multiplier)
        touched = _corners(useful, log_ndtr(-a), log_t)
        if finely:
            fine = np.setdiff1d(np.add.outer(a[np.unique(touched)], around), a)
            order = np.argsort(np.concatenate([a, fine]))
            more = items(fine).usefulness(multiplier)
            a = np.concatenate([a, fine])[order]
            useful = np.concatenate([useful, more])[order]
            touched = _corners(useful, log_ndtr(-a), log_t)
        log_shares = log_ndtr(-a)
        left, right = touched
        # Slopes are as large as the database: differences of shares are taken in the log domain.
        log_gamma = np.log(useful[right] - useful[left]) - log_shares[right]
        log_gamma -= np.log(-np.expm1(log_shares[left] - log_shares[right]))
        above = useful - np.exp(log_gamma[:, None] + log_shares)
        return log_gamma, above.max(axis=1) + 2 * between(above)

    best, chosen = np.full(log_t.size, np.inf), np.ones(log_t.size)
    gamma, height = np.zeros(log_t.size), np.zeros(log_t.size)
    multipliers = np.maximum(_MULTIPLIERS / max(bits * _LN2, 0.1), LEAST_MULTIPLIER)
    for finely in (False, True):
        for multiplier in np.unique(multipliers):
            log_gamma, above = supports(float(multiplier), finely)
            above = above + multiplier * bits * _LN2
            value = np.exp(log_t + log_gamma) + above
            better = value < best
            best, chosen = np.where(better, value, best), np.where(better, multiplier, chosen)
            gamma, height = np.where(better, log_gamma, gamma), np.where(better, above, height)
        ratio = _MULTIPLIERS[1] / _MULTIPLIERS[0]
        least = max(chosen.min() / ratio, LEAST_MULTIPLIER)
        multipliers = np.geomspace(least, chosen.max() * ratio, _FINER)
    return Lines(log_t, gamma, height)


def _corners(useful: Reals, log_shares: Reals, log_t: Reals) -> NDArray[np.intp]:
    """Places of the two corners of the upper concave hull of U(s) around each share t, shape (2, T)."""
    corners = lower_hull(np.exp(log_shares - log_t.min()), -useful)
    right = np.clip(np.searchsorted(log_shares[corners], log_t), 1, corners.size - 1)
    return np.stack([corners[right - 1], corners[right]])
