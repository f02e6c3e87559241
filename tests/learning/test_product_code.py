"""Codes of several learned codebooks against sums written out, and against a planted truth."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rdsim.learning.product_code import ProductCode, group_codewords, product_codes
from rdsim.learning.product_code_learner import ProductCodeLearner, ProductCodeModel
from rdsim.learning.training.schedule import Schedule

KEY = jax.random.key(7)
WORDS = (4, 4, 2, 1)


def code(codewords=WORDS, items=3, queries=2):
    model = ProductCodeModel(items, queries, len(codewords), 4, 5, nnx.Rngs(3))
    model.item.straight.kernel.set_value(2 * model.item.straight.kernel[...])
    model.prior.set_value(jax.random.normal(KEY, model.prior.shape, jnp.float32))
    return ProductCode(
        model=model,
        codewords=codewords,
        item_centre=np.arange(items, dtype=float),
        item_deviation=np.full(items, 2.0),
        query_centre=np.zeros(queries),
        query_deviation=np.ones(queries),
    )


def points(count, dimension, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dimension))


@pytest.mark.parametrize(
    ("bits", "codewords"),
    [(1, (2,)), (4, (16,)), (5, (16, 2)), (8, (16, 16)), (11, (16, 16, 8))],
)
def test_bits_are_dealt_to_codebooks(bits, codewords):
    assert group_codewords(bits) == codewords
    assert math.prod(codewords) == 2**bits


def test_chances_are_those_of_the_words_that_are_used():
    made = code()
    chances = made.channel(points(6, 3))
    np.testing.assert_allclose(chances.sum(axis=2), 1.0, rtol=0, atol=1e-12)
    for group, used in enumerate(WORDS):
        assert (chances[:, group, :used] > 0).all()
        assert (chances[:, group, used:] == 0).all()
    assert made.bits == 5.0


def test_the_towers_see_the_points_in_their_own_units():
    made = code()
    y = points(5, 3)
    logits = np.asarray(made.model.logits(jnp.asarray((y - made.item_centre) / 2.0)), float)[:, 0]
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(made.channel(y)[:, 0], expected, rtol=1e-5)


def test_words_are_drawn_with_their_chances():
    made = code()
    y = np.repeat(points(2, 3), 20_000, axis=0)
    drawn = made.store(KEY, y)
    chances = made.channel(y[::20_000])
    for item, group in itertools.product(range(2), range(len(WORDS))):
        part = drawn[20_000 * item : 20_000 * (item + 1), group]
        share = np.bincount(part, minlength=4) / len(part)
        # 5.5 standard deviations: false alarm below 1e-6 over all the 24 shares.
        room = 5.5 * np.sqrt(chances[item, group] * (1 - chances[item, group]) / len(part))
        assert (np.abs(share - chances[item, group]) <= room + 1e-12).all()
    # Codebooks are independent given the item.
    first, second = drawn[:20_000, 0] == 0, drawn[:20_000, 1] == 0
    product = chances[0, 0, 0] * chances[0, 1, 0]
    assert abs((first & second).mean() - product) < 5.5 * math.sqrt(product / 20_000)


def test_scores_are_sums_over_tables():
    made = code()
    x, y = points(4, 2), points(5, 3, 1)
    digits = made.store(KEY, y)
    tables = np.asarray(made.model.tables(jnp.asarray(x)))
    found = made.query_features(x) @ made.item_features(digits).T
    for q, m in itertools.product(range(4), range(5)):
        expected = sum(tables[q, g, digits[m, g]] for g in range(len(WORDS)))
        assert found[q, m] == pytest.approx(expected, abs=1e-5)


def test_the_rate_is_the_divergence_from_the_priors():
    made = code()
    y = points(5, 3)
    prior = np.asarray(made.model.prior[...], float)
    expected = np.zeros(5)
    for group, used in enumerate(WORDS):
        q = np.exp(prior[group, :used]) / np.exp(prior[group, :used]).sum()
        p = made.channel(y)[:, group, :used]
        expected += (p * np.log2(p / q)).sum(axis=1)
    np.testing.assert_allclose(made.rate(y), expected, rtol=1e-9)


@pytest.mark.parametrize("progress", [0.5, 1.0])
def test_the_loss_is_priced_rate_less_information(progress):
    learner = ProductCodeLearner(items=3, queries=2, groups=2, codewords=4, hidden=5, noise=0.1)
    model = learner.build(nnx.Rngs(0))
    batch = points(16, 2), points(16, 3, 1)

    def loss(slope, codewords):
        setting = {"slope": jnp.float32(slope), "codewords": jnp.asarray(codewords)}
        return learner.loss(model, batch, KEY, setting, jnp.float32(progress))

    value, numbers = loss(0.7, (4, 2))
    assert float(value) == pytest.approx(
        0.7 * float(numbers["rate"]) - float(numbers["information"]), abs=1e-5
    )
    assert 0 < float(numbers["rate"]) <= 3
    assert float(numbers["information"]) <= 4
    # A code of single codewords says nothing, whatever the tables are.
    _, nothing = loss(0.7, (1, 1))
    assert float(nothing["rate"]) == pytest.approx(0, abs=1e-6)
    assert float(nothing["information"]) == pytest.approx(0, abs=1e-5)


def test_every_parameter_that_is_used_has_a_gradient():
    learner = ProductCodeLearner(items=3, queries=2, groups=2, codewords=4, hidden=5)
    graph, state = nnx.split(learner.build(nnx.Rngs(0)))
    setting = {"slope": jnp.float32(0.5), "codewords": jnp.array([4, 2])}
    batch = points(16, 2), points(16, 3, 1)

    def loss(values):
        return learner.loss(nnx.merge(graph, values), batch, KEY, setting, jnp.float32(0.5))[0]

    slopes = jax.grad(loss)(state)
    for tower in ("item", "query"):
        for layer in ("straight", "outer"):
            assert float(jnp.abs(slopes[tower][layer]["kernel"][...]).max()) > 0
    assert float(jnp.abs(slopes["prior"][...][1, :2]).max()) > 0
    assert (np.asarray(slopes["prior"][...][1, 2:]) == 0).all()


def test_training_finds_planted_bits_side_by_side():
    # Items carry six signs, queries show the first three: two bits can tell at most two of them.
    generator = np.random.default_rng(0)
    signs = np.where(generator.random((600, 6)) < 0.5, -1.0, 1.0)
    items = signs + 0.05 * generator.normal(size=signs.shape)
    queries = 7 + 3 * signs[:, :3] + 0.05 * generator.normal(size=(600, 3))
    codes, record = product_codes(
        KEY,
        queries,
        items,
        [2, 5],
        batch=128,
        hidden=8,
        noise=0.05,
        schedule=Schedule(steps=200, learning_rate=2e-2, evaluate_every=50),
    )
    assert [made.bits for made in codes] == [2.0, 5.0]
    best = np.nanmax(record.recorded["information"], axis=1)
    assert 1.6 < best[0] < 2.2
    assert 2.6 < best[1] < 3.2
    # The larger code need not store what no query shows, and pays for what it stores.
    assert codes[0].rate(items).mean() < 2.1
    digits = codes[1].store(KEY, items)
    scores = codes[1].query_features(queries[:50]) @ codes[1].item_features(digits).T
    same = (signs[:50, None, :3] == signs[None, :, :3]).all(axis=2)
    assert np.mean([same[i, np.argmax(scores[i])] for i in range(50)]) > 0.9


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"queries": points(9, 2)}, ValueError, "at least 10 pairs, got 9 and 12 rows"),
        ({"queries": np.full((12, 2), np.inf)}, ValueError, "queries must lie in"),
        ({"items": points(12, 3)[0]}, ValueError, "items must have 2 dimensions"),
        ({"bits": [0]}, ValueError, "bits must be at least 1, got 0"),
        ({"bits": [2.5]}, TypeError, "bits must be an integer"),
        ({"slope": -1.0}, ValueError, "slope must lie in"),
        ({"held_out": 0.9}, ValueError, "held_out must lie in"),
    ],
)
def test_bad_arguments_are_named(change, error, message):
    arguments = {
        "key": KEY, "queries": points(12, 2), "items": points(12, 3), "bits": [2]
    } | change  # fmt: skip
    with pytest.raises(error, match=message):
        product_codes(**arguments)
