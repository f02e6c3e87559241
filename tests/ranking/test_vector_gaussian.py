"""The rank distribution of Gaussian vectors (C29) against Imhof's integral, isotropic pairs and simulations."""

import math

import jax
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim import codes, limits, sources
from rdsim.ranking import gaussian_rank_loss, vector_gaussian_rank_loss
from rdsim.ranking.tails.target_scores import target_scores

KEY = jax.random.key(5)
SPECTRUM = 0.95 * np.arange(1, 65) ** -0.35
LOSSES = ("error", ("miss", 10), "reciprocal_rank", "dcg")


def imhof(weights, centres, threshold):
    """P(sum w (g - centre)^2 < threshold) by Imhof's integral, and its estimated error."""
    squares = centres**2

    def integrand(u):
        z = 2 * weights * u
        angle = 0.5 * np.sum(np.arctan(z) + squares * z / (1 + z * z)) - threshold * u
        decay = np.sum(0.25 * np.log1p(z * z) + 0.5 * squares * z * z / (1 + z * z))
        return math.sin(angle) * math.exp(-decay) / u

    value, error, *_ = scipy.integrate.quad(integrand, 0, math.inf, limit=3000, full_output=1)
    return 0.5 - value / math.pi, error


@settings(max_examples=6)
@given(
    st.lists(st.floats(0.1, 0.97), min_size=2, max_size=6), st.integers(0, 1000), st.floats(0, 1)
)
def test_C29_winners_are_those_of_imhofs_integral(correlations, seed, place):
    c2 = np.sort(correlations)[::-1] ** 2
    x = np.random.default_rng(seed).normal(size=c2.size)
    beta = (1 - c2) / c2
    found = target_scores(beta, x[None] ** 2)
    np.testing.assert_allclose(found.probability.sum(), 1, rtol=0, atol=1e-5)
    likely = np.flatnonzero(found.probability[0] > 1e-4 * found.probability.max())
    j = likely[int(place * (likely.size - 1))]
    v = found.t[j] + beta
    # The score is the largest one less a quadratic form; both are K' at t, and at infinity.
    threshold = 0.5 * np.sum(1 / v) + 0.5 * np.sum(x**2 * beta * (1 + beta) / v**2)
    wanted, error = imhof(0.5 / beta, x / np.sqrt(c2), threshold)
    assert math.exp(found.log_a[0, j]) == pytest.approx(wanted, rel=0, abs=1e-9 + 2 * error)


@pytest.mark.parametrize(("correlation", "n"), [(0.8, 1), (0.9, 4), (1e-3, 1), (0.95, 100)])
def test_C29_equal_correlations_are_the_isotropic_pair(correlation, n):
    for loss, size in (("reciprocal_rank", 10.0), (("miss", 10), 30.0)):
        known = gaussian_rank_loss(correlation, size, loss, n=n, rate=3.0)
        found = vector_gaussian_rank_loss(
            KEY, [correlation] * n, size, loss, rates=3.0, queries=512, confidence=1 - 1e-9
        )
        assert found.lower - 1e-9 <= known.value <= found.upper + 1e-9
        assert found.upper - found.lower < 0.06


@settings(max_examples=8)
@given(
    st.lists(st.floats(0.05, 0.97), min_size=1, max_size=4),
    st.floats(0.05, 6.0),
    st.sampled_from(LOSSES),
)
def test_C29_a_description_of_some_bits_is_an_item_of_smaller_correlation(correlations, bits, loss):
    rho = np.sort(correlations)[::-1]
    options = {"queries": 32, "confidence": 0.5}
    kept = vector_gaussian_rank_loss(KEY, rho, 9.0, loss, rates=bits, **options)
    whole = vector_gaussian_rank_loss(KEY, rho * math.sqrt(1 - 4.0**-bits), 9.0, loss, **options)
    np.testing.assert_allclose(kept.value, whole.value, rtol=1e-9, atol=1e-12)


def test_C29_intervals_cover_the_loss_as_often_as_they_say():
    """Of 100 keys' intervals half cover the exact loss: 24 to 76 of them, or a false alarm of 1e-7."""
    exact = float(gaussian_rank_loss(0.8, 8.0, "reciprocal_rank", n=2).value)
    covered = 0
    for seed in range(100):
        found = vector_gaussian_rank_loss(
            jax.random.key(seed), [0.8, 0.8], 8.0, "reciprocal_rank", queries=32, confidence=0.5
        )
        covered += float(found.lower) <= exact <= float(found.upper)
    assert scipy.stats.binom.cdf(23, 100, 0.5) < 1e-7
    assert 24 <= covered <= 76


def test_C29_the_error_of_a_coarse_integral_is_in_the_interval(monkeypatch):
    """The random part of the interval is far smaller here than what so few scores lose."""
    monkeypatch.setattr("rdsim.ranking.tails.target_scores._STEP", 3.0)
    monkeypatch.setattr("rdsim.ranking.tails.target_scores._SHARPNESS", 8.0)
    exact = float(gaussian_rank_loss(0.8, 8.0, "reciprocal_rank", n=2).value)
    found = vector_gaussian_rank_loss(
        KEY, [0.8, 0.8], 8.0, "reciprocal_rank", queries=4096, confidence=0.01
    )
    assert found.lower <= exact <= found.upper
    assert float(found.upper - found.lower) < 1e-3


