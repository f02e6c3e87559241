"""C16: bounds at finite block length for any discrete source, against plain enumeration."""

import itertools

import numpy as np
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from rdsim.limits import finite_blocklength as finite
from rdsim.limits import rate_at
from rdsim.limits.finite_blocklength import letter_counts
from rdsim.limits.finite_blocklength.letter_counts import Distances
from rdsim.limits.finite_blocklength.tilted import tilted
from rdsim.sources import sequence_types

HAMMING = 1 - np.eye(2)
BINARY = (np.array([0.6, 0.4]), HAMMING, 0.11)
SKEWED = (np.array([0.7, 0.3]), np.array([[0.0, 3.0], [1.0, 0.0]]), 0.2)
THREE = (
    np.array([0.5, 0.3, 0.2]),
    np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 0.0]]),
    0.4,
)
FORBIDDEN = (
    np.array([0.5, 0.3, 0.2]),
    np.array([[0.0, np.inf, 1.0], [np.inf, 0.0, 1.0], [0.5, 0.5, 1.0]]),
    0.4,
)
UNEVEN = (np.array([0.7, 0.3]), np.array([[0.0, 0.7312], [1.1193, 0.0]]), 0.2)
PROBLEMS = {
    "binary": BINARY,
    "skewed": SKEWED,
    "three": THREE,
    "forbidden": FORBIDDEN,
    "uneven": UNEVEN,
}
problems = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS.keys())


def _sequences(letters, n):
    return np.array(list(itertools.product(range(letters), repeat=n)))


def _enumerated(problem, n):
    """Probabilities of all source and reproduction sequences, and who serves whom."""
    p, d, D = problem
    source = tilted(*problem)
    y, u = _sequences(p.size, n), _sequences(d.shape[1], n)
    q = np.asarray(source.output_marginal)
    within = d[y[:, None], u].sum(axis=2) <= n * D + 1e-9
    information = np.asarray(source.information)
    return np.prod(p[y], axis=1), np.prod(q[u], axis=1), within, information[y].sum(axis=1)


def _discrete(problem, eps, n, **options):
    p, d, D = problem
    asked = {"distortion": D, "excess_probability": eps, "block_lengths": n}
    return finite.discrete(p, d, **asked, **options)


@problems
@pytest.mark.parametrize("n", [1, 3, 5])
def test_C16_random_coding_equals_enumeration(problem, n):
    distribution, optimal, within, _ = _enumerated(problem, n)
    fair = np.full(optimal.size, 1 / optimal.size)
    served = [np.minimum(within @ book, 1 - 1e-16) for book in (optimal, fair)]
    eps = np.array([1e-6, 0.05, 0.4])
    found = _discrete(problem, eps, n)
    hopeless = distribution[within.sum(axis=1) == 0].sum()
    np.testing.assert_array_equal(found.feasible, hopeless < eps)
    eps = eps[hopeless < eps]
    number = 2.0 ** (n * np.asarray(found.upper)[np.asarray(found.feasible)])
    # The better of the two codebooks fails with probability eps, the other one more often.
    failure = np.min(
        [np.exp(number[:, None] * np.log1p(-each)) @ distribution for each in served], axis=0
    )
    # Where the code of all sequences serves every block, no more codewords than that are asked for.
    every_sequence = (hopeless == 0) & (number > optimal.size * (1 - 1e-9))
    assert np.all(number <= optimal.size * (1 + 1e-9)) or hopeless > 0 or problem is UNEVEN
    failure, eps, number = failure[~every_sequence], eps[~every_sequence], number[~every_sequence]
    if problem is UNEVEN:  # rounded up to a lattice: safe, not exact
        assert np.all(failure <= eps + 1e-12)
        return
    needed = number > 1
    np.testing.assert_allclose(failure[needed], eps[needed], rtol=1e-6)
    assert np.all(failure[~needed] <= eps[~needed] * (1 + 1e-6))


@problems
@pytest.mark.parametrize("n", [1, 3, 5])
def test_C16_converse_equals_enumeration(problem, n):
    distribution, _, within, information = _enumerated(problem, n)
    auxiliary = distribution * 2**information
    auxiliary /= auxiliary.sum()
    ball = (auxiliary @ within).max()
    order = np.argsort(information, kind="stable")
    for eps in (0.05, 0.4):
        left, least = 1 - eps, 0.0
        for i in order:
            taken = min(1.0, left / distribution[i])
            left, least = left - taken * distribution[i], least + taken * auxiliary[i]
            if left <= 1e-15:
                break
        exact = max(np.log2(least / ball), 0.0) / n
        found = float(_discrete(problem, eps, n).lower)
        assert found <= exact + 1e-9
        if problem is not UNEVEN:
            assert found >= exact - 1e-7


