r"""P(X > a | Y > b) of one bivariate normal pair: how often a codeword's list finds the query (C27).

A codeword of r bits is a half-space {Y > b} of probability $q = 2^{-r}$, a list of share t of the database a
half-space {X > a} of probability t.
"""

import math
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtri_exp

from rdsim.information import LN2
from rdsim.limits.converses._recalls import Reals

_REACH: Final = 13.0
"""Standard deviations of a unit normal beyond which less than 1e-38 of it lies: the table ends there."""
_CELL: Final = 0.125
"""Width of the cells of X in a table, in standard deviations, but for those around the rise of the density."""
_STEPS: Final = 10
"""Cells of width sigma/rho on either side of where the density rises, if that is narrower than a cell."""
_IN_A_CELL: Final = np.polynomial.legendre.leggauss(8)
"""Nodes and weights of Gauss and Legendre's rule, exact to rounding in so narrow a cell."""
_AT_ONCE: Final = 256
"""Thresholds gamma that are computed together: the nodes of a cell multiply the memory."""
_NODES: Final = 40_000
"""Nodes that are in memory together while a table is made."""


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

    Given Y > b the density of X is $\phi(x) \Phi((\rho x - b)/\sigma)/q$: analytic, of a width below
    one, and it rises from nothing around $x = b/\rho$, within some $\sigma/\rho$. It is integrated once in cells by
    Gauss and Legendre's rule, which are narrow enough for both; a tail is a sum of cells and a part of one. All
    densities are in the log domain, so that r may be hundreds of bits.
    """

    def __init__(self, correlation: float, r: Reals) -> None:
        self.rho, self.r = correlation, np.asarray(r, float)
        self.sigma = math.sqrt((1 - correlation) * (1 + correlation))
        self.log_q = -self.r * LN2
        self.b = -ndtri_exp(self.log_q)
        self.mean = correlation * np.exp(
            -0.5 * self.b**2 - 0.5 * math.log(2 * math.pi) - self.log_q
        )
        self.middle, self.offsets = self._cells()
        size = self.offsets.size - 1
        rows = max(_NODES // (size * _IN_A_CELL[0].size), 1)
        parts = [np.arange(self.r.size)[i : i + rows] for i in range(0, self.r.size, rows)]
        each = [self.nodes(part)[1].sum(axis=-1) for part in parts]
        cell = np.concatenate([np.zeros((0, size)), *each])
        zero = np.zeros((self.r.size, 1))
        self.below = np.concatenate([zero, np.cumsum(cell, axis=1)], axis=1)
        self.above = np.concatenate([np.cumsum(cell[:, ::-1], axis=1)[:, ::-1], zero], axis=1)

    def _cells(self) -> tuple[Reals, Reals]:
        """Return a middle of each row, shape (r,), and the edges of all its cells against that, increasing."""
        narrow = self.sigma / self.rho if self.rho > 0 else math.inf
        if narrow >= _CELL:
            return self.mean, np.linspace(-_REACH, _REACH, round(2 * _REACH / _CELL) + 1)
        # The cells reach as far from the mean, wherever the density rises.
        rise = np.clip(self.b / self.rho, self.mean - _REACH, self.mean + _REACH)
        near = narrow * np.arange(_STEPS + 1)
        right = np.append(near, np.arange(near[-1] + _CELL, 2 * _REACH + _CELL, _CELL))
        return rise, np.concatenate([-right[:0:-1], right])

    def nodes(self, row: NDArray[np.intp], parts: int = 1) -> tuple[Reals, Reals]:
        """Return points of X given Y > b, and their probabilities, with every cell in so many parts.

        Their shapes are that of the rows followed by (parts of cells, nodes).
        """
        nodes, weights = _IN_A_CELL
        share = np.arange(parts) / parts
        left = (self.offsets[:-1, None] + np.diff(self.offsets)[:, None] * share).ravel()
        half = np.repeat(0.5 * np.diff(self.offsets) / parts, parts)
        inside = (left + half)[:, None] + half[:, None] * nodes
        x = self.middle[row][..., None, None] + inside
        return x, half[:, None] * weights * self._density(x, row[..., None, None])

    def _density(self, x: Reals, row: NDArray[np.intp]) -> Reals:
        log_normal = -0.5 * x * x - 0.5 * math.log(2 * math.pi)
        seen = log_ndtr((self.rho * x - self.b[row]) / self.sigma)
        return np.asarray(np.exp(log_normal + seen - self.log_q[row]))

    def exceed(self, a: Reals, row: NDArray[np.intp]) -> Reals:
        """Return P(X > a | Y > b) for thresholds a and rows of the table, broadcast together."""
        a, row = np.broadcast_arrays(a, row)
        middle = self.middle[row]
        last = self.offsets.size - 2
        offset = np.clip(a - middle, self.offsets[0], self.offsets[-1])
        cell = np.clip(np.searchsorted(self.offsets, offset, side="right") - 1, 0, last)
        nodes, weights = _IN_A_CELL

        # The side of the mean on which less lies is integrated: it has its relative accuracy.
        right = a > self.mean[row]
        low = np.where(right, offset, self.offsets[cell])
        high = np.where(right, self.offsets[cell + 1], offset)
        half = 0.5 * (high - low)
        x = (middle + low + half)[..., None] + half[..., None] * nodes
        part = half * (self._density(x, row[..., None]) @ weights)
        whole = np.where(right, self.above[row, cell + 1], self.below[row, cell])
        tail = np.clip(whole + part, 0.0, 1.0)
        return np.asarray(np.where(right, tail, 1 - tail))

    def log_ratio(self, r: float, log_t: Reals) -> Reals:
        """Ln of the likelihood ratio at the edge of the list of share t, for a codeword of r bits."""
        b, a = -ndtri_exp(-r * LN2), -ndtri_exp(log_t)
        return np.asarray(log_ndtr((self.rho * a - b) / self.sigma) + r * LN2)

    def worth(self, log_gamma: Reals) -> Reals:
        r"""Return $F_\gamma(r)$, shape of gamma followed by (r,).

        The best a is where the likelihood ratio $P(Y > b | X = a)/q$ is gamma. Many thresholds are taken
        in turn, for the nodes of a cell multiply the memory.
        """
        if log_gamma.size > _AT_ONCE:
            parts = np.array_split(log_gamma, math.ceil(log_gamma.size / _AT_ONCE))
            return np.concatenate([self.worth(part) for part in parts])
        z = self.edges(log_gamma).listed
        reached = np.isfinite(z)
        a = (self.b + self.sigma * np.where(reached, z, 0.0)) / self.rho
        row = np.broadcast_to(np.arange(self.r.size), a.shape)
        gain = self.exceed(a, row) - np.exp(log_gamma[..., None] + log_ndtr(-a))
        return np.asarray(np.where(reached, np.maximum(gain, 0.0), 0.0))

    def edges(self, log_gamma: Reals) -> Edges:
        r"""Return b, and z with $\Phi(z) = \gamma q$: the best list ends at $a = (b + \sigma z)/\rho$; inf if it is empty."""
        level = log_gamma[..., None] + self.log_q
        reached = level < 0
        return Edges(self.b, np.where(reached, ndtri_exp(np.where(reached, level, -1.0)), np.inf))

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
            lost = np.exp(log_gamma[..., None] + log_ndtr(-outer))
            found.append(np.exp(log_ndtr(-inner)) - lost)
        return found[0], found[1]

    def _edge(self, b: Reals, z: Reals) -> Reals:
        """Return (b + z)/rho; inf for an empty list, whatever b is."""
        some = z < np.inf
        return np.where(some, (b + np.where(some, z, 0.0)) / self.rho, np.inf)


@runtime_checkable
class CodewordTails(Protocol):
    """What codewords of several lengths r are worth, for one kind of source."""

    r: Reals

    def edges(self, log_gamma: Reals) -> Edges:
        """Return where the codewords and their best lists end."""
        ...

    def slopes(self, log_gamma: Reals, shorter: Edges, longer: Edges) -> tuple[Reals, Reals]:
        r"""Bound $d(q F_\gamma)/dq$ from both sides for codewords between shorter and longer ones."""
        ...

    def worth(self, log_gamma: Reals) -> Reals:
        """Return the largest recall less gamma times its share, shape of gamma followed by (r,)."""
        ...

    def log_ratio(self, r: float, log_t: Reals) -> Reals:
        """Ln of the likelihood ratio at the edge of the list of share t, for a codeword of r bits."""
        ...


MakeTails = Callable[[Reals], CodewordTails]
"""Makes the tails of codewords of the lengths r."""
