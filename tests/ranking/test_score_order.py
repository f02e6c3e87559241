"""The order of scores as integers, and what depends on it in one compiled program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdsim.information import information_density
from rdsim.ranking import scored_loss
from rdsim.ranking.score_order import dense_ranks


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 1), (2, 5, 9)])
def test_ranks_have_the_order_and_the_ties_of_the_scores(shape):
    values = np.random.default_rng(0).choice([-np.inf, -1.5, -0.0, 0.0, 1e-300, 2.0, np.inf], shape)
    ranks = np.asarray(dense_ranks(jnp.asarray(values)))
    assert ranks.shape == shape
    assert (ranks.min(axis=-1) == 0).all()
    for comparison in (np.greater, np.equal):
        expected = comparison(values[..., None], values[..., None, :])
        np.testing.assert_array_equal(comparison(ranks[..., None], ranks[..., None, :]), expected)
    np.testing.assert_array_equal(
        ranks.max(axis=-1) + 1, np.apply_along_axis(lambda row: len(np.unique(row)), -1, values)
    )


@pytest.mark.parametrize("fusion_emitters", [True, False])
def test_C1_a_program_that_also_computes_the_scores_finds_the_same_loss(fusion_emitters):
    # XLA's older code generator for CPUs, where jaxlib still has it, computes a score anew for each
    # comparison when it optimises; every score must still tie with itself.
    options = {
        "xla_backend_optimization_level": 3,
        "xla_cpu_use_fusion_emitters": fusion_emitters,
    }
    logits = jax.random.normal(jax.random.key(0), (16, 4, 6))

    def table(values):
        return jnp.exp(values) / jnp.sum(jnp.exp(values))

    losses = jax.jit(jax.vmap(lambda x: scored_loss(table(x), 4.0, "reciprocal_rank")))
    try:
        program = losses.lower(logits).compile(options)
    except jax.errors.JaxRuntimeError as error:
        pytest.skip(f"this jaxlib has no such choice: {error}")
    found = program(logits)
    for one, loss in zip(logits, found, strict=True):
        joint = np.asarray(table(one))
        scores = np.asarray(information_density(joint))
        alone = scored_loss(joint, 4.0, "reciprocal_rank", scores=scores)
        np.testing.assert_allclose(loss, alone, rtol=1e-12, atol=0)
