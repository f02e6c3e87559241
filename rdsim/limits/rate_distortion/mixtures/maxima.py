r"""Local maximisers of $c(u) = \sum_y \nu_y e^{-|z_y - u|^2/2}$, by Newton's method from the highest cells.

They are where new atoms enter. That none was missed is proved by `gaussian_sum.largest_value` alone.
"""

from typing import Final

import numpy as np

from rdsim.limits.rate_distortion.mixtures.gaussian_sum import Cells, parabola, taylor

_LONGEST_STEP: Final = 0.4
"""Longest step of a climb, in kernel widths: longer Newton steps leave the hill."""
_CLOSE: Final = 1e-9
"""Climbing stops when no step is longer, in kernel widths."""
_FLAT: Final = 1e-9
"""Least curvature that a Newton step divides by, relative to c."""
_CHUNK: Final = 20_000_000
"""Numbers held in memory at once."""


def local_maxima(z: np.ndarray, nu: np.ndarray, cells: Cells, least: float) -> np.ndarray:
    """Local maximisers of c, climbed to from the cells around which c may exceed `least`.

    Shape (M, d).
    """
    a = taylor(z, nu, cells, 3)
    value = a[:, :, 0, 0]
    padded = np.pad(value, 1, constant_values=-np.inf)
    shifts = [(i, j) for i in (0, 1, 2) for j in (0, 1, 2) if (i, j) != (1, 1)]
    rows, columns = value.shape
    peak = np.all([value >= padded[i : i + rows, j : j + columns] for i, j in shifts], axis=0)
    i, j = np.nonzero(peak & (value + _rise(a, 1.5) > least))
    return climb(z, nu, _centres(cells, i, j)[:, : z.shape[1]])


def _centres(cells: Cells, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    return np.stack([cells[0][i], cells[1][j]], axis=1)


def _rise(a: np.ndarray, width: float) -> np.ndarray:
    """How far the Taylor quadratic of each cell may rise above its centre within `width` cells."""
    rise = parabola(a[:, :, 1, 0], 2 * a[:, :, 2, 0], width)
    if a.shape[3] > 1:
        rise = rise + parabola(a[:, :, 0, 1], 2 * a[:, :, 0, 2], width)
        rise = rise + np.abs(a[:, :, 1, 1]) * width**2
    return rise


def climb(z: np.ndarray, nu: np.ndarray, u: np.ndarray, steps: int = 16) -> np.ndarray:
    """Move each u, shape (M, d), towards a local maximiser of c; the highest place met is kept.

    Newton's method with the magnitudes of the curvatures, which leaves minima and saddles uphill.
    """
    chunk = max(1, _CHUNK // (8 * len(z)))
    return np.concatenate(
        [_climb(z, nu, u[i : i + chunk], steps) for i in range(0, len(u), chunk)] or [u]
    )


def _climb(z: np.ndarray, nu: np.ndarray, u: np.ndarray, steps: int) -> np.ndarray:
    """Climb from all starts of one chunk together."""
    floor = np.finfo(float).tiny
    best, height = u, np.full(len(u), -np.inf)
    for _ in range(steps):
        offset = z - u[:, None]
        weight = nu * np.exp(-np.sum(offset**2, axis=2) / 2)
        total = weight.sum(axis=1)
        higher = total > height
        best, height = np.where(higher[:, None], u, best), np.where(higher, total, height)
        gradient = np.einsum("mn,mni->mi", weight, offset)
        second = np.einsum("mn,mni,mnj->mij", weight, offset, offset, optimize=True)
        # The Hessian of c is sum nu K (o o^T - I), with o the offsets.
        value, vector = np.linalg.eigh(second - total[:, None, None] * np.eye(z.shape[1]))
        # In the eigenbasis: gradient over magnitude of curvature, cut to the longest step.
        along = np.einsum("mi,mij->mj", gradient, vector)
        step = along / np.maximum(np.abs(value), np.maximum(_FLAT * total, floor)[:, None])
        step = np.einsum("mij,mj->mi", vector, step)
        length = np.linalg.norm(step, axis=1, keepdims=True)
        u = u + step * np.minimum(1.0, _LONGEST_STEP / np.maximum(length, floor))
        if np.max(length, initial=0.0) < _CLOSE:
            break
    return np.clip(best, z.min(axis=0), z.max(axis=0))
