import math
from decimal import Decimal, localcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st
from reference import mutual_information_by_sums

from rdsim import sources
from rdsim.limits.bottleneck import bottleneck_dsbs, bottleneck_dsbs_rate


def bottleneck_in_many_digits(rate, crossover):
    """IB(R) by its definition, 1 - h(a*p) with h(a) = 1 - R, in 80 digits."""
    with localcontext() as context:
        context.prec = 80
        ln2 = Decimal(2).ln()

        def h(p):
            return -sum(x * x.ln() for x in (p, 1 - p) if x > 0) / ln2

        low, high, half = Decimal(0), Decimal("0.5"), Decimal("0.5")
        for _ in range(200):
            a = (low + high) * half
            low, high = (a, high) if h(a) < 1 - Decimal(rate) else (low, a)
        p = Decimal(crossover)
        return float(1 - h(a * (1 - p) + p * (1 - a)))


def test_C10_reference_values():
    # Given to nine and to ten decimals.
    value = bottleneck_dsbs(0.1, rate=[0.25, 0.5, 0.75])
    np.testing.assert_allclose(value, [0.156246835, 0.302684135, 0.433434276], rtol=0, atol=6e-10)
    np.testing.assert_allclose(bottleneck_dsbs(0.1, rate=0.5), 0.3026841347, rtol=0, atol=6e-11)


@pytest.mark.parametrize("rate", [1e-30, 1e-12, 1e-6, 1e-3, 0.2, 0.5, 0.9, 1 - 1e-6])
@pytest.mark.parametrize("crossover", [0.001, 0.1, 0.499, 0.8])
def test_C10_keeps_its_digits_at_every_rate(rate, crossover):
    expected = bottleneck_in_many_digits(rate, crossover)
    np.testing.assert_allclose(bottleneck_dsbs(crossover, rate=rate), expected, rtol=2e-14)
    back = bottleneck_dsbs_rate(crossover, relevance=expected)
    # Where IB is flat, near R = 1, the relevance does not hold the rate to all digits.
    np.testing.assert_allclose(back, rate, rtol=1e-13 if rate < 0.95 else 1e-10)


@given(st.floats(-290, 0), strategies.probabilities())
def test_C10_inverse_returns_the_relevance(exponent, crossover):
    rate = 10.0**exponent
    relevance = bottleneck_dsbs(crossover, rate=rate)
    back = bottleneck_dsbs_rate(crossover, relevance=relevance)
    assert 0 <= back <= 1
    if relevance > 1e-290:
        np.testing.assert_allclose(bottleneck_dsbs(crossover, rate=back), relevance, rtol=1e-14)


@pytest.mark.parametrize("crossover", [0.0, 0.1, 0.5, 0.7, 1.0])
def test_C10_ends(crossover):
    everything = mutual_information_by_sums(np.asarray(sources.dsbs(crossover).joint))
    np.testing.assert_array_equal(bottleneck_dsbs(crossover, rate=0.0), 0.0)
    np.testing.assert_allclose(
        bottleneck_dsbs(crossover, rate=[1.0, 1.5, np.inf]), everything, rtol=2e-14, atol=1e-16
    )
    np.testing.assert_array_equal(bottleneck_dsbs_rate(crossover, relevance=0.0), 0.0)
    np.testing.assert_array_equal(
        bottleneck_dsbs_rate(crossover, relevance=everything + 1e-9), np.inf
    )
    np.testing.assert_array_equal(bottleneck_dsbs_rate(crossover, relevance=np.inf), np.inf)
    most = bottleneck_dsbs(crossover, rate=1.0)
    assert bottleneck_dsbs_rate(crossover, relevance=most) <= 1.0


