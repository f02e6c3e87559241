import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import strategies
from hypothesis import given
from scipy import stats

from rdsim import sources


@given(strategies.pmfs())
def test_entropy_is_that_of_the_table(pmf):
    prior = sources.target_prior(pmf)
    np.testing.assert_allclose(prior.p, pmf, rtol=1e-14)
    np.testing.assert_allclose(prior.entropy, reference.entropy(pmf), rtol=0, atol=1e-14)
    assert -1e-15 <= prior.entropy <= math.log2(pmf.size) + 1e-14


def test_zipf_at_known_exponents():
    np.testing.assert_allclose(sources.zipf_prior(5, exponent=0.0).p, 0.2, rtol=1e-15)
    np.testing.assert_allclose(
        sources.zipf_prior(3, exponent=1.0).p, np.array([6, 3, 2]) / 11, rtol=1e-14
    )
    # With a = 2 and all integers the normaliser is pi^2 / 6; the tail beyond M is about 1 / M.
    first = float(sources.zipf_prior(10**6, exponent=2.0).p[0])
    np.testing.assert_allclose(first, 1 / (math.pi**2 / 6 - 1e-6 + 5e-13), rtol=1e-12)
    # A mass that underflows is zero, not NaN.
    steep = sources.zipf_prior(1000, exponent=400.0)
    assert steep.p[-1] == 0
    np.testing.assert_allclose(steep.entropy, 0.0, rtol=0, atol=1e-100)
    assert sources.zipf_prior(1, exponent=3.0).entropy == 0


@pytest.mark.parametrize("exponent", [0.7, 1.0])
def test_zipf_of_a_million_items_keeps_its_digits(exponent):
    prior = sources.zipf_prior(10**6, exponent=exponent)
    weights = [j**-exponent for j in range(1, 10**6 + 1)]
    total = math.fsum(weights)
    entropy = math.fsum(-(x / total) * math.log2(x / total) for x in weights)
    np.testing.assert_allclose(prior.p, np.array(weights) / total, rtol=1e-12)
    np.testing.assert_allclose(prior.entropy, entropy, rtol=1e-13)


def test_samples_follow_the_distribution():
    # Chi-square over the first 50 items and the rest by octaves; false alarm 1e-7, key fixed.
    prior = sources.zipf_prior(10**6, exponent=1.0)
    trials = 200_000
    drawn = np.asarray(prior.sample(jax.random.key(8), (trials,)))
    assert drawn.dtype == np.int32
    edges = np.unique(np.concatenate([np.arange(51), np.geomspace(50, 10**6, 20).astype(int)]))
    counts = np.histogram(drawn, edges)[0]
    expected = trials * np.add.reduceat(np.asarray(prior.p), edges[:-1])
    statistic = np.sum((counts - expected) ** 2 / expected)
    assert counts.sum() == trials
    assert statistic < stats.chi2.isf(1e-7, counts.size - 1)


def test_samples_depend_on_the_key_and_the_shape_alone():
    prior = sources.zipf_prior(100, exponent=1.0)
    key = jax.random.key(3)
    compiled = jax.jit(lambda prior, key: prior.sample(key, (4, 5)))(prior, key)
    np.testing.assert_array_equal(prior.sample(key, (4, 5)), compiled)


def test_priors_stack_under_vmap():
    stacked = jax.vmap(lambda a: sources.zipf_prior(100, exponent=a))(jnp.array([0.0, 1.0]))
    assert isinstance(stacked, type(sources.zipf_prior(100, exponent=1.0)))
    entropies = jax.vmap(lambda prior: prior.entropy)(stacked)
    expected = [sources.zipf_prior(100, exponent=a).entropy for a in (0.0, 1.0)]
    np.testing.assert_allclose(entropies, expected, rtol=1e-14)
    leaves, tree = jax.tree.flatten(stacked)
    np.testing.assert_array_equal(jax.tree.unflatten(tree, leaves).p, stacked.p)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: sources.zipf_prior(0, exponent=1.0),
            ValueError,
            "items must be at least 1, got 0",
        ),
        (
            lambda: sources.zipf_prior(10.0, exponent=1.0),
            TypeError,
            "items must be an integer, got 10.0",
        ),
        (
            lambda: sources.zipf_prior(10, exponent=-1.0),
            ValueError,
            r"exponent must lie in \[0, inf\), got",
        ),
        (
            lambda: sources.zipf_prior(10, exponent=np.inf),
            ValueError,
            r"exponent must lie in \[0, inf\)",
        ),
        (
            lambda: sources.zipf_prior(10, exponent=[1.0]),
            ValueError,
            "exponent must have 0 dimensions",
        ),
        (lambda: sources.target_prior([0.5, 0.6]), ValueError, "p must sum to one, got a sum"),
        (lambda: sources.target_prior([[1.0]]), ValueError, "p must have 1 dimensions"),
        (lambda: sources.target_prior([1.5, -0.5]), ValueError, "got -0.5 at index 1"),
        (lambda: sources.zipf_prior(3, exponent=1.0).sample(0), TypeError, "key"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
