"""Time the hot paths beside their obvious alternatives and print a table (`make bench`).

Compilation is kept apart: every function runs once before it is timed. Times are the median of
three runs; ratios compare two functions in the same process.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import rank_law_cost, replications
from experiments.certified_curves import gaussian_grid
from rdsim import codes, limits, simulation

RUNS = 3


def seconds(function: Callable[[], Any], runs: int = RUNS) -> float:
    """Return the median time of a call, after one call that compiles."""
    jax.block_until_ready(function())
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


@jax.jit
def blahut_arimoto(
    p: jax.Array, d: jax.Array, slopes: jax.Array, gap: float, most: int
) -> tuple[jax.Array, jax.Array]:
    """Run plain Blahut-Arimoto, one slope after the other, until the gap or the cap on steps."""

    def solve(slope: jax.Array) -> tuple[jax.Array, jax.Array]:
        kernel = jnp.exp2(-slope * (d - d.min(axis=1, keepdims=True)))

        def step(state: tuple[jax.Array, jax.Array, jax.Array]) -> Any:
            q, _, steps = state
            c = (p / (kernel @ q)) @ kernel
            return q * c, jnp.log2(c.max()), steps + 1

        def unfinished(state: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
            return (state[1] > gap) & (state[2] < most)

        start = (jnp.full(d.shape[1], 1 / d.shape[1]), jnp.array(jnp.inf), jnp.array(0))
        _, reached, steps = jax.lax.while_loop(unfinished, step, start)
        return reached, steps

    return jax.lax.map(solve, slopes)


def rate_distortion_rows() -> list[tuple[str, str, str]]:
    """Compare certified curves with plain Blahut-Arimoto, at a gap a thousand times looser."""
    generator = np.random.default_rng(0)
    random = generator.dirichlet(np.ones(256)), generator.uniform(size=(256, 256))
    problems = (
        ("R(D), random 256 x 256, 64 slopes", *random, np.geomspace(0.1, 300, 64), 200_000),
        (
            "R(D), Gaussian 1000 points, 32 slopes",
            *gaussian_grid(1000)[1:],
            np.geomspace(0.75, 72, 32),
            1000,
        ),
    )
    rows = []
    for name, p, d, slopes, cap in problems:
        data = jnp.asarray(p), jnp.asarray(d), jnp.asarray(slopes)
        curve = limits.rate_distortion(*data)
        ours = seconds(lambda data=data: limits.rate_distortion(*data))
        start = time.perf_counter()
        reached, steps = jax.block_until_ready(blahut_arimoto(*data, 1e-6, cap))
        plain = time.perf_counter() - start
        note = f"gap {float(curve.gap.max()):.1e} bits, certified"
        rows.append((name, f"{ours:.2f} s", note))
        capped = int((np.asarray(steps) >= cap).sum())
        rows.append(
            (
                "  plain Blahut-Arimoto, asked for 1e-6",
                f"{plain:.2f} s",
                f"gap {float(reached.max()):.1e}, {capped} slopes stopped at {cap} steps; "
                f"ratio {'at least ' if capped else ''}{plain / ours:.1f}",
            )
        )
    return rows


def ensemble_rows() -> list[tuple[str, str, str]]:
    """Time the exact ensemble at lengths and sizes that no simulation reaches, and compare one."""
    rows = []
    for n, size in ((1000, 300.0), (10_000, 3000.0)):
        time_exact = seconds(lambda n=n, size=size: codes.dsbs_ensemble(n, 0.5, size, 0.1, "error"))
        rows.append((f"DSBS ensemble, n = {n}, M = 2^{size:g}", f"{time_exact:.3f} s", "exact"))
    key = jax.random.key(0)
    exact = seconds(lambda: codes.dsbs_ensemble(20, 0.4, 6.0, 0.1, "error"))
    direct = seconds(lambda: simulation.simulate_dsbs(key, 20, 0.4, 6.0, 0.1, trials=2000).ranks)
    rows.append(("DSBS ensemble, n = 20, M = 64", f"{exact:.4f} s", "exact"))
    rows.append(("  2000 simulated databases", f"{direct:.2f} s", f"ratio {direct / exact:.0f}"))
    return rows


def rank_rows() -> list[tuple[str, str, str]]:
    """Time the rank-distortion function of the largest database."""
    loss = np.linspace(0.01, 0.99, 64)
    took = seconds(lambda: limits.rank_rate(loss, 1000.0, "reciprocal_rank").value)
    return [("R(D; M), M = 2^1000, 64 losses", f"{took:.2f} s", "certified")]


def main() -> None:
    """Print the table, the machine named by its cores alone."""
    table = Table(
        "what", "median time", "remark", title=f"{os.cpu_count()} cores, {jax.default_backend()}"
    )
    for row in (
        *rate_distortion_rows(),
        *ensemble_rows(),
        *rank_rows(),
        *rank_law_cost.rows(),
        *replications.rows(seconds),
    ):
        table.add_row(*row)
    Console(file=sys.stdout, width=120).print(table)


if __name__ == "__main__":
    main()
