"""C18: the plug-in estimate of R(D) errs by its bias and its dispersion, and says so."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim.finite_sample.plug_in_estimate import plug_in_rate
from rdsim.limits import rate_at
from rdsim.limits.rate_distortion import rate_and_gradient

HAMMING = 1 - np.eye(2)
FOUR = 1 - np.eye(4)
PMF = np.array([0.5, 0.25, 0.15, 0.1])


def _binary(p):
    p = np.asarray(p, float)
    inside = (p > 0) & (p < 1)
    q = np.where(inside, p, 0.5)
    return np.where(inside, -q * np.log2(q) - (1 - q) * np.log2(1 - q), 0.0)


def _bernoulli_rate(p, D):
    return np.where(np.minimum(p, 1 - p) > D, _binary(p) - _binary(D), 0.0)


def _all_counts(N, low, high):
    k = np.arange(low, high + 1)
    # Two letters of an alphabet of four: every test then shares one compiled shape.
    counts = np.stack([k, N - k, 0 * k, 0 * k], axis=1)
    return k, counts, scipy.stats.binom.pmf(k, N, 0.4)


def _four_letter_rate(p, D):
    """Erokhin's formula where every letter is used: H(p) - h(D) - D log2(3)."""
    return reference.entropy(p) - _binary(D) - D * np.log2(3)


def test_C18_bias_and_spread_of_the_estimate_over_all_binomial_counts():
    N, D = 1000, 0.11
    k, counts, weight = _all_counts(N, 290, 510)
    found = plug_in_rate(counts, FOUR, D)
    np.testing.assert_allclose(found.rate, _bernoulli_rate(k / N, D), rtol=0, atol=1e-10)
    truth = _bernoulli_rate(0.4, D)
    mean = weight @ found.rate
    assert weight.sum() == pytest.approx(1.0, abs=1e-10)
    assert N * (mean - truth) == pytest.approx(-0.721729, abs=1e-6)
    assert np.sqrt(weight @ (np.asarray(found.rate) - mean) ** 2) == pytest.approx(
        0.009120, abs=5e-7
    )
    assert found.standard_error[400 - 290] == pytest.approx(0.009062, abs=5e-7)
    # The correction removes the term in 1/N: three orders of magnitude are left at N = 1000.
    assert abs(N * (weight @ found.corrected - truth)) < 1e-3
    assert N * found.shannon_bias[0] == pytest.approx(-0.5 / np.log(2), rel=1e-12, abs=0)


@pytest.mark.parametrize("N", [200, 1000])
def test_C18_intervals_cover_as_often_as_they_say(N):
    half = int(7 * np.sqrt(N / 4))
    _, counts, weight = _all_counts(N, max(int(0.4 * N) - half, 0), int(0.4 * N) + half)
    found = plug_in_rate(counts, FOUR, 0.11)
    truth = float(_bernoulli_rate(0.4, 0.11))
    for confidence, error in itertools.product((0.8, 0.95), ("delta", "jackknife")):
        interval = found.interval(confidence=confidence, error=error)
        low, high = interval.lower, interval.upper
        covered = weight @ ((low <= truth) & (truth <= high))
        # A lattice of counts: the coverage jumps by the mass of the counts at either end.
        jump = 2 * weight.max()
        assert covered == pytest.approx(confidence, abs=jump + 4 / N)


