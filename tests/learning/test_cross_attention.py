"""The re-ranker: what it attends to, what moves its scores, and its loss beside the converse."""

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

from rdsim.learning.families import reranking, stored_embeddings
from rdsim.learning.families.catalogue import fit_family
from rdsim.learning.families.dual_encoder import grouped_scores
from rdsim.learning.families.pairs import array_pairs
from rdsim.learning.held_out_points import held_out_point
from rdsim.learning.training.networks import architecture
from rdsim.learning.training.schedule import Schedule

WIDTH, HEADS, TOKENS = 6, 2, 3
attended = jax.jit(lambda model, tokens, items: model.attend(tokens, items))
scored = jax.jit(lambda model, queries, items: model.scores(queries, items))


@functools.cache
def ranker(seed=0, modalities=TOKENS):
    return family.built(
        architecture(
            reranking.CrossAttention, modalities=modalities, size=2, width=WIDTH, heads=HEADS
        ),
        seed,
    )


def drawn(seed, *shapes):
    generator = np.random.default_rng(seed)
    return [generator.normal(size=shape).astype(np.float32) for shape in shapes]


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), order=st.permutations(range(TOKENS)))
def test_attention_is_a_distribution_that_moves_with_the_tokens(seed, order):
    model = ranker()
    tokens, items = drawn(seed, (4, TOKENS, WIDTH), (5, WIDTH))
    shares, seen = map(np.asarray, attended(model, tokens, items))
    assert shares.shape == (4, 5, HEADS, TOKENS)
    np.testing.assert_allclose(shares.sum(axis=-1), 1.0, rtol=1e-5)
    moved, same = map(np.asarray, attended(model, tokens[:, list(order)], items))
    np.testing.assert_allclose(moved, shares[..., list(order)], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(same, seen, rtol=1e-4, atol=1e-5)


@settings(max_examples=10)
@given(seed=st.integers(0, 1000))
def test_attention_is_the_formula_pair_by_pair(seed):
    model = ranker()
    tokens, items = drawn(seed, (4, TOKENS, WIDTH), (5, WIDTH))
    layer = model.projections.layers[0]
    maps = np.asarray(layer.kernel[...]), np.asarray(layer.bias[...])
    to_wanted, to_offered, to_values = [
        lambda x, i=i: (x @ maps[0][i] + maps[1][i]).reshape(*x.shape[:-1], HEADS, -1)
        for i in range(3)
    ]
    shares, seen = map(np.asarray, attended(model, tokens, items))
    for n, m in np.ndindex(4, 5):
        average = []
        for h in range(HEADS):
            product = to_offered(tokens[n])[:, h] @ to_wanted(items[m])[h]
            weight = np.exp(product / np.sqrt(WIDTH / HEADS))
            weight /= weight.sum()
            np.testing.assert_allclose(shares[n, m, h], weight, rtol=1e-4, atol=1e-6)
            average.append(weight @ to_values(tokens[n])[:, h])
        np.testing.assert_allclose(seen[n, m], np.concatenate(average), rtol=1e-4, atol=1e-5)


def test_scores_of_modalities_with_their_networks_do_not_depend_on_their_order():
    model = ranker()
    queries, items = drawn(1, (4, TOKENS, 2), (5, 2))
    order = [2, 0, 1]
    graph, state = nnx.split(model)
    state["networks"] = jax.tree.map(lambda leaf: leaf[jnp.array(order)], state["networks"])
    found = scored(nnx.merge(graph, state), queries[:, order], items)
    np.testing.assert_allclose(found, scored(model, queries, items), rtol=1e-4, atol=1e-5)
    assert np.abs(scored(model, queries[:, order], items) - found).max() > 1e-3


def test_scores_move_with_queries_and_candidates():
    model = ranker()
    queries, items = drawn(2, (4, TOKENS, 2), (5, 2))
    found = np.asarray(scored(model, queries, items))
    rows, columns = np.array([2, 0, 3, 1]), np.array([4, 1, 0, 2, 3])
    moved = np.asarray(scored(model, queries[rows], items[columns]))
    np.testing.assert_allclose(moved, found[rows][:, columns], rtol=1e-4, atol=1e-5)
    assert np.ptp(found, axis=0).min() > 1e-4
    assert np.ptp(found, axis=1).min() > 1e-4


def test_groups_are_blocks_of_the_table_of_all_pairs():
    model = ranker()
    queries, items = drawn(3, (8, TOKENS, 2), (8, 2))
    found = np.asarray(grouped_scores(model, queries, items, 4))
    table = np.asarray(scored(model, queries, items))
    np.testing.assert_allclose(found[0], table[:4, :4], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[1], table[4:, 4:], rtol=1e-4, atol=1e-5)


def test_no_re_ranker_beats_the_converse_and_training_helps(monkeypatch):
    floor = family.converse() - family.MARGIN
    learner = family.learner(reranking.cross_attention_learner)
    start = family.measured_loss(family.untrained(family.built(learner.build, 1)))
    found = family.trained(learner)
    assert found.recorded["information"][:, -1].min() > 2.0
    monkeypatch.setattr(stored_embeddings, "fitted_models", lambda *_, settings: [found.model(0)])
    fitted = fit_family(
        jax.random.key(1),
        "cross-attention",
        family.SOURCE,
        bits=(family.BITS,),
        schedule=family.SCHEDULE,
        training=family.TRAINING,
    )
    trained = family.measured_loss(fitted[0])
    assert min(start, trained) >= floor
    assert trained < start - 2 * family.MARGIN


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": 3}, "heads must divide the width 16, got 3"),
        ({"heads": 0}, "heads must be at least 1, got 0"),
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"modalities": 0}, "modalities must be at least 1, got 0"),
        ({"size": 0}, "features must be at least 1, got 0"),
    ],
)
def test_bad_sizes(arguments, message):
    build = architecture(reranking.CrossAttention, **{"modalities": 2, "size": 2} | arguments)
    with pytest.raises(ValueError, match=re.escape(message)):
        build(nnx.Rngs(0))


@pytest.mark.parametrize(("candidates", "groups", "size"), [(3, 2, 3), (8, 1, 8), (32, 1, 8)])
def test_pairs_that_do_not_fill_a_group_are_left_out(candidates, groups, size):
    model = ranker()
    queries, items = drawn(3, (8, TOKENS, 2), (8, 2))
    found = np.asarray(grouped_scores(model, queries, items, candidates))
    table = np.asarray(scored(model, queries, items))
    assert found.shape == (groups, size, size)
    for group in range(groups):
        rows = slice(group * size, (group + 1) * size)
        np.testing.assert_allclose(found[group], table[rows, rows], rtol=1e-4, atol=1e-5)


def test_a_group_of_one_is_refused():
    queries, items = drawn(3, (8, TOKENS, 2), (8, 2))
    with pytest.raises(ValueError, match="candidates must be at least 2, got 1"):
        grouped_scores(ranker(), queries, items, 1)


@pytest.mark.parametrize("name", ["cross-attention", "distilled", "region attention"])
def test_any_number_of_pairs_can_be_held_out(name):
    x, y = np.random.default_rng(0).normal(size=(2, 60, 2))
    pairs = array_pairs(jax.random.key(0), x, y, held_out=20)
    plan = Schedule(steps=1, evaluate_every=1)
    (system,) = fit_family(jax.random.key(1), name, pairs, bits=(2,), schedule=plan)
    assert held_out_point(jax.random.key(2), system, x, y).ahead.shape == (60,)
