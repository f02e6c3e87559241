r"""Many classes of queries and few letters: a channel of some codewords, and a proof over all posteriors (C25, C26).

With $\tau_c(u) = \sum_y u_y e_c(y)$ and $G_c(\tau) = \max_r \omega_c(r)\tau - \beta_c(r)$ in units of the multiplier of
the rate, the bound of `_strategies` is

$$\sum_{c,r} \mathrm{mass}_c(r)\, \beta_c(r) + \sum_y P_y \theta_y +
  \max_u \Bigl\{ \sum_c G_c(\tau_c(u)) - D(u\|P) - \theta \cdot u \Bigr\}$$

for every beta and theta. Strategies of many classes are too many to search; posteriors u of a few letters are not: the
largest value is that of a convex function less another, by branch and bound (`rdsim.limits._simplices`). A channel found by
alternation (`_alternation`) gives beta, by the scores at which its items pass from one rank to the next, and theta by a linear
programme over the posteriors that were met. Where ranks are few, a linear programme over a grid of posteriors gives both, and a
channel; a second one adds posteriors near those in use.
"""

import itertools
from typing import Final, NamedTuple

import numpy as np
import scipy

from rdsim.limits._simplices import least_difference
from rdsim.limits.retrieval.items._pricing import Upper
from rdsim.limits.retrieval.items._ranks import Queries, Steps

MOST_LETTERS: Final = 5
"""Most letters of an item: the search of all posteriors covers a simplex, whose cells grow like a power of the letters."""
_ROUNDS: Final = 6
"""Posteriors that are added to those of the channel, one at a time."""
_MOST: Final = 200_000
"""Simplices at a time, some seconds of work for sixteen classes."""
_FEW_GROUPS: Final = 300
"""Groups of ranks of all classes up to which the linear programme is solved, some ten seconds."""
_GRID: Final = {2: 100, 3: 18, 4: 7, 5: 5}
"""Steps of a probability on the grid of posteriors, by the letters."""
_PROGRAMMES: Final = 2
"""Linear programs that are solved; the worst posterior of each is a column of the next."""
_USED: Final = 1e-7
"""Mass from which on a posterior counts as in use."""


class Found(NamedTuple):
    """What a solve gives.

    Attributes:
        channels: P(u,y), to be evaluated as they are.
        bound: of what any channel earns less the multiplier times its rate, beyond a random ranking's reward, in units of the multiplier.

    """

    channels: list[np.ndarray]
    bound: float


class _Dual(NamedTuple):
    """The bound's problem: classes, P(y), masses and rewards of the groups in units of the multiplier."""

    direction: np.ndarray
    py: np.ndarray
    mass: list[np.ndarray]
    reward: list[np.ndarray]
    tolerance: float

    def lines(self, beta: list[np.ndarray]) -> list[Upper]:
        """G of each class."""
        return [Upper.of(*one) for one in zip(self.reward, beta, self.direction, strict=True)]

    def earned(self, lines: list[Upper], u: np.ndarray) -> np.ndarray:
        """Sum of G_c at posteriors."""
        found = [each.at(u @ d)[0] for each, d in zip(lines, self.direction, strict=True)]
        return np.asarray(sum(found))

    def height(self, lines: list[Upper], u: np.ndarray) -> np.ndarray:
        """What theta has to lie above, at posteriors."""
        return np.asarray(self.earned(lines, u) - scipy.special.rel_entr(u, self.py).sum(axis=1))

    def excess(self, lines: list[Upper], theta: np.ndarray) -> tuple[float, np.ndarray]:
        """The largest height above theta, from above, and a posterior near it."""
        found, at = least_difference(
            self.py.size,
            # The tangent plane of D(u||P) + theta . u at m. Its constant is zero, for D is homogeneous of degree one
            # up to the sum of u, which is one. Raising a zero to 1e-300 takes a tangent of an interior point instead.
            lambda m: (np.log(np.maximum(m, 1e-300) / self.py) + theta, np.zeros(len(m))),
            lambda u: self.earned(lines, u),
            tolerance=self.tolerance,
            most=_MOST,
        )
        return -found, at

    def masses(self, beta: list[np.ndarray]) -> float:
        """Sum of mass times beta."""
        return float(sum(m @ b for m, b in zip(self.mass, beta, strict=True)))


def solve(
    queries: Queries, above: list[Steps], joint: np.ndarray, multiplier: float, tolerance: float
) -> Found:
    """Bound every channel, and improve one.

    Args:
        queries: classes, and P(y) of at most MOST_LETTERS letters.
        above: what each class earns by the quantile, from above.
        joint: P(u,y) of a channel to begin with; a good one gives a good bound.
        multiplier: lambda, reward a nat.
        tolerance: nats that the search of posteriors may leave.

    """
    problem = _Dual(
        queries.direction,
        queries.py,
        [each.length for each in above],
        [each.slope / multiplier for each in above],
        tolerance,
    )
    joint = joint[joint.sum(axis=1) > 0]
    bound = _from_channel(problem, joint)
    channels = [joint]
    if sum(m.size for m in problem.mass) <= _FEW_GROUPS:
        grid = _grid(queries.py.size)
        met = np.vstack([_posteriors(joint), grid, queries.py])
        for _ in range(_PROGRAMMES):
            # Column generation: a linear program over the posteriors met so far gives dual variables beta and theta; the search
            # of all posteriors finds by how much theta must be raised to be feasible. Every round gives a bound, and the
            # posterior of the worst violation is a column of the next.
            weight, beta, theta = _programme(problem, met)
            found, at = problem.excess(problem.lines(beta), theta)
            bound = min(bound, problem.masses(beta) + float(theta @ queries.py) + found)
            used = met[weight > _USED]
            channels.append(used * weight[weight > _USED, None])
            met = np.vstack([used, _around(used), grid, at, queries.py])
    return Found(channels, bound)


