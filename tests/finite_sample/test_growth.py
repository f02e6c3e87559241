"""C22: what a learned retrieval code loses is bounded, and exponents are fitted with their errors."""

import itertools

import jax
import numpy as np
import pytest
import reference

from rdsim.finite_sample import (
    fit_exponent,
    learned_retrieval,
)

Y, K, M = 3, 3, 4
HAMMING = 1 - np.eye(Y)


def _problem(seed, samples):
    generator = np.random.default_rng(seed)
    py = generator.dirichlet(np.full(Y, 3.0))
    channels = generator.dirichlet(np.ones(2), size=(K, Y))
    n = generator.multinomial(samples, py)
    counts = np.stack(
        [[generator.multinomial(m, row) for m, row in zip(n, c, strict=True)] for c in channels]
    )
    return py, channels, n, counts


def _error(joint, scores):
    """Chance that the target is not first among M, by all databases of competitors."""
    pu = joint.sum(axis=0)
    total = 0.0
    for x, u in itertools.product(*map(range, joint.shape)):
        for others in itertools.product(range(Y), repeat=M - 1):
            rivals = scores[x, list(others)]
            first = (
                0.0 if (rivals > scores[x, u]).any() else 1 / (1 + (rivals == scores[x, u]).sum())
            )
            total += joint[x, u] * np.prod(pu[list(others)]) * (1 - first)
    return total


def _queries(channels, active):
    rows = []
    for x in itertools.product((0, 1), repeat=K):
        factors = [
            channels[k][:, v] if active[k] else np.full(Y, float(v == 0)) for k, v in enumerate(x)
        ]
        rows.append(np.prod(factors, axis=0))
    return np.array(rows)


@pytest.mark.parametrize(
    ("seed", "samples", "active", "slope"),
    [
        (0, 10, (True, True, True), 2.0),
        (1, 100, (True, True, True), 4.0),
        (2, 1, (True, False, True), 6.0),
        (3, 30, (False, True, False), 3.0),
        (4, 1000, (True, True, False), 5.0),
        # So gentle a slope that some descriptions are not used at all.
        (5, 50, (True, True, True), 0.7),
    ],
)
def test_C22_learned_code_equals_the_sum_over_all_databases(seed, samples, active, slope):
    py, channels, n, counts = _problem(seed, samples)
    found = learned_retrieval(
        py, channels, n, counts, HAMMING, slope=slope, log2_size=np.log2(M), active=np.array(active)
    )
    distribution = (n + 0.5) / (samples + 0.5 * Y)
    learned = (counts + 0.5) / (n[:, None] + 1.0)
    kernel = 2.0 ** (-slope * HAMMING)
    q = _best_marginal(distribution, kernel)
    Q = kernel * q / (kernel @ q)[:, None]
    joint = (_queries(channels, active) * py) @ Q
    believed = (_queries(learned, active) * distribution) @ Q
    stored = np.where(joint.sum(axis=0) > 0, joint.sum(axis=0), 1.0)
    given_u = joint / stored
    given_believed = believed / np.where(joint.sum(axis=0) > 0, believed.sum(axis=0), 1.0)
    assert found.error == pytest.approx(_error(joint, np.round(given_believed, 9)), abs=1e-6)
    assert found.best_error == pytest.approx(_error(joint, np.round(given_u, 9)), abs=1e-6)
    norm = np.abs(given_u - given_believed).sum(axis=0)
    assert found.variation == pytest.approx(joint.sum(axis=0) @ norm, abs=1e-6)
    used = given_u > 0
    logs = np.log2(np.where(used, given_u, 1.0) / np.where(used, given_believed, 1.0))
    assert found.divergence == pytest.approx((joint * logs).sum(), abs=1e-6)
    assert found.rate == pytest.approx(
        reference.mutual_information_by_sums(py[:, None] * Q), abs=1e-6
    )
    best = _best_marginal(py, kernel)
    assert found.lagrangian_excess == pytest.approx(
        py @ (np.log2(kernel @ best) - np.log2(kernel @ q)), abs=1e-6
    )
    # What holds for every source and sample.
    assert found.excess >= -1e-12
    assert found.excess <= found.variation + 1e-12
    assert found.variation <= found.divergence_bound + 1e-12
    assert found.lagrangian_excess >= -1e-9


def _best_marginal(p, kernel):
    """Marginal of Hamming distortion by water-filling: q_y proportional to max(p_y - level, 0)."""
    a = kernel[0, 1]
    for size in range(1, Y + 1):
        order = np.argsort(-p)[:size]
        total = p[order].sum()
        # On the support, p_y / (a + (1-a) q_y) is one number.
        share = (a * size + 1 - a) / total
        q = (p[order] * share - a) / (1 - a)
        outside = [y for y in range(Y) if y not in order]
        if (q > 0).all() and all(share * p[y] <= a + 1e-15 for y in outside):
            found = np.zeros(Y)
            found[order] = q
            return found
    raise AssertionError("no support fits")


def test_C22_fitted_exponents_are_those_of_weighted_least_squares():
    x = np.array([1.0, 2.0, 4.0, 7.0, 8.0])
    y = np.array([0.9, 1.6, 2.9, 4.1, 5.2])
    error = np.array([0.1, 0.05, 0.2, 0.1, 0.3])
    fit = fit_exponent(jax.random.key(0), x, y, error, resamples=4000)
    (slope, level), covariance = np.polyfit(np.log(x), np.log(y), 1, w=y / error, cov="unscaled")
    assert fit.exponent == pytest.approx(slope, abs=1e-10)
    assert fit.coefficient == pytest.approx(np.exp(level), rel=1e-10, abs=0)
    half = 1.959963985 * np.sqrt(covariance[0, 0])
    assert fit.upper - fit.lower == pytest.approx(2 * half, rel=0.05, abs=0)
    residual = (np.log(y) - slope * np.log(x) - level) * y / error
    assert fit.chi_square == pytest.approx((residual**2).sum(), rel=1e-9, abs=0)
    assert fit.degrees_of_freedom == 3


