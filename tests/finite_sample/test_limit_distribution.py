"""C18: twice N times the excess tends to the distribution that the optimum's geometry gives."""

import itertools

import jax
import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim.finite_sample import excess_distribution, plug_in_excess
from rdsim.finite_sample._tied_letters import cone_weights, tied_covariance

KEY = jax.random.key(18)
TERNARY = np.array([0.5, 0.3, 0.2])
CRITICAL = np.log2(3.0)  # 2^-s = p_3 / (1 - 2 p_3): the third letter's mass is just zero
FALSE_ALARM = 1e-7
DISTANCE = np.sqrt(np.log(2 / FALSE_ALARM) / 2)  # Massart's constant of the empirical distribution


def hamming(letters):
    return 1 - np.eye(letters)


def padded(p, d):
    """The same problem with letters without mass and reproductions that are never used.

    Every problem has one shape, so that JAX compiles once.
    """
    p, d = np.asarray(p), np.asarray(d)
    wider = np.full((8, 8), 1e6)
    wider[: d.shape[0], : d.shape[1]] = d
    return np.pad(p, (0, 8 - p.size)), wider


def random_source(seed):
    generator = np.random.default_rng(seed)
    p, d = generator.dirichlet(2 * np.ones(8)), generator.uniform(size=(8, 8))
    return p, d, float(generator.uniform(5.0, 25.0))


def scaled(found, row=0):
    return 2 * float(found.samples[row]) * np.asarray(found.excess[row])


def test_C18_mean_of_twenty_random_sources_is_the_number_of_active_letters_less_one():
    """At N of 1000 or more where every margin is five standard errors wide, not before."""
    letters = []
    for seed in range(20):
        source = random_source(seed)
        distribution = excess_distribution(*source)
        assert bool(distribution.holds)
        samples = int(max(1000, np.ceil(distribution.samples_needed(5.0))))
        found = plug_in_excess(KEY, *source, samples=samples, replications=1024)
        interval = found.mean(confidence=1 - FALSE_ALARM)
        assert bool(interval.covers(distribution.mean(samples))[0]), seed
        assert float(found.same_support.mean()) > 0.999
        letters.append(int(distribution.active.sum()))
        assert float(distribution.mean(samples)) == pytest.approx((letters[-1] - 1) / (2 * samples))
    assert len(set(letters)) >= 4  # otherwise the twenty say little


def test_C18_distribution_is_chi_square_and_its_distance_falls_with_N():
    source = random_source(2)
    distribution = excess_distribution(*source)
    found = plug_in_excess(KEY, *source, samples=[30, 10**6], replications=4096)
    values = scaled(found, 1)
    assert distribution.kolmogorov_distance(values) < DISTANCE / np.sqrt(4096)
    assert distribution.kolmogorov_distance(scaled(found, 0)) > distribution.kolmogorov_distance(
        values
    )
    k = int(distribution.degrees[0])
    assert values.var() == pytest.approx(2 * k, rel=0.25, abs=0)
    wrong = scipy.stats.kstest(values, scipy.stats.chi2(k + 1).cdf).statistic
    assert wrong > DISTANCE / np.sqrt(4096)  # the test tells k from k + 1


def test_C18_one_tied_letter_gives_half_of_each_chi_square():
    distribution = excess_distribution(*padded(TERNARY, hamming(3)), CRITICAL)
    assert not bool(distribution.strictly_complementary)
    assert not bool(distribution.holds)
    np.testing.assert_array_equal(distribution.tied[:3], [False, False, True])
    np.testing.assert_array_equal(distribution.degrees, [1, 2])
    np.testing.assert_allclose(distribution.weights, [0.5, 0.5], rtol=1e-12, atol=0)
    assert float(distribution.mean(1)) == pytest.approx(0.75)
    assert distribution.samples_needed() == np.inf
    found = plug_in_excess(
        KEY, *padded(TERNARY, hamming(3)), CRITICAL, samples=10**6, replications=4096
    )
    assert distribution.kolmogorov_distance(scaled(found)) < DISTANCE / np.sqrt(4096)
    for degrees in (1, 2):
        pure = scipy.stats.kstest(scaled(found), scipy.stats.chi2(degrees).cdf).statistic
        assert pure > DISTANCE / np.sqrt(4096)


