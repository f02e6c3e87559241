import copy
import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import xarray
from hypothesis import given
from hypothesis import strategies as st

import rdsim
from rdsim import limits


def certified(value=(1.0, 2.0), gap=0.5, tolerance=0.1):
    value = jnp.asarray(value)
    return rdsim.Certified(
        value=value,
        lower=value - gap / 2,
        upper=value + gap / 2,
        tolerance=jnp.asarray(tolerance),
    )


def test_gap_and_converged():
    np.testing.assert_allclose(certified().gap, [0.5, 0.5], rtol=1e-12, atol=0)
    assert not certified().converged.any()
    assert certified(gap=0.05).converged.all()


def test_an_infinite_limit_has_no_gap():
    limit = rdsim.Certified(
        value=jnp.array([jnp.inf, jnp.inf]),
        lower=jnp.array([jnp.inf, 1.0]),
        upper=jnp.array([jnp.inf, jnp.inf]),
        tolerance=jnp.array(1e-9),
    )
    np.testing.assert_array_equal(limit.gap, [0.0, np.inf])
    np.testing.assert_array_equal(limit.converged, [True, False])


NUMBERS = st.floats(-8, 8, allow_subnormal=False).filter(lambda x: x == 0 or abs(x) > 1e-6)


@given(NUMBERS, NUMBERS, st.floats(0, 3), st.floats(0, 3), NUMBERS)
def test_bounds_survive_sums_differences_and_products_with_numbers(one, other, gap, room, factor):
    """Whatever the two limits are inside their bounds, the result lies inside its own."""
    x, y = certified(one, gap), certified(other, room)
    for share in (0.0, 0.3, 1.0):
        a = one + (share - 0.5) * gap
        for b in (other - room / 2, other + room / 2):
            for result, truth in (
                (x + y, a + b),
                (x - y, a - b),
                (y - x, b - a),
                (-x, -a),
                (factor * x, factor * a),
                (x * factor, factor * a),
                (x + factor, a + factor),
                (factor - x, factor - a),
                (x / (factor or 1.0), a / (factor or 1.0)),
            ):
                assert isinstance(result, rdsim.Certified)
                rounding = 1e-14 * (1 + abs(truth))
                assert float(result.lower) - rounding <= truth <= float(result.upper) + rounding
                assert float(result.lower) <= float(result.value) <= float(result.upper)


@given(st.floats(0.1, 1), NUMBERS.filter(bool))
def test_the_gap_and_its_tolerance_grow_alike(gap, factor):
    x = certified(1.0, gap)
    scaled = factor * x - 3
    np.testing.assert_allclose(scaled.gap, abs(factor) * gap, rtol=1e-9, atol=0)
    np.testing.assert_allclose(scaled.tolerance, abs(factor) * 0.1, rtol=1e-12, atol=0)
    np.testing.assert_allclose((x - x).gap, 2 * gap, rtol=1e-9, atol=0)
    assert float((x + x).tolerance) == 0.2


def test_arrays_of_numbers_are_taken_entry_by_entry():
    limit = certified()
    scaled = np.array([[1.0], [-2.0]]) * limit
    np.testing.assert_array_equal(scaled.value, [[1, 2], [-2, -4]])
    np.testing.assert_array_equal(scaled.lower, [[0.75, 1.75], [-2.5, -4.5]])
    np.testing.assert_array_equal(scaled.upper, [[1.25, 2.25], [-1.5, -3.5]])
    np.testing.assert_array_equal(scaled[1].gap, [1.0, 1.0])
    np.testing.assert_array_equal((np.ones(2) - limit).upper, [0.25, -0.75])
    np.testing.assert_array_equal((limit + jnp.ones(2)).upper, [2.25, 3.25])


def test_arithmetic_in_place_gives_the_name_a_new_limit():
    limit = first = certified(1.0)
    limit += 1
    limit -= certified(0.5, gap=0.25)
    limit *= 8
    limit /= 2
    np.testing.assert_array_equal([limit.value, limit.lower, limit.upper], [6.0, 4.5, 7.5])
    assert float(first.value) == 1.0
    number = 1.0
    number += certified(1.0)
    assert float(number.upper) == 2.25
    assert float(sum(certified()).upper) == 3.5


