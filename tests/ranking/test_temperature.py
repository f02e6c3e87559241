"""C17: fitted temperatures against scipy, finite differences, planted distributions and repeated samples."""

import jax
import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
import strategies as sts
from hypothesis import given
from hypothesis import strategies as st

from rdsim.ranking.similarity import fuse, negative_squared_distance
from rdsim.ranking.temperature import (
    bayes_temperatures,
    entropy_difference_temperatures,
    fit_temperatures,
)

SAMPLES, CODEWORDS = 12, 4
tables = sts.scores((SAMPLES, 2, CODEWORDS))
target_lists = st.lists(st.integers(0, CODEWORDS - 1), min_size=SAMPLES, max_size=SAMPLES)
priors = sts.pmfs(CODEWORDS).map(lambda q: 0.9 * q + 0.1 / CODEWORDS)


def _cross_entropy(weight, scores, target, competitor):
    """In bits."""
    with np.errstate(divide="ignore"):
        logits = np.log(competitor) + np.einsum("m,nmk->nk", weight, scores)
    own = logits[np.arange(len(target)), target]
    return np.mean(scipy.special.logsumexp(logits, axis=1) - own) / np.log(2)


def _gradients(weight, scores, target):
    """Mean scores under the model less those of the targets, and the scores' curvature, in nats."""
    model = scipy.special.softmax(np.einsum("m,nmk->nk", weight, scores), axis=1)
    mean = np.einsum("nk,nmk->nm", model, scores)
    spread = [np.cov(table, aweights=p, ddof=0) for table, p in zip(scores, model, strict=True)]
    return mean - scores[np.arange(len(target)), :, target], np.mean(spread, axis=0)


@given(tables, target_lists, priors, st.lists(st.floats(0.0, 5.0), min_size=2, max_size=2))
def test_C17_no_temperatures_have_a_cross_entropy_below_the_certificate(
    scores, target, competitor, weight
):
    """The weights may be any, and those that scipy finds best; certified fits are as good."""
    fit = fit_temperatures(scores, np.array(target), competitor)
    lower = float(fit.cross_entropy - fit.gap)
    problem = (scores, target, competitor)
    found = scipy.optimize.minimize(
        _cross_entropy, [0.1, 0.1], problem, bounds=[(0.0, None)] * 2, options={"maxiter": 60}
    )
    assert _cross_entropy(np.array(weight), *problem) >= lower - 1e-12
    assert found.fun >= lower - 1e-12
    own = _cross_entropy(np.asarray(fit.inverse_temperature), *problem)
    assert own == pytest.approx(float(fit.cross_entropy), abs=1e-12)
    if fit.converged:
        assert fit.gap <= 1e-10
        assert own <= found.fun + 2e-10


def _sample(seed, samples=400, used=16):
    """Sixteen items that are their own codewords, and queries of those that are used."""
    generator = np.random.default_rng(seed)
    codewords = np.random.default_rng(7).normal(size=(16, 2))
    target = generator.integers(0, used, samples)
    spread = np.sqrt([0.2, 1.0])[:, None]
    queries = codewords[target][:, None] + spread * generator.normal(size=(samples, 2, 2))
    return np.asarray(negative_squared_distance(queries, codewords)), target


UNIFORM = np.full(16, 1 / 16)


def test_C17_fitted_temperatures_meet_a_reference_to_nine_digits():
    scores, target = _sample(0)
    fit = fit_temperatures(scores, target, UNIFORM)
    assert fit.converged
    exact = scipy.optimize.root(
        lambda w: np.mean(_gradients(w, scores, target)[0], axis=0), [5.0, 1.0], tol=1e-14
    )
    np.testing.assert_allclose(fit.inverse_temperature, exact.x, rtol=1e-9)
    np.testing.assert_allclose(fit.temperature, 1 / exact.x, rtol=1e-9)


def test_C17_fitted_temperatures_of_gaussian_noise_are_its_variances():
    """Codewords are the items. Within six standard errors: a false alarm has a probability of 4e-9."""
    scores, target = _sample(1)
    fit = fit_temperatures(scores, target, UNIFORM)
    error = np.sqrt(np.diag(fit.log_covariance))
    assert np.all(error < 0.15)
    assert np.all(np.abs(np.log(fit.temperature / np.array([0.2, 1.0]))) <= 6 * error)


