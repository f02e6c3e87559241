"""A primal-dual interior point over a working set of strategies: Mehrotra's predictor and corrector (C25, C26)."""

import itertools
from typing import Any, Final, NamedTuple

import numpy as np
import scipy

from rdsim.limits.retrieval.items._strategies import Problem, Solution

_INTERIOR_STEPS: Final = 60
"""Most Newton steps; the best point that was met is returned."""
_LEAST_SLACK: Final = 1e-3
"""Share of a slack that a step leaves at least."""
_EASY: Final = 30.0
"""Range of the rewards in nats from which on lambda is lowered in stages, by factors of three."""
_FAR_SLACK: Final = 1.0
"""Nats of slack that all strategies have at a far start."""
_NEAR_SLACK: Final = 10.0
"""Slack at a start from coarser groups, over the tolerance: with a tenth or ten times of it one to five steps of about fifteen are added
(measured)."""
_STAGE: Final = 1e-3
"""Nats left open by all stages but the last."""
_CENTRAL: Final = 0.1
"""Share of the central path's masses that a stage begins with at least."""
_SHORT: Final = 0.3
"""Step size below which the next step recentres."""


def interior_point(
    problem: Problem, strategies: np.ndarray, tolerance: float, start: Solution | None = None
) -> Solution:
    r"""Minimise mass . beta + P . theta subject to f_F <= 0 for the strategies of a working set.

    Where rewards range over many nats the posteriors of a far start forget letters, and Newton's
    equations are singular. So lambda is lowered in stages, each from the solution of the one
    before. From dual variables that are near the optimum there are no stages; where they do not lead to it, all is done from afar.

    Args:
        problem: the classes and their groups.
        strategies: the working set, indices of groups, shape (J, C). It must hold a plan that has
            the prescribed masses.
        tolerance: the sum of q s to reach, the duality gap over the working set in nats.
        start: dual variables to begin with, of coarser groups or a smaller working set; its masses are not used.

    Returns:
        The solution. Its dual variables are used with a bound that holds for any, and its channel
        is evaluated as it is: nothing rests on convergence.

    """
    offset = np.append(0, np.cumsum([m.size for m in problem.mass]))
    log_py = np.log(problem.py)[:, None]
    # Lambda is lowered by dividing the rewards, which are in units of it, by falling powers of
    # three. Letters along the first axis, strategies along the second: sums over few letters are fast.
    rewards = np.ascontiguousarray(problem.log_weights(strategies).T) - log_py
    nothing, missed = np.zeros(len(strategies)), np.inf
    if start is not None:
        x, slack = np.concatenate([*start.beta, start.theta]), _NEAR_SLACK * tolerance
        missed, q, x = _at_one_multiplier(
            problem, strategies, log_py + rewards, nothing, x, tolerance, slack
        )
    if missed >= tolerance:
        # Every multiplier at the largest reward it has to pay for: all strategies are feasible.
        spread = max(float(np.ptp(rewards)), 1.0)
        stages = max(int(np.ceil(np.log(spread / _EASY) / np.log(3.0))), 0)
        q, x = nothing, np.zeros(int(offset[-1]) + problem.py.size)
        for c, (r, e) in enumerate(zip(problem.reward, problem.direction, strict=True)):
            x[offset[c] : offset[c + 1]] = np.outer(r, e).max(axis=1) / 3.0**stages
        for stage in range(stages, -1, -1):
            weights = log_py + rewards / 3.0**stage
            reach = _STAGE if stage else tolerance
            _, q, x = _at_one_multiplier(problem, strategies, weights, q, x, reach, _FAR_SLACK)
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
    least_slack: float,
) -> tuple[float, np.ndarray, np.ndarray]:
    r"""Solve at one lambda by Mehrotra's predictor and corrector.

    The conditions are $\sum_F q_F \nabla s_F = (\mathrm{mass}, P)$, $s_F = -f_F$, $q_F s_F = \mu$.
    s is linear in beta, and its gradient in theta is the posterior, so that the Hessian of the
    Lagrangian is the mean covariance of the posteriors. The constants that can move between the
    classes and theta without any effect are held fixed.

    Args:
        problem: the classes and their groups.
        strategies: the working set, shape (J, C).
        weights: ln P_y + sum_c e_c(y) omega_c(F_c), shape (|Y|, J).
        q: masses to begin with; where they are small, the central path's are taken.
        x: beta of all classes and theta, to begin with.
        tolerance: as in `interior_point`.
        least_slack: nats that every strategy has to begin with.

    Returns:
        What the best iterate misses, in nats, and its q and x.

    """
    C, n = problem.direction.shape
    places = _Places.of(strategies, [m.size for m in problem.mass])
    offset = places.offset
    J, width = len(strategies), int(offset[-1]) + n
    goal = np.concatenate([*problem.mass, problem.py])
    gauge, later = np.zeros((C, width)), width - int(offset[1])
    space = np.empty((int(offset[1]), later)), np.empty((later, later)), np.empty((later, later))
    for c in range(C):
        gauge[c, offset[c] : offset[c + 1]] = -1.0
        gauge[c, offset[-1] :] = 1.0

    def terms(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        posterior = weights - x[offset[-1] :, None]
        top = posterior.max(axis=0)
        posterior -= top
        np.exp(posterior, out=posterior)
        total = posterior.sum(axis=0)
        # s_F = sum_c beta_c(F_c) - ln sum_y exp(weights - theta), the logarithm with its largest
        # term taken off.
        slack = x[places.column].sum(axis=0) - top - np.log(total)
        posterior /= total
        return slack, posterior

    slack, posterior = terms(x)
    # Raising one class gives all strategies slack; q s is then made alike where q is small.
    # An interior starting point: every strategy uses one group of the first class, so that a
    # constant added to all beta of that class adds the same slack to every strategy. Where some are violated by more than that
    # slack, it is as large as what they are violated by: masses of the central path would else be those of these few.
    x = x.copy()
    worst = float(slack.min())
    x[: offset[1]] += max(max(least_slack, -worst) - worst, 0.0)
    slack, posterior = terms(x)
    s = slack
    # On the central path q_F s_F is the same for all F: masses proportional to 1/s are on it.
    # From an earlier stage masses are kept, but those near zero are raised, or they would stay
    # there.
    central = (1.0 / s) / np.sum(1.0 / s)
    q = np.maximum(q, central if not q.any() else _CENTRAL * central)
    step, best, span = 1.0, (np.inf, q, x), 1.0 + float(np.ptp(weights))
    for _ in range(_INTERIOR_STEPS):
        # Invariants of the loop: q > 0 and s > 0, and s is the true slack of x. The duality gap
        # over the working set is q . s where the masses are met; what they are not is in
        # `residual`.
        G = _Gradient(places, posterior)
        residual = goal - G.summed(q)
        mu = float(q @ s) / J
        # A missed mass costs its multiplier, which is of the size of the rewards.
        missed = max(mu * J, span * float(np.abs(residual).sum()))
        if missed < best[0]:
            best = missed, q, x
        if missed < tolerance:
            break
        # Hessian of the Lagrangian in theta, sum_F q_F (diag(P_F) - P_F P_F^T), positive
        # semidefinite: -s_F is convex in theta.
        hessian = np.diag(posterior @ q) - (posterior * q) @ posterior.T
        system = _NewtonSystem.of(G, q, s, residual, hessian, gauge, space)
        if system is None:
            break  # the best iterate so far is returned
        # The predictor aims at q s = 0. The corrector aims at a fraction of mu, by what the
        # predictor says can be had, and takes off dq ds, the predictor's second-order error;
        # after a short step it recentres instead, at half of mu.
        # (ahead / mu)^3 is Mehrotra's heuristic: where the predictor comes far the target falls
        # close to zero, where it is blocked the corrector mostly returns to the central path.
        _, dq, ds = system.step(np.zeros(J))
        ahead = float((q + _longest(q, dq) * dq) @ (s + _longest(s, ds) * ds)) / J
        aimed = min(ahead / mu, 1.0) ** 3 * mu - dq * ds
        target = aimed if step > _SHORT else np.full(J, 0.5 * mu)
        dx, dq, ds = system.step(target)
        # One step length for primal and dual, since the equations are not linear in theta; 0.99
        # of the way to the boundary keeps both positive.
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
        else:
            break  # no step is short enough
        x, q, s = x + step * dx, q + step * dq, slack
    return best


class _Places(NamedTuple):
    """Where the strategies of a working set have their multipliers.

    Attributes:
        offset: of each class among all multipliers, and their number, shape (C + 1,).
        column: place of each strategy's multiplier among those of all classes, shape (C, J).
        pair: place of a strategy's two multipliers in the block of a pair of classes, for each pair c < d.

    """

    offset: np.ndarray
    column: np.ndarray
    pair: dict[tuple[int, int], np.ndarray]

    @classmethod
    def of(cls, strategies: np.ndarray, sizes: list[int]) -> "_Places":
        offset = np.append(0, np.cumsum(sizes))
        group = np.ascontiguousarray(strategies.T)
        pairs = itertools.combinations(range(len(sizes)), 2)
        pair = {(c, d): group[c] * sizes[d] + group[d] for c, d in pairs}
        return cls(offset, group + offset[:-1, None], pair)


class _Gradient(NamedTuple):
    """Gradients of the slacks in beta and theta: a one for each class, and the posterior, of shape (|Y|, J).

    Products are sums by group (`bincount`): ten times as fast as those of sparse matrices of so few columns.
    """

    places: _Places
    posterior: np.ndarray

    def along(self, x: np.ndarray) -> np.ndarray:
        """Return the products with a direction of the variables, shape (J,)."""
        last = self.places.offset[-1]
        return np.asarray(x[self.places.column].sum(axis=0) + x[last:] @ self.posterior)

    def summed(self, q: np.ndarray) -> np.ndarray:
        """Return the sum of the gradients with weights, shape (width,)."""
        last = int(self.places.offset[-1])
        by_group = np.zeros(last)
        for column in self.places.column:
            by_group += np.bincount(column, q, last)
        return np.append(by_group, self.posterior @ q)

    def products(self, weight: np.ndarray, across: np.ndarray, rest: np.ndarray) -> np.ndarray:
        """Compute the weighted sum of the gradients' outer products, in blocks.

        Args:
            weight: of the gradients, shape (J,).
            across: filled with the block between the first class and all other variables.
            rest: filled with that of these among each other.

        Returns:
            The first class's own block, which is diagonal.

        """
        offset, column, pair = self.places
        last, n, m = int(offset[-1]), len(self.posterior), int(offset[1])
        weighted = weight * self.posterior
        own = [np.bincount(c, weight, last) for c in column]
        rest[:-n, :-n] = 0.0
        np.fill_diagonal(rest[:-n, :-n], np.sum(own, axis=0)[m:])
        with_theta = np.array(
            [sum(np.bincount(c, each, last) for c in column) for each in weighted]
        )
        across[:, -n:], rest[-n:, :-n] = with_theta[:, :m].T, with_theta[:, m:]
        for (c, d), place in pair.items():
            rows, columns = (slice(offset[k] - m, offset[k + 1] - m) for k in (c, d))
            shape = (rows.stop - rows.start, columns.stop - columns.start)
            block = np.bincount(place, weight, shape[0] * shape[1]).reshape(shape)
            if c == 0:
                across[:, columns] = block
            else:
                rest[columns, rows] = block.T
                rest[rows, columns] = block
        rest[:-n, -n:] = rest[-n:, :-n].T
        rest[-n:, -n:] = self.posterior @ weighted.T
        return np.asarray(own[0][:m])


class _NewtonSystem(NamedTuple):
    """Newton's equations of the interior point, reduced to the dual variables and factorised.

    Attributes:
        gradient: of the slacks, shape (J, width).
        q: masses.
        s: slack variables.
        residual: of the prescribed masses.
        scale: square roots of the diagonal, by which the matrix is scaled before it is factorised.
        across: scaled block between the first class and all other variables.
        factor: of Cholesky, of what is left once the first class is eliminated.

    """

    gradient: _Gradient
    q: np.ndarray
    s: np.ndarray
    residual: np.ndarray
    scale: np.ndarray
    across: np.ndarray
    factor: Any

    @classmethod
    def of(
        cls,
        gradient: _Gradient,
        q: np.ndarray,
        s: np.ndarray,
        residual: np.ndarray,
        hessian: np.ndarray,
        gauge: np.ndarray,
        space: tuple[np.ndarray, np.ndarray, np.ndarray],
    ) -> "_NewtonSystem | None":
        """Eliminate q and s, fix the gauge, and factorise; None where rounding forbids it.

        All is done in matrices that are there, `space`: new ones of a megabyte take longer to get from the operating system than to fill.
        """
        across, rest, other = space
        n, m = hessian.shape[0], len(across)
        first = gradient.products(q / s, across, rest)
        rest[-n:, -n:] += hessian
        # Symmetric scaling to a unit diagonal (Jacobi): masses of groups, and with them the
        # entries of the matrix, range over many orders of magnitude, which scaling takes out of the
        # condition number.
        scale = np.sqrt(np.maximum(np.append(first, np.diag(rest)), 1e-200))
        across *= 1 / scale[m:]
        across *= 1 / scale[:m, None]
        rest *= 1 / scale[m:]
        rest *= 1 / scale[m:, None]
        if not np.isfinite(across.sum() + rest.sum()):
            return None
        # In scaled variables a gauge direction is multiplied by the scale.
        fixed = gauge[:, m:] * scale[m:]
        fixed /= np.linalg.norm(fixed, axis=1)[:, None]
        # The first class is eliminated: its block is diagonal, one but for groups without strategies, whose rows are zero.
        # What is left is singular along the gauge directions, which change no slack. Their outer products
        # make it regular, and leave the step as it is but for its part along them, which has no
        # effect.
        rest -= np.matmul(across.T, across, out=other)
        rest += np.matmul(fixed.T, fixed, out=other)
        # Near the solution q / s ranges over many orders of magnitude, and rounding may make the matrix
        # indefinite: the ridge is raised until Cholesky's factorisation succeeds. A regularised
        # step is inexact, which the next one makes up for.
        for ridge in (1e-14, 1e-10, 1e-6):
            rest[np.diag_indices(len(rest))] += ridge
            np.copyto(other, rest)
            try:
                # It is symmetric: its transpose is in Fortran's order, and is factorised in its place.
                factor = scipy.linalg.cho_factor(other.T, overwrite_a=True, check_finite=False)
            except np.linalg.LinAlgError:
                continue
            return cls(gradient, q, s, residual, scale, across, factor)
        return None

    def step(self, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Solve for the step of x, q and s at which q s is the target to first order."""
        # With ds = G dx and dq = (target - q ds) / s - q eliminated, what is left of the
        # equations of the masses is (G^T (q/s) G + H) dx = G^T (target/s - q) - residual.
        right = self.gradient.summed(target / self.s - self.q)
        right = (right - self.residual) / self.scale
        m = len(self.across)
        later = scipy.linalg.cho_solve(
            self.factor, right[m:] - self.across.T @ right[:m], check_finite=False
        )
        dx = np.append(right[:m] - self.across @ later, later) / self.scale
        ds = self.gradient.along(dx)
        return dx, (target - self.q * ds) / self.s - self.q, ds


def _longest(v: np.ndarray, dv: np.ndarray) -> float:
    """Return the longest step, at most one, that keeps v positive."""
    falls = dv < 0
    return min(1.0, float((-v[falls] / dv[falls]).min(initial=np.inf)))