def test_jackknife_is_that_of_all_samples_left_out_in_turn():
    D, counts = 0.2, np.array([12, 7, 6, 5])
    N = counts.sum()
    found = plug_in_rate(counts, FOUR, D)
    samples = np.repeat(np.arange(4), counts)
    without = np.array(
        [
            _four_letter_rate(np.bincount(np.delete(samples, i), minlength=4) / (N - 1), D)
            for i in range(N)
        ]
    )
    rate = _four_letter_rate(counts / N, D)
    assert found.rate == pytest.approx(rate, abs=1e-10)
    assert found.jackknife_bias == pytest.approx((N - 1) * (without.mean() - rate), abs=1e-8)
    assert found.jackknife_error == pytest.approx(
        np.sqrt((N - 1) / N * np.sum((without - without.mean()) ** 2)), abs=1e-8
    )
    # With the Shannon bound tight, j(y, D) is the surprise less a constant.
    surprise = -np.log2(counts / N)
    assert found.dispersion == pytest.approx(np.cov(surprise, aweights=counts, ddof=0), abs=1e-8)
    assert found.standard_error == pytest.approx(
        float(np.sqrt(found.dispersion / N)), rel=1e-12, abs=0
    )
    assert float(found.shannon_bias) == pytest.approx(-3 / (2 * N * np.log(2)), rel=1e-12, abs=0)
    assert found.corrected == found.rate - found.jackknife_bias
    assert found.regular
    assert int(found.samples) == N


def test_two_standard_errors_agree_where_letters_drop_out_of_the_code():
    # Above the critical distortion 0.3 the rare letters are not reproduced.
    counts = (1_000_000 * PMF).astype(int)
    found = plug_in_rate(counts, FOUR, 0.4)
    assert found.rate == pytest.approx(0.147275804, abs=1e-8)
    assert found.jackknife_error == pytest.approx(float(found.standard_error), rel=1e-4, abs=0)
    # The Hessian is another than the entropy's there: the bias is not -(k-1)/2N.
    assert abs(found.jackknife_bias / found.shannon_bias - 1) > 0.1


@settings(max_examples=15)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.1, 0.5, 0.95, 1.2]),
    st.sampled_from([np.asarray, jnp.asarray]),
)
def test_C18_the_gradient_is_that_of_the_rate_also_where_no_letter_is_free(seed, share, array):
    """Every letter costs something whatever stands for it, so that its least distortion counts too; beyond D_max all is zero."""
    rng = np.random.default_rng(seed)
    p, d = rng.dirichlet(np.ones(3)), rng.random((3, 4)) + rng.random((3, 1))
    least = float(p @ d.min(axis=1))
    D = least + share * (float((p @ d).min()) - least)
    lower, upper, gradient = rate_and_gradient(array(p), array(d), array(D), 1e-11)
    found = rate_at(p, d, D, tolerance=1e-11)
    assert float(found.lower) - 1e-10 <= upper <= float(found.upper) + 1e-10
    assert 0 <= upper - lower <= 1e-10
    expected = jax.grad(lambda q: rate_at(q / q.sum(), d, D, tolerance=1e-11).value)(jnp.asarray(p))
    # A pmf has mass one, so that a constant in the gradient means nothing.
    gradient, expected = (np.asarray(each) - p @ np.asarray(each) for each in (gradient, expected))
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


def test_a_data_set_alone_and_among_many_has_the_same_estimate():
    # Many are solved in compiled chunks, one alone in NumPy.
    counts = np.random.default_rng(0).integers(1, 30, size=(60, 4))
    distortions = np.random.default_rng(1).uniform(size=(4, 4))
    many = plug_in_rate(counts, distortions, 0.4)
    for i in (0, 59):
        alone = plug_in_rate(counts[i], distortions, 0.4)
        for name in ("rate", "jackknife_bias", "jackknife_error", "dispersion"):
            assert float(getattr(alone, name)) == pytest.approx(
                float(getattr(many, name)[i]), abs=1e-9
            )


def test_a_data_set_of_a_new_shape_compiles_nothing(caplog):
    plug_in_rate([5, 7, 3], 1 - np.eye(3), 0.2)
    with jax.log_compiles():
        plug_in_rate([5, 7, 3, 9, 4, 8, 2], 1 - np.eye(7), 0.2)
    assert not [record for record in caplog.records if "XLA compilation" in record.getMessage()]


