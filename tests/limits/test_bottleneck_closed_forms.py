from decimal import Decimal, localcontext

import jax
import numpy as np
import pytest
import scipy.optimize
import strategies
from hypothesis import given
from hypothesis import strategies as st
from reference import entropy, mutual_information_by_sums

from rdsim.limits.bottleneck import (
    bottleneck_erasure,
    bottleneck_gaussian,
    bottleneck_gaussian_rate,
    bottleneck_vector_gaussian,
    bottleneck_vector_gaussian_point,
    bottleneck_vector_gaussian_rate,
    bottleneck_vector_gaussian_rates,
)

RATES = np.array([0.0, 1e-200, 1e-12, 1e-3, 0.4, 1.0, 3.0, 10.0])
CORRELATIONS = (0.9, 0.6, 0.3)


def gaussian_in_many_digits(rate, correlation):
    with localcontext() as context:
        context.prec = 600
        ln2, r = Decimal(2).ln(), Decimal(correlation)
        w = (-2 * Decimal(rate) * ln2).exp()
        return float(-(1 - r * r * (1 - w)).ln() / (2 * ln2))


def erasure_joint(pmf, e):
    return np.vstack([(1 - e) * np.diag(pmf), e * np.asarray(pmf)])


def test_C10_gaussian_reference_values():
    value = bottleneck_gaussian([0.8, 0.9], rate=[1.0, 2.0])
    np.testing.assert_allclose(value, [0.471708236, 1.027570777], rtol=2e-9)


def test_C10_vector_gaussian_reference_values():
    point = bottleneck_vector_gaussian_point(CORRELATIONS, slope=0.25)
    np.testing.assert_allclose(point.relevance, 1.104854934, rtol=1e-9)
    np.testing.assert_allclose(point.complexity, 2.215886246, rtol=1e-9)


@pytest.mark.parametrize("correlation", [1e-5, 0.1, -0.8, 0.999999, 1.0])
@pytest.mark.parametrize("rate", [1e-200, 1e-12, 1e-3, 0.49, 0.51, 1.0, 7.0, 400.0])
def test_C10_gaussian_keeps_its_digits(rate, correlation):
    expected = gaussian_in_many_digits(rate, correlation)
    np.testing.assert_allclose(bottleneck_gaussian(correlation, rate=rate), expected, rtol=3e-14)


@given(st.floats(-250, 0.7), st.floats(0.05, 1.0))
def test_C10_gaussian_inverse_returns_the_rate(exponent, correlation):
    rate = 10.0**exponent
    relevance = bottleneck_gaussian(correlation, rate=rate)
    back = bottleneck_gaussian_rate(correlation, relevance=relevance)
    # The curve flattens: an error of one ulp in the relevance is divided by the slope.
    flat = correlation**2 * 2 ** (-2 * rate) / (1 - correlation**2 * (1 - 2 ** (-2 * rate)))
    np.testing.assert_allclose(back, rate, rtol=1e-13, atol=1e-15 * float(relevance) / flat)


def test_C10_gaussian_ends():
    np.testing.assert_allclose(
        bottleneck_gaussian([0.0, 0.5, 1.0], rate=np.inf),
        [0.0, -0.5 * np.log2(0.75), np.inf],
        rtol=1e-12,
        atol=0,
    )
    np.testing.assert_allclose(
        bottleneck_gaussian(1.0, rate=[0.0, 5.0, 2e3]), [0.0, 5.0, 2e3], rtol=1e-15
    )
    np.testing.assert_allclose(
        bottleneck_gaussian_rate(1.0, relevance=[0.0, 2e3]), [0.0, 2e3], rtol=1e-15
    )
    np.testing.assert_array_equal(
        bottleneck_gaussian_rate(0.0, relevance=[0.0, 1e-9]), [0.0, np.inf]
    )
    everything = -0.5 * np.log2(0.19)
    np.testing.assert_array_equal(
        bottleneck_gaussian_rate(0.9, relevance=[everything * 1.001, 9.0]), np.inf
    )


