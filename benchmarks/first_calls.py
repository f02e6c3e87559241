"""What a user waits for: the first call of a function in a fresh process, without and with kept programs.

Every function that the README or a tutorial names runs in a process of its own, three times: with an empty cache folder, in this
process with other shapes, and again with the programs that the first process kept. Importing rdsim is not counted. Commands
are whole processes, and their imports count.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks._rows import Row

TITLE = "First calls in a fresh process"
_ROOT = Path(__file__).parent.parent

_SETUP = """
import json, time
import numpy as np, jax, jax.numpy as jnp
import rdsim
from rdsim import codes, finite_sample, information, limits, ranking, simulation, sources
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
def as_it_is(parameters, item):
    return item
def first_ones(parameters, query):
    return query[..., 0, :] @ parameters
def linear(n):
    x, y = vectors(n)
    found = learning.quantized_system(key, (as_it_is, None), (first_ones, np.eye(16)[:n]), y, 6)
    return learning.held_out_point(key, found, x[:, :n], y).losses["reciprocal_rank"].mean
def trained(n):
    from flax import nnx
    class LinearMaps(nnx.Module):
        def __init__(self, *, query_size, item_size, rngs):
            self.of_queries = nnx.Linear(query_size, 4, rngs=rngs)
            self.of_items = nnx.Linear(item_size, 4, rngs=rngs)
        def embed_items(self, items):
            return self.of_items(items)
        def compare(self, queries, stored):
            return -((self.of_queries(queries[:, 0])[:, None] - stored) ** 2).sum(axis=-1)
        def scores(self, queries, items):
            return self.compare(queries, self.embed_items(items))
    x, y = vectors(n)
    pairs = learning.array_pairs(key, x[:, :n], y, held_out=128)
    learner = learning.ContrastiveLearner(build=learning.architecture(LinearMaps, query_size=n, item_size=16))
    (model,) = learning.fitted_models(key, learner, pairs, learning.Schedule(steps=100))
    (found,) = learning.stored_systems(key, model, pairs.sample[1], (6,))
    return learning.held_out_point(key, found, x[:, :n], y).losses["reciprocal_rank"].mean
def item_code(n):
    means = generator.normal(size=(n, 2))
    source = sources.gaussian_mixture(table(n), means, np.full(n, 0.1), query_noise=[0.2])
    code = codes.vector_quantizer(key, source.sample(key, (500,))[1], 4 * n)
    decoder = simulation.Decoder(ranking.negative_squared_distance, code.codewords)
    return simulation.simulate_item_code(
        key, source, codes.common_code(code), {"distance": decoder}, code.masses, 10.0, ("error",), trials=100
    ).estimates
def timed(call, n):
    start = time.perf_counter(), time.process_time()
    jax.block_until_ready(jax.tree.leaves(call(n)))
    return time.perf_counter() - start[0], time.process_time() - start[1]
"""
"""What no call is charged with: imports, and the functions that make arguments."""
_ALSO_IMPORTED = {
    "report(": "embeddings",
    "system(": "learning",
    "linear(": "learning",
    "trained(": "learning",
}
"""Packages that take longer to import, by what needs them."""

CALLS = {
    "information.mutual_information": "information.mutual_information(table(n, n))",
    "sources.discrete": "sources.discrete(table(n, n)).mutual_information",
    "sources.dsbs": "sources.dsbs(0.02 * n).joint",
    "sources.gaussian": "sources.gaussian(0.1 * n).mutual_information",
    "sources.gaussian_mixture": (
        "sources.gaussian_mixture(table(n), generator.normal(size=(n, 2)), np.full(n, 0.1), query_noise=[0.2]).sample(key, (10 * n,))"
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
        "limits.retrieval_converse(sources.vector_gaussian(*np.array([1, 1, 0.9])[:, None, None] * np.eye(4 * n)),"
        " 20, 'error', bits=8.0 * np.arange(1, n)).loss"
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
    "ranking.pair_ranks": "ranking.pair_ranks(*vectors(n)).reciprocal_ranks().mean()",
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
    "learning.quantized_system": "linear(n)",
    "learning.architecture, learning.fitted_models, learning.stored_systems": "trained(n)",
}
"""How each function that the README or a tutorial names is called for a size n; 4 first, then 5, a new shape."""

COMMANDS = (
    "rdsim limit rate-distortion --probabilities .5 .3 .2 --distortion-matrix d.csv --distortion .05 .1 .2 .3",
    "rdsim limit bottleneck --dsbs .1 --rate .25 .5 .75",
    "rdsim limit converse --gaussian .9 --letters 16 --log2-size 20 --bits 8 16 32",
    "rdsim limit retrieval --joint joint.csv --log2-size 10 --letters 8 --target .2 .4",
)
"""The limits of the README's command line."""
_FILES = {"d.csv": "0,1,1\n1,0,1\n1,1,0\n", "joint.csv": ".6,.1\n.06,.24\n"}