def test_a_letter_that_was_not_seen_changes_nothing():
    counts = np.array([12, 7, 0, 5])
    found = plug_in_rate(counts, FOUR, 0.2)
    permuted = plug_in_rate(counts[[2, 0, 3, 1]], FOUR, 0.2)
    for name in ("rate", "jackknife_bias", "jackknife_error", "dispersion", "shannon_bias"):
        assert float(getattr(found, name)) == pytest.approx(
            float(getattr(permuted, name)), abs=1e-8
        )
    assert float(found.shannon_bias) == pytest.approx(-2 / (2 * 24 * np.log(2)), rel=1e-12, abs=0)


@pytest.mark.parametrize("D", [0.0, 0.1])
def test_at_the_least_distortion_the_errors_are_those_of_the_entropy_and_finite(D):
    counts = np.array([[12, 7, 0, 5], [10, 4, 6, 4]])
    plain = plug_in_rate(counts, FOUR, D)
    # The slope is infinite at D = 0: neither a constant nor a letter unseen may be multiplied by it.
    raised = FOUR + 0.1
    raised[2] += 1.0
    for changed in (
        plug_in_rate(counts, FOUR + 0.1, D + 0.1),
        plug_in_rate(counts[:1], raised, D + 0.1),
    ):
        assert changed.regular.all()
        for name in ("rate", "jackknife_bias", "jackknife_error", "dispersion"):
            expected = getattr(plain, name)[: len(changed.rate)]
            np.testing.assert_allclose(getattr(changed, name), expected, rtol=0, atol=1e-8)
    if D == 0:
        p = counts / counts.sum(axis=1, keepdims=True)
        surprise = -np.log2(np.where(p > 0, p, 1.0))
        entropy = (p * surprise).sum(axis=1)
        np.testing.assert_allclose(plain.rate, entropy, rtol=0, atol=1e-9)
        spread = (p * (surprise - entropy[:, None]) ** 2).sum(axis=1)
        np.testing.assert_allclose(plain.dispersion, spread, rtol=0, atol=1e-8)


def test_where_the_rate_is_zero_the_interval_is_all_rates():
    # 11 of 100: at the empirical distribution D = 0.11 asks for nothing, one sample less of it too.
    found = plug_in_rate([[11, 89, 0, 0], [12, 88, 0, 0], [40, 60, 0, 0]], FOUR, 0.11)
    assert not found.regular[0]
    assert found.regular[2]
    interval = found.interval()
    low, high = interval.lower, interval.upper
    assert (low[0], high[0]) == (0.0, 2.0)
    assert 0 < low[2] < high[2] < 1


@pytest.mark.parametrize(
    ("counts", "d", "D", "message"),
    [
        ([3, -1], HAMMING, 0.1, r"counts must lie in"),
        ([3, 1.5], HAMMING, 0.1, r"counts must be integers, got .*1\.5"),
        ([1, 0], HAMMING, 0.1, "counts must sum to at least 2 samples, got 1"),
        (
            [2, 2, 2],
            HAMMING,
            0.1,
            r"distortions must have one row a letter that was counted .* \(3, \|U\|\), got \(2, 2\)",
        ),
        ([2, 2], HAMMING + 0.5, 0.1, r"distortion must be at least D_min = 0\.5 .* got 0\.1"),
        (
            [2, 2],
            [[0.0, np.inf], [np.inf, np.inf]],
            0.1,
            "distortions must leave every letter that was counted a finite one",
        ),
        ([2, 2], HAMMING, -0.1, "distortion must lie in"),
        (3, HAMMING, 0.1, r"counts must have shape \(\.\.\., \|Y\|\)"),
    ],
)
def test_bad_inputs(counts, d, D, message):
    with pytest.raises(ValueError, match=message):
        plug_in_rate(counts, d, D)


def test_bad_interval():
    found = plug_in_rate([40, 60, 0, 0], FOUR, 0.11)
    with pytest.raises(ValueError, match="confidence must lie in"):
        found.interval(confidence=1.0)
    with pytest.raises(
        ValueError, match="error must be one of 'delta', 'jackknife', got 'bootstrap'"
    ):
        found.interval(error="bootstrap")