def _from_channel(problem: _Dual, joint: np.ndarray) -> float:
    """Bound by the scores at which the items of a channel pass from one rank to the next.

    These scores give beta, which is held fixed. Theta is found by column generation: a linear programme over
    the posteriors met so far, and branch and bound for the one that violates it most. Invariant: every round's
    bound holds, by weak duality, and the least of them is kept.
    """
    weight, posterior = joint.sum(axis=1), _posteriors(joint)
    beta = []
    for direction, mass, reward in zip(
        problem.direction, problem.mass, problem.reward, strict=True
    ):
        # At the optimum beta rises from one group to the next by the fall of the reward times the
        # score at which items pass: there the lines omega tau - beta of both groups meet. The
        # score is read off where the codewords' cumulative mass, with half of a codeword's own,
        # reaches the groups' ends.
        score = posterior @ direction
        order = np.argsort(-score, kind="stable")
        middle = np.cumsum(weight[order]) - 0.5 * weight[order]
        passed = np.interp(np.cumsum(mass)[:-1], middle, score[order])
        beta.append(np.append(0.0, np.cumsum(np.diff(reward) * passed)))
    lines, py = problem.lines(beta), problem.py
    met = np.vstack([posterior, np.eye(py.size), py])
    height, least = problem.height(lines, met), np.inf
    for _ in range(_ROUNDS):
        # The plane above all heights that is lowest at P: theta, since probabilities sum to one.
        # Theta may have either sign and any size: rewards in units of lambda grow without limit
        # as lambda goes to zero. The corners, which are among the posteriors, bound it below.
        theta = scipy.optimize.linprog(py, A_ub=-met, b_ub=-height, bounds=(None, None)).x
        excess, at = problem.excess(lines, theta)
        least = min(least, problem.masses(beta) + float(theta @ py) + excess)
        # What the search leaves open is a part of the excess: below twice that nothing is left to gain.
        if excess <= 2 * problem.tolerance:
            break
        met = np.vstack([met, at])
        height = np.append(height, problem.height(lines, at[None]))
    return least


def _programme(problem: _Dual, met: np.ndarray) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Minimise the bound over beta and theta with the maximum over some posteriors alone.

    Variables are beta, theta and G_c(u) of each posterior. The multipliers of the posteriors are the masses of the best
    channel over them.

    Returns:
        Masses of the posteriors, beta and theta.

    """
    e, py = problem.direction, problem.py
    C, J, L = len(e), len(met), py.size
    offset = np.append(0, np.cumsum([m.size for m in problem.mass]))
    width = int(offset[-1])
    upper = [
        scipy.sparse.hstack(
            [
                scipy.sparse.csr_matrix((J, width)),
                scipy.sparse.csr_matrix(-met),
                *[scipy.sparse.identity(J)] * C,
            ]
        )
    ]
    most = [scipy.special.rel_entr(met, py).sum(axis=1)]
    for c, (reward, score) in enumerate(zip(problem.reward, e @ met.T, strict=True)):
        # omega tau - beta <= G, for each group and posterior.
        j, r = np.divmod(np.arange(J * reward.size), reward.size)
        # Row (posterior j, group r) reads -beta_r - G_cj <= -omega_r tau_j. The rows above them
        # say that sum_c G_cj - theta . u_j is at most D(u_j||P): what theta has to lie above.
        columns = np.concatenate([offset[c] + r, width + L + c * J + j])
        entries = (-np.ones(columns.size), (np.tile(np.arange(r.size), 2), columns))
        upper.append(scipy.sparse.csr_matrix(entries, (r.size, width + L + C * J)))
        most.append(-reward[r] * score[j])
    found = scipy.optimize.linprog(
        np.concatenate([*problem.mass, py, np.zeros(C * J)]),
        A_ub=scipy.sparse.vstack(upper).tocsr(),
        b_ub=np.concatenate(most),
        bounds=(None, None),
        method="highs-ipm",
    )
    beta = [found.x[offset[c] : offset[c + 1]] for c in range(C)]
    # Dual variables of the first J rows: the masses that the primal programme gives to the
    # posteriors.
    return -found.ineqlin.marginals[:J], beta, found.x[width : width + L]


def _posteriors(joint: np.ndarray) -> np.ndarray:
    return np.asarray(joint / joint.sum(axis=1, keepdims=True))


def _grid(letters: int) -> np.ndarray:
    """All posteriors whose probabilities are multiples of one number."""
    steps = _GRID[letters]
    every = itertools.product(range(steps + 1), repeat=letters - 1)
    first = np.array([each for each in every if sum(each) <= steps], float)
    return np.column_stack([steps - first.sum(axis=1), first]) / steps


def _around(used: np.ndarray) -> np.ndarray:
    """Posteriors half a step of the grid around those in use, towards each letter and away from it."""
    step = 0.5 / _GRID[used.shape[1]]
    towards = np.eye(used.shape[1]) - used[:, None, :]
    near = np.concatenate([used[:, None, :] + step * towards, used[:, None, :] - step * towards])
    near = np.maximum(near.reshape(-1, used.shape[1]), 0.0)
    return np.asarray(near / near.sum(axis=1, keepdims=True))
