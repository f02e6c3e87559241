"""A primal-dual interior point over a working set of strategies: Mehrotra's predictor and corrector (C25, C26)."""

from typing import Any, Final, NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse
from scipy.special import logsumexp

from rdsim.limits.retrieval.items._strategies import Problem, Solution

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