@pytest.mark.parametrize("dtype", [np.float16, np.float32, jnp.bfloat16, np.int8])
def test_a_factor_of_a_small_type_rounds_no_bound(dtype):
    weak = jax.jit(lambda: 0.1)()  # a weak type yields to that of an array
    limit = rdsim.Certified(value=weak, lower=weak, upper=weak, tolerance=weak)
    for one in (jnp.ones((), dtype), np.ones(2).astype(dtype)):
        for result in (limit * one, limit / one, limit + 0 * one):
            assert result.dtype == np.float64
            np.testing.assert_array_equal(result.upper, np.full(result.shape, 0.1))


def test_factors_may_be_lists_and_large_integers():
    np.testing.assert_array_equal((certified() * [1, -2]).upper, [1.25, -3.5])
    assert float((certified(1.0) * 2**70).value) == 2.0**70


def test_the_complement_of_a_proved_loss_is_a_proved_reward():
    loss = limits.rank_loss(np.log2(1000), "reciprocal_rank", rate=4.0)
    best = 1 - loss
    assert float(best.upper) == 1 - float(loss.lower)
    assert float(best.lower) == 1 - float(loss.upper)
    assert float(best.lower) - 1e-9 <= 0.507852082 <= float(best.upper) + 1e-9


def test_other_arithmetic_uses_the_value():
    limit = certified()
    value = np.array([1.0, 2.0])
    for result, expected in (
        (limit**2, value**2),
        (1 / limit, 1 / value),
        (limit * limit, value**2),
        (limit / limit, np.ones(2)),
        (limit > 1.5, value > 1.5),
        (limit == 1.0, value == 1.0),
        (abs(-limit), value),
        (np.log2(limit), np.log2(value)),
        (np.maximum(limit, 1.5), [1.5, 2.0]),
        (np.add.reduce(limit), 3.0),
        (np.where(limit > 1.5, limit, 0), [0, 2]),
        (np.add(limit, 1, out=np.zeros(2)), value + 1),
    ):
        assert not isinstance(result, rdsim.Certified)
        np.testing.assert_array_equal(result, expected)


def test_labelled_arrays_keep_their_labels():
    labelled = xarray.DataArray([1.0, 1.0], dims="slope") + certified()
    assert labelled.dims == ("slope",)
    assert list((pd.Series([2.0, 2.0], index=["a", "b"]) * certified()).index) == ["a", "b"]
    assert list((certified() * pd.Series([2.0, 2.0], index=["a", "b"])).index) == ["a", "b"]
    np.testing.assert_array_equal(pd.DataFrame({"R": certified()})["R"], [1.0, 2.0])


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap, jax.grad, jax.jacfwd])
def test_arithmetic_works_under_transformations(transform):
    def total(x):
        limit = certified(x)
        mixed = 2 * limit + 1 - limit / 4 + limit * x - (1 - limit)
        return jnp.sum(mixed.upper - mixed.lower) + jnp.sum(mixed.value) + limit**2 / limit

    found = transform(total)(jnp.ones(2) if transform is jax.vmap else 1.0)
    # The value is (2.75 + x) x + x, the sum of the gaps (3.25 + x) / 2, at x = 1.
    expected = 6.25 if transform in (jax.grad, jax.jacfwd) else 6.875
    np.testing.assert_allclose(found, np.full(np.shape(found), expected), rtol=1e-12, atol=0)


def test_a_derivative_of_a_limit_can_be_scaled():
    def bits(D):
        return (2 * limits.rate_at([0.3, 0.7], 1 - np.eye(2), D) - 1).value

    expected = -2 * np.log2(0.9 / 0.1)
    assert float(jax.grad(bits)(0.1)) == pytest.approx(expected, rel=1e-8, abs=0)
    assert float(jax.jit(jax.grad(bits))(0.1)) == pytest.approx(expected, rel=1e-8, abs=0)


def test_it_has_the_protocol_of_an_array():
    limit = certified()
    assert (len(limit), limit.ndim, limit.size, limit.dtype) == (2, 1, 2, np.float64)
    assert [float(v) for v in limit] == [1.0, 2.0]
    assert [float(v.upper) for v in list(limit)] == [1.25, 2.25]
    assert float(max(limit)) == 2.0
    assert float(sorted(limit, reverse=True)[0].lower) == 1.75
    assert limit[0] in limit
    assert certified(7.0) not in limit
    single = certified(1.0)
    assert single
    assert not certified(0.0)
    assert (single.ndim, single.size) == (0, 1)
    with pytest.raises(TypeError, match="no length"):
        len(single)
    with pytest.raises(TypeError, match="no length"):
        list(single)
    with pytest.raises(ValueError, match="ambiguous"):
        bool(limit)


