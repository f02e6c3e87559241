r"""P(X > a | Y > b) of one bivariate normal pair: how often a codeword's list finds the query (C27).

A codeword of r bits is a half-space {Y > b} of probability $q = 2^{-r}$, a list of share t of the database a
half-space {X > a} of probability t.
"""

import math
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
import scipy
from numpy.polynomial import legendre
from numpy.typing import NDArray

from rdsim.information import LN2
from rdsim.limits.converses._recalls import Reals

_REACH: Final = 9.0
"""Distance from the mean beyond which less than 3e-18 of a density lies that falls off no more slowly than a normal one."""
_CELL: Final = 0.5
"""Width of the cells of a table."""
_CELLS: Final = round(2 * _REACH / _CELL)
_DEGREE: Final = 12
"""Degree of the tail as a polynomial in a cell; that of the density is one less."""
_IN_A_CELL: Final = legendre.leggauss(_DEGREE)
"""Nodes and weights of Gauss and Legendre's rule."""
_NODES: Final = 40_000
"""Nodes that are in memory together while a table is made."""
_WIDEST: Final = 0.125
"""Width of the cells of X in `query_nodes`, but for those around the rise of the density."""
_FARTHEST: Final = 13.0
"""Standard deviations of a unit normal beyond which less than 1e-38 of it lies: those cells end there."""
_STEPS: Final = 10
"""Cells of width sigma/rho on either side of where the density rises, if that is narrower than a cell."""
_IN_A_NARROW_CELL: Final = legendre.leggauss(8)
"""Nodes and weights that are exact to rounding in so narrow a cell."""


def _antiderivative() -> Reals:
    """Matrix from the values of a density at the nodes to its integral from -1 on, by powers, shape (degree + 1, nodes).

    The polynomial through the nodes has Legendre coefficients that are sums over them (Gauss's rule is exact for its
    products), and of each Legendre polynomial the integral is known.
    """
    nodes, weights = _IN_A_CELL
    order = np.arange(nodes.size)
    coefficients = (order + 0.5)[:, None] * (
        legendre.legvander(nodes, nodes.size - 1) * weights[:, None]
    ).T
    # Integral of each Legendre polynomial from -1, written in powers of the place, for Horner's
    # rule later.
    powers = [legendre.leg2poly(legendre.legint(row, lbnd=-1)) for row in np.eye(nodes.size)]
    return (
        np.stack([np.pad(row, (0, nodes.size + 1 - row.size)) for row in powers], axis=1)
        @ coefficients
    )


_ANTIDERIVATIVE: Final = _antiderivative()


class Edges(NamedTuple):
    """Where codewords of several lengths and their best lists end, for several thresholds gamma.

    Attributes:
        codeword: what says where codewords end, increasing, shape (r,): b with P(Y > b) = 2^-r for normal pairs.
        listed: what says together with b where the best list ends, shape of gamma followed by (r,).

    """

    codeword: Reals
    listed: Reals

    def at(self, rows: NDArray[np.intp] | slice) -> "Edges":
        """Return the edges of some of the codewords."""
        return Edges(self.codeword[rows], self.listed[..., rows])


