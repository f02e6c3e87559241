"""C17: scalar quantizers, each against its slow definition."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantizer_items import ITEMS, KEY, MIXTURE, NEW, nearest_by_search
from scipy import integrate, optimize
from scipy.stats import norm

from rdsim.codes.quantizers.lloyd_max import lloyd_max_levels, sample_levels
from rdsim.codes.quantizers.scalar import lloyd_max_quantizer, uniform_scalar_quantizer

# Max (1960), Table I, misprinted or rounded by up to 5e-4 of itself.
PUBLISHED = {1: 1.0, 2: 0.3634, 4: 0.1175, 8: 0.03454, 16: 0.009497}


@pytest.mark.parametrize("levels", PUBLISHED)
def test_C17_lloyd_max_meets_the_published_table(levels):
    fit = lloyd_max_levels([1.0], [0.0], [1.0], levels)
    assert fit.converged
    np.testing.assert_allclose(fit.distortion, PUBLISHED[levels], rtol=5e-4)
    shifted = lloyd_max_levels([0.5, 0.5], [7.0, 7.0], [4.0, 4.0], levels)
    np.testing.assert_allclose(shifted.distortion, 4 * fit.distortion, rtol=1e-10)
    np.testing.assert_allclose(shifted.levels, 7 + 2 * fit.levels, rtol=0, atol=1e-8)


def test_C17_lloyd_max_of_one_bit_is_exact_and_many_levels_meet_the_high_rate_constant():
    fit = lloyd_max_levels([1.0], [0.0], [1.0], 2)
    np.testing.assert_allclose(fit.levels, [-np.sqrt(2 / np.pi), np.sqrt(2 / np.pi)], rtol=1e-12)
    np.testing.assert_allclose(fit.distortion, 1 - 2 / np.pi, rtol=1e-12)
    fine = lloyd_max_levels([1.0], [0.0], [1.0], 2048)
    assert fine.converged
    # Panter and Dite (1951): the distortion is sqrt(3) pi / 2 levels^-2 in the limit.
    np.testing.assert_allclose(fine.distortion * 2048**2, np.sqrt(3) * np.pi / 2, rtol=2e-3)


def _quadrature(levels, w, m, sigma):
    """Distortion of sorted levels by adaptive quadrature."""
    edges = np.concatenate([[-30.0], (levels[1:] + levels[:-1]) / 2, [30.0]])

    def density(y):
        return float(np.dot(w, norm.pdf(y, m, sigma)))

    return sum(
        integrate.quad(lambda y, u=u: (y - u) ** 2 * density(y), a, b, epsabs=1e-13, limit=200)[0]
        for u, a, b in zip(levels, edges[:-1], edges[1:], strict=True)
    )


def test_C17_lloyd_max_levels_are_the_minimum_found_by_an_independent_search():
    w, m, sigma = [0.4, 0.6], [-1.0, 1.5], [0.5, 1.0]
    fit = lloyd_max_levels(w, m, np.square(sigma), 4)
    np.testing.assert_allclose(
        fit.distortion, _quadrature(np.asarray(fit.levels), w, m, sigma), rtol=1e-9
    )
    grid = np.linspace(-9, 9, 4001)
    density = np.dot(norm.pdf(grid[:, None], m, sigma), w) * (grid[1] - grid[0])

    def objective(levels):
        return np.min((grid[:, None] - levels) ** 2, axis=1) @ density

    starts = [[-2.0, -1.0, 0.5, 2.0], [-1.0, 0.0, 1.0, 2.0]]
    best = min(
        optimize.minimize(objective, start, method="BFGS", options={"gtol": 1e-7}).fun
        for start in starts
    )
    np.testing.assert_allclose(fit.distortion, best, rtol=1e-5)


@settings(max_examples=25)
@given(
    st.lists(st.floats(0.1, 1.0), min_size=3, max_size=3),
    st.lists(st.floats(-20.0, 20.0), min_size=3, max_size=3),
    st.lists(st.floats(0.01, 5.0), min_size=3, max_size=3),
    st.sampled_from([1, 2, 3, 8, 32]),
)
def test_C17_lloyd_max_thresholds_and_levels_fit_each_other(w, m, sigma, levels):
    w = np.array(w) / sum(w)
    fit = lloyd_max_levels(w, m, np.square(sigma), levels)
    u, a = np.asarray(fit.levels), np.asarray(fit.thresholds)
    np.testing.assert_allclose(a, (u[1:] + u[:-1]) / 2, rtol=1e-12, atol=1e-12)
    assert np.all(np.diff(u) > 0)
    assert fit.converged
    # Cell by cell, with the truncated moments of each component.
    z = (np.concatenate([[-np.inf], a, [np.inf]])[:, None] - m) / sigma
    mass = np.diff(norm.cdf(z), axis=0)
    first = np.array(m) * mass - np.array(sigma) * np.diff(norm.pdf(z), axis=0)
    total = mass @ w
    large = total > 1e-6
    np.testing.assert_allclose(u[large], (first @ w)[large] / total[large], rtol=0, atol=1e-8)
    # Var(Y) = Var(levels) + E (Y - U)^2 for centroids.
    mean = w @ m
    variance = w @ (np.square(sigma) + (np.array(m) - mean) ** 2)
    np.testing.assert_allclose(
        fit.distortion, variance - total @ (u - mean) ** 2, rtol=0, atol=1e-8
    )


def test_C17_narrow_components_far_apart_have_a_level_each():
    m = [-1e4, 0.0, 5.0]
    fit = lloyd_max_levels([0.2, 0.5, 0.3], m, [1e-6, 1e-4, 1e-6], 3)
    np.testing.assert_allclose(fit.levels, m, rtol=0, atol=1e-9)
    np.testing.assert_allclose(fit.distortion, 0.5e-6 + 0.5e-4, rtol=1e-6)


def test_C17_sample_levels_against_the_best_of_all_partitions():
    for seed in range(6):
        sample = np.random.default_rng(seed).normal(size=12)
        ordered = np.sort(sample)
        best = min(
            sum(((part - part.mean()) ** 2).sum() for part in np.split(ordered, cuts)) / 12
            for cuts in itertools.combinations(range(1, 12), 2)
        )
        fit = sample_levels(sample + 100.0, 3)
        found = np.min((sample[:, None] + 100.0 - np.asarray(fit.levels)) ** 2, axis=1).mean()
        np.testing.assert_allclose(fit.distortion, found, rtol=1e-9)
        assert best * (1 - 1e-9) <= found <= 1.3 * best
        assert fit.converged


def test_C17_sample_levels_of_a_large_sample_near_those_of_the_distribution():
    """20,000 normals: the distortion errs by 1 percent, five standard deviations."""
    fit = sample_levels(np.random.default_rng(0).normal(size=20_000), 4)
    np.testing.assert_allclose(fit.distortion, 0.1175, rtol=0.05)
    np.testing.assert_allclose(fit.levels, [-1.510, -0.4528, 0.4528, 1.510], rtol=0, atol=0.05)


@pytest.mark.parametrize("bits", [3, [2, 1], [0, 3]], ids=str)
@pytest.mark.parametrize("fit", [uniform_scalar_quantizer, lloyd_max_quantizer])
def test_C17_a_scalar_code_is_the_nearest_word_of_its_grid(fit, bits):
    code = fit(ITEMS, bits)
    assert code.codewords.shape == (2 ** int(np.sum(bits)), 2)
    expected = nearest_by_search(NEW, np.asarray(code.codewords))
    np.testing.assert_array_equal(code.encode(KEY, NEW), expected)
    np.testing.assert_array_equal(code.channel(NEW), np.eye(len(code.codewords))[expected])
    if not isinstance(bits, int):
        assert [level.shape[0] for level in code.levels] == [2**b for b in bits]


def test_C17_bits_go_to_the_coordinate_of_the_largest_expected_error():
    wide = ITEMS / ITEMS.std(axis=0) * [1.0, 3.0]  # 1 and 9, then 9/4, 9/16
    sizes = [level.shape[0] for level in uniform_scalar_quantizer(wide, 4).levels]
    assert sizes == [2, 8]
    even = uniform_scalar_quantizer(wide, 1)
    assert [level.shape[0] for level in even.levels] == [1, 2]


def test_uniform_levels_divide_the_range_of_the_quantiles():
    items = np.linspace(0, 1, 1001)[:, None]
    code = uniform_scalar_quantizer(items, 2, tail=0.1)
    np.testing.assert_allclose(code.levels[0], [0.2, 0.4, 0.6, 0.8], rtol=1e-12)
    np.testing.assert_allclose(code.thresholds[0], [0.3, 0.5, 0.7], rtol=1e-12)
    far = code.encode(KEY, np.array([[-9.0], [9.0], [0.3 + 1e-9]]))
    np.testing.assert_array_equal(far, [0, 3, 1])
    # An item on a threshold belongs to the cell above.
    np.testing.assert_array_equal(code.encode(KEY, code.thresholds[0][:, None]), [1, 2, 3])


def test_C17_a_mixture_is_quantized_by_its_own_marginals():
    code = lloyd_max_quantizer(MIXTURE, [2, 1])
    for i, levels in enumerate((4, 2)):
        fit = lloyd_max_levels(
            MIXTURE.weights, MIXTURE.item_means[:, i], MIXTURE.item_variance, levels
        )
        np.testing.assert_array_equal(code.levels[i], fit.levels)
        np.testing.assert_array_equal(code.thresholds[i], fit.thresholds)
    by_variance = lloyd_max_quantizer(MIXTURE, 2)
    assert [level.shape[0] for level in by_variance.levels] == [4, 1]
