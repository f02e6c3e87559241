"""C14, C15: exact sums over types against all sequences, all codebooks, and drawn databases."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import strategies as sts
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim import codes, limits, ranking
from rdsim.codes.ensembles.chosen_codeword import (
    likelihood_distribution,
    likelihood_nodes,
    nearest_distribution,
)
from rdsim.codes.ensembles.discrete import competitor_probabilities, discrete_ensemble
from rdsim.codes.ensembles.random_coding import ENCODERS, integer_units, random_code, rounded_units
from rdsim.simulation import clopper_pearson
from rdsim.sources import sequence_types

HAMMING = 1 - np.eye(2)
DSBS = [[0.45, 0.05], [0.05, 0.45]]
BINARY = np.array([[0.6, 0.1], [0.06, 0.24]])
TERNARY = np.array([[0.3, 0.04, 0.02], [0.03, 0.25, 0.05], [0.01, 0.05, 0.25]])
TERNARY_COST = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.5, 1.0, 0.0]])


def _all_sequences(code, codewords):
    """P(x^n, u^n) with every codebook of `codewords` codewords listed, and the table of total scores."""
    joint, q, d = (np.asarray(t) for t in (code.joint, code.output_marginal, code.distortions))
    queries, items, letters = (
        np.array(list(itertools.product(range(size), repeat=code.n)))
        for size in (joint.shape[0], joint.shape[1], q.size)
    )
    probability = q[letters].prod(axis=1)
    distance = d[items[:, None, :], letters[None]].sum(axis=2)
    stored = np.zeros_like(distance)
    for book in itertools.product(range(len(letters)), repeat=codewords):
        ours = distance[:, book]
        if code.encoder == "minimum_distortion":
            weight = (ours <= ours.min(axis=1, keepdims=True) + 1e-9).astype(float)
        else:
            weight = np.exp2(-float(code.slope) * (ours - ours.min(axis=1, keepdims=True)))
        share = weight / weight.sum(axis=1, keepdims=True) * probability[list(book)].prod()
        for place, codeword in enumerate(book):
            stored[:, codeword] += share[:, place]
    pairs = joint[queries[:, None, :], items[None]].prod(axis=2)
    units = integer_units(np.asarray(code.scores), code.n).units
    return pairs @ stored, units[queries[:, None, :], letters[None]].sum(axis=2)


@settings(max_examples=15)
@given(
    sts.joint_pmfs((2, 3)),
    sts.distortions((3, 2)),
    sts.pmfs(2),
    sts.scores((2, 2)),
    st.sampled_from([1, 2, 3]),
    st.sampled_from(ENCODERS),
    st.sampled_from([0.0, 0.7, 3.0]),
    st.sampled_from(["error", "reciprocal_rank"]),
)
def test_C15_sums_over_types_equal_sums_over_all_sequences_and_codebooks(
    joint, distortions, q, scores, codewords, encoder, slope, loss
):
    code = random_code(
        joint,
        distortions,
        n=3,
        rate=math.log2(codewords + 0.5) / 3,
        output_marginal=q,
        slope=slope,
        scores=scores,
        encoder=encoder,
    )
    distribution, total = _all_sequences(code, codewords)
    sizes = np.array([1.0, 4.0, 12.0, 300.0])
    slow = ranking.scored_loss(distribution, sizes, loss, scores=total)
    np.testing.assert_allclose(discrete_ensemble(code, sizes, loss), slow, rtol=1e-9, atol=1e-15)


def test_C14_general_sums_equal_those_of_the_symmetric_source():
    """In relative terms too: at p = 0.02 and two items the loss is below 1e-4."""
    n, rate, p, loss = 40, 0.5, 0.02, "reciprocal_rank"
    sizes = np.array([1.0, 6.0, 11.0, 40.0, 900.0])
    joint = np.array([[1 - p, p], [p, 1 - p]]) / 2
    code = random_code(joint, HAMMING, n=n, rate=rate, output_marginal=[0.5, 0.5])
    exact = codes.dsbs_ensemble(p, sizes, loss, n=n, rate=rate)
    assert exact[0] < 1e-4
    np.testing.assert_allclose(discrete_ensemble(code, sizes, loss), exact, rtol=1e-10)


def test_C14_values_of_the_theory():
    code = random_code(DSBS, HAMMING, n=20, rate=0.4, output_marginal=[0.5, 0.5])
    assert float(discrete_ensemble(code, 6.0, "error")) == pytest.approx(0.5560, abs=5e-5)
    code = random_code(DSBS, HAMMING, n=100, rate=0.5, output_marginal=[0.5, 0.5])
    sizes = 100 * float(limits.bottleneck_dsbs(0.1, rate=0.5)) * np.array([0.9, 1.1])
    found = discrete_ensemble(code, sizes, "error")
    np.testing.assert_allclose(found, [0.2569, 0.6109], rtol=0, atol=5e-5)


def _drawn_ranks(generator, code, items, trials):
    """Databases with every letter of every codebook drawn, in plain NumPy."""
    joint, q, d, s = (
        np.asarray(t) for t in (code.joint, code.output_marginal, code.distortions, code.scores)
    )
    codewords = round(2 ** float(code.log2_codebook_size))
    ranks = np.empty(trials, int)
    for t in range(trials):
        pairs = generator.choice(joint.size, p=joint.ravel(), size=(items, code.n))
        x, y = np.divmod(pairs, joint.shape[1])
        books = generator.choice(q.size, p=q, size=(items, codewords, code.n))
        distance = d[y[:, None, :], books].sum(axis=2)
        if code.encoder == "minimum_distortion":
            chosen = np.argmin(np.round(distance, 9) + 1e-10 * generator.random(distance.shape), 1)
        else:
            weight = np.exp2(-float(code.slope) * distance)
            sums = np.cumsum(weight / weight.sum(axis=1, keepdims=True), axis=1)
            chosen = np.sum(generator.random((items, 1)) > sums[:, :-1], axis=1)
        score = np.round(s[x[0], books[np.arange(items), chosen]].sum(axis=1), 9)
        tied = np.sum(score == score[0])
        ranks[t] = 1 + np.sum(score > score[0]) + generator.integers(tied)
    return ranks


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize(
    ("joint", "distortions", "n", "rate", "q"),
    [
        (BINARY, HAMMING, 10, 0.4, [0.7, 0.3]),
        (TERNARY, TERNARY_COST, 6, 0.7, [0.3, 0.4, 0.3]),
    ],
    ids=["binary", "ternary"],
)
def test_C15_drawn_databases_agree(joint, distortions, n, rate, q, encoder):
    """Eight intervals, each missing with probability 1e-8."""
    code = random_code(joint, distortions, n=n, rate=rate, output_marginal=q, encoder=encoder)
    ranks = _drawn_ranks(np.random.default_rng(5), code, 8, 2000)
    for cutoff in (1, 3):
        exact = discrete_ensemble(code, 3.0, ("miss", cutoff))
        estimate = clopper_pearson((ranks > cutoff).sum(), ranks.size, confidence=1 - 1e-8)
        assert bool(estimate.covers(exact)), cutoff


def test_C15_a_competitor_has_one_chance_in_all():
    probabilities = competitor_probabilities(
        random_code(BINARY, HAMMING, n=7, rate=0.5, output_marginal=[0.7, 0.3])
    )
    above, tied = np.exp(probabilities.log_above), np.exp(probabilities.log_tied)
    last = probabilities.start[1:] - 1
    np.testing.assert_allclose((above + tied)[last], 1.0, rtol=1e-12)
    np.testing.assert_array_equal(above[probabilities.start[:-1]], 0.0)
    inside = np.setdiff1d(np.arange(1, above.size), probabilities.start)
    assert (np.diff(probabilities.score)[inside - 1] < 0).all()


_nearest = jax.jit(nearest_distribution)


@given(sts.pmfs(5), st.sampled_from([1, 2, 7, 1000]))
def test_nearest_distribution_is_that_of_the_least_of_many(distribution, codewords):
    tail = np.append(np.cumsum(distribution[::-1])[::-1], 0.0)
    slow = -np.diff(np.minimum(tail, 1.0) ** codewords)
    np.testing.assert_allclose(_nearest(distribution, float(codewords)), slow, rtol=0, atol=1e-12)


def test_nearest_distribution_of_huge_codebooks():
    """With K f(0) = 1/4 the nearest codeword is at distance zero with probability 1 - e^(-1/4)."""
    distribution = jnp.array([2.0**-302, 2.0**-100, 1 - 2.0**-100])
    found = _nearest(jnp.pad(distribution, (0, 2)), 2.0**300)[:3]
    np.testing.assert_allclose(found, [-math.expm1(-0.25), math.exp(-0.25), 0.0], rtol=1e-13)


@jax.jit
def _likely(distribution, log_weight, codewords):
    return likelihood_distribution(
        distribution, log_weight, codewords, jnp.asarray(FIRST), jnp.asarray(NODES)
    )


FIRST, NODES = likelihood_nodes(300 * math.log(2), 80.0)


@given(sts.pmfs(5), st.sampled_from([0.0, 0.5, 20.0]))
def test_likelihood_distribution_at_one_two_and_very_many_words(distribution, steepness):
    log_weight = -steepness * np.arange(5.0)
    weight = np.exp(log_weight)
    np.testing.assert_allclose(_likely(distribution, log_weight, 1.0), distribution, rtol=1e-11)
    pairs = distribution[:, None] * distribution * weight[:, None] / (weight[:, None] + weight)
    np.testing.assert_allclose(_likely(distribution, log_weight, 2.0), 2 * pairs.sum(1), rtol=1e-11)
    limit = distribution * weight / (distribution @ weight)
    np.testing.assert_allclose(_likely(distribution, log_weight, 2.0**300), limit, rtol=1e-11)


@pytest.mark.parametrize(("n", "parts"), [(0, 3), (5, 1), (6, 2), (5, 4)])
def test_compositions_are_all_there_in_the_order_of_their_ranks(n, parts):
    found = sequence_types.compositions(n, parts)
    slow = [c for c in itertools.product(range(n + 1), repeat=parts) if sum(c) == n]
    np.testing.assert_array_equal(found, slow)
    np.testing.assert_array_equal(sequence_types.index_of(found, n), np.arange(len(slow)))


def test_sums_of_integer_units_tie_when_they_should():
    thirds = integer_units(np.array([[0.0, 1 / 3, 2 / 3], [0.1, 0.2, 0.1 + 0.1]]), 50)
    np.testing.assert_allclose(
        thirds.units * thirds.step, [[0, 1 / 3, 2 / 3], [0, 0.1, 0.1]], rtol=1e-12, atol=0
    )
    assert 3 * thirds.units[0, 1] == thirds.units[0, 2] + thirds.units[0, 1]
    table = np.array([[0.0, math.sqrt(2)], [math.pi, -math.inf]])
    units = integer_units(table, 1000)
    assert units.units[1, 0] > 1000 * units.units[0].max()
    assert 1000 * units.units.max() < 2**53
    irrational = np.array([[0.0, 1.0, math.sqrt(2)]])
    coarse, moved = rounded_units(irrational, 10, 8)
    assert coarse.levels == 8
    assert 0 < moved <= coarse.step / 2 + 1e-12
    assert rounded_units(np.array([[0.0, 0.5, 1.5]]), 10, 8)[1] == 0.0


def test_defaults_are_the_optimum_of_rate_distortion():
    code = random_code(TERNARY, TERNARY_COST, n=6, rate=0.5)
    p, q, d = TERNARY.sum(axis=0), np.asarray(code.output_marginal), np.asarray(code.distortions)
    tilt = q * np.exp2(-float(code.slope) * d)
    channel = tilt / tilt.sum(axis=1, keepdims=True)
    rate = np.sum(p[:, None] * channel * np.log2(channel / q))
    assert rate == pytest.approx(0.5, abs=1e-9)
    curve = limits.rate_distortion_curve(p, TERNARY_COST, np.full(9, float(code.slope)))
    least = float(curve.lower(np.sum(p[:, None] * channel * d)))
    assert least == pytest.approx(0.5, abs=1e-8)
    through = TERNARY @ channel
    density = np.log2(through / np.outer(TERNARY.sum(axis=1), p @ channel))
    np.testing.assert_allclose(code.scores, density, rtol=0, atol=1e-9)


def _code(**changes):
    given = {"joint": BINARY, "distortions": HAMMING, "n": 4, "rate": 0.5, **changes}
    return random_code(**{"output_marginal": [0.5, 0.5], **given})


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: _code(joint=[[0.5, 0.6]]), ValueError, "joint must sum to one"),
        (lambda: _code(distortions=np.ones((3, 2))), ValueError, "distortions must have one row"),
        (lambda: _code(distortions=[[0, np.inf], [1, 0]]), ValueError, "distortions must lie"),
        (
            lambda: _code(distortions=1e-200 * (1 - np.eye(2))),
            ValueError,
            "distortions must differ by",
        ),
        (lambda: _code(n=0), ValueError, "n must be at least 1"),
        (lambda: _code(n=2.0), TypeError, "n must be an integer"),
        (lambda: _code(rate=-0.1), ValueError, "rate must lie"),
        (lambda: _code(n=1000, rate=1.0), ValueError, "rate must keep n R"),
        (lambda: _code(output_marginal=[1.0]), ValueError, "output_marginal must have 2 letters"),
        (lambda: _code(slope=-1.0), ValueError, "slope must lie"),
        (lambda: _code(scores=np.ones((2, 3))), ValueError, "scores must be below inf"),
        (lambda: _code(encoder="best"), ValueError, "encoder must be one of"),
        (lambda: discrete_ensemble(_code(), 0.5, "error"), ValueError, "log2_size must lie"),
        (lambda: discrete_ensemble(_code(), 2000.0, "error"), ValueError, "log2_size must lie"),
        (lambda: discrete_ensemble(_code(), 2.0, "mean"), ValueError, "loss must be"),
        (lambda: discrete_ensemble(_code(n=900), 2.0, "error"), ValueError, "simulate_ensemble"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
