r"""The convex problem behind the Wyner-Ziv rate, solved at one slope by an interior point.

With $b_{zy} = P(z|y)$ and a strategy t (a map from z to the reproduction) at distortion d(y,t),

$$F(q) = -\sum_y p_y \log_2 Z_y, \qquad Z_y = \sum_t 2^{-s d(y,t)} \prod_z q(t|z)^{b_{zy}},$$

is convex in the distributions q(.|z), because a geometric mean is concave. Its minimum is that of
$I(Y;T|Z) + s\,E\,d$, and the test channel is $Q(t|y) = 2^{-s d(y,t)} \prod_z q(t|z)^{b_{zy}} / Z_y$.

Certificate: with $Q(t|z) = \sum_y P(y|z) Q(t|y)$ the gradient is $-p_z Q(t|z) / (q(t|z) \ln 2)$, and
a convex function lies above its tangent, so for every q

$$F^* \ge F(q) - \tfrac{1}{\ln 2} \Big( \sum_z p_z \max_t \tfrac{Q(t|z)}{q(t|z)} - 1 \Big).$$

With the barrier $-\mu \sum \ln q$ the bracket is at most $\mu$ times the number of unknowns: the
central path certifies itself, also where strategies are useless or tied, and where letters have no
mass.

Newton's matrix is the sum of a block of size |Z| for every strategy and of a matrix of rank |Y|: a step
costs $T|Z|^3$ operations instead of $(T|Z|)^3$. Everything in this file runs on the host, a batch of
slopes side by side, in nats.
"""

from typing import Final, NamedTuple

import numpy as np

from rdsim.information import LN2
from rdsim.threads import one_blas_thread

_STEPS: Final = 150
"""Newton steps at most; ordinary problems take 20 to 40."""
_TO_BOUNDARY: Final = 0.995
"""Fraction of the way to q = 0 that one step may go."""
_HALVINGS: Final = 16
"""Step sizes that the line search tries, each half of the last."""
_START: Final = 0.1
"""First barrier parameter mu, in nats."""
_SHRINK: Final = 0.1
"""Factor on mu once the iterate is close to the central path: between .5 and .01 four slopes took 34 to 66 steps (measured)."""
_RIDGE: Final = 1e-15
"""Added to the diagonal of the Newton matrix, whose largest entries are about one."""
_REFINEMENTS: Final = 2
"""Steps of iterative refinement of a Newton system. The blocks alone are singular but for the barrier,
so that the elimination loses digits as the barrier falls; each refinement wins most of them back. Without any, a test problem stalled at a gap of 5e-8, with one at 3e-10; two reached 1e-10."""
_LEAST_BARRIER: Final = 1e-19
"""Barrier parameter at which a slope is given up: no float64 could tell further steps apart."""
_CELLS: Final = 2**22
"""Numbers that the blocks of a batch may hold; more slopes are solved in several batches."""


class StrategyProblem(NamedTuple):
    """The problem without its slope.

    Attributes:
        p: P(y), shape (|Y|,).
        backward: P(z|y), shape (|Y|, |Z|); rows of letters without mass are any pmf.
        excess: d(y,t) above the row's least, shape (|Y|, T).

    """

    p: np.ndarray
    backward: np.ndarray
    excess: np.ndarray


class StrategyPoints(NamedTuple):
    """What q certifies at S slopes: achieved rates, and how far F may lie above its least value."""

    excess: np.ndarray  # shape (S,)
    rate: np.ndarray  # nats, shape (S,)
    gap: np.ndarray  # nats, shape (S,)
    channel: np.ndarray  # Q(t|y), shape (S, |Y|, T)


def _log_kernel(problem: StrategyProblem, slopes: np.ndarray) -> np.ndarray:
    """Exponent -s e in nats; -inf where a finite excess meets an infinite slope, or e is inf."""
    # Zero times an infinite slope is zero: the nearest letter costs nothing at any slope.
    none = problem.excess == 0
    cost = -slopes[:, None, None] * LN2 * np.where(none, 1.0, problem.excess)
    return np.where(none, 0.0, cost)


