"""How near the hot paths come to what the machine can do, by operations and bytes counted by hand.

The yardsticks are measured in the same run: a product of float64 matrices, a pass over an array
larger than the caches, exponentials of an array inside them, and random words that are not stored.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import _machine
from benchmarks._rows import Row, Side, compare
from rdsim import ranking, simulation
from rdsim.limits.rate_distortion._interior_point import primal_dual

TITLE = "Hot paths and physical limits"


@dataclass(frozen=True)
class Config:
    """What is timed."""

    matrix: int = 2048
    """Size of the product that measures operations."""
    stream: int = 2**25
    """Numbers of the pass that measures bytes."""
    cached: int = 2**13
    """Numbers of the array whose exponentials are taken."""
    words: int = 2**26
    """Random words drawn."""
    letters: int = 1000
    """Source letters of the interior point."""
    columns: int = 192
    """Its working columns."""
    targets: int = 2**20
    """Targets whose rank distribution is evaluated."""
    trials: int = 4000
    """Trials of the Monte Carlo engine."""
    log2_size: float = 6.0
    """log2 of its database size."""
    repeats: int = 5
    """Turns."""


SMOKE = Config(64, 2**10, 2**6, 2**10, 20, 6, 2**6, 200, 2.0, 1)
FULL = Config()


def run(config: Config) -> list[Row]:
    """Measure the yardsticks, then each hot path as a fraction of its own."""
    runs = config.repeats
    peak = {
        "flop": _machine.peak_flops(config.matrix, runs),
        "byte": _machine.peak_bytes(config.stream, runs),
        "exponential": _machine.peak_exponentials(config.cached, runs),
        "random word": _machine.peak_random(config.words, runs),
    }
    rows = [
        Row(
            "yardsticks",
            {"flop": "product of matrices", "byte": "pass over an array"}.get(unit, f"{unit}s"),
            result=f"{value / 1e9:.3g}e9 {unit}s/s",
            numbers={f"{unit}s_per_second": value},
        )
        for unit, value in peak.items()
    ]
    for problem, make in _PATHS.items():
        call, counts, words = make(config)
        (row,) = compare(problem, [Side("rdsim", call)], config.repeats)
        rows.append(_against(row, counts, peak, words))
    return rows


def _against(row: Row, counts: dict[str, float], peak: dict[str, float], words: str) -> Row:
    """Add what a row did a second, as a share of the yardsticks; the largest share is the limit."""
    if row.seconds is None:
        return row
    best = row.fastest or row.seconds
    shares = {unit: count / best / peak[unit] for unit, count in counts.items()}
    numbers = {f"{unit}s": count for unit, count in counts.items()}
    numbers |= {f"share_of_{unit}s": share for unit, share in shares.items()}
    text = ", ".join(
        f"{counts[unit]:.3g} {unit}s = {share:.0%} of the limit" for unit, share in shares.items()
    )
    return Row(**{**vars(row), "result": f"{words}{text}", "numbers": {**row.numbers, **numbers}})


def _interior_point(config: Config) -> tuple[Callable[[], Any], dict[str, float], str]:
    """All steps of one solve: $2|Y|k^2$ for H, $k^3/3$ to factor it, ten products with K."""
    generator = np.random.default_rng(0)
    n, k = config.letters, config.columns
    x, u = np.linspace(-5, 5, n), np.linspace(-4, 4, k)
    kernel = np.exp2(-4.0 * (x[:, None] - u) ** 2)
    p = jnp.asarray(generator.dirichlet(np.full(n, 50.0)))
    K = jnp.asarray(kernel / kernel.max(axis=1, keepdims=True))
    start = jnp.full(k, 1.0 / k)
    solve = jax.jit(primal_dual)

    def call() -> Any:
        return solve(K, p, start, jnp.array(0.5), jnp.array(1e-10))

    steps = int(call().steps)
    flops = steps * (2.0 * n * k * k + k**3 / 3 + 20.0 * n * k)
    return call, {"flop": flops}, f"{steps} Newton steps, {n} x {k}; "


def _rank_distribution(
    loss: ranking.Loss, config: Config
) -> tuple[Callable[[], Any], dict[str, float], str]:
    """One rank distribution for each target: two numbers in, one out; that of the error takes twelve exponentials.

    Six exp, two each of expm1, log1p and log. The DCG loss sums hundreds of errors, for fewer targets.
    """
    targets = config.targets // (64 if loss == "dcg" else 1)
    generator = np.random.default_rng(0)
    log_a = jnp.asarray(np.log(generator.uniform(1e-6, 1e-3, targets)))
    log_e = log_a - 1.0
    size = jnp.asarray(20.0)

    def call() -> Any:
        return ranking.expected_loss(size, loss, log_a=log_a, log_e=log_e)

    counts = {"byte": 24.0 * targets}
    if loss == "error":
        counts["exponential"] = 12.0 * targets
    return call, counts, f"{targets} targets, any M; "


def _engine(config: Config) -> tuple[Callable[[], Any], dict[str, float], str]:
    """A trial draws M 2^{nR} codewords of at most 32 bits, M items and the query's noise."""
    n, rate, log2_size = 20, 0.4, config.log2_size
    drawn = config.trials * (2**log2_size * (int(2 ** (n * rate)) + 1) + n)

    def call() -> Any:
        return simulation.simulate_dsbs(
            jax.random.key(0), 0.1, log2_size, n=n, rate=rate, trials=config.trials
        ).ranks

    return call, {"random word": drawn}, f"{config.trials} trials; "


_PATHS: dict[str, Callable[[Config], tuple[Callable[[], Any], dict[str, float], str]]] = {
    "interior point": _interior_point,
    "rank distribution of the error, batch": partial(_rank_distribution, "error"),
    "rank distribution of the reciprocal rank, batch": partial(
        _rank_distribution, "reciprocal_rank"
    ),
    "rank distribution of miss at 10, batch": partial(_rank_distribution, ("miss", 10)),
    "rank distribution of DCG, batch": partial(_rank_distribution, "dcg"),
    "Monte Carlo engine": _engine,
}
