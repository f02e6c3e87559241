"""Ranks of real pairs: ties, blocks, units, and the entropy of stored codes as a converse."""

import math

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim import limits, ranking
from rdsim.ranking.metrics.paired import pair_ranks

KEY = jax.random.key(5)


def points(count, dimension, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dimension))


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_ranks_are_those_of_the_metrics_with_ties(seed):
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, 3, (12, 2))
    queries = generator.integers(-2, 3, (12, 2)).astype(float)
    ranks = pair_ranks(queries, codes)
    scores, own = queries @ codes.T, np.arange(12)[:, None]
    expected = ranking.reciprocal_rank(scores, own)
    np.testing.assert_allclose(ranks.reciprocal_ranks(), expected, rtol=1e-12)
    np.testing.assert_allclose(ranks.recalls(3), ranking.recall(scores, own, 3), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        ranks.recalls(0)
    assert ranks.size == 12
    some = pair_ranks(queries[:5], codes)
    np.testing.assert_array_equal(some.ahead, ranks.ahead[:5])


def test_ranks_in_blocks_are_ranks(monkeypatch):
    from rdsim.ranking.metrics import paired as pair_ranking

    x, y = points(30, 4), points(30, 4, 1)
    whole = pair_ranks(x, y)
    monkeypatch.setattr(pair_ranking, "_ENTRIES", 70)
    parts = pair_ranks(x, y)
    np.testing.assert_array_equal(whole.ahead, parts.ahead)


@pytest.mark.parametrize(
    ("dtype", "units"),
    [
        (np.float64, [2.0**-1000, 2.0**-664, 2.0**328]),
        (np.float32, [2.0**-110, 2.0**-80, 2.0**66, 2.0**120]),
    ],
)
def test_ranks_do_not_depend_on_the_unit_of_features(dtype, units):
    y = points(200, 6).astype(dtype)
    x = y + points(200, 6, 1).astype(dtype)
    wanted = pair_ranks(x, y)
    assert len(set(wanted.ahead)) > 10
    for unit in np.array(units, dtype):
        mixed = np.where(np.arange(200)[:, None] % 2, unit, dtype(1))
        for found in (
            pair_ranks(unit * x, unit * y),
            pair_ranks(mixed * x, unit * y),
            pair_ranks(unit * x, y, lambda codes, unit=unit: unit * codes),
        ):
            np.testing.assert_array_equal(found.ahead, wanted.ahead)
            np.testing.assert_array_equal(found.tied, wanted.tied)


def test_features_of_zero_are_tied():
    assert pair_ranks(np.zeros((3, 2)), np.eye(3, 2)).tied.tolist() == [3, 3, 3]
    assert pair_ranks(np.eye(3, 2), np.zeros((3, 2))).tied.tolist() == [3, 3, 3]


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_C4_no_ranking_by_stored_codes_passes_their_entropy(seed, codewords):
    # Exact for one database and all of its items as targets, whatever scores the queries give.
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, codewords, 24)
    codes[generator.random(24) < 0.3] = 0
    tables = generator.normal(size=(24, 12))
    if seed % 2:
        tables[np.arange(24), codes] += 5  # every target's own code first: the best there is
    ranks = pair_ranks(tables, np.eye(12)[codes])
    share = np.bincount(codes) / 24
    entropy = -(share[share > 0] * np.log2(share[share > 0])).sum()
    assert ranks.code_bits == pytest.approx(entropy, abs=1e-12)
    loss = 1 - ranks.reciprocal_ranks().mean()
    needed = limits.rank_rate(math.log2(24), "reciprocal_rank", distortion=min(loss, 1.0))
    assert float(needed.lower) <= ranks.code_bits + 1e-9


def test_C4_the_entropy_of_the_codes_is_met_where_codes_are_equally_common():
    # Errors are then those of a random choice among 6 of 24, and recall@6 needs all log2 4 bits.
    codes = np.repeat(np.arange(4), 6)
    ranks = pair_ranks(np.eye(4)[codes], np.eye(4)[codes])
    needed = limits.rank_rate(math.log2(24), ("miss", 6), distortion=1 - ranks.recalls(6).mean())
    assert float(needed.value) == pytest.approx(ranks.code_bits, abs=1e-9)
