"""C25 and C26 of many queries: bounds over all posteriors and by groups, against strategies and channels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr

from rdsim import limits
from rdsim.limits._simplices import least_difference
from rdsim.limits.retrieval.items import _programme
from rdsim.limits.retrieval.items._alternation import alternated
from rdsim.limits.retrieval.items._groups import converse_by_groups
from rdsim.limits.retrieval.items._programme import (
    earned_if_stored,
    evaluated,
    many_classes,
    optimum,
    programme,
)
from rdsim.limits.retrieval.items._ranks import classes_of, tabulated
from rdsim.ranking.loss import parse_loss

LOSSES = ("reciprocal_rank", "error", "dcg", ("miss", 2))


def drawn(random, shape):
    return random.dirichlet(np.ones(shape[0] * shape[1])).reshape(shape)


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("loss", ["reciprocal_rank", "error"])
def test_C25_C26_posteriors_and_strategies_agree(monkeypatch, joint, loss):
    """Three classes, solved to 1e-3 by strategies, bracket what posteriors give."""
    table = drawn(np.random.default_rng(4), (3, 3))
    problem = programme(classes_of(table), tabulated(2.0, parse_loss(loss), joint=joint))
    known = optimum(problem, 0.05, 1e-3)
    monkeypatch.setattr(_programme, "_MOST_CLASSES", 2)
    monkeypatch.setattr(_programme, "_MOST_STRATEGIES", 1.0)
    found = optimum(problem, 0.05, 1e-4)
    reached, best = (one.reward - 0.05 * one.rate for one in (found, known))
    assert reached <= known.bound + 1e-12
    assert found.bound >= best - 1e-12
    assert found.bound - reached <= 0.05 * 5e-3


@settings(max_examples=4)
@given(st.integers(0, 2**32 - 1), st.sampled_from(LOSSES), st.booleans())
def test_C25_C26_no_channel_of_many_queries_passes_the_bound(seed, loss, joint):
    random = np.random.default_rng(seed)
    table = drawn(random, (9, 3))
    problem = programme(classes_of(table), tabulated(3.0, parse_loss(loss), joint=joint))
    found = optimum(problem, 0.05, 1e-3)
    reached = found.reward - 0.05 * found.rate
    assert reached <= found.bound
    assert found.bound - reached <= 0.05 * 0.02
    py = problem.queries.py
    for words in (2, 3, 6, 12):
        near = evaluated(problem, (random.dirichlet(np.full(words, 0.4), size=3) * py[:, None]).T)
        moved = found.joint * random.uniform(0.8, 1.2, size=found.joint.shape)
        for reward, nats in (near, evaluated(problem, moved)):
            assert reward - 0.05 * nats / np.log(2) <= found.bound + 1e-12


def test_C26_twelve_queries_are_certified():
    table = drawn(np.random.default_rng(1), (12, 3))
    curve = limits.retrieval_curve(table, 2.0, "reciprocal_rank", [0.05], encoder="joint")
    assert float(curve.gap[0]) < 5e-3
    assert float(curve.rate.lower[0]) > 0.2


@pytest.mark.parametrize("joint", [True, False])
def test_C25_C26_items_of_five_letters_are_certified(joint):
    """No channel that was tried passes the bound, and the best one comes within the tolerance of it."""
    random = np.random.default_rng(2)
    table = drawn(random, (6, 5))
    problem = programme(classes_of(table), tabulated(10.0, parse_loss("error"), joint=joint))
    slope, tolerance = 0.05, 0.02
    found = optimum(problem, slope, tolerance)
    assert found.bound - (found.reward - slope * found.rate) <= slope * tolerance
    py = problem.queries.py
    for words in (2, 5, 40):
        near = evaluated(problem, (random.dirichlet(np.full(words, 0.3), size=5) * py[:, None]).T)
        moved = found.joint * random.uniform(0.8, 1.2, size=found.joint.shape)
        for reward, nats in (near, evaluated(problem, moved)):
            assert reward - slope * nats / np.log(2) <= found.bound + 1e-12


@pytest.mark.parametrize("slope", [1e-3, 1e-7, 1e-10])
def test_C25_the_steepest_slopes_of_many_classes_have_a_bound(slope):
    """Rewards of 1e10 in units of the multiplier: at slope zero the stored letter earns the most."""
    table = drawn(np.random.default_rng(1), (7, 3))
    problem = programme(classes_of(table), tabulated(8.0, parse_loss("error"), joint=False))
    found = optimum(problem, slope, 1e-2)
    assert found.reward - slope * found.rate <= found.bound
    assert found.bound <= earned_if_stored(problem) + 1e-12
    assert found.bound >= earned_if_stored(problem) - 3 * slope


@pytest.mark.parametrize("joint", [True, False])
@settings(max_examples=3)
@given(st.integers(0, 2**32 - 1), st.integers(6, 10), st.floats(1.0, 12.0), st.sampled_from(LOSSES))
def test_C25_C26_no_channel_passes_the_converse_by_groups(joint, seed, letters, size, loss):
    """Channels at random, and those that alternation finds for all queries together."""
    random = np.random.default_rng(seed)
    table = drawn(random, (letters, letters))
    problem = programme(classes_of(table), tabulated(size, parse_loss(loss), joint=joint))
    converse = converse_by_groups(problem)
    py = problem.queries.py
    channels = [
        (random.dirichlet(np.full(words, 0.3), size=letters) * py[:, None]).T
        for words in (2, 5, 40)
    ]
    stored = earned_if_stored(problem) - problem.rewards.above.whole
    multipliers = stored * np.array([0.1, 0.3, 1.0])
    channels += alternated(problem, table, 2.0**size, multipliers)
    for channel in [*channels, np.diag(py)]:
        reward, nats = evaluated(problem, channel)
        bits = nats / np.log(2)
        assert converse.loss_at(np.array(bits)) <= 1 - reward + 1e-12
        assert converse.rate_at(np.array(1 - reward)) <= bits + 1e-9


@pytest.mark.parametrize("joint", [True, False])
def test_C26_a_loss_that_every_item_has_costs_no_bits(joint):
    """Of two items both are among the first two: the least loss is zero, whatever its rounding is."""
    for seed in range(6):
        table = drawn(np.random.default_rng(seed), (7, 7))
        problem = programme(classes_of(table), tabulated(1.0, parse_loss(("miss", 2)), joint=joint))
        assert converse_by_groups(problem).rate_at(np.array(0.0)) == 0


@pytest.mark.parametrize("classes", [6, 9])
def test_C26_groups_lie_below_all_queries_together_and_not_far(classes):
    """Of so few items strategies of all classes can be searched: what groups give away is the difference."""
    table = drawn(np.random.default_rng(classes), (classes, 6))
    problem = programme(classes_of(table), tabulated(3.0, parse_loss("error"), joint=True))
    assert not many_classes(problem)
    converse = converse_by_groups(problem)
    stored = earned_if_stored(problem) - problem.rewards.above.whole
    for slope in stored * np.array([0.2, 0.5, 1.0]):
        exact = optimum(problem, float(slope), 1e-3)
        assert exact.bound - (exact.reward - slope * exact.rate) <= 2e-3 * slope
        loss, known = 1 - exact.reward, float(converse.loss_at(np.array(exact.rate)))
        assert known <= loss + 1e-12
        # Without any bits the loss is 7/8; the converse leaves at least half of what the channel gains.
        assert 7 / 8 - known <= 2 * (7 / 8 - loss)


def test_C26_few_ranks_of_many_classes_are_searched_together(monkeypatch):
    """Strategies of twelve classes, two ranks each, against a search of all posteriors."""
    table = drawn(np.random.default_rng(3), (12, 3))
    problem = programme(classes_of(table), tabulated(2.0, parse_loss("error"), joint=True))
    found = optimum(problem, 0.05, 1e-4)
    assert found.bound - (found.reward - 0.05 * found.rate) <= 0.05 * 1e-3
    monkeypatch.setattr(_programme, "_MOST_STRATEGIES", 1.0)
    other = optimum(problem, 0.05, 5e-3)
    assert other.reward - 0.05 * other.rate <= found.bound + 1e-12
    assert found.reward - 0.05 * found.rate <= other.bound + 1e-12


def test_C26_six_letters_have_a_converse_above_the_rank_rate():
    """Where C4 says next to nothing: a million items of six letters."""
    table = drawn(np.random.default_rng(5), (6, 6))
    bounds = limits.retrieval_bounds(table, 20.0, "reciprocal_rank", n=1)
    needed = np.asarray(
        limits.rank_rate(20.0, "reciprocal_rank", distortion=bounds.distortion).lower
    )
    by_rank = np.asarray(limits.bottleneck_rate(table, needed, compress="columns").lower)
    lower, upper = np.asarray(bounds.lower), np.asarray(bounds.upper)
    assert (lower <= upper).all()
    assert lower[1] > 100 * by_rank[1]
    assert lower[1] > 0.3 * upper[1]


def test_C25_many_queries_and_many_letters_are_bounded():
    """Seventy classes of queries and six letters: more strategies than integers of 64 bits can number."""
    table = drawn(np.random.default_rng(0), (70, 6))
    curve = limits.retrieval_curve(table, 3.0, "error", [0.02], encoder="joint")
    assert not curve.rate.converged.any()
    assert 0.1 <= float(curve.rate.lower[0]) <= float(curve.rate.upper[0]) <= np.log2(6)


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 3, 4]))
def test_the_least_difference_of_convex_functions_is_that_of_a_grid(seed, letters):
    """A divergence less a maximum of linear functions: from below, and close."""
    random = np.random.default_rng(seed)
    p, lines = random.dirichlet(np.ones(letters)), random.normal(size=(5, letters))
    found, at = least_difference(
        letters,
        lambda m: (np.log(np.maximum(m, 1e-300) / p), np.zeros(len(m))),
        lambda u: (u @ lines.T).max(axis=-1),
        tolerance=1e-6,
        most=100_000,
    )
    # Of each linear function by itself the least is minus a logarithm of a mean exponential.
    exact = -np.log((p * np.exp(lines)).sum(axis=1)).max()
    value = rel_entr(at, p).sum() - (lines @ at).max()
    assert found <= exact + 1e-12
    assert exact - 1e-6 <= found
    np.testing.assert_allclose(value, exact, rtol=0, atol=1e-3)
