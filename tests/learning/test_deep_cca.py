"""Deep CCA: its objective is the closed form's sum, and linear networks reach it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rdsim.learning.cca import canonical_correlation_analysis
from rdsim.learning.deep_cca import DeepCCALearner, total_correlation
from rdsim.learning.training import Schedule, train

TOTAL = jax.jit(total_correlation, static_argnames="ridge")


def _pairs(seed, number=60):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(number, 4)) @ rng.normal(size=(4, 4))
    return x, x @ rng.normal(size=(4, 2)) + rng.normal(size=(number, 2))


@given(st.integers(0, 10**6))
def test_the_objective_is_the_sum_of_the_closed_forms_correlations(seed):
    x, y = _pairs(seed)
    expected = canonical_correlation_analysis(x, y, 2, 0.2).correlations.sum()
    np.testing.assert_allclose(
        TOTAL(jnp.asarray(x), jnp.asarray(y), ridge=0.2), expected, rtol=1e-9
    )


def test_its_gradient_is_that_of_finite_differences():
    x, y = (jnp.asarray(values) for values in _pairs(7))
    way = jnp.asarray(np.random.default_rng(8).normal(size=x.shape))
    slope = jnp.sum(jax.grad(total_correlation)(x, y, 0.2) * way)
    ends = [TOTAL(x + step * way, y, ridge=0.2) for step in (1e-5, -1e-5)]
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-5, rtol=1e-6)


def _all(key, data):
    return data


def test_linear_networks_reach_the_closed_form():
    x, y = _pairs(3, 200)
    batch = jnp.asarray(x, jnp.float32)[:, None, :], jnp.asarray(y, jnp.float32)
    learner = DeepCCALearner(query_size=4, item_size=2, hidden=(), dimension=2, ridge=1e-6)
    found = train(
        *(jax.random.key(0), learner, _all, batch, batch, jnp.zeros(1)),
        schedule=Schedule(steps=300, check_every=150, peak_rate=0.1),
    )
    most = float(canonical_correlation_analysis(x, y, 2).correlations.sum())
    assert most - 0.02 < -found.held_out.min() <= most + 1e-4
    assert -found.held_out[0, 0] < most - 0.02
    assert dataclasses.replace(learner, ridge=0.1) != learner
