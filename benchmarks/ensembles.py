"""Exact ensembles and ranking limits at sizes that no simulation reaches."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from benchmarks._rows import Row, Side, compare
from rdsim import codes, limits

TITLE = "Exact at any size"


@dataclass(frozen=True)
class Config:
    """What is timed."""

    lengths: tuple[int, ...] = (1000, 10_000)
    """Letters in an item; databases have 2^{0.3 n} items."""
    losses: int = 64
    """Points of the rank-distortion function."""
    log2_size: float = 1000.0
    """log2 of its database size."""
    repeats: int = 3
    """Turns."""


SMOKE = Config(lengths=(20,), losses=3, log2_size=20.0, repeats=1)
FULL = Config()


def run(config: Config) -> list[Row]:
    """Time the exact error of random codes and the rank-distortion function."""

    def ensemble(n: int) -> Callable[[], Any]:
        return lambda: codes.dsbs_ensemble(0.1, 0.3 * n, "error", n=n, rate=0.5)

    rows = []
    for n in config.lengths:
        rows += compare(
            f"DSBS ensemble, n = {n}, M = 2^{0.3 * n:g}",
            [
                Side(
                    "rdsim, exact",
                    ensemble(n),
                    lambda error: (f"error {float(error):.3g}, exact", {"error": float(error)}),
                )
            ],
            config.repeats,
        )
    loss = np.linspace(0.01, 0.99, config.losses)
    rows += compare(
        f"R(D; M), M = 2^{config.log2_size:g}, {config.losses} losses",
        [
            Side(
                "rdsim, certified",
                lambda: limits.rank_rate(config.log2_size, "reciprocal_rank", distortion=loss),
                lambda rate: (
                    f"gap {float(jnp.max(rate.gap)):.1e} bits, certified",
                    {"gap_bits": float(jnp.max(rate.gap))},
                ),
            )
        ],
        config.repeats,
    )
    return rows
