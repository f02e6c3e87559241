"""Lists of the best k items: what was not retrieved earns nothing, as in trec_eval and its kin."""

import math

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_metrics import METRICS, metric_of_ranking

from rdsim.ranking import metrics

# trec_eval, test/qrels.test and test/results.test (https://github.com/usnistgov/trec_eval): of each
# of its three queries the positives, and the ranks of those among the 500 items retrieved.
TREC_EVAL = [
    (474, "6 7 16 18 20 26 30 32 37 39 43 49 54 56 57 59 63 67 70 83 92 96 100 103 112 115 116 122 125 "
          "130 131 133 143 144 145 158 172 178 184 197 199 200 207 210 212 219 224 229 240 249 253 263 "
          "267 274 280 290 307 309 315 317 318 320 327 342 348 384 394 419 435 491 495"),
    (77, "1 2 4 5 6 8 9 11 12 13 14 15 16 17 18 19 21 22 24 27 28 30 31 34 36 37 39 42 43 44 47 48 49 "
         "50 51 53 56 58 72 79 82 84 116 154 289 301 331 353 394 458"),
    (10, "19 37 41 43 44 65 67 89 99 107"),
]  # fmt: skip
# Its test/out.test.a, which has four decimals.
PUBLISHED = {
    "R-precision": 0.2174,
    "MAP@5": 0.0154,
    "MAP@30": 0.0795,
    "MAP@100": 0.1622,
    "NDCG@5": 0.2768,
    "success@5": 0.3333,
    "MAP": 0.1785,
    "MRR": 0.4064,
    "NDCG": 0.4021,
    "precision@5": 0.2667,
    "precision@30": 0.3333,
    "precision@100": 0.2467,
    "precision@500": 0.0873,
    "precision@1000": 0.0437,
    "recall@5": 0.0173,
    "recall@30": 0.1335,
    "recall@100": 0.4980,
    "recall@500": 0.5997,
    "recall@1000": 0.5997,
}
PUBLISHED_NDCG = {5: 0.2768, 10: 0.3016, 30: 0.3363, 100: 0.3916, 200: 0.4045, 1000: 0.4021}


def trec_eval_lists():
    """Scores, positives and what was retrieved of M items: 500 retrieved, then missed positives."""
    M = 500 + 474
    scores = np.tile(-np.arange(float(M)), (3, 1))
    positives = np.zeros((3, M), bool)
    for row, (total, ranks) in enumerate(TREC_EVAL):
        found = np.array(ranks.split(), int) - 1
        positives[row, found] = True
        positives[row, 500 : 500 + total - found.size] = True
    return scores, positives, np.broadcast_to(np.arange(M) < 500, (3, M))


def test_the_numbers_that_trec_eval_publishes_with_its_test():
    scores, positives, retrieved = trec_eval_lists()
    found = metrics.retrieval_metrics(
        scores, positives, (5, 30, 100, 500, 1000), retrieved=retrieved
    )
    for name, value in PUBLISHED.items():
        assert round(float(found[name]), 4) == value, name
    for k, value in PUBLISHED_NDCG.items():
        each = metrics.ndcg(scores, positives, k, retrieved=retrieved)
        assert round(float(each.mean()), 4) == value, k


def test_the_example_of_ir_measures():
    # README of https://github.com/terrierteam/ir_measures: qrels Q0 {D0: 0, D1: 1} and
    # Q1 {D0: 0, D3: 2}, run Q0 {D0: 1.2, D1: 1.0} and Q1 {D0: 2.4, D3: 3.6}.
    scores = [[1.2, 1.0], [2.4, 3.6]]
    found = metrics.retrieval_metrics(scores, np.array([[0, 1], [0, 2]]) > 0)
    assert found["MAP"] == found["MRR"] == 0.75
    assert found["NDCG"] == pytest.approx(0.8154648767857288, rel=1e-15, abs=0)
    # P(rel=2)@10: only Q1 has an item of grade 2, and it stays in the average.
    strict = metrics.retrieval_metrics(
        scores, np.array([[0, 1], [0, 2]]) >= 2, without_positives="zero"
    )
    assert strict["precision@10"] == pytest.approx(0.05, rel=1e-15, abs=0)
    assert strict["queries without positives"] == 1


