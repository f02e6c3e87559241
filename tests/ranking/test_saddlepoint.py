"""C15: the saddlepoint against untilted convolution in long doubles, down to tails of e^(-700)."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim.ranking.tails import saddlepoint
from rdsim.ranking.tails.letter_scores import score_sums
from rdsim.ranking.tails.saddlepoint import saddlepoint_tail
from rdsim.ranking.tails.score_tails import score_tail

THRESHOLDS = 6


def distribution_of_sum(levels, pmf, counts):
    """The distribution on 0, 1, ... of a sum of whole scores; long doubles reach down to e^(-11000)."""
    distribution = np.ones(1, np.longdouble)
    for level, row, count in zip(levels, pmf, counts, strict=True):
        letter = np.zeros(int(max(level)) + 1, np.longdouble)
        np.add.at(letter, np.asarray(level, int), row)
        for _ in range(int(count)):
            distribution = np.convolve(distribution, letter)
    return distribution


def log_tails(distribution):
    """Ln P[S > k] and ln P[S = k] for k = 0, 1, ..."""
    tail = np.append(np.cumsum(distribution[::-1])[::-1][1:], 0.0)
    with np.errstate(divide="ignore"):
        return np.log(tail).astype(float), np.log(distribution).astype(float)


def binomial(n, p, k):
    """Two kinds of letters alike, with a value that never occurs, so that shapes are shared."""
    pmf = np.array([[1 - p, p, 0.0]] * 2)
    return [[0.0, 1.0, 9.0]] * 2, pmf, [n // 3, n - n // 3], np.asarray(k, float)


@st.composite
def lattice_sources(draw):
    """Letter scores on a lattice, with rare values, empty kinds and coarse or irregular levels."""
    top = draw(st.sampled_from([1, 2, 5, 40]))
    levels = np.array(draw(st.lists(st.integers(0, top), min_size=6, max_size=6))).reshape(2, 3)
    levels -= levels.min(axis=1, keepdims=True)
    weight = st.sampled_from([1.0, 0.3, 1e-3, 1e-12]) | st.floats(0.01, 1.0)
    pmf = np.array(draw(st.lists(weight, min_size=6, max_size=6))).reshape(2, 3)
    n = draw(st.integers(50, 90))
    first = draw(st.integers(0, n))
    return levels, pmf / pmf.sum(axis=1, keepdims=True), np.array([first, n - first])


def log_normal_density(point, k):
    """Ln of the normal density at k of the sum that is tilted to the mean k, without the tilt: -inf at the ends of the range."""
    values = np.flatnonzero(np.isfinite(point))
    if not values[0] < k < values[-1]:
        return -np.inf
    # The mean rises with the tilt, so bisection finds it; a letter of probability 1e-12 needs a tilt of 28 nats at most.
    low, high = -1e4, 1e4
    for _ in range(100):
        tilt = 0.5 * (low + high)
        exponent = point[values] + tilt * (values - k)
        weight = np.exp(exponent - exponent.max())
        low, high = (tilt, high) if weight @ (values - k) < 0 else (low, tilt)
    variance = weight @ (values - k) ** 2 / weight.sum()
    return exponent.max() + np.log(weight.sum()) - 0.5 * np.log(2 * np.pi * variance)


@settings(max_examples=30)
@given(lattice_sources(), st.lists(st.floats(0, 1), min_size=THRESHOLDS, max_size=THRESHOLDS))
def test_C15_saddlepoint_is_within_one_per_cent_from_50_letters_on(source, shares):
    levels, pmf, counts = source
    tail, point = log_tails(distribution_of_sum(levels, pmf, counts))
    usable = np.flatnonzero((tail < -0.7) & (tail > -700))
    if usable.size == 0:
        return
    k = usable[(np.array(shares) * (usable.size - 1)).astype(int)]
    found = saddlepoint_tail(levels * 1.0, pmf, counts, k * 1.0)
    np.testing.assert_allclose(found.log_tail, tail[k], rtol=0, atol=0.00995)
    # Point masses far below the tail are not held to a per cent, nor those that rounding hides below the density around them.
    rare = point[k] <= tail[k] - 18.0
    seen = ~rare & (point[k] > [log_normal_density(point, one) + np.log(1e-9) for one in k])
    np.testing.assert_allclose(found.log_tie[seen], point[k][seen], rtol=0, atol=0.00995)
    assert (found.log_tie[rare] < tail[k][rare] - 9.0).all()


def test_C15_a_value_the_sum_cannot_take_where_the_terms_of_second_order_cancel():
    """Four below the greatest value, 1304, only 1302 and 1300 are taken: skewness and excess give the expansion .99."""
    levels, counts = np.array([[0, 0, 2], [20, 3, 0]]), np.array([2, 65])
    pmf = np.array([[1 / 3, 1 / 3, 1 / 3], [0.146, 0.366, 0.488]])
    tail, point = log_tails(distribution_of_sum(levels, pmf, counts))
    k = np.resize(np.arange(1300, 1305), THRESHOLDS)
    found = saddlepoint_tail(levels * 1.0, pmf, counts, k * 1.0)
    np.testing.assert_allclose(found.log_tail, tail[k], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.log_tie, point[k], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("levels", "weights", "counts", "threshold"),
    [
        # Multiples of 14 and a few ones: the tilted sum has humps 14 apart.
        ([[14, 0, 0], [0, 0, 1]], [[0.5980, 0.0013, 0.4007], [0.3143, 0.3428, 0.3428]], [10, 56], 168),
        # Almost surely one value: the tilted sum has mass a period of few frequencies away.
        ([[20, 0, 1], [0, 8, 14]], [[1e-12, 1e-12, 1.0], [3e-12, 3e-12, 1.0]], [38, 24], 377),
        # One letter: in the tilted sum the lowest value has weight, and it lies about a period below the highest.
        ([[0, 197, 200], [0, 0, 0]], [[1.0, 1e-167, 1e-169], [1.0, 0.0, 0.0]], [1, 0], 198),
    ],
)  # fmt: skip
def test_C15_tilted_sums_that_are_far_from_normal_are_exact_on_a_lattice(
    levels, weights, counts, threshold
):
    """Skewness and excess do not say so in the first cases, where the expansion is 3 to 6 per cent wrong."""
    levels, pmf = np.array(levels), np.array(weights)
    pmf /= pmf.sum(axis=1, keepdims=True)
    tail, _ = log_tails(distribution_of_sum(levels, pmf, counts))
    found = saddlepoint_tail(levels * 1.0, pmf, counts, np.full(THRESHOLDS, threshold * 1.0))
    # The tail of the second case is 2e-9 of its integral: a level beside the lattice by 1e-15 would miss by more.
    np.testing.assert_allclose(found.log_tail, tail[threshold], rtol=0, atol=1e-7)


def test_where_the_line_has_no_integral_the_second_order_stands(monkeypatch):
    """The line of an all but constant sum lies so far out that its integral may be no number."""
    integrals = saddlepoint.line_integrals

    def without_integral(*arguments):
        line, point = integrals(*arguments)
        nothing = jnp.full_like(line.whole, jnp.nan)
        return line._replace(whole=nothing, rest=nothing), point

    monkeypatch.setattr(saddlepoint, "line_integrals", without_integral)
    sums, _ = score_sums(np.array([[0.0, 1.0]]), np.array([[0.4, 0.6]]), [3], np.array([0.5, 2.5]))
    found = saddlepoint.saddlepoint_kernel.__wrapped__(sums)
    np.testing.assert_array_equal(found.log_tail, found.second_order)


@pytest.mark.parametrize(("n", "p"), [(50, 0.5), (50, 0.1), (1000, 0.1), (1000, 0.01)])
def test_C15_second_order_holds_for_binary_letters_where_first_order_does_not(n, p):
    k = np.unique(np.round(n * np.array([p + 0.04, 0.3, 0.5, 0.7, 0.9, 0.96])))[-6:]
    log_point = scipy.stats.binom.logpmf(np.arange(n + 1), n, p)
    exact = np.array([np.logaddexp.reduce(log_point[int(i) + 1 :]) for i in k])
    found = saddlepoint_tail(*binomial(n, p, k))
    np.testing.assert_allclose(found.second_order, exact, rtol=0, atol=5e-3)
    np.testing.assert_allclose(found.log_tail, exact, rtol=0, atol=4e-4)
    np.testing.assert_allclose(found.log_tie, log_point[k.astype(int)], rtol=0, atol=1e-3)
    if n == 50:
        assert np.abs(np.expm1(found.first_order - exact)).max() > 0.01


def test_C15_an_irregular_lattice_needs_the_rest_of_the_line():
    """Values 0, 100, 101: the sum returns to a coarse lattice, of which the expansion is blind."""
    levels, pmf, counts = np.array([[0, 100, 101]] * 2), np.array([[0.6, 0.3, 0.1]] * 2), [25, 25]
    tail, _ = log_tails(distribution_of_sum(levels, pmf, counts))
    k = np.array([2100, 2500, 2900, 3400, 4000, 4700])
    found = saddlepoint_tail(levels * 1.0, pmf, counts, k * 1.0)
    assert np.abs(np.expm1(found.second_order - tail[k])).max() > 0.3
    np.testing.assert_allclose(found.log_tail, tail[k], rtol=0, atol=1e-3)


def test_C15_the_mean_is_no_singularity():
    n, p = 300, 0.5
    k = np.arange(147, 153)
    exact = scipy.stats.binom.logsf(k, n, p)
    found = saddlepoint_tail(*binomial(n, p, k))
    np.testing.assert_allclose(found.log_tail, exact, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.second_order, exact, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.first_order, exact, rtol=0, atol=2e-3)


def test_C15_ends_of_the_range_are_exact():
    values, pmf, counts, _ = binomial(60, 0.3, 0)
    t = np.array([-0.5, 0.0, 59.0, 59.5, 60.0, 61.0])
    found = saddlepoint_tail(values, pmf, counts, t)
    most = 60 * np.log(0.3)
    expected = [0.0, np.log1p(-(0.7**60)), most, most, -np.inf, -np.inf]
    np.testing.assert_allclose(found.log_tail, expected, rtol=1e-12, atol=1e-12)
    ties = [-np.inf, 60 * np.log(0.7), np.log(60 * 0.7) + 59 * np.log(0.3), -np.inf, most, -np.inf]
    np.testing.assert_allclose(found.log_tie, ties, rtol=1e-3)
    assert np.isinf(found.tilt[0])


@pytest.mark.parametrize("n", [60, 400])
def test_C15_without_a_lattice_it_lies_within_one_per_cent_of_certified_bounds(n):
    values = np.array([[0.0, 1.0, np.sqrt(2.0)], [-np.pi, 0.3, np.e]])
    pmf = np.array([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3]])
    counts = np.array([n // 2, n // 2])
    mean, top = counts @ (values * pmf).sum(axis=1), counts @ values.max(axis=1)
    t = mean + (top - mean) * np.array([0.03, 0.1, 0.2, 0.3, 0.4, 0.5]) + 1e-5
    bounds = score_tail(values, pmf, counts, t, tolerance=5e-3).log_tail
    found = saddlepoint_tail(values, pmf, counts, t)
    assert (np.asarray(found.step) == 0).all()
    assert (found.log_tail > bounds.lower - 0.01).all()
    assert (found.log_tail < bounds.upper + 0.01).all()


def test_C15_without_a_lattice_few_values_are_a_counterexample():
    """Three values and 50 letters: near the end the sum takes few values, which no smooth distribution has."""
    values, pmf = np.array([[0.0, 1.0, np.sqrt(2.0)]] * 2), np.array([[0.5, 0.3, 0.2]] * 2)
    t = np.array([62.0, 64.0, 66.0, 67.0, 68.0, 69.0])
    bounds = score_tail(values, pmf, [25, 25], t, tolerance=5e-3).log_tail
    found = saddlepoint_tail(values, pmf, [25, 25], t)
    miss = np.maximum(bounds.lower - found.log_tail, found.log_tail - bounds.upper)
    assert 0.01 < miss.max() < 1.5


def test_C15_a_letter_of_minus_infinity_rules_the_sum_out():
    values, pmf, counts, k = binomial(60, 0.3, [10, 20, 30, 40, 50, 59])
    plain = saddlepoint_tail(values, pmf, counts, k)
    mass = 0.8
    barred = np.where(pmf > 0, pmf * mass, 1 - mass)
    found = saddlepoint_tail([[0.0, 1.0, -np.inf]] * 2, barred, counts, k)
    np.testing.assert_allclose(found.log_tail, plain.log_tail + 60 * np.log(mass), rtol=1e-12)
    np.testing.assert_allclose(found.log_tie, plain.log_tie + 60 * np.log(mass), rtol=1e-12)


def test_settings_broadcast_and_do_not_disturb_each_other():
    values, pmf, _, _ = binomial(60, 0.3, 0)
    found = saddlepoint_tail(values, pmf, [[[20, 40]], [[30, 50]]], [20.0, 30.0, 40.0])
    assert found.log_tail.shape == found.tilt.shape == (2, 3)
    alone = saddlepoint_tail(values, pmf, [30, 50], np.full(6, 30.0))
    np.testing.assert_allclose(found.log_tail[1, 1], alone.log_tail[0], rtol=1e-12)


BAD = [
    (
        {"probabilities": [[0.5, 0.6], [0.5, 0.5]]},
        r"probabilities must have rows that sum to one, got a sum of 1.1 at index 0",
    ),
    ({"probabilities": [[0.5, 0.5]]}, r"values and probabilities must be tables of one shape"),
    ({"probabilities": [[1.5, -0.5], [0.5, 0.5]]}, r"probabilities must lie in \[0, inf\]"),
    (
        {"values": [[0.0, np.inf], [0.0, 1.0]]},
        "values must be finite or -inf where probabilities are positive",
    ),
    ({"values": [[0.0, np.nan], [0.0, 1.0]]}, "values must not contain NaN"),
    ({"counts": [3, -1]}, r"counts must lie in"),
    ({"counts": [3.5, 1]}, "counts must be integers, got 3.5"),
    ({"counts": [3]}, r"counts must have one entry a kind, shape \(\.\.\., 2\), got \(1,\)"),
    ({"counts": [[3, 1]] * 2, "threshold": [1.0] * 3}, "must have settings that broadcast"),
    ({"threshold": np.nan}, "threshold must not contain NaN"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
@pytest.mark.parametrize("function", [saddlepoint_tail, score_tail])
def test_bad_input_is_named(function, change, message):
    good = {
        "values": [[0.0, 1.0]] * 2,
        "probabilities": [[0.5, 0.5]] * 2,
        "counts": [3, 1],
        "threshold": 2.0,
    }
    with pytest.raises(ValueError, match=message):
        function(**{**good, **change})
