"""Codes of Gaussian items: both informations against brute force, and never beyond the bottleneck."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim.codes.quantizers.vector import VectorQuantizer
from rdsim.learning.stochastic.bottleneck_objective import Pairs, StochasticCodeLearner
from rdsim.learning.stochastic.gaussian import gaussian_code_points
from rdsim.learning.stochastic.items import neural_item_code
from rdsim.learning.stochastic.neural_code import NeuralCode
from rdsim.learning.training.loop import train
from rdsim.learning.training.schedule import Schedule
from rdsim.limits import bottleneck_gaussian
from rdsim.sources.discretisation import normal_edges
from rdsim.sources.gaussian_pairs import gaussian, vector_gaussian

WORDS = 6


def the_point(source, code, **options):
    (point,) = gaussian_code_points(source, [code], **options)
    return point


@functools.cache
def network(dimension):
    return NeuralCode(
        dimension, dimension, WORDS, hidden=(8,), scores="distance", rngs=nnx.Rngs(dimension)
    )


def untrained(dimension, seed, scale=1.0):
    """A random network; a large scale makes its channel nearly deterministic."""
    rng, model = np.random.default_rng(seed), network(dimension)
    first, last = model.item_encoder.layers
    first.kernel[...] = jnp.asarray(rng.normal(size=(dimension, 8)), jnp.float32)
    first.bias[...] = jnp.asarray(rng.normal(size=8), jnp.float32)
    last.kernel[...] = jnp.asarray(scale * rng.normal(size=(8, WORDS)), jnp.float32)
    last.bias[...] = jnp.asarray(rng.normal(size=WORDS), jnp.float32)
    return neural_item_code(model, jnp.zeros((4, dimension)))


def plane(correlations, seed=0):
    """A vector source with these canonical correlations, in coordinates of its own."""
    rng = np.random.default_rng(seed)
    mix_x, mix_y = (np.eye(2) + 0.4 * rng.normal(size=(2, 2)) for _ in range(2))
    return vector_gaussian(
        mix_x @ mix_x.T, mix_y @ mix_y.T, mix_x @ np.diag(correlations) @ mix_y.T
    )


def bits(p, q):
    """Relative entropy of rows in bits, summed over the last axis."""
    safe = np.where(p > 0, p, 1.0)
    return np.sum(np.where(p > 0, p * np.log2(safe / np.where(p > 0, q, 1.0)), 0.0), axis=-1)


def brute_force(source, code, cells, grid=161):
    """Both informations of the rounded code: items by cells, queries by the trapezoid rule."""
    cov_x, cov_y, cross = (
        np.asarray(a) for a in (source.covariance_x, source.covariance_y, source.cross_covariance)
    )
    root = np.linalg.inv(np.linalg.cholesky(cov_y))
    white = np.linalg.inv(np.linalg.cholesky(cov_x)) @ cross @ root.T
    _, rho, right = np.linalg.svd(white)
    edges = normal_edges(cells)
    mass = np.diff(scipy.stats.norm.cdf(edges))
    centre = -np.diff(scipy.stats.norm.pdf(edges)) / mass
    s = np.linspace(-8, 8, grid)
    weight = scipy.stats.norm.pdf(s) * (s[1] - s[0])
    # P(cell | s) of each canonical pair.
    given_s = [
        np.diff(scipy.stats.norm.cdf((edges - r * s[:, None]) / math.sqrt(1 - r * r))) for r in rho
    ]
    if rho.size == 1:
        # One pair in the source's own units, its sign with it.
        points = centre[:, None] * math.sqrt(cov_y[0, 0]) * np.sign(cross[0, 0])
        posterior, masses, weights = given_s[0], mass, weight
    else:
        grid_t = np.stack(np.meshgrid(centre, centre, indexing="ij"), axis=-1).reshape(-1, 2)
        points = grid_t @ (np.linalg.cholesky(cov_y) @ right.T).T
        posterior = np.einsum("ai,bj->abij", *given_s).reshape(s.size**2, -1)
        masses, weights = np.outer(mass, mass).ravel(), np.outer(weight, weight).ravel()
    channel = np.asarray(code.channel(points))
    q = masses @ channel
    return masses @ bits(channel, q), weights @ bits(posterior @ channel, q)


@pytest.mark.parametrize(
    ("source", "cells"),
    [
        (gaussian(0.9, variance_x=4.0, variance_y=0.25), 64),
        (gaussian(-0.7, variance_y=9.0), 64),
        (plane([0.9, 0.4]), 16),
    ],
    ids=["scalar", "negative", "plane"],
)
def test_C10_informations_are_those_of_brute_force(source, cells):
    dimension = source.covariance_y.shape[0]
    code = untrained(dimension, 3, 4.0)
    point = the_point(source, code, cells=cells)
    rate, relevance = brute_force(source, code, cells, 161 if dimension == 1 else 65)
    assert float(point.rate) == pytest.approx(rate, abs=1e-9)
    assert float(point.relevance.lower) - 1e-9 <= relevance <= float(point.relevance.upper) + 1e-9
    # The interval ends below the contraction, which would hold the truth whatever the tables say.
    contraction = float(source.canonical_correlations[0]) ** 2
    assert float(point.relevance.upper) < contraction * float(point.rate) - 1e-3


def test_C10_the_sign_of_an_item_has_its_known_informations():
    """U = sign(Y): one bit about Y, 1 - E h(Phi(r X / sqrt(1 - r^2))) about X."""
    r = 0.8
    code = VectorQuantizer(
        codewords=jnp.array([[-1.0], [1.0]]),
        offsets=jnp.zeros(2),
        masses=jnp.array([0.5, 0.5]),
        distortion=jnp.zeros(()),
        converged=jnp.ones((), bool),
        iterations=jnp.zeros((), int),
    )
    point = the_point(gaussian(r), code, cells=256, tolerance=1e-3)

    def conditional(x):
        p = scipy.stats.norm.cdf(r * x / math.sqrt(1 - r * r))
        return scipy.stats.norm.pdf(x) * scipy.stats.entropy([p, 1 - p], base=2)

    expected = 1 - scipy.integrate.quad(conditional, -9, 9)[0]
    assert float(point.rate) == pytest.approx(1.0, abs=1e-12)
    assert float(point.index_entropy) == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(point.output_marginal, [0.5, 0.5], rtol=0, atol=1e-12)
    assert float(point.relevance.lower) <= expected <= float(point.relevance.upper)
    assert point.relevance.converged
    assert float(point.limit) == pytest.approx(float(bottleneck_gaussian(r, rate=1.0)), abs=1e-12)
    assert float(point.distance.value) == float(point.limit - point.relevance.value)
    assert float(point.distance.lower) == float(point.limit - point.relevance.upper)
    assert float(point.distance.upper) == float(point.limit - point.relevance.lower)


def test_C10_the_interval_narrows_with_the_square_of_the_cells():
    code, source = untrained(1, 0, 3.0), gaussian(0.9)
    points = [the_point(source, code, cells=cells, tolerance=1e-3) for cells in (64, 256)]
    gaps = [float(point.relevance.gap) for point in points]
    assert 12 < gaps[0] / gaps[1] < 20
    assert [bool(point.relevance.converged) for point in points] == [False, True]
    low = max(float(point.relevance.lower) for point in points)
    assert low <= min(float(point.relevance.upper) for point in points) + 1e-3


@given(
    seed=st.integers(0, 1000),
    scale=st.floats(0.05, 40.0),
    correlation=st.floats(-0.99, 0.99),
    variance=st.floats(0.1, 10.0),
)
@settings(max_examples=30)
def test_C10_no_network_lies_beyond_the_bottleneck_of_a_scalar(seed, scale, correlation, variance):
    source = gaussian(correlation, variance_x=1 / variance, variance_y=variance)
    _inside(the_point(source, untrained(1, seed, scale), cells=64), correlation**2)


@given(
    seed=st.integers(0, 1000),
    scale=st.floats(0.05, 40.0),
    correlations=st.lists(st.floats(0.0, 0.99), min_size=2, max_size=2),
)
@settings(max_examples=20)
def test_C10_no_network_lies_beyond_the_bottleneck_of_a_vector(seed, scale, correlations):
    source = plane(correlations, seed)
    point = the_point(source, untrained(2, seed, scale), cells=16)
    _inside(point, max(correlations) ** 2)


def _inside(point, contraction):
    relevance = point.relevance
    assert 0 <= float(relevance.lower) <= float(relevance.value) <= float(relevance.upper)
    assert float(relevance.lower) <= float(point.limit) + 1e-12
    assert float(relevance.upper) <= contraction * float(point.rate) + 1e-12
    assert -1e-12 <= float(point.rate) <= float(point.index_entropy) + 1e-12 <= math.log2(6) + 1e-9
    assert float(jnp.sum(point.output_marginal)) == pytest.approx(1.0, abs=1e-12)


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A batch of a Gaussian source with white letters."""

    size: int = 128

    def __call__(self, key, correlation):
        pair = jax.random.normal(key, (2, self.size, 1), jnp.float32)
        x = correlation * pair[0] + jnp.sqrt(1 - correlation**2) * pair[1]
        return Pairs(x[:, None, :], pair[0])