def test_C29_values():
    """Known to +-.01 by direct simulation; half of that is the interval here, at 6 standard errors."""
    spectrum = sources.vector_gaussian(np.eye(64), np.eye(64), np.diag(SPECTRUM))
    found = codes.gaussian_test_channel(
        KEY, spectrum, 10.0, "reciprocal_rank", bits=[8, 16, 32, 64, math.inf], queries=512
    )
    known = [0.139, 0.231, 0.344, 0.471, 0.592]
    np.testing.assert_allclose(1 - found.loss.value, known, rtol=0, atol=0.01)
    np.testing.assert_allclose(found.rates[:4].sum(axis=-1), [8, 16, 32, 64], rtol=1e-12)
    np.testing.assert_allclose(found.correlations, SPECTRUM, rtol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_C29_loss_of_simulated_databases(loss):
    """Eight modes, 64 items of which all are simulated: false alarms below 1e-6 at 5.5 standard errors."""
    c = np.array([0.9, 0.8, 0.7, 0.5, 0.4, 0.3, 0.2, 0.1])
    generator = np.random.default_rng(11)
    trials, M = 20_000, 64
    x = generator.normal(size=(trials, 1, c.size))
    u = generator.normal(size=(trials, M, c.size))
    u[:, :1] = c * x + np.sqrt(1 - c * c) * generator.normal(size=x.shape)
    scores = np.sum(0.5 * u**2 - 0.5 * (u - c * x) ** 2 / (1 - c * c), axis=-1)
    rank = 1 + (scores[:, 1:] > scores[:, :1]).sum(axis=1)
    lost = {
        "error": rank > 1,
        ("miss", 10): rank > 10,
        "reciprocal_rank": 1 - 1 / rank,
        "dcg": 1 - 1 / np.log2(1 + rank),
    }[loss]
    error = 5.5 * lost.std() / math.sqrt(trials)
    found = vector_gaussian_rank_loss(KEY, c, 6.0, loss, queries=512, confidence=1 - 1e-9)
    assert found.lower - error <= lost.mean() <= found.upper + error
    assert float(found.upper - found.lower) < 0.06


@pytest.mark.parametrize("loss", LOSSES)
def test_C29_sizes_and_rates_are_computed_together_as_one_by_one(loss):
    sizes, rates = [1.0, 20.0, 1000.0], [[0.5, 1.0], [math.inf, 0.0]]
    both = vector_gaussian_rank_loss(KEY, [0.5, 0.9], sizes, loss, rates=rates, queries=64)
    assert both.value.shape == (2, 3)
    one = vector_gaussian_rank_loss(KEY, [0.5, 0.9], 20.0, loss, rates=rates[1], queries=64)
    np.testing.assert_allclose(both.value[1, 1], one.value, rtol=1e-12)
    assert np.all(both.lower <= both.value)
    assert np.all(both.value <= both.upper)
    assert np.all(np.diff(both.value, axis=1) > 0)


def test_channels_that_tell_nothing_or_everything():
    nothing = vector_gaussian_rank_loss(KEY, [0.0, 0.5], 4.0, "error", rates=[1.0, 0.0])
    assert float(nothing.value) == pytest.approx(15 / 16, rel=1e-12)
    for correlation in (1e-12, 1e-11, 1.001e-10, 1e-9):
        faint = vector_gaussian_rank_loss(KEY, [correlation], 4.0, "error", queries=64)
        assert float(faint.value) == pytest.approx(15 / 16, rel=2e-9)
    assert float(vector_gaussian_rank_loss(KEY, [1.0, 0.5], 900.0, "dcg").value) == 0.0


def test_hundreds_of_bits_and_modes():
    found = vector_gaussian_rank_loss(
        KEY, [0.9] * 300, [100.0, 300.0, 500.0], "reciprocal_rank", queries=64
    )
    assert float(found.value[0]) < 1e-6
    assert float(found.value[2]) > 0.999
    assert np.all(found.upper - found.lower < 0.2)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=5), st.floats(0, 50))
def test_shared_rates_are_those_of_the_bottleneck(correlations, rate):
    shares = limits.bottleneck_vector_gaussian_rates(correlations, rate=rate)
    told = limits.bottleneck_gaussian(correlations, rate=shares)
    whole = limits.bottleneck_vector_gaussian(correlations, rate=rate)
    np.testing.assert_allclose(np.sum(told), whole, rtol=1e-9, atol=1e-12)
    order = np.argsort(np.abs(correlations))
    assert np.all(np.diff(np.asarray(shares)[order]) >= -1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rates": [1.0, 2.0, 3.0]}, "rates must have shape"),
        ({"rates": -1.0}, "rates must lie in"),
        ({"queries": 8}, "queries must be"),
        ({"confidence": 1.0}, "confidence must lie in"),
    ],
)
def test_bad_input_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        vector_gaussian_rank_loss(KEY, [0.5, 0.6], 4.0, "error", **options)