def test_the_example_of_ranx():
    # README of https://github.com/AmenRa/ranx: the first query finds d_12 first and d_25 third, the
    # second d_11 second and d_22 fifth, of six items each; it prints map@5 0.6416 and mrr 0.75.
    scores = np.tile([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], (2, 1))
    found = metrics.retrieval_metrics(scores, np.array([[0, 2], [1, 4]]))
    assert found["MRR"] == 0.75
    assert math.floor(float(found["MAP"]) * 1e4) / 1e4 == 0.6416


@st.composite
def lists(draw):
    """Scores, positives, and the mask of a list that may miss some or all of them."""
    M = draw(st.sampled_from((2, 4, 6)))
    scores = draw(st.permutations(range(M)).map(np.array)).astype(float)
    mask = draw(st.lists(st.booleans(), min_size=M, max_size=M).filter(any))
    held = draw(st.lists(st.booleans(), min_size=M, max_size=M))
    return scores, np.array(mask), np.array(held), draw(st.integers(1, M + 3))


def metric_of_list(name, relevance, total, k):
    """The textbook metric of a list that holds some of the positives of a query."""
    ranks = [r for r, positive in enumerate(relevance, start=1) if positive]
    if name == "reciprocal_rank":
        return 1 / ranks[0] if ranks else 0.0
    if name == "recall":
        return sum(r <= k for r in ranks) / total
    if name == "average_precision":
        return sum(sum(q <= r for q in ranks) / r for r in ranks) / total
    if name == "precision":
        return sum(r <= k for r in ranks) / k
    k = math.inf if name == "ndcg of the whole list" else k
    gain = sum(1 / math.log2(1 + r) for r in ranks if r <= k)
    return gain / sum(1 / math.log2(1 + r) for r in range(1, int(min(k, total)) + 1))


@pytest.mark.parametrize("name", METRICS)
@given(query=lists())
def test_a_list_is_worth_what_the_textbook_says(name, query):
    scores, mask, held, k = query
    order = [item for item in np.argsort(-scores) if held[item]]
    expected = metric_of_list(name, mask[order], mask.sum(), k)
    given_scores = np.where(held, scores, np.nan)
    value = evaluate(name, given_scores, mask, k, held)
    np.testing.assert_allclose(value, expected, rtol=0, atol=1e-14)


def evaluate(name, scores, positives, k, retrieved):
    function = getattr(metrics, name.split()[0])
    takes_k = name in ("recall", "precision", "ndcg")
    return function(scores, positives, *([k] if takes_k else []), retrieved=retrieved)


@pytest.mark.parametrize("name", METRICS)
def test_an_item_scored_minus_infinity_is_retrieved_last_and_tied(name):
    scores, mask = np.array([2.0, 1.0, -np.inf, -np.inf]), np.array([False, True, True, False])
    everything = np.ones(4, bool)
    tied = evaluate(name, scores, mask, 3, everything)
    np.testing.assert_array_equal(tied, METRICS[name](scores, mask, 3))
    orders = ([False, True, True, False], [False, True, False, True])
    mean = np.mean([metric_of_ranking(name, order, 3) for order in orders])
    np.testing.assert_allclose(tied, mean, rtol=1e-14, atol=0)
    if name in ("recall", "average_precision", "ndcg", "ndcg of the whole list"):
        assert evaluate(name, scores, mask, 3, np.isfinite(scores)) < tied


def test_ties_within_a_list_are_averaged_and_the_rest_earns_nothing():
    # Two of three tied items are retrieved, one of them positive; the third positive is missed.
    scores, held = np.zeros(3), np.array([True, True, False])
    mask = np.array([True, False, True])
    assert metrics.reciprocal_rank(scores, mask, retrieved=held) == (1 + 1 / 2) / 2
    assert metrics.recall(scores, mask, 2, retrieved=held) == 1 / 2
    assert metrics.average_precision(scores, mask, retrieved=held) == (1 + 1 / 2) / 2 / 2


