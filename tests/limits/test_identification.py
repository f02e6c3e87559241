import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import entropy

from rdsim.limits.retrieval.identification import identification_binary, identification_gaussian


def test_C11b_reference_values():
    np.testing.assert_allclose(identification_gaussian(1.0, distortion=0.5), 0.415037499, rtol=1e-9)
    np.testing.assert_allclose(identification_binary(0.1), 0.029049406, rtol=0, atol=5e-10)


@given(st.floats(0.01, 0.5))
def test_C11b_binary_is_the_entropy_that_a_crossover_misses(distortion):
    expected = 1 - entropy([0.5 - distortion, 0.5 + distortion])
    np.testing.assert_allclose(identification_binary(distortion), expected, rtol=0, atol=1e-14)


@given(st.floats(0.0, 1.99), st.floats(0.1, 10.0))
def test_C11b_gaussian_scales_with_the_variance(share, variance):
    rate = identification_gaussian(variance, distortion=share * variance)
    np.testing.assert_allclose(rate, np.log2(2 / (2 - share)), rtol=1e-12, atol=1e-15)


def test_C11b_grows_from_nothing_to_the_threshold_at_which_all_is_similar():
    for function, end in (
        (identification_binary, 0.5),
        (lambda D: identification_gaussian(3.0, distortion=D), 6.0),
    ):
        rate = np.asarray(function(np.linspace(0, end, 101)[:-1]))
        assert rate[0] == 0
        assert (np.diff(rate, 2) > 0).all()
        assert (np.diff(rate) > 0).all()
        assert function(end * 1.001) == np.inf
    assert identification_binary(0.5) == 1
    assert identification_gaussian(3.0, distortion=6.0) == np.inf


def test_C11b_keeps_its_digits_at_tiny_thresholds():
    np.testing.assert_allclose(identification_binary(1e-12), 2e-24 / np.log(2), rtol=1e-12)
    np.testing.assert_allclose(
        identification_gaussian(1.0, distortion=1e-20), 0.5e-20 / np.log(2), rtol=1e-14
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: identification_binary(-0.1), r"distortion must lie in \[0, inf\], got -0.1"),
        (
            lambda: identification_gaussian(0.0, distortion=0.1),
            r"variance must lie in \(0, inf\), got 0.0",
        ),
        (
            lambda: identification_gaussian(1.0, distortion=[0.1, np.nan]),
            "distortion must not contain NaN",
        ),
        (lambda: identification_gaussian([1.0], distortion=0.1), "variance must have 0 dimensions"),
    ],
)
def test_C11b_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_C11b_needs_float64():
    for call in (
        lambda: identification_binary(0.1),
        lambda: identification_gaussian(1.0, distortion=0.1),
    ):
        with jax.enable_x64(False), pytest.raises(RuntimeError, match="needs float64"):
            call()
