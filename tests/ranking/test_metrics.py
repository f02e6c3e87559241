"""Metrics on scores against the average over every order of the candidates."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsim.ranking import metrics

SIZES = (2, 4, 6)

METRICS = {
    "reciprocal_rank": lambda s, p, _: metrics.reciprocal_rank(s, p),
    "recall": metrics.recall,
    "precision": metrics.precision,
    "average_precision": lambda s, p, _: metrics.average_precision(s, p),
    "ndcg": metrics.ndcg,
    "ndcg of the whole list": lambda s, p, _: metrics.ndcg(s, p),
}


def metric_of_ranking(name, relevance, k):
    """The textbook metric of one ranked list of zeros and ones."""
    ranks = [r for r, positive in enumerate(relevance, start=1) if positive]
    if name == "reciprocal_rank":
        return 1 / ranks[0]
    if name == "recall":
        return sum(r <= k for r in ranks) / len(ranks)
    if name == "precision":
        return sum(r <= k for r in ranks) / k
    if name == "average_precision":
        return sum(sum(q <= r for q in ranks) / r for r in ranks) / len(ranks)
    if name == "ndcg of the whole list":
        k = len(relevance)
    gain = sum(1 / math.log2(1 + r) for r in ranks if r <= k)
    return gain / sum(1 / math.log2(1 + r) for r in range(1, min(k, len(ranks)) + 1))


def mean_over_all_orders(name, scores, mask, k):
    """Shuffle the candidates in every way, sort stably, average the textbook metric."""
    lists = {}
    for order in itertools.permutations(range(len(scores))):
        ranked = sorted(order, key=lambda item: -scores[item])
        relevance = tuple(mask[item] for item in ranked)
        lists[relevance] = lists.get(relevance, 0) + 1
    total = sum(count * metric_of_ranking(name, seen, k) for seen, count in lists.items())
    return total / math.factorial(len(scores))


@st.composite
def tied_queries(draw):
    """Scores with many ties, a mask with at least one positive, and a length of list."""
    M = draw(st.sampled_from(SIZES))
    levels = st.sampled_from([0.0, 1.0, -0.0, -1.0, 2.0, math.inf, -math.inf])
    scores = draw(st.lists(levels, min_size=M, max_size=M))
    mask = draw(st.lists(st.booleans(), min_size=M, max_size=M).filter(any))
    return np.array(scores), np.array(mask), draw(st.integers(1, M))


@pytest.mark.parametrize("name", METRICS)
@given(query=tied_queries())
def test_metric_is_the_mean_over_all_orders_of_the_candidates(name, query):
    scores, mask, k = query
    expected = mean_over_all_orders(name, scores.tolist(), mask.tolist(), k)
    np.testing.assert_allclose(METRICS[name](scores, mask, k), expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("count", range(1, 7))
def test_one_tie_group_with_every_number_of_positives(name, count):
    mask = [item < count for item in range(6)]
    for k in (1, 3, 6):
        expected = mean_over_all_orders(name, [0.0] * 6, mask, k)
        np.testing.assert_allclose(METRICS[name](np.zeros(6), mask, k), expected, rtol=1e-13)


@pytest.mark.parametrize("name", METRICS)
@given(query=tied_queries(), data=st.data())
def test_order_of_the_candidates_does_not_matter(name, query, data):
    scores, mask, k = query
    order = np.array(data.draw(st.permutations(range(scores.size))))
    shuffled = METRICS[name](scores[order], mask[order], k)
    np.testing.assert_array_equal(shuffled, METRICS[name](scores, mask, k))


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("increasing", [np.exp, np.arctan, lambda s: 3 * s + 1])
@given(query=tied_queries())
def test_only_the_order_of_the_scores_matters(name, increasing, query):
    scores, mask, k = query
    transformed = METRICS[name](increasing(scores), mask, k)
    np.testing.assert_array_equal(transformed, METRICS[name](scores, mask, k))


@pytest.mark.parametrize("name", METRICS)
@given(query=tied_queries())
def test_list_of_places_equals_mask(name, query):
    scores, mask, k = query
    places = np.full(scores.size + 1, -1)
    places[::-1][: mask.sum()] = np.flatnonzero(mask)
    np.testing.assert_array_equal(METRICS[name](scores, places, k), METRICS[name](scores, mask, k))


@pytest.mark.parametrize("M", [2, 3, 10, 1000])
@pytest.mark.parametrize("where", ["first", "middle", "last"])
def test_constant_scorer_gets_harmonic_mrr(M, where):
    # Ties broken by the place in the list would give 1, 2/M and 1/M.
    positive = {"first": 0, "middle": M // 2, "last": M - 1}[where]
    harmonic = math.fsum(1 / r for r in range(1, M + 1))
    scores = np.full(M, 0.3)
    np.testing.assert_allclose(
        metrics.reciprocal_rank(scores, [positive]), harmonic / M, rtol=1e-14
    )
    np.testing.assert_allclose(
        metrics.average_precision(scores, [positive]), harmonic / M, rtol=1e-14
    )
    assert metrics.precision(scores, [positive], 1) == 1 / M
    for k in {1, 2, M // 2, M}:
        assert metrics.recall(scores, [positive], k) == k / M
        assert metrics.precision(scores, [positive], k) == k / M / k


@pytest.mark.parametrize("m", [2, 37, 500, 1000])
def test_many_positives_among_many_ties_keep_full_accuracy(m):
    M = 1000
    exact = sum(math.comb(M - i, m - 1) / math.comb(M, m) / i for i in range(1, M - m + 2))
    value = metrics.reciprocal_rank(np.zeros(M), np.arange(M) < m)
    np.testing.assert_allclose(value, exact, rtol=1e-13)


def test_worked_example_without_ties():
    # Ranking: item 2, 0, 4, 1, 3; positives 0 and 1 stand at ranks 2 and 4.
    scores, positives = [4.0, 2.0, 5.0, 1.0, 3.0], [0, 1]
    assert metrics.reciprocal_rank(scores, positives) == 1 / 2
    assert metrics.recall(scores, positives, 1) == 0
    assert metrics.recall(scores, positives, 3) == 1 / 2
    assert metrics.recall(scores, positives, 4) == 1
    assert metrics.precision(scores, positives, 4) == 2 / 4
    assert metrics.average_precision(scores, positives) == (1 / 2 + 2 / 4) / 2
    assert metrics.precision(scores, positives, 1) == 0
    ideal = 1 + 1 / math.log2(3)
    gain = 1 / math.log2(3) + 1 / math.log2(5)
    np.testing.assert_allclose(metrics.ndcg(scores, positives), gain / ideal, rtol=1e-15)
    np.testing.assert_allclose(
        metrics.ndcg(scores, positives, 3), 1 / math.log2(3) / ideal, rtol=1e-15
    )
    np.testing.assert_allclose(metrics.ndcg(scores, positives, 1), 0.0, rtol=1e-12, atol=0)


def test_convenience_averages_the_queries():
    generator = np.random.default_rng(3)
    scores = generator.integers(0, 3, (2, 4, 12))
    mask = generator.random((2, 4, 12)) < 0.4
    mask[..., 5] = True
    expected = {
        "MRR": metrics.reciprocal_rank(scores, mask),
        "MAP": metrics.average_precision(scores, mask),
        "NDCG": metrics.ndcg(scores, mask),
        "top-1": metrics.precision(scores, mask, 1),
        "recall@1": metrics.recall(scores, mask, 1),
        "recall@10": metrics.recall(scores, mask, 10),
        "precision@1": metrics.precision(scores, mask, 1),
        "precision@10": metrics.precision(scores, mask, 10),
        "MAP@R": metrics.map_at_r(scores, mask),
        "R-precision": metrics.r_precision(scores, mask),
    }
    for k in (1, 10):
        expected[f"MRR@{k}"] = metrics.reciprocal_rank(scores, mask, k)
        expected[f"MAP@{k}"] = metrics.average_precision(scores, mask, k)
        expected[f"NDCG@{k}"] = metrics.ndcg(scores, mask, k)
        expected[f"success@{k}"] = metrics.success(scores, mask, k)
    averages = metrics.retrieval_metrics(scores, mask)
    assert averages.keys() == expected.keys() | {"median rank"}
    for name, values in expected.items():
        assert values.shape == (2, 4)
        assert values.dtype == jnp.float64
        np.testing.assert_allclose(averages[name], values.mean(), rtol=1e-14)


def test_queries_of_a_batch_do_not_mix():
    scores = np.array([[0.0, 1.0, 1.0, 2.0], [1.0, 1.0, 1.0, 1.0], [3.0, 2.0, 1.0, -np.inf]])
    places = np.array([[1, -1], [3, 0], [-1, 2]])
    for metric in METRICS.values():
        together = metric(scores, places, 2)
        alone = [metric(s, p, 2) for s, p in zip(scores, places, strict=True)]
        np.testing.assert_array_equal(together, alone)


def test_no_query_gives_no_value():
    assert metrics.reciprocal_rank(np.zeros((0, 4)), np.zeros((0, 4), bool)).shape == (0,)


def test_metrics_run_under_jit():
    scores, places = jnp.array([0.0, 1.0, 1.0, 0.0]), jnp.array([0, 2])
    for metric in METRICS.values():
        traced = jax.jit(lambda s, p, metric=metric: metric(s, p, 2))(scores, places)
        np.testing.assert_allclose(traced, metric(scores, places, 2), rtol=1e-14)


RANK_CASES = [
    ([0.0, 0.0, 0.0, 0.0, 0.0, 0.0], 0),
    ([0.0, 0.0, 0.0, 0.0, 0.0, 0.0], 5),
    ([2.0, 1.0, 1.0, 0.0, 1.0, -math.inf], 2),
    ([math.inf, 1.0, math.inf, 0.0, 1.0, math.inf], 0),
    ([3.0, -math.inf, 1.0, -math.inf, 2.0, 0.0], 3),
]


@pytest.mark.parametrize(("scores", "target"), RANK_CASES)
def test_mean_of_random_ranks_is_the_metric(scores, target):
    # Hoeffding for means of values in [0, 1]: each of 5 x 7 checks fails at random with
    # probability 2 exp(-2 draws slack^2) = 1e-8, all together below 1e-6.
    draws = 20_000
    slack = math.sqrt(math.log(2 / 1e-8) / (2 * draws))
    keys = jax.random.split(jax.random.key(11), draws)
    ranks = np.asarray(jax.vmap(lambda key: metrics.rank(key, scores, target))(keys))
    assert abs(np.mean(1 / ranks) - metrics.reciprocal_rank(scores, [target])) < slack
    for k in range(1, 7):
        assert abs(np.mean(ranks <= k) - metrics.recall(scores, [target], k)) < slack


def test_rank_without_ties_is_the_rank():
    scores = np.array([[4.0, 2.0, 5.0], [-np.inf, 0.0, np.inf]])
    ranks = metrics.rank(jax.random.key(0), scores, [1, 2])
    assert ranks.dtype == jnp.int32
    np.testing.assert_array_equal(ranks, [3, 1])


def test_queries_of_one_call_break_their_ties_independently():
    ranks = np.asarray(
        metrics.rank(jax.random.key(5), np.zeros((20_000, 2)), np.zeros(20_000, int))
    )
    assert set(ranks) == {1, 2}
    # Neighbours agree half of the time; Hoeffding on 10 000 disjoint pairs at 1e-8.
    agree = np.mean(ranks[::2] == ranks[1::2])
    assert abs(agree - 0.5) < math.sqrt(math.log(2 / 1e-8) / 20_000)


GOOD = [0.0, 1.0, 2.0]

BAD_POSITIVES = {
    "NaN score": ([0.0, math.nan, 1.0], [0], ValueError, r"scores .*NaN.*index 1"),
    "one item": ([0.0], [0], ValueError, r"scores .*M >= 2.*\(1,\)"),
    "scalar score": (0.0, [0], ValueError, r"scores .*\(\)"),
    "words for scores": (["a", "b"], [0], TypeError, "scores"),
    "place too large": (GOOD, [0, 3], ValueError, r"positives .*\[-1, 2\], got 3"),
    "place too small": (GOOD, [0, -2], ValueError, r"positives .*\[-1, 2\], got -2"),
    "place twice": (GOOD, [1, -1, 1, -1], ValueError, "positives .*position 1 twice"),
    "only padding": (GOOD, [-1, -1], ValueError, "positives .*at least one"),
    "empty list": (GOOD, np.zeros(0, int), ValueError, "positives .*at least one"),
    "empty mask": (GOOD, [False] * 3, ValueError, "positives .*at least one"),
    "one empty query": ([GOOD] * 2, [[0], [-1]], ValueError, r"none in query \[1\]"),
    "short mask": (GOOD, [True, False], ValueError, r"positives .*\(3,\).*\(2,\)"),
    "other queries": ([GOOD] * 2, [[0]] * 3, ValueError, r"positives .*\(3, 1\)"),
    "scalar positive": (GOOD, 1, ValueError, r"positives .*shape \(\)"),
    "positions in floats": (GOOD, [0.0], TypeError, "positives .*mask.*positions.*float64"),
    "mask of zeros and ones": (
        GOOD,
        [0, 1, 0],
        ValueError,
        "positives .*cannot be told apart.*> 0",
    ),
    "grades": (GOOD, np.uint8([0, 1, 2]), ValueError, "positives .*cannot be told apart"),
    "mask in floats": (GOOD, [0.0, 1.0, 0.0], TypeError, "positives .*grades > 0.*float64"),
    "masks of two queries": ([GOOD] * 2, [[0, 1, 0]] * 2, ValueError, "cannot be told apart"),
}


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("case", BAD_POSITIVES)
def test_bad_scores_and_positives_are_named(name, case):
    scores, positives, error, message = BAD_POSITIVES[case]
    with pytest.raises(error, match=message):
        METRICS[name](scores, positives, 1)
    with pytest.raises(error, match=message):
        metrics.retrieval_metrics(scores, positives, (1,))


@pytest.mark.parametrize("metric", [metrics.recall, metrics.precision, metrics.ndcg])
@pytest.mark.parametrize(("k", "error"), [(0, ValueError), (-1, ValueError), (1.0, TypeError)])
def test_bad_lengths_are_named(metric, k, error):
    with pytest.raises(error, match=f"k must be .*{k}"):
        metric(GOOD, [0], k)
    with pytest.raises(error, match=f"k must be .*{k}"):
        metrics.retrieval_metrics(GOOD, [0], (1, k))


@pytest.mark.parametrize("k", [1, "1"])
def test_lengths_of_the_convenience_are_a_sequence(k):
    with pytest.raises(TypeError, match="k must be a sequence"):
        metrics.retrieval_metrics(GOOD, [0], k)


def test_average_over_no_query_is_an_error():
    with pytest.raises(ValueError, match=r"scores must not be empty, got shape \(0, 4\)"):
        metrics.retrieval_metrics(np.zeros((0, 4)), np.zeros((0, 4), bool), (1,))


@pytest.mark.parametrize(
    ("scores", "target", "error", "message"),
    [
        ([0.0, math.nan], 0, ValueError, "scores .*NaN"),
        ([0.0], 0, ValueError, "scores .*M >= 2"),
        (GOOD, 3, ValueError, r"target .*\[0, 2\], got 3"),
        (GOOD, -1, ValueError, r"target .*\[0, 2\], got -1"),
        (GOOD, [0], ValueError, r"target .*shape \(\).*\(1,\)"),
        (GOOD, 1.0, TypeError, "target .*float64"),
        (GOOD, True, TypeError, "target .*bool"),
    ],
)
def test_bad_targets_are_named(scores, target, error, message):
    with pytest.raises(error, match=message):
        metrics.rank(jax.random.key(0), scores, target)


def test_rank_wants_a_typed_key():
    with pytest.raises(TypeError):
        metrics.rank(0, GOOD, 0)
