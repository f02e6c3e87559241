"""C20: what a split that does not look at the modalities wastes."""

import jax
import numpy as np
import pytest
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st

from rdsim.limits.rate_distortion.allocation import (
    allocation_penalty,
    entropy_difference,
)

LN2 = np.log(2)
variances = st.sampled_from((2, 3)).flatmap(
    lambda size: st.lists(st.floats(-6, 6), min_size=size, max_size=size).map(
        lambda exponents: np.exp2(exponents)
    )
)


def _best_distortion(variance, rate):
    """Reverse water-filling by a root search on the level."""

    def excess(log_level):
        return np.sum(np.maximum(0.5 * np.log2(variance / np.exp(log_level)), 0)) - rate

    top = np.log(variance.max())
    level = np.exp(scipy.optimize.brentq(excess, top - 2 * LN2 * (rate + 1) - 9, top, xtol=1e-14))
    return np.sum(np.minimum(variance, level))


def _split_distortion(variance, rate, split):
    if split == "equal_rate":
        return np.sum(variance * 2.0 ** (-2 * rate / variance.size))

    def excess(log_noise):
        return np.sum(0.5 * np.log2(1 + variance / np.exp(log_noise))) - rate

    log_noise = scipy.optimize.brentq(excess, -200, 60, xtol=1e-14)
    noise = np.exp(log_noise)
    return np.sum(variance * noise / (variance + noise))


@pytest.mark.parametrize("split", ["equal_rate", "equal_noise"])
@given(variances, st.floats(0.1, 20.0))
def test_C20_penalty_is_what_the_best_split_saves_at_the_same_distortion(split, variance, rate):
    penalty = float(allocation_penalty(variance, rate, split=split))
    spent = _split_distortion(variance, rate, split)
    if rate - penalty > 1e-6:
        best = _best_distortion(variance, rate - penalty)
        np.testing.assert_allclose(best, spent, rtol=1e-8)
    assert penalty >= 0
    # No split is worse than all bits but one modality's share.
    assert penalty <= (1 - 1 / variance.size) * rate + 1e-9


@given(variances, st.floats(0.0, 40.0))
def test_C20_high_rates_cost_the_most_and_from_some_rate_on_no_more(variance, rate):
    limit = float(allocation_penalty(variance, np.inf))
    ratio = variance.mean() / np.exp(np.log(variance).mean())
    np.testing.assert_allclose(limit, variance.size / 2 * np.log2(ratio), rtol=1e-9, atol=1e-12)
    assert float(allocation_penalty(variance, rate)) <= limit + 1e-10
    all_active = variance.size / 2 * np.log2(variance.mean() / variance.min())
    above = float(allocation_penalty(variance, all_active + rate + 1e-9))
    np.testing.assert_allclose(above, limit, rtol=0, atol=1e-10)


@given(st.floats(-3.0, 1.5).map(lambda exponent: 10.0**exponent))
def test_C20_two_modalities_cost_log_cosh_of_the_entropy_difference(difference):
    variance = np.array([4.0**difference, 1.0]) * 0.37
    np.testing.assert_allclose(entropy_difference(variance), difference, rtol=1e-10)
    exact = (np.logaddexp(difference * LN2, -difference * LN2) - LN2) / LN2
    found = float(allocation_penalty(variance, np.inf))
    np.testing.assert_allclose(found, exact, rtol=1e-9, atol=1e-13)
    # Quadratic below, linear above, and never more than either.
    assert found <= LN2 / 2 * difference**2 + 1e-13
    assert difference - 1 <= found + 1e-10
    if difference < 0.1:
        np.testing.assert_allclose(
            found, LN2 / 2 * difference**2, rtol=LN2**2 * difference**2 + 1e-6
        )
    if difference > 10:
        np.testing.assert_allclose(found, difference - 1, rtol=0, atol=1e-5)


@given(
    st.lists(st.floats(-1, 1), min_size=4, max_size=4),
    st.sampled_from((1e-3, 1e-2)),
)
def test_C20_small_differences_of_many_modalities_cost_their_variance(entropies, scale):
    h = scale * np.array(entropies)
    found = float(allocation_penalty(4.0**h, np.inf))
    np.testing.assert_allclose(found, 4 * LN2 * h.var(), rtol=0, atol=20 * scale**3)