def test_C18_a_support_that_changes_moves_from_the_mixture_to_chi_square():
    distribution = excess_distribution(*padded(TERNARY, hamming(3)), CRITICAL + 0.05)
    assert bool(distribution.holds)
    sizes = [100, 10_000, 1_000_000]
    found = plug_in_excess(
        KEY, *padded(TERNARY, hamming(3)), CRITICAL + 0.05, samples=sizes, replications=4096
    )
    # The third letter is the only one near its margin: its probability to be used is normal.
    margins = np.sqrt(sizes) * float(distribution.standard_margin)
    same = np.asarray(found.same_support.mean(axis=1))
    np.testing.assert_allclose(same[1:], scipy.stats.norm.cdf(margins[1:]), rtol=0, atol=0.03)
    means = np.asarray(found.excess.mean(axis=1)) * 2 * np.array(sizes)
    assert abs(means[0] - 1.5) < 0.12
    assert abs(means[2] - 2.0) < 0.12
    assert sizes[0] < distribution.samples_needed() < sizes[2]


def test_C18_dependent_columns_leave_their_rank():
    d = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    distribution = excess_distribution(*padded([0.7, 0.3], d), np.log2(9.0))
    assert not bool(distribution.unique)
    assert not bool(distribution.independent)
    assert float(distribution.least_correlation) == 0
    np.testing.assert_array_equal(distribution.degrees, [1])
    found = plug_in_excess(
        KEY, *padded([0.7, 0.3], d), np.log2(9.0), samples=10**6, replications=4000
    )
    assert distribution.kolmogorov_distance(scaled(found)) < DISTANCE / np.sqrt(4000)


def test_C18_a_single_active_letter_has_no_excess():
    distribution = excess_distribution(*padded([0.7, 0.3], hamming(2)), 0.5)
    np.testing.assert_array_equal(distribution.degrees, [0])
    found = plug_in_excess(
        KEY, *padded([0.7, 0.3], hamming(2)), 0.5, samples=10**5, replications=300
    )
    assert float(found.excess.max()) == 0
    assert distribution.kolmogorov_distance(scaled(found)) == 0
    assert float(distribution.mean(10)) == float(distribution.variance(10)) == 0


def test_margins_of_a_coin_are_those_of_its_closed_forms():
    """Two active letters: the smaller mass. One: the slack of the other, a mean of two numbers."""
    distribution = excess_distribution(*padded([0.7, 0.3], hamming(2)), np.log2(9.0))
    theta = 1 / 9
    deviation = np.sqrt(0.3 * 0.7) * (1 + theta) / (1 - theta)
    assert float(distribution.standard_margin) == pytest.approx(0.25 / deviation, rel=1e-9, abs=0)
    assert distribution.samples_needed(4.0) == pytest.approx(
        (4 * deviation / 0.25) ** 2, rel=1e-9, abs=0
    )
    assert float(distribution.least_mass) == pytest.approx(0.25, rel=1e-9, abs=0)
    distribution = excess_distribution(*padded([0.7, 0.3], hamming(2)), 0.5)
    theta = 2.0**-0.5
    slack = 1 - (0.7 * theta + 0.3 / theta)
    deviation = np.sqrt(0.3 * 0.7) * (1 / theta - theta)
    assert float(distribution.standard_margin) == pytest.approx(slack / deviation, rel=1e-9, abs=0)
    assert float(distribution.least_slack) == pytest.approx(slack, rel=1e-9, abs=0)


