"""Metrics of grades, cut lists, hit rates and medians: over all orders, and as other packages print them."""

import itertools
import math
import tracemalloc
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim.ranking import metrics


def list_metric(name, grades, k):
    """The textbook metric of one ranked list of grades."""
    ranks = [r for r, grade in enumerate(grades, start=1) if grade > 0]
    P = len(ranks)
    if name == "reciprocal_rank":
        return 1 / ranks[0] if ranks[0] <= k else 0.0
    if name == "success":
        return float(ranks[0] <= k)
    if name == "r_precision":
        return sum(r <= P for r in ranks) / P
    if name in ("average_precision", "map_at_r"):
        k = P if name == "map_at_r" else k
        return sum(sum(q <= r for q in ranks) / r for r in ranks if r <= k) / P
    exponential = name.endswith("exponential")

    def dcg(listed):
        gains = [2.0**g - 1 if exponential else g for g in listed[:k]]
        return sum(g / math.log2(1 + r) for r, g in enumerate(gains, start=1))

    return dcg(grades) / (dcg(sorted(grades)[::-1]) if "ndcg" in name else 1)


METRICS = {
    "reciprocal_rank": lambda s, g, k: metrics.reciprocal_rank(s, g > 0, k),
    "success": lambda s, g, k: metrics.success(s, g > 0, k),
    "r_precision": lambda s, g, _: metrics.r_precision(s, g > 0),
    "map_at_r": lambda s, g, _: metrics.map_at_r(s, g > 0),
    "average_precision": lambda s, g, k: metrics.average_precision(s, g > 0, k),
    "dcg": metrics.dcg,
    "dcg exponential": lambda s, g, k: metrics.dcg(s, g, k, gain="exponential"),
    "ndcg": partial(metrics.dcg, normalised=True),
    "ndcg exponential": lambda s, g, k: metrics.dcg(s, g, k, gain="exponential", normalised=True),
}


@st.composite
def tied_grades(draw):
    M = draw(st.sampled_from((2, 5)))
    scores = draw(st.lists(st.sampled_from([0.0, 1.0, -math.inf]), min_size=M, max_size=M))
    grades = draw(st.lists(st.sampled_from([0, 0, 1, 2, 0.5]), min_size=M, max_size=M).filter(any))
    return np.array(scores), np.array(grades, float), draw(st.integers(1, M + 1))