@pytest.fixture(scope="module")
def learned():
    """Codes of twelve words at three slopes, and the points of their start and end."""
    r = jnp.float32(0.9)
    learner = StochasticCodeLearner(
        item_dimension=1, query_dimension=1, codewords=12, hidden=(16,), scores="distance"
    )
    slopes = jnp.array([0.6, 0.3, 0.15], jnp.float32)
    trained = train(
        jax.random.key(0),
        learner,
        Drawn(),
        r,
        Drawn(1024)(jax.random.key(1), r),
        slopes,
        schedule=Schedule(steps=400, evaluate_every=400, learning_rate=2e-2),
    )
    codes = [neural_item_code(trained.model(run), jnp.zeros((4, 1))) for run in range(3)]
    return trained, gaussian_code_points(gaussian(0.9), codes, cells=256)


def test_C10_learned_points_come_within_a_twentieth_of_a_bit_and_not_beyond(learned):
    _, points = learned
    rates = [float(point.rate) for point in points]
    assert rates == sorted(rates)
    assert 0.3 < rates[0] < 1.2
    assert rates[2] > 1.5
    for point in points:
        assert float(point.distance.lower) >= 0
        assert float(point.distance.upper) < 0.05


def test_C10_what_training_recorded_are_bounds_of_what_was_learned(learned):
    """On held-out pairs, to within their number: I_upper above the rate, I_lower below I(X;U)."""
    trained, points = learned
    for run, point in enumerate(points):
        assert trained.recorded["rate"][run, -1] > float(point.rate) - 0.1
        assert trained.recorded["relevance"][run, -1] < float(point.relevance.upper) + 0.1


