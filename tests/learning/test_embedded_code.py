"""Codes behind an embedding: channels are those of the embedding, codewords are means of items."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rdsim.codes.quantizers.vector import vector_quantizer
from rdsim.learning.families.hashing import sign_code
from rdsim.learning.families.stored.embedded_codes import embedded_code, module_method

ITEMS = np.random.default_rng(0).normal(size=(40, 2))
MAP = jnp.array([[1.0, 0.5, 0.0], [0.0, -1.0, 2.0]])


def _linear(parameters, items):
    return items @ parameters


def test_items_have_the_codeword_of_their_embedding():
    inner = vector_quantizer(jax.random.key(0), ITEMS @ np.asarray(MAP), 4)
    code = embedded_code(_linear, MAP, inner, ITEMS)
    indices = np.asarray(code.encode(jax.random.key(1), ITEMS))
    np.testing.assert_array_equal(indices, inner.encode(jax.random.key(1), ITEMS @ np.asarray(MAP)))
    np.testing.assert_array_equal(code.channel(ITEMS), np.eye(4)[indices])
    for word in range(4):
        np.testing.assert_allclose(
            code.codewords[word], ITEMS[indices == word].mean(axis=0), rtol=1e-12
        )


def test_a_codeword_of_no_item_stands_for_the_common_mean():
    code = embedded_code(_linear, MAP, sign_code(3), ITEMS)
    empty = np.asarray(code.channel(ITEMS)).sum(axis=0) == 0
    assert empty.any()
    np.testing.assert_allclose(
        np.asarray(code.codewords)[empty],
        np.tile(ITEMS.mean(axis=0), (empty.sum(), 1)),
        rtol=1e-12,
        atol=0,
    )


def test_a_method_of_a_module_is_a_hashable_function():
    modules = [nnx.Linear(2, 3, rngs=nnx.Rngs(seed)) for seed in range(2)]
    (first, p), (second, q) = (module_method(module, "__call__") for module in modules)
    assert first == second
    assert hash(first) == hash(second)
    for module, parameters in zip(modules, (p, q), strict=True):
        np.testing.assert_array_equal(first(parameters, jnp.asarray(ITEMS)), module(ITEMS))


@pytest.mark.parametrize(
    ("items", "message"),
    [(ITEMS[0], "items"), (np.full((3, 2), np.inf), "items"), (np.zeros((0, 2)), "items")],
)
def test_bad_items_are_named(items, message):
    with pytest.raises(ValueError, match=message):
        embedded_code(_linear, MAP, sign_code(3), items)