def _strategy_channel(
    problem: StrategyProblem, log_kernel: np.ndarray, q: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Test channel Q(t|y) of q(t|z), shape (..., T, |Z|), and ln Z_y, without underflow."""
    # The geometric mean of q(t|z) over z is an arithmetic mean of its logarithms; the largest
    # exponent of each row is taken off, so that at least one weight is one.
    exponent = problem.backward @ np.swapaxes(np.log(q), -1, -2) + log_kernel
    largest = exponent.max(axis=-1, keepdims=True)
    weight = np.exp(exponent - largest)
    total = weight.sum(axis=-1, keepdims=True)
    return weight / total, (np.log(total) + largest)[..., 0]


def certify(
    problem: StrategyProblem, slopes: np.ndarray, log_kernel: np.ndarray, q: np.ndarray
) -> StrategyPoints:
    """Certify the points that the test channels of q achieve, by the tangent of F at q."""
    p, B, e = problem
    Q, log_z = _strategy_channel(problem, log_kernel, q)
    pz = p @ B
    joint = p[:, None] * Q
    # The joint distribution of T and Z under the Markov chain T - Y - Z; divided by P(z) it is
    # Q(t|z).
    flow = np.swapaxes(joint, -1, -2) @ B  # P(t, z)
    induced = flow / np.where(pz > 0, pz, 1.0)
    log_induced = np.log(np.where(induced > 0, induced, 1.0))
    log_q = np.log(np.where(Q > 0, Q, 1.0))
    # I(Y;T|Z) = H(T|Z) - H(T|Y), since given Y the strategy does not depend on Z.
    rate = np.sum(joint * log_q, axis=(1, 2)) - np.sum(flow * log_induced, axis=(1, 2))
    excess = np.sum(joint * np.where(Q > 0, e, 0.0), axis=(1, 2))
    cost = np.where(excess > 0, slopes * LN2, 0.0) * excess
    # The certificate of the module: F(q) less what the tangent can fall by over all distributions
    # q'.
    lower = -log_z @ p - (np.sum(np.max(flow / q, axis=1), axis=1) - 1.0)
    rounding = 8 * np.finfo(float).eps * (q.shape[1] * q.shape[2] + p.size)
    gap = np.maximum(rate + cost - lower, 0.0) + rounding
    return StrategyPoints(excess, np.maximum(rate, 0.0), np.where(gap < np.inf, gap, np.inf), Q)


def solve(problem: StrategyProblem, slopes: np.ndarray, tolerance: float) -> StrategyPoints:
    """Follow the central path until the certified gap, in nats, is within the tolerance.

    A primal-dual interior point: Newton's method on F less the barrier, under the constraint that
    every q(.|z) sums to one, with Armijo's line search on the barrier function. Unknowns are the
    relative changes dq / q, in which the Hessian stays bounded.

    Args:
        problem: the problem.
        slopes: s > 0, bits per unit of distortion, or inf, shape (S,).
        tolerance: gap in nats at which to stop.

    Returns:
        The best points seen; their gaps say whether the tolerance was met.

    """
    (ys, zs), strategies = problem.backward.shape, problem.excess.shape[1]
    lanes = max(1, _CELLS // (strategies * zs * (zs + ys)))
    with one_blas_thread():  # many small products side by side
        batches = [
            _solve_batch(problem, slopes[first : first + lanes], tolerance)
            for first in range(0, max(slopes.size, 1), lanes)
        ]
    return StrategyPoints(*(np.concatenate(leaves) for leaves in zip(*batches, strict=True)))


def _solve_batch(problem: StrategyProblem, slopes: np.ndarray, tolerance: float) -> StrategyPoints:
    """Solve a batch of slopes side by side; those that are done leave the batch.

    Invariant of every step: each q(.|z) is positive and sums to one.
    """
    strategies, zs = problem.excess.shape[1], problem.backward.shape[1]
    log_kernel = _log_kernel(problem, slopes)
    q = np.full((slopes.size, strategies, zs), 1.0 / strategies)
    slack = _START / q  # dual of q >= 0; on the central path q * slack = mu
    barrier = np.full(slopes.size, _START)
    best = certify(problem, slopes, log_kernel, q)
    running = np.flatnonzero(best.gap > tolerance)
    for _ in range(_STEPS):
        if running.size == 0:
            break
        kernel, mu = log_kernel[running], barrier[running]
        q[running], slack[running] = _advance(problem, kernel, q[running], slack[running], mu)
        point = certify(problem, slopes[running], kernel, q[running])
        better = point.gap < best.gap[running]
        for found, new in zip(best, point, strict=True):
            found[running[better]] = new[better]
        # On the central path the gap is n mu; close to it, mu may shrink.
        close = point.gap <= 2 * strategies * zs * mu
        barrier[running] = np.where(close, _SHRINK * mu, mu)
        sound = np.all(q[running] > 0, axis=(1, 2)) & (barrier[running] > _LEAST_BARRIER)
        running = running[sound & (best.gap[running] > tolerance)]
    return best


def _advance(
    problem: StrategyProblem,
    log_kernel: np.ndarray,
    q: np.ndarray,
    slack: np.ndarray,
    barrier: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Take one damped primal-dual Newton step at each slope; return the new q and slack.

    Invariants: q stays positive (the step ends short of the boundary), each q(.|z) sums to one, and
    q * slack stays within a factor of ten of the barrier mu.
    """
    mu = barrier[:, None, None]
    Q, log_z = _strategy_channel(problem, log_kernel, q)
    flow = np.swapaxes(problem.p[:, None] * Q, -1, -2) @ problem.backward
    product = q * slack
    # The right-hand side flow + mu is the negative gradient of the barrier function in dq/q. With
    # q * slack in the place of mu on the diagonal the step is the primal-dual one.
    change = _newton_direction(problem, Q, flow, q, product, flow + mu)
    # The unknowns are relative changes: q stays positive as long as none falls below -1.
    longest = np.minimum(1.0, _TO_BOUNDARY / np.maximum(-change.min(axis=(1, 2)), 1e-300))

    # Newton's direction descends on the barrier function, which is convex: Armijo's rule, the
    # longest step size that gains a tenth of what the slope promises. Where none does, by rounding,
    # the longest step is taken, for the point is certified on its own.
    value, fall = _merit(problem, log_z, q, barrier), -np.sum(change * (flow + mu), axis=(1, 2))
    # Near the end the promised decrease is below the rounding of the merit: without an allowance
    # every step would be refused.
    noise = 1e-14 * (1 + np.abs(value))
    step = longest.copy()
    waiting = np.arange(len(q))
    for halving in range(_HALVINGS):
        a = longest[waiting] * 0.5**halving
        trial = q[waiting] * (1 + a[:, None, None] * change[waiting])
        _, tried_log_z = _strategy_channel(problem, log_kernel[waiting], trial)
        tried = _merit(problem, tried_log_z, trial, barrier[waiting])
        enough = tried <= value[waiting] + 0.1 * a * fall[waiting] + noise[waiting]
        step[waiting[enough]] = a[enough]
        waiting = waiting[~enough]
        if waiting.size == 0:
            break
    a = step[:, None, None]
    # From the linearised condition q * slack = mu: q dslack + slack dq = mu - q slack.
    slack_change = (mu - product) / q - slack * change
    q = q * (1 + a * change)
    # Newton's equations keep the sums; this takes off their rounding, which would add up.
    q = q / q.sum(axis=1, keepdims=True)
    # Keep q * slack within a factor of ten of the barrier: away from the boundary.
    return q, np.clip(slack + a * slack_change, 0.1 * mu / q, 10 * mu / q)


def _merit(
    problem: StrategyProblem, log_z: np.ndarray, q: np.ndarray, barrier: np.ndarray
) -> np.ndarray:
    """Evaluate the barrier function, F less mu times the sum of ln q."""
    return np.asarray(-log_z @ problem.p - barrier * np.sum(np.log(q), axis=(1, 2)))


def _newton_direction(
    problem: StrategyProblem,
    Q: np.ndarray,
    flow: np.ndarray,
    q: np.ndarray,
    product: np.ndarray,
    right: np.ndarray,
) -> np.ndarray:
    r"""Solve Newton's system for x = dq / q, by Woodbury's identity.

    With D the block-diagonal part, $V$ the |Y| columns $\sqrt{p_y} Q(t|y) P(z|y)$ and C the
    constraints, the system is $(D + VV^T) x + C m = r$ and $C^T x = c$. Setting $a = V^T x$ makes it

    $$D x + V a + C m = r, \qquad V^T x - a = 0, \qquad C^T x = c,$$

    of which x is eliminated block by block: what is left is of size |Y| + |Z|, and positive definite.
    """
    p, B, _ = problem
    lanes, strategies, zs = q.shape
    ys = p.size
    # D: one block of size |Z| a strategy, which Newton's equations couple only through V and C.
    squares = (B[:, :, None] * B[:, None, :]).reshape(ys, zs * zs)
    weighted = np.swapaxes(p[:, None] * Q, -1, -2)  # p_y Q(t|y), shape (S, T, |Y|)
    blocks = -(weighted @ squares).reshape(lanes, strategies, zs, zs)
    diagonal = np.arange(zs)
    blocks[..., diagonal, diagonal] += flow + product + _RIDGE
    # The columns of V and of C, a strategy at a time.
    pull = np.swapaxes(np.sqrt(p)[:, None] * Q, -1, -2)[:, :, None, :] * B.T  # (S, T, |Z|, |Y|)
    sums = np.zeros((lanes, strategies, zs, zs))
    sums[..., diagonal, diagonal] = q
    columns = np.concatenate([pull, sums], axis=-1)
    flat = columns.reshape(lanes, strategies * zs, ys + zs)
    inverse = np.linalg.inv(blocks)
    solved = inverse @ columns
    # The Schur complement: V^T D^-1 V + I in the corner of V, C^T D^-1 C in that of the
    # constraints.
    small = np.swapaxes(flat, -1, -2) @ solved.reshape(flat.shape)
    small[:, np.arange(ys), np.arange(ys)] += 1.0

    def eliminate(right: np.ndarray, sides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return x and (a, m) for the right sides r, and (0, c)."""
        x = (inverse @ right[..., None])[..., 0]
        reduced = (np.swapaxes(flat, -1, -2) @ x.reshape(lanes, -1, 1))[..., 0] - sides
        inner = np.linalg.solve(small, reduced[..., None])
        return x - (solved @ inner[:, None])[..., 0], inner[..., 0]

    sides = np.zeros((lanes, ys + zs))
    sides[:, ys:] = 1.0 - q.sum(axis=1)
    x, inner = eliminate(right, sides)
    # Iterative refinement: near the boundary the blocks are ill conditioned, and the residual of all three
    # equations tells what the elimination has lost.
    for _ in range(_REFINEMENTS):
        rest = right - (blocks @ x[..., None])[..., 0] - (columns @ inner[:, None, :, None])[..., 0]
        missing = sides - (np.swapaxes(flat, -1, -2) @ x.reshape(lanes, -1, 1))[..., 0]
        missing[:, :ys] += inner[:, :ys]
        more, inner_more = eliminate(rest, missing)
        x, inner = x + more, inner + inner_more
    return x
