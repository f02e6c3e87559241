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
theta: Newton's method (`_programme`). With more, a primal-dual interior-point method solves it
over a working set of strategies (`interior_point`), and the maximum over all is found by branch and
bound (`_pricing`).
"""

from typing import Any, Final, NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse
from scipy.special import logsumexp

_INTERIOR_STEPS: Final = 60
_LEAST_SLACK: Final = 1e-3
"""Share of a slack that a step leaves at least."""
_EASY: Final = 30.0
"""Range of the rewards in nats from which on lambda is lowered in stages, by factors of three."""
_STAGE: Final = 1e-3
"""Nats left open by all stages but the last."""
_CENTRAL: Final = 0.1
"""Share of the central path's masses that a stage begins with at least."""
_SHORT: Final = 0.3
"""Step size below which the next step recentres."""
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
        f = logsumexp(self.log_weights(strategies) - theta, axis=1)
        for c, b in enumerate(beta):
            f -= b[strategies[:, c]]
        return np.asarray(f)

    def channel(self, strategies: np.ndarray, solution: "Solution") -> np.ndarray:
        """P(F,y) = q_F P(y|F) of the strategies in use, shape (J, |Y|)."""
        used = solution.q > _UNUSED
        logits = self.log_weights(strategies[used]) - solution.theta
        posterior = np.exp(logits - logsumexp(logits, axis=1)[:, None])
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


def interior_point(problem: Problem, strategies: np.ndarray, tolerance: float) -> Solution:
    r"""Minimise mass . beta + P . theta subject to f_F <= 0 for the strategies of a working set.

    Where rewards range over many nats the posteriors of a far start forget letters, and Newton's
    equations are singular. So lambda is lowered in stages, each from the solution of the one
    before.

    Args:
        problem: the classes and their groups.
        strategies: the working set, indices of groups, shape (J, C). It must hold a plan that has
            the prescribed masses.
        tolerance: the sum of q s to reach, the duality gap over the working set in nats.

    Returns:
        The solution. Its dual variables are used with a bound that holds for any, and its channel
        is evaluated as it is: nothing rests on convergence.

    """
    offset = np.append(0, np.cumsum([m.size for m in problem.mass]))
    log_py = np.log(problem.py)
    rewards = problem.log_weights(strategies) - log_py
    stages = max(int(np.ceil(np.log(max(float(np.ptp(rewards)), 1.0) / _EASY) / np.log(3.0))), 0)
    # Every multiplier at the largest reward it has to pay for: all strategies are feasible.
    x = np.zeros(int(offset[-1]) + problem.py.size)
    for c, (r, e) in enumerate(zip(problem.reward, problem.direction, strict=True)):
        x[offset[c] : offset[c + 1]] = np.outer(r, e).max(axis=1) / 3.0**stages
    q = np.zeros(len(strategies))
    for stage in range(stages, -1, -1):
        weights = log_py + rewards / 3.0**stage
        reach = _STAGE if stage else tolerance
        q, x = _at_one_multiplier(problem, strategies, weights, q, x, reach)
        x = x * (3.0 if stage else 1.0)
    beta = [x[offset[c] : offset[c + 1]] for c in range(len(problem.mass))]
    return Solution(q, x[offset[-1] :], beta)