@pytest.mark.parametrize(
    ("source", "dimension", "options", "error", "message"),
    [
        (vector_gaussian(np.eye(3), np.eye(3), 0.5 * np.eye(3)), 1, {}, ValueError, "one or two"),
        (
            vector_gaussian(np.eye(1), np.eye(2), [[0.5, 0.0]]),
            2,
            {},
            ValueError,
            "at least as many",
        ),
        (gaussian(0.5), 2, {}, ValueError, "codewords of 1 coordinates"),
        (gaussian(0.5), 1, {"cells": 1}, ValueError, "cells"),
        (gaussian(0.5), 1, {"cells": 64.0}, TypeError, "cells must be an integer"),
        (plane([0.5, 0.2]), 2, {"cells": 513}, ValueError, r"cells must be in \[2, 512\]"),
        (gaussian(0.5), 1, {"tolerance": 0.0}, ValueError, "tolerance"),
    ],
)
def test_bad_arguments_are_named(source, dimension, options, error, message):
    with pytest.raises(error, match=message):
        the_point(source, untrained(dimension, 0), **options)


def test_float64_is_required():
    source, code = gaussian(0.5), untrained(1, 0)
    with jax.enable_x64(False), pytest.raises(RuntimeError, match="gaussian_code_points"):
        the_point(source, code)
