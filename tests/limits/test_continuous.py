"""C7: continuous reproductions, against closed forms, dense evaluation and discrete grids."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import strategies
from hypothesis import example, given, settings
from hypothesis import strategies as st

from experiments.shared.lattice import lattice
from rdsim import limits
from rdsim.limits import closed_forms
from rdsim.limits.rate_distortion.continuous import continuous_rate_distortion
from rdsim.limits.rate_distortion.mixtures import gaussian_sum, maxima, solve_atoms

LN2 = np.log(2)
POINTS = 80
GAUSSIAN = lattice([1.0], [0.0], 1.0, POINTS, tail=7.0)
NARROW = lattice([0.5, 0.5], [-1.0, 1.0], 0.0625, POINTS, tail=7.0)
WIDE = lattice([0.5, 0.5], [-1.0, 1.0], 1.0, POINTS, tail=7.0)
PLANE = lattice(
    [0.3, 0.3, 0.4], [[-1.0, 0.0], [1.0, 0.0], [0.0, 1.5]], [[0.16, 0.09]], 24, tail=6.0
)


def _dense_bound(curve, index):
    """The dual bound on rate + slope * distortion, its c maximised on a fine grid; and F itself."""
    points = np.asarray(curve.points).reshape(len(curve.source), -1)
    atoms = np.asarray(curve.atoms[index]).reshape(curve.weights.shape[1], -1)
    s, q, p = float(curve.slope[index]), np.asarray(curve.weights[index]), np.asarray(curve.source)
    dual = np.asarray(curve.dual[index])

    def kernel(a, b):
        return 2.0 ** (-s * np.sum((a[:, None] - b) ** 2, axis=2))

    count = 4001 if points.shape[1] == 1 else 90
    axes = [
        np.linspace(x.min() - 0.1, x.max() + 0.1, count)
        for x in (points[:, i] for i in range(points.shape[1]))
    ]
    u = np.stack([x.ravel() for x in np.meshgrid(*axes, indexing="ij")], axis=1)
    bound = p @ np.log2(dual / p) - np.log2(np.max(dual @ kernel(points, u)))
    return bound, -p @ np.log2(kernel(points, atoms) @ q)


def test_C7_scalar_gaussian_meets_its_closed_form():
    D = np.array([0.9, 0.5, 0.15])
    slopes = [0.4, *(1 / (2 * LN2 * D))]
    curve = continuous_rate_distortion(*GAUSSIAN, slopes)
    assert np.all(curve.converged)
    exact = np.asarray(closed_forms.gaussian(1.0, distortion=curve.distortion))
    np.testing.assert_allclose(curve.rate, exact, rtol=0, atol=1e-9)
    np.testing.assert_allclose(curve.distortion[1:], D, rtol=1e-6)
    np.testing.assert_allclose(curve.rate[0], 0, rtol=0, atol=1e-12)
    D = np.linspace(0.2, 1.5, 14)
    assert np.all(curve.lower(D) <= np.asarray(closed_forms.gaussian(1.0, distortion=D)) + 1e-10)
    assert np.all(curve.upper(D) >= np.asarray(closed_forms.gaussian(1.0, distortion=D)) - 1e-10)
    assert curve.upper(0.1) == np.inf


def test_C7_mixture_where_the_shannon_bound_is_tight():
    # values.md: s = .25, D = .05 (slope 1 / (2 D ln 2)); s = 1, D = .5.
    for source, D, expected in ((NARROW, 0.05, 1.160830), (WIDE, 0.5, 0.985944154)):
        curve = continuous_rate_distortion(*source, [1 / (2 * LN2 * D)])
        assert curve.converged[0]
        np.testing.assert_allclose(curve.distortion[0], D, rtol=0, atol=1e-6)
        assert float(curve.lower(D)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("points", [80, 300])
def test_C7_atoms_that_only_just_become_many_are_certified(points):
    # Beyond slope 1 / (2 v ln 2), where the price c is nearly flat, two atoms (one for a Gaussian) are
    # many close together; at 11.8077 atoms entered only while climbing found a place for them.
    def density(y):
        return (np.exp(-8 * (y - 1) ** 2) + np.exp(-8 * (y + 1) ** 2)) * np.sqrt(2 / np.pi)

    entropy = scipy.integrate.quad(lambda y: -density(y) * np.log2(density(y)), -4, 4, limit=200)[0]
    source = lattice([0.5, 0.5], [-1.0, 1.0], 0.0625, points, tail=7.0)
    slopes = np.array([11.55, 11.8076720555, 12.3])
    D = 1 / (2 * LN2 * slopes)
    curve = continuous_rate_distortion(*source, slopes)
    assert np.all(curve.converged)
    shannon = entropy - 0.5 * np.log2(2 * np.pi * np.e * D) + slopes * D
    np.testing.assert_allclose(curve.rate + slopes * curve.distortion, shannon, rtol=0, atol=5e-9)

    source = lattice([1.0], [0.0], 1.0, points, tail=7.0)
    D = np.array([0.9999, 0.99, 0.97])
    curve = continuous_rate_distortion(*source, 1 / (2 * LN2 * D))
    assert np.all(curve.converged)
    exact = np.asarray(closed_forms.gaussian(1.0, distortion=curve.distortion))
    np.testing.assert_allclose(curve.rate, exact, rtol=0, atol=2e-9)


def test_C7_mixture_with_two_atoms_against_integrals():
    slope = 2 / LN2
    curve = continuous_rate_distortion(*NARROW, [slope])
    assert curve.converged[0]
    used = np.asarray(curve.weights[0]) > 0
    left, right = np.asarray(curve.atoms[0])[used]
    assert left == pytest.approx(-right, abs=1e-6)

    def density(y):
        both = np.exp(-8 * (y - 1) ** 2) + np.exp(-8 * (y + 1) ** 2)
        return both / 2 / np.sqrt(2 * np.pi * 0.0625)

    def posterior(y):
        return 1 / (1 + np.exp(-8 * right * y))

    def integral(function):
        return scipy.integrate.quad(function, -4, 4, epsabs=1e-13, points=[-1, 0, 1], limit=200)[0]

    def squared(y):
        return posterior(y) * (y - right) ** 2 + (1 - posterior(y)) * (y + right) ** 2

    def log_sum(y):
        return -np.logaddexp(-2 * (y - right) ** 2, -2 * (y + right) ** 2) / LN2 + 1

    D = integral(lambda y: density(y) * squared(y))
    F = integral(lambda y: density(y) * log_sum(y))
    np.testing.assert_allclose(curve.distortion[0], D, rtol=0, atol=1e-10)
    np.testing.assert_allclose(curve.rate[0], F - slope * D, rtol=0, atol=1e-10)
    # The atoms are the best two: the centroid condition.
    centroid = integral(lambda y: density(y) * posterior(y) * y) * 2
    np.testing.assert_allclose(right, centroid, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("source", "slopes", "tolerance"),
    [(NARROW, [1.0, 6.0, 12.0, 20.0], 1e-9), (PLANE, [0.3, 1.5], 1e-8)],
    ids=["line", "plane"],
)
def test_C7_the_gap_is_honest_under_dense_evaluation(source, slopes, tolerance):
    curve = continuous_rate_distortion(*source, slopes, tolerance=tolerance)
    assert np.all(curve.converged)
    np.testing.assert_allclose(curve.weights.sum(axis=1), 1.0, rtol=1e-12)
    for index, slope in enumerate(slopes):
        bound, lagrangian = _dense_bound(curve, index)
        ours = float(curve.rate[index] + slope * curve.distortion[index])
        assert ours == pytest.approx(lagrangian, abs=1e-11)
        # The grid misses the very top of c, so what is proved may lie below, but never above.
        assert ours - float(curve.gap[index]) <= bound + 1e-12


def test_C7_lies_below_every_grid_of_reproductions_and_close_to_a_fine_one():
    slopes = np.array([1.0, 4.0, 14.0])
    curve = continuous_rate_distortion(*NARROW, slopes)
    lower = np.asarray(curve.rate - curve.gap + curve.slope * curve.distortion)
    y = NARROW[0]
    for count, excess in ((60, 5e-3), (128, 1.2e-3)):
        grid = np.linspace(y.min(), y.max(), count)
        discrete = limits.rate_distortion_curve(NARROW[1], (y[:, None] - grid) ** 2, slopes)
        achieved = np.asarray(discrete.rate + discrete.slope * discrete.distortion)
        assert np.all(lower <= achieved + 1e-12)
        assert np.all(achieved - lower <= excess)


@settings(max_examples=15)
@given(
    st.lists(st.floats(-3, 3), min_size=6, max_size=6),
    st.lists(st.floats(0.05, 1), min_size=6, max_size=6),
    st.floats(0.02, 3.0),
)
def test_C7_random_points_are_certified_and_bounded_by_grids(points, weights, slope):
    z, p = np.array(points), np.array(weights) / np.sum(weights)
    curve = continuous_rate_distortion(z, p, [slope])
    assert curve.converged[0]
    lagrangian = float(curve.rate[0] + slope * curve.distortion[0])
    lower = lagrangian - float(curve.gap[0])
    # The dual bound at the optimum of any finite set of reproductions lies above.
    grid = np.concatenate([np.linspace(-3, 3, 58), z])
    discrete = limits.rate_distortion_curve(p, (z[:, None] - grid) ** 2, [slope])
    achieved = float(discrete.rate[0] + slope * discrete.distortion[0])
    assert lower <= achieved + 1e-11
    assert lagrangian <= achieved + 2e-9
    # Translation and reflection change nothing.
    moved = continuous_rate_distortion(5 - z, p, [slope])
    other = float(moved.rate[0] + slope * moved.distortion[0])
    assert lagrangian == pytest.approx(other, abs=3e-9)


@settings(max_examples=25)
@given(strategies.pmfs(4), st.floats(30, 1e3))
@example(np.array([0.0, 1e-7, 1e-6, 1 - 1.1e-6]), 100.0)
def test_C7_points_out_of_each_others_reach_keep_their_entropy(p, widths):
    """However little mass a point has, no other atom can stand for it."""
    curve = continuous_rate_distortion(np.arange(4) * widths / np.sqrt(2 * LN2), p, [1.0])
    assert curve.converged[0]
    bits = scipy.stats.entropy(p, base=2)
    np.testing.assert_allclose(curve.rate[0], bits, rtol=0, atol=1e-9)
    np.testing.assert_allclose(curve.distortion[0], 0, rtol=0, atol=1e-9)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from((1, 2)), st.floats(0.1, 6.0))
def test_C7_bound_of_a_sum_of_gaussians_holds_and_is_tight(seed, dimension, spread):
    generator = np.random.default_rng(seed)
    z = generator.normal(size=(9, dimension)) * spread
    nu = generator.dirichlet(np.ones(9))
    cells = gaussian_sum.cells_over(z)
    peaks = maxima.local_maxima(z, nu, cells, 0.0)

    def c(u):
        return np.exp(-np.sum((u[:, None] - z) ** 2, axis=2) / 2) @ nu

    nu = nu / c(peaks).max()
    bound = gaussian_sum.largest_value(z, nu, 1e-10)
    u = generator.normal(size=(20_000, dimension)) * 1.5 * spread
    assert c(np.concatenate([u, peaks, z])).max() <= bound.upper
    assert bound.upper <= max(bound.seen, 1.0) + 2e-10
    assert c(bound.place[None])[0] == pytest.approx(bound.seen, abs=1e-10)
    # The same bound in other units of c.
    assert gaussian_sum.largest_value(z, 3 * nu, 1e-10).upper == pytest.approx(3, abs=1e-9)


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.sampled_from((1, 2)))
def test_C7_taylor_polynomial_is_within_its_remainder(seed, dimension):
    generator = np.random.default_rng(seed)
    z, nu = generator.normal(size=(7, dimension)) * 2, generator.dirichlet(np.ones(7))
    cells = gaussian_sum.cells_over(z)
    order = gaussian_sum.ORDER
    a = gaussian_sum.taylor(z, nu, cells, order)
    missed = gaussian_sum._remainder(z, nu, cells)
    half = gaussian_sum.HALF_WIDTH[dimension]
    i, j = (generator.integers(0, n, 50) for n in a.shape[:2])
    t = generator.choice([-1.0, 1.0, 0.37], size=(50, 2)) * ([1, 0] if dimension == 1 else [1, 1])
    u = (np.stack([cells[0][i], cells[1][j]], axis=1) + half * t)[:, :dimension]
    exact = np.exp(-np.sum((u[:, None] - z) ** 2, axis=2) / 2) @ nu
    k, m = np.arange(a.shape[2]), np.arange(a.shape[3])
    found = np.einsum("njk,nj,nk->n", a[i, j], t[:, :1] ** k, t[:, 1:] ** m)
    assert np.all(np.abs(found - exact) <= missed[i, j] + 1e-15)
    assert missed.max() < 1e-10


def test_C7_the_plane_splits_into_its_axes():
    # Independent axes at one slope: the Lagrangian is the sum of the two on the line.
    slope = [1 / (2 * LN2 * 0.8)]
    plane = lattice([1.0], [[0.0, 0.0]], [[1.0, 0.25]], 16, tail=4.5)
    curve = continuous_rate_distortion(*plane, slope, tolerance=1e-6)
    assert curve.converged[0]
    exact = float(closed_forms.gaussian(1.0, distortion=0.8))
    # Cut off at 4.5 deviations (7e-6), so only about as near to the closed form.
    assert float(curve.rate[0]) == pytest.approx(exact, abs=2e-4)
    assert float(curve.distortion[0]) == pytest.approx(0.8 + 0.25, abs=2e-3)


def test_C7_an_excess_that_stays_is_reported(monkeypatch):
    # With all the boxes of a user this takes half a minute, and ends with an excess of 1e-14.
    monkeypatch.setattr("rdsim.limits.rate_distortion.mixtures.gaussian_sum._MAX_BOXES", 10_000)
    z = NARROW[0][:, None] * np.sqrt(2 * 12.0 * LN2)
    strict = solve_atoms(z, NARROW[1], 1e-15)
    assert strict.excess > 1e-15
    curve = continuous_rate_distortion([0.0, 1.0], [0.5, 0.5], [1.0], tolerance=1e-16)
    assert not curve.converged[0]
    assert curve.gap[0] < 1e-8


def test_the_lattice_has_the_moments_of_its_mixture():
    y, p = lattice([1.0], [0.0], 1.0, 40, tail=6.0)
    np.testing.assert_allclose([p.sum(), p @ y, p @ y**2], [1, 0, 1], rtol=0, atol=1e-6)
    # Where the step is the kernel's deviation over 1.2 the lattice adds 1e-12 bits; a coarser one is another source.
    slope = 10 / (2 * LN2 * (1.2 * (y[1] - y[0])) ** 2)
    curve = continuous_rate_distortion(y, p, [slope])
    assert abs(float(curve.rate[0]) - 0.5 * np.log2(2 * LN2 * slope)) > 1e-3
    y, p = lattice([1.0], [[0.0, 1.0]], [[1.0, 0.5]], 20, tail=5.0)
    np.testing.assert_allclose(p @ y, [0.0, 1.0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(p @ (y - [0.0, 1.0]) ** 2, [1.0, 0.5], rtol=1e-4)


def test_slope_zero_and_padding():
    curve = continuous_rate_distortion([0.0, 1.0, 4.0], [0.5, 0.25, 0.25], [0.0, 50.0])
    assert curve.rate[0] == 0
    assert curve.distortion[0] == pytest.approx(float(curve.maximum_distortion))
    assert curve.atoms[0, 0] == 1.25
    np.testing.assert_array_equal(curve.weights[0], [1, 0, 0])
    np.testing.assert_allclose(curve.atoms[1], [0.0, 1.0, 4.0], rtol=0, atol=1e-6)
    assert curve.rate[1] == pytest.approx(1.5, abs=1e-9)
    flat = continuous_rate_distortion([[0.0], [1.0], [4.0]], [0.5, 0.25, 0.25], [50.0])
    assert flat.atoms.shape == (1, 3, 1)
    assert jax.tree.map(jnp.shape, flat).rate.value == (1,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.0, 1.0], [0.5, 0.4], [1.0]), r"weights must sum to one"),
        (([0.0, 1.0], [1.0], [1.0]), r"weights must have shape \(2,\), one a point, got \(1,\)"),
        (([[0.0] * 3], [1.0], [1.0]), r"points must have shape \(N,\), \(N, 1\) or \(N, 2\)"),
        (([0.0, np.nan], [0.5, 0.5], [1.0]), "points must not contain NaN"),
        (([0.0, 1.0], [0.5, 0.5], [-1.0]), r"slopes must lie in \[0, inf\), got -1.0"),
        (([0.0, 1.0], [0.5, 0.5], [np.inf]), r"slopes must lie in \[0, inf\), got inf"),
        (([0.0, 1.0], [0.5, 0.5], [1e16]), "slopes must be gentle enough .* got 1e[+]16"),
    ],
)
def test_bad_problems_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        continuous_rate_distortion(*arguments)


def test_it_computes_on_the_host():
    with pytest.raises(
        TypeError, match="continuous_rate_distortion computes on the host and cannot be traced"
    ):
        jax.jit(lambda s: continuous_rate_distortion([0.0, 1.0], [0.5, 0.5], s).rate)(jnp.ones(1))
