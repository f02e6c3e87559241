"""Time the rank law beside simulated databases of growing size: flat against linear."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from rdsim import retrieval
from rdsim.simulation.direct import simulate_database

RUNS = 5
LENGTH = 4
JOINT = np.array([[0.45, 0.05], [0.05, 0.45]])
CHANNEL = np.array([[0.9, 0.1], [0.1, 0.9]])


def rows(exponents: tuple[int, ...] = (3, 4, 5, 6)) -> list[tuple[str, str, str]]:
    """Compare at M = 10^3..10^6: an error from the law, and one simulated database."""
    found = []
    for exponent in exponents:
        size = exponent * np.log2(10.0)

        def law(size: float = size) -> Any:
            return retrieval.block_loss(JOINT, CHANNEL, LENGTH, size, "error")

        def direct(size: float = size) -> Any:
            return simulate_database(
                *(jax.random.key(0), JOINT, CHANNEL, LENGTH, size), trials=2, block=1
            ).estimates["error"]

        exact, pairs = _in_turns([law, direct])
        one = [seconds / 2 for seconds in pairs]
        ratio = statistics.median(one) / statistics.median(exact)
        found.append((f"rank law, M = 10^{exponent}", _spread(exact), "exact"))
        found.append(("  one simulated database", _spread(one), f"ratio {ratio:.3g}"))
    return found


def _in_turns(functions: list[Callable[[], Any]]) -> list[list[float]]:
    """Times of every function, in turns, after one call each that compiles."""
    times: list[list[float]] = [[] for _ in functions]
    for run in range(RUNS + 1):
        for function, found in zip(functions, times, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(jax.tree.leaves(function()))
            if run:
                found.append(time.perf_counter() - start)
    return times


def _spread(times: list[float]) -> str:
    middle, low, high = statistics.median(times), min(times), max(times)
    return f"{1e3 * middle:.3g} ms ({1e3 * low:.3g} to {1e3 * high:.3g})"
