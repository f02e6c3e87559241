"""Families that learn from a graph of neighbours, or from two sets without pairs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from rdsim.learning.families.beyond_pairs import UnpairedFamily, graph, unpaired
from rdsim.learning.families.catalogue import fit_family
from rdsim.learning.families.pairs import array_pairs
from rdsim.learning.held_out_points import held_out_point
from rdsim.learning.training.networks import architecture
from rdsim.learning.training.schedule import Schedule

KEY = jax.random.key(0)


@given(st.integers(0, 10**6))
def test_messages_are_means_over_the_nearest_nodes(seed):
    generator = np.random.default_rng(seed)
    x, y = generator.normal(size=(20, 3)), generator.normal(size=(20, 2))
    own = np.concatenate([x, y], axis=1)

    def means(points, nodes, features):
        order = np.argsort(((points[:, None] - nodes) ** 2).sum(-1), axis=1)[:, :8]
        return features[order].mean(axis=1)

    once = 0.5 * (means(x, x, own) + means(y, y, own))
    made = graph.pair_graph(jnp.asarray(x), jnp.asarray(y))
    features = np.concatenate([own, once], axis=1)
    np.testing.assert_allclose(made[2], features, rtol=0, atol=1e-12)
    new = generator.normal(size=(5, 2))
    expected = np.concatenate([new, means(new, y, features)], axis=1)
    np.testing.assert_allclose(graph.item_features(made, new), expected, rtol=0, atol=1e-12)
    queries = generator.normal(size=(5, 1, 3))
    flat = queries[:, 0]
    expected = np.concatenate([flat, means(flat, x, features)], axis=1)[:, None]
    np.testing.assert_allclose(graph.query_features(made, queries), expected, rtol=0, atol=1e-12)


def test_no_node_of_the_graph_is_trained_on(monkeypatch):
    seen = []

    def first_model(key, learner, data, _schedule):
        seen.append(data)
        return [learner.build(nnx.Rngs(key))]

    monkeypatch.setattr(graph, "fitted_models", first_model)
    x = np.random.default_rng(0).normal(size=(60, 2))
    pairs = array_pairs(KEY, x, x, held_out=10)
    graph.graph_family(jax.random.split(KEY, 3), pairs, (2,), Schedule(steps=0))
    (around,) = seen
    np.testing.assert_array_equal(around.sample[1][:, :2], pairs.sample[1][25:])
    assert len(around.held_out[1]) == 10


def test_energy_distance_is_that_of_all_pairs_and_zero_of_equal_samples():
    generator = np.random.default_rng(1)
    a, b = (jnp.asarray(generator.normal(size=(n, 3)) + n) for n in (7, 5))

    def mean(one, other):
        return np.sqrt(((one[:, None] - other) ** 2).sum(-1)).mean()

    expected = 2 * mean(a, b) - mean(a, a) - mean(b, b)
    assert expected > 0.3
    np.testing.assert_allclose(unpaired.energy_distance(a, b), expected, rtol=0, atol=1e-3)
    assert abs(float(unpaired.energy_distance(a, a[::-1]))) < 1e-12
    slope = jax.grad(unpaired.energy_distance)(a, b)
    assert bool(jnp.all(jnp.isfinite(slope)))


def test_the_loss_of_translations_is_that_of_its_terms():
    learner = unpaired.TranslationLearner(
        build=architecture(unpaired.Translators, query_size=2, item_size=3, hidden=(4,)),
        cycle=0.7,
        known=0.3,
    )
    model = learner.build(nnx.Rngs(0))
    generator = np.random.default_rng(2)
    x, y = generator.normal(size=(9, 1, 2)), generator.normal(size=(9, 3))
    known = np.arange(9) < 4
    value, _ = learner.loss(model, (x, y, jnp.asarray(known.astype(int))), KEY, 0.0, 0.0)
    flat = x[:, 0]
    to_item, to_query = np.asarray(model.to_item(flat)), np.asarray(model.to_query(y))
    back = np.mean((np.asarray(model.to_query(to_item)) - flat) ** 2)
    back += np.mean((np.asarray(model.to_item(to_query)) - y) ** 2)
    right = np.mean((to_item - y)[known] ** 2) + np.mean((to_query - flat)[known] ** 2)
    alike = sum(
        unpaired.energy_distance(jnp.asarray(made), jnp.asarray(there))
        for made, there in ((to_item, y), (to_query, flat))
    )
    np.testing.assert_allclose(value, alike + 0.7 * back + 0.3 * right, rtol=1e-4)


def test_pairs_that_are_not_known_are_taken_apart():
    x, y = jnp.arange(40.0)[:, None, None], jnp.arange(40.0)[:, None]
    queries, items, known = unpaired.without_pairs(KEY, (x, y, jnp.zeros(40, int)), 0.25)
    together = np.asarray(queries)[:, 0, 0] == np.asarray(items)[:, 0]
    np.testing.assert_array_equal(known, np.arange(40) < 10)
    assert together[:10].all()
    # A random permutation of 30 leaves more than nine in place once in 10^7.
    assert together[10:].sum() <= 9
    np.testing.assert_array_equal(np.sort(np.asarray(items)[:, 0]), np.arange(40))


def test_without_a_known_pair_the_distributions_alone_tell_the_translation():
    # Items are skewed along the line, so that no other map of queries has their distribution.
    generator = np.random.default_rng(3)
    y = generator.exponential(size=(1024, 1)) - 1
    x = 2 * y + 0.05 * generator.normal(size=(1024, 1))
    pairs = array_pairs(KEY, x[256:], y[256:])
    (system,) = fit_family(
        KEY,
        UnpairedFamily(paired=0.0),
        pairs,
        bits=(4,),
        schedule=Schedule(steps=200, evaluate_every=50),
    )
    point = held_out_point(KEY, system, x[:256], y[:256])
    rank = np.mean((point.ahead + (point.tied - 1) / 2) / 255)
    # Hoeffding: of 256 ranks given by chance the mean is below a third once in 10^6.
    assert rank < 1 / 3


def test_a_share_of_pairs_beyond_one_is_named():
    with pytest.raises(ValueError, match="paired"):
        UnpairedFamily(paired=1.5)