def test_two_factors_at_once():
    x = np.array([[n, k] for n in (100.0, 1000.0, 5000.0) for k in (1.0, 2.0, 8.0)])
    y = 3.0 * x[:, 0] ** -0.9 * x[:, 1] ** 0.7
    fit = fit_exponent(jax.random.key(1), x, y, 0.01 * y)
    np.testing.assert_allclose(fit.exponent, [-0.9, 0.7], rtol=0, atol=1e-10)
    assert fit.coefficient == pytest.approx(3.0, rel=1e-9, abs=0)
    assert (fit.lower < fit.exponent).all()
    assert (fit.exponent < fit.upper).all()


def test_C22_intervals_of_exponents_cover():
    generator = np.random.default_rng(2)
    x = np.array([1.0, 2.0, 4.0, 8.0])
    truth, sets = 0.6, 100
    missed = np.zeros(2)
    for i in range(sets):
        error = 0.02 * x**truth
        y = x**truth + error * generator.standard_normal(4)
        fits = [fit_exponent(jax.random.key(i), x, y, error, resamples=400, confidence=0.8)]
        # Trials that err together: a common factor leaves the exponent alone, noise does not.
        common = 1 + 0.2 * generator.standard_normal((100, 1))
        trials = x**truth * common + 0.2 * x**truth * generator.standard_normal((100, 4))
        fits.append(fit_exponent(jax.random.key(i), x, trials, resamples=400, confidence=0.8))
        missed += [not fit.lower <= truth <= fit.upper for fit in fits]
    # 20 of 100 expected; within 5.5 standard deviations on both sides.
    assert (np.abs(missed - 20) < 5.5 * np.sqrt(100 * 0.16)).all()


def test_trials_are_weighted_by_the_standard_errors_of_their_means():
    x = np.array([1.0, 2.0, 4.0, 8.0])
    trials = x**-0.5 * (1 + 0.3 * np.random.default_rng(7).uniform(-1, 1, (10, 4)))
    found = fit_exponent(KEY, x, trials)
    means = trials.mean(axis=0)
    # The unbiased variance: with ten trials the biased one gives a chi square a ninth larger.
    errors = np.sqrt(((trials - means) ** 2).sum(axis=0) / 9 / 10)
    wanted = fit_exponent(KEY, x, means, errors)
    for name in ("exponent", "coefficient", "chi_square"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-12, atol=0)
    assert found.chi_square > 0


def test_common_random_numbers_narrow_the_interval():
    generator = np.random.default_rng(3)
    x = np.array([1.0, 2.0, 4.0, 8.0])
    trials = x * (1 + 0.3 * generator.standard_normal((200, 1)))
    trials += 0.01 * generator.standard_normal((200, 4))
    paired = fit_exponent(jax.random.key(0), x, trials)
    error = trials.std(axis=0, ddof=1) / np.sqrt(200)
    alone = fit_exponent(jax.random.key(0), x, trials.mean(axis=0), error)
    assert paired.exponent == pytest.approx(float(alone.exponent), abs=1e-12)
    assert paired.upper - paired.lower < 0.2 * (alone.upper - alone.lower)


KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0], [1.0, 0.0], [0.1, 0.1]), r"y must lie in \(0, inf\), got 0.0"),
        (([1.0, -2.0], [1.0, 2.0], [0.1, 0.1]), r"x must lie in \(0, inf\), got -2.0"),
        (([1.0, 2.0], [1.0, 2.0], [0.1]), r"y_error must have the shape \(2,\)"),
        (([1.0, 2.0, 3.0], [1.0, 2.0], [0.1, 0.1]), r"x must have shape \(2,\) or \(2, F\)"),
        (([2.0, 2.0], [1.0, 2.0], [0.1, 0.1]), "x must determine a coefficient and 1 exponents"),
    ],
)
def test_bad_fits(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit_exponent(KEY, *arguments)


def test_bad_trials():
    with pytest.raises(ValueError, match="y must hold at least 10 trials"):
        fit_exponent(KEY, [1.0, 2.0], np.ones((3, 2)))
    with pytest.raises(ValueError, match="y must vary in every column of trials, not in 0"):
        fit_exponent(KEY, [1.0, 2.0], np.ones((30, 2)))
    rare = np.zeros((12, 2))
    rare[0] = 1.0
    with pytest.raises(ValueError, match="y must hold so many trials that no resampled mean"):
        fit_exponent(KEY, [1.0, 2.0], rare)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p": [0.5, 0.6, -0.1]}, "p must lie in"),
        ({"channels": np.full((K, Y, 2), 0.6)}, "channels must have rows that sum to one"),
        ({"item_counts": [1.0, 2.0, 300.0]}, "query_counts must sum to item_counts"),
        ({"item_counts": [1.0, 2.0]}, r"item_counts shape \(3,\)"),
        ({"slope": 0.0}, "slope must lie in"),
        ({"active": np.ones(2, bool)}, r"active must have shape \(3,\), got \(2,\)"),
    ],
)
def test_bad_codes(change, message):
    py, channels, n, counts = _problem(0, 20)
    arguments = {
        "p": py,
        "channels": channels,
        "item_counts": n,
        "query_counts": counts,
        "distortions": HAMMING,
        "slope": 2.0,
        "log2_size": 2.0,
        **change,
    }
    with pytest.raises(ValueError, match=message):
        learned_retrieval(**arguments)
