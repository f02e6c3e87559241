"""C12: the exact distribution of block scores against product tables, one letter's distribution and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from rdsim import ranking, sources
from rdsim.ranking import block_score
from rdsim.ranking.block_score import block_loss
from rdsim.sources import sequence_types


def product_distribution(joint, encoder, n):
    """P(x^n, u^n) and the summed densities, every pair of sequences a cell."""
    through = joint @ encoder
    with np.errstate(divide="ignore", invalid="ignore"):
        density = np.log2(through / np.outer(through.sum(1), through.sum(0)))
    density[np.isnan(density)] = 0.0  # letters without mass
    distribution, score = through, density
    for _ in range(n - 1):
        distribution = np.kron(distribution, through)
        score = (score[:, None, :, None] + density[None, :, None]).reshape(distribution.shape)
    return distribution / distribution.sum(), np.round(score, 9)


@pytest.mark.parametrize(("n", "loss"), [(2, "error"), (3, "reciprocal_rank"), (3, ("miss", 2))])
def test_C12_equals_the_product_table_on_an_exact_lattice(n, loss):
    joint = np.asarray(sources.binary_erasure_pair(0.3).joint)
    encoder = np.array([[0.85, 0.15], [0.15, 0.85]])
    distribution, score = product_distribution(joint, encoder, n)
    expected = ranking.scored_loss(distribution, 4.0, loss, scores=score)
    np.testing.assert_allclose(block_loss(joint, encoder, 4.0, loss, n=n), expected, rtol=1e-10)


@settings(max_examples=15)
@given(strategies.joint_pmfs((2, 3)), strategies.channels((3, 3)), st.sampled_from([1.0, 4.0]))
def test_C12_is_never_below_the_optimal_decoder_and_near_it(joint, encoder, size):
    distribution, score = product_distribution(joint, encoder, 2)
    optimal = float(ranking.scored_loss(distribution, size, "reciprocal_rank", scores=score))
    found = float(block_loss(joint, encoder, size, "reciprocal_rank", n=2))
    assert optimal - 1e-9 <= found <= optimal + 5e-3
    assert (
        found
        <= float(ranking.expected_loss(size, "reciprocal_rank", log_a=-np.inf, log_e=0.0)) + 1e-9
    )


def test_C12_a_rounded_decoder_has_the_exact_loss_of_its_own_scores():
    """Coarse levels, where a competitor's tilted distribution is not the target's."""
    joint = np.array([[0.4, 0.1, 0.05], [0.05, 0.1, 0.3]])
    encoder = np.array([[0.8, 0.15, 0.05], [0.3, 0.3, 0.4], [0.1, 0.2, 0.7]])
    through = joint @ encoder
    level = np.asarray(block_score.lattice_of(jnp.asarray(through), 5).level)
    distribution = np.kron(through, through)
    score = (level[:, None, :, None] + level[None, :, None]).reshape(distribution.shape)
    expected = ranking.scored_loss(distribution, 4.0, "error", scores=score)
    found = block_loss(joint, encoder, 4.0, "error", n=2, levels=5)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_C12_one_letter_is_the_scored_loss():
    joint = np.array([[0.3, 0.1, 0.05], [0.05, 0.2, 0.3]])
    encoder = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    sizes = np.array([[1.0, 3.0], [10.0, 60.0]])
    found = block_loss(joint, encoder, sizes, "reciprocal_rank", n=1)
    assert found.shape == (2, 2)
    expected = ranking.scored_loss(joint @ encoder, sizes, "reciprocal_rank")
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_C12_reference_values_of_the_uncompressed_binary_source():
    joint = sources.dsbs(0.1).joint
    for loss, value in (("reciprocal_rank", 0.978898859), ("error", 0.964422603)):
        found = 1 - block_loss(joint, np.eye(2), np.log2(1000), loss, n=32)
        np.testing.assert_allclose(found, value, rtol=0, atol=1e-9)


@pytest.mark.parametrize("n", [60, 1200])
def test_C12_matches_binomial_sums_down_to_chances_of_2_to_the_minus_n(n):
    """Through a symmetric channel the score counts agreements: Bin(n, 1/2) and Bin(n, 1-q)."""
    p, a = 0.1, 0.05
    agree = (1 - p) * (1 - a) + p * a
    k = np.arange(n + 1)
    log_e = scipy.stats.binom.logpmf(k, n, 0.5)
    log_a = np.array([logsumexp(log_e[i + 1 :]) if i < n else -np.inf for i in k])
    distribution = scipy.stats.binom.pmf(k, n, agree)
    sizes = np.array([0.2, 0.5, 0.8]) * n
    given_score = ranking.expected_loss(
        sizes[:, None], "reciprocal_rank", log_a=np.minimum(log_a, 0.0), log_e=log_e
    )
    encoder = np.array([[1 - a, a], [a, 1 - a]])
    found = block_loss(sources.dsbs(p).joint, encoder, sizes, "reciprocal_rank", n=n)
    np.testing.assert_allclose(found, np.asarray(given_score) @ distribution, rtol=3e-9)


def test_C12_the_loss_hardly_depends_on_the_number_of_levels():
    joint = np.array([[0.5, 0.1], [0.1, 0.3]])
    encoder = np.array([[0.7, 0.1, 0.2], [0.05, 0.8, 0.15]])
    few, usual, many = (
        float(block_loss(joint, encoder, 5.0, "error", n=24, levels=levels))
        for levels in (12, None, 96)
    )
    assert abs(usual - many) < 2e-4
    assert many - 1e-5 <= usual <= few + 1e-5


def test_C12_a_lattice_has_its_number_of_levels():
    through = np.random.default_rng(0).dirichlet(np.ones(15)).reshape(3, 5)
    for levels in (1, 2, 12, 128):
        assert block_score.lattice_of(through, levels).level.max() == levels


@pytest.mark.parametrize("loss", ["error", "reciprocal_rank", "dcg", ("miss", 3)])
def test_C12_a_small_loss_compiles_nothing_and_is_what_a_program_finds(loss, caplog, monkeypatch):
    joint = np.random.default_rng(1).dirichlet(np.ones(6)).reshape(2, 3)
    encoder = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.0, 0.1, 0.9]])
    sizes = np.array([[1.0, 4.0], [12.0, 300.0]])
    block_loss(joint, encoder, 2.0, "error", n=2)
    with jax.log_compiles():
        found = block_loss(joint, encoder, sizes, loss, n=7, levels=9)
    assert not [record for record in caplog.records if "XLA compilation" in record.getMessage()]
    monkeypatch.setattr(block_score, "_HOST_WORK", 0)
    compiled = block_loss(joint, encoder, sizes, loss, n=7, levels=9)
    np.testing.assert_allclose(found, compiled, rtol=1e-12, atol=0)


def test_C12_types_are_all_compositions_with_their_probabilities():
    letters, counts = block_score.types_of_queries(5, 3)
    assert len(np.unique(counts, axis=0)) == sequence_types.composition_count(5, 3) == 21
    assert (counts.sum(axis=1) == 5).all()
    for x in range(3):
        np.testing.assert_array_equal((letters == x).sum(axis=0), counts[:, x])
    probabilities = np.array([0.5, 0.3, 0.2])
    expected = scipy.stats.multinomial.pmf(counts, 5, probabilities)
    np.testing.assert_allclose(
        np.exp(sequence_types.log_probability(counts, probabilities)), expected, rtol=1e-12
    )


def test_C12_useless_descriptions_rank_at_random():
    joint = sources.dsbs(0.1).joint
    random = ranking.expected_loss(7.0, "reciprocal_rank", log_a=-np.inf, log_e=0.0)
    for encoder in (np.ones((2, 1)), np.full((2, 2), 0.5)):
        found = block_loss(joint, encoder, 7.0, "reciprocal_rank", n=8)
        np.testing.assert_allclose(found, random, rtol=1e-12)


def test_C12_the_gradient_of_a_loss_is_that_of_finite_differences():
    joint = jnp.array([[0.4, 0.1], [0.15, 0.35]])
    letters, counts = map(jnp.asarray, block_score.types_of_queries(2, 2))
    probabilities = np.exp(
        sequence_types.log_probability(np.array(counts), np.array(joint.sum(axis=1)))
    )
    lattice = block_score.lattice_of(joint @ jnp.array([[0.8, 0.2], [0.3, 0.7]]), 4)

    def loss(t):
        through = joint @ (
            jnp.array([[1.0, 0.0], [0.3, 0.7]]) + t * jnp.array([[-1.0, 1.0], [0, 0]])
        )
        distributions = block_score.letter_distributions(through, lattice, 4)
        log_a, log_e, distribution = block_score.score_probabilities(distributions, letters, counts)
        return jnp.sum(
            probabilities[:, None]
            * distribution
            * ranking.expected_loss(3.0, "error", log_a=log_a, log_e=log_e)
        )

    slope = (loss(0.2 + 1e-5) - loss(0.2 - 1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(loss)(0.2), slope, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joint": [[0.5, 0.4], [0.0, 0.0]]}, "joint must sum to one"),
        ({"encoder": np.eye(3)}, r"encoder must have one row a letter of Y, shape \(2, |U|\)"),
        (
            {"encoder": [[0.5, 0.4], [0.5, 0.5]]},
            "encoder must have rows that sum to one, got a sum of 0.9",
        ),
        ({"encoder": [[1.5, -0.5], [0.5, 0.5]]}, r"encoder must lie in \[0, inf\], got -0.5"),
        ({"n": 0}, "n must be at least 1, got 0"),
        ({"levels": 0}, "levels must be at least 1"),
        ({"log2_size": 0.5}, r"log2_size must lie in \[1, 100000\], got 0.5"),
        ({"loss": "rank"}, "loss must be"),
        ({"n": 20_000, "encoder": [[0.5, 0.5], [0.3, 0.7]]}, "above the limit of 2e"),
    ],
)
def test_C12_bad_input_is_named(change, message):
    arguments = {"joint": np.eye(2) / 2, "encoder": np.eye(2), "n": 4, "log2_size": 3.0}
    arguments |= {"loss": "error", "levels": 8} | change
    with pytest.raises(ValueError, match=message):
        block_loss(**arguments)


def test_C12_needs_float64():
    with jax.enable_x64(False), pytest.raises(RuntimeError, match="needs float64"):
        block_loss(np.eye(2) / 2, np.eye(2), 3.0, "error", n=2)
