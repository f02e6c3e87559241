"""C14: direct simulation and the exact ensemble agree; intervals cover; no digit depends on batches."""

import jax
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from rdsim import codes, simulation

KEY = jax.random.key(20)
# Each interval misses with probability 1e-8; fewer than a hundred are looked at.
CONFIDENCE = 1 - 1e-8


@pytest.mark.parametrize("loss", ["error", "reciprocal_rank", ("miss", 3), "dcg"], ids=str)
def test_C14_simulation_covers_the_exact_ensemble(loss):
    lengths, rates, sizes, flips = (
        [20, 33, 7, 12],
        [0.2, 0.1, 0.5, 1 / 3],
        [5, 4, 3, 3],
        [0.1, 0.2, 0.0, 0.5],
    )
    ranks = simulation.simulate_dsbs(KEY, flips, sizes, n=lengths, rate=rates, trials=3000)
    estimate = ranks.estimate(loss, confidence=CONFIDENCE)
    exact = [
        float(codes.dsbs_ensemble(flip, size, loss, n=n, rate=rate))
        for n, rate, size, flip in zip(lengths, rates, sizes, flips, strict=True)
    ]
    assert np.all(estimate.covers(np.array(exact)))
    assert np.all(estimate.upper - estimate.lower < 0.15)


@pytest.mark.parametrize("items", [2, 3, 5])
def test_C14_useless_queries_rank_all_of_few_items_at_random(items):
    """One item fewer moves every frequency by at least a tenth; no interval of larger databases shows it."""
    found = simulation.simulate_dsbs(KEY, 0.5, np.log2(items), n=6, rate=0.5, trials=6000)
    ranks = np.bincount(np.asarray(found.ranks).ravel(), minlength=items + 1)
    assert ranks.size == items + 1
    assert ranks[0] == 0
    assert scipy.stats.chisquare(ranks[1:]).pvalue > 1e-8


def test_ranks_depend_on_key_and_setting_alone():
    whole = simulation.simulate_dsbs(
        KEY, [0.1, 0.1, 0.3], 3, n=[9, 12, 9], rate=0.4, trials=60, batch_size=7
    )
    part = simulation.simulate_dsbs(
        KEY, 0.1, 3, n=9, rate=0.4, trials=25, first_trial=35, batch_size=64
    )
    np.testing.assert_array_equal(whole.ranks[0, 35:], part.ranks)
    other = simulation.simulate_dsbs(jax.random.key(21), 0.1, 3, n=9, rate=0.4, trials=60)
    assert np.any(other.ranks != whole.ranks[0])
    assert whole.ranks.shape == (3, 60)


@given(st.integers(0, 30), st.integers(30, 60))
def test_clopper_pearson_inverts_the_binomial_test(successes, trials):
    estimate = simulation.clopper_pearson(successes, trials, confidence=0.9)
    lower, upper = float(estimate.lower), float(estimate.upper)
    if successes > 0:
        assert scipy.stats.binom.sf(successes - 1, trials, lower) == pytest.approx(0.05)
    else:
        assert lower == 0
    if successes < trials:
        assert scipy.stats.binom.cdf(successes, trials, upper) == pytest.approx(0.05)
    else:
        assert upper == 1


def test_clopper_pearson_coverage_is_never_below_its_confidence():
    trials, counts = 25, np.arange(26)
    estimate = simulation.clopper_pearson(counts, trials, confidence=0.9)
    for p in np.linspace(0.01, 0.99, 99):
        assert scipy.stats.binom.pmf(counts, trials, p)[np.asarray(estimate.covers(p))].sum() >= 0.9


def test_empirical_bernstein_covers_and_shrinks():
    """2000 intervals at 0.9: more than 300 misses have probability below 1e-12 if coverage holds."""
    generator = np.random.default_rng(4)
    samples = generator.beta(0.3, 2.0, size=(2000, 200))
    estimate = simulation.empirical_bernstein(samples, confidence=0.9)
    assert int((~np.asarray(estimate.covers(0.3 / 2.3))).sum()) <= 300
    many = simulation.empirical_bernstein(generator.beta(0.3, 2.0, size=200_000), confidence=0.9)
    assert many.upper - many.lower < 0.01


def test_bernstein_equals_its_formula():
    # So many samples that neither end of the interval is cut off at 0 or 1.
    samples = np.tile([0.0, 0.2, 1.0, 0.4], 20)
    estimate = simulation.empirical_bernstein(samples, confidence=0.5)
    log_term = np.log(4 / 0.5)
    half = np.sqrt(2 * samples.var(ddof=1) * log_term / 80) + 7 * log_term / (3 * 79)
    assert float(estimate.upper) == pytest.approx(0.4 + half, rel=1e-12, abs=0)
    assert float(estimate.lower) == pytest.approx(0.4 - half, rel=1e-12, abs=0)
    assert 0 < estimate.lower < estimate.upper < 1
    few = simulation.empirical_bernstein(samples[:4], confidence=0.5)
    assert (float(few.lower), float(few.upper)) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: simulation.simulate_dsbs(0, 0.1, 3, n=9, rate=0.4, trials=5),
            TypeError,
            "key must be",
        ),
        (
            lambda: simulation.simulate_dsbs(KEY, 0.1, 3, n=9, rate=0.4, trials=0),
            ValueError,
            "trials must be",
        ),
        (
            lambda: simulation.simulate_dsbs(KEY, 0.1, 3, n=9.5, rate=0.4, trials=5),
            ValueError,
            "n must be integers",
        ),
        (
            lambda: simulation.simulate_dsbs(KEY, 0.1, 20, n=30, rate=1.0, trials=5),
            ValueError,
            "dsbs_ensemble",
        ),
        (
            lambda: simulation.simulate_dsbs(KEY, 0.6, 3, n=9, rate=0.4, trials=5),
            ValueError,
            "crossover must",
        ),
        (lambda: simulation.clopper_pearson(7, 5), ValueError, "successes must lie in"),
        (
            lambda: simulation.clopper_pearson(2, 5, confidence=1.0),
            ValueError,
            "confidence must lie",
        ),
        (lambda: simulation.empirical_bernstein([0.5]), ValueError, "at least two trials"),
        (lambda: simulation.empirical_bernstein([0.5, 1.5]), ValueError, "samples must lie in"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