def test_two_tied_letters_have_the_weights_of_their_correlation():
    p = np.array([0.4, 0.3, 0.15, 0.15])
    distribution = excess_distribution(*padded(p, hamming(4)), np.log2((1 - 3 * 0.15) / 0.15))
    np.testing.assert_array_equal(distribution.degrees, [1, 2, 3])
    K = np.where(np.eye(4) > 0, 1.0, 0.15 / (1 - 3 * 0.15))
    q = np.asarray(distribution.output_marginal)[:4]
    H = (K / (K @ q)[:, None] ** 2 * p[:, None]).T @ K
    S = (np.linalg.inv(H) - np.outer(q, q))[2:, 2:]
    angle = np.arcsin(S[0, 1] / np.sqrt(S[0, 0] * S[1, 1])) / (2 * np.pi)
    np.testing.assert_allclose(
        distribution.weights, [0.25 - angle, 0.5, 0.25 + angle], rtol=0, atol=1e-5
    )
    scaled_columns = np.sqrt(p)[:, None] * K / (K @ q)[:, None]
    found = tied_covariance(
        scaled_columns, np.array([1, 1, 0, 0], bool), np.array([0, 0, 1, 1], bool)
    )
    np.testing.assert_allclose(found, S, rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_cone_weights_match_projected_normal_vectors(size):
    generator = np.random.default_rng(size)
    factor = generator.normal(size=(size, size))
    covariance = factor @ factor.T + 0.1 * np.eye(size)
    root = np.linalg.cholesky(np.linalg.inv(covariance)).T
    draws = 20_000
    counts = np.zeros(size + 1)
    for x in generator.multivariate_normal(np.zeros(size), covariance, draws):
        counts[(scipy.optimize.nnls(root, root @ x)[0] > 0).sum()] += 1
    weights = cone_weights(covariance)
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(counts / draws, weights, rtol=0, atol=5.5 * 0.5 / np.sqrt(draws))


@given(st.floats(0.31, 3.0), st.sampled_from((3, 4)))
@settings(max_examples=15)
def test_active_letters_of_hamming_sources_are_those_of_reverse_water_filling(slope, letters):
    """A letter is active where its mass exceeds the level at this slope, Erokhin 1958."""
    p = np.arange(letters, 0, -1.0) ** 2
    p /= p.sum()
    theta = 2.0**-slope
    for count in range(letters, 0, -1):
        kept = p[:count]
        q = (kept * (1 + (count - 1) * theta) / kept.sum() - theta) / (1 - theta)
        if q.min() > 0:
            break
    # Masses within the resolution of a tie are left out.
    if q.min() < 1e-4:
        return
    distribution = excess_distribution(*padded(p, hamming(letters)), slope)
    np.testing.assert_allclose(
        distribution.output_marginal[:letters], np.pad(q, (0, letters - count)), rtol=0, atol=1e-9
    )
    assert int(distribution.degrees[0]) == count - 1
    assert float(distribution.least_mass) == pytest.approx(q.min(), abs=1e-9)


def test_moments_quantiles_and_chances_belong_to_one_distribution():
    distribution = excess_distribution(*padded(TERNARY, hamming(3)), CRITICAL)
    x = np.linspace(0, 60, 400_001)
    tail = 1 - distribution.cdf(x)
    mean = np.trapezoid(tail, x)
    second = np.trapezoid(2 * x * tail, x)
    assert float(distribution.mean(7)) * 14 == pytest.approx(mean, abs=1e-4)
    assert float(distribution.variance(7)) * 14**2 == pytest.approx(second - mean**2, abs=1e-4)
    for level in (0.5, 0.05, 1e-6):
        assert 1 - distribution.cdf(distribution.upper_quantile(level)) == pytest.approx(
            level, rel=1e-9, abs=0
        )
    assert distribution.cdf(-1.0) == 0
    quantiles = distribution.upper_quantile(1 - (np.arange(1000) + 0.5) / 1000)
    assert distribution.kolmogorov_distance(quantiles) == pytest.approx(0.0005, abs=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"p": np.full(3, 0.5)}, "p must sum to one"),
        ({"slope": -1.0}, "slope must lie in"),
        ({"distortions": hamming(2)}, "distortions must have one row a source letter"),
    ],
)
def test_bad_inputs_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        excess_distribution(**({"p": TERNARY, "distortions": hamming(3), "slope": 2.0} | arguments))


def test_ties_without_a_known_distribution_are_named():
    theta = 0.1 / (1 - 5 * 0.1)
    with pytest.raises(ValueError, match=r"got 4 tied letters.*\[2, 3, 4, 5\]"):
        excess_distribution(
            *padded([0.35, 0.25, 0.1, 0.1, 0.1, 0.1], hamming(6)), np.log2(1 / theta)
        )
    d = np.concatenate([hamming(3), hamming(3)[:, 2:]], axis=1)
    with pytest.raises(ValueError, match="got 2 tied letters, which raise the rank from 2 to 3"):
        excess_distribution(*padded(TERNARY, d), CRITICAL)


def test_bad_arguments_of_the_distribution_are_named():
    distribution = excess_distribution(*padded(TERNARY, hamming(3)), 3.0)
    for call, message in (
        (lambda: distribution.mean(0), "samples must lie in"),
        (lambda: distribution.variance(0), "samples must lie in"),
        (lambda: distribution.upper_quantile(0.0), "level must lie in"),
        (lambda: distribution.kolmogorov_distance([]), "scaled must not be empty"),
        (lambda: distribution.samples_needed(-1.0), "deviations must lie in"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert all(a <= b for a, b in itertools.pairwise(distribution.cdf(np.linspace(-1, 9, 50))))