def test_C17_errors_of_temperatures_are_those_of_repeated_samples():
    """The deviation over 300 fits has a relative error of 4 %, 25 % are six of these."""
    scores, target = (np.stack(parts) for parts in zip(*map(_sample, range(300)), strict=True))
    fits = jax.jit(jax.vmap(lambda s, t: fit_temperatures(s, t, UNIFORM)))(scores, target)
    assert np.all(fits.converged)
    stated = np.mean(np.asarray(fits.covariance), axis=0)
    seen = np.cov(np.asarray(fits.inverse_temperature).T)
    np.testing.assert_allclose(np.sqrt(np.diag(stated)), np.sqrt(np.diag(seen)), rtol=0.25)
    weight = np.asarray(fits.inverse_temperature[0])
    expected = np.asarray(fits.covariance[0]) / np.outer(weight, weight)
    one = jax.tree.map(lambda leaf: leaf[0], fits)
    np.testing.assert_allclose(one.log_covariance, expected, rtol=1e-12)


def test_C17_the_covariance_is_the_sandwich():
    """Each sample twice, which doubles the information stated; the curvature stays."""
    scores, target = _sample(2, samples=200)
    scores, target = np.concatenate([scores] * 2), np.concatenate([target] * 2)
    twice = fit_temperatures(scores, target, UNIFORM)
    each, curvature = _gradients(np.asarray(twice.inverse_temperature), scores, target)
    inverse = np.linalg.inv(curvature)
    expected = inverse @ np.cov(each.T, ddof=0) @ inverse / 400
    np.testing.assert_allclose(twice.covariance, expected, rtol=1e-8)


@given(tables, target_lists, priors, st.integers(-6, 6), st.integers(-6, 6))
def test_C17_temperatures_follow_the_units_of_the_scores(scores, target, competitor, one, two):
    """Powers of two and multiples of 1/64 round nothing; a constant a query and modality is
    nobody's merit."""
    scores = np.round(scores * 64) / 64
    factor = np.exp2([one, two])
    plain = fit_temperatures(scores, np.array(target), competitor)
    shifted = factor[:, None] * (scores + np.arange(SAMPLES)[:, None, None])
    scaled = fit_temperatures(shifted, np.array(target), competitor)
    np.testing.assert_array_equal(scaled.inverse_temperature, plain.inverse_temperature / factor)
    np.testing.assert_array_equal(scaled.cross_entropy, plain.cross_entropy)


USELESS = {
    "misleads": lambda first, second: (second, -first),
    "says nothing": lambda first, second: (first, np.ones_like(first)),
    # Helpful alone, but beside the other it should count against its codeword.
    "misleads beside the other": lambda first, second: (first, 0.3 * first - 0.1 * second),
}


@pytest.mark.parametrize("kind", USELESS)
def test_C17_a_modality_that_misleads_or_says_nothing_is_left_out(kind):
    scores, target = _sample(3)
    kept, useless = USELESS[kind](scores[:, 0], scores[:, 1])
    fit = fit_temperatures(np.stack([kept, useless], axis=1), target, UNIFORM)
    assert fit.converged
    assert fit.temperature[1] == np.inf
    assert fit.inverse_temperature[1] == 0.0
    assert np.all(np.asarray(fit.covariance)[1] == 0.0)
    assert fit.log_covariance[1, 1] == np.inf
    alone = fit_temperatures(np.stack([kept, np.zeros_like(kept)], axis=1), target, UNIFORM)
    assert fit.temperature[0] == pytest.approx(float(alone.temperature[0]), rel=1e-8, abs=0)
    assert fit.covariance[0, 0] == pytest.approx(float(alone.covariance[0, 0]), rel=1e-8, abs=0)


def test_C17_no_fit_is_certified_where_the_sample_sets_no_temperature():
    """The same modality twice; and scores that tell every target, so that the best is zero."""
    scores, target = _sample(4)
    same = fit_temperatures(np.stack([scores[:, 0]] * 2, axis=1), target, UNIFORM)
    assert not same.converged
    assert same.gap == np.inf
    told = np.where(np.arange(16) == target[:, None], 1.0, 0.0)
    separated = fit_temperatures(np.stack([told, scores[:, 1]], axis=1), target, UNIFORM)
    assert not separated.converged
    assert separated.gap == np.inf
    assert separated.cross_entropy < 1e-10


