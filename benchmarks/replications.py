"""Thousands of codes learned from samples of one source, solved in a batch or one by one."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from benchmarks._rows import Row, Side, compare
from rdsim import finite_sample, limits

TITLE = "Finite-sample replications"


@dataclass(frozen=True)
class Config:
    """What is timed."""

    letters: int = 8
    """Letters of the source and of its reproduction."""
    replications: int = 10_000
    """Codes learned."""
    samples: int = 1000
    """Samples of each."""
    alone: int = 20
    """Codes that are solved one by one; the time is scaled to all of them."""
    repeats: int = 3
    """Turns."""


SMOKE = Config(letters=3, replications=20, samples=50, alone=20, repeats=1)
FULL = Config()


def run(config: Config) -> list[Row]:
    """Compare one batch with a call of `rate_distortion_curve` for each distribution."""
    generator = np.random.default_rng(0)
    size, slope = config.letters, 20.0
    p, d = generator.dirichlet(np.ones(size)), generator.uniform(size=(size, size))
    distributions = generator.multinomial(config.samples, p, size=config.alone) / config.samples
    key = jax.random.key(0)

    def batch() -> Any:
        return finite_sample.plug_in_excess(
            key, p, d, slope, samples=config.samples, replications=config.replications
        )

    def one_by_one() -> np.ndarray:
        found = []
        for distribution in distributions:
            curve = limits.rate_distortion_curve(distribution, d, [slope], tolerance=1e-12)
            found.append(_excess(p, d, slope, np.asarray(curve.output_marginal[0])))
        return np.array(found) - _least(p, d, slope)

    def describe(excess: np.ndarray, gap: str) -> tuple[str, dict[str, float]]:
        mean = float(np.mean(excess))
        return f"mean excess {mean:.3e} nats{gap}", {"excess_nats": mean, "codes": excess.size}

    return compare(
        f"{config.replications} codes, {size} x {size}, N = {config.samples}",
        [
            Side(
                "rdsim, one batch",
                batch,
                lambda found: describe(
                    np.asarray(found.excess),
                    f", gap {float(found.suboptimality.max()):.1e} nats, certified",
                ),
            ),
            Side(
                f"one call each, scaled from {config.alone}",
                one_by_one,
                lambda excess: describe(excess, ""),
                share=config.alone / config.replications,
            ),
        ],
        config.repeats,
    )


def _excess(p: np.ndarray, d: np.ndarray, slope: float, q: np.ndarray) -> float:
    r"""$F(q) = -E \ln \sum_u q_u 2^{-s d}$ in nats."""
    return float(-p @ np.log(np.exp2(-slope * d) @ q))


def _least(p: np.ndarray, d: np.ndarray, slope: float) -> float:
    curve = limits.rate_distortion_curve(p, d, [slope], tolerance=1e-12)
    return _excess(p, d, slope, np.asarray(curve.output_marginal[0]))
