r"""What a codeword can tell about directions: caps are the best decoding regions, for each dimension n (C27).

The item is uniform on $S^{n-1}$ and the density of the query decreases with the angle from it. Of all sets of given
probabilities caps around one pole then maximise $P(X \in A, Y \in B)$ (Baernstein and Taylor 1976), as half-spaces do
for normal pairs, and of all A of one probability a cap maximises the mean of a convex function of $P(A|Y)$.

A place is said by its normal score: z, if the cap that ends there has the probability $P(Z > z)$ of a standard normal
variable. Both scores x and y of a pair are then standard normal, and their density against that of independent
ones is $G(x, y)$, the mean of `rdsim.sources.sphere.caps`; of many dimensions it is that of a normal pair. So the bounds
of `_half_spaces` and `_information` hold with this pair. $\ln G$ is smooth: it is tabulated once a source.
"""

import functools
import math
from typing import Final

import jax.numpy as jnp
import numpy as np
import scipy

from rdsim.information import LN2
from rdsim.limits.converses import _information
from rdsim.limits.converses._information import Items, Lines
from rdsim.limits.converses._recalls import Recalls
from rdsim.limits.converses._tails import Edges
from rdsim.limits.converses.code_lengths import Codewords
from rdsim.ranking.loss import RankLoss
from rdsim.ranking.sphere import CodewordAngles, QueryAngles, losses
from rdsim.sources import SphericalSource
from rdsim.sources.sphere import caps
from rdsim.sources.sphere.caps import Reals
from rdsim.sources.sphere.gauss import gauss_rule

_NODES: Final = 10
"""Least number of Gauss nodes for the item's place in a cap; they suffice where the query's density is smooth."""
_NODES_OF_SLOPE: Final = 6
"""Nodes per unit of rho/sigma: the query's density given the item is as narrow as sigma/rho."""
_STEEPEST: Final = 25.0
"""Largest rho/sigma, that of the correlation .9992: for steeper pairs caps are not computed."""
_CELLS: Final = 480
"""Cells of the query's score, which ranges over at least 18 standard deviations."""
_LOWEST: Final = -9.0
"""Least score in the table: a fraction of 1e-19 of all places has a lower one."""
_HIGHEST: Final = 45.0
"""Highest score in the table, that of a codeword of 1460 bits; a longer one counts as the item itself."""
_SAME: Final = 1e-4
"""An item whose angle from the pole has a smaller sine than this over the concentration is treated as the pole."""
_STEP: Final = 0.1
"""Step of the scores in the table."""
_MOST: Final = 240
"""Most steps in the table; where more would be needed the step is longer, and the table's error is checked."""
_SMOOTH: Final = 5
"""Degree of the spline of ln G; for a normal pair ln G is a polynomial of degree 2, and the spline is exact."""
_WRONG: Final = 1e-6
"""Largest error of ln G, where the query lies with any probability, at which the table is used."""
_LEFT_OUT: Final = 40.0
"""The query's density is cut where it has fallen by so many nats below its maximum."""
_POLE: Final = CodewordAngles(np.array([-300.0]), np.ones(1))
"""The codeword of an item that is known exactly."""
_IN_A_CELL: Final = np.polynomial.legendre.leggauss(4)
"""Gauss and Legendre's nodes and weights of one cell of an integral."""
_MOST_CELLS: Final = 3000
"""Most cells of an integral over the score of a query, whatever the width of its density."""
_EXACTLY: Final = 1e-6
"""By how much unequal codewords may pass equal ones where those are reported as the best."""
ROUNDING: Final = 4e-6
"""Added to every reward: more than what the splines of the density can lose, 2e-6 in all, plus `_EXACTLY`."""


