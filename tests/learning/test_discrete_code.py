import functools
import importlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import strategies as sts
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import entropy, mutual_information_by_sums

from rdsim import limits, sources
from rdsim.learning.stochastic.letters import (
    LetterBatch,
    discrete_code,
    exact_point,
    letter_table,
)
from rdsim.learning.stochastic.neural_code import NeuralCode
from rdsim.learning.stochastic.retrieval_objective import (
    RetrievalCodeLearner,
    ordered_loss,
)
from rdsim.learning.training.batches import whole_data
from rdsim.learning.training.loop import train
from rdsim.learning.training.schedule import Schedule
from rdsim.ranking import codeword_loss, scored_loss
from rdsim.ranking.loss import parse_loss
from rdsim.validation import precision

module = importlib.import_module("rdsim.learning.stochastic.letters")

SHAPE = (3, 4)
SIZES = np.array([1.0, 5.0, 20.0])
LEAST_OF_SIXTEEN = -0.3724984


def random_model(seed, letters=SHAPE):
    return NeuralCode(letters[1], letters[0], 5, hidden=(6,), rngs=nnx.Rngs(seed))


@functools.cache
def model_of(seed):
    model = random_model(seed)
    model.log_temperature[...] = jnp.full(1, 0.7, jnp.float32)
    return model


