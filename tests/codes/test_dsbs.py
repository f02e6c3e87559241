"""C9, C14: the exact ensemble against the same sums done slowly, theory's values and the limit."""

import math
from fractions import Fraction

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim import codes, limits, ranking

LOSSES = ["error", "reciprocal_rank", ("miss", 3), "dcg"]


def _slow_target_distribution(n, rate, p):
    """P(k) by explicit convolution, every binomial in exact fractions."""
    codewords = math.floor(2 ** (n * rate) * (1 + 1e-12))
    survival = np.concatenate([[1.0], (1 - np.cumsum(reference.binomial_pmf(n, 0.5))) ** codewords])
    survival[-1] = 0.0
    nearest = -np.diff(survival)
    return sum(
        nearest[t] * np.convolve(reference.binomial_pmf(t, 1 - p), reference.binomial_pmf(n - t, p))
        for t in range(n + 1)
    )


@settings(max_examples=12)
@given(
    st.sampled_from([1, 2, 7, 20]),
    st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    st.sampled_from([0.0, 0.05, 0.25, 0.5]),
)
def test_C14_distribution_of_the_targets_distance_equals_explicit_convolution(n, rate, p):
    found = codes.dsbs_distances(p, n=n, rate=rate)
    distribution, log_closer, log_tie = found.target, found.log_nearer, found.log_tied
    np.testing.assert_allclose(
        distribution, _slow_target_distribution(n, rate, p), rtol=1e-9, atol=1e-13
    )
    fair = reference.binomial_pmf(n, 0.5)
    np.testing.assert_allclose(np.exp(log_tie), fair, rtol=1e-12)
    np.testing.assert_allclose(np.exp(log_closer[1:]), np.cumsum(fair)[:-1], rtol=1e-12)


@pytest.mark.parametrize("n", [1, 8, 32, 50])
def test_C14_no_probability_is_lost_at_the_last_distance(n):
    # Many rates in one program: rounded otherwise, the last distance was once taken for one in between.
    distribution = codes.dsbs_distances(0.1, n=n, rate=np.array([0.0, 0.25, 0.5, 1.0])).target
    np.testing.assert_allclose(np.sum(distribution, axis=-1), 1.0, rtol=0, atol=1e-13)
    blind = codes.dsbs_ensemble(0.1, 5.0, "error", n=n, rate=np.array([0.0, 0.0]))
    np.testing.assert_allclose(blind, 31 / 32, rtol=0, atol=1e-13)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_C14_ensemble_averages_the_rank_distribution_over_that_distance(loss):
    n, rate, p, size = 12, 0.5, 0.1, 5.0
    fair = reference.binomial_pmf(n, 0.5)
    below = np.concatenate([[0.0], np.cumsum(fair)[:-1]])
    with np.errstate(divide="ignore"):
        given_distance = ranking.expected_loss(size, loss, log_a=np.log(below), log_e=np.log(fair))
    expected = float(np.sum(_slow_target_distribution(n, rate, p) * np.asarray(given_distance)))
    assert float(codes.dsbs_ensemble(p, size, loss, n=n, rate=rate)) == pytest.approx(
        expected, rel=1e-10, abs=0
    )


def test_C14_values_of_the_theory():
    assert float(codes.dsbs_ensemble(0.1, 6, "error", n=20, rate=0.4)) == pytest.approx(
        0.5560, abs=5e-5
    )
    limit = float(limits.bottleneck_dsbs(0.1, rate=0.5))
    for n, below, above in ((100, 0.2569, 0.6109), (400, 0.1367, 0.7922), (1000, 0.0513, 0.9184)):
        sizes = n * limit * np.array([0.9, 1.1])
        found = codes.dsbs_ensemble(0.1, sizes, "error", n=n, rate=0.5)
        np.testing.assert_allclose(found, [below, above], rtol=0, atol=5e-5)


def test_C14_uncompressed_reference():
    """n bits stored in full: with K = 2^n independent codewords the nearest is nearly always exact."""
    found = codes.dsbs_distances(0.1, n=32, rate=1.0)
    distribution, log_closer, log_tie = found.target, found.log_nearer, found.log_tied
    fair = reference.binomial_pmf(32, 0.1)
    direct = np.asarray(
        ranking.expected_loss(np.log2(1000), "reciprocal_rank", log_a=log_closer, log_e=log_tie)
    )
    assert 1 - np.sum(fair * direct) == pytest.approx(0.978898859, abs=1e-9)
    top1 = np.asarray(
        ranking.expected_loss(np.log2(1000), "error", log_a=log_closer, log_e=log_tie)
    )
    assert 1 - np.sum(fair * top1) == pytest.approx(0.964422603, abs=1e-9)
    assert float(distribution.sum()) == pytest.approx(1.0, abs=1e-12)


