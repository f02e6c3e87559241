"""Exact ranks of targets among many vectors, beside plain NumPy and the search of faiss; and a whole report."""

import resource
import time
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from benchmarks._rows import Row, Side, compare
from rdsim.embeddings import measure_embeddings, retrieval_task, with_models
from rdsim.embeddings.ranks import Stored, TargetRanks, streamed_ranks

TITLE = "Real embeddings: exact ranks, and a whole report"


@dataclass(frozen=True)
class Config:
    """What is timed."""

    items: int = 31_000
    """Vectors."""
    dimension: int = 512
    """Coordinates of each."""
    queries: int = 2000
    """Queries, with one target each."""
    repeats: int = 3
    """Turns."""
    models: bool = True
    """Whether the report holds what models say, which takes the same time whatever the number of pairs."""


SMOKE = Config(items=300, dimension=16, queries=50, repeats=1, models=False)
FULL = Config()


def run(config: Config) -> list[Row]:
    """Compare streamed float32 products with repair, dense float64 ones, and the ten best by faiss."""
    generator = np.random.default_rng(0)
    y = generator.normal(size=(config.items, config.dimension)).astype(np.float32)
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    rows = np.arange(config.queries)
    x = y[rows] + np.float32(0.25) * generator.normal(size=(config.queries, config.dimension))
    x = x.astype(np.float32)
    stored = Stored(
        features=lambda codes: (y[codes], None),
        label=np.arange(config.items),
        multiplicity=np.ones(config.items, np.int64),
    )

    def streamed() -> TargetRanks:
        return streamed_ranks(x, stored, rows, rows)

    def dense() -> np.ndarray:
        scores = x.astype(float) @ y.T.astype(float)
        return np.asarray((scores > scores[rows, rows][:, None]).sum(axis=1))

    def library() -> Any:
        import faiss

        index = faiss.IndexFlatIP(config.dimension)
        index.add(y)
        return index.search(x, 10)[1]

    def describe(ahead: np.ndarray) -> tuple[str, dict[str, float]]:
        mrr, recall = float(np.mean(1 / (1 + ahead))), float(np.mean(ahead < 10))
        return f"MRR {mrr:.4f}, recall@10 {recall:.4f}", {"mrr": mrr, "recall": recall}

    def of_list(found: np.ndarray) -> tuple[str, dict[str, float]]:
        recall = float((found == rows[:, None]).any(axis=1).mean())
        return f"recall@10 {recall:.4f}", {"recall": recall}

    ranked = compare(
        f"{config.queries} queries, {config.items} items of {config.dimension} coordinates",
        [
            Side(
                "rdsim, exact ranks in float32 products",
                streamed,
                lambda found: describe(found.ahead),
                compiles=False,
            ),
            Side("NumPy, all scores in float64", dense, describe, compiles=False),
            Side("faiss, the ten best", library, of_list, package="faiss", compiles=False),
        ],
        config.repeats,
    )
    return [*ranked, _report(config, y)]


def _report(config: Config, y: np.ndarray) -> Row:
    """Measure every usual code and all models once, as `rdsim gap` does, with the memory of the process."""
    noise = np.random.default_rng(1).normal(size=y.shape).astype(np.float32)
    x = y + np.float32(0.25) * noise
    began, used = time.perf_counter(), time.process_time()
    found = measure_embeddings(jax.random.key(0), retrieval_task(x, y))
    if config.models:
        with_models(jax.random.key(0), found)
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return report_row(config, seconds, cpu, memory, len(found.lines))


def report_row(config: Config, seconds: float | None, cpu: float, memory: float, lines: int) -> Row:
    """Say what a whole report cost: seconds on the clock and of all cores, and peak memory in GiB."""
    return Row(
        problem=f"report on {config.items} pairs of {config.dimension} coordinates",
        side="rdsim gap, all usual codes" + ("" if config.models else ", without models"),
        seconds=seconds,
        fastest=seconds,
        slowest=seconds,
        result=f"{lines} lines; {cpu:.0f} s of all cores together; at most {memory:.1f} GiB of memory",
        numbers={"cpu_seconds": cpu, "peak_gib": memory, "lines": float(lines)},
    )
