"""Canonical correlations: the closed form of the distribution, a slow reference, and another library's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from rdsim.learning.families.canonical_correlations import canonical_correlation_analysis
from rdsim.learning.families.cca import canonical_maps
from rdsim.learning.families.stored_embeddings import quantized_system
from rdsim.sources.gaussian_pairs import vector_gaussian

WIDTH_X, WIDTH_Y = 4, 3


def _covariance(rng):
    root = rng.normal(size=(7, 9))
    return root @ root.T / 9


def _exact_sample(rng, covariance):
    """Forty points whose covariance (divisor N) is this one to rounding."""
    points = rng.normal(size=(40, 7))
    points -= points.mean(axis=0)
    inner = np.linalg.cholesky(points.T @ points / 40)
    points = np.linalg.solve(inner, points.T).T @ np.linalg.cholesky(covariance).T
    return points[:, :WIDTH_X] + 5.0, points[:, WIDTH_X:] - 2.0


@given(st.integers(0, 10**6))
def test_C10_correlations_are_the_closed_form_of_a_gaussian_source(seed):
    rng = np.random.default_rng(seed)
    covariance = _covariance(rng)
    source = vector_gaussian(
        covariance[:WIDTH_X, :WIDTH_X],
        covariance[WIDTH_X:, WIDTH_X:],
        covariance[:WIDTH_X, WIDTH_X:],
    )
    found = canonical_correlation_analysis(*_exact_sample(rng, covariance), WIDTH_Y)
    np.testing.assert_allclose(found.correlations, source.canonical_correlations, rtol=0, atol=1e-9)


@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.3]))
def test_correlations_solve_the_generalised_eigenproblem(seed, ridge):
    rng = np.random.default_rng(seed)
    x, y = _exact_sample(rng, _covariance(rng))
    found = canonical_correlation_analysis(x, y, WIDTH_Y, regularisation=ridge)
    cx, cy = (np.cov(p.T, bias=True) + ridge * np.eye(p.shape[1]) for p in (x, y))
    cross = (x - x.mean(0)).T @ (y - y.mean(0)) / len(x)
    squares = scipy.linalg.eigh(cross.T @ np.linalg.solve(cx, cross), cy, eigvals_only=True)
    np.testing.assert_allclose(
        found.correlations, np.sqrt(np.maximum(squares[::-1], 0)), rtol=0, atol=1e-9
    )
    a, b = np.asarray(found.map_x), np.asarray(found.map_y)
    np.testing.assert_allclose(a.T @ cx @ a, np.eye(WIDTH_Y), rtol=0, atol=1e-8)
    np.testing.assert_allclose(b.T @ cy @ b, np.eye(WIDTH_Y), rtol=0, atol=1e-8)
    np.testing.assert_allclose(a.T @ cross @ b, np.diag(found.correlations), rtol=0, atol=1e-8)


@given(st.integers(0, 10**6))
def test_invertible_maps_change_nothing(seed):
    rng = np.random.default_rng(seed)
    x, y = _exact_sample(rng, _covariance(rng))
    turn = np.eye(WIDTH_X) + 0.3 * np.linalg.qr(rng.normal(size=(WIDTH_X, WIDTH_X)))[0]
    before = canonical_correlation_analysis(x, y, WIDTH_Y)
    after = canonical_correlation_analysis(x @ turn + 3.0, -2.0 * y, WIDTH_Y)
    np.testing.assert_allclose(after.correlations, before.correlations, rtol=0, atol=1e-9)


def test_the_maps_solve_the_generalised_eigenvalue_problem():
    """Stationary points of the correlation: [0 Cxy; Cyx 0] v = r [Cxx 0; 0 Cyy] v (Hotelling 1936)."""
    rng = np.random.default_rng(1)
    x, y = _exact_sample(rng, _covariance(rng))
    found = canonical_correlation_analysis(x, y, 2)
    whole = np.cov(np.hstack([x, y]).T)
    within = scipy.linalg.block_diag(whole[:WIDTH_X, :WIDTH_X], whole[WIDTH_X:, WIDTH_X:])
    values, vectors = scipy.linalg.eigh(whole - within, within)
    best = np.argsort(values)[::-1][:2]
    np.testing.assert_allclose(found.correlations, values[best], rtol=0, atol=1e-9)
    for mine, other in (
        (found.variables_x(x), x @ vectors[:WIDTH_X, best]),
        (found.variables_y(y), y @ vectors[WIDTH_X:, best]),
    ):
        joint = np.corrcoef(np.asarray(mine).T, other.T)[:2, 2:]
        np.testing.assert_allclose(np.abs(np.diag(joint)), 1.0, rtol=0, atol=1e-9)


def test_the_largest_entry_of_a_column_is_positive():
    rng = np.random.default_rng(5)
    x, y = _exact_sample(rng, _covariance(rng))
    b = np.asarray(canonical_correlation_analysis(x, -y, WIDTH_Y).map_y)
    assert (b[np.abs(b).argmax(axis=0), np.arange(WIDTH_Y)] > 0).all()


def _plain(_parameters, points):
    return points


def _flat(_parameters, queries):
    return queries.reshape(*queries.shape[:-2], -1)


def test_codewords_are_ranked_by_the_density_of_gaussian_pairs():
    rng = np.random.default_rng(2)
    items = rng.normal(size=(50, 2))
    queries = items[:, None, :] + np.array([0.1, 0.7])[:, None] * rng.normal(size=(50, 2, 2))
    maps = canonical_maps((_plain, None), (_flat, None), (jnp.asarray(queries), items))
    code, decoder = quantized_system(jax.random.key(0), *maps, items, 2, comparison="distance")
    found = canonical_correlation_analysis(queries.reshape(50, 4), items, 2)
    words = np.asarray(code.code.codewords)
    rho = np.asarray(found.correlations)
    stored = np.asarray(found.variables_y(items)) * rho / np.sqrt(1 - rho**2)
    nearest = ((stored[:, None] - words) ** 2).sum(-1).argmin(1)
    np.testing.assert_array_equal(code.encode(jax.random.key(1), items), nearest)
    np.testing.assert_array_equal(code.channel(items).argmax(1), nearest)
    u, v = np.asarray(found.variables_x(queries[3].ravel())), words * np.sqrt(1 - rho**2) / rho
    density = -0.5 * ((v - rho * u) ** 2 / (1 - rho**2) - v**2).sum(-1)
    scores = np.asarray(decoder.scores(decoder.parameters, jnp.asarray(queries[3])))
    np.testing.assert_allclose(scores - scores[0], 2 * (density - density[0]), rtol=1e-6, atol=1e-9)


X, Y = np.random.default_rng(3).normal(size=(9, 2)), np.random.default_rng(4).normal(size=(9, 3))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((X[:5], Y, 1), ValueError, r"x and y must have shapes \(N, dx\) and \(N, dy\)"),
        ((X[:1], Y[:1], 1), ValueError, "with N >= 2"),
        ((X.ravel(), Y, 1), ValueError, "x must have 2 dimensions"),
        ((X, Y * np.inf, 1), ValueError, "y must"),
        ((X, Y, 3), ValueError, r"dimension must be in \[1, 2\], got 3"),
        ((X, Y, 1.0), TypeError, "dimension must be an integer"),
        ((X[:, [0, 0]], Y, 1), ValueError, "x must have a covariance of full rank"),
        ((X, 0 * Y, 1), ValueError, "y must have a covariance of full rank.*constant column 0"),
        ((X, Y * [1, 0, 1] + 0.3, 1), ValueError, "y .*constant column 1"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        canonical_correlation_analysis(*arguments)


def test_nothing_is_compiled_for_an_analysis(caplog):
    rng = np.random.default_rng(11)
    with jax.log_compiles():
        canonical_correlation_analysis(rng.normal(size=(57, 3)), rng.normal(size=(57, 4)), 2)
    assert not [record for record in caplog.records if "XLA compilation" in record.getMessage()]


def test_a_negative_regularisation_is_named():
    with pytest.raises(ValueError, match="regularisation must lie in"):
        canonical_correlation_analysis(X, Y, 1, regularisation=-0.1)


def test_a_ridge_admits_singular_covariances():
    found = canonical_correlation_analysis(X[:, [0, 0]], Y, 2, regularisation=0.1)
    assert np.isfinite(found.map_x).all()
    assert found.correlations[0] < 1


@pytest.mark.parametrize("power", [-90, -9, 0, 9, 90])
def test_units_of_the_columns_change_no_correlation(power):
    rng = np.random.default_rng(6)
    x, y = _exact_sample(rng, _covariance(rng))
    units_x = 10.0 ** (power * np.linspace(-1, 1, x.shape[1]))
    units_y = 10.0 ** (power * np.linspace(1, 0, y.shape[1]))
    plain = canonical_correlation_analysis(x, y, WIDTH_Y)
    found = canonical_correlation_analysis(x * units_x, y * units_y, WIDTH_Y)
    np.testing.assert_allclose(found.correlations, plain.correlations, rtol=0, atol=1e-12)
    given = np.asarray(found.variables_x(x * units_x)).T @ np.asarray(
        found.variables_y(y * units_y)
    )
    np.testing.assert_allclose(np.diag(given) / len(x), plain.correlations, rtol=0, atol=1e-12)


def test_the_rank_is_judged_in_units_of_the_columns():
    """Two columns of one direction are singular, however they are scaled; small ones are not."""
    with pytest.raises(ValueError, match="x must have a covariance of full rank"):
        canonical_correlation_analysis(X[:, [0, 0]] * [1.0, 1e-7], Y, 1)
    assert canonical_correlation_analysis(X * [1.0, 1e-7], Y, 1).correlations[0] < 1


def test_a_ridge_is_in_squared_units_of_the_data():
    x, y, ridge = X * [3.0, 0.01], Y * [0.2, 1.0, 5.0], 0.04
    found = canonical_correlation_analysis(x, y, 2, regularisation=ridge)
    roots = []
    for part in (x, y):
        values, axes = np.linalg.eigh(np.cov(part.T, bias=True) + ridge * np.eye(part.shape[1]))
        roots.append(axes / np.sqrt(values) @ axes.T)
    cross = (x - x.mean(0)).T @ (y - y.mean(0)) / len(x)
    expected = np.linalg.svd(roots[0] @ cross @ roots[1], compute_uv=False)
    np.testing.assert_allclose(found.correlations, expected, rtol=0, atol=1e-12)
