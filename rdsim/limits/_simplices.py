"""The least difference of two convex functions of a distribution, from below, by branch and bound.

On a simplex of distributions the first function lies above its tangent at the middle, and minus the
second is concave: their sum is least at a corner. That is off by the square of the simplex's width.
Simplices that may hold the minimum are halved along their longest edges.
"""

import math
from collections.abc import Callable
from typing import Final

import numpy as np

_DEPTH: Final = 30
"""Times that every edge may be halved."""


def least_difference(
    letters: int,
    tangent: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    subtracted: Callable[[np.ndarray], np.ndarray],
    *,
    tolerance: float,
    most: int,
) -> tuple[float, np.ndarray]:
    """Bound min F(b) - G(b) over the distributions b of some letters, F and G convex.

    Args:
        letters: L.
        tangent: slopes and offsets of affine functions below F, good ones at given points of shape (N, L):
            shapes (N, L) and (N,). Any that lie below F everywhere keep the bound valid.
        subtracted: G, of points of shape (..., L).
        tolerance: of the bound.
        most: simplices at a time; with more of them the bound is given as it is then.

    Returns:
        The bound, and the point of the least difference that was met.

    """
    corners = np.eye(letters)[None]
    # G at the corners is kept: each half of a simplex has one corner that the whole did not have.
    at_corner = subtracted(corners)
    # The edges of a simplex, by their two corners.
    pairs = np.array([(i, j) for i in range(letters) for j in range(i)], int).reshape(-1, 2)
    known, best, settled = math.inf, corners[0].mean(axis=0), math.inf
    for _ in range(_DEPTH * max(letters - 1, 1) + 1):
        middle = corners.mean(axis=1)
        slope, offset = tangent(middle)
        # The differences that are met decide which simplices are halved, and nothing else. The bound returned is a
        # minimum over simplices that together cover all distributions, and holds whatever `known` is.
        value = (slope * middle).sum(axis=1) + offset - subtracted(middle)
        here = int(value.argmin())
        if value[here] < known:
            known, best = float(value[here]), middle[here]
        # An affine function below F, less the convex G, is concave: its least value is at a corner.
        lines = np.einsum("nvl,nl->nv", corners, slope) + offset[:, None]
        below = (lines - at_corner).min(axis=1)
        open_ = below < known - tolerance
        settled = min(settled, float(below[~open_].min(initial=math.inf)))
        corners, at_corner, below = corners[open_], at_corner[open_], below[open_]
        if len(corners) == 0 or 2 * len(corners) > most or letters == 1:
            break
        # Bisection of the longest edge: the two halves share its middle, and the widths go to zero in every direction.
        length = np.square(corners[:, pairs[:, 0]] - corners[:, pairs[:, 1]]).sum(axis=2)
        first, second = pairs[length.argmax(axis=1)].T
        each = np.arange(len(corners))
        between = 0.5 * (corners[each, first] + corners[each, second])
        left, right = corners.copy(), corners
        left[each, first], right[each, second] = between, between
        corners = np.concatenate([left, right])
        left_value, right_value, new = at_corner.copy(), at_corner, subtracted(between)
        left_value[each, first], right_value[each, second] = new, new
        at_corner = np.concatenate([left_value, right_value])
    return min(settled, float(below.min(initial=math.inf))), best
