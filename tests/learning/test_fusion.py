"""Fusion: where modalities meet, and what each way of meeting can and cannot compute."""

import functools
import re

import family_losses as family
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim.learning.families import fusion, stored_embeddings
from rdsim.learning.families.catalogue import fit_family
from rdsim.learning.training.networks import MLP, architecture, of_each, stacked_networks


def encoder(name, seed=0):
    build = architecture(
        fusion.FusedEncoder, fusion=name, modalities=2, size=2, hidden=(5,), dimension=3
    )
    return family.built(build, seed)


@functools.cache
def points(seed=0):
    keys = jax.random.split(jax.random.key(seed))
    return jax.random.normal(keys[0], (4, 2, 2)), jax.random.normal(keys[1], (6, 2))


scored = jax.jit(lambda model, queries, items: model.scores(queries, items))


def by_hand(network, x, row=None):
    """A perceptron in NumPy, float64; of stacked ones, that of a row."""
    layers = [
        (np.asarray(part.kernel[...], float), np.asarray(part.bias[...], float))
        for part in network.layers
    ]
    if row is not None:
        layers = [(kernel[row], bias[row]) for kernel, bias in layers]
    for i, (kernel, bias) in enumerate(layers):
        x = x @ kernel + bias
        if i + 1 < len(layers):
            x = gelu(x)
    return x


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


@settings(max_examples=8)
@given(seed=st.integers(0, 1000), log_temperatures=st.tuples(*[st.floats(-2.0, 2.0)] * 2))
def test_late_fusion_adds_the_scores_of_modalities_over_their_temperatures(seed, log_temperatures):
    model = encoder("late", seed)
    model.log_temperatures[...] = jnp.asarray(log_temperatures, jnp.float32)
    queries, items = map(np.asarray, points(seed))
    wanted = np.zeros((4, 6))
    for n, m in np.ndindex(4, 6):
        for k in range(2):
            gap = by_hand(model.networks, queries[n, k], k) - by_hand(model.item_network, items[m])
            wanted[n, m] -= gap @ gap / (2 * np.exp(log_temperatures[k]))
    np.testing.assert_allclose(scored(model, queries, items), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["early", "intermediate"])