@given(
    st.floats(-9.0, 1.0).map(lambda exponent: 10.0**exponent),
    st.sampled_from([0.5, 4.0, 300.0]),
    st.sampled_from(["equal_rate", "equal_noise"]),
)
def test_C20_every_positive_kappa_fails_at_a_small_difference(kappa, rate, split):
    """The counterexample: the penalty is at most (ln 2 / 2) ΔH^2, below kappa ΔH for this ΔH."""
    difference = min(kappa / LN2, 1.0)
    variance = np.array([4.0**difference, 1.0])
    assert float(allocation_penalty(variance, np.inf)) < kappa * difference
    # Beyond rounding of the total rate, at finite rates too.
    if kappa * difference > 1e-11 and split == "equal_rate":
        assert float(allocation_penalty(variance, rate, split=split)) < kappa * difference


def test_C20_at_a_given_rate_the_penalty_saturates():
    """Linear growth needs a rate that grows with the entropy difference: of R bits, R (1 - 1/K) can be wasted."""
    rate = 6.0
    differences = np.array([5.0, 10.0, 20.0, 40.0])
    found = [float(allocation_penalty([4.0**difference, 1.0], rate)) for difference in differences]
    np.testing.assert_allclose(found[-1], rate / 2, rtol=0, atol=1e-6)
    assert found[-1] - found[-2] < 1e-3
    assert float(allocation_penalty([4.0 ** differences[-1], 1.0], np.inf)) > 38


@given(variances, st.floats(0.5, 20.0))
def test_C20_scale_and_order_do_not_matter(variance, rate):
    plain = allocation_penalty(variance, rate)
    np.testing.assert_allclose(
        allocation_penalty(7.0 * variance[::-1], rate), plain, rtol=0, atol=1e-10
    )


def test_C20_equal_modalities_waste_nothing_and_neither_does_no_rate():
    rates = np.array([0.0, 1.0, 10.0, 100.0])
    for split in ("equal_rate", "equal_noise"):
        balanced = allocation_penalty([2.0, 2.0, 2.0], rates, split=split)
        if split == "equal_rate":
            np.testing.assert_allclose(balanced, 0.0, rtol=0, atol=1e-11)
        assert allocation_penalty([4.0, 1.0], 0.0, split=split) == 0
    assert allocation_penalty([4.0], 3.0) == pytest.approx(0.0, abs=1e-12)


def test_C20_equal_noise_is_free_at_high_rates_only():
    low, high = allocation_penalty([16.0, 1.0], [2.0, 60.0], split="equal_noise")
    assert low > 0.05
    assert high <= 1e-9
    assert allocation_penalty([16.0, 1.0], np.inf, split="equal_noise") == 0


def test_penalties_of_a_whole_grid_in_one_call():
    grid = np.geomspace(0.1, 30, 6).reshape(2, 3)
    together = allocation_penalty([9.0, 1.0], grid)
    assert together.shape == (2, 3)
    np.testing.assert_allclose(
        together[1, 2], allocation_penalty([9.0, 1.0], grid[1, 2]), rtol=1e-12, atol=0
    )
    batched = jax.vmap(lambda v: allocation_penalty(v, 5.0))(np.array([[9.0, 1.0], [1.0, 1.0]]))
    np.testing.assert_allclose(batched[0], allocation_penalty([9.0, 1.0], 5.0), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([], 1.0), {}, "variances must not be empty"),
        (([1.0, 0.0], 1.0), {}, r"variances must lie in \(0, inf\), got 0\.0"),
        (([1.0, -1.0], 1.0), {}, r"variances must lie in \(0, inf\), got -1\.0"),
        ((1.0, 1.0), {}, "variances must have 1 dimensions"),
        (([1.0, 2.0], -1.0), {}, r"total_rate must lie in \[0, inf\], got -1\.0"),
        (([1.0, 2.0], 1.0), {"split": "best"}, "split must be one of"),
    ],
)
def test_bad_arguments_are_named(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        allocation_penalty(*arguments, **options)


def test_float32_is_refused():
    with jax.enable_x64(False), pytest.raises(RuntimeError, match="jax_enable_x64"):
        allocation_penalty([1.0, 2.0], 1.0)
