"""R(D) on grids of the plane, whose kernels are products of two: by the axes, and as a table without them.

Masses are those of a mixture of Gaussian vectors, no product of the axes. A random order of the letters hides the
axes and changes nothing else, so that the second side is the solver of any table.
"""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks._rows import Row, Side, compare
from rdsim import limits

TITLE = "R(D) on grids of the plane"
WIDTH = 4.0
CORRELATION = 0.6


@dataclass(frozen=True)
class Config:
    """What is timed."""

    points: tuple[int, ...] = (16, 32, 64)
    """Points on either axis; the letters are their squares."""
    slopes: tuple[float, ...] = (0.5, 2.0, 8.0, 32.0, 128.0)
    """Bits per unit of squared error, from a few used letters to all of them."""
    most_hidden: int = 32
    """Points up to which the table without axes is solved too."""


SMOKE = Config(points=(16,), slopes=(2.0, 32.0))
FULL = Config()


def run(config: Config) -> list[Row]:
    """Time each grid at each slope once; the certificates are computed too."""
    rows = []
    for points in config.points:
        p, d = _grid(points)
        order = np.random.default_rng(0).permutation(p.size)
        hidden = p[order], d[np.ix_(order, order)]
        for slope in config.slopes:
            sides = [_side("rdsim, by axes", p, d, slope)]
            if points <= config.most_hidden:
                sides.append(_side("rdsim, axes hidden", *hidden, slope))
            sides.append(
                Side("limit: one pass over the table", functools.partial(np.sum, d), compiles=False)
            )
            rows += compare(f"{points} x {points} letters, slope {slope:g}", sides, 1)
    return rows


def _grid(points: int) -> tuple[np.ndarray, np.ndarray]:
    """Masses of all points, and the squared error of every pair of them."""
    x = np.linspace(-WIDTH, WIDTH, points)
    a, b = np.meshgrid(x, x, indexing="ij")
    wide = np.exp(-(a**2 - 2 * CORRELATION * a * b + b**2) / (2 * (1 - CORRELATION**2)))
    narrow = 0.5 * np.exp(-((a - 1.5) ** 2 + (b + 1.0) ** 2) / 0.6)
    p = (wide + narrow).ravel()
    axis = (x[:, None] - x) ** 2
    d = (axis[:, None, :, None] + axis[None, :, None, :]).reshape(p.size, p.size)
    return p / p.sum(), d


def _side(name: str, p: np.ndarray, d: np.ndarray, slope: float) -> Side:
    def describe(curve: Any) -> tuple[str, dict[str, float]]:
        gap, rate = float(curve.gap.max()), float(curve.rate.value[0])
        return f"{rate:.6f} bits, gap {gap:.1e}, certified", {"gap_bits": gap, "rate_bits": rate}

    # Only checks of arguments are compiled, once for each size.
    return Side(name, lambda: limits.rate_distortion_curve(p, d, [slope]), describe, compiles=False)
