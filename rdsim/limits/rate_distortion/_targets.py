r"""Bounds of R at given distortions and of D at given rates, with their derivatives (C5, C8).

By the envelope theorem, with s the slope at the target and q, Z, Q those of the optimum there,

$$dR = -\sum_y dp_y \log_2 Z_y + s \Big( \sum_{y,u} p_y Q(u|y) \, dd_{yu} - dD \Big),$$

and $dD = (\ldots - dR) / s$ the other way round. Whatever is searched is searched in NumPy where the
numbers are known, also within `jax.grad`; JAX computes what is linear in the changes alone.
"""

import functools
import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim.information import safe_log2
from rdsim.limits.rate_distortion._point import (
    Point,
    computes_on_host,
    constant_distortions,
    host_arithmetic,
    solve_point,
    solver_on_host,
    tilted_channel,
)
from rdsim.limits.rate_distortion._search import (
    Optimum,
    Target,
    bounded,
    bracket_target,
    optimum_at_target,
    without_rate,
)
from rdsim.namespaces import on_numpy
from rdsim.transformations import STEEPEST, refusing

_once_only = refusing(
    "rate_at and distortion_at have first derivatives only; "
    "differentiate the points of rate_distortion_curve twice instead"
)


@partial(jax.custom_jvp, nondiff_argnums=(4, 5))
def bounds_at_targets(
    p: Float[Array, " y"],
    excess: Float[Array, "y u"],
    goals: Float[Array, " t"],
    tolerance: Float[Array, ""],
    by_rate: bool,
    method: str,
) -> tuple[Float[Array, " t"], Float[Array, " t"]]:
    """Bound R at excess distortions (or the excess at rates); both bounds have the limit's derivative."""
    bounds: tuple[Array, Array] = _at_each(_bounds, p, excess, goals, tolerance, by_rate, method)
    return bounds


