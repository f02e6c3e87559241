"""The shared latent: products of Gaussians, the bound on the evidence, and the overlap score."""

import functools
import math
import re

import family_losses as family
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim.learning import gaussian_experts
from rdsim.learning.families import shared_latent
from rdsim.learning.families.catalogue import fit_family
from rdsim.learning.families.pairs import array_pairs
from rdsim.learning.held_out_points import held_out_point
from rdsim.learning.training.networks import architecture
from rdsim.learning.training.schedule import Schedule
from rdsim.sources import vector_gaussian
from rdsim.sources.mixture import gaussian_mixture

BUILD = architecture(shared_latent.SharedLatent, modalities=2, size=2)
LEARNER = shared_latent.SharedLatentLearner(build=BUILD)
LINEAR = architecture(shared_latent.SharedLatent, modalities=2, size=1, hidden=(), dimension=1)
SUBSETS = np.array([[1, 1, 1], [1, 1, 0], [0, 0, 1], [0, 1, 0]], float)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(5)
WEIGHTS = WEIGHTS / WEIGHTS.sum()

reals = st.floats(-2.0, 2.0)
positives = st.floats(0.125, 4.0)
three = st.lists(st.tuples(reals, positives), min_size=3, max_size=3).map(np.array)


@settings(max_examples=20)
@given(experts=three)
def test_the_product_of_experts_is_the_product_of_densities(experts):
    mean, precision = gaussian_experts.product_of_experts(experts[:, :1], experts[:, 1:])
    grid = np.linspace(-9, 9, 4001)
    density = scipy.stats.norm.pdf(grid)
    for m, p in experts:
        density *= scipy.stats.norm.pdf(grid, m, 1 / math.sqrt(p))
    density /= density.sum()
    first = grid @ density
    assert float(mean[0]) == pytest.approx(first, abs=1e-9)
    assert 1 / float(precision[0]) == pytest.approx((grid - first) ** 2 @ density, rel=1e-9, abs=0)


@settings(max_examples=20)
@given(first=st.tuples(reals, positives), second=st.tuples(reals, positives))
def test_the_overlap_is_the_integral(first, second):
    (m, a), (n, b) = first, second
    a = 1 + a
    grid = np.linspace(-15, 15, 20001)
    log_product = (
        scipy.stats.norm.logpdf(grid, m, a**-0.5)
        + scipy.stats.norm.logpdf(grid, n, b**-0.5)
        - scipy.stats.norm.logpdf(grid)
    )
    wanted = math.log(np.exp(log_product).sum() * (grid[1] - grid[0]))
    found = gaussian_experts.log_overlap(*(np.array([value]) for value in (m, a, n, b)))
    assert float(found) == pytest.approx(wanted, abs=1e-7)


def test_the_overlap_of_true_posteriors_is_the_information_density():
    source = gaussian_mixture([1.0], [[0.0, 0.0]], 1.0, query_noise=[0.3, 0.9])
    queries, items, _ = source.sample(jax.random.key(0), (20,))
    # z is the item, so that its own posterior is a point: nearly, of precision 1e9.
    weights = 1 / np.array([0.3, 0.9])
    seen = gaussian_experts.product_of_experts(queries, weights[:, None] * np.ones((1, 2)))
    found = gaussian_experts.log_overlap(*seen, items, jnp.full((1, 2), 1e9))
    wanted = source.information_density(queries, items) * math.log(2)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


def linear(slopes, offsets, log_precisions, gains, means, expert_logs):
    """A linear model of scalars: x_i = slope z + offset + noise, experts linear in x_i."""
    model = family.built(LINEAR, 0)
    decoder, encoder = model.decoders.layers[0], model.encoders.layers[0]
    decoder.kernel[...] = jnp.asarray(slopes, jnp.float32)[:, None, None]
    decoder.bias[...] = jnp.asarray(offsets, jnp.float32)[:, None]
    model.log_precisions[...] = raw(log_precisions)[:, None]
    encoder.kernel[...] = jnp.stack(
        [jnp.asarray(gains, jnp.float32), jnp.zeros(3, jnp.float32)], axis=-1
    )[:, None]
    encoder.bias[...] = jnp.stack([jnp.asarray(means, jnp.float32), raw(expert_logs)], axis=-1)
    return model


