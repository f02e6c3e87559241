"""Ranks of several targets of a query, Gaussian vectors behind a test channel (C29, C31), against simulated lists."""

import jax
import numpy as np
import pytest
import scipy.stats

from rdsim.ranking.gaussian.several_targets import of_first
from rdsim.ranking.gaussian.vector import target_scores, vector_gaussian_rank_losses

KEY = jax.random.key(5)
CORRELATIONS = np.array([0.9, 0.7, 0.5, 0.5])
RATES = np.array([2.0, 1.0, 1.0, 0.5])
FIRST = ("reciprocal_rank", ("miss", 1), ("miss", 5), "dcg")
EACH = [("miss", k) for k in range(1, 11)]


def losses(items, names, targets, **more):
    return vector_gaussian_rank_losses(
        KEY,
        CORRELATIONS,
        np.log2(items),
        names,
        rates=RATES,
        queries=1024,
        confidence=1 - 1e-8,
        targets=targets,
        **more,
    )


def simulated_ranks(items, targets, lists):
    """Ranks of the targets in lists by the information density."""
    rng = np.random.default_rng(3)
    c = CORRELATIONS * np.sqrt(1 - 4.0**-RATES)
    x, u = rng.normal(size=(lists, 1, c.size)), rng.normal(size=(lists, items, c.size))
    u[:, :targets] = c * x + np.sqrt(1 - c**2) * u[:, :targets]
    score = (u**2 / 2 - (u - c * x) ** 2 / (2 * (1 - c**2))).sum(axis=-1)
    return 1 + np.argsort(np.argsort(-score, axis=1), axis=1)[:, :targets]


@pytest.mark.parametrize(("items", "targets"), [(60, 5), (40, 2), (30, 20)])
def test_C31_the_first_and_each_of_several_targets_rank_as_in_simulated_lists(items, targets):
    ranks = simulated_ranks(items, targets, 20_000)
    first = ranks.min(axis=1)
    drawn = np.stack([1 - 1 / first, first > 1, first > 5, 1 - 1 / np.log2(1 + first)])
    each = np.stack([(ranks > k).mean(axis=1) for k in range(1, 11)])
    for names, values, more in ((FIRST, drawn, {}), (EACH, each, {"each": True})):
        found = losses(items, names, targets, **more)
        # Bernstein's inequality of Maurer and Pontil (2009), at a false alarm of 1e-8 for each of 42 means.
        drawn_lists, log_risk = values.shape[1], np.log(2e8)
        slack = np.sqrt(2 * values.var(axis=1) * log_risk / drawn_lists)
        slack += 7 * log_risk / (3 * (drawn_lists - 1))
        assert (np.asarray(found.lower) - slack <= values.mean(axis=1)).all()
        assert (np.asarray(found.upper) + slack >= values.mean(axis=1)).all()


def test_C31_one_target_is_the_first_and_each():
    first, each = losses(60, EACH, 1), losses(60, EACH, 1, each=True)
    np.testing.assert_allclose(each.value, first.value, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("items", "targets"), [(60, 5), (7, 3), (200, 2)])
def test_C31_targets_that_nothing_is_known_of_are_anywhere(items, targets):
    """All places of the targets are equally likely: the first list of K holds none with a hypergeometric probability."""
    found = {
        each: vector_gaussian_rank_losses(
            KEY,
            np.array([1e-6, 5e-7]),
            np.log2(items),
            EACH[:3],
            rates=1.0,
            queries=32,
            confidence=0.5,
            targets=targets,
            each=each,
        ).value
        for each in (False, True)
    }
    k = np.arange(1, 4)
    none = scipy.stats.hypergeom.pmf(0, items, targets, k)
    np.testing.assert_allclose(found[False], none, rtol=0, atol=2e-4)
    np.testing.assert_allclose(found[True], 1 - k / items, rtol=0, atol=2e-4)


@pytest.mark.parametrize("targets", [2, 5, 50])
def test_C31_the_largest_of_several_scores_has_probability_one(targets):
    beta = np.sort((1 - CORRELATIONS**2) / CORRELATIONS**2)
    scores = target_scores(beta, np.random.default_rng(0).normal(size=(20, 4)) ** 2)
    whole = of_first([np.ones_like], targets)(scores.log_a, scores.probability)
    np.testing.assert_allclose(whole, 1.0, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("items", "names", "targets", "more", "message"),
    [
        (60, FIRST, 5, {"each": True}, "losses of each target must be misses"),
        (60, EACH, 60, {}, "targets must be fewer than items, got 60 of 60"),
        (60, EACH, 0, {}, "targets"),
    ],
)
def test_bad_arguments_of_several_targets_are_named(items, names, targets, more, message):
    with pytest.raises(ValueError, match=message):
        losses(items, names, targets, **more)
