"""Adversarial alignment: the reversed gradient, the two players, and the accuracy that falls."""

import functools

import family_losses as family
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim.learning.families import adversarial, stored_embeddings
from rdsim.learning.families.catalogue import fit_family
from rdsim.learning.families.dual_encoder import info_nce_loss
from rdsim.learning.training.networks import architecture
from rdsim.learning.training.schedule import Schedule

LEARNER = adversarial.AdversarialLearner(
    build=architecture(adversarial.AlignedEncoder, modalities=2, size=2)
)


@jax.jit
def reversed_slopes(x, weights, strength):
    def value(x, strength):
        return jnp.sum(weights * jnp.sin(adversarial.reverse_gradient(x, strength)))

    return jax.value_and_grad(value, argnums=(0, 1))(x, strength)


@settings(max_examples=20)
@given(
    values=st.lists(st.floats(-3.0, 3.0), min_size=3, max_size=3),
    strength=st.floats(0.0, 5.0),
)
def test_the_gradient_is_reversed_exactly_and_the_value_is_kept(values, strength):
    x, weights = jnp.asarray(values), jnp.asarray([1.0, -2.0, 0.5])
    value, (slope, of_strength) = reversed_slopes(x, weights, strength)
    np.testing.assert_allclose(value, np.sum(weights * np.sin(x)), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(slope, -strength * weights * np.cos(x), rtol=1e-12, atol=1e-12)
    assert of_strength == 0


@functools.cache
def batch():
    return family.SOURCE.sample(jax.random.key(4), (24,))


@functools.cache
def slopes(strength):
    """Gradients of the learner's loss, of InfoNCE and of the discriminator's cross-entropy."""
    graph, state = nnx.split(family.built(LEARNER.build, 2))
    queries, items, _ = batch()

    def whole(state):
        setting = jnp.float32(strength)
        return LEARNER.loss(
            nnx.merge(graph, state), batch(), jax.random.key(0), setting, jnp.float32(1.0)
        )[0]

    def contrast(state):
        return info_nce_loss(nnx.merge(graph, state).scores(queries, items))

    def game(state):
        model = nnx.merge(graph, state)
        item = jax.nn.sigmoid(model.discriminator(model.embed_items(items))[..., 0])
        query = jax.nn.sigmoid(model.discriminator(model.embed_queries(queries))[..., 0])
        return -0.5 * (jnp.mean(jnp.log(item)) + jnp.mean(jnp.log1p(-query)))

    return [jax.jit(jax.value_and_grad(part))(state) for part in (whole, contrast, game)]


def _players(gradient):
    """Gradient of the encoders and of the discriminator, each as one vector."""
    sides = {"encoders": [], "discriminator": []}
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        adversary = "discriminator" in jax.tree_util.keystr(path)
        sides["discriminator" if adversary else "encoders"].append(np.ravel(leaf))
    return {name: np.concatenate(leaves) for name, leaves in sides.items()}


def test_encoders_play_against_the_discriminator():
    strength = 0.7
    (value, whole), (nce, contrast), (_, game) = slopes(strength)
    assert float(value) == pytest.approx(float(nce), rel=1e-6, abs=0)
    reached = strength * np.tanh(5.0)
    players = [_players(part) for part in (whole, contrast, game)]
    for name, share in (("encoders", -reached), ("discriminator", 1.0)):
        found, first, second = (player[name] for player in players)
        assert np.abs(second).max() > 1e-3
        np.testing.assert_allclose(found, first + share * second, rtol=2e-4, atol=2e-6)
    assert not players[1]["discriminator"].any()


def test_accuracy_weighs_items_and_queries_a_half_each():
    model = family.built(LEARNER.build, 2)
    queries, items, _ = batch()
    entropy, accuracy = model.discriminate(queries, items, 1.0)
    item = np.asarray(model.discriminator(model.embed_items(items))[..., 0], float)
    query = np.asarray(model.discriminator(model.embed_queries(queries))[..., 0], float)
    assert query.shape == (24, 2)
    assert float(accuracy) == pytest.approx(0.5 * np.mean(item > 0) + 0.5 * np.mean(query < 0))
    wanted = 0.5 * (np.mean(np.log1p(np.exp(-item))) + np.mean(np.log1p(np.exp(query))))
    assert float(entropy) == pytest.approx(wanted, rel=1e-5, abs=0)


@functools.cache
def trained():
    """Two runs without an adversary, two with."""
    schedule = Schedule(steps=300, evaluate_every=50)
    return family.trained(LEARNER, (0.0, 0.0, 1.0, 1.0), schedule)


def test_the_adversary_takes_the_discriminator_to_chance():
    free, aligned = trained().recorded["accuracy"][:, -3:].reshape(2, 2, 3)
    # Without an adversary the noise of a modality gives its queries away.
    assert free.min() > 0.75
    # The players circle around their balance.
    assert abs(aligned.mean() - 0.5) < 0.1
    assert aligned.max() < 0.75
    assert trained().recorded["information"][:, -1].min() > 2.0


def test_no_aligned_system_beats_the_converse(monkeypatch):
    floor = family.converse() - family.MARGIN

    def fitted_models(*_, settings):
        assert settings == (0.5,)
        return [trained().model(2)]

    monkeypatch.setattr(stored_embeddings, "fitted_models", fitted_models)
    fitted = fit_family(
        jax.random.key(1),
        adversarial.AdversarialFamily(strength=0.5),
        family.SOURCE,
        bits=(family.BITS,),
        schedule=family.SCHEDULE,
        training=family.TRAINING,
    )
    start = family.measured_loss(family.untrained(family.built(LEARNER.build, 1)))
    found = family.measured_loss(fitted[0])
    assert min(start, found) >= floor
    assert found < start - 2 * family.MARGIN


@pytest.mark.parametrize("strength", [-0.1, np.inf])
def test_bad_strength(strength):
    with pytest.raises(ValueError, match="strength must lie in"):
        adversarial.AdversarialFamily(strength=strength)