@bounds_at_targets.defjvp
def _bounds_at_targets_jvp(
    by_rate: bool, method: str, primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Apply the envelope theorem of the module docstring at the optimum of each target."""
    p, excess, goals = map(_once_only, primals[:3])
    bounds, optima = _at_each(_bounds_and_optimum, p, excess, goals, primals[3], by_rate, method)
    change = _changes((p, excess, goals), optima, tangents[:3], by_rate)
    return bounds, (change, change)


def _at_each(
    search: Callable[[Target], Any],
    p: Float[Array, " y"],
    excess: Float[Array, "y u"],
    goals: Float[Array, " t"],
    tolerance: Float[Array, ""],
    by_rate: bool,
    method: str,
) -> Any:
    """Search for one target after the other, in NumPy or compiled; the results are stacked."""
    # Without targets only the shapes of the results are wanted, which the compiled loop knows.
    if not (computes_on_host(method, p, excess, goals, tolerance) and goals.size):
        return _compiled(search, p, excess, goals, tolerance, by_rate)
    problem = np.asarray(p), np.asarray(excess), np.asarray(goals)
    found = _on_host(search, *problem, float(tolerance), by_rate)
    return jax.tree.map(jnp.asarray, found)


def _on_host(
    search: Callable[[Target], Any],
    p: Float[np.ndarray, " y"],
    excess: Float[np.ndarray, "y u"],
    goals: Float[np.ndarray, " t"],
    tolerance: float,
    by_rate: bool,
) -> Any:
    """Do it in NumPy, on few letters at a time. A slope that several targets ask for, as inf, is solved once."""

    def solve(slope: Any, gap: Any) -> Point:
        return solved(float(slope), float(gap))

    with host_arithmetic(excess):
        solved = functools.cache(solver_on_host(p, excess))
        found = [search(Target(solve, p, excess, goal, tolerance, by_rate)) for goal in goals]
    return jax.tree.map(lambda *parts: np.array(parts, float), *found)


@partial(jax.jit, static_argnames=("search", "by_rate"))
def _compiled(
    search: Callable[[Target], Any],
    p: Float[Array, " y"],
    excess: Float[Array, "y u"],
    goals: Float[Array, " t"],
    tolerance: Float[Array, ""],
    by_rate: bool,
) -> Any:
    """Do it in one program, with all letters at once."""
    solve = partial(solve_point, p, excess)
    return jax.lax.map(
        lambda goal: search(Target(solve, p, excess, goal, tolerance, by_rate)), goals
    )


def _bounds(target: Target) -> tuple[Any, Any]:
    """Lower and upper bound on one limit."""
    return bounded(target, bracket_target(target))


def _bounds_and_optimum(target: Target) -> tuple[tuple[Any, Any], Optimum]:
    """Do the same, and find the optimum at the target."""
    end = bracket_target(target)
    return bounded(target, end), optimum_at_target(target, end)


@partial(jax.jit, static_argnames="by_rate")
def _changes(
    problem: tuple[Array, Array, Array],
    optima: Optimum,
    tangents: tuple[Array, Array, Array],
    by_rate: bool,
) -> Float[Array, " t"]:
    """Apply the envelope theorem of the module docstring at each target; return the change of the limit.

    It is linear in the tangents. At rate zero, where the optimum is the best constant letter, the limit D is that
    letter's distortion and the limit R zero: both ends have derivatives of their own.
    """
    p, excess, goals = problem
    dp, de, dgoals = tangents
    costs = constant_distortions(p, excess)
    constant = jnp.argmin(costs)
    column = jnp.where(jnp.isinf(excess[:, constant]), 0.0, excess[:, constant])

    def change_at(target: tuple[Array, Array, Optimum]) -> Array:
        goal, dgoal, (slope, q) = target
        Q, _, Z = tilted_channel(excess, slope, q)
        # The three terms of the envelope theorem in the module docstring, at the optimum of this
        # target.
        by_source = -jnp.sum(dp * safe_log2(Z))
        by_distortions = jnp.sum(p[:, None] * Q * de)
        if by_rate:
            positive = jnp.where(slope > 0, slope, 1.0)
            change = by_distortions + (by_source - dgoal) / positive
            # At rate zero the optimum is the constant letter: its distortion changes, and D falls with
            # the first slope. Where information is sent at every slope the tangent is vertical.
            fall = jnp.where(slope > 0, 1 / positive, STEEPEST)
            at_zero = dp @ column + p @ de[:, constant] - fall * dgoal
        else:
            # A vertical tangent at D_min: a huge number stands for an infinite derivative.
            change = by_source + jnp.minimum(slope, STEEPEST) * (by_distortions - dgoal)
            at_zero = jnp.zeros_like(change)
        trivial, _ = without_rate(goal, costs[constant], by_rate)
        return jnp.where(trivial, at_zero, change)

    changes: Array = jax.lax.map(change_at, (goals, dgoals, optima))
    return changes


def rate_and_gradient(
    p: Float[Any, " y"], d: Float[Any, "y u"], distortion: Any, tolerance: Any
) -> tuple[Any, Any, Any]:
    r"""Bound R(D) at one distortion, and compute its gradient in the probabilities of the letters.

    By the envelope theorem it is $-\log_2 Z_y + s \min_u d(y,u)$, for Z belongs to the excess over the row's least
    distortion; and zero where nothing is sent. Nothing is checked: D is at least D_min, and every row of d has a finite
    distortion. Arrays of NumPy are solved in NumPy, where nothing is compiled, those of JAX in compiled code.

    Args:
        p: source pmf, shape (|Y|,).
        d: distortions, shape (|Y|, |U|).
        distortion: D, a scalar.
        tolerance: certified gap to reach, bits.

    Returns:
        Lower bound, upper bound and gradient, shape (|Y|,); a pmf's mass is one, so that a constant in it means nothing.

    """
    xp = d.__array_namespace__()
    least = d.min(axis=1)
    excess = d - least[:, None]
    goal = distortion - p @ least
    search = _on_host if on_numpy(p) else _compiled
    found = search(_bounds_and_optimum, p, excess, goal[None], tolerance, False)
    (lower, upper), (slope, q) = jax.tree.map(operator.itemgetter(0), found)
    _, _, Z = tilted_channel(excess, slope, q)
    trivial, _ = without_rate(goal, constant_distortions(p, excess).min(), False)
    gradient = xp.minimum(slope, STEEPEST) * least - safe_log2(Z)
    return lower, upper, xp.where(trivial, 0.0, gradient)
