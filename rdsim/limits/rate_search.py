r"""R at given distortions and D at given rates, by a certified search for the slope (C5, C8).

By the envelope theorem, with s the slope there and q, Z, Q those of the optimum,

$$dR = -\sum_y dp_y \log_2 Z_y + s \Big( \sum_{y,u} p_y Q(u|y) \, dd_{yu} - dD \Big),$$

and $dD = (\ldots - dR) / s$ the other way round.
"""

from functools import partial
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rdsim.information import safe_log2
from rdsim.limits.certified_point import Point, channel, mean_distortions, solve_point

_SEARCH_STEPS: Final = 100
_NEWTON_STEPS: Final = 3
_POLISHED: Final = 1e-7
"""A slope whose point lies so near the target, relatively, is polished; a straight piece jumps."""
_BESIDE: Final = 1e-7
"""How far beside the slope of a straight piece its two ends are sought, relatively."""


class _Bracket(NamedTuple):
    left: Point  # not above the target distortion
    right: Point  # not below it
    slope: Float[Array, ""]
    lower: Float[Array, ""]
    upper: Float[Array, ""]
    steps: Array


@partial(jax.jit, static_argnames=("method", "by_rate"))
def search_all(
    p: Float[Array, " y"],
    excess: Float[Array, "y u"],
    goals: Float[Array, " t"],
    tolerance: Float[Array, ""],
    method: str,
    by_rate: bool,
) -> tuple[Float[Array, " t"], Float[Array, " t"]]:
    """Bounds on R at excess distortions (or on the excess at rates), one target after the other."""
    return jax.lax.map(lambda goal: _bounds(p, excess, goal, tolerance, method, by_rate), goals)


