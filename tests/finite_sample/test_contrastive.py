"""The contrastive estimate of information: its jackknife, a known Gaussian, its ceiling."""

import math

import jax
import numpy as np
import pytest

from rdsim.finite_sample.contrastive import contrastive_information

KEY = jax.random.key(5)


def points(count, dimension, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dimension))


def test_the_contrastive_estimate_and_its_jackknife_by_leaving_out():
    x, y = points(15, 3), points(15, 3, 1)

    def estimate(keep):
        scores = x[keep] @ y[keep].T
        own = np.diag(scores) - np.log(np.exp(scores).mean(axis=1))
        return own.mean() / math.log(2)

    found = contrastive_information(x, y)
    assert float(found.value) == pytest.approx(estimate(np.arange(15)), abs=1e-12)
    left = np.array([estimate(np.delete(np.arange(15), i)) for i in range(15)])
    error = math.sqrt(14 / 15 * ((left - left.mean()) ** 2).sum())
    assert float(found.value - found.lower) == pytest.approx(1.959964 * error, rel=1e-6, abs=0)
    assert (found.side, found.proved) == ("lower", False)


def test_the_contrastive_estimate_of_a_known_gaussian():
    # With the density ratio as score: 0.5 log2(1/(1 - 0.81)) bits, below log2 M by far.
    generator = np.random.default_rng(1)
    x = generator.normal(size=(800, 1))
    y = 0.9 * x + math.sqrt(0.19) * generator.normal(size=(800, 1))
    # ln p(y|x)/p(y), less what depends on x alone.
    queries = np.column_stack([0.9 * x / 0.19, np.full(800, -0.5 * 0.81 / 0.19)])
    found = contrastive_information(queries, np.column_stack([y, y**2]), confidence=1 - 1e-6)
    assert float(found.lower) < -0.5 * math.log2(0.19) < float(found.upper)


def test_no_interval_of_the_contrastive_estimate_passes_log2_of_its_pairs():
    features = 1.7 * np.eye(5) + 0.6 * points(5, 5, 3)
    found = contrastive_information(features, features)
    value, lower, upper = (float(end) for end in (found.value, found.lower, found.upper))
    assert value < upper == math.log2(5) < 2 * value - lower