@problems
def test_C16_the_best_code_lies_between_the_bounds(problem):
    n = 2
    distribution, _, within, _ = _enumerated(problem, n)
    served, size = np.zeros((1, distribution.size), bool), np.zeros(1, int)
    for ball in within.T:
        served, size = np.concatenate([served, served | ball]), np.append(size, size + 1)
    probability = served @ distribution
    for eps in (0.02, 0.2):
        found = _discrete(problem, eps, n)
        possible = probability >= 1 - eps - 1e-12
        if not possible.any():
            assert not found.feasible
            continue
        bits = np.log2(max(size[possible].min(), 1)) / n
        assert found.integer_lower <= bits + 1e-12
        assert bits <= found.integer_upper + 1e-12


@problems
def test_C16_converse_is_not_below_the_tilted_information_converse(problem):
    n, eps = 5, 0.05
    distribution, _, _, information = _enumerated(problem, n)
    threshold = np.unique(information)
    probability = np.array([distribution[information >= t - 1e-12].sum() for t in threshold])
    # eps >= P[j >= log M + gamma] - 2^-gamma for every gamma: solve for log M at every threshold.
    useful = probability > eps
    weakest = threshold[useful] + np.log2(probability[useful] - eps)
    assert _discrete(problem, eps, n).lower >= weakest.max() / n - 1e-7


def test_C16_the_binary_case_is_that_of_the_coin():
    n = [1, 10, 100, 1000]
    general, coin = (
        _discrete(BINARY, 0.01, n),
        finite.binary_hamming(0.4, distortion=0.11, excess_probability=0.01, block_lengths=n),
    )
    for name in ("lower", "upper", "approximation"):
        np.testing.assert_allclose(getattr(general, name), getattr(coin, name), rtol=0, atol=1e-9)


def test_C16_a_uniform_source_of_many_letters_is_one_type():
    found = finite.discrete(
        np.full(3, 1 / 3),
        1 - np.eye(3),
        distortion=0.2,
        excess_probability=0.01,
        block_lengths=[100, 1000],
    )
    assert float(found.dispersion) == 0
    ball = stats.binom.logcdf([20, 200], [100, 1000], 2 / 3) / np.log(2)
    np.testing.assert_allclose(found.lower, (np.log2(0.99) - ball) / [100, 1000], rtol=0, atol=1e-8)
    log2_codewords = np.log2(np.log(0.01) / np.log1p(-np.exp2(ball[0])))
    assert float(found.upper[0]) == pytest.approx(log2_codewords / 100, abs=1e-8)
    assert np.all(np.abs(found.approximation - found.upper) < 2 * np.log2(100) / 100)


@problems
def test_C16_tilted_information_averages_to_the_rate(problem):
    p, d, D = problem
    information = np.asarray(finite.d_tilted_information(p, d, D))
    rate = rate_at(p, d, D)
    assert information @ p == pytest.approx(float(rate.value), abs=2e-9)
    variance = p @ (information - information @ p) ** 2
    assert float(finite.dispersion(p, d, D)) == pytest.approx(variance, abs=1e-12)
    second = finite.discrete_second_order(p, d, D)
    assert float(second.rate_distortion) == pytest.approx(float(rate.value), abs=2e-9)


def test_C16_tilted_information_of_a_coin():
    p = np.array([0.8, 0.2])
    entropy = -0.1 * np.log2(0.1) - 0.9 * np.log2(0.9)
    information = finite.d_tilted_information(p, HAMMING, 0.1)
    np.testing.assert_allclose(information, -np.log2(p) - entropy, rtol=0, atol=1e-9)
    with_spare = finite.d_tilted_information([0.5, 0.0, 0.5], 1 - np.eye(3), 0.1)
    assert float(with_spare[1]) == 0


@pytest.mark.parametrize("rare", [1e-6, 1e-11, 1e-14, 1e-18, 1e-40, 1e-250])
def test_C16_the_information_of_a_rare_letter_is_right_or_refused(rare):
    """All bits are spent on the rare letter: the search compares masses with one, and lost it below 1e-13."""
    D = 0.5 * rare
    p = np.array([1 - rare, rare])
    entropy = special.xlogy(D, 1 / D) + (1 - D) * -np.log1p(-D)
    wanted = -np.log2(p) - entropy / np.log(2)
    try:
        found = finite.d_tilted_information(p, HAMMING, D)
    except RuntimeError as error:
        assert rare < 1e-12
        assert f"distortion = {D!r}" in str(error)  # noqa: PT017
    else:
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=rare)


def test_C16_tilted_information_on_a_straight_piece():
    # An eraser of cost 0.3 makes the fair coin's curve a line from (0, 1) to (0.3, 0).
    p, d = np.array([0.5, 0.5, 0.0]), np.array([[0, 1, 0.3], [1, 0, 0.3], [0, 0, 0]])
    for D in (0.15, 0.25):
        source = tilted(p, d, D)
        rate = float(rate_at(p, d, D).value)
        assert float(np.sum(source.information * p)) == pytest.approx(rate, abs=2e-9)
        spent = np.asarray(source.output_marginal)
        assert 0 < spent[2] < 1


