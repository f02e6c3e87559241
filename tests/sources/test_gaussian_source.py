import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from rdsim import sources
from rdsim.sources.discretisation import (
    TABLE_ERROR,
    bivariate_cells,
    cell_probabilities,
    normal_edges,
)
from rdsim.transformations import ComputesOnHostError

TRIALS = 200_000
JOINT = np.array([[2.0, 0.3, 0.9], [0.3, 1.0, -0.4], [0.9, -0.4, 1.5]])
correlations = st.sampled_from((0.0, 0.5, -0.9, 0.999)) | st.floats(-0.999, 0.999)


def from_joint(joint, dx):
    return sources.vector_gaussian(joint[:dx, :dx], joint[dx:, dx:], joint[:dx, dx:])


@given(correlations, st.floats(0.01, 100.0), st.floats(0.01, 100.0))
def test_a_scalar_pair_has_its_closed_form(rho, variance_x, variance_y):
    source = sources.gaussian(rho, variance_x=variance_x, variance_y=variance_y)
    expected = -0.5 * math.log2(1 - rho**2)
    np.testing.assert_allclose(source.mutual_information, expected, rtol=1e-11, atol=1e-15)
    np.testing.assert_allclose(source.canonical_correlations, [abs(rho)], rtol=1e-14)
    for entropy, variance in ((source.entropy_x, variance_x), (source.entropy_y, variance_y)):
        exact = 0.5 * math.log2(2 * math.pi * math.e * variance)
        np.testing.assert_allclose(entropy, exact, rtol=1e-14, atol=1e-14)


@given(st.tuples(*[st.floats(0.0, 0.999)] * 2), st.integers(0, 2**32 - 1))
def test_canonical_correlations_survive_any_change_of_coordinates(rho, seed):
    generator = np.random.default_rng(seed)
    A, B = (np.eye(d) + 0.3 * generator.uniform(-1, 1, (d, d)) for d in (3, 2))
    cross = A @ np.concatenate([np.diag(rho), np.zeros((1, 2))]) @ B.T
    source = sources.vector_gaussian(A @ A.T, B @ B.T, cross)
    np.testing.assert_allclose(source.canonical_correlations, sorted(rho)[::-1], rtol=0, atol=1e-13)
    expected = -0.5 * sum(math.log2(1 - r**2) for r in rho)
    np.testing.assert_allclose(source.mutual_information, expected, rtol=0, atol=1e-10)
    map_x, map_y = source.canonical_maps
    np.testing.assert_allclose(map_x @ map_x.T, A @ A.T, rtol=0, atol=1e-13)
    np.testing.assert_allclose(map_y @ map_y.T, B @ B.T, rtol=0, atol=1e-13)
    diagonal = np.concatenate([np.diag(source.canonical_correlations), np.zeros((1, 2))])
    np.testing.assert_allclose(map_x @ diagonal @ map_y.T, cross, rtol=0, atol=1e-13)


def test_information_is_the_sum_of_entropies_less_the_joint_entropy():
    source = from_joint(JOINT, 2)
    nats = [stats.multivariate_normal(cov=c).entropy() for c in (JOINT[:2, :2], 1.5, JOINT)]
    h_x, h_y, h_xy = np.array(nats) / math.log(2)
    np.testing.assert_allclose(source.entropy_x, h_x, rtol=1e-14)
    np.testing.assert_allclose(source.entropy_y, h_y, rtol=1e-14)
    np.testing.assert_allclose(source.mutual_information, h_x + h_y - h_xy, rtol=1e-12)


@pytest.mark.parametrize("variances", [(1.0, 1.0), (2.0, 3.0), (0.1, 7.0)])
def test_a_correlation_of_one_means_infinite_information(variances):
    source = sources.gaussian(-1.0, variance_x=variances[0], variance_y=variances[1])
    assert source.mutual_information == np.inf
    assert source.canonical_correlations[0] == 1
    assert sources.gaussian(1 - 1e-12).mutual_information < 20.5
    x, y = source.sample(jax.random.key(0), (TRIALS,))
    np.testing.assert_allclose(x, -y * math.sqrt(variances[0] / variances[1]), rtol=1e-13)


