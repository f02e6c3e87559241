"""A trained network as an item code: its channel, its draws, its codewords and its decoder."""

import importlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim.codes.item_code import ItemCode
from rdsim.learning.stochastic.items import learned_decoder, neural_item_code
from rdsim.learning.stochastic.neural_code import NeuralCode

module = importlib.import_module("rdsim.learning.stochastic.items")

WORDS, MODALITIES = 5, 3


def network(seed=0, scores="distance"):
    model = NeuralCode(
        2, 2, WORDS, modalities=MODALITIES, hidden=(8,), scores=scores, rngs=nnx.Rngs(seed)
    )
    model.log_temperature[...] = jnp.array([0.3, -0.5, 1.1], jnp.float32)
    model.prior_logits[...] = jnp.arange(WORDS, dtype=jnp.float32)
    last = model.item_encoder.layers[-1]
    last.kernel[...] = 4 * last.kernel[...]
    return model


@pytest.fixture(scope="module")
def items():
    return jax.random.normal(jax.random.key(2), (64, 2))


def forward(model, items):
    """The channel in NumPy: two linear layers with a GELU between, and a softmax in float64."""
    first, last = (
        [np.asarray(layer.kernel[...]), np.asarray(layer.bias[...])]
        for layer in model.item_encoder.layers
    )
    h = np.asarray(items) @ first[0] + first[1]
    h = 0.5 * h * (1 + np.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
    logits = h @ last[0] + last[1]
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@given(seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_the_channel_is_the_network_in_float64(seed):
    rng = np.random.default_rng(seed)
    items, model = rng.normal(size=(64, 2)) * rng.uniform(0.1, 10), network(seed % 3)
    channel = neural_item_code(model, items).channel(items)
    assert channel.dtype == jnp.float64
    assert channel.shape == (64, WORDS)
    assert bool(jnp.all(channel >= 0))
    np.testing.assert_allclose(channel.sum(axis=1), 1.0, rtol=0, atol=1e-14)
    np.testing.assert_allclose(channel, forward(model, items), rtol=2e-3, atol=2e-5)


def test_codewords_are_the_means_of_their_items(items):
    model = network()
    masses = np.random.default_rng(0).dirichlet(np.ones(64))
    for p, given_masses in ((np.full(64, 1 / 64), None), (masses, masses)):
        code = neural_item_code(model, items, masses=given_masses)
        share = p[:, None] * np.asarray(code.channel(items))
        expected = share.T @ np.asarray(items) / share.sum(axis=0)[:, None]
        np.testing.assert_allclose(code.codewords, expected, rtol=1e-12)


def test_a_codeword_without_items_stands_for_the_mean_of_all(items):
    model = network()
    model.item_encoder.layers[-1].bias[...] = jnp.array([0, 0, 0, 0, -1e4], jnp.float32)
    code = neural_item_code(model, items)
    assert float(code.channel(items)[:, 4].max()) == 0.0
    np.testing.assert_allclose(code.codewords[4], items.mean(axis=0), rtol=1e-12)


def test_draws_follow_the_channel(items):
    """Hoeffding for 15 frequencies of 2^16 draws each: a false alarm below 1e-6."""
    number, few = 1 << 16, items[:3]
    code = neural_item_code(network(), items)
    drawn = code.encode(jax.random.key(5), jnp.repeat(few, number, axis=0)).reshape(3, number)
    assert drawn.dtype == jnp.int32
    assert 0 <= int(drawn.min()) <= int(drawn.max()) < WORDS
    frequency = jnp.stack([jnp.mean(drawn == u, axis=1) for u in range(WORDS)], axis=1)
    room = math.sqrt(math.log(2 * frequency.size / 1e-6) / (2 * number))
    assert room < 0.012
    np.testing.assert_allclose(frequency, code.channel(few), rtol=0, atol=room)
    again = code.encode(jax.random.key(5), jnp.repeat(few, number, axis=0)).reshape(3, number)
    assert bool(jnp.all(drawn == again))


@pytest.mark.parametrize("modalities", [None, (2, 0), 1])
def test_C17_the_learned_decoder_is_its_formula(modalities):
    model = network()
    seen = range(3) if modalities is None else np.atleast_1d(modalities)
    queries = np.random.default_rng(1).normal(size=(len(seen), 2))
    decoder = learned_decoder(model, modalities)
    scores = decoder.scores(decoder.parameters, jnp.asarray(queries))
    points, tau = np.asarray(model.points[...]), np.exp([0.3, -0.5, 1.1])
    expected = sum(
        -0.5 * ((x - points) ** 2).sum(axis=1) / tau[k] for x, k in zip(queries, seen, strict=True)
    )
    assert scores.shape == (WORDS,)
    assert scores.dtype == jnp.float64
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_free_scores_are_taken_from_the_modality_s_own_network():
    model = network(scores="free")
    query = jnp.array([[0.4, -1.0]])
    decoder = learned_decoder(model, 2)
    expected = model.query_encoders[2](query[0]) / math.exp(1.1)
    np.testing.assert_allclose(decoder.scores(decoder.parameters, query), expected, rtol=1e-5)


def test_codes_of_one_architecture_share_a_compilation(items):
    codes = [neural_item_code(network(seed), items) for seed in range(3)]
    assert len({jax.tree.structure(code) for code in codes}) == 1
    before = module._channel._cache_size()
    tables = [code.channel(items) for code in codes]
    assert module._channel._cache_size() == before
    assert float(jnp.abs(tables[0] - tables[1]).max()) > 0.01
    protocol: ItemCode = codes[0]
    assert protocol.codewords.shape == (WORDS, 2)
    assert network().item_encoder.inputs == 2


def test_a_code_goes_through_jit_and_vmap(items):
    code = neural_item_code(network(), items)
    inside = jax.jit(lambda c, y: c.channel(y[None])[0])(code, items[0])
    np.testing.assert_allclose(inside, code.channel(items)[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, y: neural_item_code(m, y[:, :1]), ValueError, r"items must have shape \(N, 2\)"),
        (lambda m, y: neural_item_code(m, y, masses=[0.5, 0.5]), ValueError, "masses"),
        (lambda m, y: neural_item_code(m, y).channel([[0.0, math.nan]]), ValueError, "NaN"),
        (lambda m, y: neural_item_code(m, y).channel(jnp.zeros((0, 2))), ValueError, "items"),
        (lambda m, y: neural_item_code(m, y).encode(0, y), TypeError, "key"),
        (lambda m, y: learned_decoder(m, 3), ValueError, "modalities"),
        (lambda m, y: learned_decoder(m, (1, 1)), ValueError, "distinct"),
        (lambda m, y: learned_decoder(m, 1.0), TypeError, "modalities"),
    ],
)
def test_bad_arguments_are_named(call, error, message, items):
    with pytest.raises(error, match=message):
        call(network(), items)
