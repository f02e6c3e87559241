"""C24: mismatched codebooks and the minimax codebook of a divergence ball."""

import jax.numpy as jnp
import numpy as np
import pytest
import strategies
from hypothesis import example, given, settings
from scipy.optimize import brentq

from rdsim.limits import closed_forms, rate_at, rate_distortion_curve
from rdsim.limits.shift import worst_case
from rdsim.limits.shift._divergence_ball import largest_mean
from rdsim.limits.shift.minimax import (
    _mixed_bound,
    _Scenarios,
    minimax_rate,
)
from rdsim.limits.shift.mismatch import mismatched_rate, redundancy
from rdsim.limits.shift.worst_case import worst_mismatched_rate

HAMMING = 1 - np.eye(2)


def by_scalar_search(p, d, q, D):
    """The largest, over slopes, of minus E log2 E_q 2^(-s d) less s D; and that slope."""
    rows, letters = p > 0, q > 0
    p, d, log_q = p[rows], d[np.ix_(rows, letters)], np.log2(q[letters])

    def tilted(s):
        exponent = log_q - s * d
        log_Z = np.logaddexp2.reduce(exponent, axis=1)
        return log_Z, p @ np.sum(np.exp2(exponent - log_Z[:, None]) * d, axis=1)

    s = 0.0
    if tilted(0.0)[1] > D:
        log_s = brentq(lambda t: tilted(np.exp(t))[1] - D, -30, 30, xtol=1e-14)
        s = np.exp(log_s)
    return -float(p @ tilted(s)[0] + s * D), s


def test_C24_a_uniform_codebook_serves_every_source_alike():
    D = np.array([0.0, 0.05, 0.3, 0.6, 2 / 3, 0.9])
    for p in ([0.5, 0.3, 0.2], [1.0, 0.0, 0.0]):
        limit = mismatched_rate(p, 1 - np.eye(3), np.full(3, 1 / 3), D)
        np.testing.assert_allclose(
            limit.value, closed_forms.uniform_hamming(3, distortion=D), rtol=0, atol=1e-12
        )
        assert np.all(limit.converged)


def test_C24_a_matched_codebook_costs_nothing_more():
    p, D = np.array([0.3, 0.7]), 0.1
    q = (p - D) / (1 - 2 * D)
    assert float(redundancy(p, HAMMING, q, D).upper) <= 2e-9
    other = redundancy(p, HAMMING, [0.5, 0.5], D)
    h = closed_forms.uniform_hamming(2, distortion=D) - closed_forms.bernoulli_hamming(
        0.3, distortion=D
    )
    assert float(other) == pytest.approx(float(h), abs=2e-9)


@settings(max_examples=12)
@given(strategies.pmfs(4), strategies.pmfs(3), strategies.distortions((4, 3)))
@example(  # the best slope is far above 60
    np.array([0.4, 0.2, 0.2, 0.2]),
    np.array([1.0, 0.0, 5e-13]),
    np.array([[0.5, 0.0, 0.0], [0.0] * 3, [0.0] * 3, [0.0] * 3]),
)
def test_C24_bounds_enclose_the_scalar_search_and_the_rate_distortion_function(p, q, d):
    low = p @ np.where(q > 0, d, np.inf).min(axis=1)
    D = low + np.array([0.1, 0.5, 0.9]) * max(p @ d @ q - low, 0.0) + 1e-9
    limit = mismatched_rate(p, d, q, D)
    assert np.all(limit.converged)
    for index in range(3):
        slow, slope = by_scalar_search(p, d, q, D[index])
        # A steep curve feels that D is rounded.
        rounding = 1e-12 + 1e-15 * slope
        assert limit.lower[index] - rounding <= slow <= limit.upper[index] + rounding
    assert np.all(limit.upper >= rate_at(p, d, D).lower - 1e-12)
    assert np.all(np.diff(limit.upper) <= 1e-9)


def test_C24_bounds_of_the_redundancy_at_a_loose_tolerance_enclose_it():
    draws = np.random.default_rng(3)
    p, q, d = draws.dirichlet(np.ones(6)), draws.dirichlet(np.ones(5)), draws.random((6, 5))
    d -= d.min(axis=1, keepdims=True)
    loose = redundancy(p, d, q, 0.1, tolerance=0.1)
    tight = redundancy(p, d, q, 0.1, tolerance=1e-10)
    assert float(loose.upper - loose.lower) > 1e-6  # so that the ends are told apart
    assert float(loose.lower) <= float(tight.upper)
    assert float(tight.lower) <= float(loose.upper)
    assert float(loose.lower) < float(tight.value) - 1e-9


