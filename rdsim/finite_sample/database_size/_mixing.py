r"""How probable it is that a random item beats the target: its distribution over queries, from counts.

Query q is beaten by a random item with probability p_q, so that the number of N competitors ahead of its
target is Binomial(N, p_q). Down to a threshold the distribution of p is fitted without a form, by the
nonparametric maximum likelihood of a mixture (Kiefer and Wolfowitz 1956); below it, where few counts or
none tell, it has the form of one of several families in $x = \ln p$, two numbers each. With the share
$\pi$ of the mass below the threshold $p_0$, the family's numbers maximise

$$\sum_b h_b \ln\Big[ \sum_{p_j \ge p_0} g_j\, b(b; N, p_j) +
    \pi \int_{p < p_0} b(b; N, p)\, f_\theta(x \mid p < p_0)\, dx \Big],$$

h_b being the share of queries that b competitors beat.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from rdsim.ranking.subsets import hypergeometric

Reals = NDArray[np.float64]

# Counts up to _ONE_BY_ONE are kept one by one. Larger ones are grouped into classes, within which the logarithm
# of the count varies by at most _CLASS.
_ONE_BY_ONE: Final = 64
_CLASS: Final = 0.02
# The grid of ln p has steps of _STEP (a rank loss changes when ln p changes by about 1) down to _BELOW nats under
# ln(1/N). From there, where no count distinguishes p from zero, _CELLS geometric cells reach down to -_DEEPEST.
_STEP: Final = 0.1
_BELOW: Final = 8.0
_CELLS: Final = 60
_DEEPEST: Final = 2000.0
# Expected counts below which a parametric family takes over, and the largest threshold as a fraction of all competitors.
_THRESHOLDS: Final = (8, 64)
_LARGEST_SHARE: Final = 0.5
# The EM algorithm takes at most _ROUNDS steps. It stops when more mass on any one atom would raise the
# log-likelihood by at most _GAIN nats per query.
_ROUNDS: Final = 2000
_GAIN: Final = 1e-3
_SIMPLEX: Final = {"maxfev": 300, "xatol": 1e-3, "fatol": 1e-8}


class Counts(NamedTuple):
    """How many competitors are ahead of the targets: distinct numbers and the share of queries of each."""

    ahead: NDArray[np.int64]
    share: Reals
    competitors: int

    def among(self, sampled: int) -> "Counts":
        """Return the expected counts among so many of the competitors, drawn at random."""
        N, m = self.competitors, sampled
        numbers, shares = [], []
        for n, weight in zip(self.ahead, self.share, strict=True):
            # The hypergeometric distribution is summed to 8 standard deviations around its mean, and 12 more for the
            # few counts that are far from normal: what is left out is below 1e-14.
            far = 8 * math.sqrt(n * m / N * (1 - m / N)) + 12
            low = max(0, int(n) + m - N, math.floor(n * m / N - far))
            h = np.arange(low, min(int(n), m, math.ceil(n * m / N + far)) + 1)
            probability = hypergeometric(h, np.asarray(n), N, m)
            numbers.append(h)
            shares.append(weight * probability / probability.sum())
        return _grouped(np.concatenate(numbers), np.concatenate(shares), m)


def counts_of(
    ahead: NDArray[np.int64],
    tied: NDArray[np.int64],
    competitors: int,
    share: Reals | None = None,
) -> Counts:
    """Count the queries by the number ahead, ties broken at random: a query is shared among its places.

    Each query has the same share, unless they are given, in all one.
    """
    share = np.full(ahead.size, 1 / ahead.size) if share is None else share
    first = np.cumsum(tied) - tied
    places = np.arange(tied.sum()) - np.repeat(first - ahead, tied)
    return _grouped(places, np.repeat(share / tied, tied), competitors)


def _grouped(numbers: NDArray[np.int64], shares: Reals, competitors: int) -> Counts:
    """Put numbers that hardly differ into one class: a sample tells p no better than its count."""
    large = np.maximum(numbers, 1) / _ONE_BY_ONE
    middle = _ONE_BY_ONE * np.exp(_CLASS * np.round(np.log(large) / _CLASS))
    labels = np.where(large < 1, numbers, np.minimum(np.round(middle), competitors))
    distinct, place = np.unique(labels.astype(np.int64), return_inverse=True)
    return Counts(distinct, np.bincount(place, shares).astype(np.float64), competitors)


class Grid(NamedTuple):
    """Places of ln p, ascending to zero, and the widths of their cells."""

    log_p: Reals
    width: Reals


def grid(log_size: float) -> Grid:
    """Make a grid that is fine to a little under one in so many, and coarse below."""
    fine = -_STEP * np.arange(math.ceil((log_size + _BELOW) / _STEP) + 1)
    coarse = -np.geomspace(-fine[-1], max(_DEEPEST, -2 * fine[-1]), _CELLS + 1)[1:]
    edges = np.concatenate([fine, coarse])[::-1]
    return Grid(0.5 * (edges[1:] + edges[:-1]), np.diff(edges))


def likelihood(counts: Counts, log_p: Reals) -> Reals:
    """Binomial probabilities of the counts, a row each, at every p, as fractions of the largest of the row.

    A factor of a row does not change which distribution of p is the most likely. Without it, a count of many
    thousands, to which every place of the grid is farther than its standard deviation, would have probability zero
    everywhere; so it belongs to the nearest place.
    """
    b, N = counts.ahead.astype(float), counts.competitors
    log_rest = np.log(-np.expm1(log_p))
    log_likelihood = np.outer(b, log_p) + np.outer(N - b, log_rest)
    return np.asarray(np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True)))


def free_form(table: Reals, share: Reals) -> Reals:
    r"""Fit the masses of all atoms by the EM algorithm, which never lowers the likelihood.

    With f the probability of each count, $D_j = \sum_b h_b L_{bj} / f_b$ is the derivative of the mean
    log-likelihood in the mass of an atom: masses are multiplied by it, and max D - 1 bounds what the
    maximum can still gain, in nats per query.
    """
    mass = np.full(table.shape[1], 1 / table.shape[1])
    for _ in range(_ROUNDS):
        derivative = (share / (table @ mass)) @ table
        mass = mass * derivative
        if derivative.max() < 1 + _GAIN:
            break
    return mass / mass.sum()


# Each function below gives the logarithm of a density of x = ln p at two numbers a and b, up to a constant, for p below
# a threshold p_0; one family alone depends on ln p_0. A scale or a shape that must be positive is e^a or e^b, so
# that the search for a and b has no constraints.


def _normal(x: Reals, a: float, b: float, threshold: float) -> Reals:
    """Mean a and standard deviation e^b."""
    del threshold
    return -0.5 * ((x - a) * math.exp(-b)) ** 2


def _probit(x: Reals, a: float, b: float, threshold: float) -> Reals:
    """The normal quantile z of p has mean a and standard deviation e^b; dz/dx = p / phi(z)."""
    del threshold
    z = scipy.special.ndtri_exp(x)
    return np.asarray(-0.5 * ((z - a) * math.exp(-b)) ** 2 + x + 0.5 * z * z)


def _log_logistic(x: Reals, a: float, b: float, threshold: float) -> Reals:
    """The log-odds of p are logistic, with mean a and scale e^b."""
    del threshold
    log_rest = np.log(-np.expm1(x))
    z = (x - log_rest - a) * math.exp(-b)
    return np.asarray(-z - 2 * np.logaddexp(0.0, -z) - log_rest)


def _gamma(x: Reals, a: float, b: float, threshold: float) -> Reals:
    """-ln p has a gamma distribution of shape e^a and scale e^b."""
    del threshold
    return math.expm1(a) * np.log(-x) + x * math.exp(-b)


def _beta(x: Reals, a: float, b: float, threshold: float) -> Reals:
    """The probability p itself has a beta distribution of shapes e^a and e^b."""
    del threshold
    return math.exp(a) * x + math.expm1(b) * np.log(-np.expm1(x))


def _generalised_pareto(x: Reals, a: float, b: float, threshold: float) -> Reals:
    """The excess of -ln p over -ln p_0, of scale e^a and shape b: bounded for b < 0, exponential at b = 0."""
    if abs(b) < 1e-6:  # where the formula below would divide rounding by rounding
        return (x - threshold) * math.exp(-a)
    inside = 1 + b * (threshold - x) * math.exp(-a)
    return np.where(inside > 0, -(1 / b + 1) * np.log(np.maximum(inside, 1e-300)), -np.inf)


_Density = Callable[[Reals, float, float, float], Reals]
FAMILIES: Final[dict[str, tuple[_Density, tuple[float, float]]]] = {
    "normal in ln p": (_normal, (-6.0, 1.0)),
    "normal in probit p": (_probit, (-2.0, 0.0)),
    "log-logistic": (_log_logistic, (-6.0, 0.5)),
    "gamma": (_gamma, (1.0, 0.5)),
    "beta": (_beta, (-1.0, 1.0)),
    "generalised Pareto": (_generalised_pareto, (1.0, 0.05)),
}
"""Log densities of x = ln p, and the a and b at which the search for them starts."""


@dataclass(frozen=True)
class Mixing:
    """A fitted distribution of p: atoms down to a threshold, a family below it."""

    name: str
    family: str
    numbers: tuple[float, float]
    threshold: float  # ln p_0
    masses: Reals  # of atoms on the grid of the fit, zero below the threshold

    def mean(self, on_atoms: Reals, on_tail: Reals, at: Grid) -> float:
        """Average a function of p, given on the grid of the fit and on one that is deep enough."""
        tail = _tail(self.family, self.threshold, at)(*self.numbers)
        rest = 1 - float(self.masses.sum())
        return float(self.masses @ on_atoms + rest * (tail @ on_tail[at.log_p < self.threshold]))


def _tail(family: str, threshold: float, at: Grid) -> Callable[[float, float], Reals]:
    """Make a function of the family's two numbers: the probabilities of the cells below the threshold.

    A search calls it some hundred times. What depends on the cells alone is computed once.
    """
    below = at.log_p < threshold
    log_p, log_width = at.log_p[below], np.log(at.width[below])
    log_density = FAMILIES[family][0]

    def probabilities(a: float, b: float) -> Reals:
        log_mass = log_density(log_p, a, b, threshold) + log_width
        largest = log_mass.max()
        # Where the family has no density below the threshold the search turns away.
        if not math.isfinite(largest):
            raise FloatingPointError
        mass = np.exp(log_mass - largest)
        return np.asarray(mass / mass.sum())

    return probabilities


def fits(counts: Counts) -> list[Mixing]:
    """Fit every family, once to all of p and once below each threshold."""
    N = counts.competitors
    at = grid(math.log(N))
    table = likelihood(counts, at.log_p)
    # One fit without a form serves all thresholds: above each its masses are kept as they are.
    free = free_form(table, counts.share)
    found = []
    for expected in (*_THRESHOLDS, None):
        if expected is not None and expected > _LARGEST_SHARE * N:
            continue
        threshold = 0.0 if expected is None else math.log(expected / N)
        above = at.log_p >= threshold
        where = "" if expected is None else f", p < {expected}/M"
        for family in FAMILIES:
            numbers = _maximise(family, counts, table, free, threshold, at)
            masses = np.where(above, free, 0.0)
            found.append(Mixing(family + where, family, numbers, threshold, masses))
    return found


def _maximise(
    family: str, counts: Counts, table: Reals, free: Reals, threshold: float, at: Grid
) -> tuple[float, float]:
    """Search the family's two numbers by the simplex of Nelder and Mead; the likelihood is smooth."""
    above = at.log_p >= threshold
    fixed = table[:, above] @ free[above]
    rest = 1 - free[above].sum()
    below = table[:, ~above]
    tail = _tail(family, threshold, at)

    def cost(numbers: Reals) -> float:
        try:
            found = tail(float(numbers[0]), float(numbers[1]))
        except (FloatingPointError, OverflowError):
            return math.inf
        probability = fixed + rest * (below @ found)
        value = -float(counts.share @ np.log(np.maximum(probability, 1e-300)))
        return value if math.isfinite(value) else math.inf

    start = np.array(FAMILIES[family][1])
    # The cost may be infinite where a family has no density, which a method of derivatives would not survive.
    with np.errstate(all="ignore"):
        found = scipy.optimize.minimize(cost, start, method="Nelder-Mead", options=_SIMPLEX)
    return float(found.x[0]), float(found.x[1])
