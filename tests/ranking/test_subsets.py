"""A ranking of many competitors says what a ranking of some of them is on average."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsim import ranking
from rdsim.ranking.metrics.single_target import tied_loss

LOSSES = ("error", "reciprocal_rank", ("miss", 3), "dcg")


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("competitors", "sampled"), [(6, 3), (6, 6), (5, 1), (7, 5)])
def test_it_is_the_mean_over_all_subsets_and_all_orders_of_ties(loss, competitors, sampled):
    drawn = [set(s) for s in itertools.combinations(range(competitors), sampled)]
    one_place = [
        np.mean([tied_loss(sum(i < place for i in s), 1, loss) for s in drawn])
        for place in range(competitors + 1)
    ]
    a, t = np.array(
        [(a, t) for a in range(competitors + 1) for t in range(1, competitors - a + 2)]
    ).T
    found = ranking.subset_loss(a, loss, competitors=competitors, sampled=sampled, tied=t)
    expected = [np.mean(one_place[i : i + j]) for i, j in zip(a, t, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("loss", LOSSES)
def test_all_competitors_give_the_rank_itself(loss):
    ahead, tied = np.array([[0, 4], [9, 20]]), np.array([[3, 1], [7, 1]])
    found = ranking.subset_loss(ahead, loss, competitors=20, sampled=20, tied=tied)
    np.testing.assert_allclose(found, tied_loss(ahead, tied, loss), rtol=0, atol=1e-13)


@given(st.data(), st.sampled_from(LOSSES))
def test_a_subset_of_a_subset_is_a_subset(data, loss):
    """One more competitor is left out at random: it was ahead of the target, or it was not."""
    N = data.draw(st.integers(2, 2000))
    m = data.draw(st.integers(1, N - 1))
    n = data.draw(st.integers(0, N))
    places = np.array([max(n - 1, 0), min(n, N - 1)])
    fewer = ranking.subset_loss(places, loss, competitors=N - 1, sampled=m)
    expected = (n * fewer[0] + (N - n) * fewer[1]) / N
    found = ranking.subset_loss(n, loss, competitors=N, sampled=m)
    assert found == pytest.approx(expected, rel=0, abs=1e-11)


@pytest.mark.parametrize("loss", LOSSES)
def test_few_of_very_many_competitors_are_a_binomial_number(loss):
    """Among 10^9 the share ahead is a probability, and C1 holds up to the share of those drawn."""
    share = np.array([1e-7, 1e-3, 0.2])
    ahead = np.round(1e9 * share).astype(int)
    found = ranking.subset_loss(ahead, loss, competitors=10**9, sampled=99)
    exact = ranking.expected_loss(np.log2(100), loss, log_a=np.log(share), log_e=-np.inf)
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-14)


@pytest.mark.parametrize(
    ("ahead", "numbers", "error", "message"),
    [
        ([3, 6], {}, ValueError, "ahead must lie in"),
        ([1.5], {}, ValueError, "ahead must be integers"),
        (1, {"competitors": 0}, ValueError, "competitors must be at least 1"),
        (1, {"sampled": 6}, ValueError, r"sampled must be in \[1, 5\]"),
        (1, {"sampled": 2.0}, TypeError, "sampled must be an integer"),
        (1, {"tied": 0}, ValueError, "tied must lie in"),
        (4, {"tied": 3}, ValueError, "tied must not exceed the 5 competitors"),
        (1, {"loss": "map"}, ValueError, "loss must be"),
    ],
)
def test_bad_inputs(ahead, numbers, error, message):
    with pytest.raises(error, match=message):
        ranking.subset_loss(ahead, **{"loss": "error", "competitors": 5, "sampled": 2} | numbers)