@settings(max_examples=15)
@given(
    strategies.pmfs(3),
    st.lists(st.integers(0, 3), min_size=9, max_size=9),
    st.floats(0.1, 0.9),
    st.sampled_from((1e-6, 0.05, 0.5)),
)
def test_C16_random_sources_keep_the_order(p, entries, share, eps):
    d = np.array(entries, float).reshape(3, 3)
    low, high = float(p @ d.min(axis=1)), float((p @ d).min())
    D = low + share * (high - low)
    if high - low < 1e-3:
        return
    found = finite.discrete(p, d, distortion=D, excess_probability=eps, block_lengths=[2, 9])
    assert np.all(found.lower <= np.where(found.feasible, found.upper, np.inf) + 1e-9)
    assert float(found.rate_distortion) == pytest.approx(float(rate_at(p, d, D).value), abs=1e-7)


def test_C16_rounding_to_a_coarser_lattice_only_loosens():
    fine = _discrete(THREE, 0.05, [6, 12])
    rough = _discrete(THREE, 0.05, [6, 12], step=0.3)
    assert np.all(rough.lower <= fine.lower + 1e-12)
    assert np.all(rough.upper >= fine.upper - 1e-12)
    half = _discrete(THREE, 0.05, [6, 12], step=0.5)
    np.testing.assert_allclose(half.upper, fine.upper, rtol=0, atol=1e-10)


@pytest.mark.parametrize("tilt", [0.0, 1.5])
@pytest.mark.parametrize("classes", [1, 2, 3, 4])
def test_letter_counts_against_enumeration(classes, tilt):
    generator = np.random.default_rng(classes)
    offsets, n, radius = np.array([0, 1, 3]), 4, 5
    masses = generator.dirichlet(np.ones(3), size=classes) * 0.9
    counts, log_p = letter_counts.balls(n, radius, Distances(offsets, masses), tilt)
    assert sorted(map(tuple, counts)) == sorted(map(tuple, sequence_types.compositions(n, classes)))
    for count, found in zip(counts, log_p, strict=True):
        distributions = np.repeat(masses, count, axis=0)
        exact = sum(
            np.prod(
                [distribution[i] for distribution, i in zip(distributions, values, strict=True)]
            )
            for values in itertools.product(range(3), repeat=n)
            if offsets[list(values)].sum() <= radius
        )
        assert np.exp(found) == pytest.approx(exact, rel=1e-12, abs=0)
    weights = np.exp(sequence_types.log_multinomial(counts))
    assert weights.sum() == pytest.approx(classes**n)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distortion": 0.5}, r"strictly between D_min = 0\.0 and D_max = 0\.4, got 0\.5"),
        ({"distortion": 0.0}, r"strictly between D_min = 0\.0 and D_max = 0\.4, got 0\.0"),
        ({"distortion": -0.1}, r"distortion must lie in \[0, inf\], got -0\.1"),
        ({"excess_probability": 0.0}, r"excess_probability must lie in \(0, 1\), got 0\.0"),
        ({"excess_probability": 1.0}, r"excess_probability must lie in \(0, 1\), got 1\.0"),
        ({"block_lengths": 0}, r"block_lengths must lie in \[1, 5000\], got 0\.0"),
        ({"step": 0.0}, r"step must lie in \(0, inf\), got 0\.0"),
        ({"step": 1e-6, "block_lengths": 1000}, "n = 1000 letters of 2 classes have"),
        ({"p": [0.5, 0.4]}, "p must sum to one"),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = {
        "p": BINARY[0],
        "distortions": HAMMING,
        "distortion": 0.11,
        "excess_probability": 0.1,
        "block_lengths": 5,
    }
    with pytest.raises(ValueError, match=message):
        finite.discrete(**(arguments | change))


def _hamming_tilted(p, D):
    """Tilted information under Hamming distortion in closed form, by reverse water-filling.

    At level theta every wrong letter has posterior probability min(p, theta), and the slope is
    log2((1 - D) / theta).
    """
    order = np.sort(p)[::-1]
    for k in range(len(p), 1, -1):
        theta = (D - order[k:].sum()) / (k - 1)
        if order[k - 1] >= theta * (1 - 1e-12):
            break
    return (1 - D) * np.log2((1 - D) / theta) + np.log2(theta) - np.log2(np.maximum(p, theta))


@pytest.mark.parametrize("p", [(0.6, 0.3, 0.1), (0.5, 0.25, 0.15, 0.1), (0.4, 0.3, 0.1, 0.1, 0.1)])
@pytest.mark.parametrize("off", [-1e-4, -1e-6, -1e-9, 0.0, 1e-9, 1e-6, 1e-4])
def test_C16_tilted_information_is_exact_where_a_letter_leaves_the_support(p, off):
    p = np.array(p)
    D = (p.size - 1) * p.min() + off
    exact = _hamming_tilted(p, D)
    found = finite.d_tilted_information(p, 1 - np.eye(p.size), D)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-12)
    dispersion = p @ (exact - p @ exact) ** 2
    found = finite.dispersion(p, 1 - np.eye(p.size), D)
    assert found == pytest.approx(dispersion, rel=0, abs=1e-12)