@dataclass(frozen=True)
class Config:
    """What is timed."""

    names: tuple[str, ...] = tuple(CALLS)
    """Of `CALLS`."""
    commands: tuple[str, ...] = COMMANDS
    """Of `COMMANDS`."""
    limit: float = 300.0
    """Seconds for a process."""


SMOKE = Config(names=("limits.rate_at",), commands=COMMANDS[1:2])
FULL = Config()
_COLD, _WARM, _NEW = "no programs kept", "programs kept", "a new shape after it, no programs kept"


def run(config: Config) -> list[Row]:
    """Time every function cold, warm and at a new shape, and every command cold and warm."""
    rows = []
    for name in config.names:
        with tempfile.TemporaryDirectory() as folder:
            cold = _calls(CALLS[name], folder, config.limit)
            warm = _calls(CALLS[name], folder, config.limit)
        found = {
            _COLD: cold[0] if cold else None,
            _WARM: warm[0] if warm else None,
            _NEW: cold[1] if cold else None,
        }
        rows += [_row(name, side, times, config.limit) for side, times in found.items()]
    for command in config.commands:
        with tempfile.TemporaryDirectory() as folder:
            for side in (_COLD, _WARM):
                rows.append(
                    _row(command, side, _command(command, folder, config.limit), config.limit)
                )
    return rows


def _row(name: str, side: str, found: tuple[float, float] | None, limit: float) -> Row:
    if found is None:
        return Row(name, side, status="stopped", result=f"stopped after {limit:g} s")
    seconds, cpu = found
    return Row(
        name,
        side,
        seconds=seconds,
        fastest=seconds,
        slowest=seconds,
        result=f"{cpu:.2g} CPU s",
        numbers={"cpu_seconds": cpu},
    )


def _calls(call: str, folder: str, limit: float) -> list[tuple[float, float]] | None:
    """Seconds and CPU seconds of the first call and of one with another shape; None if it was stopped."""
    also = "".join(f"from rdsim import {p}\n" for use, p in _ALSO_IMPORTED.items() if use in call)
    code = f"folder = {folder!r}\n{_SETUP}{also}print(json.dumps([timed(lambda n: {call}, n) for n in (4, 5)]))"
    printed = _printed([sys.executable, "-c", code], folder, limit)
    if printed is None:
        return None
    return [(float(wall), float(cpu)) for wall, cpu in json.loads(printed.splitlines()[-1])]


def _command(command: str, folder: str, limit: float) -> tuple[float, float] | None:
    """Seconds and CPU seconds of a command in a folder with its files; None if it was stopped."""
    for name, text in _FILES.items():
        (Path(folder) / name).write_text(text, encoding="utf-8")
    before = time.perf_counter(), _seconds_of_children()
    printed = _printed([sys.executable, "-m", *command.split()], folder, limit)
    after = time.perf_counter(), _seconds_of_children()
    return None if printed is None else (after[0] - before[0], after[1] - before[1])


def _seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _printed(command: list[str], folder: str, limit: float) -> str | None:
    """What a process in this folder prints, whose programs are kept below it; None if it was stopped."""
    environment = {
        **os.environ,
        "RDSIM_CACHE": str(Path(folder) / "kept"),
        "JAX_PLATFORMS": "cpu",
        # Threads of BLAS that wait for one another would count as CPU time of the call.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(_ROOT),
    }
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    # An installed package has its bytecode beside it. Without it a command would spend a second on compiling modules.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        raise RuntimeError(f"{command[-1]} failed:\n{done.stderr}")
    return done.stdout
