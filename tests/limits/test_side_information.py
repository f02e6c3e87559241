"""Conditional and indirect R(D): reductions to the ordinary problem, with its certificate."""

import numpy as np
import pytest
import strategies
from hypothesis import given, settings
from scipy.optimize import minimize_scalar

from rdsim.limits import closed_forms, rate_at, rate_distortion_curve
from rdsim.limits.side_information.both_ends import (
    conditional_rate_at,
    conditional_rate_distortion,
    indirect_problem,
)

HAMMING = 1 - np.eye(2)


def dsbs(crossover):
    return np.array([[1 - crossover, crossover], [crossover, 1 - crossover]]) / 2


def entropy(p):
    p = np.asarray(p, float)
    return -np.sum(p[p > 0] * np.log2(p[p > 0]))


def h(p):
    return entropy([p, 1 - p])


def test_C6_conditional_binary_reference_values():
    limit = conditional_rate_at(dsbs(0.25), HAMMING, [0.05, 0.10, 0.25, 0.3, 0.0], compress="rows")
    expected = [0.524881167, 0.342282531, 0.0, 0.0, h(0.25)]
    np.testing.assert_allclose(limit.value, expected, rtol=0, atol=1.5e-9)
    assert np.all(limit.converged)


def test_C6_indirect_binary_reference_value():
    a, D = 0.1, np.array([0.1, 0.15, 0.2, 0.5, 0.7])
    problem = indirect_problem(dsbs(a), HAMMING, compress="columns")
    limit = rate_at(*problem, D)
    assert float(limit[2]) == pytest.approx(0.456435557, abs=1.5e-9)
    exact = closed_forms.bernoulli_hamming(0.5, distortion=(D - a) / (1 - 2 * a))
    np.testing.assert_allclose(limit.value, exact, rtol=0, atol=1e-9)
    with pytest.raises(ValueError, match=r"distortion must be at least D_min = 0\.1"):
        rate_at(*problem, 0.09)


def test_C6_conditional_is_the_best_split_of_the_distortion():
    # Two values of z, two coins: the split is found by a scalar search over closed forms.
    joint = np.array([[0.42, 0.06], [0.18, 0.34]])
    distortions = np.array([0.05, 0.12, 0.15, 0.18, 0.2])
    limit = conditional_rate_at(joint, HAMMING, distortions, compress="rows")
    assert np.all(limit.converged)

    def coin(p, D):
        return max(h(p) - h(min(D, p)), 0.0)

    for D, found in zip(distortions, np.asarray(limit.value), strict=True):
        best = minimize_scalar(
            lambda first, D=D: 0.6 * coin(0.3, first) + 0.4 * coin(0.15, (D - 0.6 * first) / 0.4),
            bounds=(0.0, D / 0.6),
            method="bounded",
            options={"xatol": 1e-10},
        )
        assert found == pytest.approx(best.fun, abs=2e-9)


@settings(max_examples=10)
@given(strategies.joint_pmfs((4, 3)), strategies.distortions((4, 3)))
def test_C5_conditional_bounds_are_ordered_and_below_the_unconditional(joint, d):
    curve = conditional_rate_distortion(joint, d, [0.5, 3.0, np.inf], compress="rows")
    p = joint.sum(axis=1)
    assert np.all(curve.converged)
    assert np.all(np.asarray(curve.rate) >= 0)
    # The letters of Z, one after the other, at the common slope.
    plain = rate_at(p, d, np.maximum(curve.distortion, p @ d.min(axis=1)))
    assert np.all(curve.rate - curve.gap <= plain.upper + 1e-9)
    information = entropy(p) + entropy(joint.sum(axis=0)) - entropy(joint.ravel())
    assert np.all(plain.lower <= curve.rate + information + 1e-8)
    again = conditional_rate_at(
        joint, d, np.maximum(curve.distortion, p @ d.min(axis=1)), compress="rows"
    )
    assert np.all(again.lower <= curve.rate + 1e-9)
    assert np.all(curve.rate - curve.gap <= again.upper + 1e-9)


def test_C5_knowing_an_independent_letter_changes_nothing_and_knowing_all_leaves_nothing():
    p, d = np.array([0.4, 0.3, 0.2, 0.1]), (1 - np.eye(4))[:, :3]
    D = np.array([0.2, 0.3, 0.4])
    independent = conditional_rate_at(np.outer(p, [0.3, 0.6, 0.1]), d, D, compress="rows")
    np.testing.assert_allclose(independent.value, rate_at(p, d, D).value, rtol=0, atol=2e-9)
    told = np.zeros((4, 3))
    told[[0, 1, 2, 3], [0, 1, 2, 2]] = p
    np.testing.assert_allclose(
        conditional_rate_at(told, d, D, compress="rows").value, 0, rtol=0, atol=1e-9
    )


@settings(max_examples=8)
@given(strategies.joint_pmfs((4, 3)), strategies.distortions((4, 3)))
def test_C5_indirect_is_that_of_the_averaged_distortion(joint, d):
    joint, d = joint.T, d[:3]  # three remote letters, four seen
    seen = np.zeros((4, 3))
    for y in range(4):
        for u in range(3):
            weights = joint[:, y]
            if weights.sum() > 0:
                used = weights > 0
                seen[y, u] = np.sum(weights[used] * d[used, u]) / weights.sum()
    problem = indirect_problem(joint, d, compress="columns")
    curve = rate_distortion_curve(*problem, [0.5, 2.0, 9.0])
    again = rate_at(joint.sum(axis=0), seen, np.asarray(curve.distortion) * (1 + 1e-12))
    assert np.all(again.lower <= curve.rate + 1e-8)
    assert np.all(curve.rate - curve.gap <= again.upper + 1e-8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: conditional_rate_at([[0.5, 0.4]], HAMMING, 0.1, compress="rows"),
            "joint must sum to one",
        ),
        (
            lambda: conditional_rate_at(dsbs(0.1), np.eye(3), 0.1, compress="rows"),
            "one row a letter y of the joint",
        ),
        (
            lambda: conditional_rate_at(dsbs(0.1), HAMMING, -0.1, compress="rows"),
            "distortion must lie in",
        ),
        (
            lambda: conditional_rate_distortion(dsbs(0.1), HAMMING, [0.0], compress="rows"),
            r"slopes must lie in \(0, inf\]",
        ),
        (
            lambda: conditional_rate_at(
                dsbs(0.1), [[np.inf, np.inf], [0, 0]], 0.1, compress="rows"
            ),
            "only inf in row 0",
        ),
        (
            lambda: indirect_problem(dsbs(0.1), np.eye(3), compress="columns"),
            "one row a letter x of the joint",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
