"""The point of a slope: on the curve, with that derivative, where a scalar solver finds it."""

import jax
import numpy as np
import pytest
import scipy.optimize

from rdsim import limits


def _crossover(p, slope):
    """Root of (1-2p) ln((1-b)/b) = s ln((1-a)/a), b = a * p, in the crossover itself."""

    def difference(a):
        b = a * (1 - p) + p * (1 - a)
        return (1 - 2 * p) * np.log((1 - b) / b) - slope * np.log((1 - a) / a)

    return scipy.optimize.brentq(difference, 1e-200, 0.5 - 1e-9, xtol=1e-300, maxiter=2000)


def _h(a):
    return -a * np.log2(a) - (1 - a) * np.log2(1 - a)


@pytest.mark.parametrize("p", [0.02, 0.1, 0.3])
def test_C10_point_of_a_slope_is_where_the_derivative_is_the_slope(p):
    slope = (1 - 2 * p) ** 2 * np.array([0.2, 0.3, 0.7, 0.98])
    point = limits.bottleneck_dsbs_point(p, slope=slope)
    a = np.array([_crossover(p, s) for s in slope])
    np.testing.assert_allclose(point.complexity, 1 - _h(a), rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        point.relevance, limits.bottleneck_dsbs(p, rate=point.complexity), rtol=1e-11, atol=0
    )
    derivative = jax.vmap(jax.grad(lambda r: limits.bottleneck_dsbs(p, rate=r)))(point.complexity)
    np.testing.assert_allclose(derivative, slope, rtol=1e-8, atol=0)
    # Mirrored letters are the same source.
    mirrored = limits.bottleneck_dsbs_point(1 - p, slope=slope)
    np.testing.assert_allclose(mirrored.complexity, point.complexity, rtol=1e-12, atol=0)


def test_C10_point_of_a_slope_that_the_curve_does_not_have():
    steep = limits.bottleneck_dsbs_point([0.1, 0.5], slope=[0.65, 0.3])
    np.testing.assert_array_equal(steep.complexity, 0.0)
    np.testing.assert_array_equal(steep.relevance, 0.0)
    clean = limits.bottleneck_dsbs_point([0.0, 1.0], slope=0.9)
    np.testing.assert_array_equal(clean.complexity, 1.0)
    np.testing.assert_array_equal(clean.relevance, 1.0)


def test_C10_point_of_a_slope_moves_as_differences_say():
    def rate(p, s):
        return limits.bottleneck_dsbs_point(p, slope=s).complexity

    for argument in (0, 1):
        step = np.eye(2)[argument] * 1e-5
        found = jax.grad(rate, argument)(0.1, 0.3)
        expected = (rate(0.1 + step[0], 0.3 + step[1]) - rate(0.1 - step[0], 0.3 - step[1])) / 2e-5
        assert float(found) == pytest.approx(float(expected), rel=1e-7, abs=0)


@pytest.mark.parametrize(
    ("p", "slope", "message"),
    [
        (0.1, 0.0, "slope must lie in"),
        (0.1, 1.0, "slope must lie in"),
        (1.1, 0.5, "crossover must lie in"),
        ([0.1, 0.2], [0.1, 0.2, 0.3], "slope and crossover must broadcast"),
    ],
)
def test_C10_bad_points_are_named(p, slope, message):
    with pytest.raises(ValueError, match=message):
        limits.bottleneck_dsbs_point(p, slope=slope)
