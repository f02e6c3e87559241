r"""Many classes of queries and few letters: a channel of some words, and a proof over all posteriors (C25, C26).

With $\tau_c(u) = \sum_y u_y e_c(y)$ and $G_c(\tau) = \max_r \omega_c(r)\tau - \beta_c(r)$ in units of the price of
a nat, the bound of `_strategies` is

$$\sum_{c,r} \mathrm{mass}_c(r)\, \beta_c(r) + \sum_y P_y \theta_y +
  \max_u \Bigl\{ \sum_c G_c(\tau_c(u)) - D(u\|P) - \theta \cdot u \Bigr\}$$

for every beta and theta. Strategies of many classes are too many to search; posteriors u of a few letters are not: the
largest value is that of a convex function less another, by branch and bound (`rdsim.limits._simplices`). A channel found by
alternation (`_alternation`) gives beta, by the scores at which its items pass from one rank to the next, and theta by a linear
programme over the posteriors that were met.
"""

from typing import Final

import numpy as np
from scipy.optimize import linprog
from scipy.special import rel_entr

from rdsim.limits._simplices import least_difference
from rdsim.limits.retrieval.items._pricing import Upper
from rdsim.limits.retrieval.items._ranks import Queries, Steps

MOST_LETTERS: Final = 4
_ROUNDS: Final = 6
"""Posteriors that are added to those of the channel, one at a time."""
_MOST: Final = 200_000
"""Simplices at a time, some seconds of work for sixteen classes."""


def bound_at(
    queries: Queries, above: list[Steps], joint: np.ndarray, price: float, tolerance: float
) -> float:
    """Bound what any channel earns less its price, beyond a random ranking's reward, in units of the price.

    Args:
        queries: classes, and P(y) of at most MOST_LETTERS letters.
        above: what each class earns by the quantile, from above.
        joint: P(u,y) of a channel to take the multipliers from; a good one gives a good bound.
        price: lambda, reward a nat.
        tolerance: nats that the search may leave.

    """
    e, py = queries.direction, queries.py
    weight = joint.sum(axis=1)
    joint, weight = joint[weight > 0], weight[weight > 0]
    posterior = joint / weight[:, None]
    total, lines = 0.0, []
    for direction, steps in zip(e, above, strict=True):
        reward = steps.slope / price
        score = posterior @ direction
        order = np.argsort(-score, kind="stable")
        middle = np.cumsum(weight[order]) - 0.5 * weight[order]
        passed = np.interp(np.cumsum(steps.length)[:-1], middle, score[order])
        beta = np.append(0.0, np.cumsum(np.diff(reward) * passed))
        total += float(steps.length @ beta)
        lines.append(Upper.of(reward, beta, direction))

    def earned(u: np.ndarray) -> np.ndarray:
        found = [each.at(u @ d)[0] for each, d in zip(lines, e, strict=True)]
        return np.asarray(sum(found))

    least = np.inf
    met = np.vstack([posterior, np.eye(py.size), py])
    height = earned(met) - rel_entr(met, py).sum(axis=1)
    for _ in range(_ROUNDS):
        # The tangent plane of the concave hull over P: theta and the level t, the hull's height less theta . P.
        found = linprog(
            np.append(py, 1.0),
            A_ub=-np.column_stack([met, np.ones(len(met))]),
            b_ub=-height,
            bounds=[(-1e6, 1e6)] * py.size + [(0.0, 0.0)],
        )
        theta = found.x[:-1]
        excess, at = least_difference(
            py.size,
            lambda m, theta=theta: (np.log(np.maximum(m, 1e-300) / py) + theta, np.zeros(len(m))),
            earned,
            tolerance=tolerance,
            most=_MOST,
        )
        least = min(least, total + float(theta @ py) - excess)
        if -excess <= tolerance:
            break
        met = np.vstack([met, at])
        height = np.append(height, earned(at[None]) - rel_entr(at, py).sum())
    return least
