r"""Retrieval as ordinary rate distortion with prescribed masses of the ranks (C25, C26).

A strategy F = (F_c)_c is the group of ranks an item gets from each class c of queries; each group r
of class c has a prescribed mass and earns $\omega_c(r)$. In units of the multiplier of the rate, lambda (reward per nat),
the best of $E \sum_c e_c(Y) \omega_c(F_c) - I(Y;F)$ is at most

$$\sum_{c,r} \mathrm{mass}_{c}(r)\, \beta_c(r) + \sum_y P_y \theta_y + \max_F f_F, \qquad
f_F = \ln \sum_y P_y e^{\sum_c e_c(y) \omega_c(F_c) - \theta_y} - \sum_c \beta_c(F_c)$$

for every beta and theta (theta_y = ln Z_y of C5; beta has a multiplier a rank). This bound is least
where strategies with f_F = max carry an optimal channel, of posteriors $P_{y|F} \propto P_y
e^{\sum_c e_c(y)\omega_c(F_c) - \theta_y}$.

With one class a strategy is a quantile, beta is explicit, and the bound is a smooth function of
theta: Newton's method (`_one_class`). With more, a primal-dual interior-point method solves it
over a working set of strategies (`_interior_point`), and the maximum over all is found by branch and
bound (`_pricing`).
"""

import itertools
from typing import Final, NamedTuple

import numpy as np
import scipy

_UNUSED: Final = 1e-10
"""Mass below which the interior point leaves strategies that are not in use."""


class Problem(NamedTuple):
    """Classes with groups of ranks, rewards in units of lambda.

    Attributes:
        direction: e_c(y), shape (C, |Y|).
        py: P(y) > 0, shape (|Y|,).
        mass: of the groups, a class each, C arrays of shape (m_c,).
        reward: omega_c / lambda of the groups, decreasing, alike.

    """

    direction: np.ndarray
    py: np.ndarray
    mass: list[np.ndarray]
    reward: list[np.ndarray]

    def log_weights(self, strategies: np.ndarray) -> np.ndarray:
        """Return ln P_y + sum_c e_c(y) omega_c(F_c), shape (J, |Y|)."""
        total = np.tile(np.log(self.py), (len(strategies), 1))
        for c, reward in enumerate(self.reward):
            total += reward[strategies[:, c], None] * self.direction[c]
        return total

    def excess(
        self, strategies: np.ndarray, theta: np.ndarray, beta: list[np.ndarray]
    ) -> np.ndarray:
        """f_F, shape (J,)."""
        f = scipy.special.logsumexp(self.log_weights(strategies) - theta, axis=1)
        for c, b in enumerate(beta):
            f -= b[strategies[:, c]]
        return np.asarray(f)

    def dual(self, solution: "Solution") -> float:
        """Return the sum of mass times beta and P times theta."""
        masses = sum(float(m @ b) for m, b in zip(self.mass, solution.beta, strict=True))
        return masses + float(self.py @ solution.theta)

    def channel(self, strategies: np.ndarray, solution: "Solution") -> np.ndarray:
        """P(F,y) = q_F P(y|F) of the strategies in use, shape (J, |Y|)."""
        used = solution.q > _UNUSED
        logits = self.log_weights(strategies[used]) - solution.theta
        posterior = np.exp(logits - scipy.special.logsumexp(logits, axis=1)[:, None])
        return np.asarray(solution.q[used, None] * posterior)


class Solution(NamedTuple):
    """Primal and dual variables over a working set.

    Attributes:
        q: masses of the strategies, shape (J,).
        theta: shape (|Y|,).
        beta: multipliers of the groups, C arrays.

    """

    q: np.ndarray
    theta: np.ndarray
    beta: list[np.ndarray]