@pytest.mark.parametrize(
    "index", [2, -3, (0, 0), np.int64(5), jnp.array(2), jnp.array([0, 7]), "a", 0.5]
)
def test_an_index_out_of_range_is_refused(index):
    with pytest.raises((IndexError, TypeError)):
        certified()[index]


def test_all_indices_of_numpy_select_value_and_bounds():
    table = certified(np.arange(6.0).reshape(2, 3))
    for index in (0, -1, (1, 2), (slice(None), 1), ..., None, [0, 0, 1], np.array([True, False])):
        expected = np.arange(6.0).reshape(2, 3)[index]
        selected = table[index]
        np.testing.assert_array_equal(selected, expected)
        np.testing.assert_array_equal(selected.upper, expected + 0.25)
    assert jax.jit(lambda limit, i: limit[i].upper)(certified(), 1) == 2.25


def test_jax_functions_use_the_value():
    limit = certified()
    np.testing.assert_array_equal(jnp.sqrt(limit), jnp.sqrt(limit.value))
    np.testing.assert_array_equal(jnp.asarray(limit), limit.value)
    np.testing.assert_array_equal(jnp.sum(limit), 3.0)
    np.testing.assert_array_equal(limit + jnp.ones(2), [2.0, 3.0])
    np.testing.assert_array_equal(jnp.ones(2) + limit, [2.0, 3.0])
    assert not isinstance(jnp.ones(2) + limit, rdsim.Certified)


def test_numpy_testing_and_conversion_use_the_value():
    limit = certified()
    np.testing.assert_allclose(limit, [1.0, 2.0], rtol=1e-12, atol=0)
    assert np.asarray(limit).dtype == np.float64
    assert np.asarray(limit, dtype=np.float32).dtype == np.float32
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(limit, [1.0, 2.1], rtol=1e-12, atol=0)


def test_float_and_format_of_a_single_number():
    limit = certified(1.25)
    assert float(limit) == 1.25
    assert f"{limit:.1f}" == "1.2"
    assert "Certified" in f"{limit}"
    assert limit.shape == ()


def test_indexing_keeps_the_bounds():
    second = certified()[1]
    assert (float(second.value), float(second.lower), float(second.upper)) == (2.0, 1.75, 2.25)


def test_it_passes_through_jit_and_vmap():
    through = jax.jit(lambda limit: limit)(certified())
    assert isinstance(through, rdsim.Certified)
    np.testing.assert_array_equal(through.upper, certified().upper)
    batch = jax.vmap(lambda x: certified(x[None] * jnp.ones(3), tolerance=x))(jnp.arange(1.0, 3.0))
    assert batch.value.shape == (2, 3)
    assert batch.tolerance.shape == (2,)
    gaps = jax.vmap(lambda limit: limit.gap)(batch)
    np.testing.assert_allclose(gaps, np.full((2, 3), 0.5), rtol=1e-12, atol=0)
    axes = jax.vmap(lambda limit: limit.value, in_axes=(0,))(batch)
    np.testing.assert_array_equal(axes, batch.value)


def test_it_is_a_tree_that_can_be_mapped_sliced_and_rebuilt():
    leaves, structure = jax.tree.flatten(certified())
    assert len(leaves) == 4
    again = jax.tree.unflatten(structure, leaves)
    np.testing.assert_array_equal(again.lower, certified().lower)
    shapes = jax.tree.map(lambda leaf: leaf.shape, certified())
    assert shapes.value == (2,)
    assert jax.eval_shape(lambda: certified()).value.shape == (2,)


def test_gradients_flow_through_the_value():
    assert jax.grad(lambda x: jnp.sum(jnp.square(certified(x))))(3.0) == 6.0


def test_it_is_frozen_copies_and_pickles():
    limit = certified()
    with pytest.raises(dataclasses.FrozenInstanceError):
        limit.value = jnp.zeros(2)
    np.testing.assert_array_equal(copy.deepcopy(limit), limit)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(limit)).upper, limit.upper)