@pytest.mark.parametrize("k", [5, 6, 10, 1000])
def test_a_short_list_goes_on_with_nothing_or_ends(k):
    scores, positives = np.arange(5.0), [4, 0]
    assert metrics.recall(scores, positives, k) == 1
    assert metrics.precision(scores, positives, k) == 2 / k
    assert metrics.precision(scores, positives, k, limit_k_to_size=True) == 2 / 5
    held = np.array([False, False, True, True, True])
    limited = metrics.precision(scores, positives, k, retrieved=held, limit_k_to_size=True)
    assert limited == 1 / 3
    np.testing.assert_array_equal(
        metrics.ndcg(scores, positives, k), metrics.ndcg(scores, positives)
    )
    nothing = metrics.precision(
        scores, positives, k, retrieved=np.zeros(5, bool), limit_k_to_size=True
    )
    assert nothing == 0


def test_five_documents_need_no_options():
    found = metrics.retrieval_metrics([0.1, 0.9, 0.5, 0.3, 0.2], [1, 3])
    assert found["recall@10"] == 1
    assert found["precision@10"] == 2 / 10
    limited = metrics.retrieval_metrics([0.1, 0.9, 0.5, 0.3, 0.2], [1, 3], limit_k_to_size=True)
    assert limited["precision@10"] == 2 / 5


def test_queries_without_positives_are_refused_left_out_or_scored_zero():
    scores = np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [2.0, 1.0, 3.0]])
    mask = np.array([[True, False, False], [False, False, False], [True, False, True]])
    positions = [[0, -1], [-1, -1], [0, 2]]
    full = metrics.retrieval_metrics(scores[[0, 2]], mask[[0, 2]])
    for positives in (mask, positions):
        with pytest.raises(ValueError, match=r"none in query \[1\].*without_positives"):
            metrics.retrieval_metrics(scores, positives)
        left = metrics.retrieval_metrics(scores, positives, without_positives="skip")
        zero = metrics.retrieval_metrics(scores, positives, without_positives="zero")
        for found in (left, zero):
            assert found.pop("queries without positives") == 1
        assert left.keys() == zero.keys() == full.keys()
        # Queries that find nothing have no rank, which moves a median otherwise than a mean.
        assert left.pop("median rank") == full["median rank"]
        assert zero.pop("median rank") >= full["median rank"]
        for name, value in full.items():
            if name == "median rank":
                continue
            np.testing.assert_allclose(left[name], value, rtol=1e-15, atol=0)
            np.testing.assert_allclose(zero[name], 2 / 3 * value, rtol=1e-15, atol=0)
    with pytest.raises(ValueError, match="leave a query to average over"):
        metrics.retrieval_metrics(scores[1], mask[1], without_positives="skip")


def test_lists_run_under_jit():
    scores, positives, held = np.arange(4.0), np.array([0, 2]), np.array([True, True, False, True])
    for name in METRICS:
        traced = jax.jit(lambda s, p, r, name=name: evaluate(name, s, p, 2, r))(
            scores, positives, held
        )
        np.testing.assert_allclose(
            traced, evaluate(name, scores, positives, 2, held), rtol=1e-14, atol=0
        )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"retrieved": [1, 1, 0]}, TypeError, "retrieved must be a boolean mask.*int64"),
        ({"retrieved": [True, True]}, ValueError, r"retrieved must have the shape \(3,\)"),
        ({"retrieved": [True, False, True]}, ValueError, "scores must not contain NaN.*index 2"),
        ({"limit_k_to_size": 1}, TypeError, "limit_k_to_size must be a bool"),
        ({"without_positives": "drop"}, ValueError, "without_positives must be one of"),
    ],
)
def test_bad_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        metrics.retrieval_metrics([0.0, 1.0, np.nan], [0], (1,), **options)
