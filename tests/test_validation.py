import os
import pathlib
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import strategies
from hypothesis import given

from rdsim import limits, validation

CHOSEN_OFF = """
import jax, numpy as np, rdsim
from rdsim import limits, ranking
assert not jax.config.jax_enable_x64
assert float(ranking.reciprocal_rank(np.array([0.9, 0.1]), [1])) == 0.5
try:
    limits.rank_loss(10, "error", rate=4.0)
except RuntimeError as error:
    print(error)
with jax.enable_x64(True):
    print(limits.rank_loss(10, "error", rate=4.0).value.dtype)
"""


def test_float64_that_the_user_switched_off_in_the_environment_stays_off():
    environment = {**os.environ, "JAX_ENABLE_X64": "0"}
    script = subprocess.run(
        [sys.executable, "-c", CHOSEN_OFF],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    refused, computed = script.stdout.splitlines()
    assert refused.startswith("rank_loss computes a limit and needs float64")
    assert "JAX_ENABLE_X64" in refused
    assert computed == "float64"


def test_require_float64_says_how_to_switch_it_on():
    validation.require_float64("bound")
    with (
        jax.enable_x64(False),
        pytest.raises(RuntimeError, match=r"bound .*needs float64.*jax_enable_x64"),
    ):
        validation.require_float64("bound")


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ([0.1, np.nan], ValueError, r"weights must not contain NaN, got nan at index 1"),
        ("three", TypeError, r"weights must hold real numbers, got an array of dtype"),
        ([1j], TypeError, r"weights must hold real numbers"),
        ([[1.0], [1.0, 2.0]], TypeError, r"weights must be an array: "),
        (0.5, ValueError, r"weights must have 1 dimensions, got shape \(\)"),
        ([-0.5, 2.0], ValueError, r"weights must lie in \[0, 1\], got -0.5 at index 0 \(2 such"),
    ],
)
def test_interval_names_the_argument_and_the_value(value, error, message):
    with pytest.raises(error, match=message):
        validation.interval("weights", value, low=0.0, high=1.0, ndim=1)


@pytest.mark.parametrize(
    ("value", "message"), [(0.0, r"in \(0, 1\), got 0.0"), (1.0, r"in \(0, 1\), got 1.0")]
)
def test_interval_can_exclude_its_ends(value, message):
    with pytest.raises(ValueError, match=message):
        validation.interval("p", value, low=0.0, high=1.0, open_low=True, open_high=True)


@pytest.mark.parametrize("value", [1e-310, [0.5, 5e-324]])
def test_what_must_not_be_zero_is_not_subnormal_either(value):
    """XLA computes such numbers as zero: the point of a slope of 1e-310 was NaN."""
    with pytest.raises(
        ValueError, match=r"slope must be at least 2.23e-308, .* got (1e-310|5e-324)"
    ):
        validation.interval("slope", value, low=0.0, open_low=True)
    assert validation.interval("slope", 2.3e-308, low=0.0, open_low=True) == 2.3e-308
    assert validation.interval("slope", 1e-310, low=0.0) == 1e-310
    with pytest.raises(ValueError, match="slope must be at least"):
        limits.bottleneck_vector_gaussian_point(slope=1e-310, correlations=[0.9, 0.5])


@pytest.mark.parametrize(
    ("value", "shown"), [("mean", "'mean'"), (None, "None"), ([], r"\[\]"), (np.ones(2), "array")]
)
@pytest.mark.parametrize("allowed", [("sum", "most"), {"sum": 1, "most": 2}])
def test_choice_names_the_words_whatever_it_is_given(allowed, value, shown):
    assert validation.choice("rule", "most", allowed) == "most"
    with pytest.raises(ValueError, match=f"rule must be one of 'sum', 'most', got {shown}"):
        validation.choice("rule", value, allowed)


@pytest.mark.parametrize("value", [0.0, -1.0, np.inf])
def test_positive_is_neither_zero_nor_infinite(value):
    assert validation.positive("v", 1e-300, ndim=0) == 1e-300
    with pytest.raises(ValueError, match=r"v must lie in \(0, inf\), got"):
        validation.positive("v", value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([3.0, 1.5, 0.5], r"n must be integers, got 1.5 at index 1 \(2 such"),
        ([1, -1], r"n must lie in \[0, "),
        ([2.0**54], r"n must lie in \[0, "),
    ],
)
def test_counts_are_integers_that_are_not_negative(value, message):
    np.testing.assert_array_equal(validation.counts("n", [[0, 2]], ndim=2), [[0.0, 2.0]])
    with pytest.raises(ValueError, match=message):
        validation.counts("n", value)


@pytest.mark.parametrize("value", [0, True, np.float32(0.5), [1, 2], jnp.arange(3)])
def test_real_array_turns_every_real_kind_into_float64(value):
    assert validation.real_array("x", value).dtype == jnp.float64


