"""A ranking of many competitors says what a ranking of some of them is on average."""

import itertools

import numpy as np
import pytest
from scipy.stats import hypergeom

from rdsim import ranking


def test_reciprocal_rank_of_a_subset_is_hypergeometric():
    for competitors, ahead, sampled in itertools.product((5, 9), range(6), (1, 3, 5)):
        number = np.arange(sampled + 1)
        probability = hypergeom(competitors, ahead, sampled).pmf(number)
        found = ranking.subset_reciprocal_rank(ahead, competitors=competitors, sampled=sampled)
        assert found == pytest.approx(np.sum(probability / (number + 1)), rel=0, abs=1e-12)


def test_all_competitors_give_the_rank_itself():
    found = ranking.subset_reciprocal_rank([[0, 4], [9, 20]], competitors=20, sampled=20)
    np.testing.assert_allclose(found, 1 / np.array([[1, 5], [10, 21]]), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("ahead", "numbers", "error", "message"),
    [
        ([3, 6], {}, ValueError, "ahead must lie in"),
        ([1.5], {}, ValueError, "ahead must be integers"),
        (1, {"competitors": 0}, ValueError, "competitors must be at least 1"),
        (1, {"sampled": 6}, ValueError, r"sampled must be in \[1, 5\]"),
        (1, {"sampled": 2.0}, TypeError, "sampled must be an integer"),
    ],
)
def test_bad_inputs(ahead, numbers, error, message):
    with pytest.raises(error, match=message):
        ranking.subset_reciprocal_rank(ahead, **{"competitors": 5, "sampled": 2} | numbers)
