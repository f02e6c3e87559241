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
from rdsim.limits.rate_distortion._point import (
    Point,
    channel,
    first_slope,
    information,
    mean_distortions,
    solve_point,
)
from rdsim.transformations import STEEPEST, refusing

_SEARCH_STEPS: Final = 100
_NARROW: Final = 1e-7
"""Relative width of the bracket of a slope that is to be known, not only bounded."""
_SHRINK: Final = 0.02
_STRIDE: Final = 4.0
_once_only = refusing(
    "rate_at and distortion_at have first derivatives only; "
    "differentiate the points of rate_distortion_curve twice instead"
)


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
    p, excess, goal = map(_once_only, primals[:3])
    tolerance = primals[3]
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
        first = first_slope(p, excess)
        column = jnp.where(jnp.isinf(excess[:, constant]), 0.0, excess[:, constant])
        # Where information is sent at every slope, D falls from D_max with a vertical tangent.
        fall = jnp.where(first > 0, 1 / jnp.where(first > 0, first, 1.0), STEEPEST)
        at_zero = dp @ column + p @ de[:, constant] - fall * dgoal
    else:
        # A vertical tangent at D_min: a huge number stands for an infinite derivative.
        change = surprise + jnp.minimum(slope, STEEPEST) * (spent - dgoal)
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

    The certified bounds meet long before the slope is known to their accuracy, so the bracket is
    closed: by interpolation to either side in turn, every third time by halving. On a straight piece
    it closes on the critical slope, whose two ends are mixed. On a curved one the error of the
    mixture is the square of the width.
    """

    def coordinate(point: Point) -> Array:
        return point.rate if by_rate else point.excess

    def measured(point: Point) -> Point:
        return point._replace(rate=information(p, excess, point)) if by_rate else point

    left, right = measured(end.left), measured(end.right)
    share = jnp.clip(_share(coordinate(left), coordinate(right), goal), 0.0, 1.0)
    at_end = jnp.isinf(left.slope) & (share == 0)
    # The search knows rates to its tolerance only, which may have put a point on the wrong side.
    first = first_slope(p, excess)
    low = jnp.where(by_rate & (right.rate > goal), 0.0, right.slope)
    right = right._replace(slope=jnp.maximum(low, first))
    wrong = (by_rate & (left.rate < goal)) | (left.slope <= right.slope)
    left = left._replace(slope=jnp.where(wrong, jnp.inf, left.slope))
    # Where little is sent, the tolerance must be smaller; below 1e-13 the solver does not come.
    sent = goal if by_rate else end.upper
    fine = jnp.minimum(tolerance / 4, jnp.maximum(1e-3 * sent, 1e-13))

    def is_open(state: _Closing) -> Array:
        low, high = state.right.slope, state.left.slope
        asked = (goal > 0) if by_rate else True
        return asked & ~at_end & (high > low * (1 + _NARROW)) & (state.steps < _SEARCH_STEPS)

    def step(state: _Closing) -> _Closing:
        left, right = state.left, state.right
        low, high = right.slope, left.slope
        width = right.excess - left.excess
        chord = (left.rate - right.rate) / jnp.where(width > 0, width, 1.0)
        chord = jnp.where((width > 0) & (chord > 0), chord, 1.0)
        # Outwards while one end is no slope, then inwards.
        upwards, downwards = _STRIDE * jnp.maximum(low, chord), jnp.minimum(high, chord) / _STRIDE
        inside = jnp.isfinite(high) & (low > 0)
        low_, high_ = jnp.where(inside, low, 1.0), jnp.where(inside, high, 2.0)
        middle = jnp.sqrt(low_) * jnp.sqrt(high_)
        share = jnp.clip(_share(coordinate(right), coordinate(left), goal), 0.0, 1.0)
        secant = low_ + share * (high_ - low_)
        beside = jnp.maximum(_SHRINK * (high_ - low_), 0.4 * _NARROW * secant)
        beside = secant + jnp.where(state.steps % 2 == 0, beside, -beside)
        between = jnp.where(state.steps % 3 == 2, middle, jnp.clip(beside, low_, high_))
        slope = jnp.where(inside, between, jnp.where(jnp.isinf(high), upwards, downwards))
        new = measured(solve_point(p, excess, slope, fine, method))
        is_left = (new.rate > goal) if by_rate else (new.excess <= goal)
        return _Closing(
            jax.tree.map(lambda n, o: jnp.where(is_left, n, o), new, left),
            jax.tree.map(lambda n, o: jnp.where(is_left, o, n), new, right),
            state.steps + 1,
        )

    done = jax.lax.while_loop(is_open, step, _Closing(left, right, jnp.array(0)))
    left, right = done.left, done.right
    share = jnp.clip(_share(coordinate(left), coordinate(right), goal), 0.0, 1.0)
    slope = left.slope + share * (right.slope - jnp.where(at_end, 0.0, left.slope))
    return (
        jnp.where(at_end, jnp.inf, slope),
        jnp.where(at_end, left.q, (1 - share) * left.q + share * right.q),
    )


class _Closing(NamedTuple):
    left: Point  # not above the target distortion; slopes not below the optimum's
    right: Point
    steps: Array


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
