import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rdsim.learning.stochastic.neural_code import NeuralCode
from rdsim.learning.training.networks import MLP

ITEMS = jax.random.normal(jax.random.key(0), (7, 3), jnp.float32)
QUERIES = jax.random.normal(jax.random.key(1), (7, 2, 2), jnp.float32)


def code(scores):
    return NeuralCode(3, 2, 5, modalities=2, hidden=(6,), scores=scores, rngs=nnx.Rngs(0))


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def test_a_perceptron_is_linear_layers_with_a_gelu_between():
    network = MLP((3, 6, 4, 5), nnx.Rngs(0))
    value = np.asarray(ITEMS, float)
    for place, layer in enumerate(network.layers):
        value = value @ np.asarray(layer.kernel[...], float) + np.asarray(layer.bias[...], float)
        value = gelu(value) if place < 2 else value
    np.testing.assert_allclose(network(ITEMS), value, rtol=0, atol=1e-5)
    assert network(np.asarray(ITEMS, float)).dtype == jnp.float32


@pytest.mark.parametrize("scores", ["free", "distance"])
def test_distributions_sum_to_one_and_parameters_float32(scores):
    model = code(scores)
    state = nnx.state(model)
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {jnp.dtype("float32")}
    assert len(jax.tree.leaves(nnx.state(model, nnx.Param))) == len(jax.tree.leaves(state))
    for log_distribution in (
        model.log_channel(ITEMS),
        model.log_prior(),
        model.log_posterior(QUERIES),
    ):
        np.testing.assert_allclose(jnp.exp(log_distribution).sum(axis=-1), 1.0, rtol=0, atol=1e-6)
        assert log_distribution.dtype == jnp.float32
    assert model.log_channel(ITEMS).shape == model.log_posterior(QUERIES).shape == (7, 5)
    assert model.scores(QUERIES[None]).shape == (1, 7, 2, 5)


@pytest.mark.parametrize("scores", ["free", "distance"])
def test_the_posterior_weighs_each_modality_by_its_own_temperature(scores):
    model = code(scores)
    model.prior_logits[...] = jnp.arange(5.0, dtype=jnp.float32)
    model.log_temperature[...] = jnp.log(jnp.array([0.5, 4.0], jnp.float32))
    np.testing.assert_allclose(model.temperatures, [0.5, 4.0], rtol=1e-6)
    each = np.asarray(model.scores(QUERIES), float)
    fused = each[:, 0] / 0.5 + each[:, 1] / 4.0
    np.testing.assert_allclose(model.fused_scores(QUERIES), fused, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        model.fused_scores(QUERIES, modalities=(1,)), each[:, 1] / 4.0, rtol=1e-4, atol=1e-5
    )
    weight = np.exp(fused + np.arange(5.0))
    posterior = weight / weight.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(jnp.exp(model.log_posterior(QUERIES)), posterior, rtol=0, atol=1e-5)


def test_distance_scores_are_log_likelihoods_of_a_gaussian_whose_variance_is_the_temperature():
    model = code("distance")
    points = np.asarray(model.points[...], float)
    difference = np.asarray(QUERIES, float)[:, :, None, :] - points
    expected = -0.5 * (difference**2).sum(axis=-1)
    np.testing.assert_allclose(model.scores(QUERIES), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: MLP((3,), nnx.Rngs(0)), ValueError, "features must name input and output"),
        (lambda: MLP((3, 0), nnx.Rngs(0)), ValueError, "features must be at least 1"),
        (lambda: code("cosine"), ValueError, "scores must be one of 'free', 'distance'"),
        (lambda: NeuralCode(3, 2, 1, rngs=nnx.Rngs(0)), ValueError, "codewords must be at least 2"),
        (
            lambda: NeuralCode(3, 0, 2, rngs=nnx.Rngs(0)),
            ValueError,
            "query_dimension must be at least 1",
        ),
        (
            lambda: NeuralCode(3, 2, 2, modalities=0, rngs=nnx.Rngs(0)),
            ValueError,
            "modalities must be at least 1",
        ),
    ],
)
def test_bad_input_is_named(make, kind, message):
    with pytest.raises(kind, match=message):
        make()
