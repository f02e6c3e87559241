r"""Search for the slope whose line meets the bottleneck at a rate, or at a relevance.

Everything here runs on the host between calls of the jitted kernels, in bits.
"""

from typing import Any, Final

import numpy as np

from rdsim.information import LN2
from rdsim.limits.bottleneck._certificate import ROUNDING
from rdsim.limits.bottleneck._solver import Options, Points, Source, proved, solved

_RETRIES: Final = 3
_SEARCH_STEPS: Final = 60
_SLOPES: Final = (1e-9, 1 - 1e-9)


class Curve:
    """All that is known of IB so far: achieved points, and lines above it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._points = np.array([[0.0, 0.0, 1.0], [source.entropy, source.information, 0.0]])
        self.lines = np.array([[0.0, 1.0], [source.information + ROUNDING, 0.0]])

    def add_points(self, rate: Any, relevance: Any, slope: Any) -> None:
        """Add achieved pairs and the slopes at which they were found."""
        new = np.stack([np.ravel(x) for x in (rate, relevance, slope)], axis=1)
        self._points = np.concatenate([self._points, new])

    def add_lines(self, height: Any, slope: Any) -> None:
        """Add lines IB(R) <= height + slope R."""
        new = np.stack([np.ravel(height), np.ravel(slope)], axis=1)
        self.lines = np.concatenate([self.lines, new])

    def hull(self) -> np.ndarray:
        """Corners (rate, relevance, slope) of the concave hull, both coordinates increasing."""
        corners: list[np.ndarray] = []
        order = np.lexsort((self._points[:, 1], self._points[:, 0]))
        for point in self._points[order]:
            if corners and point[1] <= corners[-1][1]:
                continue
            while len(corners) > 1 and _turns_left(corners[-2], corners[-1], point):
                corners.pop()
            if corners and point[0] <= corners[-1][0]:
                corners.pop()
            corners.append(point)
        return np.array(corners)

    def bounds(self, target: np.ndarray, by: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Lower and upper bound on IB at rates, or on its inverse at relevances, and the line."""
        r, v, _ = self.hull().T
        height, slope = self.lines.T
        if by == "rate":
            lines = height + slope * target[:, None]
            best = np.argmin(lines, axis=1)
            return np.interp(target, r, v), lines.min(axis=1), best
        with np.errstate(divide="ignore", invalid="ignore"):
            lines = np.where(slope > 0, (target[:, None] - height) / slope, 0.0)
        best = np.argmax(lines, axis=1)
        return lines.max(axis=1), np.interp(target, v, r), best


def _turns_left(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> bool:
    return bool((b[0] - a[0]) * (c[1] - a[1]) >= (b[1] - a[1]) * (c[0] - a[0]))


def search(source: Source, target: np.ndarray, options: Options, by: str) -> tuple[Any, Any]:
    """Bounds on IB at rates, or on its inverse at relevances, shape (T,), all strictly inside.

    Lines are first taken on trust, then those in use are proved. Where a proof fails because
    pricing had missed a posterior, its point is better now, and the search goes on from there.
    """
    curve = Curve(source)
    missed: dict[float, np.ndarray] = {}
    for _ in range(_RETRIES):
        found = _explore(curve, target, options, by, missed)
        _, _, best = curve.bounds(target, by)
        used = sorted({curve.lines[k, 1] for k in best} & found.keys())
        curve.lines = curve.lines[~np.isin(curve.lines[:, 1], list(found))]
        if used:
            slopes = np.array(used)
            chosen = Points(
                *(np.concatenate(leaves) for leaves in zip(*map(found.get, used), strict=True))
            )
            room = options.tolerance * (slopes if by == "relevance" else np.ones_like(slopes))
            upper, _, chosen, where = proved(source, chosen, options, 0.5 * room)
            curve.add_lines(upper, slopes)
            curve.add_points(chosen.complexity, chosen.relevance, slopes)
            missed.update(zip(used, where, strict=True))
        lower, upper, _ = curve.bounds(target, by)
        if not used or (upper - lower <= options.tolerance).all():
            break
    return lower, upper


def _explore(
    curve: Curve,
    target: np.ndarray,
    options: Options,
    by: str,
    missed: dict[float, np.ndarray],
) -> dict[float, Points]:
    """Add points and unproved lines until the two meet over every target.

    The next slope is in turn that of the hull's chord over the target (exact where IB is straight)
    and the secant's (fast where it is curved). Pricing also starts from what was missed at the
    nearest slope that was proved before.
    """
    source, found = curve.source, {}
    axis = 0 if by == "rate" else 1
    for step in range(_SEARCH_STEPS):
        lower, upper, _ = curve.bounds(target, by)
        open_ = upper - lower > 0.25 * options.tolerance
        if not open_.any():
            break
        hull = curve.hull()
        right = np.clip(np.searchsorted(hull[:, axis], target[open_]), 1, len(hull) - 1)
        a, b = hull[right - 1], hull[right]
        chord = (b[:, 1] - a[:, 1]) / (b[:, 0] - a[:, 0])
        share = (target[open_] - a[:, axis]) / (b[:, axis] - a[:, axis])
        secant = a[:, 2] + share * (b[:, 2] - a[:, 2])
        slopes = np.unique(np.clip(secant if step % 2 else chord, *_SLOPES))
        slopes = np.array([s for s in slopes if s not in found])
        if slopes.size == 0:
            if step % 2 == 0:
                continue
            break
        starts = [
            missed[min(missed, key=lambda known: abs(known - s))] if missed else source.py
            for s in slopes
        ]
        points = solved(source, slopes, options, np.array(starts))
        curve.add_points(points.complexity, points.relevance, slopes)
        curve.add_lines(points.dual @ source.py / LN2, slopes)
        for k, s in enumerate(slopes):
            found[s] = Points(*(leaf[k : k + 1] for leaf in points))
    return found
