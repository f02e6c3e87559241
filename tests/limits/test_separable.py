"""C5 on product grids: the solver that works by axes finds what the one that knows of no axes finds."""

import jax
import numpy as np
import pytest

from rdsim import limits
from rdsim.limits.rate_distortion import _separable as separable
from rdsim.limits.rate_distortion._separable import Kronecker, SumOfAxes


def grid(points, seed=0, other=None):
    """Masses on a grid of the plane that are no product, and the squared error between the points."""
    x = np.linspace(-3.0, 3.0, points)
    y = np.linspace(-2.0, 4.0, other or points)
    centres = np.random.default_rng(seed).normal(size=(3, 2))
    squares = [(x[:, None] - a) ** 2 + (y - b) ** 2 for a, b in centres]
    p = sum(np.exp(-square * rate) for square, rate in zip(squares, (0.5, 1.0, 3.0), strict=True))
    first, second = (x[:, None] - x) ** 2, (y[:, None] - y) ** 2
    d = first[:, None, :, None] + second[None, :, None, :]
    return p.ravel() / p.sum(), d.reshape(p.size, p.size), first, second


@pytest.mark.parametrize("seed", range(5))
def test_products_with_the_factors_are_those_with_the_matrix(seed):
    draws = np.random.default_rng(seed)
    m1, n1, m2, n2 = draws.integers(1, 7, 4)
    A, B = draws.random((m1, n1)), draws.random((m2, n2))
    K, full = Kronecker(A, B), np.kron(A, B)
    q, nu = draws.random(n1 * n2), draws.random(m1 * m2)
    np.testing.assert_allclose(K @ q, full @ q, rtol=1e-14, atol=0)
    np.testing.assert_allclose(nu @ K, nu @ full, rtol=1e-14, atol=0)
    np.testing.assert_allclose(K.sum(), full.sum(), rtol=1e-13, atol=0)


@pytest.mark.parametrize("first", [np.ones((12, 12)), np.tri(12, k=1).T * np.tri(12, k=1)])
@pytest.mark.parametrize("most", [0.0, 100.0])
@pytest.mark.parametrize("leaving", [0, 60, 84])
def test_newton_equations_are_solved_by_a_factorisation_and_by_conjugate_gradients(
    first, most, leaving, monkeypatch
):
    """Also by a factorisation of a band, where few letters of the first axis are near to one another.

    Letters that leave, whose q falls to zero, are solved by their diagonals, some or all of them.
    """
    monkeypatch.setattr(separable, "_MOST_STEPS", most)
    draws = np.random.default_rng(0)
    A = np.eye(12) + 0.1 * first * draws.random((12, 12))
    B = np.eye(7) + 0.1 * draws.random((7, 7))
    q = np.where(draws.permutation(84) < leaving, 1e-9, 1.0) * (draws.random(84) + 0.1)
    w = 1e-4 / q * (draws.random(84) + 0.1)
    weight = draws.random(84) + 0.1
    full, b = np.kron(A, B), 1e-3 / q
    wanted = np.linalg.solve(full.T @ (weight[:, None] * full) + np.diag(w / q), b)
    solve = Kronecker(A, B).normal_equations(weight, q, w)
    for sign in (1, -1):
        found = solve(sign * b)
        # What is left of the equations, in units of the products q w.
        left = sign * b - full.T @ (weight * (full @ found)) - w / q * found
        assert np.abs(q * left).max() <= 1.01e-3 * np.mean(q * w)
        assert np.abs(found - sign * wanted).max() <= 1e-2 * np.abs(wanted).max()


def test_a_sum_of_axes_is_found_exactly_or_not_at_all():
    _, d, first, second = grid(16, other=20)
    axes = SumOfAxes.found_in(d)
    np.testing.assert_array_equal(axes.first, first)
    np.testing.assert_array_equal(axes.second, second)
    np.testing.assert_array_equal(axes.columns(np.array([0, 7, 319])), d[:, [0, 7, 319]])
    for place, value in (((5, 300), np.nextafter(d[5, 300], 9)), ((319, 0), np.inf)):
        other = d.copy()
        other[place] = value
        assert SumOfAxes.found_in(other) is None
    assert SumOfAxes.found_in(np.random.default_rng(0).random((256, 256))) is None
    assert SumOfAxes.found_in(1 - np.eye(256)) is None


SLOPES = np.array([0.0, 0.05, 0.7, 2.0, 6.0, 20.0, 80.0, 1e4, np.inf])


@pytest.mark.parametrize("zeros", [False, True])
def test_C5_a_grid_has_the_curve_of_a_table_without_axes(zeros, monkeypatch):
    p, d, *_ = grid(16)
    if zeros:
        p = np.where(np.arange(256) % 7 == 0, 0.0, p)
        p /= p.sum()
    found = limits.rate_distortion_curve(p, d, SLOPES, method="column_generation")
    monkeypatch.setattr(separable, "_FEWEST", 10**9)
    plain = limits.rate_distortion_curve(p, d, SLOPES, method="column_generation")
    assert found.converged.all()
    # R + s D is unique at each slope, and both know it to their gaps; at slope inf it is R alone.
    spent = np.where(np.isinf(SLOPES), 0.0, SLOPES)
    cost, other = (c.rate.value + spent * c.distortion for c in (found, plain))
    np.testing.assert_allclose(cost, other, rtol=1e-13, atol=2e-9)
    np.testing.assert_allclose(found.distortion[-1], plain.distortion[-1], rtol=0, atol=1e-12)
    # The certificate by axes is that of the whole table.
    for slope, q, gap in zip(SLOPES[:-1], found.output_marginal, found.gap, strict=False):
        K = np.exp2(-slope * d)
        worst = np.log2(np.max((p / (K @ np.asarray(q))) @ K))
        assert worst <= gap + 1e-12


def test_C5_axes_that_are_independent_add_their_rates_and_distortions():
    _, d, first, second = grid(16, other=18)
    draws = np.random.default_rng(3)
    a, b = draws.dirichlet(np.ones(16)), draws.dirichlet(np.ones(18))
    slopes = np.array([0.3, 1.0, 3.0, 10.0, 40.0])
    curve = limits.rate_distortion_curve(np.outer(a, b).ravel(), d, slopes)
    parts = [limits.rate_distortion_curve(q, e, slopes) for q, e in ((a, first), (b, second))]
    for value in (lambda c: c.rate.value, lambda c: c.distortion):
        np.testing.assert_allclose(value(curve), sum(map(value, parts)), rtol=0, atol=1e-5)
    cost = [np.asarray(c.rate.value + slopes * c.distortion) for c in (curve, *parts)]
    np.testing.assert_allclose(cost[0], cost[1] + cost[2], rtol=0, atol=4e-9)


def test_C5_limits_at_targets_and_their_derivatives_hold_on_a_grid(monkeypatch):
    p, d, *_ = grid(16)
    targets = np.array([0.1, 0.5, 2.0])
    by_axes = jax.grad(lambda D: limits.rate_at(p, d, D).value.sum())(targets)
    found = limits.rate_at(p, d, targets)
    monkeypatch.setattr(separable, "_FEWEST", 10**9)
    plain = limits.rate_at(p, d, targets)
    assert ((found.lower <= plain.upper) & (plain.lower <= found.upper)).all()
    slopes = jax.grad(lambda D: limits.rate_at(p, d, D).value.sum())(targets)
    np.testing.assert_allclose(by_axes, slopes, rtol=1e-5, atol=0)
