import jax
import numpy as np
import pytest

from rdsim.sources import host_random

KEY = jax.random.key(7)


@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_key_is_split_as_jax_splits_it(number):
    found = host_random.split_key(KEY, number)
    assert isinstance(found, tuple)
    np.testing.assert_array_equal(
        [jax.random.key_data(one) for one in found],
        jax.random.key_data(jax.random.split(KEY, number)),
    )


@pytest.mark.parametrize("number", [0, 3, 2**32 - 1])
def test_a_number_is_folded_in_as_jax_folds_it(number):
    found = host_random.numbered_key(KEY, number)
    expected = jax.random.fold_in(KEY, np.uint32(number))
    np.testing.assert_array_equal(jax.random.key_data(found), jax.random.key_data(expected))


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_an_order_is_drawn_as_jax_draws_it(size):
    found = host_random.permutation(KEY, size)
    np.testing.assert_array_equal(found, jax.random.permutation(KEY, size))
    assert isinstance(found, np.ndarray)