def test_C24_edges_are_infinite_or_zero():
    d = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, np.inf]])
    limit = mismatched_rate([0.5, 0.5], d, [0.0, 1.0, 0.0], [0.4, 0.5, 0.6])
    np.testing.assert_array_equal(limit.value, [np.inf, 0, 0])
    assert np.isinf(float(mismatched_rate([0.5, 0.5], d, [0.0, 0.0, 1.0], 5.0)))
    # A quarter of the codewords is forbidden to one letter in two, whatever the distortion.
    forbidden = mismatched_rate([0.5, 0.5], d, [0.5, 0.25, 0.25], 9.0)
    assert float(forbidden) == pytest.approx(0.5 * np.log2(4 / 3), abs=1e-12)
    nearest = mismatched_rate([0.5, 0.5], d, [0.25, 0.75, 0.0], 0.0)
    assert float(nearest) == pytest.approx(0.5 * (2 - np.log2(0.75)), abs=1e-12)


@pytest.mark.parametrize("seed", range(30))  # of 18 and 27 the entries, added in order, exceed one
def test_C24_no_rate_is_negative_where_a_codebook_sums_to_a_rounding_above_one(seed):
    p, q, d = np.full(4, 0.25), np.random.default_rng(seed).dirichlet(np.ones(4)), 1 - np.eye(4)
    free = mismatched_rate(p, d, q, [1.0, 2.0])
    exact = mismatched_rate(p, 0 * d, q, 0.0)  # every codeword reproduces every letter
    worst = worst_mismatched_rate(p, d, q, 0.1, distortion=1.0)
    for found in (free, exact, worst):
        assert np.all(found.lower >= 0)
        assert np.all(found.upper >= 0)
        assert np.all(found.upper < 1e-12)


@settings(max_examples=12)
@given(strategies.pmfs(4), strategies.scores((1, 4)))
def test_C24_the_ball_bound_is_met_inside_the_ball(p0, g):
    for delta in (0.0, 0.01, 0.5):
        bound, distribution = largest_mean(jnp.asarray(g), jnp.asarray(p0), jnp.asarray(delta))
        P = np.asarray(distribution[0])
        used = P > 0
        assert np.sum(P[used] * np.log2(P[used] / p0[used])) <= delta + 1e-12
        assert float(P @ g[0]) <= float(bound[0]) + 1e-9
        assert float(bound[0]) - float(P @ g[0]) <= 1e-5
        assert float(bound[0]) <= g[0][p0 > 0].max() + 1e-12


def test_C24_no_ball_is_the_rate_and_a_wide_one_the_largest():
    p, D = np.array([0.7, 0.3]), 0.1
    none = minimax_rate(p, HAMMING, 0.0, distortion=D)
    assert none.converged
    assert float(none.rate) == pytest.approx(0.412295306, abs=1e-6)
    wide = minimax_rate(p, HAMMING, 9.0, distortion=D)
    assert wide.converged
    assert float(wide.rate) == pytest.approx(
        float(closed_forms.uniform_hamming(2, distortion=D)), abs=1e-6
    )
    np.testing.assert_allclose(wide.codebook, 0.5, rtol=0, atol=1e-2)
    assert float(wide.largest_rate) == pytest.approx(float(wide.rate), abs=1e-4)


def test_C24_binary_minimax_is_the_rate_of_the_hardest_distribution_in_the_ball():
    p0, delta, D = np.array([0.8, 0.2]), 0.02, 0.1
    found = minimax_rate(p0, HAMMING, delta, distortion=D)

    def divergence(x):
        return x * np.log2(x / 0.2) + (1 - x) * np.log2((1 - x) / 0.8)

    hardest = brentq(lambda x: divergence(x) - delta, 0.2, 0.5, xtol=1e-15)
    exact = float(closed_forms.bernoulli_hamming(hardest, distortion=D))
    assert found.converged
    assert float(found.rate.lower) <= exact + 1e-9
    assert exact <= float(found.rate.upper) + 1e-5
    assert float(found.largest_rate) == pytest.approx(exact, abs=1e-5)
    # The bound is a worst case: no distribution in the ball costs the codebook more.
    q = np.asarray(found.codebook)
    for x in np.linspace(0.05, hardest, 9):
        if divergence(x) <= delta:
            cost = mismatched_rate([1 - x, x], HAMMING, q, D)
            assert float(cost.lower) <= float(found.rate.upper) + 1e-12
    # And the codebook of the centre is worse than it.
    centre = rate_distortion_curve(p0, HAMMING, [np.log2(9)]).output_marginal[0]
    distribution = np.array([1 - hardest, hardest])
    assert float(mismatched_rate(distribution, HAMMING, centre, D)) > float(found.rate.upper)