class _Pair:
    """Scores x of a query and y of its item, and ln of their density against that of independent ones."""

    def __init__(self, source: SphericalSource) -> None:
        self.n, self.mixture = source.dimension, source.mixture()
        # Items nearer to the pole than this are not told from it.
        least = math.log(_SAME) - max(float(self.mixture[0].max()), 0.0)
        log_cap = float(caps.log_cap(self.n, np.asarray(min(least, -1.0))))
        self.highest = min(max(-float(scipy.special.ndtri_exp(log_cap)), 9.0), _HIGHEST)
        # The table ends where, given the item nearest to the pole, the query's density has become
        # negligible.
        x = np.linspace(0.0, self.highest + 12.0, 120)
        density = self._exactly(x, np.array([self.highest]))[:, 0] + scipy.special.log_ndtr(-x)
        likely = x[density > -_LEFT_OUT]
        self.x, self.y = _grid(max(float(likely[-1]), 9.0) + 0.5), _grid(self.highest)
        table = self._exactly(self.x, self.y)
        self.spline = scipy.interpolate.RectBivariateSpline(
            self.x, self.y, table, kx=_SMOOTH, ky=_SMOOTH, s=0
        )
        self.smooth = self._error(table) < _WRONG
        self.slope = math.inf
        if self.smooth:
            y = np.linspace(-3.0, min(self.highest, 6.0), 60)
            # The slope of the normal score of P(X > a|y) in y, which is rho/sigma for normal
            # pairs, says how steep the pair is.
            slopes = self.tails(np.array([0.0, 1.5, 3.0]), y, dy=1)
            self.slope = float(np.abs(slopes).max())

    def _exactly(self, x: Reals, y: Reals) -> Reals:
        theta, tau = (_place(self.n, z) for z in (x, y))
        return caps.log_dependence(self.n, *self.mixture, theta[:, None], tau)

    def _error(self, table: Reals) -> float:
        """Largest error of the table between its points, where the query's density is within e^-25 of its maximum.

        A dozen columns and two dozen rows are looked at: the error of a spline varies slowly.
        """
        y = 0.5 * (self.y[1:] + self.y[:-1])[:: max(self.y.size // 12, 1)]
        x = 0.5 * (self.x[1:] + self.x[:-1])
        density = self.spline(x, y) - 0.5 * x[:, None] ** 2
        x = x[(density > density.max(axis=0) - 25.0).any(axis=1)]
        x = x[:: max(x.size // 24, 1)]
        density = self.spline(x, y) - 0.5 * x[:, None] ** 2
        near = density > density.max(axis=0) - 25.0
        wrong = np.abs(self.spline(x, y) - self._exactly(x, y))
        return float(wrong[near].max()) if np.isfinite(table).all() else math.inf

    def log_ratio(self, x: Reals, y: Reals) -> Reals:
        """Ln G at increasing scores of queries and items, shape (x, y)."""
        return np.asarray(self.spline(x, np.minimum(y, self.highest)))

    @functools.cached_property
    def tails(self) -> "scipy.interpolate.RectBivariateSpline":
        """The normal score of P(X > a|y), which is (rho y - a)/sigma for normal pairs, over a and y."""
        y = self.y
        middle = self.x[:, None]
        density = np.exp(self.log_ratio(self.x, y) - 0.5 * middle**2)
        # The narrowest density among all items decides how fine the cells of the integral must
        # be.
        density /= density.sum(axis=0)
        mean = (middle * density).sum(axis=0)
        # At least a third of a cell is counted: the grid may be wider than the density.
        width = np.sqrt(((middle - mean) ** 2 * density).sum(axis=0)).min()
        width = max(float(width), float(self.x[1] - self.x[0]) / 3)
        cells = min(math.ceil((self.x[-1] - self.x[0]) / (0.4 * width)), _MOST_CELLS)
        edges = np.linspace(self.x[0], self.x[-1], cells + 1)
        nodes, weights = _IN_A_CELL
        half = 0.5 * (edges[1] - edges[0])
        at = ((edges[:-1] + half)[:, None] + half * nodes).ravel()
        mass = np.exp(self.log_ratio(at, y) - 0.5 * at[:, None] ** 2)
        mass = (mass.reshape(cells, nodes.size, -1) * (half * weights)[:, None]).sum(axis=1)
        zero = np.zeros((1, y.size))
        # Tails are summed from their own end, so that each keeps its relative accuracy, and the
        # smaller one gives the score: the other is one up to rounding.
        above = np.concatenate([np.cumsum(mass[::-1], axis=0)[::-1], zero])
        below = np.concatenate([zero, np.cumsum(mass, axis=0)])
        left, right = (
            scipy.special.ndtri_exp(np.log(np.clip(part / (above + below), 1e-300, 0.6)))
            for part in (above, below)
        )
        return scipy.interpolate.RectBivariateSpline(
            edges, y, np.where(above < below, left, -right), s=0
        )


def _grid(highest: float) -> Reals:
    return np.linspace(_LOWEST, highest, min(math.ceil((highest - _LOWEST) / _STEP), _MOST) + 1)


def _place(n: int, z: Reals) -> Reals:
    """The place psi of a score: opposite places have opposite scores."""
    psi = caps.angle_of_cap(n, scipy.special.log_ndtr(-np.abs(z)))
    return np.where(z >= 0, psi, -psi)


@functools.lru_cache(maxsize=16)
def _pair(kind: str, n: int, parameter: float) -> _Pair:
    return _Pair(SphericalSource(parameter=jnp.asarray(parameter), dimension=n, kind=kind))


def _pair_of(source: SphericalSource) -> _Pair:
    return _pair(source.kind, source.dimension, float(source.parameter))


class CapTails:
    """The recall of caps, for codewords that are caps of several probabilities 2^-r, shape (r,)."""

    def __init__(self, source: SphericalSource, r: Reals) -> None:
        self.r = np.asarray(r, float)
        key = source.kind, source.dimension, float(source.parameter)
        self.pair, self._row = _pair(*key), functools.partial(_row, *key)
        self.rows = [self._row(float(one)) for one in self.r]

    def recall(self, log_t: Reals) -> Reals:
        """Return C_r(t) for the first codeword, at shares of the database."""
        return self.rows[0].beyond(-scipy.special.ndtri_exp(log_t))

    def excess(self, log_gamma: Reals) -> Reals:
        r"""Return $\max_s C_r(s) - \gamma s$, shape of gamma followed by (r,).

        The best cap ends where the density of the query against a uniform one is gamma.
        """
        found = []
        for row in self.rows:
            a = row.where(log_gamma)
            found.append(row.beyond(a) - np.exp(log_gamma + scipy.special.log_ndtr(-a)))
        return np.maximum(np.stack(found, axis=-1), 0.0)

    def edges(self, log_gamma: Reals) -> Edges:
        r"""Return the lengths r, and $\ln \gamma q$: the best list ends at the score a with $P(Y > b \mid X = a) = \gamma q$."""
        return Edges(self.r, log_gamma[..., None] - self.r * LN2)

    def slopes(self, log_gamma: Reals, shorter: Edges, longer: Edges) -> tuple[Reals, Reals]:
        r"""Bound $d(q F_\gamma)/dq = P(X > a | Y = b) - \gamma P(X > a)$ between shorter and longer codewords.

        The end a of the best list need not lie between those of the two codewords: with more bits it falls from that of
        an empty list and rises again with b. But it increases with b and with $\gamma q$, each of which does.
        """
        cells = zip(
            shorter.codeword, longer.codeword, shorter.listed.T, longer.listed.T, strict=True
        )
        near, far = [], []
        for short, long, most, least in cells:
            # The end increases with b and with gamma q: its least value in the cell is that at
            # the shorter codeword's b and the longer one's gamma q, its largest that at these
            # exchanged.
            near.append(self._row(float(short)).where(least + short * LN2))
            far.append(self._row(float(long)).where(most + long * LN2, empty=math.inf))
        nearest, farthest = np.stack(near, axis=-1), np.stack(far, axis=-1)
        low, high = (
            np.clip(-scipy.special.ndtri_exp(-one.codeword * LN2), _LOWEST, self.pair.highest)
            for one in (shorter, longer)
        )
        gamma = log_gamma[..., None]
        lowest = self._seen(farthest, low) - np.exp(gamma + scipy.special.log_ndtr(-nearest))
        highest = self._seen(nearest, high) - np.exp(gamma + scipy.special.log_ndtr(-farthest))
        return lowest, highest

    def _seen(self, a: Reals, b: Reals) -> Reals:
        """Return P(X > a | Y = b) for scores, broadcast together."""
        a, b = np.broadcast_arrays(a, b)
        return np.asarray(scipy.special.ndtr(self.pair.tails.ev(a, b)))

    def log_ratio(self, r: float, log_t: Reals) -> Reals:
        """Ln of the density at the end of the cap of share t, for a codeword of r bits, by the nearest row."""
        row = self.rows[int(np.argmin(np.abs(self.r - r)))]
        return row.log_density_ratio(-scipy.special.ndtri_exp(log_t))


class _Row:
    """The query's score given that the item lies in a cap: its distribution, and its density's ratio."""

    def __init__(self, pair: _Pair, r: float) -> None:
        self.pair = pair
        nodes = max(_NODES, math.ceil(_NODES_OF_SLOPE * pair.slope))
        self.items, self.weight = items_in_cap(r, nodes)
        grid = pair.x
        log_density = self._log_ratio(grid) - 0.5 * grid**2
        # The row's own grid spans where the query's density is within e^-40 of its maximum.
        likely = np.flatnonzero(log_density > log_density.max() - _LEFT_OUT)
        ends = grid[max(likely[0] - 1, 0)], grid[min(likely[-1] + 1, grid.size - 1)]
        self.x = np.linspace(*ends, _CELLS + 1)
        log_ratio = self._log_ratio(self.x)
        # The likelihood ratio increases with the score; rounding is taken off, since it is
        # inverted by interpolation.
        self.log_ratio = np.maximum.accumulate(log_ratio)
        density = _normal_density(self.x, log_ratio)
        # The antiderivative of a cubic spline: 480 cells of a smooth density leave an error
        # within ROUNDING.
        self.distribution = scipy.interpolate.CubicSpline(self.x, density).antiderivative()

    def _log_ratio(self, x: Reals) -> Reals:
        """Ln of the mean of G over the items of the cap."""
        each = self.pair.log_ratio(x, self.items)
        most = each.max(axis=1)
        return np.asarray(most + np.log(np.exp(each - most[:, None]) @ self.weight))

    def beyond(self, a: Reals) -> Reals:
        """Probability that the query lies in the cap that ends at a score."""
        place = np.clip(a, self.x[0], self.x[-1])
        whole = float(self.distribution(self.x[-1]))
        return np.asarray(np.clip(whole - self.distribution(place), 0.0, 1.0))

    def where(self, log_ratio: Reals, empty: float | None = None) -> Reals:
        """Score at a density ratio, which increases; beyond the table its end, or what is given for an empty list."""
        return np.asarray(np.interp(log_ratio, self.log_ratio, self.x, right=empty))

    def log_density_ratio(self, a: Reals) -> Reals:
        """Ln of the density ratio at scores."""
        return np.asarray(np.interp(a, self.x, self.log_ratio))

    def nodes(self, cells: int) -> tuple[Reals, Reals]:
        """Return scores of queries and their probabilities."""
        edges = np.linspace(self.x[0], self.x[-1], cells + 1)
        nodes, weights = _IN_A_CELL
        half = 0.5 * (edges[1] - edges[0])
        x = ((edges[:-1] + half)[:, None] + half * nodes).ravel()
        return x, np.tile(half * weights, cells) * _normal_density(x, self._log_ratio(x))


def _normal_density(x: Reals, log_ratio: Reals) -> Reals:
    """The density of a score whose ratio to the standard normal one is known."""
    return np.asarray(np.exp(log_ratio - 0.5 * x**2) / math.sqrt(2 * math.pi))


@functools.lru_cache(maxsize=4096)
def _row(kind: str, n: int, parameter: float, r: float) -> _Row:
    return _Row(_pair(kind, n, parameter), r)


@functools.lru_cache(maxsize=4096)
def items_in_cap(r: float, nodes: int) -> tuple[Reals, Reals]:
    """Scores of a uniform item in a cap of probability 2^-r, increasing, and their probabilities."""
    # Given the cap, the part u of its probability that lies nearer to the pole is uniform: ln u in the middle of cells of
    # .02, down to e^-40. The nodes are those of Gauss for these points.
    log_u = -np.linspace(0.0, 40.0, 2001)[1:] + 0.01
    log_c = log_u - r * LN2
    log_odds = log_c - np.log(-np.expm1(log_c))
    found, weight = gauss_rule(log_odds, np.exp(log_u), nodes)
    scores = -scipy.special.ndtri_exp(-np.logaddexp(0.0, -found))
    order = np.argsort(scores)
    return scores[order], (weight / weight.sum())[order]


class CapItems(Items):
    """P(A|Y = y) for caps A that end at scores a."""

    reach = math.inf

    def __init__(self, pair: _Pair, a: Reals) -> None:
        self.pair = pair
        sigma = 1 / math.sqrt(1 + pair.slope**2)
        super().__init__(math.sqrt((1 - sigma) * (1 + sigma)), a)

    def _inside(self, y: Reals) -> Reals:
        edge = self.pair.x[-1]
        found = self.pair.tails(np.clip(self.a, None, edge), np.minimum(y, self.pair.highest))
        # Nothing lies beyond the table but what the loosening counts.
        return np.asarray(np.where(self.a[:, None] > edge, 0.0, scipy.special.ndtr(found)))


def covers(source: SphericalSource) -> bool:
    """Say whether the table of the density, and the nodes of items, are as exact as the loosening says."""
    return _pair_of(source).slope <= _STEEPEST


def information(source: SphericalSource, bits: Reals, log_t: Reals) -> list[Lines]:
    """Bound the recall of codes of R bits of information, joint encoders too, for several R."""
    return _information.information(functools.partial(CapItems, _pair_of(source)), bits, log_t)


def codewords(source: SphericalSource) -> Codewords:
    """Caps."""
    sigma = 1 / math.sqrt(1 + _pair_of(source).slope ** 2)
    return Codewords(functools.partial(CapTails, source), sigma, _EXACTLY)


def equal_codewords(source: SphericalSource, bits: float, recalls: Recalls) -> float:
    """Return the reward of caps of probability 2^-R, which no equal codewords exceed."""
    return float(recalls.weight @ CapTails(source, np.array([bits])).recall(recalls.log_t))


def loss_of_equal_codewords(
    source: SphericalSource, size: float, loss: RankLoss, bits: float
) -> float:
    """Average the loss over the query of an item in a cap, ranked among uniform competitors (one encoder)."""
    row = CapTails(source, np.array([bits])).rows[0]
    # The loss is as steep as the score, about sqrt(size).
    x, probability = row.nodes(_CELLS * math.ceil(math.sqrt(size / 16)))
    return float(probability @ losses(size, loss, scipy.special.log_ndtr(-x)))


def loss_of_whole_items(source: SphericalSource, size: float, loss: RankLoss) -> float:
    """Return the least loss of items stored whole: exact up to quadrature, whose error is taken off."""
    found = QueryAngles(source, _POLE).mean(np.array([size]), loss)
    return float(min(found.fine[0], found.coarse[0]))
