import math
from decimal import Decimal, localcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import strategies
from hypothesis import given
from hypothesis import strategies as st

from rdsim import information


@given(strategies.pmfs())
def test_entropy_is_the_sum_and_lies_between_zero_and_log_size(p):
    value = float(information.entropy(jnp.asarray(p)))
    assert value == pytest.approx(reference.entropy(p), rel=1e-13, abs=1e-15)
    assert -1e-15 <= value <= math.log2(p.size) + 1e-14


@given(strategies.probabilities())
def test_binary_entropy_is_the_entropy_of_two_letters(p):
    value = information.binary_entropy(jnp.asarray(p))
    np.testing.assert_allclose(value, reference.entropy([p, 1 - p]), rtol=1e-12, atol=1e-15)


@given(strategies.joint_pmfs())
def test_mutual_information_is_the_sum_and_not_negative(joint):
    value = float(information.mutual_information(jnp.asarray(joint)))
    assert value == pytest.approx(reference.mutual_information_by_sums(joint), abs=1e-14)
    assert value >= -1e-14


@given(strategies.joint_pmfs())
def test_mutual_information_is_symmetric_and_a_difference_of_entropies(joint):
    P = jnp.asarray(joint)
    value = information.mutual_information(P)
    np.testing.assert_allclose(value, information.mutual_information(P.T), rtol=0, atol=1e-14)
    parts = (
        information.entropy(P.sum(1))
        + information.entropy(P.sum(0))
        - information.entropy(P.ravel())
    )
    np.testing.assert_allclose(value, parts, rtol=0, atol=1e-13)


@given(strategies.joint_pmfs((2, 3, 2)))
def test_mutual_information_obeys_the_chain_rule(joint):
    P = jnp.asarray(joint)
    both = information.mutual_information(P.reshape(2, 6))
    first = information.mutual_information(P.sum(2))
    weight = P.sum((0, 2))
    given_y = jnp.moveaxis(P, 1, 0) / jnp.where(weight > 0, weight, 1.0)[:, None, None]
    second = jnp.sum(weight * information.mutual_information(given_y))
    np.testing.assert_allclose(both, first + second, rtol=0, atol=1e-13)


@given(strategies.joint_pmfs())
def test_information_density_has_mutual_information_as_its_mean(joint):
    density = np.asarray(information.information_density(jnp.asarray(joint)))
    mean = np.sum(joint * np.where(joint > 0, density, 0.0))
    np.testing.assert_allclose(
        mean, information.mutual_information(jnp.asarray(joint)), rtol=0, atol=1e-14
    )


def test_information_density_of_what_cannot_occur():
    joint = jnp.array([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]])
    np.testing.assert_array_equal(
        information.information_density(joint), [[1, -np.inf, 0], [-np.inf, 1, 0]]
    )


@given(st.data(), strategies.sizes)
def test_relative_entropy_is_the_sum_and_infinite_where_the_second_distribution_misses(data, size):
    p, q = data.draw(strategies.pmfs(size)), data.draw(strategies.pmfs(size))
    value = float(information.relative_entropy(jnp.asarray(p), jnp.asarray(q)))
    if ((p > 0) & (q == 0)).any():
        assert value == np.inf
    else:
        terms = [a * math.log2(a / b) for a, b in zip(p, q, strict=True) if a > 0]
        assert value == pytest.approx(math.fsum(terms), abs=1e-13)
        assert value >= -1e-13


@given(strategies.joint_pmfs())
def test_mutual_information_is_the_relative_entropy_to_the_product_distribution(joint):
    P = jnp.asarray(joint)
    product = P.sum(1, keepdims=True) * P.sum(0, keepdims=True)
    # A product of two tiny masses may be rounded to zero only far below 1e-24.
    np.testing.assert_allclose(
        information.mutual_information(P),
        information.relative_entropy(P.ravel(), product.ravel()),
        rtol=0,
        atol=1e-14,
    )


@pytest.mark.parametrize(
    ("function", "point"),
    [
        (information.entropy, [0.5, 0.5, 0.0]),
        (information.entropy, [1.0, 0.0]),
        (information.binary_entropy, 0.0),
        (information.binary_entropy, 1.0),
        (information.mutual_information, [[0.5, 0.0], [0.0, 0.5]]),
        (information.mutual_information, [[1.0, 0.0], [0.0, 0.0]]),
    ],
)
def test_gradients_at_zeros_are_finite(function, point):
    gradient = jax.grad(function)(jnp.array(point))
    assert np.isfinite(gradient).all()


