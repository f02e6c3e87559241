"""What a user waits for: the first call of a function in a fresh process, without and with kept programs.

Each function runs in a process of its own, three times: with an empty cache folder, again with the programs
that the first one kept, and in this second process with other shapes. Importing rdsim is not counted.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks._rows import Row

TITLE = "First calls in a fresh process"
_ROOT = Path(__file__).parent.parent

_SETUP = """
import json, time
import numpy as np, jax
import rdsim
from rdsim import codes, finite_sample, limits, ranking, simulation, sources
rdsim.keep_compiled_programs()
generator = np.random.default_rng(0)
def table(*shape):
    return generator.dirichlet(np.ones(int(np.prod(shape)))).reshape(shape)
def timed(call, n):
    start = time.perf_counter(), time.process_time()
    jax.block_until_ready(jax.tree.leaves(call(n)))
    return time.perf_counter() - start[0], time.process_time() - start[1]
"""

CALLS = {
    "limits.rate_at": "limits.rate_at(table(n), 1 - np.eye(n), 0.2)",
    "limits.rate_at, 256 letters": (
        "limits.rate_at(table(64 * n), generator.uniform(size=(64 * n, 64 * n)), 0.2)"
    ),
    "limits.rate_distortion_curve": (
        "limits.rate_distortion_curve(table(n), generator.uniform(size=(n, n)), [1.0, 2.0])"
    ),
    "limits.continuous_rate_distortion": (
        "limits.continuous_rate_distortion(np.linspace(-3, 3, 25 * n), table(25 * n), [0.5, 2.0])"
    ),
    "limits.information_bottleneck": (
        "limits.information_bottleneck(table(n - 1, n - 1), [0.3], compress='columns')"
    ),
    "limits.bottleneck_at": "limits.bottleneck_at(table(n - 1, n - 1), 0.2, compress='columns')",
    "limits.bottleneck_dsbs": "limits.bottleneck_dsbs(0.1, rate=np.full(n, 0.5))",
    "limits.bottleneck_dsbs_rate": "limits.bottleneck_dsbs_rate(0.1, relevance=np.full(n, 0.2))",
    "limits.rank_loss": "limits.rank_loss(40, 'reciprocal_rank', rate=np.full(n, 20.0))",
    "limits.rank_rate": "limits.rank_rate(40, 'error', distortion=np.full(n, 0.1))",
    "limits.retrieval_bounds": (
        "limits.retrieval_bounds(table(2, 2), 10, 'error', n=n, distortion=[0.3])"
    ),
    "limits.wyner_ziv": (
        "limits.wyner_ziv(table(n - 1, n - 1), 1 - np.eye(n - 1), [2.0], compress='rows')"
    ),
    "ranking.block_loss": "ranking.block_loss(table(2, 2), np.eye(2), 20.0, 'error', n=n)",
    "ranking.expected_loss, dcg": (
        "ranking.expected_loss(20.0, 'dcg', log_a=np.full(n, -12.0), log_e=np.full(n, -13.0))"
    ),
    "ranking.retrieval_metrics": (
        "ranking.retrieval_metrics(generator.normal(size=(n, 9 * n)), np.arange(n)[:, None])"
    ),
    "codes.dsbs_ensemble": "codes.dsbs_ensemble(0.1, 30.0, 'error', n=25 * n, rate=0.5)",
    "simulation.simulate_database": (
        "simulation.simulate_database(jax.random.key(0), table(2, 2), np.eye(2), 5.0, n=n, trials=40)"
    ),
}
"""How each function is called for a size n; 4 first, then 5, a new shape."""


@dataclass(frozen=True)
class Config:
    """What is timed."""

    names: tuple[str, ...] = tuple(CALLS)
    """Of `CALLS`."""
    limit: float = 300.0
    """Seconds for a process."""


SMOKE = Config(names=("limits.rate_at",))
FULL = Config()


def run(config: Config) -> list[Row]:
    """Time every function cold, warm and at a new shape."""
    return [row for name in config.names for row in _rows(name, config.limit)]


def _rows(name: str, limit: float) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        cold = _in_fresh_process(CALLS[name], Path(folder), limit)
        warm = _in_fresh_process(CALLS[name], Path(folder), limit)
    rows = []
    for side, found in (
        ("no programs kept", cold[0] if cold else None),
        ("programs kept", warm[0] if warm else None),
        ("a new shape after it, no programs kept", cold[1] if cold else None),
    ):
        if found is None:
            rows.append(Row(name, side, status="stopped", result=f"stopped after {limit:g} s"))
            continue
        seconds, cpu = found
        rows.append(
            Row(
                name,
                side,
                seconds=seconds,
                fastest=seconds,
                slowest=seconds,
                result=f"{cpu:.2g} CPU s",
                numbers={"cpu_seconds": cpu},
            )
        )
    return rows


def _in_fresh_process(call: str, folder: Path, limit: float) -> list[tuple[float, float]] | None:
    """Seconds and CPU seconds of the first call and of one with another shape; None if it was stopped."""
    code = f"{_SETUP}print(json.dumps([timed(lambda n: {call}, n) for n in (4, 5)]))"
    environment = {**os.environ, "RDSIM_CACHE": str(folder), "JAX_PLATFORMS": "cpu"}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=_ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        raise RuntimeError(f"{call} failed:\n{done.stderr}")
    return [(float(wall), float(cpu)) for wall, cpu in json.loads(done.stdout.splitlines()[-1])]
