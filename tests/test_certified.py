import copy
import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rdsim


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


def test_arithmetic_uses_the_value():
    limit = certified()
    value = np.array([1.0, 2.0])
    np.testing.assert_array_equal(2 * limit + 1, 2 * value + 1)
    np.testing.assert_array_equal(limit**2 - limit, value**2 - value)
    np.testing.assert_array_equal(1 / limit, 1 / value)
    np.testing.assert_array_equal(-limit, -value)
    np.testing.assert_array_equal(limit > 1.5, value > 1.5)
    np.testing.assert_array_equal(limit + limit, 2 * value)
    np.testing.assert_array_equal(np.array([1.0, 1.0]) - limit, 1 - value)
    np.testing.assert_array_equal(np.log2(limit), np.log2(value))


def test_jax_functions_use_the_value():
    limit = certified()
    np.testing.assert_array_equal(jnp.sqrt(limit), jnp.sqrt(limit.value))
    np.testing.assert_array_equal(jnp.asarray(limit), limit.value)
    np.testing.assert_array_equal(jnp.sum(limit), 3.0)
    np.testing.assert_array_equal(limit + jnp.ones(2), [2.0, 3.0])
    np.testing.assert_array_equal(jnp.ones(2) + limit, [2.0, 3.0])


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