@partial(jax.custom_jvp, nondiff_argnums=(4, 5))
def _bounds(
    p: Float[Array, " y"],
    excess: Float[Array, "y u"],
    goal: Float[Array, ""],
    tolerance: Float[Array, ""],
    method: str,
    by_rate: bool,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Lower and upper bound on the one limit; both have its derivative."""
    zero_rate = jnp.min(mean_distortions(p, excess))
    end = _search(p, excess, goal, tolerance, method, by_rate)
    trivial, value = _without_rate(goal, zero_rate, by_rate)
    return jnp.where(trivial, value, end.lower), jnp.where(trivial, value, end.upper)


@_bounds.defjvp
def _bounds_jvp(
    method: str, by_rate: bool, primals: tuple[Array, ...], tangents: tuple[Any, ...]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    p, excess, goal, tolerance = primals
    dp, de, dgoal, _ = tangents
    cost = mean_distortions(p, excess)
    constant = jnp.argmin(cost)
    end = _search(p, excess, goal, tolerance, method, by_rate)
    trivial, value = _without_rate(goal, cost[constant], by_rate)
    bounds = jnp.where(trivial, value, end.lower), jnp.where(trivial, value, end.upper)

    slope, q = _optimum(p, excess, goal, tolerance, method, by_rate, end)
    Q, _, Z = channel(excess, slope, q)
    surprise = -jnp.sum(dp * safe_log2(Z))
    spent = jnp.sum(p[:, None] * Q * de)
    if by_rate:
        change = spent + (surprise - dgoal) / jnp.where(slope > 0, slope, 1.0)
        column = jnp.where(jnp.isinf(excess[:, constant]), 0.0, excess[:, constant])
        at_zero = dp @ column + p @ de[:, constant]
    else:
        # A vertical tangent at D_min: the largest float stands for an infinite derivative.
        change = surprise + jnp.minimum(slope, jnp.finfo(float).max) * (spent - dgoal)
        at_zero = jnp.zeros_like(change)
    change = jnp.where(trivial, at_zero, change)
    return bounds, (change, change)


def _without_rate(goal: Array, zero_rate: Array, by_rate: bool) -> tuple[Array, Array]:
    """Whether the target asks for no rate at all, and the limit then."""
    if by_rate:
        return goal <= 0, zero_rate
    return goal >= zero_rate, jnp.zeros(())


def _share(left: Array, right: Array, goal: Array) -> Array:
    """How far the target lies from left to right."""
    return jnp.where(
        left == right, 0.0, (goal - left) / jnp.where(left == right, 1.0, right - left)
    )


def _optimum(
    p: Array,
    excess: Array,
    goal: Array,
    tolerance: Array,
    method: str,
    by_rate: bool,
    end: _Bracket,
) -> tuple[Array, Array]:
    """Slope and output marginal of the optimum at the target.

    The certified bounds meet long before the slope is known to their accuracy, so it is polished:
    on a curved piece by Newton's method; on a straight one the slope is that of the chord, and the
    points at either end of it, just beside that slope, are mixed.
    """
    left, right = end.left, end.right

    def coordinate(point: Point) -> Array:
        return point.rate if by_rate else point.excess

    share = jnp.clip(_share(coordinate(left), coordinate(right), goal), 0.0, 1.0)
    at_end = jnp.isinf(left.slope) & (share == 0)
    width = right.excess - left.excess
    chord = (left.rate - right.rate) / jnp.where(width > 0, width, 1.0)
    chord = jnp.where(width > 0, chord, jnp.where(at_end, 1.0, left.slope))
    between = (1 - share) * jnp.where(jnp.isinf(left.slope), chord, left.slope)
    between = jnp.where(at_end, 1.0, between + share * right.slope)

    def polish(step: Array, state: _Polish) -> _Polish:
        beside = chord * (1 + _BESIDE * jnp.where(step == _NEWTON_STEPS, 1.0, -1.0))
        newton = step < _NEWTON_STEPS
        slope = jnp.where(newton, state.slope, beside)
        point, moved = jax.jvp(
            lambda s: solve_point(p, excess, s, tolerance, method),
            (slope,),
            (jnp.ones_like(slope),),
        )
        found = coordinate(point)
        error = jnp.abs(found - goal)
        rise = coordinate(moved)
        change = jnp.where(rise != 0, (goal - found) / jnp.where(rise != 0, rise, 1.0), 0.0)

        def choose(new: Point, old: Point, use: Array) -> Point:
            return jax.tree.map(lambda a, b: jnp.where(use, a, b), new, old)

        is_left = ~newton & (point.excess < state.right.excess)
        is_left &= (found >= goal) if by_rate else (found <= goal)
        is_right = ~newton & ~is_left & (point.excess > state.left.excess)
        is_right &= (found <= goal) if by_rate else (found >= goal)
        nearer = newton & (error < state.error)
        return _Polish(
            jnp.clip(slope + change, slope / 2, 2 * slope),
            choose(point, state.best, nearer),
            jnp.where(nearer, error, state.error),
            choose(point, state.left, is_left),
            choose(point, state.right, is_right),
        )

    start = _Polish(between, left, jnp.array(jnp.inf), left, right)
    done = jax.lax.fori_loop(0, _NEWTON_STEPS + 2, polish, start)
    share = jnp.clip(_share(coordinate(done.left), coordinate(done.right), goal), 0.0, 1.0)
    mixed = (1 - share) * done.left.q + share * done.right.q
    curved = (done.error < _POLISHED * goal) & ~at_end
    slope = jnp.where(at_end, jnp.inf, jnp.where(curved, done.best.slope, chord))
    return slope, jnp.where(at_end, left.q, jnp.where(curved, done.best.q, mixed))


class _Polish(NamedTuple):
    slope: Float[Array, ""]
    best: Point
    error: Float[Array, ""]
    left: Point
    right: Point


@partial(jax.custom_jvp, nondiff_argnums=(4, 5))
def _search(
    p: Float[Array, " y"],
    excess: Float[Array, "y u"],
    goal: Float[Array, ""],
    tolerance: Float[Array, ""],
    method: str,
    by_rate: bool,
) -> _Bracket:
    """Search the slope of one target.

    The bracketing points give the upper bound by time sharing, the supporting lines the lower. The
    next slope is in turn that of the chord (exact on straight pieces) and the secant's (fast on
    curved ones).
    """
    cost = mean_distortions(p, excess)

    def bound(left: Point, right: Point, lower: Array, new: Point) -> tuple[Array, Array]:
        flat = jnp.isinf(new.slope)
        slope = jnp.where(flat, 1.0, new.slope)
        floor = new.rate - new.gap
        if by_rate:
            x, y, f, g = left.rate, right.rate, left.excess, right.excess
            line = new.excess + (floor - goal) / jnp.where(slope > 0, slope, 1.0)
            # The line of slope zero says nothing of D, or that no D has so small a rate.
            level = jnp.where(floor > goal, jnp.inf, 0.0)
            line = jnp.where(flat, 0.0, jnp.where(slope > 0, line, level))
        else:
            x, y, f, g = left.excess, right.excess, left.rate, right.rate
            exact = jnp.where(new.excess >= goal, floor, 0.0)
            line = jnp.where(flat, exact, floor - slope * (goal - new.excess))
        share = _share(x, y, goal)
        between = jnp.where(share <= 0, f, jnp.where(share >= 1, g, f + share * (g - f)))
        return jnp.maximum(lower, line), between

    def step(state: _Bracket) -> _Bracket:
        new = solve_point(p, excess, state.slope, tolerance / 4, method)
        is_left = (new.rate >= goal) if by_rate else (new.excess <= goal)
        is_left |= state.steps == 0
        left = jax.tree.map(lambda n, o: jnp.where(is_left, n, o), new, state.left)
        right = jax.tree.map(lambda n, o: jnp.where(is_left, o, n), new, state.right)
        lower, upper = bound(left, right, state.lower, new)
        width = right.excess - left.excess
        chord = (left.rate - right.rate) / jnp.where(width > 0, width, jnp.inf)
        x, y = (left.rate, right.rate) if by_rate else (left.excess, right.excess)
        secant = left.slope + _share(x, y, goal) * (right.slope - left.slope)
        usable = jnp.isfinite(secant) & (state.steps % 2 == 1) & (x != y)
        slope = jnp.where(usable, secant, chord)
        return _Bracket(left, right, slope, lower, upper, state.steps + 1)

    def unfinished(state: _Bracket) -> Array:
        return (state.upper - state.lower > tolerance) & (state.steps < _SEARCH_STEPS)

    zero = jnp.zeros(())
    constant = jax.nn.one_hot(jnp.argmin(cost), cost.size, dtype=cost.dtype)
    right = Point(zero, jnp.min(cost), zero, zero, constant)
    start = _Bracket(right, right, jnp.array(jnp.inf), zero, jnp.array(jnp.inf), jnp.array(0))
    return jax.lax.while_loop(unfinished, step, start)


@_search.defjvp
def _search_jvp(
    method: str, by_rate: bool, primals: tuple[Array, ...], tangents: tuple[Any, ...]
) -> tuple[_Bracket, _Bracket]:
    """Reached by differentiating the first derivative only."""
    raise NotImplementedError(
        "rate_at and distortion_at have first derivatives only; "
        "differentiate the points of rate_distortion twice instead"
    )