def test_fused_query_is_compared_by_its_distance(name):
    model = encoder(name)
    model.log_temperatures[...] = jnp.full((1,), 0.7, jnp.float32)
    queries, items = map(np.asarray, points())
    for n, m in np.ndindex(4, 6):
        if name == "early":
            query = by_hand(model.networks, queries[n].reshape(-1), 0)
        else:
            each = [by_hand(model.networks, queries[n, k], k) for k in range(2)]
            query = by_hand(model.head, gelu(each[0] + each[1]))
        gap = query - by_hand(model.item_network, items[m])
        found = float(scored(model, queries, items)[n, m])
        assert found == pytest.approx(-gap @ gap / (2 * np.exp(0.7)), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("name", fusion.FUSIONS)
def test_only_late_fusion_is_additive_in_the_modalities(name):
    model = encoder(name)
    queries, items = points()
    swapped = jnp.stack([queries[:, 0], queries[::-1, 1]], axis=1)
    # Queries (a1, a2), (b1, b2) against (a1, b2), (b1, a2): sums of parts agree.
    gap = np.asarray(
        scored(model, queries, items)
        + scored(model, queries[::-1], items)
        - scored(model, swapped, items)
        - scored(model, swapped[::-1], items)
    )
    assert (np.abs(gap).max() < 1e-4) == (name == "late")


def test_a_modality_of_infinite_temperature_is_left_out():
    model = encoder("late")
    model.log_temperatures[...] = jnp.asarray([0.0, 80.0], jnp.float32)
    queries, items = points()
    other = queries.at[:, 1].add(3.0)
    np.testing.assert_array_equal(scored(model, queries, items), scored(model, other, items))


@pytest.mark.parametrize("name", fusion.FUSIONS)
def test_scores_move_with_queries_and_items(name):
    model = encoder(name)
    queries, items = points()
    found = np.asarray(scored(model, queries, items))
    rows, columns = np.array([2, 0, 3, 1]), np.array([5, 1, 0, 4, 2, 3])
    moved = np.asarray(scored(model, queries[rows], items[columns]))
    np.testing.assert_allclose(moved, found[rows][:, columns], rtol=1e-5, atol=1e-6)


def test_stacked_networks_are_different_networks_side_by_side():
    stacked = jax.jit(lambda: stacked_networks(3, (2, 4, 1), nnx.Rngs(0)))()
    assert isinstance(stacked, MLP)
    x = np.asarray(jax.random.normal(jax.random.key(1), (5, 3, 2)))
    found = np.asarray(of_each(stacked, jnp.asarray(x)))
    wanted = np.stack([by_hand(stacked, x[:, i], i) for i in range(3)], axis=1)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    first = np.asarray(of_each(stacked, jnp.broadcast_to(x[:, :1], x.shape)))
    assert np.abs(first[:, 0] - first[:, 1]).max() > 1e-3


def learner_of(name):
    return family.learner(lambda data: fusion.fusion_learner(data, name))


@functools.cache
def late():
    return family.trained(learner_of("late"))


@pytest.fixture
def fitted(monkeypatch):
    """What the fit returns when it trains as fast as tests must."""
    monkeypatch.setattr(stored_embeddings, "fitted_models", lambda *_, settings: [late().model(0)])
    return fit_family(
        jax.random.key(1),
        "late fusion",
        family.SOURCE,
        bits=(family.BITS,),
        schedule=family.SCHEDULE,
        training=family.TRAINING,
    )[0]


@pytest.mark.parametrize("name", fusion.FUSIONS)
def test_every_fit_trains_the_fusion_of_its_name(name, monkeypatch):
    class TrainedError(Exception):
        pass

    def fitted_models(_key, learner, *_, **_options):
        raise TrainedError(learner)

    monkeypatch.setattr(stored_embeddings, "fitted_models", fitted_models)
    with pytest.raises(TrainedError) as seen:
        fit_family(
            jax.random.key(1),
            f"{name} fusion",
            family.SOURCE,
            bits=(1,),
            schedule=family.SCHEDULE,
            training=family.TRAINING,
        )
    assert seen.value.args == (learner_of(name),)


def test_stored_scores_are_those_of_the_module(fitted):
    code, decoder = fitted
    queries, items, _ = family.SOURCE.sample(jax.random.key(3), (7,))
    graph, (parameters, stored) = decoder.scores.graph, decoder.parameters
    model = nnx.merge(graph, parameters)
    found = jnp.stack([decoder.scores(decoder.parameters, query) for query in queries])
    assert found.dtype == jnp.float64
    np.testing.assert_allclose(found, model.compare(queries, stored), rtol=1e-4, atol=1e-5)
    embedded = np.asarray(model.embed_items(items), float)
    nearest = np.square(embedded[:, None] - np.asarray(stored)).sum(axis=-1).argmin(axis=1)
    np.testing.assert_array_equal(code.encode(jax.random.key(0), items), nearest)


def test_no_fusion_beats_the_converse_and_training_helps(fitted):
    floor = family.converse() - family.MARGIN
    trained = family.measured_loss(fitted)
    start = {
        name: family.measured_loss(family.untrained(family.built(learner_of(name).build, 1)))
        for name in fusion.FUSIONS
    }
    assert min(trained, *start.values()) >= floor
    assert trained < start["late"] - 2 * family.MARGIN
    assert late().recorded["information"][:, -1].min() > 2.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fusion": "middle"}, "fusion must be one of 'early', 'intermediate', 'late'"),
        ({"modalities": 0}, "modalities must be at least 1, got 0"),
        ({"hidden": ()}, "hidden must have one width or more"),
        ({"dimension": 0}, "features must be at least 1, got 0"),
        ({"size": 0}, "features must be at least 1, got 0"),
    ],
)
def test_bad_sizes(arguments, message):
    sizes = {"fusion": "early", "modalities": 2, "size": 2} | arguments
    with pytest.raises(ValueError, match=re.escape(message)):
        architecture(fusion.FusedEncoder, **sizes)(nnx.Rngs(0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"training": 1}, "training must be at least 2, got 1"),
        (
            {"bits": (13,)},
            "bits must be at most 6 with 3 coordinates and 16 training items, got 13",
        ),
    ],
)
def test_bad_fits(arguments, message):
    if "bits" in arguments:
        items = family.SOURCE.sample(jax.random.key(0), (16,))[1]
        with pytest.raises(ValueError, match=re.escape(message)):
            stored_embeddings.stored_systems(
                jax.random.key(0), encoder("late"), items, arguments["bits"]
            )
    else:
        with pytest.raises(ValueError, match=re.escape(message)):
            fit_family(
                jax.random.key(0),
                "early fusion",
                family.SOURCE,
                bits=(2,),
                schedule=family.SCHEDULE,
                **arguments,
            )
