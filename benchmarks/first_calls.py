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
import numpy as np, jax, jax.numpy as jnp
import rdsim
from rdsim import codes, embeddings, finite_sample, information, learning, limits, ranking, simulation, sources
rdsim.keep_compiled_programs()
generator = np.random.default_rng(0)
key = jax.random.key(0)
def table(*shape):
    return generator.dirichlet(np.ones(int(np.prod(shape)))).reshape(shape)
def vectors(n):
    items = generator.normal(size=(300 * n, 16))
    return (items + generator.normal(size=items.shape)).astype(np.float32), items.astype(np.float32)
def trial(key, crossover):
    flipped = jax.random.bernoulli(key, crossover, (9,))
    return {"kept": flipped.sum() <= 4, "wrong": flipped.mean()}
def report(n):
    for name, array in zip("xy", vectors(n)):
        np.save(f"{folder}/{name}.npy", array)
    np.save(f"{folder}/t.npy", np.arange(300 * n))
    task = embeddings.retrieval_task(
        embeddings.read_vectors(f"{folder}/x.npy"), embeddings.read_vectors(f"{folder}/y.npy"),
        embeddings.read_targets(f"{folder}/t.npy", 300 * n))
    return embeddings.measure_embeddings(key, task, (4, 16), systems=("transform code", "rotated PQ"))
def system(n):
    x, y = vectors(n)
    pairs = learning.array_pairs(key, x[:, :n], y, held_out=128)
    (found,) = learning.fit_family(key, "CCA", pairs, bits=(6,))
    return learning.held_out_point(key, found, x[:, :n], y).losses["reciprocal_rank"].mean
def item_code(n):
    means = generator.normal(size=(n, 2))
    source = sources.gaussian_mixture(table(n), means, np.full(n, 0.1), query_noise=[0.2])
    code = codes.vector_quantizer(key, source.sample(key, 500)[1], 4 * n)
    decoder = simulation.Decoder(ranking.negative_squared_distance, code.codewords)
    return simulation.simulate_item_code(
        key, source, codes.common_code(code), {"distance": decoder}, code.masses, 10.0, ("error",), trials=100
    ).estimates
def timed(call, n):
    start = time.perf_counter(), time.process_time()
    jax.block_until_ready(jax.tree.leaves(call(n)))
    return time.perf_counter() - start[0], time.process_time() - start[1]
"""
"""What no call is charged with: imports, and arrays of NumPy."""

CALLS = {
    "information.mutual_information": "information.mutual_information(table(n, n))",
    "sources.discrete": "sources.discrete(table(n, n)).mutual_information",
    "sources.dsbs": "sources.dsbs(0.02 * n).joint",
    "sources.gaussian": "sources.gaussian(0.1 * n).mutual_information",
    "sources.gaussian_mixture": (
        "sources.gaussian_mixture(table(n), generator.normal(size=(n, 2)), np.full(n, 0.1), query_noise=[0.2]).sample(key, 10 * n)"
    ),
    "limits.rate_at": "limits.rate_at(table(n), 1 - np.eye(n), 0.2)",
    "limits.rate_at, 256 letters": (
        "limits.rate_at(table(64 * n), generator.uniform(size=(64 * n, 64 * n)), 0.2)"
    ),
    "limits.rate_distortion_curve": (
        "limits.rate_distortion_curve(table(n), generator.uniform(size=(n, n)), [1.0, 2.0])"
    ),
    "curve.rate_at, curve.distortion_at, curve.lower, curve.upper": (
        "[getattr(limits.rate_distortion_curve(table(n), 1 - np.eye(n), [2.0, 3.0, 5.0]), name)(at)"
        " for name, at in (('rate_at', 0.2), ('distortion_at', 0.7), ('lower', 0.2), ('upper', 0.2))]"
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
    "limits.retrieval_converse": (
        "limits.retrieval_converse(sources.gaussian(0.9), 20, 'error', bits=8.0 * np.arange(1, n), letters=16).loss"
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
    "ranking.pair_ranks, ranking.reciprocal_ranks": (
        "ranking.reciprocal_ranks(ranking.pair_ranks(*vectors(n))).mean()"
    ),
    "codes.dsbs_ensemble": "codes.dsbs_ensemble(0.1, 30.0, 'error', n=25 * n, rate=0.5)",
    "codes.long_product_quantizer, codes.search": (
        "(lambda x, y, code: codes.search(code, x, code.store(key, y), 10).indices)"
        "(*vectors(n), codes.long_product_quantizer(key, vectors(n)[1], 8 * n, starts=1))"
    ),
    "codes.rotated_hash": "codes.rotated_hash(key, vectors(n)[1], n).store(key, vectors(n)[1])",
    "codes.long_hyperplane_hash": (
        "codes.long_hyperplane_hash(key, vectors(n)[1], 8 * n).store(key, vectors(n)[1])"
    ),
    "codes.entropy_coded_bits": (
        "codes.entropy_coded_bits(generator.integers(n, size=100 * n), np.full(n, 1 / n)).total_bits"
    ),
    "simulation.simulate_database": (
        "simulation.simulate_database(key, table(2, 2), np.eye(2), 5.0, n=n, trials=40)"
    ),
    "simulation.run_trials": (
        "simulation.run_trials(key, trial, np.linspace(0.1, 0.3, n), settings='independent',"
        " trials=1000, bounds={'wrong': (0, 1)}).estimates['wrong'].mean"
    ),
    "simulation.importance_loss": (
        "simulation.importance_loss(key, table(2, 2), np.eye(2), 30.0, 'error', n=50 * n, trials=100).log_mean"
    ),
    "simulation.simulate_item_code": "item_code(n)",
    "finite_sample.predict_quality": (
        "finite_sample.predict_quality(generator.integers(1000, size=100 * n), 'reciprocal_rank',"
        " competitors=1000, log2_size=np.arange(8.0, 8 + 2 * n))"
    ),
    "finite_sample.plug_in_rate": (
        "finite_sample.plug_in_rate(generator.integers(5, 50, size=n), 1 - np.eye(n), 0.2).rate"
    ),
    "embeddings.read_vectors, embeddings.read_targets, embeddings.retrieval_task, embeddings.measure_embeddings": (
        "report(n).values('mrr')"
    ),
    "embeddings.with_models": "embeddings.with_models(key, report(n)).values('mrr')",
    "learning.array_pairs, learning.fit_family, learning.held_out_point": "system(n)",
}
"""How each function that the README or a tutorial names is called for a size n; 4 first, then 5, a new shape."""

COMMANDS = {
    "rdsim limit rate-distortion": (
        "limit rate-distortion --probabilities .5 .3 .2 --distortion-matrix d.csv --distortion .05 .1 .2 .3"
    ),
    "rdsim limit bottleneck": "limit bottleneck --dsbs .1 --rate .25 .5 .75",
    "rdsim limit converse": (
        "limit converse --gaussian .9 --letters 16 --log2-size 20 --bits 8 16 32"
    ),
    "rdsim limit retrieval": (
        "limit retrieval --joint table.npy --log2-size 10 --letters 8 --target .2 .4"
    ),
}
"""The commands of the README, which are processes anyway: their imports are counted."""


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