def first_strategies(problem: Problem, most: int) -> np.ndarray:
    """Choose a working set that holds a plan of the prescribed masses: all if few enough.

    Otherwise the plan of the stored letter. Every class sorts the letters and gives each an
    interval of quantiles; a letter's items run through its intervals in step. To it the comonotone
    plan is added.
    """
    sizes = [m.size for m in problem.mass]
    if np.prod(sizes, dtype=float) <= most:
        return np.array(list(itertools.product(*map(range, sizes))))
    # The comonotone plan (all quantiles equal) and the plan of the stored letter: each meets the prescribed masses, so
    # that the linear program over the working set is feasible from the start.
    ends = [np.minimum(np.append(0.0, np.cumsum(m)), 1.0) for m in problem.mass]
    plans = [_in_step(ends, [0.0] * len(ends), 1.0)]
    begins = []
    for e in problem.direction:
        order = np.argsort(-e, kind="stable")
        begin = np.zeros(e.size)
        begin[order] = np.append(0.0, np.cumsum(problem.py[order])[:-1])
        begins.append(begin)
    for y, p in enumerate(problem.py):
        plans.append(_in_step(ends, [begin[y] for begin in begins], float(p)))
    return distinct(np.concatenate(plans), sizes)


def _in_step(ends: list[np.ndarray], begins: list[float], width: float) -> np.ndarray:
    """List the strategies of an item of quantiles begin + t width in all classes, t in [0, 1]."""
    # All t at which the item passes from one group to the next in some class; between two
    # neighbours its strategy is constant, and read off in the middle.
    t = np.concatenate([(e - b) / width for e, b in zip(ends, begins, strict=True)])
    t = np.unique(np.clip(t, 0.0, 1.0))
    middle = 0.5 * (t[1:] + t[:-1])
    groups = [
        np.clip(np.searchsorted(e, b + middle * width, side="right") - 1, 0, e.size - 2)
        for e, b in zip(ends, begins, strict=True)
    ]
    return np.stack(groups, axis=1)


def children(
    strategies: np.ndarray, before: list[np.ndarray], after: list[np.ndarray], most: int
) -> np.ndarray:
    """List the strategies of finer groups that overlap given strategies of coarser ones.

    Args:
        strategies: indices of coarse groups, shape (J, C), the most important first.
        before: masses of the coarse groups, C arrays.
        after: masses of the finer ones.
        most: of the finer strategies; the last of the coarse ones are left out where there are more.

    Returns:
        Indices of finer groups, without repetition, shape (K, C).

    """
    overlaps = [_overlaps(coarse, fine) for coarse, fine in zip(before, after, strict=True)]
    counts = np.ones(len(strategies))
    for c, (_, count) in enumerate(overlaps):
        counts *= count[strategies[:, c]]
    # The children of a strategy are a product of intervals, one for each class: as many are taken
    # from the front of the list as fit, and one at least.
    strategies = strategies[: max(int(np.searchsorted(np.cumsum(counts), most)), 1)]
    found = np.zeros((len(strategies), 0), int)
    origin = np.arange(len(strategies))
    # The products are unrolled class by class: each row so far is repeated once for every finer
    # group that overlaps its coarse one, and `along` counts the repetitions.
    for c, (first, count) in enumerate(overlaps):
        group = strategies[origin, c]
        repeated = np.repeat(np.arange(len(origin)), count[group])
        along = np.arange(len(repeated)) - np.repeat(
            np.cumsum(count[group]) - count[group], count[group]
        )
        found = np.column_stack([found[repeated], first[group][repeated] + along])
        origin = origin[repeated]
    return distinct(found, [m.size for m in after])


def distinct(strategies: np.ndarray, sizes: list[int]) -> np.ndarray:
    """Sort strategies and drop repetitions: by their place among all, ten times as fast as by rows."""
    place = np.ravel_multi_index(tuple(strategies.T), tuple(sizes))
    _, first = np.unique(place, return_index=True)
    return np.asarray(strategies[first])


def _overlaps(coarse: np.ndarray, fine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first finer group that meets each coarse one, and how many do."""
    ends, cuts = np.append(0.0, np.cumsum(coarse)), np.append(0.0, np.cumsum(fine))
    # Ends of groups are cumulative sums, rounded to some 1e-16 each: a finer group that reaches
    # into a coarser one by less than 1e-13 only touches it.
    first = np.maximum(np.searchsorted(cuts, ends[:-1] + 1e-13, side="right") - 1, 0)
    first = np.minimum(first, fine.size - 1)
    last = np.clip(np.searchsorted(cuts, ends[1:] - 1e-13, side="left") - 1, first, fine.size - 1)
    return first, last - first + 1
