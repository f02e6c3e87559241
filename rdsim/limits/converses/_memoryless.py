r"""What a word can tell about sequences of binary letters, of any length n (C27).

Let $P(X^n \in A) = 2^{-n\alpha}$ and $P(Y^n \in B) = 2^{-n\beta}$. By the chain rule, for all $\lambda, \mu \ge 0$,

$$P(X^n \in A, Y^n \in B) \le 2^{-n(c + \lambda\alpha + \mu\beta)}, \qquad
  c = \min_Q D(Q\|P_{XY}) - \lambda D(Q_X\|P_X) - \mu D(Q_Y\|P_Y),$$

which together are the exponent Theta, the lower convex envelope. With $\lambda \le \mu \le 1$ Holder's inequality
sums this over the words: those of R bits each recall of a share t of the database at most

$$2^{-n c + R (1 - \mu)}\, t^\lambda,$$

whatever the probabilities of the words are, separate encoders included.
"""

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from scipy.optimize import linprog
from scipy.special import rel_entr

from rdsim.limits.converses._half_spaces import Reals, Recalls

_LN2: Final = math.log(2.0)
_GRID: Final = 241  # of each marginal, on which multipliers are chosen
_CUTS: Final = 60  # constraints of the programme that chooses them; some ten are enough
_CELLS: Final = 64  # of each marginal, into which the square is cut at first
_DEPTH: Final = 24  # times that cells are halved
_MOST: Final = 60_000  # cells; with more of them the bound is given as it is then
_TOLERANCE: Final = 1e-4  # bits of n c
_CHOSEN: Final = np.array([0.01, 0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95, 0.99])
"""Parts of the weight at whose shares of the database multipliers are chosen."""
_ROUNDING: Final = 1e-12  # of c


class Powers(NamedTuple):
    """Bounds of the recall at shares t: factor times a power of t, each valid at every t.

    Attributes:
        log_factor: ln of the factors, shape (L,).
        power: lambda, shape (L,).

    """

    log_factor: Reals
    power: Reals

    def at(self, log_t: Reals) -> Reals:
        """The least of the bounds at each share."""
        found = self.log_factor + self.power * log_t[:, None]
        return np.asarray(np.exp(np.minimum(found.min(axis=1), 0.0)))


@dataclass(frozen=True)
class Pair:
    """One pair of binary letters, every one of whose four probabilities is positive.

    Attributes:
        joint: P(x,y), shape (2, 2).

    """

    joint: Reals

    def with_marginals(self, a: Reals, b: Reals) -> Reals:
        """The Q nearest to P with Q(X=1) = a and Q(Y=1) = b: it has the odds ratio of P."""
        p = self.joint
        ratio = p[1, 1] * p[0, 0] / (p[1, 0] * p[0, 1])
        # q (1-a-b+q) = ratio (a-q)(b-q), by the root that does not cancel.
        middle = 1 + (ratio - 1) * (a + b)
        root = np.sqrt(np.maximum(middle**2 - 4 * ratio * (ratio - 1) * a * b, 0.0))
        q = 2 * ratio * a * b / np.maximum(middle + root, 1e-300)
        q = np.clip(q, np.maximum(a + b - 1, 0.0), np.minimum(a, b))
        rows = [np.stack([1 - a - b + q, b - q], -1), np.stack([a - q, q], -1)]
        return np.asarray(np.maximum(np.stack(rows, axis=-2), 0.0))

    def divergence(self, a: Reals, b: Reals) -> Reals:
        """D(Q||P) of that Q in bits: convex in (a, b)."""
        return np.asarray(rel_entr(self.with_marginals(a, b), self.joint).sum((-2, -1)) / _LN2)

    def of_query(self, a: Reals) -> Reals:
        """D(Q_X||P_X), bits."""
        p = float(self.joint[1].sum())
        return np.asarray((rel_entr(a, p) + rel_entr(1 - a, 1 - p)) / _LN2)

    def of_item(self, b: Reals) -> Reals:
        """D(Q_Y||P_Y), bits."""
        p = float(self.joint[:, 1].sum())
        return np.asarray((rel_entr(b, p) + rel_entr(1 - b, 1 - p)) / _LN2)

    def constant(self, query: float, item: float, tolerance: float) -> float:
        r"""Bound c from below for multipliers lambda of the query and mu of the item, to a tolerance in bits.

        On a cell of marginals the convex divergence lies above its tangent plane at the middle, and what
        is subtracted is convex in each marginal: their difference is concave in each, and least at a corner.
        Cells that may hold the minimum are quartered. The bound is off by the square of a cell's width, so
        that few are left each time.
        """
        edge = (np.arange(_CELLS) + 0.5) / _CELLS
        a, b = (part.ravel() for part in np.meshgrid(edge, edge, indexing="ij"))
        half = 0.5 / _CELLS
        known, settled = 0.0, math.inf  # Q = P gives zero
        for _ in range(_DEPTH):
            value = self.divergence(a, b)
            known = min(known, float(self._less(value, a, b, query, item).min()))
            tangent = self.with_marginals(a, b) / self.joint
            log = np.log2(np.maximum(tangent, 1e-300))
            along_a = (log[..., 1, 0] - log[..., 0, 0]) * half
            along_b = (log[..., 0, 1] - log[..., 0, 0]) * half
            corners = [
                self._less(
                    value + i * along_a + j * along_b,
                    np.clip(a + i * half, 0.0, 1.0),
                    np.clip(b + j * half, 0.0, 1.0),
                    query,
                    item,
                )
                for i in (-1, 1)
                for j in (-1, 1)
            ]
            below = np.min(corners, axis=0)
            open_ = below < known - tolerance
            settled = min(settled, float(below[~open_].min(initial=math.inf)))
            a, b, below = a[open_], b[open_], below[open_]
            if a.size == 0 or 4 * a.size > _MOST:
                break
            half *= 0.5
            a = np.concatenate([a + i * half for i in (-1, 1) for _ in (0, 1)])
            b = np.concatenate([b + j * half for _ in (0, 1) for j in (-1, 1)])
        return min(settled, float(below.min(initial=math.inf)), 0.0) - _ROUNDING

    def _less(self, value: Reals, a: Reals, b: Reals, query: float, item: float) -> Reals:
        return np.asarray(value - query * self.of_query(a) - item * self.of_item(b))


