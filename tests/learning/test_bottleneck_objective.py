import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import strategies as sts
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim import limits, sources
from rdsim.learning.stochastic.bottleneck_objective import (
    Bounds,
    Pairs,
    StochasticCodeLearner,
    information_bounds,
)
from rdsim.learning.stochastic.letters import (
    LetterBatch,
    discrete_code,
    exact_point,
    letter_table,
)
from rdsim.learning.training.batches import whole_data
from rdsim.learning.training.loop import train
from rdsim.learning.training.schedule import Schedule

SHAPE = (3, 4)
LEARNER = StochasticCodeLearner(
    item_dimension=4, query_dimension=3, codewords=5, hidden=(6,), temperatures=(2.0, 0.5)
)
SOFT, HARD = (
    StochasticCodeLearner(
        item_dimension=4,
        query_dimension=3,
        codewords=5,
        hidden=(6,),
        temperatures=(2.0, 0.5),
        relaxation=relaxation,
    )
    for relaxation in ("gumbel", "straight_through")
)
GRAPH = nnx.split(LEARNER.build(nnx.Rngs(0)))[0]


@jax.jit
def random_state(key, spread):
    """Parameters far from their first values: confident, lopsided codes."""
    state = nnx.split(LEARNER.build(nnx.Rngs(key)))[1]
    leaves, tree = jax.tree.flatten(state)
    keys = jax.random.split(key, len(leaves))
    noise = [jax.random.normal(k, x.shape, jnp.float32) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(tree, [x + spread * n for x, n in zip(leaves, noise, strict=True)])


def random_model(seed, spread):
    return nnx.merge(GRAPH, random_state(jax.random.key(seed), jnp.float32(spread)))


@functools.partial(jax.jit, static_argnames="graph")
def jitted_bounds(state, batch, graph=GRAPH):
    return information_bounds(nnx.merge(graph, state), batch)


def bounds_of(model, batch):
    graph, state = nnx.split(model)
    assert graph == GRAPH
    return Bounds(*(float(value) for value in jitted_bounds(state, batch)))


def by_sums(joint, channel, prior, posterior):
    """I_upper and I_lower of the whole table, in float64, one cell after the other."""
    rate = relevance = 0.0
    mean = joint.sum(axis=0) @ channel
    for u, mass in enumerate(mean):
        relevance -= mass * np.log2(mass) if mass > 0 else 0.0
        for y, chance in enumerate(channel[:, u]):
            if chance > 0:
                rate += joint[:, y].sum() * chance * np.log2(chance / prior[u])
            for x in range(joint.shape[0]):
                relevance += joint[x, y] * chance * np.log2(posterior[x, u])
    return rate, relevance


seeds = st.integers(0, 2**31 - 1)
spreads = st.sampled_from((0.0, 0.5, 2.0))


@settings(max_examples=25)
@given(sts.joint_pmfs(SHAPE), seeds, spreads)
def test_C4_the_bounds_of_the_whole_table_are_bounds(joint, seed, spread):
    source = sources.discrete(joint)
    model = random_model(seed, spread)
    code = discrete_code(model, source)
    bounds = bounds_of(model, letter_table(source))
    # float32: a log probability of some tens carries an error of some 1e-6 of itself.
    room = 2e-5 * (1 + spread) ** 2
    assert bounds.rate >= float(code.rate) - room
    assert bounds.relevance <= float(code.relevance) + room
    posterior = np.exp(np.asarray(model.log_posterior(jnp.eye(3)[:, None, :]), float))
    prior = np.exp(np.asarray(model.log_prior(), float))
    expected = by_sums(joint, np.asarray(code.channel), prior, np.maximum(posterior, 1e-300))
    np.testing.assert_allclose(bounds[:2], expected, rtol=1e-4, atol=room)
    np.testing.assert_allclose(bounds.index_entropy, code.index_entropy, rtol=0, atol=room)


@settings(max_examples=10)
@given(sts.joint_pmfs(SHAPE), seeds)
def test_the_bounds_are_tight_where_prior_and_decoder_are_the_true_distributions(joint, seed):
    joint = 0.9 * joint + 0.1 / joint.size
    source = sources.discrete(joint)
    model = random_model(seed, 0.5)
    code = discrete_code(model, source)
    through = np.asarray(joint @ code.channel)
    # A decoder without hidden activity: its last bias cannot depend on x, so the table goes in
    # through the linear layer that replaces both.
    model.prior_logits[...] = jnp.log(code.output_marginal).astype(jnp.float32)
    density = np.log(through / through.sum(0) / through.sum(1, keepdims=True))
    model.log_temperature[...] = jnp.zeros(1, jnp.float32)
    model.query_encoders[0] = _Table(density)
    found = information_bounds(model, letter_table(source))
    np.testing.assert_allclose(found.rate, code.rate, rtol=0, atol=2e-5)
    np.testing.assert_allclose(found.relevance, code.relevance, rtol=0, atol=2e-5)


class _Table(nnx.Module):
    def __init__(self, table):
        self.table = nnx.Param(jnp.asarray(table, jnp.float32))

    def __call__(self, letters):
        return letters @ self.table[...]


def test_C4_the_bounds_hold_in_expectation_over_small_batches():
    # Ten thousand batches of four pairs: standard errors below 1e-3, so that five of them are an
    # error probability of 1e-6, while the deficit of H of a mean over four pairs is over a tenth.
    source = sources.discrete(
        np.array([[0.3, 0.1, 0.0, 0.05], [0.0, 0.2, 0.1, 0.0], [0, 0, 0, 0.25]])
    )
    model = random_model(1, 0.5)
    graph, state = nnx.split(model)

    @jax.jit
    def batches(state):
        keys = jax.random.split(jax.random.key(5), 10_000)
        return jax.lax.map(
            lambda key: information_bounds(nnx.merge(graph, state), LetterBatch(4)(key, source)),
            keys,
            batch_size=500,
        )

    found = batches(state)
    code = discrete_code(model, source)
    whole = bounds_of(model, letter_table(source))
    error = [float(jnp.std(value)) / 100 for value in found]
    mean = [float(jnp.mean(value)) for value in found]
    assert mean[0] >= float(code.rate) - 5 * error[0]
    np.testing.assert_allclose(mean[0], whole.rate, rtol=0, atol=5 * error[0])
    assert mean[1] <= float(code.relevance)
    assert mean[2] < float(code.index_entropy) - 10 * error[2]


def loss_of(learner):
    def evaluated(state, batch, key, progress):
        return learner.loss(nnx.merge(GRAPH, state), batch, key, jnp.float32(0.3), progress)[0]

    return jax.jit(evaluated)


LOSSES = {learner: loss_of(learner) for learner in (LEARNER, SOFT, HARD)}
TABLE = letter_table(sources.discrete(np.arange(1.0, 13.0).reshape(SHAPE) / 78))


@pytest.mark.parametrize("learner", [SOFT, HARD], ids=["gumbel", "straight-through"])
def test_an_evaluation_is_the_exact_sum_whatever_the_key(learner):
    state = random_state(jax.random.key(2), jnp.float32(0.5))
    exact = LOSSES[LEARNER](state, TABLE, jax.random.key(0), jnp.float32(1.0))
    for seed in (1, 2):
        judged = LOSSES[learner](state, TABLE, jax.random.key(seed), jnp.float32(1.0))
        np.testing.assert_array_equal(judged, exact)
    drawn = LOSSES[learner](state, TABLE, jax.random.key(1), jnp.float32(0.5))
    assert abs(float(drawn - exact)) > 1e-4
    bounds = information_bounds(nnx.merge(GRAPH, state), TABLE)
    np.testing.assert_allclose(exact, 0.3 * bounds.rate - bounds.relevance, rtol=1e-6)


def test_draws_are_distributions_over_the_codewords_with_the_right_mean_and_temperature():
    log_channel = jnp.log(jnp.array([[0.5, 0.3, 0.2], [0.05, 0.05, 0.9]], jnp.float32))
    keys = jax.random.split(jax.random.key(0), 20_000)

    def drawn(learner, progress):
        return jax.vmap(lambda key: learner.relaxed(key, log_channel, progress))(keys)

    hard, soft, sharp = drawn(HARD, 0.5), drawn(SOFT, 0.0), drawn(SOFT, 1.0)
    assert (jnp.sort(hard, axis=-1) == jnp.array([0, 0, 1.0])).all()
    # Five standard errors of a mean of 20000 chances: an error probability below 1e-6 each.
    np.testing.assert_allclose(hard.mean(axis=0), jnp.exp(log_channel), rtol=0, atol=5 * 0.5 / 141)
    np.testing.assert_allclose(soft.sum(axis=-1), 1.0, rtol=0, atol=1e-5)
    # The same noise: every codeword that is drawn is the largest of the soft ones.
    np.testing.assert_array_equal(jnp.argmax(soft, axis=-1), jnp.argmax(hard, axis=-1))
    assert float(sharp.max(axis=-1).mean()) > float(soft.max(axis=-1).mean()) + 0.2
    log_odds = jnp.log(soft[:, 0, 0] / soft[:, 0, 1])
    np.testing.assert_allclose(
        jnp.log(sharp[:, 0, 0] / sharp[:, 0, 1]), 4 * log_odds, rtol=0, atol=0.02
    )


def test_the_relaxed_gradients_point_where_the_exact_one_does():
    state = random_state(jax.random.key(2), jnp.float32(0.2))
    keys = jax.random.split(jax.random.key(7), 500)

    def mean_slope(learner, keys, progress):
        slope = jax.vmap(jax.grad(LOSSES[learner]), in_axes=(None, None, 0, None))
        found = slope(state, TABLE, keys, jnp.float32(progress))
        parts = [jnp.mean(leaf, axis=0).ravel() for leaf in jax.tree.leaves(found["item_encoder"])]
        return np.concatenate(parts)

    exact = mean_slope(LEARNER, keys[:2], 1.0)
    for learner in (SOFT, HARD):
        relaxed = mean_slope(learner, keys, 0.9)
        cosine = relaxed @ exact / np.linalg.norm(relaxed) / np.linalg.norm(exact)
        assert cosine > 0.9
        assert 0.5 < np.linalg.norm(relaxed) / np.linalg.norm(exact) < 2


@functools.cache
def binary(relaxation="exact", key=0):
    """Learned codes of the DSBS with p = 0.1 at three slopes, two seeds each."""
    source = sources.dsbs(0.1)
    learner = StochasticCodeLearner(
        item_dimension=2, query_dimension=2, codewords=3, hidden=(8,), relaxation=relaxation
    )
    table = letter_table(source)
    slopes = jnp.array([0.2, 0.2, 0.4, 0.4, 0.55, 0.55], jnp.float32)
    plan = Schedule(steps=300, evaluate_every=50, learning_rate=0.05)
    result = train(
        jax.random.key(key),
        learner,
        whole_data,
        table,
        table,
        slopes,
        schedule=plan,
        observe=exact_point(source),
    )
    return result, [discrete_code(result.model(run), source) for run in range(6)]


def test_C10_learned_codes_of_the_binary_source_reach_the_frontier_and_none_passes_it():
    result, codes = binary()
    for code in codes:
        short = float(limits.bottleneck_dsbs(0.1, rate=code.rate) - code.relevance)
        excess = float(code.rate - limits.bottleneck_dsbs_rate(0.1, relevance=code.relevance))
        assert -1e-12 <= short < 0.01
        assert excess < 0.01
    # Nor does any point on the way there.
    rate, relevance = result.observed["rate"], result.observed["relevance"]
    assert (np.asarray(limits.bottleneck_dsbs(0.1, rate=rate)) >= relevance - 1e-12).all()
    # The slope is the curve's: a higher price buys fewer bits.
    rates = [float(code.rate) for code in codes]
    assert min(rates[:2]) > max(rates[2:4]) > max(rates[4:])
    # Where the slope of 1 - h(a * p) against 1 - h(a) is 0.4: h'(a * p) (1 - 2p) = 0.4 h'(a).
    assert min(abs(rate - 0.882381) for rate in rates[2:4]) < 0.01


def test_a_training_depends_on_its_key_alone():
    _, codes = binary()
    again = binary.__wrapped__()[1]
    other = binary(key=1)[1]
    for code, same, different in zip(codes, again, other, strict=True):
        np.testing.assert_array_equal(code.channel, same.channel)
        assert not np.array_equal(code.channel, different.channel)
    assert not np.array_equal(codes[0].channel, codes[1].channel)


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"codewords": 1}, ValueError, "codewords must be at least 2"),
        ({"item_dimension": 0}, ValueError, "item_dimension must be at least 1"),
        ({"modalities": 0}, ValueError, "modalities must be at least 1"),
        ({"scores": "cosine"}, ValueError, "scores must be one of 'free', 'distance'"),
        ({"relaxation": "soft"}, ValueError, "relaxation must be one of"),
        ({"temperatures": (1.0, 0.0)}, ValueError, r"temperatures must lie in \(0, inf\)"),
    ],
)
def test_bad_input_is_named(changes, kind, message):
    arguments = {"item_dimension": 2, "query_dimension": 2, "codewords": 3}
    with pytest.raises(kind, match=message):
        StochasticCodeLearner(**(arguments | changes))


def test_unweighted_pairs_count_alike():
    queries = jax.random.normal(jax.random.key(0), (5, 1, 3), jnp.float32)
    items = jax.random.normal(jax.random.key(1), (5, 4), jnp.float32)
    model = random_model(3, 0.5)
    equal = information_bounds(model, Pairs(queries, items))
    weighted = information_bounds(model, Pairs(queries, items, jnp.full(5, 0.2)))
    np.testing.assert_allclose(equal, weighted, rtol=1e-6)