@given(strategies.pmfs())
def test_pmf_accepts_every_pmf_and_rescales_it(p):
    accepted = validation.pmf("p", p * (1 + 1e-10))
    np.testing.assert_allclose(accepted, p, rtol=1e-14)
    np.testing.assert_allclose(accepted.sum(), 1, rtol=1e-15)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([0.5, 0.4], r"p must sum to one, got a sum of 0.9"),
        ([1.5, -0.5], r"p must lie in \[0, inf\], got -0.5 at index 1"),
        ([np.inf, 0.0], r"p must sum to one, got a sum of inf"),
        ([], r"p must have at least one letter, got shape \(0,\)"),
        ([[1.0]], r"p must have 1 dimensions, got shape \(1, 1\)"),
    ],
)
def test_pmf_rejects_what_is_none(value, message):
    with pytest.raises(ValueError, match=message):
        validation.pmf("p", value)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, jnp.bfloat16])
@given(strategies.pmfs())
def test_pmf_and_channel_accept_the_rounding_of_a_small_type(dtype, p):
    rounded = p.astype(dtype)
    exact = rounded.astype(float) / rounded.astype(float).sum()
    np.testing.assert_allclose(validation.pmf("p", rounded), exact, rtol=1e-14)
    np.testing.assert_allclose(validation.channel("W", rounded[None]), exact[None], rtol=1e-14)


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        (np.array([0.5, 0.5 + 1e-7], np.float32), True),
        (np.array([0.5, 0.5 + 1e-6], np.float32), False),  # two entries round by 1.2e-7
        (np.array([0.5, 0.5 + 1e-8]), False),
        (np.array([0.4, 0.58], np.float16), False),
        (np.full(10**4, 1.02e-4, np.float32), False),
        (np.full(128, 1.02 / 128, jnp.bfloat16), False),  # never more than 1 %
    ],
)
def test_the_sum_of_probabilities_may_be_off_by_the_rounding_of_their_type(value, accepted):
    for check in (lambda: validation.pmf("p", value), lambda: validation.channel("W", value[None])):
        if accepted:
            np.testing.assert_allclose(np.sum(check()), 1.0, rtol=0, atol=1e-15)
        else:
            with pytest.raises(ValueError, match="sum to one"):
                check()


@pytest.mark.parametrize("unit", [1e-99, 1.0, 0.0])
def test_apart_takes_points_that_differ_by_enough_or_not_at_all(unit):
    points = unit * np.arange(6.0).reshape(3, 2)
    assert validation.apart("y", points) is points
    assert validation.apart("y", points[:0]).shape == (0, 2)
    tiny = np.full((3, 2), 1e-200)
    assert validation.apart("y", tiny) is tiny


def test_apart_names_the_argument_and_the_difference():
    with pytest.raises(ValueError, match=r"y must differ by at least 1e-100 .* got .* 4e-200"):
        validation.apart("y", 1e-200 * np.arange(6.0).reshape(3, 2))


@given(strategies.channels())
def test_channel_accepts_every_channel_and_rescales_its_rows(rows):
    accepted = np.asarray(validation.channel("W", rows * (1 + 1e-10)))
    np.testing.assert_allclose(accepted.sum(axis=1), 1.0, rtol=0, atol=4e-16)
    np.testing.assert_allclose(accepted, rows, rtol=1e-9)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            [[0.5, 0.5], [0.4, 0.5]],
            r"W must have rows that sum to one, got a sum of 0.9 at index 1",
        ),
        ([[1.5, -0.5]], r"W must lie in \[0, inf\], got -0.5"),
        ([[np.nan, 1.0]], "W must not contain NaN"),
        ([0.5, 0.5], "W must have 2 dimensions"),
        (np.ones((2, 0)), "W must have at least one letter a row"),
        ([[np.inf, 1.0]], "W must have rows that sum to one"),
    ],
)
def test_channel_rejects_what_is_none(value, message):
    with pytest.raises(ValueError, match=message):
        validation.channel("W", value)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (2.0, TypeError, r"trials must be an integer, got 2.0"),
        (True, TypeError, r"trials must be an integer, got True"),
        (np.timedelta64(3, "D"), TypeError, r"trials must be an integer, got np.timedelta64"),
        (0, ValueError, r"trials must be in \[1, 9\], got 0"),
        (10, ValueError, r"trials must be in \[1, 9\], got 10"),
    ],
)
def test_integer_names_the_argument_and_the_value(value, error, message):
    with pytest.raises(error, match=message):
        validation.integer("trials", value, low=1, high=9)


