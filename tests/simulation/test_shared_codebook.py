"""The shared codebook: the streamed counts against a plain database, agreement with C14, memory."""

import json
import math
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdsim import codes
from rdsim.codes.codebook import draw_rows, random_codebook
from rdsim.simulation import codebook_stream
from rdsim.simulation.codebook_kernels import codebook_keys
from rdsim.simulation.engine.checkpoint import CheckpointMismatchError
from rdsim.simulation.shared_codebook import simulate_shared_codebook

KEY = jax.random.key(50)
HAMMING = 1.0 - np.eye(2)
NOISE = 0.1
JOINT = 0.5 * np.array([[1 - NOISE, NOISE], [NOISE, 1 - NOISE]])
CHANNEL = np.array([[0.89, 0.11], [0.11, 0.89]])
LENGTH, BITS = 12, 6  # one shape: 64 codewords of 12 letters
# One interval misses with probability 1e-8.
CONFIDENCE = 1 - 1e-8


def simulate(log2_size, key=KEY, **options):
    options = {"queries": 32, **options}
    return simulate_shared_codebook(
        key, JOINT, CHANNEL, HAMMING, log2_size, n=LENGTH, rate=BITS / LENGTH, **options
    )


@pytest.mark.parametrize("codebook", [0, 1])
def test_C15_counts_are_those_of_a_plain_database(codebook):
    """The same draws, every item kept and ranked: nothing counted by codewords."""
    items, queries = 300, 32
    found = simulate(math.log2(items), codebooks=2)
    keys = codebook_keys(KEY, codebook)
    book = np.asarray(random_codebook(keys.book, (0.5, 0.5), codebook_size=64, n=LENGTH)).astype(
        int
    )
    y = np.asarray(draw_rows(keys.item, jnp.full(2, 0.5), jnp.arange(items), LENGTH)).astype(int)
    index = np.asarray(codes.likelihood_encoder(keys.encoder, y, book, HAMMING, math.inf))
    distance = (y[:, None] != book[None]).sum(axis=2)
    np.testing.assert_array_equal(distance[np.arange(items), index], distance.min(axis=1))
    assert int(found.occupied[codebook]) == np.unique(index).size
    for q in range(queries):
        target_key = jax.random.fold_in(keys.target, q)
        target = int(jax.random.randint(target_key, (), 0, items))
        flips = query_flips(keys, q, y[target])
        far = (flips != book[index]).sum(axis=1)
        assert int(found.better[codebook, q]) == (far < far[target]).sum()
        assert int(found.tied[codebook, q]) == (far == far[target]).sum()


def query_flips(keys, number, item):
    """The query of an item, letter by letter from its own number."""
    point = np.asarray(jax.random.uniform(jax.random.fold_in(keys.query, number), (LENGTH,)))
    zero_below = np.where(item == 0, 1 - NOISE, NOISE)
    return (point >= zero_below).astype(int)


def test_C14_large_codebook_agrees_with_independent_codebooks():
    # 4 items share 64 codewords: few meet in one codeword, and the rest of the distribution is the same.
    found = simulate(2.0, codebooks=300)
    for loss in ("error", "reciprocal_rank"):
        exact = codes.dsbs_ensemble(NOISE, 2.0, loss, n=LENGTH, rate=BITS / LENGTH)
        estimate = found.estimate(loss, confidence=CONFIDENCE)
        assert bool(estimate.covers(exact))
        assert float(estimate.upper - estimate.lower) < 0.4


def test_C15_small_codebook_loses_to_its_ties():
    found = simulate(12.0, codebooks=4)
    error = found.loss("error")
    np.testing.assert_allclose(
        error, np.where(found.better > 0, 1.0, 1 - 1 / found.tied), rtol=1e-12, atol=0
    )
    # Whatever the codebook, at most one item a codeword is returned first, on average over targets.
    least = 1 - np.asarray(found.occupied) / found.items
    conditional = found.given_codebook("error", confidence=CONFIDENCE)
    assert np.all(conditional.upper >= least)
    assert found.estimate("error").mean >= 1 - 64 / 4096 - 0.01
    independent = codes.dsbs_ensemble(NOISE, 12.0, "reciprocal_rank", n=LENGTH, rate=BITS / LENGTH)
    assert found.estimate("reciprocal_rank", confidence=CONFIDENCE).mean > independent


