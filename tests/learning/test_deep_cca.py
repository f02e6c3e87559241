"""Deep CCA: its objective is the closed form's sum, and linear networks reach it."""

import dataclasses

import family_losses as family
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rdsim.learning.families import deep_cca
from rdsim.learning.families.canonical_correlations import canonical_correlation_analysis
from rdsim.learning.families.catalogue import fit_family
from rdsim.learning.families.deep_cca import DeepCCALearner, total_correlation
from rdsim.learning.families.dual_encoder import DualEncoder
from rdsim.learning.training.loop import train
from rdsim.learning.training.networks import architecture
from rdsim.learning.training.schedule import Schedule

TOTAL = jax.jit(total_correlation, static_argnames="ridge")


def _pairs(seed, number=60):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(number, 4)) @ rng.normal(size=(4, 4))
    return x, x @ rng.normal(size=(4, 2)) + rng.normal(size=(number, 2))


@given(st.integers(0, 10**6))
def test_the_objective_is_the_sum_of_the_closed_forms_correlations(seed):
    x, y = _pairs(seed)
    expected = canonical_correlation_analysis(x, y, 2, regularisation=0.2).correlations.sum()
    np.testing.assert_allclose(
        TOTAL(jnp.asarray(x), jnp.asarray(y), ridge=0.2), expected, rtol=1e-9
    )


def test_its_gradient_is_that_of_finite_differences():
    x, y = (jnp.asarray(values) for values in _pairs(7))
    way = jnp.asarray(np.random.default_rng(8).normal(size=x.shape))
    slope = jnp.sum(jax.grad(total_correlation)(x, y, 0.2) * way)
    ends = [TOTAL(x + step * way, y, ridge=0.2) for step in (1e-5, -1e-5)]
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-5, rtol=1e-6)


def _all(_key, data):
    return data


def test_linear_networks_reach_the_closed_form():
    x, y = _pairs(3, 200)
    batch = jnp.asarray(x, jnp.float32)[:, None, :], jnp.asarray(y, jnp.float32)
    build = architecture(DualEncoder, query_size=4, item_size=2, hidden=(), dimension=2, unit=False)
    learner = DeepCCALearner(build=build, ridge=1e-6)
    found = train(
        jax.random.key(0),
        learner,
        _all,
        batch,
        batch,
        jnp.zeros(1),
        schedule=Schedule(steps=300, evaluate_every=150, learning_rate=0.1),
    )
    most = float(canonical_correlation_analysis(x, y, 2).correlations.sum())
    assert most - 0.02 < -found.held_out.min() <= most + 1e-4
    assert -found.held_out[0, 0] < most - 0.02
    assert dataclasses.replace(learner, ridge=0.1) != learner


def test_a_fit_quantizes_the_canonical_variables_of_the_outputs(monkeypatch):
    seen = []

    def fitted_models(_key, learner, data, schedule):
        model = family.built(learner.build, 0)
        seen.extend([learner, data, schedule, model])
        return [model]

    monkeypatch.setattr(deep_cca, "fitted_models", fitted_models)
    systems = fit_family(
        jax.random.key(1),
        "deep CCA",
        family.SOURCE,
        bits=(1, 2),
        schedule=family.SCHEDULE,
        training=64,
    )
    learner, data, schedule, model = seen
    sizes = dict(learner.build.sizes)
    assert (sizes["query_size"], sizes["item_size"], sizes["unit"]) == (4, 2, False)
    assert schedule == family.SCHEDULE
    assert [len(code.code.codewords) for code, _ in systems] == [2, 4]
    queries, items, _ = data.sample
    assert items.shape == (64, 2)
    x, y = (
        np.asarray(part, float) for part in (model.embed_queries(queries), model.embed_items(items))
    )
    found = canonical_correlation_analysis(x, y, sizes["dimension"], regularisation=learner.ridge)
    rho = np.asarray(found.correlations)
    stored = np.asarray(found.variables_y(y)) * rho / np.sqrt(1 - rho**2)
    wanted = np.asarray(found.variables_x(x[3])) / np.sqrt(1 - rho**2)
    code, decoder = systems[1]
    words = np.asarray(code.code.codewords)
    nearest = ((np.asarray(stored)[:, None] - words) ** 2).sum(-1).argmin(1)
    np.testing.assert_array_equal(code.encode(jax.random.key(0), items), nearest)
    scores = decoder.scores(decoder.parameters, queries[3])
    np.testing.assert_allclose(scores, -((np.asarray(wanted) - words) ** 2).sum(-1), rtol=1e-4)
