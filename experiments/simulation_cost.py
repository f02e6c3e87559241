"""Cost of an expected loss: the rank distribution beside simulated databases, against their size.

Losses and numbers of operations follow from the key. The seconds are measured on the machine at
hand and hold for it alone; no check uses them.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim, without_checkpoint
from rdsim import ranking
from rdsim.simulation import RunOptions, simulate_database

CLAIMS = ("C1",)
C1 = Claim("C1")
CONFIDENCE = 1 - 1e-8
CROSSOVER = 0.1
TEST_CHANNEL = np.array([[0.9, 0.1], [0.1, 0.9]])
JOINT = 0.5 * np.array([[1 - CROSSOVER, CROSSOVER], [CROSSOVER, 1 - CROSSOVER]])


@dataclass(frozen=True)
class Config:
    """What is computed."""

    block_length: int = 16
    """Letters in an item."""
    log2_sizes: tuple[int, ...] = (8, 10, 12, 14)
    """log2 of the simulated database sizes."""
    largest: int = 40
    """log2 of the largest database of the rank distribution."""
    items: int = 2**19
    """Items drawn at every size, which determines the number of databases."""
    fewest: int = 32
    """Least number of databases drawn."""
    repeats: int = 3
    """Timed runs, of which the median counts."""


SMOKE = Config(block_length=8, log2_sizes=(8,), largest=12, items=2**14, repeats=1)
QUICK = Config()
FULL = Config(log2_sizes=(8, 10, 12, 14, 16, 18, 20), items=2**22, fewest=64)


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Compute the error both ways, the operations and the seconds of each."""
    sizes = np.arange(4, config.largest + 1, 4)
    exact = checkpoint("rank-distribution", _rank_distribution, config, sizes)
    direct = [checkpoint(f"direct-{s}", _direct, config, key, s) for s in config.log2_sizes]
    unit = {"units": "1"}
    measured = {
        "units": "s",
        "note": "measured on the machine at hand, not reproducible from the key",
    }
    operations = {"units": "1", "long_name": "multiplications, or letters drawn and added"}
    attributes = {"seconds": measured, "operations": operations}
    return xarray.Dataset(
        {
            **{
                f"rank_distribution_{name}": ("log2_size", exact[name], attributes.get(name, unit))
                for name in ("error", "operations", "seconds")
            },
            **{
                f"direct_{name}": (
                    "simulated_log2_size",
                    np.array([point[name] for point in direct]),
                    attributes.get(name, unit),
                )
                for name in (
                    "error",
                    "lower",
                    "upper",
                    "exact",
                    "databases",
                    "operations",
                    "seconds",
                )
            },
            "anchor": ((), checkpoint("anchor", _anchor)["error"], unit),
        },
        coords={
            "log2_size": ("log2_size", sizes, {"units": "bits"}),
            "simulated_log2_size": list(config.log2_sizes),
        },
        attrs={"block_length": config.block_length},
    )


def _rank_distribution(config: Config, sizes: np.ndarray) -> dict[str, np.ndarray]:
    n = config.block_length

    def expected(size: float) -> Any:
        return ranking.block_loss(JOINT, TEST_CHANNEL, size, "error", n=n)

    # Two score levels a letter: 2 n multiplications for each of the n + 1 scores and 2 levels.
    return {
        "error": np.array([expected(float(size)) for size in sizes]),
        "operations": np.full(sizes.size, 2 * n * (n + 1) * 2),
        "seconds": np.array(
            [_seconds(partial(expected, float(size)), config.repeats) for size in sizes]
        ),
    }


def _direct(config: Config, key: jax.Array, log2_size: int) -> dict[str, np.ndarray]:
    n, databases = config.block_length, max(config.items >> log2_size, config.fewest)

    def simulated() -> Any:
        return simulate_database(
            jax.random.fold_in(key, log2_size),
            JOINT,
            TEST_CHANNEL,
            float(log2_size),
            n=n,
            trials=databases,
            run=RunOptions(block=16),
            confidence=CONFIDENCE,
        )

    error = simulated().estimates["error"]
    exact = ranking.block_loss(JOINT, TEST_CHANNEL, float(log2_size), "error", n=n)
    return {
        "error": np.asarray(error.mean),
        "lower": np.asarray(error.lower),
        "upper": np.asarray(error.upper),
        "exact": np.asarray(exact),
        "databases": np.array(databases),
        # For one database: y, u and the score of every letter.
        "operations": np.array(3 * n * 2**log2_size),
        "seconds": np.array(_seconds(simulated, config.repeats) / databases),
    }


def _anchor() -> dict[str, np.ndarray]:
    """Error of 32 uncompressed bits among 1000 items, known from its binomial sums."""
    error = ranking.block_loss(JOINT, np.eye(2), np.log2(1000.0), "error", n=32)
    return {"error": np.asarray(error)}


def _seconds(function: Callable[[], Any], repeats: int) -> float:
    """Return the median time of a call that is compiled already."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(jax.tree.leaves(function()))
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check that simulated intervals contain the exact error, and compare a known value."""
    exact = dataset.direct_exact
    outside = int(((exact < dataset.direct_lower) | (exact > dataset.direct_upper)).sum())
    return [
        C1.monte_carlo.at_most(
            f"simulated intervals (of {exact.size}) that miss the exact error", outside, 0
        ),
        C1.closed_form.close(
            "error of 32 uncompressed bits, crossover 0.1, among 1000 items",
            dataset.anchor,
            1 - 0.964422603,
            1e-9,
        ),
    ]