@pytest.mark.parametrize("dx", [1, 2])
def test_samples_follow_the_joint_distribution(dx):
    # Whitened by an independent Cholesky factor and mapped to uniforms: chi-square over 7^3 cells,
    # false alarm 1e-7; the key is fixed.
    trials = TRIALS
    x, y = from_joint(JOINT, dx).sample(jax.random.key(31), (trials,))
    assert x.shape == (trials, dx)
    assert y.shape == (trials, 3 - dx)
    white = np.linalg.solve(np.linalg.cholesky(JOINT), np.concatenate([x, y], axis=1).T)
    cell = np.minimum((stats.norm.cdf(white) * 7).astype(int), 6)
    counts = np.bincount(np.ravel_multi_index(tuple(cell), (7, 7, 7)), minlength=343)
    statistic = np.sum((counts - trials / 343) ** 2) / (trials / 343)
    assert statistic < stats.chi2.isf(1e-7, 342)


def bivariate_cdf(a, b, rho):
    """P(X <= a, Y <= b) by Owen's T function, for a and b not zero (Owen 1956)."""
    s = math.sqrt(1 - rho**2)
    with np.errstate(invalid="ignore"):
        both = 0.5 * (special.ndtr(a) + special.ndtr(b)) - 0.5 * (a * b < 0)
        both -= special.owens_t(a, (b / a - rho) / s) + special.owens_t(b, (a / b - rho) / s)
    both = np.where(
        np.isposinf(a), special.ndtr(b), np.where(np.isposinf(b), special.ndtr(a), both)
    )
    return np.where(np.isneginf(a) | np.isneginf(b), 0.0, both)


@pytest.mark.parametrize("rho", [1e-6, 0.3, -0.8, 0.99, -0.99999, 1 - 1e-9])
def test_cell_probabilities_of_the_bivariate_normal_are_exact_to_rounding(rho):
    x_edges = np.array([-np.inf, -3.1, -0.7, -0.1, 0.2, 0.201, 1.3, 4.4, np.inf])
    y_edges = np.array([-np.inf, -5.5, -1.9, -0.69, 0.21, 0.9, 2.2, np.inf])
    table = bivariate_cells(rho, x_edges, y_edges)
    corners = bivariate_cdf(x_edges[:, None], y_edges[None], rho)
    expected = np.diff(np.diff(corners, axis=0), axis=1)
    np.testing.assert_allclose(table, expected, rtol=0, atol=2e-15)
    assert (table >= 0).all()
    np.testing.assert_allclose(
        table.sum(axis=0), np.diff(stats.norm.cdf(y_edges)), rtol=0, atol=1e-15
    )
    np.testing.assert_allclose(
        table.sum(axis=1), np.diff(stats.norm.cdf(x_edges)), rtol=0, atol=1e-15
    )


def test_cell_probabilities_agree_with_scipy_and_at_the_ends_of_the_correlation():
    edges = np.array([-np.inf, -1.0, 0.0, 0.5, np.inf])
    distribution = stats.multivariate_normal(cov=[[1.0, 0.6], [0.6, 1.0]])
    corner = distribution.cdf([-1.0, 0.5]) - distribution.cdf([-1.0, 0.0])
    np.testing.assert_allclose(bivariate_cells(0.6, edges, edges)[0, 2], corner, rtol=0, atol=1e-6)
    masses = np.diff(stats.norm.cdf(edges))
    np.testing.assert_allclose(
        bivariate_cells(0.0, edges, edges), np.outer(masses, masses), rtol=1e-12, atol=0
    )
    np.testing.assert_allclose(
        bivariate_cells(1.0, edges, edges), np.diag(masses), rtol=0, atol=1e-16
    )
    mirrored = -edges[::-1]
    crossed = bivariate_cells(-1.0, mirrored, edges)
    np.testing.assert_allclose(crossed, np.diag(masses)[::-1], rtol=0, atol=1e-16)
    # Far cells keep their relative accuracy on either side.
    tails = cell_probabilities(np.array([8.0, -9.0]), np.array([9.0, -8.0]))
    np.testing.assert_allclose(tails, stats.norm.sf(8.0) - stats.norm.sf(9.0), rtol=1e-12)


