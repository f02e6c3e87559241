r"""P(X > a | Y > b) of one bivariate normal pair: how often a codeword's list finds the query (C27).

A codeword of r bits is a half-space {Y > b} of probability $q = 2^{-r}$, a list of share t of the database a
half-space {X > a} of probability t.
"""

import math
from collections.abc import Callable
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtri_exp

from rdsim.limits.converses._recalls import Reals

_LN2: Final = math.log(2.0)
_REACH: Final = 13.0  # standard deviations of a unit normal beyond which less than 1e-38 lies
CELLS: Final = 208  # cells of X in a table: an eighth of a standard deviation wide
_IN_A_CELL: Final = np.polynomial.legendre.leggauss(8)  # exact to rounding in so narrow a cell
_AT_ONCE: Final = 256  # thresholds whose tails are in memory together
_ROWS: Final = 16  # rows whose nodes are in memory together


class Tails:
    r"""P(X > a | Y > b_q) for codewords of several lengths r = log2 1/q, exact to about 1e-14.

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
        cell = np.concatenate(
            [
                self.nodes(np.arange(first, min(first + _ROWS, self.r.size)))[1].sum(axis=-1)
                for first in range(0, self.r.size, _ROWS)
            ]
        )
        zero = np.zeros((self.r.size, 1))
        self.below = np.concatenate([zero, np.cumsum(cell, axis=1)], axis=1)
        self.above = np.concatenate([np.cumsum(cell[:, ::-1], axis=1)[:, ::-1], zero], axis=1)

    def nodes(self, row: NDArray[np.intp], cells: int = CELLS) -> tuple[Reals, Reals]:
        """Return points of X given Y > b, shape of the rows followed by (cells, nodes), and their probabilities."""
        nodes, weights = _IN_A_CELL
        width = 2 * _REACH / cells
        middle = self.left[row][..., None] + width * (np.arange(cells) + 0.5)
        x = middle[..., None] + 0.5 * width * nodes
        return x, 0.5 * width * weights * self._density(x, row[..., None, None])

    def _density(self, x: Reals, row: NDArray[np.intp]) -> Reals:
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
        """Ln of the likelihood ratio at the edge of the list of share t, for a codeword of r bits."""
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


class CodewordTails(Protocol):
    """What codewords of several lengths r are worth, for one kind of source."""

    r: Reals

    def worth(self, log_gamma: Reals) -> Reals:
        """Return the largest recall less gamma times its share, shape of gamma followed by (r,)."""
        ...

    def log_ratio(self, r: float, log_t: Reals) -> Reals:
        """Ln of the likelihood ratio at the edge of the list of share t, for a codeword of r bits."""
        ...


MakeTails = Callable[[Reals], CodewordTails]
"""Makes the tails of codewords of the lengths r."""
