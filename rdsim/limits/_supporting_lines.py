r"""A convex function known by certified points: what they prove of it, and the search for more of them.

At slope s a solver proves two things about a convex function f that does not increase: a value is achieved at
some x, and the whole function lies above a line of slope -s,

$$f(x_i) \le f_i^+, \qquad f(x) \ge f_i^- - s_i (x - x_i) \text{ for every } x.$$

Together the points bound f everywhere: by the greatest line below and, since two systems can be time-shared,
by the lower convex hull of what is achieved above. The slope of the hull's edge over a target is where a
further point helps most, which is the search for f at an x, or for x at a value of f.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np

from rdsim.number_types import ArrayLike

_ROUNDS: Final = 60
"""Rounds of a search at most. One takes the gap over a goal to about a quarter where the curve bends,
and to nothing where it is straight: 15 are usual for 1e-9 bits."""

_NEARLY_FLAT: Final = 1e-9
"""Slope of the far end of a curve on which no finite distortion is free of bits, in bits per unit."""


class Points(NamedTuple):
    """Certified points of one convex function f(x) that does not increase; JAX or NumPy arrays, (S,).

    Attributes:
        slope: s >= 0, minus the slope of the supporting line. At slope inf, the left end of the
            domain, the line is vertical: it bounds f only up to x.
        x: where the point lies.
        lower: height at x of the line below f.
        upper: achieved there, f(x) at most.

    """

    slope: Any
    x: Any
    lower: Any
    upper: Any

    def and_also(self, others: "Points") -> "Points":
        """Both sets of points together."""
        namespace = self.x.__array_namespace__()
        return Points(*(namespace.concatenate(pair) for pair in zip(self, others, strict=True)))

    def line(self, at: Any) -> Any:
        r"""Return the greatest supporting line, $\max_i f_i^- - s_i (x - x_i)$; shape of `at`."""
        namespace = self.x.__array_namespace__()
        at = at[..., None]
        vertical = namespace.isinf(self.slope)
        # Zero times infinity is avoided: x is inf where no finite distortion is free of bits.
        level = vertical | (self.slope == 0) | namespace.isinf(self.x)
        run = namespace.where(level, 0.0, at - namespace.where(level, 0.0, self.x))
        heights = self.lower - namespace.where(vertical, 0.0, self.slope) * run
        return namespace.max(namespace.where(vertical & (at > self.x), -np.inf, heights), axis=-1)

    def inverse_line(self, goal: np.ndarray) -> np.ndarray:
        r"""Return what bounds the least x with f(x) <= goal below, $\max_i x_i + (f_i^- - g) / s_i$."""
        vertical, flat = np.isinf(self.slope), self.slope == 0
        rise = self.lower - goal[..., None]
        run = rise / np.where(vertical | flat, 1.0, self.slope)
        # A flat line above the goal says that no x reaches it, one below says nothing.
        unreached = np.where(rise > 0, np.inf, -np.inf)
        crossed = np.where(flat, unreached, self.x + np.where(vertical, 0.0, run))
        return np.asarray(crossed.max(axis=-1))


def lower_hull(x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """Find the corners of the lower convex hull that fall: what time sharing of the points achieves.

    Andrew's monotone chain. Infinite points are left out; of collinear points the outer two stay.

    Args:
        x: what is allowed, shape (V,).
        y: what that costs, shape (V,).

    Returns:
        Indices of the corners, x increasing and y decreasing, shape (at most V,).

    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    order = np.lexsort((y, x))
    order = order[np.isfinite(x[order]) & np.isfinite(y[order])]
    corners: list[tuple[float, float, int]] = []
    # The chain is a loop over numbers, and Python's own are several times faster there than those of NumPy.
    for right, height, place in zip(
        x[order].tolist(), y[order].tolist(), order.tolist(), strict=True
    ):
        if corners and height >= corners[-1][1]:
            continue
        while len(corners) > 1:
            (x_a, y_a, _), (x_b, y_b, _) = corners[-2:]
            if (x_b - x_a) * (height - y_a) > (right - x_a) * (y_b - y_a):
                break  # b lies strictly below the chord from a to this point
            corners.pop()
        corners.append((right, height, place))
    return np.array([place for *_, place in corners], int)


def search(
    solve: Callable[[np.ndarray], Points],
    known: Points,
    goal: np.ndarray,
    tolerance: float,
    *,
    first: tuple[float, ...] | None = None,
    inverse: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Bound f at goals, or the least x with f(x) at most a goal, by solving slopes until both meet.

    Each round solves, for every goal whose bounds are farther apart than the tolerance, the slope of
    the hull's edge over it. The edge of a straight piece is the curve, and its slope proves it.

    Args:
        solve: points of f at slopes, shape (S,).
        known: points to begin with.
        goal: x, or with `inverse` values of f, shape (T,).
        tolerance: difference of the bounds to reach, in units of what is bounded.
        first: slopes to solve first; by default inf, the left end, and if no known point is finite
            a slope that is nearly zero.
        inverse: whether x is sought.

    Returns:
        Lower and upper bounds, shape (T,). Upper bounds are inf where nothing known reaches.

    """
    if first is None:
        first = (np.inf,) if np.isfinite(known.x).any() else (np.inf, _NEARLY_FLAT)
    slopes = np.array(first, float)
    for _ in range(_ROUNDS):
        known = known.and_also(solve(slopes)) if slopes.size else known
        # Upper bound: time sharing of the points, their lower convex hull. Lower bound: the highest supporting line.
        corners = lower_hull(known.x, known.upper)
        x, y = known.x[corners], known.upper[corners]
        along, value = (y[::-1], x[::-1]) if inverse else (x, y)
        upper = np.interp(goal, along, value, left=np.inf)
        lower = np.minimum(known.inverse_line(goal) if inverse else known.line(goal), upper)
        unmet = np.isfinite(upper) & (upper - lower > tolerance)
        if len(corners) < 2 or not unmet.any():
            break
        # The tangent that is parallel to the hull's edge over a goal either raises the line there or finds a point below
        # the edge. A slope that was solved before would do neither.
        edge = np.clip(np.searchsorted(along, goal[unmet]), 1, len(corners) - 1)
        fall, run = value[edge - 1] - value[edge], along[edge] - along[edge - 1]
        slopes = np.setdiff1d(run / fall if inverse else fall / run, known.slope)
        if slopes.size == 0:
            break
    return lower, upper