def raw(logs):
    """What the network must give for these logarithms, which are kept inside (-8, 8)."""
    return jnp.asarray(8 * np.arctanh(np.asarray(logs) / 8), jnp.float32)


bound_of = jax.jit(lambda model, x, noise: model.evidence_bound(x, SUBSETS, noise))
parameters = st.lists(
    st.tuples(reals, reals, reals, st.floats(-1.0, 1.0), reals, reals),
    min_size=3,
    max_size=3,
).map(np.array)


def bounds_at_nodes(model, x):
    """Every subset's bound at the nodes of a Gauss-Hermite rule, shape (nodes, B, N)."""
    shape = (len(SUBSETS), len(x), 1)
    return np.stack(
        [bound_of(model, x, jnp.full(shape, node, jnp.float32)) for node in NODES], axis=0
    ).astype(float)


def exact(table, x, subset):
    """Log density of the linear model, and its posterior's mean and precision."""
    slope, offset, log_precision = (column[subset > 0] for column in table.T[:3])
    noise, x = np.exp(-log_precision), x[:, subset > 0, 0]
    covariance = np.outer(slope, slope) + np.diag(noise)
    density = scipy.stats.multivariate_normal(offset, covariance).logpdf(x)
    precision = 1 + np.sum(slope**2 / noise)
    return np.reshape(density, -1), ((x - offset) @ (slope / noise)) / precision, precision


@settings(max_examples=15)
@given(table=parameters)
def test_the_bound_falls_short_of_the_log_likelihood_by_the_divergence(table):
    model = linear(*table.T)
    x = np.random.default_rng(0).normal(size=(4, 3, 1)).astype(np.float32)
    # The bound is a square in the noise, which five nodes integrate exactly.
    found = np.einsum("q,qbn->bn", WEIGHTS, bounds_at_nodes(model, x))
    for row, subset in zip(found, SUBSETS, strict=True):
        density, mean, precision = exact(table, x, subset)
        weights = np.exp(table[:, 5]) * subset
        own_precision = 1 + weights.sum()
        own = ((table[:, 3] * x[..., 0] + table[:, 4]) @ weights) / own_precision
        ratio = precision / own_precision
        divergence = 0.5 * (ratio - 1 - np.log(ratio) + precision * (own - mean) ** 2)
        np.testing.assert_allclose(row, density - divergence, rtol=2e-4, atol=2e-3)
        assert (row <= density + 1e-3).all()


def test_every_draw_is_the_log_likelihood_under_the_true_posterior():
    slopes, offsets, logs = np.array([1.0, -0.5, 2.0]), np.array([0.3, 0.0, -1.0]), np.zeros(3)
    # Expert i: precision slope^2 / noise, mean (x - offset) / slope.
    model = linear(slopes, offsets, logs, 1 / slopes, -offsets / slopes, np.log(slopes**2))
    x = np.random.default_rng(1).normal(size=(4, 3, 1)).astype(np.float32)
    table = np.stack([slopes, offsets, logs], axis=1)
    for draw in bounds_at_nodes(model, x):
        for row, subset in zip(draw, SUBSETS, strict=True):
            np.testing.assert_allclose(row, exact(table, x, subset)[0], rtol=1e-4, atol=1e-3)


def test_subsets_are_all_the_queries_and_each_alone():
    assert shared_latent.training_subsets(2).tolist() == [
        [1, 1, 1],
        [1, 1, 0],
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
    ]
    assert shared_latent.training_subsets(1).tolist() == [[1, 1], [1, 0], [0, 1]]


