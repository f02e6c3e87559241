"""How the time of a solver grows with the letters of its alphabet, by exponents between two sizes."""

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks._rows import Row, Side, compare
from rdsim import limits

TITLE = "Growth with the alphabet"


@dataclass(frozen=True)
class Config:
    """What is timed."""

    wyner_ziv: tuple[int, ...] = (2, 3, 4, 5)
    """Letters of Y, of Z and of the reproduction; n^n strategies."""
    bottleneck: tuple[int, ...] = (6, 12, 24, 48)
    """Letters of X and of Y."""
    rate_distortion: tuple[int, ...] = (128, 512, 2048, 4096)
    """Letters of Y and of the reproduction."""
    slopes: tuple[float, ...] = (0.02, 0.1, 0.3, 0.5)
    """Slopes of the bottleneck, bits per bit."""
    distortion_slopes: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    """Slopes of the other two, bits per unit of distortion."""
    repeats: int = 1
    """Turns."""


SMOKE = Config(wyner_ziv=(2,), bottleneck=(2, 4), rate_distortion=(4,), slopes=(0.3,))
FULL = Config()


def run(config: Config) -> list[Row]:
    """Time each solver on random problems of each size."""

    def wyner_ziv(n: int) -> Any:
        joint = np.random.default_rng(n).dirichlet(np.ones(n * n)).reshape(n, n)
        return limits.wyner_ziv(joint, 1 - np.eye(n), config.distortion_slopes, compress="rows")

    def bottleneck(n: int) -> Any:
        generator = np.random.default_rng(n)
        channel = 0.7 * generator.dirichlet(np.ones(n), n).T + 0.3 * np.eye(n)
        joint = channel * generator.dirichlet(np.full(n, 2.0))
        return limits.information_bottleneck(
            joint, config.slopes, compress="columns", method="local"
        )

    def rate_distortion(n: int) -> Any:
        generator = np.random.default_rng(n)
        p, d = generator.dirichlet(np.ones(n)), generator.uniform(size=(n, n))
        return limits.rate_distortion_curve(p, d, config.distortion_slopes)

    rows = []
    for name, solve, sizes in (
        ("Wyner-Ziv", wyner_ziv, config.wyner_ziv),
        ("bottleneck, local", bottleneck, config.bottleneck),
        ("R(D), random distortions", rate_distortion, config.rate_distortion),
    ):
        rows += _growing(name, solve, sizes, config.repeats)
    return rows


def _growing(
    name: str, solve: Callable[[int], Any], sizes: tuple[int, ...], repeats: int
) -> list[Row]:
    """Rows of rising size; each says by which power of the letters the time has grown since the last."""
    rows: list[Row] = []
    for n in sizes:
        side = Side("rdsim", functools.partial(solve, n), _described)
        (row,) = compare(f"{name}, {n} x {n}", [side], repeats)
        if rows and row.seconds and rows[-1].seconds:
            before = sizes[len(rows) - 1]
            exponent = math.log(row.seconds / rows[-1].seconds) / math.log(n / before)
            row = dataclasses.replace(
                row,
                result=f"{row.result}; n^{exponent:.1f} from {before} letters",
                numbers={**row.numbers, "growth_exponent": exponent},
            )
        rows.append(row)
    return rows


def _described(curve: Any) -> tuple[str, dict[str, float]]:
    gap = float(np.max(curve.gap))
    return f"gap {gap:.1e} bits", {"gap_bits": gap}
