"""The rank distribution beside simulated databases of growing size: flat against linear."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from benchmarks._rows import Row, Side, compare
from rdsim import ranking
from rdsim.simulation import RunOptions, simulate_database

TITLE = "Rank distribution against direct simulation"
LENGTH = 4
JOINT = np.array([[0.45, 0.05], [0.05, 0.45]])
CHANNEL = np.array([[0.9, 0.1], [0.1, 0.9]])


@dataclass(frozen=True)
class Config:
    """What is timed."""

    exponents: tuple[int, ...] = (3, 4, 5, 6, 7)
    """Powers of ten of the database sizes."""
    trials: int = 2
    """Databases of one simulation; its time is that of all of them."""
    repeats: int = 5
    """Turns."""


SMOKE = Config(exponents=(1,), trials=400, repeats=1)
FULL = Config()


def run(config: Config) -> list[Row]:
    """Compare an exact error with that of simulated databases, at each size."""
    return [row for exponent in config.exponents for row in _rows(config, exponent)]


def _rows(config: Config, exponent: int) -> list[Row]:
    size = exponent * np.log2(10.0)

    def exact() -> Any:
        return ranking.block_loss(JOINT, CHANNEL, size, "error", n=LENGTH)

    def direct() -> Any:
        return simulate_database(
            jax.random.key(0),
            JOINT,
            CHANNEL,
            size,
            n=LENGTH,
            trials=config.trials,
            run=RunOptions(block=1),
        ).estimates["error"]

    def estimated(found: Any) -> tuple[str, dict[str, float]]:
        numbers = {name: float(getattr(found, name)) for name in ("mean", "lower", "upper")}
        return f"error in [{numbers['lower']:.3g}, {numbers['upper']:.3g}]", numbers

    return compare(
        f"error, M = 10^{exponent}, blocks of {LENGTH} letters",
        [
            Side(
                "rdsim, exact",
                exact,
                lambda found: (f"error {float(found):.6g}, exact", {"mean": float(found)}),
            ),
            # Compared per database: the distribution needs one evaluation, whatever its use.
            Side(
                "one simulated database",
                direct,
                estimated,
                share=float(config.trials),
            ),
        ],
        config.repeats,
    )
