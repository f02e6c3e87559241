"""The points of R(D) at given slopes, with their derivatives: in NumPy one by one, or compiled and side by side."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.limits.rate_distortion._derivatives import change_of_point
from rdsim.limits.rate_distortion._point import (
    Point,
    computes_on_host,
    host_arithmetic,
    solve_point,
    solver_on_host,
)

_ENTRIES_A_CALL: Final = 2**24
"""Entries of the distortion table times slopes that one compiled call solves side by side.

It bounds the memory, some 0.5 GB, which then does not grow with the number of slopes.
"""


@partial(jax.custom_jvp, nondiff_argnums=(4,))
def points_at(
    p: Float[Array, " y"],
    excess: Float[Array, "y u"],
    slopes: Float[Array, " s"],
    tolerance: Float[Array, ""],
    method: str,
) -> Point:
    """Solve all slopes; differentiable in p, excess and slopes, both modes.

    Derivatives are implicit: whatever has solved the slopes, nothing goes through its steps.
    """
    if computes_on_host(method, p, excess, slopes, tolerance):
        known = np.asarray(p), np.asarray(excess), np.asarray(slopes)
        return _points_on_host(*known, float(tolerance))
    return _in_portions(partial(_solve_slopes, p, excess, tolerance), slopes, p, excess)


@points_at.defjvp
def _points_jvp(
    method: str, primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[Point, Point]:
    points = points_at(*primals, method)
    return points, _changes_of_points(primals[:3], points, tangents[:3])


@jax.jit
def _changes_of_points(
    problem: tuple[Array, ...], points: Point, tangents: tuple[Array, ...]
) -> Point:
    """Change of the point of each slope."""
    p, excess, slopes = problem
    dp, de, dslopes = tangents

    def change_at(slope: Array, point: Point, dslope: Array) -> Point:
        return change_of_point((p, excess, slope), point, (dp, de, dslope))

    changes: Point = jax.vmap(change_at)(slopes, points, dslopes)
    return changes


def _points_on_host(
    p: np.ndarray, excess: np.ndarray, slopes: np.ndarray, tolerance: float
) -> Point:
    """Solve one slope after the other in NumPy."""
    with host_arithmetic(excess):
        solve = solver_on_host(p, excess)
        found = [solve(slope, tolerance) for slope in slopes.tolist()]
    if not found:
        none = jnp.zeros(0)
        return Point(none, none, none, none, jnp.zeros((0, excess.shape[1])))
    return Point(*(jnp.asarray(np.array(part, float)) for part in zip(*found, strict=True)))


def _in_portions(
    solve: Callable[[Any], Point],
    slopes: Float[Array, " s"],
    p: Float[Array, " y"],
    excess: Float[Array, "y u"],
) -> Point:
    """Solve a bounded number of slopes a call, side by side.

    All calls have one shape, filled up with the last slope, so that one program serves all. Under a
    transformation there is one call.
    """
    most = max(1, _ENTRIES_A_CALL // excess.size)
    if len(slopes) <= most or validation.is_traced(slopes, p, excess):
        return solve(slopes)
    count = len(slopes)
    # As few calls as the limit allows, of nearly equal size.
    calls = -(-count // most)
    filled = np.pad(np.asarray(slopes), (0, -count % calls), mode="edge")
    parts = []
    for portion in np.split(filled, calls):
        part = solve(jnp.asarray(portion))
        # Nothing is ready inside someone's jit, where constants become tracers.
        parts.append(part if validation.is_traced(part) else jax.block_until_ready(part))
    joined: Point = jax.tree.map(lambda *found: jnp.concatenate(found)[:count], *parts)
    return joined


@jax.jit
def _solve_slopes(
    p: Float[Array, " y"],
    excess: Float[Array, "y u"],
    tolerance: Float[Array, ""],
    slopes: Float[Array, " s"],
) -> Point:
    """Solve all slopes in one call, side by side."""
    found: Point = jax.vmap(lambda slope: solve_point(p, excess, slope, tolerance))(slopes)
    return found