def test_the_gradient_of_entropy_is_its_formula_where_letters_have_mass():
    gradient = jax.grad(information.entropy)(jnp.array([0.5, 0.25, 0.25, 0.0]))
    np.testing.assert_allclose(
        gradient[:3], [1 - 1 / math.log(2), *[2 - 1 / math.log(2)] * 2], rtol=1e-12, atol=0
    )


def capacity_in_many_digits(bias):
    """1 - h((1 - t)/2), in enough digits that the cancellation does not matter."""
    with localcontext() as context:
        context.prec = 700
        t = Decimal(bias)
        terms = [(1 + s * t) * (1 + s * t).ln() for s in (1, -1) if 1 + s * t > 0]
        return float(sum(terms) / (2 * Decimal(2).ln()))


@pytest.mark.parametrize("sign", [1, -1])
def test_log1p_is_accurate_everywhere(sign):
    x = sign * np.concatenate([np.logspace(-300, -2, 300), np.linspace(0.01, 0.999, 4001)])
    np.testing.assert_allclose(jax.jit(information.log1p)(x), np.log1p(x), rtol=7e-16)


@pytest.mark.parametrize(
    "bias", [1e-140, 1e-30, 1e-9, 1e-4, 0.1, 0.41403, 0.49999, 0.5, 0.50001, 0.9, 1 - 1e-9, 1.0]
)
def test_binary_capacity_keeps_its_digits_down_to_zero(bias):
    value = information.binary_capacity(jnp.asarray(bias))
    np.testing.assert_allclose(value, capacity_in_many_digits(bias), rtol=2e-15)
    np.testing.assert_allclose(information.binary_capacity(-jnp.asarray(bias)), value, rtol=0)


def test_binary_capacity_of_no_bias_is_zero():
    assert information.binary_capacity(jnp.asarray(0.0)) == 0


@given(st.floats(-280, -1e-6), st.booleans())
def test_inverse_binary_entropy_round_trips_from_both_ends(exponent, near_one):
    small = 10.0**exponent
    entropy = 1 - small if near_one else small
    p = information.inverse_binary_entropy(jnp.asarray(entropy))
    assert 0 <= p <= 0.5
    np.testing.assert_allclose(information.binary_entropy(p), entropy, rtol=1e-15 * 4)


@given(st.floats(-290, math.log10(0.5)))
def test_inverse_binary_entropy_recovers_small_crossovers(exponent):
    p = jnp.asarray(10.0**exponent)
    # Towards p = 1/2 the entropy is flat and no longer holds p: compare where it does.
    found = information.inverse_binary_entropy(information.binary_entropy(p))
    condition = float(information.binary_entropy(p) / (p * (jnp.log2(1 - p) - jnp.log2(p) + 1e-8)))
    np.testing.assert_allclose(found, p, rtol=4e-15 * max(1.0, condition))


def test_inverse_binary_entropy_resolves_the_last_bit_before_one():
    # h(1/2 - x) = 1 - 2 x^2 / ln 2 to first order, so x = sqrt(ln 2 * gap / 2).
    gap = 2.0**-53
    p = information.inverse_binary_entropy(jnp.asarray(1 - gap))
    np.testing.assert_allclose(0.5 - p, math.sqrt(math.log(2) * gap / 2), rtol=1e-7)


@given(st.floats(-140, 0))
def test_inverse_binary_capacity_recovers_the_bias(exponent):
    t = jnp.asarray(10.0**exponent)
    found = information.inverse_binary_capacity(information.binary_capacity(t))
    np.testing.assert_allclose(found, t, rtol=1e-14)


def test_inverses_at_and_beyond_the_ends():
    ends = jnp.array([-0.1, 0.0, 1.0, 1.1])
    np.testing.assert_array_equal(information.inverse_binary_entropy(ends), [0, 0, 0.5, 0.5])
    np.testing.assert_array_equal(information.inverse_binary_capacity(ends), [0, 0, 1, 1])


@pytest.mark.parametrize("at", [0.01, 0.4, 0.6, 0.99])
def test_inverses_have_the_derivative_of_the_inverse_function(at):
    at = jnp.asarray(at)
    for inverse in (information.inverse_binary_entropy, information.inverse_binary_capacity):
        difference = (inverse(at + 1e-6) - inverse(at - 1e-6)) / 2e-6
        np.testing.assert_allclose(jax.grad(inverse)(at), difference, rtol=1e-7)