def quantisation_by_quadrature(edges, points, variance):
    """Masses, conditional means and mean squared error of a N(0, variance) letter, by quad."""
    density = stats.norm(scale=math.sqrt(variance)).pdf
    far = 12 * math.sqrt(variance)
    rows = []
    for low, high, point in zip(edges[:-1], edges[1:], points, strict=True):
        ends = (max(low, -far), min(high, far))
        powers = (
            lambda t: density(t),
            lambda t: t * density(t),
            lambda t, point=point: (t - point) ** 2 * density(t),
        )
        rows.append([integrate.quad(f, *ends, epsabs=1e-13)[0] for f in powers])
    masses, first, squares = np.array(rows).T
    return masses, first / masses, squares.sum()


def test_a_discretised_scalar_is_in_its_own_units():
    source = sources.gaussian(-0.8, variance_x=0.25, variance_y=9.0)
    cut = source.discretise(12)
    for edges, points, pmf, variance in (
        (cut.x_edges, cut.x_points, cut.source.px, 0.25),
        (cut.y_edges, cut.y_points, cut.source.py, 9.0),
    ):
        masses, means, error = quantisation_by_quadrature(edges, points, variance)
        np.testing.assert_allclose(pmf, masses, rtol=0, atol=1e-12)
        np.testing.assert_allclose(points, means, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(cut.mean_squared_error, error, rtol=1e-9)
    # The correlation keeps its sign.
    joint = np.asarray(cut.source.joint)
    assert joint @ np.asarray(cut.y_points) @ np.asarray(cut.x_points) < -0.5 * 0.8 * 0.5 * 3


@settings(max_examples=10)
@given(correlations)
def test_cutting_loses_what_is_stated_and_finer_cells_less(rho):
    source = sources.gaussian(rho)
    exact = float(source.mutual_information)
    previous = None
    for cells in (8, 16, 32):
        cut = source.discretise(cells)
        kept, allowance = float(cut.information), float(cut.allowance)
        assert 0 < allowance < 1e-10
        assert -allowance <= kept <= exact + allowance
        assert kept <= min(float(cut.source.entropy_x), float(cut.source.entropy_y)) + 1e-12
        assert exact - kept <= cut.information_loss <= exact - kept + 2 * allowance
        if previous is not None:
            assert kept >= float(previous.information) - allowance
            assert cut.mean_squared_error < previous.mean_squared_error
            np.testing.assert_allclose(cut.y_edges[::2], previous.y_edges, rtol=0, atol=1e-14)
            joint = np.asarray(cut.source.joint)
            coarse = joint.reshape(cells // 2, 2, cells // 2, 2).sum(axis=(1, 3))
            np.testing.assert_allclose(coarse, previous.source.joint, rtol=0, atol=1e-13)
        previous = cut


@pytest.mark.parametrize("cells", [2, 8, 64])
def test_the_allowance_is_what_the_error_of_a_table_may_change_in_each_entropy(cells):
    # Audenaert's bound is met by a certain letter that loses t of its mass to all others alike.
    t = TABLE_ERROR
    worst = sum(
        -(1 - t) * math.log2(1 - t) - t * math.log2(t / (letters - 1))
        for letters in (cells, cells, cells**2)
    )
    allowance = float(sources.gaussian(0.5).discretise(cells).allowance)
    assert worst <= allowance <= worst + 3 * t


def test_many_cells_come_close_to_the_pair_and_to_panter_and_dite():
    cells = 128
    cut = sources.gaussian(0.8).discretise(cells)
    assert 0 < cut.information_loss < 4.3e-4
    high_resolution = math.sqrt(3) * math.pi / 2 / cells**2
    np.testing.assert_allclose(cut.mean_squared_error, high_resolution, rtol=0.02)
    assert sources.gaussian(1.0).discretise(4).information_loss == np.inf


def test_a_vector_is_cut_into_independent_canonical_pairs():
    cross = np.array([[0.6, 0.0], [0.0, -0.3], [0.1, 0.2]])
    source = sources.vector_gaussian(np.eye(3), np.eye(2), cross)
    pairs = source.discretise(16)
    assert len(pairs) == 2
    for pair, rho in zip(pairs, source.canonical_correlations, strict=True):
        alone = sources.gaussian(rho).discretise(16)
        np.testing.assert_allclose(pair.source.joint, alone.source.joint, rtol=0, atol=1e-14)
    lost = sum(float(pair.information_loss) for pair in pairs)
    kept = sum(float(pair.information) for pair in pairs)
    np.testing.assert_allclose(kept + lost, source.mutual_information, rtol=0, atol=1e-10)


def test_sources_pass_through_transformations():
    key = jax.random.key(31)
    source = from_joint(JOINT, 2)
    eager = source.sample(key, (TRIALS,))
    compiled = jax.jit(lambda source, key: source.sample(key, (TRIALS,)))(source, key)
    for one, other in zip(eager, compiled, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13)
    grid = jnp.array([0.1, 0.5, 1.0])
    stacked = jax.vmap(sources.gaussian)(grid)
    assert isinstance(stacked, sources.GaussianSource)
    information = jax.vmap(lambda source: source.mutual_information)(stacked)
    np.testing.assert_allclose(
        information, [-0.5 * np.log2(0.99), 0.20751874963942, np.inf], rtol=1e-12, atol=0
    )
    slope = jax.grad(lambda rho: sources.gaussian(rho).mutual_information)(0.3)
    np.testing.assert_allclose(slope, 0.3 / 0.91 / math.log(2), rtol=1e-12)
    cut = sources.gaussian(0.3).discretise(8)
    leaves, tree = jax.tree.flatten(cut)
    again = jax.tree.unflatten(tree, leaves)
    np.testing.assert_array_equal(again.source.joint, cut.source.joint)
    with pytest.raises(ComputesOnHostError, match=r"discretise computes on .*self"):
        jax.jit(lambda source: source.discretise(8))(source)
    with jax.enable_x64(False), pytest.raises(RuntimeError, match="needs float64"):
        _ = source.mutual_information


def test_cells_are_symmetric_and_ordered():
    edges = normal_edges(10)
    np.testing.assert_array_equal(edges, -edges[::-1])
    assert (np.diff(edges) > 0).all()
    masses = np.diff(stats.norm(scale=math.sqrt(3)).cdf(edges))
    np.testing.assert_allclose(masses, 0.1, rtol=1e-13)


PAIR = np.array([[1.0, 0.5], [0.5, 1.0]])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sources.gaussian(1.1), ValueError, r"correlation must lie in \[-1, 1\], got 1.1"),
        (lambda: sources.gaussian([0.5]), ValueError, "correlation must have 0 dimensions"),
        (
            lambda: sources.gaussian(0.5, variance_x=0.0),
            ValueError,
            r"variance_x must lie in \(0, inf\), got 0.0",
        ),
        (
            lambda: sources.gaussian(0.5, variance_y=np.inf),
            ValueError,
            r"variance_y must lie in \(0, inf\), got inf",
        ),
        (
            lambda: sources.vector_gaussian(np.ones((2, 3)), PAIR, PAIR),
            ValueError,
            r"covariance_x must be a square matrix, got shape \(2, 3\)",
        ),
        (
            lambda: sources.vector_gaussian(PAIR, [[1.0, 0.1], [0.2, 1.0]], PAIR),
            ValueError,
            "covariance_y must be symmetric, got entries that differ by 0.1",
        ),
        (
            lambda: sources.vector_gaussian([[1.0, 2.0], [2.0, 1.0]], PAIR, PAIR),
            ValueError,
            r"covariance_x must be positive definite, got a smallest eigenvalue of -(0.99|1\.0)",
        ),
        (
            lambda: sources.vector_gaussian(PAIR, np.ones((2, 2)), PAIR),
            ValueError,
            "covariance_y must be positive definite, got a smallest eigenvalue of",
        ),
        (
            lambda: sources.vector_gaussian(PAIR, [[1.0]], PAIR),
            ValueError,
            r"cross_covariance must have shape \(2, 1\), got \(2, 2\)",
        ),
        (
            lambda: sources.vector_gaussian(np.eye(2), np.eye(2), 1.5 * np.eye(2)),
            ValueError,
            r"cross_covariance must leave .* positive semidefinite, got a largest canonical "
            r"correlation of 1\.5.* and a smallest eigenvalue of -0\.(5|4999)",
        ),
        (
            lambda: sources.vector_gaussian(PAIR, PAIR, [[np.inf, 0.0], [0.0, 0.0]]),
            ValueError,
            r"cross_covariance must lie in \(-inf, inf\), got inf at index \(0, 0\)",
        ),
        (
            lambda: sources.gaussian(0.5).discretise(1),
            ValueError,
            r"cells must be in \[2, 2048\], got 1",
        ),
        (lambda: sources.gaussian(0.5).discretise(8.0), TypeError, "cells must be an integer"),
        (lambda: sources.gaussian(0.5).sample(3), TypeError, "key"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