class Tails:
    r"""P(X > a | Y > b_q) for codewords of several lengths r = log2 1/q, exact to about 1e-14.

    Let $Y = \rho X - \sigma Z$ with independent X and Z. A list ends at $a = (b + \sigma z)/\rho$ where the likelihood ratio
    is $\gamma = \Phi(z)/q$, and integration by parts gives

    $$P(X > a \mid Y > b) = P(Z > z \mid Y > b) + \gamma P(X > a),$$

    so that $F_\gamma = P(Z > z \mid Y > b)$. One of V = X and V = -Z has a correlation $\kappa \le 1/\sqrt 2$ with Y, and
    its density given Y > b, $\phi(v)\, \Phi((\kappa v - b)/\sqrt{1-\kappa^2})/q$, is a mean over Y of normal densities of
    variance $1 - \kappa^2 \ge 1/2$: nowhere narrower, whatever the correlation is. In each cell, of half a width
    h = 1/4, the density is replaced by the polynomial through Legendre's n = 12 nodes, of which the tail is the
    integral. By Cramer's inequality the n-th derivative is at most $0.44\, \sqrt{n!}\, 2^{(n+1)/2}$, so that
    the remainder, that derivative times $h^n\, 2^n\, n! / (2n)!$, is below 2e-13; whole cells are integrated by Gauss's rule, of twice that order. All densities
    are in the log domain, so that r may be hundreds of bits.
    """

    def __init__(self, correlation: float, r: Reals) -> None:
        self.rho, self.r = correlation, np.asarray(r, float)
        self.sigma = math.sqrt((1 - correlation) * (1 + correlation))
        self.log_q = -self.r * LN2
        # The inverse of ln Phi, since q = 2^-r underflows beyond a thousand bits.
        self.b = -scipy.special.ndtri_exp(self.log_q)
        self._by_query = self.rho <= self.sigma
        # V is the one of X and -Z that has the smaller correlation with Y, at most 1/sqrt(2).
        kappa, rest = sorted((self.rho, self.sigma))
        # The mean of Y given Y > b is phi(b)/q, the inverse of Mills' ratio, and that of V kappa
        # times as much: the cells are centred there.
        self._mean = kappa * np.exp(-0.5 * self.b**2 - 0.5 * math.log(2 * math.pi) - self.log_q)
        nodes, _ = _IN_A_CELL
        half = 0.5 * _CELL
        inside = np.linspace(-_REACH + half, _REACH - half, _CELLS)[:, None] + half * nodes
        powers = np.empty((self.r.size, _CELLS, _DEGREE + 1))
        rows = max(_NODES // inside.size, 1)
        for i in range(0, self.r.size, rows):
            some = slice(i, i + rows)
            v = self._mean[some, None, None] + inside
            density = -0.5 * v * v - (0.5 * math.log(2 * math.pi) + self.log_q[some, None, None])
            density += scipy.special.log_ndtr((kappa * v - self.b[some, None, None]) / rest)
            powers[some] = np.exp(density) @ (half * _ANTIDERIVATIVE.T)
        mass = powers.sum(axis=-1)
        # Left of the mean what lies below a point is kept, right of it what lies above: each has its relative accuracy.
        middle = _CELLS // 2
        # Constants of the polynomials: below the mean the mass of all cells to the left, so that
        # the polynomial is P(V < v); above it the mass from the cell to the right end, minus the
        # integral, so that it is P(V > v).
        powers[:, middle:] *= -1
        powers[:, 1:middle, 0] += np.cumsum(mass[:, : middle - 1], axis=1)
        powers[:, middle:, 0] += np.cumsum(mass[:, : middle - 1 : -1], axis=1)[:, ::-1]
        self._powers = np.ascontiguousarray(np.moveaxis(powers, -1, 0)).reshape(_DEGREE + 1, -1)

    def _less(self, v: Reals, row: NDArray[np.intp]) -> tuple[Reals, NDArray[np.bool_]]:
        """Return the less of P(V < v | Y > b) and P(V > v | Y > b), and where that is the latter."""
        # Beyond the table, nine standard deviations away, its end is used: an error of 3e-18.
        place = np.clip((v - self._mean[row] + _REACH) / _CELL, 0.0, float(_CELLS))
        cell = np.minimum(place.astype(np.intp), _CELLS - 1)
        at = 2 * (place - cell) - 1
        number = row * _CELLS + cell
        # Horner's rule for all places at once; each coefficient is looked up by row and cell.
        found = self._powers[-1].take(number)
        for power in self._powers[-2::-1]:
            found *= at
            found += power.take(number)
        return np.clip(found, 0.0, 1.0), cell >= _CELLS // 2

    def exceed(self, a: Reals, row: NDArray[np.intp]) -> Reals:
        """Return P(X > a | Y > b) for thresholds a and rows of the table, broadcast together."""
        a, row = np.broadcast_arrays(a, row)
        if self._by_query:
            less, right = self._less(a, row)
            return np.asarray(np.where(right, less, 1 - less))
        # The list's edge in terms of Z, and the identity of the class: P(X > a | Y > b) = P(Z > z
        # | Y > b) + Phi(z) P(X > a)/q, as gamma = Phi(z)/q.
        z = (self.rho * a - self.b[row]) / self.sigma
        less, right = self._less(-z, row)
        found = np.where(right, 1 - less, less)
        return np.asarray(
            found + np.exp(scipy.special.log_ndtr(z) + scipy.special.log_ndtr(-a) - self.log_q[row])
        )

    def log_ratio(self, r: float, log_t: Reals) -> Reals:
        """Ln of the likelihood ratio at the edge of the list of share t, for a codeword of r bits."""
        b, a = -scipy.special.ndtri_exp(-r * LN2), -scipy.special.ndtri_exp(log_t)
        return np.asarray(scipy.special.log_ndtr((self.rho * a - b) / self.sigma) + r * LN2)

    def excess(self, log_gamma: Reals) -> Reals:
        r"""Return $F_\gamma(r)$, shape of gamma followed by (r,).

        The best a is where the likelihood ratio $P(Y > b | X = a)/q$ is gamma.
        """
        z = self.edges(log_gamma).listed
        reached = np.isfinite(z)
        z = np.where(reached, z, 0.0)
        row = np.broadcast_to(np.arange(self.r.size), z.shape)
        if self._by_query:
            a = (self.b + self.sigma * z) / self.rho
            less, right = self._less(a, row)
            gain = np.where(right, less, 1 - less) - np.exp(
                log_gamma[..., None] + scipy.special.log_ndtr(-a)
            )
        else:
            less, right = self._less(-z, row)
            gain = np.where(right, 1 - less, less)
        return np.asarray(np.where(reached, np.maximum(gain, 0.0), 0.0))

    def edges(self, log_gamma: Reals) -> Edges:
        r"""Return b, and z with $\Phi(z) = \gamma q$: the best list ends at $a = (b + \sigma z)/\rho$; inf if it is empty."""
        # Where gamma q >= 1 the likelihood ratio P(Y > b | X = a)/q never reaches gamma: the best
        # list is empty.
        level = log_gamma[..., None] + self.log_q
        reached = level < 0
        return Edges(
            self.b,
            np.where(reached, scipy.special.ndtri_exp(np.where(reached, level, -1.0)), np.inf),
        )

    def slopes(self, log_gamma: Reals, shorter: Edges, longer: Edges) -> tuple[Reals, Reals]:
        r"""Bound $d(q F_\gamma)/dq$ from both sides for codewords between shorter and longer ones.

        With a kept, for a is the best one, it is $P(X > a | Y = b) - \gamma P(X > a)$, where $(a - \rho b)/\sigma =
        (\sigma b + z)/\rho$. In between b is no smaller than that of the shorter ones, z than that of the longer.
        """
        found = []
        for least, most in ((longer, shorter), (shorter, longer)):
            # The first term is the less, the second the more, the larger b and z are.
            inner = self._edge(self.sigma * least.codeword, most.listed)
            outer = self._edge(most.codeword, self.sigma * least.listed)
            lost = np.exp(log_gamma[..., None] + scipy.special.log_ndtr(-outer))
            found.append(scipy.special.ndtr(-inner) - lost)
        return found[0], found[1]

    def _edge(self, b: Reals, z: Reals) -> Reals:
        """Return (b + z)/rho; inf for an empty list, whatever b is."""
        some = z < np.inf
        return np.where(some, (b + np.where(some, z, 0.0)) / self.rho, np.inf)


def query_nodes(correlation: float, bits: float, parts: int) -> tuple[Reals, Reals]:
    r"""Return points of the query X given Y > b, for a codeword of so many bits, and their probabilities.

    The density $\phi(x)\, \Phi((\rho x - b)/\sigma)/q$ rises from nothing around $x = b/\rho$, within some $\sigma/\rho$:
    cells are narrow enough for that, and each has so many parts. Both have shape (parts of cells, nodes).
    """
    sigma = math.sqrt((1 - correlation) * (1 + correlation))
    log_q = -bits * LN2
    b = -float(scipy.special.ndtri_exp(log_q))
    middle = correlation * math.exp(-0.5 * b**2 - 0.5 * math.log(2 * math.pi) - log_q)
    narrow = sigma / correlation
    edges = np.linspace(-_FARTHEST, _FARTHEST, round(2 * _FARTHEST / _WIDEST) + 1)
    if narrow < _WIDEST:
        # The cells reach as far from the mean, wherever the density rises.
        middle = min(max(b / correlation, middle - _FARTHEST), middle + _FARTHEST)
        near = narrow * np.arange(_STEPS + 1)
        right = np.append(near, np.arange(near[-1] + _WIDEST, 2 * _FARTHEST + _WIDEST, _WIDEST))
        edges = np.concatenate([-right[:0:-1], right])
    nodes, weights = _IN_A_NARROW_CELL
    left = (edges[:-1, None] + np.diff(edges)[:, None] * (np.arange(parts) / parts)).ravel()
    half = np.repeat(0.5 * np.diff(edges) / parts, parts)[:, None]
    x = middle + left[:, None] + half + half * nodes
    log_density = -0.5 * x * x - 0.5 * math.log(2 * math.pi) - log_q
    log_density += scipy.special.log_ndtr((correlation * x - b) / sigma)
    return x, half * weights * np.exp(log_density)


@runtime_checkable
class CodewordTails(Protocol):
    """The excess of codewords of several lengths r, for one kind of source."""

    r: Reals

    def edges(self, log_gamma: Reals) -> Edges:
        """Return where the codewords and their best lists end."""
        ...

    def slopes(self, log_gamma: Reals, shorter: Edges, longer: Edges) -> tuple[Reals, Reals]:
        r"""Bound $d(q F_\gamma)/dq$ from both sides for codewords between shorter and longer ones."""
        ...

    def excess(self, log_gamma: Reals) -> Reals:
        """Return the largest recall less gamma times its share, shape of gamma followed by (r,)."""
        ...

    def log_ratio(self, r: float, log_t: Reals) -> Reals:
        """Ln of the likelihood ratio at the edge of the list of share t, for a codeword of r bits."""
        ...


MakeTails = Callable[[Reals], CodewordTails]
"""Makes the tails of codewords of the lengths r."""