def test_no_count_depends_on_memory_or_interruptions(tmp_path, monkeypatch):
    whole = simulate(11.0, codebooks=2)
    monkeypatch.setattr(codebook_stream, "_PAIRS_A_CALL", 2**15)  # one tile of 512 items a call
    path = tmp_path / "counts.json"
    real, calls = codebook_stream.Stream._counted, []

    def interrupted(stream, *arguments):
        calls.append(arguments[1])
        if len(calls) == 6:  # in the second codebook
            raise KeyboardInterrupt
        return real(stream, *arguments)

    monkeypatch.setattr(codebook_stream.Stream, "_counted", interrupted)
    with pytest.raises(KeyboardInterrupt):
        simulate(11.0, codebooks=2, checkpoint=path)
    assert json.loads(path.read_text())["body"]["trials"] == [2048, 512]
    resumed = simulate(11.0, codebooks=2, checkpoint=path)
    assert calls[6:] == [512, 1024, 1536]
    for name in ("better", "tied", "occupied"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(resumed, name))
    finished = simulate(11.0, codebooks=2, checkpoint=path)
    assert len(calls) == 9
    np.testing.assert_array_equal(finished.tied, whole.tied)
    with pytest.raises(CheckpointMismatchError, match="key"):
        simulate(11.0, jax.random.key(51), codebooks=2, checkpoint=path)
    with pytest.raises(CheckpointMismatchError, match="items"):
        simulate(10.0, codebooks=2, checkpoint=path)


MEMORY = """
import json, resource, sys
import jax, numpy as np
import rdsim
from rdsim.simulation.shared_codebook import simulate_shared_codebook

def peak(log2_size, rate):
    ranks = simulate_shared_codebook(
        jax.random.key(1), [[0.45, 0.05], [0.05, 0.45]], [[0.89, 0.11], [0.11, 0.89]],
        1 - np.eye(2), log2_size, n=20, rate=rate, queries=64, memory_budget=BUDGET,
    )
    return ranks, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

BUDGET = int(sys.argv[1])
peak(10.0, 0.5)
_, small = peak(10.0, 0.5)
ranks, large = peak(17.0, 0.5)
print(json.dumps({"small": small, "large": large, "items": ranks.items, "codewords": ranks.codebook_size}))
"""


def test_memory_does_not_grow_with_the_database():
    budget = 2**22
    output = subprocess.run(
        [sys.executable, "-c", MEMORY, str(budget)], capture_output=True, check=True, text=True
    ).stdout
    found = json.loads(output)
    assert (found["items"], found["codewords"]) == (2**17, 2**10)
    # The items alone are 2.5 MiB, their distortions 512 MiB. What Python and JAX
    # take for themselves is there after the small runs.
    assert found["large"] - found["small"] <= budget


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"rate": 2.5}, ValueError, "rate must leave at most 2\\^24 codewords"),
        ({"rate": -0.1}, ValueError, "rate must lie in"),
        ({"log2_size": 0.5}, ValueError, "log2_size must lie in"),
        ({"log2_size": 33}, ValueError, "log2_size must lie in"),
        ({"queries": 1}, ValueError, "queries must be in"),
        ({"codebooks": 0}, ValueError, "codebooks must be in"),
        ({"memory_budget": 1000}, ValueError, "memory_budget must hold"),
        ({"distortions": np.zeros((2, 3))}, ValueError, "distortions must have the shape"),
        ({"slope": -1.0}, ValueError, "slope must lie in"),
        ({"test_channel": [[1.0, 0.1], [0.0, 1.0]]}, ValueError, "test_channel must have rows"),
        ({"n": 0}, ValueError, "n must be at least 1"),
        ({"key": 1}, TypeError, "key must be a typed key"),
    ],
)
def test_bad_arguments_are_named(change, error, message):
    good = {
        "key": KEY,
        "joint": JOINT,
        "test_channel": CHANNEL,
        "distortions": HAMMING,
        "n": LENGTH,
        "rate": 0.5,
        "log2_size": 3.0,
        "queries": 4,
    }
    with pytest.raises(error, match=message):
        simulate_shared_codebook(**{**good, **change})


def test_one_codebook_says_nothing_about_others():
    with pytest.raises(ValueError, match="codebooks must be at least 2"):
        simulate(3.0).estimate("error")