def test_C17_a_shared_temperature_is_that_of_the_summed_scores():
    scores, target = _sample(5)
    shared = fit_temperatures(scores, target, UNIFORM, shared=True)
    assert shared.converged
    weight = np.asarray(shared.inverse_temperature)
    assert weight[0] == weight[1]
    each, curvature = _gradients(weight, scores, target)
    assert np.mean(each.sum(axis=1)) == pytest.approx(0.0, abs=1e-8)
    variance = np.var(each.sum(axis=1)) / curvature.sum() ** 2 / 400
    np.testing.assert_allclose(shared.log_covariance, variance / weight[0] ** 2, rtol=1e-8)
    assert shared.cross_entropy > fit_temperatures(scores, target, UNIFORM).cross_entropy


def test_C17_codewords_without_items_do_not_count():
    """Only the first eight codewords have items; the scores of the others may be anything."""
    scores, target = _sample(6, used=8)
    competitor = np.repeat([1 / 8, 0.0], 8)
    high = np.concatenate([scores[..., :8], np.full((400, 2, 8), 50.0)], axis=-1)
    fits = [fit_temperatures(table, target, competitor) for table in (scores, high)]
    np.testing.assert_array_equal(fits[0].temperature, fits[1].temperature)
    mean = np.mean(_gradients(fits[0].inverse_temperature, scores[..., :8], target)[0], axis=0)
    np.testing.assert_allclose(mean, 0.0, rtol=0, atol=1e-8)


@pytest.mark.parametrize("left", [0.0, 0.3])
def test_C17_bayes_temperatures_give_the_likelihood_of_gaussian_cells(left):
    """Up to a number that all codewords share, whatever the codewords leave of the item."""
    generator = np.random.default_rng(8)
    noise = np.array([0.1, 0.7, 2.0])
    codewords, queries = generator.normal(size=(5, 2)), generator.normal(size=(3, 2))
    temperature = bayes_temperatures(noise, left)
    fused = np.asarray(fuse(negative_squared_distance(queries, codewords), temperature))
    covariance = np.diag(noise) + left
    exact = [
        sum(
            scipy.stats.multivariate_normal.logpdf(
                queries[:, i], np.full(3, codeword[i]), covariance
            )
            for i in range(2)
        )
        for codeword in codewords
    ]
    np.testing.assert_allclose(np.diff(fused), np.diff(exact), rtol=1e-10)
    np.testing.assert_allclose(temperature / temperature[0], noise / noise[0], rtol=1e-14)


def test_C17_the_entropy_difference_rule_stops_at_its_floor():
    found = entropy_difference_temperatures([4.0, 0.25, 0.01, 0.0], floor=0.04)
    np.testing.assert_allclose(found, [0.5, 2.0, 5.0, 5.0], rtol=1e-15)


GOOD = {
    "scores": np.zeros((3, 2, 4)),
    "target": np.array([0, 1, 2]),
    "competitor": np.full(4, 0.25),
}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"scores": np.zeros((3, 4))}, ValueError, "scores must have 3 dimensions"),
        ({"scores": np.zeros((3, 2, 5))}, ValueError, "scores must have one score for each of 4"),
        ({"scores": np.full((3, 2, 4), -np.inf)}, ValueError, "scores must lie in"),
        ({"scores": np.zeros((3, 0, 4))}, ValueError, r"scores must have shape \(N, m, K\)"),
        ({"target": np.array([0, 1])}, ValueError, r"scores must have shape \(N, m, K\)"),
        ({"target": np.array([0, 1, 4])}, ValueError, r"target must lie in \[0, 3\], got 4"),
        ({"target": np.zeros(3)}, TypeError, "target must hold integers"),
        ({"competitor": np.array([0.5, 0.5, 0.0, 0.0])}, ValueError, "competitor must be positive"),
        ({"competitor": np.full(4, 0.5)}, ValueError, "competitor must sum to one"),
        ({"tolerance": 0.0}, ValueError, "tolerance must lie in"),
    ],
)
def test_fit_temperatures_names_a_bad_argument(change, error, message):
    with pytest.raises(error, match=message):
        fit_temperatures(**{**GOOD, **change})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bayes_temperatures([0.1, 0.0]), "query_noise must lie in"),
        (lambda: bayes_temperatures([0.1], -1.0), "quantisation_variance must lie in"),
        (
            lambda: entropy_difference_temperatures([-1.0], floor=0.1),
            "entropy_difference must lie in",
        ),
        (lambda: entropy_difference_temperatures([1.0], floor=0.0), "floor must lie in"),
    ],
)
def test_rules_name_a_bad_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