def _at_one_multiplier(
    problem: Problem,
    strategies: np.ndarray,
    weights: np.ndarray,
    q: np.ndarray,
    x: np.ndarray,
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Solve at one lambda by Mehrotra's predictor and corrector.

    The conditions are $\sum_F q_F \nabla s_F = (\mathrm{mass}, P)$, $s_F = -f_F$, $q_F s_F = \mu$.
    s is linear in beta, and its gradient in theta is the posterior, so that the Hessian of the
    Lagrangian is the mean covariance of the posteriors. The constants that can move between the
    classes and theta without any effect are held fixed.

    Args:
        problem: the classes and their groups.
        strategies: the working set, shape (J, C).
        weights: ln P_y + sum_c e_c(y) omega_c(F_c), shape (J, |Y|).
        q: masses to begin with; where they are small, the central path's are taken.
        x: beta of all classes and theta, to begin with.
        tolerance: as in `interior_point`.

    Returns:
        q and x of the best iterate.

    """
    C, n = problem.direction.shape
    offset = np.append(0, np.cumsum([m.size for m in problem.mass]))
    J, width = len(strategies), int(offset[-1]) + n
    indices = np.concatenate(
        [strategies + offset[:-1], np.tile(np.arange(offset[-1], width), (J, 1))], axis=1
    ).ravel()
    pointers = np.arange(J + 1) * (C + n)
    goal = np.concatenate([*problem.mass, problem.py])
    gauge = np.zeros((C, width))
    for c in range(C):
        gauge[c, offset[c] : offset[c + 1]] = -1.0
        gauge[c, offset[-1] :] = 1.0

    def terms(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits = weights - x[offset[-1] :]
        log_sum = logsumexp(logits, axis=1)
        slack = x[strategies + offset[:-1]].sum(axis=1) - log_sum
        return slack, np.exp(logits - log_sum[:, None])

    slack, posterior = terms(x)
    # Raising one class gives all strategies slack; q s is then made alike where q is small.
    x = x.copy()
    x[: offset[1]] += max(1.0 - float(slack.min()), 0.0)
    slack, posterior = terms(x)
    s = slack
    central = (1.0 / s) / np.sum(1.0 / s)
    q = np.maximum(q, central if not q.any() else _CENTRAL * central)
    step, best, span = 1.0, (np.inf, q, x), 1.0 + float(np.ptp(weights))
    for _ in range(_INTERIOR_STEPS):
        G = scipy.sparse.csr_matrix(
            (np.concatenate([np.ones((J, C)), posterior], axis=1).ravel(), indices, pointers),
            (J, width),
        )
        residual = goal - G.T @ q
        mu = float(q @ s) / J
        # A missed mass costs its multiplier, which is of the size of the rewards.
        missed = max(mu * J, span * float(np.abs(residual).sum()))
        if missed < best[0]:
            best = missed, q, x
        if missed < tolerance:
            break
        hessian = np.diag(q @ posterior) - (posterior.T * q) @ posterior
        system = _NewtonSystem.of(G, q, s, residual, hessian, gauge)
        if system is None:
            break
        # The predictor aims at zero. The corrector aims at what the predictor says can be had,
        # and takes its second-order error off; after a short step it recentres instead.
        _, dq, ds = system.step(np.zeros(J))
        ahead = float((q + _longest(q, dq) * dq) @ (s + _longest(s, ds) * ds)) / J
        aimed = min(ahead / mu, 1.0) ** 3 * mu - dq * ds
        target = aimed if step > _SHORT else np.full(J, 0.5 * mu)
        dx, dq, ds = system.step(target)
        step = 0.99 * min(_longest(q, dq), _longest(s, ds))
        if not (np.isfinite(dx).all() and step > 1e-8):
            break  # rounding has eaten the direction
        # The slacks are concave in theta, far from linear where lambda is small: shorten the step
        # until the true ones are positive, and go on with these.
        while step > 1e-12:
            slack, posterior = terms(x + step * dx)
            if (slack > _LEAST_SLACK * s).all():
                break
            step *= 0.5
        x, q, s = x + step * dx, q + step * dq, slack
    _, q, x = best
    return q, x


class _NewtonSystem(NamedTuple):
    """Newton's equations of the interior point, reduced to the dual variables and factorised.

    Attributes:
        gradient: of the slacks, shape (J, width).
        q: masses.
        s: slack variables.
        residual: of the prescribed masses.
        scale: square roots of the diagonal, by which the matrix is scaled before it is factorised.
        factor: of Cholesky.

    """

    gradient: Any
    q: np.ndarray
    s: np.ndarray
    residual: np.ndarray
    scale: np.ndarray
    factor: Any

    @classmethod
    def of(
        cls,
        gradient: Any,
        q: np.ndarray,
        s: np.ndarray,
        residual: np.ndarray,
        hessian: np.ndarray,
        gauge: np.ndarray,
    ) -> "_NewtonSystem | None":
        """Eliminate q and s, fix the gauge, and factorise; None where rounding forbids it."""
        K = (gradient.T @ gradient.multiply((q / s)[:, None]).tocsr()).toarray()
        n = hessian.shape[0]
        K[-n:, -n:] += hessian
        scale = np.sqrt(np.maximum(np.diag(K), 1e-200))
        K = K / scale / scale[:, None]
        # In scaled variables a gauge direction is multiplied by the scale.
        fixed = gauge * scale
        fixed /= np.linalg.norm(fixed, axis=1)[:, None]
        K += fixed.T @ fixed
        if not np.isfinite(K).all():
            return None
        for ridge in (1e-14, 1e-10, 1e-6):
            K[np.diag_indices(len(K))] += ridge
            try:
                factor = scipy.linalg.cho_factor(K, check_finite=False)
            except np.linalg.LinAlgError:
                continue
            return cls(gradient, q, s, residual, scale, factor)
        return None

    def step(self, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Solve for the step of x, q and s at which q s is the target to first order."""
        right = self.gradient.T @ (target / self.s - self.q)
        right = (right - self.residual) / self.scale
        dx = scipy.linalg.cho_solve(self.factor, right, check_finite=False) / self.scale
        ds = self.gradient @ dx
        return dx, (target - self.q * ds) / self.s - self.q, ds


def _longest(v: np.ndarray, dv: np.ndarray) -> float:
    """Return the longest step, at most one, that keeps v positive."""
    falls = dv < 0
    return min(1.0, float((-v[falls] / dv[falls]).min(initial=np.inf)))


def first_strategies(problem: Problem, most: int) -> np.ndarray:
    """Choose a working set that holds a plan of the prescribed masses: all if few enough.

    Otherwise the plan of the stored letter. Every class sorts the letters and gives each an
    interval of quantiles; a letter's items run through its intervals in step. To it the comonotone
    plan is added.
    """
    sizes = [m.size for m in problem.mass]
    if np.prod(sizes, dtype=float) <= most:
        return np.stack(np.unravel_index(np.arange(int(np.prod(sizes))), sizes), axis=1)
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
    return np.unique(np.concatenate(plans), axis=0)


def _in_step(ends: list[np.ndarray], begins: list[float], width: float) -> np.ndarray:
    """List the strategies of an item of quantiles begin + t width in all classes, t in [0, 1]."""
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
    strategies = strategies[: max(int(np.searchsorted(np.cumsum(counts), most)), 1)]
    found = np.zeros((len(strategies), 0), int)
    origin = np.arange(len(strategies))
    for c, (first, count) in enumerate(overlaps):
        group = strategies[origin, c]
        repeated = np.repeat(np.arange(len(origin)), count[group])
        along = np.arange(len(repeated)) - np.repeat(
            np.cumsum(count[group]) - count[group], count[group]
        )
        found = np.column_stack([found[repeated], first[group][repeated] + along])
        origin = origin[repeated]
    return np.unique(found, axis=0)


def _overlaps(coarse: np.ndarray, fine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first finer group that meets each coarse one, and how many do."""
    ends, cuts = np.append(0.0, np.cumsum(coarse)), np.append(0.0, np.cumsum(fine))
    first = np.maximum(np.searchsorted(cuts, ends[:-1] + 1e-13, side="right") - 1, 0)
    first = np.minimum(first, fine.size - 1)
    last = np.clip(np.searchsorted(cuts, ends[1:] - 1e-13, side="left") - 1, first, fine.size - 1)
    return first, last - first + 1