def best_split(rate, correlations):
    """IB of a Gaussian vector by splitting the rate over its components numerically."""
    r2 = np.square(correlations)

    def lost(shares):
        return 0.5 * np.sum(np.log2(1 - r2 * (1 - 2 ** (-2 * shares))))

    size = r2.size
    found = scipy.optimize.minimize(
        lost,
        np.full(size, rate / size),
        bounds=[(0, rate)] * size,
        constraints={"type": "eq", "fun": lambda x: x.sum() - rate},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    return -found.fun


@pytest.mark.parametrize("correlations", [CORRELATIONS, (0.6, 0.6, 0.6), (0.95, 0.0, 0.2)])
@pytest.mark.parametrize("rate", [0.05, 0.7, 2.2, 5.0])
def test_C10_vector_gaussian_is_the_best_split_of_the_rate(rate, correlations):
    value = float(bottleneck_vector_gaussian(correlations, rate=rate))
    numeric = best_split(rate, correlations)
    np.testing.assert_allclose(value, numeric, rtol=0, atol=1e-7)
    assert value >= numeric - 1e-9


@given(st.lists(st.floats(0.05, 0.99), min_size=3, max_size=3), st.floats(0.001, 0.9))
def test_C10_vector_gaussian_point_lies_on_the_curve_with_its_slope(correlations, slope):
    point = bottleneck_vector_gaussian_point(correlations, slope=slope)
    relevance, rate = point.relevance, point.complexity
    np.testing.assert_allclose(
        bottleneck_vector_gaussian(correlations, rate=rate), relevance, rtol=0, atol=1e-13
    )
    np.testing.assert_allclose(
        bottleneck_vector_gaussian_rate(correlations, relevance=relevance),
        rate,
        rtol=0,
        atol=1e-12 / slope,
    )
    # The line of this slope through the point is above the whole curve.
    rates = np.linspace(0, 8, 50)
    line = relevance + slope * (rates - rate)
    assert (bottleneck_vector_gaussian(correlations, rate=rates) <= line + 1e-13).all()


def test_C10_one_component_is_the_scalar_and_order_or_sign_do_not_matter():
    np.testing.assert_allclose(
        bottleneck_vector_gaussian([0.8], rate=RATES),
        bottleneck_gaussian(0.8, rate=RATES),
        rtol=1e-14,
    )
    plain = bottleneck_vector_gaussian(CORRELATIONS, rate=RATES)
    np.testing.assert_allclose(
        bottleneck_vector_gaussian((0.3, -0.9, 0.6), rate=RATES), plain, rtol=1e-14
    )
    # A small rate goes to the strongest component alone.
    np.testing.assert_allclose(plain[1:4], bottleneck_gaussian(0.9, rate=RATES[1:4]), rtol=1e-14)
    with_nothing = bottleneck_vector_gaussian((*CORRELATIONS, 0.0), rate=RATES)
    np.testing.assert_allclose(with_nothing, plain, rtol=1e-14)


def test_C10_vector_gaussian_ends():
    everything = -0.5 * np.sum(np.log2(1 - np.square(CORRELATIONS)))
    np.testing.assert_allclose(
        bottleneck_vector_gaussian(CORRELATIONS, rate=np.inf), everything, rtol=1e-12, atol=0
    )
    assert bottleneck_vector_gaussian_rate(CORRELATIONS, relevance=everything * 1.001) == np.inf
    # A perfect component takes every finite rate.
    np.testing.assert_allclose(
        bottleneck_vector_gaussian([1.0, 0.9], rate=RATES), RATES, rtol=1e-14
    )
    np.testing.assert_allclose(
        bottleneck_vector_gaussian_rate([1.0, 0.9], relevance=RATES), RATES, rtol=1e-12, atol=0
    )
    assert (bottleneck_vector_gaussian([0.0, 0.0], rate=RATES) == 0).all()
    assert bottleneck_vector_gaussian_rate([0.0], relevance=0.0) == 0
    assert bottleneck_vector_gaussian_rate([0.0], relevance=0.1) == np.inf


@given(strategies.pmfs(3), strategies.probabilities(), strategies.channels((3, 4)))
def test_C10_erasure_every_test_channel_keeps_the_same_share(pmf, e, channel):
    kept = mutual_information_by_sums(pmf[:, None] * channel)
    relevance = mutual_information_by_sums(erasure_joint(pmf, e) @ channel)
    np.testing.assert_allclose(relevance, (1 - e) * kept, rtol=0, atol=1e-13)
    np.testing.assert_allclose(
        bottleneck_erasure(pmf, e, rate=max(kept, 0.0)), relevance, rtol=0, atol=1e-13
    )


@given(strategies.pmfs(3), strategies.probabilities(), st.floats(0, 2))
def test_C10_erasure_is_linear_up_to_all_of_the_letter(pmf, e, rate):
    value = bottleneck_erasure(pmf, e, rate=rate)
    everything = (1 - e) * entropy(pmf)
    np.testing.assert_allclose(value, min((1 - e) * rate, everything), rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bottleneck_erasure([0.5, 0.6], 0.1, rate=0.1), "p must sum to one"),
        (
            lambda: bottleneck_erasure([0.5, 0.5], 1.1, rate=0.1),
            r"erasure must lie in \[0, 1\], got 1.1",
        ),
        (
            lambda: bottleneck_erasure([0.5, 0.5], 0.1, rate=-1),
            r"rate must lie in \[0, inf\], got -1.0",
        ),
        (lambda: bottleneck_gaussian(0.5, rate=-1.0), r"rate must lie in \[0, inf\], got -1.0"),
        (lambda: bottleneck_gaussian(1.5, rate=1.0), r"correlation must lie in \[-1, 1\], got 1.5"),
        (
            lambda: bottleneck_gaussian([0.1, 0.2, 0.3], rate=[1, 2]),
            "rate and correlation must broad",
        ),
        (lambda: bottleneck_gaussian_rate(0.5, relevance=np.nan), "relevance must not contain NaN"),
        (lambda: bottleneck_vector_gaussian([], rate=1.0), "correlations must not be empty"),
        (
            lambda: bottleneck_vector_gaussian_rate([0.5], relevance=-1.0),
            r"relevance must lie in \[0, inf\]",
        ),
        (
            lambda: bottleneck_vector_gaussian_point([0.5], slope=1.0),
            r"slope must lie in \(0, 1\), got",
        ),
        (
            lambda: bottleneck_vector_gaussian_point([1.0], slope=0.5),
            r"correlations must lie in \(-1, 1",
        ),
    ],
)
def test_C10_bad_closed_form_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_C10_closed_forms_need_float64():
    for call in (
        lambda: bottleneck_erasure([0.5, 0.5], 0.1, rate=0.1),
        lambda: bottleneck_gaussian(0.1, rate=0.1),
        lambda: bottleneck_gaussian_rate(0.1, relevance=0.1),
        lambda: bottleneck_vector_gaussian([0.1], rate=0.1),
        lambda: bottleneck_vector_gaussian_rate([0.1], relevance=0.1),
        lambda: bottleneck_vector_gaussian_point([0.1], slope=0.1),
    ):
        with jax.enable_x64(False), pytest.raises(RuntimeError, match="needs float64"):
            call()


@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (bottleneck_vector_gaussian, "rate"),
        (bottleneck_vector_gaussian_rates, "rate"),
        (bottleneck_vector_gaussian_rate, "relevance"),
    ],
)
def test_of_gaussian_vectors_numpy_finds_what_a_program_finds(function, argument, caplog):
    function([0.5], **{argument: 1.0})
    given = np.array([[0.0, 1e-9, 0.3], [2.0, 40.0, 600.0]])
    with jax.log_compiles():
        found = function((0.3, -0.9, 0.0, 0.6), **{argument: given})
    assert not [record for record in caplog.records if "XLA compilation" in record.getMessage()]
    compiled = jax.jit(lambda x: function((0.3, -0.9, 0.0, 0.6), **{argument: x}))(given)
    np.testing.assert_allclose(found, compiled, rtol=1e-13, atol=1e-300)
