"""InfoNCE is least at the information density; losses agree with loops; dual encoders."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim.learning.families.dual_encoder import (
    ContrastiveLearner,
    DualEncoder,
    TripletLearner,
    info_nce_loss,
    triplet_loss,
)
from rdsim.learning.training.loop import train
from rdsim.learning.training.networks import architecture
from rdsim.learning.training.schedule import Schedule

JOINT = np.array([[0.30, 0.05, 0.05], [0.04, 0.20, 0.06], [0.02, 0.08, 0.20]])
DENSITY = np.log(JOINT / JOINT.sum(1, keepdims=True) / JOINT.sum(0))
INFORMATION = np.sum(JOINT * DENSITY)
PAIRS = np.array(list(itertools.product(range(3), repeat=2)))


def _batches(size):
    """All batches of independent pairs, and their chances."""
    chosen = PAIRS[np.array(list(itertools.product(range(9), repeat=size)))]
    return jnp.asarray(chosen), jnp.asarray(JOINT[chosen[..., 0], chosen[..., 1]].prod(axis=1))


@jax.jit
def _expected(table):
    """Mean of InfoNCE over all batches of three pairs, exactly."""
    batches, chances = _batches(3)
    scores = table[batches[:, :, None, 0], batches[:, None, :, 1]]
    return chances @ jax.vmap(info_nce_loss)(scores)


def _scores(seed, size=5):
    return np.random.default_rng(seed).normal(size=(size, size))


def test_C4_the_information_density_is_a_stationary_point_of_info_nce():
    slope = jax.jit(jax.grad(_expected))
    np.testing.assert_allclose(slope(jnp.asarray(DENSITY)), 0.0, rtol=0, atol=1e-15)
    # In one direction alone a function of the query could be added; in both only a constant.
    shifted = DENSITY + np.array([[0.5], [0.0], [-0.5]])
    assert np.abs(slope(jnp.asarray(shifted))).max() > 1e-3
    assert np.abs(slope(jnp.asarray(1.3 * DENSITY))).max() > 1e-3


@given(st.integers(0, 10**6), st.floats(0.01, 3.0))
def test_C4_no_other_score_has_less_info_nce(seed, size):
    other = DENSITY + size * np.random.default_rng(seed).normal(size=(3, 3))
    assert float(_expected(jnp.asarray(other))) > float(_expected(jnp.asarray(DENSITY)))


@given(st.integers(0, 10**6))
def test_C4_log_of_the_batch_minus_info_nce_is_at_most_the_information(seed):
    table = DENSITY + 0.3 * np.random.default_rng(seed).normal(size=(3, 3))
    assert np.log(3) - float(_expected(jnp.asarray(table))) <= INFORMATION


def _draw(key, logits):
    letters = jax.random.categorical(key, logits.ravel(), shape=(512,))
    x, y = jnp.divmod(letters, 3)
    return jax.nn.one_hot(x, 3)[:, None, :], jax.nn.one_hot(y, 3)


def test_C4_a_trained_dual_encoder_recovers_the_information_density():
    build = architecture(DualEncoder, query_size=3, item_size=3, hidden=(), dimension=3, unit=False)
    learner = ContrastiveLearner(build=build)
    logits = jnp.log(jnp.asarray(JOINT))
    found = train(
        jax.random.key(0),
        learner,
        _draw,
        logits,
        _draw(jax.random.key(1), logits),
        jnp.zeros(1),
        schedule=Schedule(steps=400, evaluate_every=200, learning_rate=0.05),
    )
    model, letters = found.model(0), jnp.eye(3)
    scores = np.asarray(model.scores(letters[:, None, :], letters), float)
    shifted = scores - DENSITY
    # 400 steps of 512 pairs leave about 0.02 nats on the rarest letters.
    np.testing.assert_allclose(shifted - shifted[0, 0], 0.0, rtol=0, atol=0.15)
    recorded = np.asarray(found.recorded["information"])[0, -1]
    assert abs(recorded - INFORMATION / np.log(2)) < 0.1


@given(st.integers(0, 10**6))
@settings(max_examples=10)
def test_losses_are_those_of_loops(seed):
    scores = _scores(seed)
    rows, columns = [], []
    hardest, every = [], []
    for i in range(5):
        rows.append(np.log(sum(np.exp(s - scores[i, i]) for s in scores[i])))
        columns.append(np.log(sum(np.exp(s - scores[i, i]) for s in scores[:, i])))
        for line in (scores[i], scores[:, i]):
            hinges = [max(0.0, 0.2 + line[j] - line[i]) for j in range(5) if j != i]
            hardest.append(max(hinges))
            every.append(np.mean(hinges))
    s = jnp.asarray(scores)
    np.testing.assert_allclose(info_nce_loss(s), np.mean(rows + columns), rtol=1e-12)
    np.testing.assert_allclose(triplet_loss(s, 0.2, hardest=True), np.mean(hardest), rtol=1e-12)
    np.testing.assert_allclose(triplet_loss(s, 0.2, hardest=False), np.mean(every), rtol=1e-12)


@pytest.fixture(scope="module")
def model():
    return DualEncoder(query_size=4, item_size=2, hidden=(5,), dimension=3, rngs=nnx.Rngs(0))


def test_scores_are_cosines_over_the_temperature(model):
    rng = np.random.default_rng(0)
    queries, items = rng.normal(size=(6, 2, 2)), rng.normal(size=(7, 2))
    x, y = model.embed_queries(jnp.asarray(queries)), model.embed_items(jnp.asarray(items))
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(y, axis=1), 1.0, rtol=1e-5)
    assert x.dtype == y.dtype == np.float32
    expected = np.asarray(x) @ np.asarray(y).T / 0.1
    np.testing.assert_allclose(
        model.scores(jnp.asarray(queries), jnp.asarray(items)), expected, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        model.embed_queries(jnp.asarray(queries[2])), x[2], rtol=1e-5, atol=1e-6
    )


def test_a_temperature_does_not_fall_below_its_floor(model):
    graph, state = nnx.split(model)
    cold = nnx.merge(graph, state)
    cold.log_temperature[...] = jnp.float32(-20.0)
    queries, items = jnp.ones((1, 2, 2)), jnp.ones((1, 2))
    product = model.embed_queries(queries) @ model.embed_items(items).T
    np.testing.assert_allclose(cold.scores(queries, items), product / 0.01, rtol=1e-5)


def test_modules_hold_parameters_alone_in_float32(model):
    state = nnx.state(model)
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {np.dtype(np.float32)}
    assert isinstance(model, DualEncoder)
    jax.tree.map(lambda leaf: None, nnx.state(model, nnx.Param))
    assert len(jax.tree.leaves(nnx.state(model, nnx.Param))) == len(jax.tree.leaves(state))


def test_triplets_compare_cosines():
    build = architecture(
        DualEncoder, query_size=4, item_size=2, hidden=(5,), dimension=3, temperature=1.0
    )
    learner = TripletLearner(build=build, hardest=True)
    model = learner.build(nnx.Rngs(1))
    rng = np.random.default_rng(1)
    batch = jnp.asarray(rng.normal(size=(6, 2, 2))), jnp.asarray(rng.normal(size=(6, 2)))
    cosines = model.embed_queries(batch[0]) @ model.embed_items(batch[1]).T
    value, _ = learner.loss(model, batch, jax.random.key(0), 0.0, jnp.float32(0))
    np.testing.assert_allclose(value, triplet_loss(cosines, 0.1, hardest=True), rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_size": 0}, "query_size must be at least 1, got 0"),
        ({"item_size": -1}, "item_size must be at least 1, got -1"),
        ({"dimension": 0}, "dimension must be at least 1, got 0"),
        ({"hidden": (4, 0)}, "hidden must be at least 1, got 0"),
    ],
)
def test_bad_sizes_are_named(change, message):
    sizes = {"query_size": 4, "item_size": 2} | change
    with pytest.raises(ValueError, match=message):
        DualEncoder(**sizes, rngs=nnx.Rngs(0))
