"""C15: exact tails against untilted long doubles, binomial sums and all sequences of letters."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim.ranking.tails.letter_scores import score_sums
from rdsim.ranking.tails.score_tails import score_tail

THRESHOLDS = 4
N = 8


def all_sums(values, pmf, counts):
    """Every sequence of letters: its score and its probability."""
    letters = [x for x, count in enumerate(counts) for _ in range(count)]
    score, probability = np.zeros(1), np.ones(1)
    for x in letters:
        score = np.add.outer(score, np.asarray(values[x])).ravel()
        probability = np.multiply.outer(probability, np.asarray(pmf[x])).ravel()
    return score, probability


def _log(x):
    with np.errstate(divide="ignore"):
        return np.log(x)


@st.composite
def letter_tables(draw, entries):
    """Values and distributions of two kinds with three values, some without mass, and eight letters."""
    values = np.array(draw(st.lists(entries, min_size=6, max_size=6))).reshape(2, 3)
    weight = st.sampled_from([1.0, 0.0, 1e-12]) | st.floats(0.01, 1.0)
    pmf = np.array(draw(st.lists(weight, min_size=6, max_size=6))).reshape(2, 3)
    pmf[:, draw(st.integers(0, 2))] += 0.5
    first = draw(st.integers(0, N))
    return values, pmf / pmf.sum(axis=1, keepdims=True), (first, N - first)


@settings(max_examples=25)
@given(letter_tables(st.integers(0, 4).map(float)), st.floats(0.1, 3.0), st.floats(-2.0, 2.0))
def test_C15_lattice_tails_are_those_of_all_sequences(table, step, offset):
    levels, pmf, counts = table
    levels[0] = [1.0, 0.0, 4.0]  # step and width are known, so that one shape is compiled
    pmf[0] = 0.5 * pmf[0] + np.array([0.2, 0.3, 0.0]) + 1e-9 * np.array([-1.0, 0.0, 1.0])
    counts = (max(counts[0], 1), min(counts[1], N - 1))
    values = step * levels + offset * np.array([[1.0], [-0.5]])
    score, probability = all_sums(levels, pmf, counts)
    constant = offset * (counts[0] - 0.5 * counts[1])
    k = np.quantile(score[probability > 0], [0.0, 0.5, 0.9, 1.0], method="nearest")
    found = score_tail(values, pmf, counts, step * k + constant)
    tail = _log([probability[score > at].sum() for at in k])
    tie = _log([probability[score == at].sum() for at in k])
    np.testing.assert_allclose(found.log_tail.value, tail, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(found.log_tie.value, tie, rtol=1e-11, atol=1e-12)
    assert (found.log_tail.lower <= found.log_tail.upper).all()
    assert bool(found.log_tail.converged.all())
    between = score_tail(values, pmf, counts, step * (k - 0.5) + constant)
    np.testing.assert_allclose(
        between.log_tail.value, np.logaddexp(tail, tie), rtol=1e-11, atol=1e-12
    )
    assert (np.asarray(between.log_tie.upper) == -np.inf).all()


@pytest.mark.parametrize("p", [0.5, 0.1, 1e-6])
def test_C15_reaches_far_below_2_to_the_minus_1000(p):
    n = 700
    k = np.array([0, 200, 500, 699])
    log_point = scipy.stats.binom.logpmf(np.arange(n + 1), n, p)
    exact = [np.logaddexp.reduce(log_point[i + 1 :]) for i in k]
    found = score_tail([[0.0, 1.0]], [[1 - p, p]], [n], k)
    exact[0] = np.log(-np.expm1(n * np.log1p(-p))) if p < 0.1 else np.log1p(-((1 - p) ** n))
    np.testing.assert_allclose(found.log_tail.value, exact, rtol=1e-11, atol=2e-12)
    np.testing.assert_allclose(found.log_tie.value, log_point[k], rtol=1e-11, atol=2e-12)
    assert (found.log_tail.gap < 1e-8).all()
    assert p > 1e-3 or float(found.log_tail.value[-1]) < -1000 * np.log(2)


@settings(max_examples=15)
@given(letter_tables(st.floats(-2.0, 2.0)), st.floats(0.0, 1.0), st.data())
def test_C15_bounds_without_a_lattice_hold_the_sum_over_all_sequences(table, place, data):
    """Irrational differences; thresholds also at, just above and just below values of the sum."""
    values, pmf, counts = table
    values = values + np.sqrt([[2.0, 3.0, 5.0], [7.0, 11.0, 13.0]])
    score, probability = all_sums(values, pmf, counts)
    score = score[probability > 0]
    t = np.quantile(score, place, method=data.draw(st.sampled_from(["nearest", "linear"])))
    t += data.draw(st.sampled_from([0.0, 1e-3, -1e-3]))
    found = score_tail(values, pmf, counts, t, tolerance=5e-3)
    if found.step > 0:  # one kind with two values is a lattice
        return
    probability = probability[probability > 0]
    span = 1e-10
    strict, weak = (
        _log(probability[score > t + span].sum()),
        _log(probability[score > t - span].sum()),
    )
    assert found.log_tail.lower <= strict + 1e-9
    assert found.log_tail.upper >= strict - 1e-9
    tie = _log(probability[np.abs(score - t) <= span].sum())
    assert found.log_tie.upper >= tie - 1e-6
    if strict == weak and not ((score > t - 0.02) & (score < t + 0.02)).any():
        assert found.log_tail.gap < 0.01


def test_C15_bounds_shrink_with_the_tolerance_and_hold_a_lattice_too():
    """The same sum as a lattice (exact) and, its step hidden by a tiny irrational, by bounds."""
    n, p = 100, 0.3
    k = np.array([35.5, 60.5, 90.5])
    exact = score_tail([[0.0, 1.0, 0.0]] * 2, [[1 - p, p, 0.0]] * 2, [50, 50], k).log_tail
    hidden = [[0.0, 1.0, 2.0], [0.0, 1.0 + 1e-7 * np.pi, 2.0]]
    pmf = np.array([[1 - p, p, 1e-300]] * 2)
    gaps = []
    for tolerance in (0.1, 1e-3):
        found = score_tail(hidden, pmf, [50, 50], k, tolerance=tolerance)
        assert float(found.step[0]) == 0
        assert (found.log_tail.lower <= exact.upper + 1e-4).all()
        assert (found.log_tail.upper >= exact.lower - 1e-4).all()
        assert (found.log_tail.gap <= tolerance).all()
        gaps.append(np.asarray(found.log_tail.gap))
    assert n == 100
    assert (gaps[1] < gaps[0]).all()


def test_C15_ends_and_impossible_letters():
    values, pmf = [[0.0, 1.0, np.sqrt(2.0)]] * 2, [[0.5, 0.3, 0.2]] * 2
    top = 8 * np.sqrt(2.0)
    found = score_tail(values, pmf, [3, 5], [-1.0, 0.0, top, top + 1])
    np.testing.assert_allclose(
        found.log_tail.value, [0, np.log1p(-(0.5**8)), -np.inf, -np.inf], rtol=1e-12, atol=0
    )
    np.testing.assert_allclose(
        found.log_tie.value,
        [-np.inf, 8 * np.log(0.5), 8 * np.log(0.2), -np.inf],
        rtol=1e-12,
        atol=0,
    )
    barred = [[0.0, -np.inf, -np.inf], [0.0, 1.0, 2.0]]
    found = score_tail(barred, pmf, [3, 5], [-1.0, 9.0, 3.0, 11.0])
    np.testing.assert_allclose(
        found.log_tail.value[:2],
        3 * np.log(0.5) + np.array([0, 5 * np.log(0.2)]),
        rtol=1e-12,
        atol=0,
    )
    assert float(found.log_tail.value[3]) == -np.inf
    never = score_tail([[-np.inf] * 3, [0.0, 1.0, 2.0]], pmf, [3, 5], [-1.0, 9.0, 3.0, 11.0])
    assert (np.asarray(never.log_tail.value) == -np.inf).all()


@pytest.mark.parametrize(
    ("values", "counts", "step"),
    [
        ([[0.0, 0.6, 1.4], [5.0, 5.2, 5.0]], [3, 3], 0.2),
        ([[0.0, 0.6, 1.2], [5.0, 5.2, 5.0]], [3, 0], 0.6),
        ([[0.0, 1.0, 1.0], [0.0, np.sqrt(2.0), 0.0]], [3, 3], 0.0),
        ([[0.0, 1.0, 1.0], [0.0, np.sqrt(2.0), 0.0]], [0, 3], np.sqrt(2.0)),
        ([[0.0, 1.0, 5000.5], [0.0, 0.0, 0.0]], [3, 3], 0.0),
        ([[np.log2(0.9), np.log2(0.1), np.log2(0.1)]] * 2, [3, 3], np.log2(9.0)),
    ],
)
def test_the_finest_common_lattice_of_the_kinds_that_occur(values, counts, step):
    sums, _ = score_sums(values, [[0.5, 0.3, 0.2]] * 2, counts, 0.0)
    np.testing.assert_allclose(sums.step, [step], rtol=1e-12)


@pytest.mark.parametrize("tolerance", [0.0, 1e-6, 2.0])
def test_tolerance_outside_its_range(tolerance):
    with pytest.raises(ValueError, match="tolerance must lie in"):
        score_tail([[0.0, 1.0]], [[0.5, 0.5]], [3], 1.0, tolerance=tolerance)