def fixed_length(joint: Reals, letters: int, bits: float, recalls: Recalls) -> float:
    """Bound a reward by the recalls of words of R bits each, separate encoders.

    Args:
        joint: P(x,y) of one letter, positive, shape (2, 2).
        letters: n.
        bits: R, of all letters together.
        recalls: whose mean the reward is.

    """
    pair = Pair(joint)
    grid = np.linspace(0.0, 1.0, _GRID)
    of_pair = pair.divergence(grid[:, None], grid)
    of_query, of_item = pair.of_query(grid), pair.of_item(grid)
    # Bounds are chosen for the shares on which most of the reward depends.
    below = np.cumsum(recalls.weight) / max(float(recalls.weight.sum()), 1e-300)
    some = np.unique(np.searchsorted(below, _CHOSEN).clip(0, below.size - 1))
    factors, powers = [], []
    for one in recalls.log_t[some]:
        aim = np.array([-one / _LN2 / letters, bits / letters])
        query, item = _multipliers(aim, of_pair, of_query, of_item)
        c = pair.constant(query, item, _TOLERANCE / letters)
        factors.append(_LN2 * (bits * (1 - item) - letters * c))
        powers.append(query)
    at = Powers(np.array(factors), np.array(powers)).at(recalls.log_t)
    return float(recalls.weight @ at)


def _multipliers(
    aim: Reals, of_pair: Reals, of_query: Reals, of_item: Reals
) -> tuple[float, float]:
    """Choose lambda <= mu <= 1 that maximise c + lambda alpha + mu beta on the grid, by cutting planes."""
    rows, most = [[1.0, -1.0, 0.0]], [0.0]  # lambda <= mu
    query, item = 0.0, 1.0
    for _ in range(_CUTS):
        less = of_pair - query * of_query[:, None] - item * of_item
        i, j = np.unravel_index(int(less.argmin()), less.shape)
        rows.append([float(of_query[i]), float(of_item[j]), 1.0])
        most.append(float(of_pair[i, j]))
        found = linprog(
            [-float(aim[0]), -float(aim[1]), -1.0],
            A_ub=rows,
            b_ub=most,
            bounds=[(0.0, 1.0), (0.0, 1.0), (-4.0, 0.0)],
        )
        query, item = (float(x) for x in found.x[:2])
        if found.x[2] <= float((of_pair - query * of_query[:, None] - item * of_item).min()) + 1e-9:
            break
    query = min(max(query, 0.0), 1.0)
    return query, min(max(item, query), 1.0)
