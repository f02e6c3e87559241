"""Trials a second of the Monte Carlo engine beside plain NumPy: random codes for binary items.

A trial draws a codebook of 2^{nR} codewords for each of M items, stores the nearest codeword, and ranks
the items by the Hamming distance of their codewords to a noisy copy of the target. NumPy's version is
vectorised over trials, codewords packed into integers.
"""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from benchmarks._rows import Row, Side, compare
from rdsim import codes, simulation

TITLE = "Monte Carlo trials per second"
LENGTH, RATE, CROSSOVER = 20, 0.4, 0.1


@dataclass(frozen=True)
class Config:
    """What is timed."""

    log2_size: int = 6
    """log2 of the database size."""
    trials: int = 4000
    """Trials of one run."""
    repeats: int = 5
    """Turns."""


SMOKE = Config(log2_size=2, trials=200, repeats=1)
FULL = Config()


def run(config: Config) -> list[Row]:
    """Compare the engine, NumPy and the exact ensemble."""

    def describe(error: Any) -> tuple[str, dict[str, float]]:
        mean = float(error)
        return f"{config.trials} trials, error {mean:.4f}", {"error": mean}

    def engine() -> Any:
        ranks = simulation.simulate_dsbs(
            jax.random.key(0),
            CROSSOVER,
            float(config.log2_size),
            n=LENGTH,
            rate=RATE,
            trials=config.trials,
        ).ranks
        return (ranks > 1).mean()

    rows = compare(
        f"random codes, n = {LENGTH}, M = {2**config.log2_size}",
        [
            Side("rdsim, Monte Carlo engine", engine, describe),
            Side("NumPy", lambda: plain(config), describe, compiles=False),
            Side(
                "rdsim, exact ensemble",
                lambda: codes.dsbs_ensemble(
                    CROSSOVER, float(config.log2_size), "error", n=LENGTH, rate=RATE
                ),
                lambda error: (f"error {float(error):.6f}, exact", {"error": float(error)}),
            ),
        ],
        config.repeats,
    )
    return [_with_speed(row, config) for row in rows]


def _with_speed(row: Row, config: Config) -> Row:
    """Add the trials per second of a row that made trials."""
    if "exact" in row.side or row.seconds is None:
        return row
    speed = config.trials / row.seconds
    numbers = {**row.numbers, "trials_per_second": speed}
    return Row(**{**vars(row), "result": f"{speed:.3g} trials/s; {row.result}", "numbers": numbers})


def plain(config: Config) -> float:
    """Fraction of trials whose target is not first, ties broken at random."""
    generator = np.random.default_rng(0)
    items, codewords = 2**config.log2_size, int(2 ** (LENGTH * RATE))
    at_once = max(1, 2**20 // (items * codewords))
    errors = 0
    for first in range(0, config.trials, at_once):
        number = min(at_once, config.trials - first)
        shape = (number, items)
        stored = generator.integers(0, 2**LENGTH, shape, dtype=np.uint32)
        books = generator.integers(0, 2**LENGTH, (*shape, codewords), dtype=np.uint32)
        distance = np.bitwise_count(books ^ stored[..., None])
        chosen = np.take_along_axis(books, distance.argmin(axis=-1)[..., None], axis=-1)[..., 0]
        # The target is item 0: all are alike.
        flips = generator.random((number, LENGTH)) < CROSSOVER
        query = stored[:, 0] ^ (flips @ (1 << np.arange(LENGTH))).astype(np.uint32)
        score = np.bitwise_count(chosen ^ query[:, None])
        better = (score[:, 1:] < score[:, :1]).sum(axis=1)
        tied = (score[:, 1:] == score[:, :1]).sum(axis=1)
        first_of_ties = generator.random(number) * (tied + 1) < 1
        errors += int(((better > 0) | ~first_of_ties).sum())
    return errors / config.trials
