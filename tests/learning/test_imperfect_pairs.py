"""Wrong pairs, missing modalities and two tasks: each formula, and each family beside its plain twin."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st
from strategies import joint_pmfs

from rdsim import limits, sources
from rdsim.learning.families.dual_encoder import DualEncoder, DualEncoderFamily, info_nce_loss
from rdsim.learning.families.pairs import array_pairs, fitted_models
from rdsim.learning.families.variants import (
    GapFamily,
    RobustFamily,
    missing_modalities,
    multi_task,
    wrong_pairs,
)
from rdsim.learning.held_out_points import held_out_point
from rdsim.learning.training.networks import architecture
from rdsim.learning.training.schedule import Schedule
from rdsim.sources import DiscreteSource

KEYS = jax.random.split(jax.random.key(0), 3)
SIZES = {"query_size": 2, "item_size": 2, "hidden": (), "dimension": 3}
SHORT = Schedule(steps=120, evaluate_every=60)


def pairs_of(seed, number):
    """Items in three coordinates, seen in two modalities, and four classes by the signs of two."""
    generator = np.random.default_rng(seed)
    items = generator.normal(size=(number, 3))
    noise = generator.normal(size=(number, 2, 3))
    queries = items[:, None] + np.array([[[0.2]], [[0.5]]]).swapaxes(0, 1) * noise
    return queries, items, (items[:, 0] > 0) + 2 * (items[:, 1] > 0)


def mrr(system, queries, items):
    point = held_out_point(jax.random.key(1), system, queries, items)
    return 1 - float(point.losses["reciprocal_rank"].mean)


# --- Wrong pairs


@given(joint=joint_pmfs(), share=st.floats(0.01, 0.95))
def test_C30_scores_made_for_wrong_pairs_order_single_items_rightly(joint, share):
    table = np.asarray(joint) + 1e-3
    right = DiscreteSource(joint=jnp.asarray(table / table.sum()))
    mixed = sources.with_wrong_pairs(right, share=share)
    density, scores = (
        np.log(np.asarray(s.joint) / (np.asarray(s.px)[:, None] * np.asarray(s.py)))
        for s in (right, mixed)
    )
    np.testing.assert_allclose(
        scores, np.log((1 - share) * np.exp(density) + share), rtol=0, atol=1e-9
    )
    rising = np.diff(np.take_along_axis(scores, np.argsort(density, axis=1), axis=1), axis=1)
    assert rising.min(initial=0.0) >= -1e-12
    # Summed letter by letter, they keep the generalized mutual information, not more than all.
    kept = limits.generalized_mutual_information(right.joint, scores)
    assert float(kept.information.lower) <= float(right.mutual_information) + 1e-9


def test_pair_losses_average_to_info_nce_and_weights_leave_out_the_largest():
    scores = jnp.asarray(np.random.default_rng(0).normal(size=(8, 8)), jnp.float32)
    losses, shares = wrong_pairs.pair_losses(scores)
    assert float(losses.mean()) == pytest.approx(float(info_nce_loss(scores)), rel=1e-5, abs=0)
    forward = np.exp(np.diag(scores)) / np.exp(scores).sum(1)
    backward = np.exp(np.diag(scores)) / np.exp(scores).sum(0)
    np.testing.assert_allclose(shares, 0.5 * (forward + backward), rtol=0, atol=1e-6)
    kept = np.asarray(wrong_pairs.least_losses(losses, 0.25))
    assert kept.sum() == 6
    assert np.asarray(losses)[kept == 1].max() < np.asarray(losses)[kept == 0].min()
    trust = np.asarray(wrong_pairs.trusted(losses, 0.25))
    assert (np.diff(trust[np.argsort(losses)]) <= 0).all()
    assert ((trust > 0) & (trust < 1)).all()


@pytest.mark.parametrize("rule", wrong_pairs.RULES)
def test_the_gradient_of_a_wrong_pair_is_that_of_its_loss(rule):
    twins = rule == "co-dividing"
    learner = wrong_pairs.RobustLearner(
        build=architecture(wrong_pairs.TwinEncoders if twins else DualEncoder, **SIZES), rule=rule
    )
    model = learner.build(nnx.Rngs(0))
    generator = np.random.default_rng(1)
    x, y = (jnp.asarray(generator.normal(size=shape)) for shape in ((8, 1, 2), (8, 2)))
    value, record = learner.loss(model, (x, y), KEYS[0], jnp.float32(0.25), jnp.float32(1.0))
    losses, shares = map(np.asarray, wrong_pairs.pair_losses(model.scores(x, y)))
    assert float(record["share"]) == pytest.approx(shares.mean(), rel=1e-5, abs=0)
    if rule == "plain":
        expected = losses.mean()
    elif rule == "symmetric":
        expected = (0.5 * losses + 4 * (1 - shares)).mean()
    elif twins:
        others = np.asarray(wrong_pairs.pair_losses(model.other.scores(x, y))[0])
        # Each is averaged over the six pairs that the other finds easiest.
        expected = losses[np.argsort(others)[:6]].mean() + others[np.argsort(losses)[:6]].mean()
    else:
        trust = np.asarray(wrong_pairs.trusted(jnp.asarray(losses), 0.25))
        cosines = np.asarray(model.embed_queries(x) @ model.embed_items(y).T)
        expected = 0.0
        for i in range(8):
            for j in set(range(8)) - {i}:
                for other in (cosines[i, j], cosines[j, i]):
                    expected += (
                        trust[i] * max(0.3 * trust[i] + other - cosines[i, i], 0) / (2 * 8 * 7)
                    )
    assert float(value) == pytest.approx(expected, rel=1e-4, abs=0)


def test_co_dividing_bears_wrong_pairs_better_than_the_plain_loss():
    queries, items, _ = pairs_of(0, 1400)
    wrong = np.array(queries)
    wrong[:560] = queries[np.roll(np.arange(560), 1)]
    pairs = array_pairs(jax.random.key(0), wrong[:1024], items[:1024])
    found = {}
    for rule in ("plain", "co-dividing"):
        family = RobustFamily(rule=rule, share=560 / 1024)
        (system,) = family(KEYS, pairs, (12,), Schedule(steps=300, evaluate_every=60))
        found[rule] = mrr(system, queries[1024:], items[1024:])
    assert found["co-dividing"] > found["plain"] > 4 * np.mean(1 / np.arange(1, 377))


# --- Missing modalities


@given(there=st.lists(st.booleans(), min_size=3, max_size=3), seed=st.integers(0, 100))
def test_predictions_are_conditional_means(there, seed):
    generator = np.random.default_rng(seed)
    root, mean = generator.normal(size=(6, 6)), generator.normal(size=6)
    covariance = root @ root.T + 0.1 * np.eye(6)
    x = generator.normal(size=(3, 2)) * np.array(there)[:, None]
    seen = np.repeat(there, 2)
    expected = np.where(seen, x.ravel(), mean)
    if seen.any() and not seen.all():
        block = covariance[np.ix_(seen, seen)]
        shift = np.linalg.solve(block, x.ravel()[seen] - mean[seen])
        expected[~seen] = mean[~seen] + covariance[np.ix_(~seen, seen)] @ shift
    found = missing_modalities.predicted(
        (jnp.asarray(mean), jnp.asarray(covariance)), jnp.asarray(x)
    )
    np.testing.assert_allclose(np.ravel(found), expected, rtol=1e-7, atol=1e-8)


def test_gaps_leave_every_set_that_is_not_empty_equally_often():
    queries = jnp.ones((7000, 3, 2))
    left = np.asarray(missing_modalities.present(missing_modalities.with_gaps(KEYS[0], queries)))
    counts = np.bincount(left @ np.array([1, 2, 4]), minlength=8)
    assert counts[0] == 0
    # A count of mean 1000 and standard deviation 29 is 200 off with probability below 1e-10.
    assert np.abs(counts[1:] - 1000).max() < 200


def test_scores_of_experts_are_the_density_of_the_product():
    model = missing_modalities.ExpertEncoder(
        modalities=2, size=3, item_size=3, hidden=(), dimension=2, rngs=nnx.Rngs(0)
    )
    x = np.random.default_rng(0).normal(size=(1, 2, 3)) * np.array([[[1.0], [0.0]]])
    v = np.random.default_rng(1).normal(size=(4, 2))
    out = np.asarray(jax.tree.map(lambda leaf: leaf[0], model.experts)(x[:, 0]))[0]
    eta, precision = out[:2], np.exp(8 * np.tanh(out[2:] / 8))
    # p(v|x) is normal with precision 1 + Lambda and mean eta / (1 + Lambda); p(v) is standard.
    total = 1 + precision
    log_ratio = (-0.5 * total * (v - eta / total) ** 2 + 0.5 * v**2).sum(1)
    scores = np.asarray(model.compare(x, v))[0]
    np.testing.assert_allclose(np.diff(scores), np.diff(log_ratio), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "family",
    [
        GapFamily(reading="prediction"),
        GapFamily(reading="experts", gaps=True),
        GapFamily(reading="padding", gaps=True),
    ],
    ids=lambda family: family.reading,
)
def test_readings_of_gaps_find_more_than_zeros_in_their_place(family):
    queries, items, _ = pairs_of(0, 1400)
    pairs = array_pairs(jax.random.key(0), queries[:1024], items[:1024])
    lacking = queries[1024:] * np.array([[0.0], [1.0]])
    (system,) = family(KEYS, pairs, (8,), SHORT)
    (padded,) = GapFamily(reading="padding")(KEYS, pairs, (8,), SHORT)
    found, without = mrr(system, lacking, items[1024:]), mrr(padded, lacking, items[1024:])
    assert found > without
    # What is missing is missed: complete queries find more.
    assert mrr(system, queries[1024:], items[1024:]) > found


# --- Two tasks


def test_the_loss_of_two_tasks_is_their_sum_and_leaves_out_unknown_classes():
    build = architecture(multi_task.LabelledEncoder, classes=3, **SIZES)
    model = build(nnx.Rngs(0))
    generator = np.random.default_rng(2)
    x, y = (jnp.asarray(generator.normal(size=shape)) for shape in ((4, 1, 2), (4, 2)))
    classes = jnp.array([0, 2, -1, 1])
    learner = multi_task.MultiTaskLearner(build=build, weight=2.0)
    value, record = learner.loss(model, (x, y, classes))
    sides = model.embed_queries(x), model.embed_items(y)
    logs = [np.asarray(model.class_scores(side)) for side in sides]
    own = sum(log[row, label] for log in logs for row, label in ((0, 0), (1, 2), (3, 1)))
    expected = float(info_nce_loss(model.scores(x, y))) + 2.0 * -own / 8
    assert float(value) == pytest.approx(expected, rel=1e-5, abs=0)
    right = [logs[0][row].argmax() == label for row, label in ((0, 0), (1, 2), (3, 1))]
    assert float(record["accuracy"]) == pytest.approx(np.mean(right), rel=1e-6, abs=0)


def test_two_tasks_are_learned_at_once():
    queries, items, classes = pairs_of(0, 1400)
    pairs = array_pairs(jax.random.key(0), queries[:1024], items[:1024], classes=classes[:1024])
    learner = multi_task.multi_task_encoder(pairs)
    (model,) = fitted_models(KEYS[0], learner, pairs, SHORT)
    guessed = np.argmax(
        model.class_scores(model.embed_queries(jnp.asarray(queries[1024:]))), axis=1
    )
    assert np.mean(guessed == classes[1024:]) > 0.75
    (system,) = DualEncoderFamily(learner=multi_task.multi_task_encoder)(KEYS, pairs, (8,), SHORT)
    assert mrr(system, queries[1024:], items[1024:]) > 5 * np.mean(1 / np.arange(1, 377))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: wrong_pairs.RobustFamily(rule="none"), "rule must be one of"),
        (lambda: wrong_pairs.RobustFamily(rule="plain", share=1.0), r"share must lie in \[0, 1\)"),
        (lambda: wrong_pairs.RobustFamily(rule="plain", quantizer="x"), "quantizer must be one of"),
        (lambda: GapFamily(reading="zeros"), "reading must be"),
        (lambda: GapFamily(reading="prediction", gaps=True), "gaps must be False"),
        (
            lambda: multi_task.multi_task_encoder(
                array_pairs(KEYS[0], *pairs_of(0, 64)[:2], held_out=8)
            ),
            "two classes or more",
        ),
    ],
)
def test_bad_options_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