@pytest.mark.parametrize("seed", range(3))
def test_C24_worst_case_and_minimax_bound_every_distribution_and_codebook_drawn(seed):
    generator = np.random.default_rng(seed)
    p0, d = generator.dirichlet(np.ones(3)), np.abs(np.arange(3.0)[:, None] - np.arange(3.0))
    q, delta, D = generator.dirichlet(np.ones(3)), 0.1, 0.25
    worst = worst_mismatched_rate(p0, d, q, delta, distortion=D)
    assert worst.converged
    distributions = p0 * np.exp(generator.normal(size=(4000, 3)))
    distributions /= distributions.sum(axis=1, keepdims=True)
    distributions = distributions[
        np.sum(distributions * np.log2(distributions / p0), axis=1) <= delta
    ]
    seen = max(by_scalar_search(P, d, q, D)[0] for P in distributions[:400])
    assert seen <= float(worst.upper) + 1e-9
    assert seen >= float(worst.lower) - 0.05
    found = minimax_rate(p0, d, delta, distortion=D, tolerance=1e-5)
    assert found.converged
    assert float(found.rate.lower) <= float(worst.upper)
    assert float(found.largest_rate) <= float(found.rate.upper) + 1e-12
    again = worst_mismatched_rate(p0, d, found.codebook, delta, distortion=D)
    assert float(again.lower) <= float(found.rate.upper)
    assert float(again.upper) >= float(found.rate.lower)
    for other in generator.dirichlet(np.ones(3), 3):
        assert float(worst_mismatched_rate(p0, d, other, delta, distortion=D)) >= float(
            found.rate.lower
        )


def test_C24_a_ball_that_the_codebook_cannot_serve_costs_infinitely_much():
    assert np.isinf(
        float(worst_mismatched_rate([0.9, 0.1], HAMMING, [1.0, 0.0], 0.1, distortion=0.15))
    )


def test_C24_codewords_equally_far_from_every_letter_need_no_bits(monkeypatch):
    """Slopes had no scale then: of those up to 1e303 rounding made a rate of 1e261 bits, in programs compiled with optimisation."""
    slopes, bound_cells = [], worst_case._bound_cells

    def watched(*arguments):
        slopes.append(float(arguments[-1].max()))
        return bound_cells(*arguments)

    monkeypatch.setattr(worst_case, "_bound_cells", watched)
    p, far = [1e-12, 0.95 - 1e-12, 0.05], np.array([0.44, 0.24, 0.33])
    d, D = np.column_stack([far, far]), far.max()
    worst = worst_mismatched_rate(p, d, [0.3, 0.7], 0.01, distortion=D)
    best = minimax_rate(p, d, 0.01, distortion=D)
    for found in (worst, best.rate):
        assert float(found.lower) == float(found.upper) == 0
        assert found.converged
    assert max(slopes) <= 2**12


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mismatched_rate([0.5, 0.4], HAMMING, [0.5, 0.5], 0.1), "p must sum to one"),
        (lambda: mismatched_rate([0.5, 0.5], HAMMING, [0.5, 0.4], 0.1), "codebook must sum to one"),
        (
            lambda: mismatched_rate([0.5, 0.5], np.eye(3), [0.5, 0.5], 0.1),
            "distortions must have shape",
        ),
        (lambda: mismatched_rate([0.5, 0.5], HAMMING, [0.5, 0.5], -1), "distortion must lie in"),
        (lambda: minimax_rate([0.5, 0.5], HAMMING, -1, distortion=0.1), "divergence must lie in"),
        (
            lambda: minimax_rate([0.5, 0.5], HAMMING + 0.5, 0.1, distortion=0.1),
            "largest D_min over the ball",
        ),
        (
            lambda: minimax_rate([0.5, 0.5], np.eye(3), 0.1, distortion=0.1),
            "one row a source letter",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_C24_the_mixed_bound_lies_below_the_optimum_at_any_codebook():
    generator = np.random.default_rng(5)
    d = generator.uniform(size=(4, 3))
    for slope in (0.5, 4.0):
        p, q = generator.dirichlet(np.ones(4)), generator.dirichlet(np.ones(3))
        curve = rate_distortion_curve(p, d, [slope, slope, slope])
        best = float(curve.rate[0] + slope * (curve.distortion[0] - 0.2))
        scenarios = _Scenarios(p[None], np.array([slope]), d, 0.2)
        bound, weights = _mixed_bound(scenarios, q)
        assert bound <= best + 1e-9
        np.testing.assert_allclose(weights, [1.0], rtol=1e-12, atol=0)
        tight, _ = _mixed_bound(scenarios, np.asarray(curve.output_marginal[0]))
        assert tight == pytest.approx(best, abs=2e-9)
