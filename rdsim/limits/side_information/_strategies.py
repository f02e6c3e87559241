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
mass. Everything in this file is in nats.
"""

from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rdsim.information import LN2

_STEPS: Final = 150
"""Newton steps at most; ordinary problems take 20 to 40."""
_TO_BOUNDARY: Final = 0.995
"""Fraction of the way to q = 0 that one step may go."""
_HALVINGS: Final = 16
"""Step sizes that the line search tries, each half of the last."""
_START: Final = 0.1
"""First barrier parameter mu, in nats."""
_SHRINK: Final = 0.1
"""Factor on mu once the iterate is close to the central path."""
_RIDGE: Final = 1e-15
"""Added to the diagonal of the Newton matrix, whose largest entries are about one."""


class StrategyProblem(NamedTuple):
    """The problem without its slope.

    Attributes:
        p: P(y), shape (|Y|,).
        backward: P(z|y), shape (|Y|, |Z|); rows of letters without mass are any pmf.
        excess: d(y,t) above the row's least, shape (|Y|, T).

    """

    p: Float[Array, " y"]
    backward: Float[Array, "y z"]
    excess: Float[Array, "y t"]


class StrategyPoint(NamedTuple):
    """What q certifies, in nats: an achieved rate, and how far F may lie above its least value."""

    excess: Float[Array, ""]
    rate: Float[Array, ""]
    gap: Float[Array, ""]
    channel: Float[Array, "y t"]


class _Iterate(NamedTuple):
    """State of the interior point. Invariant: every q(.|z) is positive and sums to one."""

    q: Float[Array, "t z"]
    slack: Float[Array, "t z"]  # dual of q >= 0; on the central path q * slack = mu
    barrier: Float[Array, ""]  # mu
    best: StrategyPoint  # of least gap so far
    step: Int[Array, ""]


def _log_kernel(problem: StrategyProblem, slope: Float[Array, ""]) -> Float[Array, "y t"]:
    """Exponent -s e in nats; -inf where a finite excess meets an infinite slope, or e is inf."""
    none = problem.excess == 0
    return jnp.where(none, 0.0, -slope * LN2 * jnp.where(none, 1.0, problem.excess))


def _strategy_channel(
    problem: StrategyProblem, log_kernel: Float[Array, "y t"], q: Float[Array, "t z"]
) -> tuple[Float[Array, "y t"], Float[Array, " y"]]:
    """Test channel Q(t|y) of q, and ln Z_y, without underflow."""
    exponent = problem.backward @ jnp.log(q).T + log_kernel
    largest = jnp.max(exponent, axis=1, keepdims=True)
    weight = jnp.exp(exponent - largest)
    total = weight.sum(axis=1, keepdims=True)
    return weight / total, (jnp.log(total) + largest)[:, 0]


def certify(
    problem: StrategyProblem,
    slope: Float[Array, ""],
    log_kernel: Float[Array, "y t"],
    q: Float[Array, "t z"],
) -> StrategyPoint:
    """Certify the point that the test channel of q achieves, by the tangent of F at q."""
    p, B, e = problem
    Q, log_z = _strategy_channel(problem, log_kernel, q)
    pz = p @ B
    flow = (p[:, None] * Q).T @ B  # P(t, z)
    induced = flow / jnp.where(pz > 0, pz, 1.0)
    log_induced = jnp.where(induced > 0, jnp.log(jnp.where(induced > 0, induced, 1.0)), 0.0)
    log_q = jnp.where(Q > 0, jnp.log(jnp.where(Q > 0, Q, 1.0)), 0.0)
    rate = jnp.sum(p[:, None] * Q * log_q) - jnp.sum(flow * log_induced)
    excess = jnp.sum(p[:, None] * Q * jnp.where(Q > 0, e, 0.0))
    cost = jnp.where(excess > 0, slope * LN2, 0.0) * excess
    lower = -jnp.sum(p * log_z) - (jnp.sum(jnp.max(flow / q, axis=0)) - 1.0)
    rounding = 8 * jnp.finfo(float).eps * (q.size + p.size)
    gap = jnp.maximum(rate + cost - lower, 0.0) + rounding
    return StrategyPoint(excess, jnp.maximum(rate, 0.0), jnp.where(gap < jnp.inf, gap, jnp.inf), Q)


def solve(
    problem: StrategyProblem, slope: Float[Array, ""], tolerance: Float[Array, ""]
) -> StrategyPoint:
    """Follow the central path until the certified gap, in nats, is within the tolerance.

    A primal-dual interior point: Newton's method on F less the barrier, under the constraint that
    every q(.|z) sums to one, with Armijo's line search on the barrier function. Unknowns are the
    relative changes dq / q, in which the Hessian stays bounded.

    Args:
        problem: the problem.
        slope: s > 0, bits per unit of distortion, or inf.
        tolerance: gap in nats at which to stop.

    Returns:
        The best point seen; its gap says whether the tolerance was met.

    """
    p, B, _ = problem
    log_kernel = _log_kernel(problem, slope)
    strategies, zs = problem.excess.shape[1], B.shape[1]
    n = strategies * zs
    belongs = jnp.tile(jnp.eye(zs), (strategies, 1))

    def advance(state: _Iterate) -> _Iterate:
        q, slack, barrier, best, step = state
        Q, _ = _strategy_channel(problem, log_kernel, q)
        joint = p[:, None] * Q
        flow = joint.T @ B
        # Hessian of F in dq / q: one block for each strategy, plus a matrix of rank |Y|.
        pull = (Q[:, :, None] * B[:, None, :]).reshape(-1, n)
        blocks = flow[:, :, None] * jnp.eye(zs) - jnp.einsum("yt,yz,yw->tzw", joint, B, B)
        H = jnp.einsum("tzw,ts->tzsw", blocks, jnp.eye(strategies)).reshape(n, n)
        # C are the constraints. Adding C C^T makes H definite and changes nothing where they hold.
        C = belongs * q.reshape(n, 1)
        H = H + pull.T @ (p[:, None] * pull) + C @ C.T
        product = (q * slack).reshape(n)
        factor = jax.scipy.linalg.cho_factor(H + jnp.diag(product + _RIDGE))
        through = jax.scipy.linalg.cho_solve(factor, C)
        missing = 1.0 - q.sum(axis=0)

        # Eliminate the multipliers of the constraints (Schur complement), then solve for dq / q.
        right = jax.scipy.linalg.cho_solve(factor, flow.reshape(n) + barrier + C @ missing)
        multiplier = jnp.linalg.solve(C.T @ through, C.T @ right - missing)
        change = (right - through @ multiplier).reshape(q.shape)
        longest = jnp.minimum(1.0, _TO_BOUNDARY / jnp.maximum(-jnp.min(change), 1e-300))
        steps = longest * 0.5 ** jnp.arange(_HALVINGS)
        # Newton's direction descends on the barrier function, which is convex: Armijo's rule, the
        # longest step size that gains a tenth of what the slope promises.
        value, slope_there = merit(q, barrier), -jnp.sum(change * (flow + barrier))
        tried = jax.vmap(lambda a: merit(q * (1 + a * change), barrier))(steps)
        noise = 1e-14 * (1 + jnp.abs(value))
        a = steps[jnp.argmax(tried <= value + 0.1 * steps * slope_there + noise)]
        dslack = (barrier - product).reshape(q.shape) / q - slack * change
        q = q * (1 + a * change)
        q = q / q.sum(axis=0)
        # Keep q * slack within a factor of ten of the barrier: away from the boundary.
        slack = jnp.clip(slack + a * dslack, 0.1 * barrier / q, 10 * barrier / q)
        point = certify(problem, slope, log_kernel, q)
        best = jax.tree.map(lambda new, old: jnp.where(point.gap < best.gap, new, old), point, best)
        # On the central path the gap is n mu; close to it, mu may shrink.
        barrier = jnp.where(point.gap <= 2 * n * barrier, _SHRINK * barrier, barrier)
        return _Iterate(q, slack, barrier, best, step + 1)

    def merit(q: Float[Array, "t z"], barrier: Float[Array, ""]) -> Float[Array, ""]:
        _, log_z = _strategy_channel(problem, log_kernel, q)
        return -jnp.sum(p * log_z) - barrier * jnp.sum(jnp.log(q))

    def unfinished(state: _Iterate) -> Array:
        sound = jnp.all(state.q > 0) & (state.barrier > 1e-19)
        return (state.best.gap > tolerance) & (state.step < _STEPS) & sound

    q = jnp.full((strategies, zs), 1.0 / strategies)
    first = certify(problem, slope, log_kernel, q)
    start = _Iterate(q, _START / q, jnp.asarray(_START), first, jnp.asarray(0))
    return jax.lax.while_loop(unfinished, advance, start).best
