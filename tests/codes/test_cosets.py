"""C14 of one linear code: distances of words from it, and its loss against databases that are drawn."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim import codes

GOLAY = np.array(
    [[0] * i + [1, 0, 1, 0, 1, 1, 1, 0, 0, 0, 1, 1] + [0] * (11 - i) for i in range(12)]
)
HAMMING = np.array([[0] * i + [1, 0, 1, 1] + [0] * (3 - i) for i in range(4)])


def words_of(generator):
    """All codewords, shape (2^k, n)."""
    k = len(generator)
    return np.array(list(itertools.product([0, 1], repeat=k))) @ generator % 2


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(0, 6))
def test_C14_distances_from_a_linear_code_are_those_of_all_words(seed, k, more):
    random = np.random.default_rng(seed)
    n = k + more
    generator = np.concatenate([np.eye(k, dtype=int), random.integers(0, 2, (k, more))], axis=1)
    generator = generator[:, random.permutation(n)]
    every = np.array(list(itertools.product([0, 1], repeat=n)))
    nearest = (every[:, None] != words_of(generator)).sum(axis=2).min(axis=1)
    wanted = np.bincount(nearest, minlength=n + 1) / 2**n
    np.testing.assert_array_equal(codes.coset_distances(generator), wanted)


@pytest.mark.parametrize(("generator", "radius"), [(HAMMING, 1), (GOLAY, 3), ([[1] * 9], 4)])
def test_C14_words_of_a_perfect_code_are_the_middles_of_balls(generator, radius):
    n = len(generator[0])
    ball = np.array([math.comb(n, t) if t <= radius else 0 for t in range(n + 1)])
    np.testing.assert_allclose(
        codes.coset_distances(generator), ball / ball.sum(), rtol=1e-15, atol=0
    )


@pytest.mark.parametrize("loss", ["error", "reciprocal_rank", ("miss", 2), "dcg"], ids=str)
def test_C14_the_loss_of_a_linear_code_is_that_of_drawn_databases(loss):
    """Six items of a Hamming code, shifted for each: 40,000 databases, six standard errors of at most .0025."""
    random, M, trials, p = np.random.default_rng(5), 6, 40_000, 0.1
    words = words_of(HAMMING)
    y = random.integers(0, 2, (trials, M, 7))
    shift = random.integers(0, 2, (trials, M, 7))
    apart = ((y ^ shift)[:, :, None] != words).sum(axis=3)
    stored = words[apart.argmin(axis=2)] ^ shift
    query = y[:, 0] ^ (random.random((trials, 7)) < p)
    distance = (stored != query[:, None]).sum(axis=2) + random.random((trials, M)) / 2
    rank = 1 + (distance[:, 1:] < distance[:, :1]).sum(axis=1)
    lost = {
        "error": rank > 1,
        "reciprocal_rank": 1 - 1 / rank,
        ("miss", 2): rank > 2,
        "dcg": 1 - 1 / np.log2(1 + rank),
    }[loss]
    found = codes.dsbs_code_loss(codes.coset_distances(HAMMING), math.log2(M), loss, crossover=p)
    assert abs(float(found) - lost.mean()) <= 6 * lost.std() / math.sqrt(trials)


def test_C14_random_codes_are_those_of_their_own_distances():
    n, rate = 12, 0.5
    fair = np.array([math.comb(n, t) for t in range(n + 1)]) / 2**n
    survival = np.append(1.0, (1 - np.cumsum(fair)) ** 64)
    survival[-1] = 0.0
    p = np.array([[0.0], [0.1], [0.5]])
    found = codes.dsbs_code_loss(-np.diff(survival), [3.0, 900.0], "dcg", crossover=p)
    wanted = codes.dsbs_ensemble(p, [3.0, 900.0], "dcg", n=n, rate=rate)
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=0)


@pytest.mark.parametrize(
    ("generator", "message"),
    [
        ([[1, 2]], "generator must be of zeros and ones, got 2.0"),
        ([[1, 0], [1, 0]], "generator must have linearly independent words, got 2 of rank 1"),
        ([[1] * 40], "generator must leave at most"),
        (np.zeros((0, 3)), "generator must"),
        ([1, 0], "generator must"),
    ],
)
def test_bad_generators_are_named(generator, message):
    with pytest.raises(ValueError, match=message):
        codes.coset_distances(generator)