@settings(max_examples=40)
@given(query=tied_grades())
def test_every_metric_is_the_mean_over_all_orders(query):
    scores, grades, k = query
    orders = [
        [grades[i] for i in sorted(order, key=lambda item: -scores[item])]
        for order in itertools.permutations(range(scores.size))
    ]
    for name, metric in METRICS.items():
        expected = np.mean([list_metric(name, order, k) for order in orders])
        np.testing.assert_allclose(metric(scores, grades, k), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_of_a_longer_list_is_that_of_its_order(name):
    """Every rank of the list and of the best one counts, not the first few alone."""
    generator = np.random.default_rng(8)
    for _ in range(5):
        scores, grades = generator.permutation(14.0 * np.arange(14)), generator.integers(0, 4, 14)
        listed = grades[np.argsort(-scores)].astype(float)
        for k in (1, 3, 6, 9, 13, 14, 20):
            found = METRICS[name](scores, grades.astype(float), k)
            wanted = list_metric(name, listed.tolist(), k)
            assert float(found) == pytest.approx(wanted, rel=1e-12, abs=1e-15)


def test_the_median_is_that_of_the_rank_with_random_ties():
    # Ranks 1, 3, 4, 10: the middle of 3 and 4, as of `np.median`.
    scores = -np.arange(10.0)
    found = metrics.retrieval_metrics(np.tile(scores, (4, 1)), [[0], [2], [3], [9]])
    assert found["median rank"] == 3.5
    # A constant scorer has a uniform rank on 1..9, whose median is 5; of 10 it is 5.5.
    assert metrics.retrieval_metrics(np.zeros(9), [2])["median rank"] == 5
    assert metrics.retrieval_metrics(np.zeros((3, 10)), [[2]] * 3)["median rank"] == 5.5
    held = np.array([True, True, False])
    nothing = metrics.retrieval_metrics([3.0, 2.0, 1.0], [2], retrieved=held)
    assert nothing["median rank"] == math.inf


def test_blocks_of_queries_do_not_show(monkeypatch):
    generator = np.random.default_rng(1)
    scores, mask = generator.integers(0, 9, (40, 30)), generator.random((40, 30)) < 0.2
    mask[:, 3] = True
    whole = metrics.retrieval_metrics(scores, mask)
    monkeypatch.setattr("rdsim.ranking.metrics.tie_groups._ENTRIES", 70)
    parts = metrics.retrieval_metrics(scores, mask)
    for name, value in whole.items():
        np.testing.assert_allclose(parts[name], value, rtol=1e-14, atol=0)


def test_a_large_table_needs_little_memory_beside_itself():
    # 5,000 by 25,000 scores fit in 2 GiB if what is needed beside them does not grow with their number.
    beside = []
    for queries in (40, 400):
        scores = np.zeros((queries, 10_000), np.float32)
        scores[:, ::3] = np.random.default_rng(queries).normal(size=scores[:, ::3].shape)
        positives = np.tile(np.arange(3), (queries, 1))
        tracemalloc.start()
        metrics.retrieval_metrics(scores, positives, (1, 10), without_positives="zero")
        beside.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Not even the mask of the positives, a byte an entry, is held as a whole.
    assert beside[1] - beside[0] < 0.5 * 360 * 10_000
    assert beside[1] < 100e6


def test_grades_of_trec_eval_and_ir_measures():
    # The README of https://github.com/terrierteam/ir_measures prints nDCG .8154648767857288, and so
    # does the definition by hand, (1 / log2(3) + 1) / 2: qrels Q0 {D0: 0, D1: 1}, Q1 {D0: 0, D3: 2};
    # run Q0 {D0: 1.2, D1: 1.0}, Q1 {D0: 2.4, D3: 3.6}.
    scores, grades = [[1.2, 1.0], [2.4, 3.6]], [[0, 1], [0, 2]]
    for gain in ("linear", "exponential"):
        found = metrics.dcg(scores, grades, gain=gain, normalised=True)
        assert found.mean() == pytest.approx(0.8154648767857288, rel=1e-15, abs=0)


def test_the_example_of_jarvelin_and_kekalainen():
    # After the example of Järvelin and Kekäläinen (2002), section 2.2; the values are recomputed by hand
    # from their definition, not looked up in the paper: G' = <3,2,3,0,0,1,2,2,3,0,...>, whose DCG with a
    # logarithm of base 2 is <3, 5, 6.89, 6.89, 6.89, 7.28, 7.99, 8.66, 9.61, 9.61, ...>. Their
    # discount at rank r is log2 r from rank 2 on. That of trec_eval, ranx and others is
    # log2(1 + r): so the rank is moved by one, behind an item of grade 0.
    grades = np.array([0, 2, 3, 0, 0, 1, 2, 2, 3, 0], float)
    moved = -np.arange(10.0)
    wanted = [5, 6.89, 6.89, 6.89, 7.28, 7.99, 8.66, 9.61, 9.61]
    # With G' moved up by one place, DCG@(r-1) of the ranks from 2 on lacks the first gain, 3.
    for r, value in enumerate(wanted, start=2):
        found = float(metrics.dcg(moved[1:], grades[1:], r - 1)) + 3
        assert abs(found - value) < 0.011, r


def test_the_grades_of_the_example_of_ranx():
    # README of https://github.com/AmenRa/ranx: grades 5 and 3 at the first and third rank, 6 and 1 at the
    # second and fifth; it prints ndcg@5 0.7861.
    scores = np.tile([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], (2, 1))
    found = metrics.dcg(scores, [[5, 0, 3, 0, 0, 0], [0, 6, 0, 0, 1, 0]], 5, normalised=True)
    assert float(found.mean()) == pytest.approx(0.7861, rel=0, abs=5e-5)


def test_the_example_of_torchmetrics():
    # The docstrings of torchmetrics.retrieval (https://github.com/Lightning-AI/torchmetrics) print .7917 for
    # RetrievalMAP, .75 for RetrievalMRR and RetrievalRPrecision, and .8467 for RetrievalNormalizedDCG, all
    # of indexes (0,0,0,1,1,1,1).
    first = [0.2, 0.3, 0.5], np.array([False, False, True])
    second = [0.1, 0.3, 0.5, 0.2], np.array([False, True, False, True])

    def mean(metric):
        return float(np.mean([metric(*query) for query in (first, second)]))

    assert mean(metrics.average_precision) == pytest.approx(0.7917, rel=0, abs=5e-5)
    assert mean(metrics.reciprocal_rank) == pytest.approx(0.75, rel=1e-15, abs=0)
    assert mean(metrics.ndcg) == pytest.approx(0.8467, rel=0, abs=5e-5)
    assert mean(metrics.r_precision) == pytest.approx(0.75, rel=1e-15, abs=0)
    # RetrievalHitRate(top_k=2), of which the first query finds its item third, prints .5.
    first = first[0], np.array([True, False, False])
    assert mean(lambda s, p: metrics.success(s, p, 2)) == 0.5
    # retrieval_normalized_dcg([.1,.2,.3,4,70], [10,0,0,1,5]) prints .6957.
    found = metrics.dcg([0.1, 0.2, 0.3, 4, 70], [10, 0, 0, 1, 5], normalised=True)
    assert float(found) == pytest.approx(0.6957, rel=0, abs=5e-5)


def test_the_example_of_scikit_learn():
    # The grades of the documentation of sklearn.metrics.dcg_score and ndcg_score; the values are
    # recomputed by hand from the definition, not looked up.
    grades, scores = [[10, 0, 0, 1, 5]], [[0.1, 0.2, 0.3, 4, 70]]
    # It prints 9.49... and 5.63..., cut and not rounded.
    assert math.floor(100 * float(metrics.dcg(scores, grades)[0])) == 949
    assert math.floor(100 * float(metrics.dcg(scores, grades, 2)[0])) == 563
    tied = [[1, 0, 0, 0, 1]]
    assert float(metrics.dcg(tied, grades, 1, normalised=True)[0]) == pytest.approx(
        0.75, rel=1e-12, abs=0
    )
    assert float(metrics.dcg(tied, grades, 1)[0]) == pytest.approx(7.5, rel=1e-12, abs=0)


@pytest.mark.parametrize(
    ("grades", "options", "message"),
    [
        ([0, -1, 2], {}, "grades"),
        ([0, 0, 0], {}, "grades must be above zero for at least one item"),
        ([0, 1], {}, r"grades must have the shape \(3,\)"),
        ([0, 600, 1], {"gain": "exponential"}, "grades .*600"),
        ([0, 1, 1], {"gain": "Burges"}, "gain must be one of"),
    ],
)
def test_bad_grades_are_named(grades, options, message):
    with pytest.raises(ValueError, match=message):
        metrics.dcg([3.0, 2.0, 1.0], grades, **options)
