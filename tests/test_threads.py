"""Small matrices are worked on by one thread: several wait for one another actively, and change the last digits."""

import subprocess
import sys

import jax
import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from rdsim import codes, embeddings, ranking
from rdsim.ranking.tails import target_scores
from rdsim.threads import blas_threads_for

KEY = jax.random.key(0)
DRAWN = np.random.default_rng(0).normal(size=(2, 200, 6))
ITEMS, NOISE = DRAWN


@pytest.fixture
def threads():
    """Let BLAS have two threads; the value counts those that it may use."""
    control = ThreadpoolController().select(user_api="blas")
    with control.limit(limits=2):
        yield lambda: max(each["num_threads"] for each in control.info())


def test_few_entries_have_one_thread_and_many_have_all(threads):
    assert threads() == 2
    with blas_threads_for(2**20):
        assert threads() == 1
        with blas_threads_for(2**20 + 1):  # inside, nothing is given back
            assert threads() == 1
    with blas_threads_for(2**20 + 1):
        assert threads() == 2
    assert threads() == 2


def measured(systems):
    task = embeddings.retrieval_task(ITEMS + NOISE, ITEMS, np.arange(len(ITEMS)))
    return embeddings.measure_embeddings(KEY, task, (4,), systems=systems)


def test_decompositions_of_small_matrices_run_in_one_thread(threads, monkeypatch):
    seen = {}
    for name in ("svd", "eigh"):
        function = getattr(np.linalg, name)

        def counted(*given, name=name, function=function, **options):
            seen.setdefault(name, []).append(threads())
            return function(*given, **options)

        monkeypatch.setattr(np.linalg, name, counted)
    measured(("ITQ", "transform code", "rotated PQ"))
    assert set(seen) == {"svd", "eigh"}
    assert set(seen["svd"] + seen["eigh"]) == {1}
    seen.clear()
    codes.rotated_hash(KEY, ITEMS, 3)
    assert set(seen["svd"]) == {1}


def test_integrals_over_the_scores_of_targets_run_in_one_thread(threads, monkeypatch):
    seen = []
    inside = target_scores._Path.integrals
    monkeypatch.setattr(
        target_scores._Path, "integrals", lambda *given: (seen.append(threads()), inside(*given))[1]
    )
    ranking.vector_gaussian_rank_loss(KEY, [0.8, 0.5], 10, "error", rates=3.0, queries=64)
    assert set(seen) == {1}
    assert threads() == 2


def test_a_library_that_is_loaded_later_is_limited_too():
    """The libraries were listed once in a process, at the first use: before faiss and its own BLAS."""
    pytest.importorskip("faiss")
    script = """
from threadpoolctl import ThreadpoolController
from rdsim.threads import one_blas_thread
with one_blas_thread():
    pass
import faiss
with ThreadpoolController().limit(limits=2, user_api="blas"), one_blas_thread():
    print(*(each["num_threads"] for each in ThreadpoolController().select(user_api="blas").info()))
"""
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert set(found.stdout.split()) == {"1"}


def test_faiss_trains_on_few_items_in_one_thread(monkeypatch):
    faiss = pytest.importorskip("faiss")
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(2)
    try:
        seen = []
        train = faiss.IndexPQ.train
        monkeypatch.setattr(
            faiss.IndexPQ,
            "train",
            lambda *given: (seen.append(faiss.omp_get_max_threads()), train(*given))[1],
        )
        measured(("PQ",))
        assert set(seen) == {1}
        assert faiss.omp_get_max_threads() == 2
    finally:
        faiss.omp_set_num_threads(before)