def test_C14_small_errors_keep_their_relative_accuracy():
    """With p = 0 the error is that of the stored codewords alone, an explicit double sum."""
    n, rate, size, codewords = 40, 0.5, 2.0, 2**20
    found = float(codes.dsbs_ensemble(0.0, size, "error", n=n, rate=rate))
    pmf = [Fraction(math.comb(n, t), 2**n) for t in range(n + 1)]
    cdf = np.cumsum(pmf)
    tail = [1.0] + [math.exp(codewords * math.log1p(-float(F))) if F < 1 else 0.0 for F in cdf]
    expected = 0.0
    for t in range(n + 1):
        a, e = cdf[t] - pmf[t], pmf[t]
        error = 1 - ((1 - a) ** 4 - (1 - a - e) ** 4) / (4 * e)
        expected += (tail[t] - tail[t + 1]) * float(error)
    assert 0 < found < 1e-5
    assert found == pytest.approx(expected, rel=1e-8, abs=0)


@pytest.mark.parametrize("n", [1000, 4000])
def test_C14_distributions_sum_to_one_at_long_blocks(n):
    distribution = codes.dsbs_distances(0.1, n=n, rate=0.5).target
    assert float(distribution.sum()) == pytest.approx(1.0, abs=1e-10)


def test_C14_broadcasts_over_rates_and_sizes():
    rates, sizes = np.array([[0.2], [0.5], [1.0]]), np.array([5.0, 300.0, 4000.0])
    table = codes.dsbs_ensemble(0.1, sizes, "reciprocal_rank", n=60, rate=rates)
    assert table.shape == (3, 3)
    single = codes.dsbs_ensemble(0.1, 300.0, "reciprocal_rank", n=60, rate=0.5)
    np.testing.assert_allclose(table[1, 1], single, rtol=1e-12)
    assert np.all(np.diff(table, axis=0) <= 0)
    assert np.all(np.diff(table, axis=1) >= 0)


@pytest.mark.parametrize(("rate", "crossover"), [(0.5, 0.1), (0.25, 0.04), (0.8, 0.2), (1.0, 0.1)])
def test_C9_error_falls_below_the_bottleneck_and_rises_above_it(rate, crossover):
    limit = float(limits.bottleneck_dsbs(crossover, rate=rate))
    for share, trend in ((0.9, -1), (1.1, 1)):
        errors = [
            float(codes.dsbs_ensemble(crossover, n * share * limit, "error", n=n, rate=rate))
            for n in (100, 400, 1600)
        ]
        assert np.all(trend * np.diff(errors) > 0.02)


@settings(max_examples=10)
@given(
    st.sampled_from(LOSSES), st.floats(0.05, 1.0), st.floats(1.0, 60.0), st.sampled_from([8, 64])
)
def test_C4_random_codes_stay_behind_the_converse(loss, rate, size, n):
    value = float(codes.dsbs_ensemble(0.11, size, loss, n=n, rate=rate))
    needed = limits.rank_rate(size, loss, distortion=min(value, 1.0)).lower
    assert needed <= n * float(limits.bottleneck_dsbs(0.11, rate=rate)) + 1e-9


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0, 0.5, 4, 0.1, "error"), ValueError, "n must be in"),
        ((5.0, 0.5, 4, 0.1, "error"), TypeError, "n must be an integer"),
        ((10, 1.5, 4, 0.1, "error"), ValueError, r"rate must lie in \[0, 1\], got 1.5"),
        ((10, 0.5, 0.0, 0.1, "error"), ValueError, "log2_size must lie in"),
        ((10, 0.5, 4, 0.7, "error"), ValueError, r"crossover must lie in \[0, 0.5\], got 0.7"),
        ((10, 0.5, 4, 0.1, "top"), ValueError, "loss must be"),
        ((10, np.nan, 4, 0.1, "error"), ValueError, "rate must not contain NaN"),
    ],
)
def test_bad_input_is_named(arguments, error, message):
    n, rate, log2_size, crossover, loss = arguments
    with pytest.raises(error, match=message):
        codes.dsbs_ensemble(crossover, log2_size, loss, n=n, rate=rate)