def test_the_loss_is_minus_the_sum_of_the_bounds_and_the_first_is_recorded():
    model = family.built(BUILD, 1)
    batch = family.SOURCE.sample(jax.random.key(5), (family.BATCH,))
    points = jnp.concatenate([batch[0], batch[1][:, None]], axis=1)
    subsets = shared_latent.training_subsets(2)
    key = jax.random.key(9)
    noise = jax.random.normal(key, (5, family.BATCH, 2), jnp.float32)
    bounds = np.asarray(model.evidence_bound(points, subsets, noise), float).mean(axis=1)
    value, recorded = LEARNER.loss(model, batch, key, jnp.float32(0.0), jnp.float32(1.0))
    assert float(value) == pytest.approx(-bounds.sum(), rel=1e-5, abs=0)
    assert float(recorded["bound"]) == pytest.approx(bounds[0], rel=1e-5, abs=0)
    # Without the divergence, with half of it, and with all of it from the middle of the training on.
    values = [
        float(LEARNER.loss(model, batch, key, jnp.float32(0.0), jnp.float32(progress))[0])
        for progress in (0.0, 0.25, 0.5)
    ]
    assert values[0] < values[1] < values[2]
    assert values[1] == pytest.approx((values[0] + values[2]) / 2, rel=1e-5, abs=0)
    assert values[2] == float(value)


def test_the_posteriors_of_sixteen_coordinates_do_not_collapse():
    # With the whole divergence from the start, the MRR is .018 of 512 items, and that of chance .013.
    correlations = np.diag(0.95 * np.arange(1.0, 17.0) ** -0.35)
    x, y = vector_gaussian(np.eye(16), np.eye(16), correlations).sample(
        jax.random.key(0), (512 + 2048,)
    )
    pairs = array_pairs(jax.random.key(1), x[512:], y[512:])
    ((code, decoder),) = fit_family(
        jax.random.key(2),
        "shared latent",
        pairs,
        bits=(64,),
        schedule=Schedule(steps=150, evaluate_every=25),
    )
    point = held_out_point(jax.random.key(3), (code, decoder), x[:512], y[:512])
    assert 1 - float(point.losses["reciprocal_rank"].mean) > 0.12


@functools.cache
def trained():
    return family.trained(LEARNER)


def test_the_trained_bound_is_below_the_log_likelihood_of_the_source():
    queries, items, _ = family.SOURCE.sample(jax.random.key(11), (2048,))
    points = jnp.concatenate([queries, items[:, None]], axis=1)
    noise = jax.random.normal(jax.random.key(12), (1, 2048, 2), jnp.float32)
    found = trained().model(0).evidence_bound(points, np.ones((1, 3)), noise)[0]
    gap = np.asarray(family.SOURCE.log_density_joint(queries, items) - found, float)
    # Six standard errors: the mean of the gap is the divergence of two distributions, never negative.
    assert gap.mean() + 6 * gap.std() / math.sqrt(gap.size) >= 0
    assert trained().recorded["bound"][:, -1].min() > trained().recorded["bound"][:, 0].max() + 2


def test_no_shared_latent_beats_the_converse_and_training_helps(monkeypatch):
    floor = family.converse() - family.MARGIN
    losses = []
    for model in (family.built(BUILD, 1), trained().model(0)):
        monkeypatch.setattr(shared_latent, "fitted_models", lambda *_, model=model: [model])
        fitted = fit_family(
            jax.random.key(1),
            "shared latent",
            family.SOURCE,
            bits=(family.BITS,),
            schedule=family.SCHEDULE,
            training=family.TRAINING,
        )
        losses.append(family.measured_loss(fitted[0]))
    assert min(losses) >= floor
    assert losses[1] < losses[0] - 2 * family.MARGIN


def test_codewords_keep_the_moments_of_their_posteriors():
    mean = np.array([[0.0], [2.0], [5.0]])
    precision = np.array([[1.0], [2.0], [4.0]])
    share = np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    centre, found = shared_latent._codeword_moments(*map(jnp.asarray, (share, mean, precision)))
    np.testing.assert_allclose(centre[:, 0], [1.0, 5.0, 7 / 3], rtol=1e-12, atol=0)
    spread = np.mean(mean**2 + 1 / precision) - (7 / 3) ** 2
    np.testing.assert_allclose(found[:, 0], [1 / 1.75, 4.0, 1 / spread], rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"modalities": 0}, "modalities must be at least 1, got 0"),
        ({"dimension": 0}, "dimension must be at least 1, got 0"),
        ({"hidden": (0,)}, "features must be at least 1, got 0"),
    ],
)
def test_bad_sizes(arguments, message):
    build = architecture(shared_latent.SharedLatent, **{"modalities": 2, "size": 2} | arguments)
    with pytest.raises(ValueError, match=re.escape(message)):
        family.built(build, 0)