def test_C10_a_clean_or_inverted_channel_keeps_every_bit_and_a_useless_one_none():
    rate = np.linspace(0, 1, 11)
    np.testing.assert_allclose(bottleneck_dsbs(0.0, rate=rate), rate, rtol=0, atol=1e-15)
    np.testing.assert_allclose(bottleneck_dsbs(1.0, rate=rate), rate, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(bottleneck_dsbs(0.5, rate=rate), 0.0)
    np.testing.assert_allclose(
        bottleneck_dsbs(0.2, rate=rate), bottleneck_dsbs(0.8, rate=rate), rtol=1e-14
    )


@pytest.mark.parametrize("crossover", [0.01, 0.1, 0.3])
def test_C10_is_concave_increasing_and_contracts_by_the_squared_correlation(crossover):
    rate = np.linspace(0, 1, 1001)
    value = np.asarray(bottleneck_dsbs(crossover, rate=rate))
    assert (np.diff(value) > 0).all()
    assert (np.diff(value, 2) < 1e-14).all()
    assert (value <= (1 - 2 * crossover) ** 2 * rate + 1e-15).all()


def keeps(channel, crossover):
    """I(U;Y) and I(U;X) of a test channel Q(u|y) on the DSBS."""
    joint = np.asarray(sources.dsbs(crossover).joint)
    return (
        mutual_information_by_sums(0.5 * channel),
        mutual_information_by_sums(joint @ channel),
    )


@given(strategies.channels((2, 3)), strategies.probabilities())
def test_C10_no_test_channel_keeps_more(channel, crossover):
    rate, relevance = keeps(channel, crossover)
    assert relevance <= bottleneck_dsbs(crossover, rate=max(rate, 0.0)) + 1e-12


def test_C10_no_random_test_channel_keeps_more():
    generator = np.random.default_rng(5)
    for size in (2, 3, 4):
        channels = generator.dirichlet(np.full(size, 0.5), (300, 2))
        kept = np.array([keeps(channel, 0.1) for channel in channels])
        assert (kept[:, 1] <= bottleneck_dsbs(0.1, rate=kept[:, 0]) + 1e-13).all()


@given(st.floats(0.0, 1.0), strategies.probabilities())
def test_C10_the_binary_symmetric_test_channel_achieves_it(a, crossover):
    rate, relevance = keeps(np.array([[1 - a, a], [a, 1 - a]]), crossover)
    np.testing.assert_allclose(
        relevance, bottleneck_dsbs(crossover, rate=max(rate, 0.0)), rtol=0, atol=1e-14
    )


def test_C10_shapes_broadcast_and_pass_through_transformations():
    rate, crossover = np.array([[0.1], [0.6]]), np.array([0.05, 0.1, 0.4])
    value = bottleneck_dsbs(crossover, rate=rate)
    assert value.shape == (2, 3)
    assert value.dtype == jnp.float64
    one_by_one = [[float(bottleneck_dsbs(p, rate=r)) for p in crossover] for r in rate[:, 0]]
    np.testing.assert_allclose(value, one_by_one, rtol=1e-14)
    jitted = jax.jit(bottleneck_dsbs)(crossover, rate=rate)
    np.testing.assert_allclose(jitted, value, rtol=1e-14)
    mapped = jax.vmap(lambda R: bottleneck_dsbs(crossover, rate=R))(rate)
    np.testing.assert_allclose(mapped, value, rtol=1e-14)
    assert bottleneck_dsbs_rate(crossover, relevance=value).shape == (2, 3)


def _value(rate, crossover):
    return bottleneck_dsbs(crossover, rate=rate)


def _rate(relevance, crossover):
    return bottleneck_dsbs_rate(crossover, relevance=relevance)


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.8])
def test_C10_gradients_are_the_slopes(rate):
    for function, at in (
        (_value, rate),
        (_rate, float(bottleneck_dsbs(0.1, rate=rate))),
    ):
        for argument in (0, 1):
            shift = np.eye(2)[argument] * 1e-6
            above = function(at + shift[0], 0.1 + shift[1])
            below = function(at - shift[0], 0.1 - shift[1])
            gradient = jax.grad(function, argnums=argument)(at, 0.1)
            np.testing.assert_allclose(gradient, (above - below) / 2e-6, rtol=1e-7)


def test_C10_gradient_at_no_rate_is_the_squared_correlation():
    for rate in (0.0, 1e-250, 1e-100):
        np.testing.assert_allclose(jax.grad(_value)(rate, 0.1), 0.64, rtol=1e-14)
        slope = jax.grad(_rate)(rate, 0.1)
        np.testing.assert_allclose(slope, 1 / 0.64, rtol=1e-14)
    assert jax.grad(_value)(1.5, 0.1) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bottleneck_dsbs(0.1, rate=-0.1), r"rate must lie in \[0, inf\], got -0.1"),
        (lambda: bottleneck_dsbs(1.1, rate=0.5), r"crossover must lie in \[0, 1\], got 1.1"),
        (
            lambda: bottleneck_dsbs(0.1, rate=[0.5, math.nan]),
            r"rate must not contain NaN, got nan at",
        ),
        (
            lambda: bottleneck_dsbs([0.1, 0.2, 0.3], rate=[0.1, 0.2]),
            r"rate and crossover must broad",
        ),
        (
            lambda: bottleneck_dsbs_rate(0.1, relevance=-1.0),
            r"relevance must lie in \[0, inf\], got -1.0",
        ),
        (
            lambda: bottleneck_dsbs_rate(-0.2, relevance=0.1),
            r"crossover must lie in \[0, 1\], got -0.2",
        ),
    ],
)
def test_C10_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_C10_needs_float64():
    for function in (_value, _rate):
        with jax.enable_x64(False), pytest.raises(RuntimeError, match="needs float64"):
            function(0.1, 0.1)
