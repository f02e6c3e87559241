"""Streamed ranks against dense ones in exact arithmetic; metrics against all orders of the ties."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim.embeddings import METRICS
from rdsim.embeddings import ranks as streaming
from rdsim.embeddings.data.task import Targets
from rdsim.embeddings.quality import kept, means, query_metrics
from rdsim.embeddings.ranks import Stored, TargetRanks, streamed_ranks
from rdsim.embeddings.rescoring import candidates, rescored
from rdsim.embeddings.systems.code import stored_codes


def exact(x, y, bias, query, item):
    """Counts with every score a rational number."""
    whole = [[Fraction(float(v)) for v in row] for row in y]
    ahead, tied = [], []
    for q, i in zip(query, item, strict=True):
        row = [Fraction(float(v)) for v in x[q]]
        scores = [
            sum((a * b for a, b in zip(row, other, strict=True)), Fraction(float(b)))
            for other, b in zip(whole, bias, strict=True)
        ]
        ahead.append(sum(s > scores[i] for s in scores))
        tied.append(sum(s == scores[i] for s in scores))
    return ahead, tied


@settings(max_examples=8)
@given(st.integers(0, 10**6), st.booleans(), st.booleans())
def test_streamed_ranks_are_exact_with_near_ties_copies_and_biases(seed, biased, shifted):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(60, 4)).astype(np.float32)
    y[20:30] = y[5]  # copies
    y[30:50] = y[6] + rng.integers(-2, 3, (20, 4)) * np.float32(1e-7)  # near ties in float32
    y += np.float32(1000 * shifted)
    x = rng.normal(size=(9, 4)).astype(np.float32)
    bias = np.round(rng.normal(size=60), 3) * biased
    first = np.unique(np.column_stack([y, bias]), axis=0, return_index=True, return_inverse=True)
    stored = Stored(
        features=lambda codes: (y[first[1][codes]], bias[first[1][codes]] if biased else None),
        label=first[2].reshape(-1),
        multiplicity=np.bincount(first[2].reshape(-1)),
    )
    query = np.sort(rng.integers(0, 9, 25))
    item = rng.integers(0, 60, 25)
    found = streamed_ranks(x, stored, query, item)
    ahead, tied = exact(x, y, bias, query, item)
    assert found.ahead.tolist() == ahead
    assert found.tied.tolist() == tied
    assert found.repaired >= 25


def test_ranks_do_not_depend_on_the_sizes_of_blocks(monkeypatch):
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 3, (500, 4)).astype(np.uint8)
    stored = stored_codes(
        codes, lambda c: (c.astype(np.float32), -0.5 * (c.astype(float) ** 2).sum(1))
    )
    x = rng.normal(size=(40, 4))
    query, item = np.repeat(np.arange(40), 2), rng.integers(0, 500, 80)
    whole = streamed_ranks(x, stored, query, item)
    monkeypatch.setattr(streaming, "_QUERIES", 7)
    monkeypatch.setattr(streaming, "_FEATURES", 1)
    seen = []
    parts = streamed_ranks(x, stored, query, item, progress=lambda *done: seen.append(done))
    np.testing.assert_array_equal(parts.ahead, whole.ahead)
    np.testing.assert_array_equal(parts.tied, whole.tied)
    assert seen[-1] == (len(stored.multiplicity),) * 2
    assert len(seen) == 2
    assert stored.entropy == pytest.approx(
        -sum(m / 500 * math.log2(m / 500) for m in stored.multiplicity), rel=1e-12, abs=0
    )


@settings(max_examples=8)
@given(st.integers(0, 10**6), st.sampled_from([1, 4, 30, 100]))
def test_rescored_targets_stand_where_the_vectors_put_them_among_the_candidates(seed, count):
    rng = np.random.default_rng(seed)
    y, codes = rng.normal(size=(60, 4)), rng.integers(0, 2, (60, 4)).astype(np.uint8)
    x = rng.normal(size=(9, 4))
    stored = stored_codes(codes, lambda c: (2.0 * c - 1, None))
    vectors = Stored(
        features=lambda c: (y[c], None), label=np.arange(60), multiplicity=np.ones(60, int)
    )
    query, item = np.repeat(np.arange(9), 3), rng.integers(0, 60, 27)
    first = streamed_ranks(x, stored, query, item)
    chosen = candidates(x, stored, count)
    found = rescored(first, chosen, x, vectors, query, item)
    by_code, exact_scores = x @ (2.0 * codes - 1).T, x @ y.T
    for pair, (q, i) in enumerate(zip(query, item, strict=True)):
        order = np.lexsort((np.arange(60), -np.round(by_code[q], 9)))[:count]
        assert sorted(by_code[q][order].round(6)) == sorted(by_code[q][chosen[q]].round(6))
        if i in chosen[q]:
            above = (exact_scores[q][chosen[q]] > exact_scores[q][i]).sum()
            assert (found.ahead[pair], found.tied[pair]) == (above, 1)
        else:
            assert found.ahead[pair] == max(first.ahead[pair], count)
            assert found.ahead[pair] + found.tied[pair] == first.ahead[pair] + first.tied[pair]


def by_all_orders(scores, grades):
    """Metrics of one query, averaged over all orders of the items that tie."""
    found, count = np.zeros(5), 0
    for order in itertools.permutations(range(len(scores))):
        if any(scores[a] < scores[b] for a, b in itertools.pairwise(order)):
            continue
        gains = [grades[i] for i in order]
        first = next(r for r, g in enumerate(gains, 1) if g)
        ideal = sorted(grades, reverse=True)
        dcg, best = (
            sum(g / math.log2(1 + r) for r, g in enumerate(gs[:10], 1)) for gs in (gains, ideal)
        )
        found += [1 / first, *(first <= k for k in (1, 5, 10)), dcg / best]
        count += 1
    return found / count


@settings(max_examples=12)
@given(st.lists(st.integers(0, 2), min_size=7, max_size=7), st.integers(1, 127), st.integers(0, 99))
def test_metrics_are_means_over_all_orders_of_the_ties(scores, mask, seed):
    rng = np.random.default_rng(seed)
    grades = [int(rng.integers(1, 4)) if mask >> i & 1 else 0 for i in range(7)]
    item = np.flatnonzero(grades)
    s = np.array(scores)
    ranks = TargetRanks(
        ahead=np.array([(s > s[i]).sum() for i in item]),
        tied=np.array([(s == s[i]).sum() for i in item]),
        repaired=0,
    )
    targets = Targets(
        query=np.zeros(len(item), int), item=item, grade=np.array(grades, float)[item]
    )
    found = query_metrics(ranks, targets, 1)[0]
    np.testing.assert_allclose(found, by_all_orders(scores, grades), rtol=0, atol=1e-12)
    assert len(METRICS) == len(found)


def test_intervals_have_their_coverage_with_groups_as_the_unit():
    """False alarm below 1e-6: 400 draws; 343 or fewer covers at 95 % have a probability of 1e-14."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        chance = rng.beta(2, 2, 60)  # a group's own
        hits = (rng.random((60, 5)) < chance[:, None]).astype(float)
        found = means(hits.reshape(-1, 1), np.repeat(np.arange(60), 5), 0.95)
        covered += found.lower[0] <= 0.5 <= found.upper[0]
    assert covered > 343
    assert covered < 400  # they are not trivially wide


def test_intervals_of_what_always_holds_are_those_of_as_many_groups():
    found = means(np.ones((100, 2)), np.repeat(np.arange(20), 5), 0.95)
    z = 1.959963984540054
    np.testing.assert_allclose(found.lower, 20 / (20 + z**2), rtol=0, atol=1e-12)
    assert found.upper.tolist() == [1.0, 1.0]


def test_a_system_keeps_all_of_itself_for_certain():
    values = np.random.default_rng(0).random((30, 5))
    found = kept(values, values, np.arange(30), 0.95)
    np.testing.assert_allclose([found.value, found.lower, found.upper], 1.0, rtol=0, atol=1e-12)
    half = kept(values / 2, values, np.arange(30), 0.95)
    np.testing.assert_allclose(half.value, 0.5, rtol=0, atol=1e-12)