@settings(max_examples=15)
@given(sts.joint_pmfs(SHAPE), st.integers(0, 3))
def test_exact_numbers_are_sums_over_the_letters(joint, seed):
    source, model = sources.discrete(joint), model_of(seed)
    code = discrete_code(model, source)
    assert code.channel.dtype == code.scores.dtype == jnp.float64
    np.testing.assert_allclose(code.channel.sum(axis=1), 1.0, rtol=0, atol=1e-15)
    logits = np.asarray(model.item_logits(jnp.eye(4)), float)
    weight = np.exp(logits - logits.max(axis=1, keepdims=True))
    channel = weight / weight.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(code.channel, channel, rtol=1e-12)
    py = joint.sum(axis=0)
    np.testing.assert_allclose(code.output_marginal, py @ channel, rtol=1e-12)
    np.testing.assert_allclose(code.index_entropy, entropy(py @ channel), rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        code.rate, mutual_information_by_sums(py[:, None] * channel), rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(
        code.relevance, mutual_information_by_sums(joint @ channel), rtol=0, atol=1e-12
    )
    observed = exact_point(source)(model, None)
    for name in ("rate", "relevance", "index_entropy"):
        np.testing.assert_array_equal(observed[name], getattr(code, name))


@pytest.mark.parametrize("loss", ["reciprocal_rank", "error", ("miss", 3)])
@pytest.mark.parametrize("learned", [True, False])
def test_C1_losses_are_expectations_over_query_item_and_codeword(loss, learned):
    joint = np.arange(1.0, 13.0).reshape(SHAPE) / 78
    code = discrete_code(model_of(1), sources.discrete(joint))
    through = joint @ np.asarray(code.channel)
    density = np.log2(through / through.sum(axis=0) / through.sum(axis=1, keepdims=True))
    scores = np.asarray(code.scores) if learned else density
    expected = np.zeros(3)
    for x, y, u in itertools.product(range(3), range(4), range(5)):
        one = codeword_loss(scores[x], jnp.array(u), code.output_marginal, SIZES, loss)
        expected += joint[x, y] * float(code.channel[y, u]) * np.asarray(one)
    np.testing.assert_allclose(
        code.loss(SIZES, loss, learned=learned), expected, rtol=0, atol=1e-12
    )
    assert (code.loss(SIZES, loss) >= code.loss(SIZES, loss, learned=False) - 1e-12).all()


@given(sts.joint_pmfs(SHAPE), st.integers(0, 3), st.sampled_from((1.0, 5.0, 20.0)))
@settings(max_examples=15)
def test_C4_no_code_beats_the_converse(joint, seed, size):
    code = discrete_code(model_of(seed), sources.discrete(joint))
    loss = np.minimum(code.loss(size, "reciprocal_rank"), 1.0)
    assert limits.rank_rate(size, "reciprocal_rank", distortion=loss).lower <= code.relevance + 1e-9


def test_scores_are_those_that_the_decoder_fuses():
    code = discrete_code(model_of(0), sources.discrete(np.full(SHAPE, 1 / 12)))
    expected = model_of(0).fused_scores(jnp.eye(3)[:, None, :])
    np.testing.assert_allclose(code.scores, expected, rtol=1e-6)
    np.testing.assert_allclose(code.temperatures, np.exp(0.7), rtol=1e-6)


def test_the_table_and_the_batches_are_one_hot_pairs_of_the_source():
    joint = np.array([[0.3, 0.1, 0.0, 0.05], [0.0, 0.2, 0.1, 0.0], [0, 0, 0, 0.25]])
    source = sources.discrete(joint)
    table = letter_table(source)
    assert table.queries.shape == (12, 1, 3)
    rebuilt = np.einsum("n,nx,ny->xy", table.weights, table.queries[:, 0], table.items)
    np.testing.assert_allclose(rebuilt, joint, rtol=0, atol=1e-7)
    batch = LetterBatch(20_000)(jax.random.key(0), source)
    assert batch.weights is None
    counted = np.einsum("nx,ny->xy", batch.queries[:, 0], batch.items) / 20_000
    # Six standard errors in each of twelve cells: an error probability below 1e-7.
    assert (np.abs(counted - joint) <= 6 * np.sqrt(joint / 20_000)).all()


def test_observers_of_equal_sources_are_equal():
    assert exact_point(sources.dsbs(0.1)) == exact_point(sources.dsbs(0.1))
    assert hash(exact_point(sources.dsbs(0.1))) == hash(exact_point(sources.dsbs(0.1)))
    assert exact_point(sources.dsbs(0.1)) != exact_point(sources.dsbs(0.2))


def test_bad_input_is_named():
    source = sources.dsbs(0.1)
    with pytest.raises(ValueError, match="model must take 2 item letters, got one for 4"):
        discrete_code(model_of(0), source)
    with pytest.raises(ValueError, match="model must take queries of 2 letters, got one for 3"):
        discrete_code(random_model(0, (3, 2)), source)
    two = NeuralCode(2, 2, 3, modalities=2, hidden=(4,), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="model must have one query modality, got 2"):
        discrete_code(two, source)
    with pytest.raises(ValueError, match="codewords must be at least 2"):
        RetrievalCodeLearner(letters=(2, 2), codewords=1)
    with pytest.raises(ValueError, match="letters must be at least 1"):
        RetrievalCodeLearner(letters=(0, 2), codewords=2)
    with pytest.raises(ValueError, match="loss must be"):
        RetrievalCodeLearner(letters=(2, 2), codewords=2, rank_loss="rank")


ordered = jax.jit(
    lambda joint, size: ordered_loss(joint, size, parse_loss("reciprocal_rank")),
)
ordered_slope = jax.jit(jax.grad(ordered))


@pytest.mark.parametrize("size", [1.0, 10.0])
def test_C12_the_rank_loss_is_exact_and_its_gradient_that_of_finite_differences(size):
    joint = jnp.asarray(np.random.default_rng(0).dirichlet(np.ones(15)).reshape(3, 5))
    log2_size = jnp.array(size)
    expected = scored_loss(joint, size, "reciprocal_rank")
    np.testing.assert_allclose(ordered(joint, log2_size), expected, rtol=1e-12)
    slope = np.asarray(ordered_slope(joint, log2_size))
    assert np.isfinite(slope).all()
    for x, u in itertools.product(range(3), range(5)):
        # Mass is moved from the first cell, so that the sum stays one.
        move = jnp.zeros_like(joint).at[x, u].add(1e-6).at[0, 0].add(-1e-6)
        difference = ordered(joint + move, log2_size) - ordered(joint - move, log2_size)
        np.testing.assert_allclose(difference / 2e-6, slope[x, u] - slope[0, 0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("fusion_emitters", [True, False])
def test_C12_a_program_that_computes_the_channel_too_finds_the_exact_rank_loss(fusion_emitters):
    # As in tests/ranking/test_score_order.py: no comparison may depend on how XLA fuses.
    options = {
        "xla_backend_optimization_level": 3,
        "xla_cpu_use_fusion_emitters": fusion_emitters,
    }
    joint = sources.dsbs(0.1).joint
    logits = jax.random.normal(jax.random.key(0), (32, 2, 4))

    @jax.jit
    @jax.vmap
    def found(values):
        return ordered_loss(
            joint @ jax.nn.softmax(values), jnp.array(4.0), parse_loss("reciprocal_rank")
        )

    try:
        losses = found.lower(logits).compile(options)(logits)
    except jax.errors.JaxRuntimeError as error:
        pytest.skip(f"this jaxlib has no such choice: {error}")
    for channel, loss in zip(jax.nn.softmax(logits), losses, strict=True):
        expected = scored_loss(np.asarray(joint @ channel), 4.0, "reciprocal_rank")
        np.testing.assert_allclose(loss, expected, rtol=1e-12, atol=0)


@functools.cache
def retrieval_codes():
    """Codes of one letter of the DSBS with p = 0.1, trained for M = 16 at two prices."""
    source = sources.dsbs(0.1)
    learner = RetrievalCodeLearner(letters=(2, 2), codewords=4, hidden=(8,))
    prices = {"slope": jnp.array([6.0, 12.0]), "log2_size": jnp.full(2, 4.0)}
    plan = Schedule(steps=400, evaluate_every=100, learning_rate=3e-2)
    arguments = (jax.random.key(0), learner, whole_data, source, source, prices)
    result = train(*arguments, schedule=plan)
    return result, [discrete_code(result.model(run), source) for run in range(2)]


def test_C12_learned_retrieval_codes_lie_between_the_bounds():
    _, codes = retrieval_codes()
    for code in codes:
        loss = float(code.loss(4.0, "reciprocal_rank"))
        needed = limits.rank_rate(4.0, "reciprocal_rank", distortion=loss).lower
        assert limits.bottleneck_dsbs_rate(0.1, relevance=needed) <= code.rate + 1e-9
        # The bottleneck's channel of the same rate loses more.
        bias = limits.bottleneck_dsbs(0.1, rate=code.rate)
        assert code.relevance < bias - 1e-3
        noise = _crossover(float(code.rate))
        channel = np.array([[1 - noise, noise], [noise, 1 - noise]])
        theirs = scored_loss(sources.dsbs(0.1).joint @ channel, 4.0, "reciprocal_rank")
        assert loss < float(theirs) - 1e-3
    assert codes[0].rate < codes[1].rate


def test_C12_training_from_any_start_ends_at_the_least_objective_of_four_codewords():
    # The best of 64 starts of Adam on the logits of the channel in float64; 64 of 64 ended there.
    source = sources.dsbs(0.1)
    learner = RetrievalCodeLearner(letters=(2, 2), codewords=4, hidden=(16,))
    settings_of_runs = {"slope": jnp.full(4, 9.0), "log2_size": jnp.full(4, 4.0)}
    plan = Schedule(steps=600, evaluate_every=60, learning_rate=3e-2)
    result = train(
        jax.random.key(3), learner, whole_data, source, source, settings_of_runs, schedule=plan
    )
    reached = np.nanmin(result.held_out, axis=1)
    np.testing.assert_allclose(reached, LEAST_OF_SIXTEEN, rtol=0, atol=1e-3)


def test_C12_the_judged_value_is_the_exact_lagrangian():
    result, codes = retrieval_codes()
    for run, (code, price) in enumerate(zip(codes, (6.0, 12.0), strict=True)):
        best = int(np.argmin(result.held_out[run]))
        lost = float(code.loss(4.0, "reciprocal_rank", learned=False))
        # The network is float32, and another program may round its logits in the last place.
        rounding = 8 * float(np.finfo(np.float32).eps)
        np.testing.assert_allclose(result.recorded["loss"][run, best], lost, rtol=0, atol=rounding)
        assert result.recorded["rate"][run, best] >= float(code.rate) - rounding
        harmonic = sum(1 / r for r in range(1, 17)) / 16
        value = result.recorded["rate"][run, best] + price * (lost - (1 - harmonic))
        np.testing.assert_allclose(result.held_out[run, best], value, rtol=0, atol=1e-6)


def _crossover(rate):
    low, high = 0.0, 0.5
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if 1 - entropy([middle, 1 - middle]) > rate else (low, middle)
    return low


def test_the_rooms_float64_is_required(monkeypatch):
    monkeypatch.setattr(precision, "require_float64", _refuse)
    with pytest.raises(RuntimeError, match="discrete_code"):
        discrete_code(random_model(0, (2, 2)), sources.dsbs(0.1))


def _refuse(function):
    raise RuntimeError(function)
