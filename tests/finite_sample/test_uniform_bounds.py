"""C21: bounds that hold for every source and every N: each step of their proofs, and coverage."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import strategies as sts
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim.finite_sample import (
    empirical_bernstein_bound,
    pac_bayes_bound,
    uniform_bound,
)

BOUNDS = {
    "uniform": uniform_bound,
    "PAC-Bayes": pac_bayes_bound,
    "empirical Bernstein": empirical_bernstein_bound,
}
TABLE = np.array([[0.0, 0.7, 2.0], [1.0, 0.25, 0.5]])
RANGE_AT_ONE = 2.0 * math.log(2.0)  # the first row spreads most


def pac_bayes_value(eta, blur, B, letters, N, delta):
    """The bound at one eta and one blur, written out as in the statement."""
    c = ((1 - math.exp(-eta * B)) / eta - 1 + math.exp(-B)) / (B - 1 + math.exp(-B))
    rate = (letters - 1) * math.log(1 / blur)
    learned = (rate + math.log(1 / delta)) / (eta * N) - math.log(1 - blur)
    return learned / c + math.log(1 + blur * (math.exp(B) - 1))


def empirical_bernstein_value(m, B, letters, N, delta):
    """The bound at one m, written out as in the statement."""
    L = math.log(2 / delta * math.comb(m + letters - 1, letters - 1))
    kappa = (math.exp(-B) - 1 + B) / B**2
    tau = (math.exp(B) - 1) * letters / (4 * m)
    root = math.sqrt(2 * L / (N - 1))
    return L / (N - 1) * (1 / (2 * kappa) + 14 * B / 3) + tau * (2 + root)


@pytest.mark.parametrize("slope", [0.5, 1.0, 3.0])
@pytest.mark.parametrize(("N", "delta"), [(3000, 0.05), (10**6, 0.001)])
def test_C21_bounds_are_the_least_of_their_formulas(slope, N, delta):
    B = slope * RANGE_AT_ONE
    root = math.sqrt(2 / N)
    expected = (math.exp(B) - 1) * root * math.sqrt(math.log(3)) + B * root * math.sqrt(
        math.log(1 / delta)
    )
    assert float(uniform_bound(TABLE, slope, samples=N, violation=delta)) == pytest.approx(
        min(expected, B), rel=1e-12
    )
    least = min(
        pac_bayes_value(eta, blur, B, 3, N, delta)
        for eta in np.linspace(0.01, 0.99, 99)
        for blur in np.geomspace(1e-3 / (N * math.exp(B)), 0.5, 200)
    )
    found = float(pac_bayes_bound(TABLE, slope, samples=N, violation=delta))
    assert found == pytest.approx(min(least, B), rel=2e-3, abs=0)
    least = min(
        empirical_bernstein_value(round(m), B, 3, N, delta) for m in np.geomspace(1, 1e13, 300)
    )
    found = float(empirical_bernstein_bound(TABLE, slope, samples=N, violation=delta))
    assert found == pytest.approx(min(least, B), rel=2e-3, abs=0)


@given(st.floats(0.01, 30.0), st.floats(0.02, 0.98), st.floats(-1.0, 1.0))
def test_C21_small_exponents_bound_means(B, eta, share):
    """(1 - e^(-eta g))/eta >= c g + (1 - c)(1 - e^-g) on [-B, B], with equality at B."""
    c = (-math.expm1(-eta * B) / eta + math.expm1(-B)) / (B + math.expm1(-B))
    assert 0 < c <= 1 - eta + 1e-9
    for g, tight in ((share * B, False), (B, True)):
        left = -math.expm1(-eta * g) / eta
        right = c * g - (1 - c) * math.expm1(-g)
        # Of second order in g, both sides lose about eps g to rounding.
        assert left >= right - 1e-12 * max(1.0, math.exp(-g))
        if tight:
            assert left == pytest.approx(right, rel=1e-9, abs=1e-12)


@given(st.floats(0.01, 30.0), st.floats(-1.0, 1.0))
def test_C21_optimality_bounds_second_moments(B, share):
    """e^g - 1 - g >= kappa g^2 on [-B, B], with equality at -B."""
    kappa = (math.expm1(-B) + B) / B**2
    g = share * B
    assert math.expm1(g) - g >= kappa * g**2 - 1e-12 * max(1.0, math.exp(g))


@given(sts.distortions((2, 2)), st.floats(0.1, 2.0), st.integers(0, 3))
@settings(max_examples=15)
def test_C21_rademacher_complexity_is_below_its_bound(d, slope, pattern):
    """Two letters, six samples: every sign and a grid of codes, one after the other."""
    samples = ([0, 0, 0, 1, 1, 1], [0] * 6, [1] * 5 + [0], [0, 1, 1, 1, 1, 1])[pattern]
    K = 2.0 ** (-slope * (d - d.min(axis=1, keepdims=True)))
    share = np.linspace(0, 1, 201)[:, None]
    losses = -np.log(share * K[:, 0] + (1 - share) * K[:, 1])[:, samples]
    signs = np.array(list(itertools.product((-1, 1), repeat=6)))
    complexity = np.mean(np.max(losses @ signs.T, axis=0)) / 6
    B = slope * math.log(2) * np.ptp(d, axis=1).max()
    assert complexity <= (math.exp(B) - 1) / 2 * math.sqrt(2 * math.log(2) / 6) + 1e-12


@pytest.mark.parametrize(("letters", "m"), [(2, 5), (3, 4), (4, 7)])
def test_C21_codes_with_whole_masses_are_a_net(letters, m):
    """Rounding by largest remainders is within k/(4m) in total variation."""
    generator = np.random.default_rng(0)
    halves = (np.arange(letters) % 2 + 0.5) / m
    halves[-1] += 1 - halves.sum()
    codes = [*generator.dirichlet(np.ones(letters), size=500), halves]
    for q in codes:
        whole = np.floor(m * q)
        up = np.argsort(-(m * q - whole))[: round(m - whole.sum())]
        whole[up] += 1
        assert whole.sum() == m
        assert np.abs(whole / m - q).sum() / 2 <= letters / (4 * m) + 1e-12


@pytest.mark.parametrize("name", BOUNDS)
def test_C21_coverage_of_a_coin_is_exact_and_complete(name):
    """No number of ones, of any probability, gives an excess above the bound too often."""
    hamming = 1 - np.eye(2)
    for slope, p, N in itertools.product((0.5, 3.17), (0.02, 0.3, 0.5), (5, 60, 2000)):
        theta = 2.0**-slope
        ones = np.arange(N + 1)

        def best(frequency, theta=theta):
            return np.clip((frequency * (1 + theta) - theta) / (1 - theta), 0, 1)

        def lagrangian(q, p=p, theta=theta):
            return -p * np.log(q + theta * (1 - q)) - (1 - p) * np.log(1 - q + theta * q)

        excess = lagrangian(best(ones / N)) - lagrangian(best(p))
        for violation in (0.05, 0.9):
            bound = float(BOUNDS[name](hamming, slope, samples=N, violation=violation))
            probability = scipy.stats.binom.pmf(ones, N, p)[excess > bound + 1e-12].sum()
            assert probability <= violation


@given(sts.distortions((2, 3)), st.floats(0.01, 50.0), st.sampled_from(tuple(BOUNDS)))
def test_C21_bounds_fall_with_samples_and_stay_within_the_range(d, slope, name):
    N = np.array([1.0, 2.0, 10.0, 1e3, 1e6, 1e12])
    B = slope * math.log(2) * np.ptp(d, axis=1).max()
    strict = np.asarray(BOUNDS[name](d, slope, samples=N, violation=0.001))
    loose = np.asarray(BOUNDS[name](d, slope, samples=N, violation=0.2))
    assert np.all(np.diff(strict) <= 0)
    assert np.all(loose <= strict)
    assert np.all((strict >= 0) & (strict <= B * (1 + 1e-12)))
    np.testing.assert_allclose(
        BOUNDS[name](d + 3.0, slope, samples=N, violation=0.2), loose, rtol=1e-9, atol=1e-15
    )


def test_rates_of_decay():
    """The uniform bound falls as one over the root of N, the others as log N over N."""
    N = np.array([1e8, 1e10])
    ratio = {
        name: np.divide(*np.asarray(bound(TABLE, 2.0, samples=N))) for name, bound in BOUNDS.items()
    }
    assert ratio["uniform"] == pytest.approx(10, rel=1e-9, abs=0)
    for name in ("PAC-Bayes", "empirical Bernstein"):
        assert 70 < ratio[name] < 100


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distortions": [[0.0, np.inf]]}, r"distortions must lie in \[0, inf\)"),
        ({"distortions": [[-1.0, 0.0]]}, "distortions must lie in"),
        ({"distortions": [0.0, 1.0]}, "distortions must have 2 dimensions"),
        ({"slope": 0.0}, "slope must lie in"),
        ({"samples": 0.5}, "samples must lie in"),
        ({"samples": np.inf}, "samples must lie in"),
        ({"violation": 0.0}, "violation must lie in"),
        ({"violation": 1.0}, "violation must lie in"),
    ],
)
def test_bad_inputs_are_named(name, change, message):
    with pytest.raises(ValueError, match=message):
        BOUNDS[name](**({"distortions": TABLE, "slope": 1.0, "samples": 10} | change))


def test_one_letter_or_no_spread_leaves_nothing_to_learn():
    for bound in BOUNDS.values():
        assert float(bound(np.ones((3, 1)), 2.0, samples=10)) == 0
        assert float(bound(np.ones((3, 4)), 2.0, samples=10)) == 0