def test_integer_without_an_upper_end():
    assert validation.integer("trials", np.int64(7), low=1) == 7
    with pytest.raises(ValueError, match="trials must be at least 1, got -3"):
        validation.integer("trials", -3, low=1)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ((), ValueError, r"bits must hold at least one integer, got none"),
        (3, TypeError, r"bits must be a list of integers, got 3"),
        ("12", TypeError, r"bits must be a list of integers, got '12'"),
        ([1, 0], ValueError, r"bits must be in \[1, 8\], got 0"),
        ([1, 9], ValueError, r"bits must be in \[1, 8\], got 9"),
        ([1, 2.0], TypeError, r"bits must be an integer, got 2.0"),
        ([True], TypeError, r"bits must be an integer, got True"),
    ],
)
def test_integers_name_the_argument_and_the_value(value, error, message):
    with pytest.raises(error, match=message):
        validation.integers("bits", value, low=1, high=8)


@pytest.mark.parametrize("value", [[1, 2], (1, 2), range(1, 3), np.arange(1, 3), jnp.arange(1, 3)])
def test_integers_of_every_kind_become_those_of_python(value):
    found = validation.integers("bits", value, low=1)
    assert found == (1, 2)
    assert {type(each) for each in found} == {int}


def test_instance_function_pair_and_path_give_back_what_they_are_given():
    assert validation.instance("code", 3, str, int) == 3
    assert validation.function("trial", len) is len
    assert validation.pair("data", [1, "b"]) == (1, "b")
    assert validation.path("checkpoint", None) is None
    assert validation.path("checkpoint", "a/b") == pathlib.Path("a/b")


@pytest.mark.parametrize(
    ("check", "value", "message"),
    [
        (
            partial(validation.instance, "code"),
            3.0,
            r"code must be a str or int, got <class 'float'>",
        ),
        (partial(validation.function, "trial"), 3, r"trial must be a function, got <class 'int'>"),
        (
            partial(validation.pair, "data"),
            (1,),
            r"data must be a tuple of two, got <class 'tuple'>",
        ),
        (partial(validation.pair, "data"), "ab", r"data must be a tuple of two, got <class 'str'>"),
        (partial(validation.path, "checkpoint"), 3, r"checkpoint must be a path or None, got"),
    ],
)
def test_things_of_another_kind_are_refused_by_name(check, value, message):
    kinds = (str, int) if check.func is validation.instance else ()
    with pytest.raises(TypeError, match=message):
        check(value, *kinds)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (
            [1.0, np.inf],
            ValueError,
            r"x must be finite, at most 1e\+100 in size, got inf at index 1",
        ),
        ([np.nan], ValueError, r"x must be finite, at most 1e\+100 in size, got nan"),
        ([-1e101], ValueError, r"x must be finite, at most 1e\+100 in size, got -1e\+101"),
        (["a"], TypeError, r"x must hold real numbers, got an array of dtype"),
        ([[1.0], [1.0, 2.0]], TypeError, r"x must be an array: "),
        (1.0, ValueError, r"x must have 1 dimensions, got shape \(\)"),
    ],
)
def test_finite_names_the_argument_and_the_value(value, error, message):
    with pytest.raises(error, match=message):
        validation.finite("x", value, ndim=1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_finite_keeps_the_precision_and_takes_all_that_fits(dtype):
    most = min(float(np.finfo(dtype).max), 1e100)
    assert validation.finite("x", np.array([most, -most], dtype)).dtype == dtype


def test_host_array_takes_every_kind_but_ragged_lists():
    assert validation.host_array("names", ["a", "b"]).tolist() == ["a", "b"]
    with pytest.raises(TypeError, match=r"names must be an array: "):
        validation.host_array("names", [[1], [1, 2]])


@pytest.mark.parametrize("value", [0.5, 1e6])
def test_log2_size_of_an_impossible_database(value):
    with pytest.raises(ValueError, match=r"log2_size must lie in \[1, 100000\]"):
        validation.log2_size(value)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (0, TypeError, r"key must be a typed key made by jax.random.key"),
        (np.zeros(2, np.uint32), TypeError, r"key must be a typed key"),
    ],
)
def test_prng_key_rejects_what_is_no_typed_key(value, error, message):
    with pytest.raises(error, match=message):
        validation.prng_key("key", value)


def test_prng_key_rejects_a_batch_of_keys():
    with pytest.raises(ValueError, match=r"key must be a single key, got keys of shape \(2,\)"):
        validation.prng_key("key", jax.random.split(jax.random.key(0), 2))


def test_under_a_transformation_shapes_are_checked_and_values_are_promised():
    assert jax.jit(lambda x: validation.pmf("p", x))(jnp.array([3.0, 4.0])).shape == (2,)
    with pytest.raises(ValueError, match="p must have 1 dimensions"):
        jax.jit(lambda x: validation.pmf("p", x))(jnp.ones((2, 2)))
    assert validation.is_traced(1.0) is False
