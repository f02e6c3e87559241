"""C17: scalar, vector and product quantizers, each against its slow definition."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize
from scipy.stats import norm

from rdsim.codes import common_form
from rdsim.codes.distances import nearest
from rdsim.codes.entropy_coding import code_rates
from rdsim.codes.quantizers.entropy_weighted import entropy_weighted_quantizer
from rdsim.codes.quantizers.hashing import hyperplane_hashing
from rdsim.codes.quantizers.lloyd_max import lloyd_max_levels, sample_levels
from rdsim.codes.quantizers.product import long_product_quantizer, product_quantizer
from rdsim.codes.quantizers.scalar import lloyd_max_quantizer, uniform_scalar_quantizer
from rdsim.codes.quantizers.vector import entropy_constrained_quantizer, lloyd, vector_quantizer
from rdsim.limits.rate_distortion.continuous import continuous_rate_distortion
from rdsim.sources.mixture import GaussianMixtureSource

KEY = jax.random.key(0)
CODEWORDS = 8
_generator = np.random.default_rng(8)
ITEMS = _generator.normal(size=(40, 2)) @ np.array([[1.5, 1.0], [0.0, 0.5]])
LINE = ITEMS[:, :1]
NEW = 2 * _generator.normal(size=(40, 2))

# Max (1960), Table I, misprinted or rounded by up to 5e-4 of itself.
PUBLISHED = {1: 1.0, 2: 0.3634, 4: 0.1175, 8: 0.03454, 16: 0.009497}
MIXTURE = GaussianMixtureSource(
    weights=jnp.array([0.3, 0.5, 0.2]),
    item_means=jnp.array([[-3.0, 0.0], [0.0, 1.0], [4.0, 0.0]]),
    item_variance=jnp.array([1.0, 0.1, 2.0]),
    query_means=jnp.zeros((1, 3, 2)),
    gains=jnp.ones(1),
    query_noise=jnp.ones(1),
)


def _nearest(items, codewords, offsets=None):
    offsets = np.zeros(len(codewords)) if offsets is None else offsets
    return [
        min(range(len(codewords)), key=lambda k: np.sum((y - codewords[k]) ** 2) + offsets[k])
        for y in items
    ]


def _distortion(code, items):
    codewords = np.asarray(code.codewords)[np.asarray(code.encode(KEY, items))]
    return np.mean(np.sum((items - codewords) ** 2, axis=1))


# Scalar quantizers


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
    expected = _nearest(NEW, np.asarray(code.codewords))
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


# Vector quantizers


@pytest.fixture(scope="module")
def vector():
    return vector_quantizer(KEY, ITEMS, CODEWORDS)


def test_C17_a_vector_code_takes_the_nearest_codeword(vector):
    assert vector.codewords.shape == (CODEWORDS, 2)
    codewords = np.asarray(vector.codewords)
    np.testing.assert_array_equal(vector.encode(KEY, NEW), _nearest(NEW, codewords))
    np.testing.assert_array_equal(vector.channel(NEW), np.eye(CODEWORDS)[_nearest(NEW, codewords)])


def test_C17_codewords_of_k_means_are_the_means_of_their_cells(vector):
    indices = np.array(_nearest(ITEMS, np.asarray(vector.codewords)))
    for k in range(CODEWORDS):
        np.testing.assert_allclose(
            vector.codewords[k], ITEMS[indices == k].mean(axis=0), rtol=1e-12, atol=0
        )
    np.testing.assert_allclose(
        vector.masses, np.bincount(indices, minlength=CODEWORDS) / 40, rtol=1e-12, atol=0
    )
    np.testing.assert_allclose(vector.distortion, _distortion(vector, ITEMS), rtol=1e-12)


def test_C17_more_starts_are_never_worse():
    found = [
        float(vector_quantizer(KEY, ITEMS, CODEWORDS, starts=n).distortion) for n in range(1, 9)
    ]
    assert found == sorted(found, reverse=True)
    assert found[0] > found[-1]


def test_C17_k_means_finds_separate_clusters_and_fills_every_cell():
    corners = np.array([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0], [50.0, 50.0]])
    items = np.repeat(corners, 10, axis=0) + 0.1 * ITEMS
    code = vector_quantizer(KEY, items, 4)
    np.testing.assert_allclose(code.masses, 0.25, rtol=1e-12, atol=0)
    fine = vector_quantizer(KEY, ITEMS, 40)
    np.testing.assert_allclose(fine.distortion, 0.0, rtol=0, atol=1e-25)
    np.testing.assert_allclose(fine.masses, 1 / 40, rtol=1e-12, atol=0)


def test_an_emptied_cell_is_given_the_item_worst_served():
    points = np.array([[0.0], [1.0], [10.0]])
    codewords = lloyd(points, np.array([[0.0], [1e6]]), 50).codewords
    np.testing.assert_allclose(np.sort(codewords, axis=0), [[0.5], [10.0]], rtol=1e-12, atol=0)


@pytest.mark.parametrize("slope", [0.3, 2.0, 20.0])
def test_C17_the_entropy_constrained_code_trades_distortion_for_length(slope):
    code = entropy_constrained_quantizer(KEY, ITEMS, CODEWORDS, slope=slope)
    codewords, masses = np.asarray(code.codewords), np.asarray(code.masses)
    assert np.all(masses > 0)
    np.testing.assert_allclose(code.offsets, -np.log2(masses) / slope, rtol=0, atol=1e-12)
    indices = np.array(_nearest(ITEMS, codewords, -np.log2(masses) / slope))
    np.testing.assert_array_equal(code.encode(KEY, ITEMS), indices)
    np.testing.assert_allclose(
        masses, np.bincount(indices, minlength=len(codewords)) / 40, rtol=1e-12, atol=0
    )
    for k in range(len(codewords)):
        np.testing.assert_allclose(
            codewords[k], ITEMS[indices == k].mean(axis=0), rtol=0, atol=1e-12
        )
    np.testing.assert_allclose(code.distortion, _distortion(code, ITEMS), rtol=1e-12)


@pytest.mark.parametrize("rate", [0.5, 2.0])
def test_C17_the_entropy_constrained_code_keeps_the_rate_allowed(rate):
    code = entropy_constrained_quantizer(KEY, ITEMS, 16, rate=rate, starts=1)
    entropy = -np.sum(np.asarray(code.masses) * np.log2(np.asarray(code.masses)))
    assert entropy <= rate
    assert entropy >= rate - 0.5
    if rate == 2.0:  # no worse than four codewords of k-means, which need two bits
        assert code.distortion <= 1.02 * vector_quantizer(KEY, ITEMS, 4, starts=9).distortion


# Product quantizers


@pytest.mark.parametrize("rotate", [False, True])
def test_C17_a_product_code_is_the_nearest_word_of_its_product_codebook(rotate):
    code = product_quantizer(KEY, ITEMS, subspaces=2, codebook_size=4, rotate=rotate)
    codewords = np.asarray(code.codewords)
    assert codewords.shape == (16, 2)
    np.testing.assert_array_equal(code.encode(KEY, NEW), _nearest(NEW, codewords))
    np.testing.assert_array_equal(code.channel(NEW), np.eye(16)[_nearest(NEW, codewords)])
    np.testing.assert_allclose(code.distortion, _distortion(code, ITEMS), rtol=1e-12)
    stored = np.asarray(code.encode(KEY, ITEMS))
    slow = [[np.sum((x - codewords[k]) ** 2) for k in stored] for x in NEW]
    np.testing.assert_allclose(code.asymmetric_distances(NEW, stored), slow, rtol=1e-11)
    np.testing.assert_allclose(code.rotation @ code.rotation.T, np.eye(2), rtol=0, atol=1e-14)
    if not rotate:
        grid = [np.append(a, b) for a in code.codebooks[0] for b in code.codebooks[1]]
        np.testing.assert_allclose(codewords, grid, rtol=1e-13)


def test_C17_blocks_of_unequal_size_and_balanced_axes():
    spread = np.array([8.0, 4.0, 2.0, 1.0, 0.5])
    items = np.random.default_rng(1).normal(size=(40, 5)) * spread
    code = product_quantizer(KEY, items, subspaces=2, codebook_size=4, rotate=True)
    assert [book.shape for book in code.codebooks] == [(4, 3), (4, 2)]
    codewords = np.asarray(code.codewords)
    np.testing.assert_array_equal(code.encode(KEY, items), _nearest(items, codewords))
    variances = np.var((items - items.mean(axis=0)) @ np.asarray(code.rotation).T, axis=0)
    order = np.argsort(-variances)
    # The largest opens a block, the next two fill the other, which is smaller.
    assert set(order[1:3]) == {3, 4}


def test_C17_one_block_is_a_vector_quantizer():
    code = product_quantizer(KEY, ITEMS, subspaces=1, codebook_size=CODEWORDS)
    np.testing.assert_allclose(
        code.distortion, vector_quantizer(KEY, ITEMS, CODEWORDS).distortion, rtol=1e-12, atol=0
    )


def test_C17_a_rotation_helps_correlated_items():
    generator = np.random.default_rng(2)
    t = generator.normal(size=(400, 1))
    items = t @ np.array([[1.0, 1.0]]) + 0.3 * generator.normal(size=(400, 2)) @ [
        [1.0, 0],
        [0, 1.0],
    ]
    plain, rotated = (
        product_quantizer(KEY, items, subspaces=2, codebook_size=8, rotate=r).distortion
        for r in (False, True)
    )
    assert rotated < plain


# All codes


@pytest.fixture(scope="module")
def converse():
    return continuous_rate_distortion(LINE, np.full(40, 1 / 40), [0.7, 5.0], tolerance=1e-4)


CODES = {
    "uniform": lambda: uniform_scalar_quantizer(LINE, 2),
    "Lloyd-Max": lambda: lloyd_max_quantizer(LINE, 2),
    "k-means": lambda: vector_quantizer(KEY, LINE, CODEWORDS),
    "ECVQ": lambda: entropy_constrained_quantizer(KEY, LINE, CODEWORDS, slope=2.0),
    "product": lambda: product_quantizer(KEY, LINE, subspaces=1, codebook_size=4),
    "hash": lambda: hyperplane_hashing(KEY, LINE, 2),
    "entropy-weighted": lambda: entropy_weighted_quantizer(LINE, slope=5.0, tolerance=1e-4),
}


@pytest.mark.parametrize("fit", CODES.values(), ids=CODES.keys())
def test_C17_no_code_beats_the_converse(fit, converse):
    code = fit()
    rates = code_rates(code, LINE)
    errors = (LINE - np.asarray(code.codewords)[:, 0]) ** 2
    distortion = np.mean(np.sum(np.asarray(code.channel(LINE)) * errors, axis=1))
    lines = converse.rate - converse.gap - converse.slope * (distortion - converse.distortion)
    excess = float(rates.mutual_information) - float(np.max(lines))
    assert excess >= -1e-12
    if fit is CODES["entropy-weighted"]:
        assert excess <= 1.1e-4
        assert rates.index_entropy > rates.mutual_information + 0.1
    else:
        assert excess > 0.01
        np.testing.assert_allclose(
            rates.mutual_information, rates.index_entropy, rtol=0, atol=1e-12
        )


def test_many_items_are_encoded_in_chunks(monkeypatch):
    monkeypatch.setattr("rdsim.codes.distances._CHUNK_ENTRIES", 30)
    codewords = NEW[:7]
    found = nearest(jnp.asarray(ITEMS), jnp.asarray(codewords), jnp.zeros(7))
    np.testing.assert_array_equal(found, _nearest(ITEMS, codewords))


FITS = {
    "uniform": lambda y: uniform_scalar_quantizer(y, 3),
    "Lloyd-Max": lambda y: lloyd_max_quantizer(y, 3),
    "k-means": lambda y: vector_quantizer(KEY, y, 8),
    "ECVQ": lambda y: entropy_constrained_quantizer(KEY, y, 8, rate=2.0),
    "product": lambda y: product_quantizer(KEY, y, subspaces=2, codebook_size=4),
    "rotated product": lambda y: product_quantizer(
        KEY, y, subspaces=2, codebook_size=4, rotate=True
    ),
    "long product": lambda y: long_product_quantizer(KEY, y, 4),
    "entropy-weighted": lambda y: entropy_weighted_quantizer(y, y[:8], rate=1.0),
    "hyperplanes": lambda y: hyperplane_hashing(KEY, y, 3),
    **{
        f"catalogue: {name}": lambda y, name=name: common_form.fit_item_code(
            KEY, name, y, 2, initial_codewords=8
        )
        for name in common_form.CODES
    },
}


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS.keys())
def test_C17_a_code_does_not_depend_on_the_unit_of_items_or_refuses_it(fit):
    unit = 2.0**-330

    def used(items):
        return np.asarray(fit(items).encode(KEY, items))

    np.testing.assert_array_equal(used(unit * ITEMS), used(ITEMS))
    for tiny in (1e-110, 1e-156, 1e-200):
        with pytest.raises(
            ValueError, match=r"(items|distribution) must differ by at least 1e-100"
        ):
            fit(tiny * ITEMS)


def test_C17_a_block_of_items_too_near_each_other_is_refused():
    items = ITEMS * [1.0, 1e-200]
    for fit in (
        lambda: product_quantizer(KEY, items, subspaces=2, codebook_size=4),
        lambda: lloyd_max_quantizer(items, [1, 1]),
    ):
        with pytest.raises(ValueError, match=r"items .* must differ by at least 1e-100"):
            fit()
    assert [len(u) for u in lloyd_max_quantizer(items, 2).levels] == [4, 1]


@pytest.mark.parametrize("value", [0.0, 1e-200])
def test_equal_items_of_any_size_are_one_codeword(value):
    found = vector_quantizer(KEY, np.full((5, 2), value), 1)
    np.testing.assert_array_equal(found.codewords, [[value, value]])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: vector_quantizer(KEY, np.ones((4, 2)), 2),
            ValueError,
            "codebook_size must not exceed",
        ),
        (lambda: vector_quantizer(KEY, ITEMS, 0), ValueError, "codebook_size must be at least 1"),
        (lambda: vector_quantizer(KEY, ITEMS, 2.0), TypeError, "codebook_size must be an integer"),
        (lambda: vector_quantizer(KEY, ITEMS, 2, starts=0), ValueError, "starts must be"),
        (lambda: vector_quantizer(KEY, ITEMS, 2, iterations=0), ValueError, "iterations must be"),
        (lambda: vector_quantizer(KEY, ITEMS[0], 2), ValueError, "items must have 2 dimensions"),
        (lambda: vector_quantizer(3, ITEMS, 2), TypeError, "key"),
        (lambda: entropy_constrained_quantizer(KEY, ITEMS, 2), ValueError, "exactly one of slope"),
        (
            lambda: entropy_constrained_quantizer(KEY, ITEMS, 2, slope=1.0, rate=1.0),
            ValueError,
            "exactly one of slope",
        ),
        (lambda: entropy_constrained_quantizer(KEY, ITEMS, 2, slope=0), ValueError, "slope must"),
        (lambda: entropy_constrained_quantizer(KEY, ITEMS, 2, rate=0), ValueError, "rate must"),
        (
            lambda: product_quantizer(KEY, ITEMS, subspaces=3, codebook_size=2),
            ValueError,
            r"subspaces must be in \[1, 2\]",
        ),
        (
            lambda: product_quantizer(KEY, ITEMS, subspaces=2, codebook_size=257),
            ValueError,
            r"at most 65536, got 257 \*\* 2",
        ),
        (
            lambda: product_quantizer(KEY, ITEMS, subspaces=2, codebook_size=4, rotate=1),
            TypeError,
            "rotate must be a bool",
        ),
        (
            lambda: product_quantizer(
                KEY, ITEMS, subspaces=2, codebook_size=4
            ).asymmetric_distances(NEW, [16]),
            ValueError,
            "indices must lie in",
        ),
        (lambda: uniform_scalar_quantizer(ITEMS, 17), ValueError, r"bits must be in \[0, 16\]"),
        (lambda: uniform_scalar_quantizer(ITEMS, [1, 2, 3]), ValueError, "one number a coordinate"),
        (lambda: uniform_scalar_quantizer(ITEMS, [9, 9]), ValueError, "at most 16"),
        (lambda: uniform_scalar_quantizer(ITEMS, [1.0, 2.0]), TypeError, "bits must be an integer"),
        (lambda: uniform_scalar_quantizer(ITEMS, 2, tail=0.5), ValueError, "tail must lie in"),
        (lambda: uniform_scalar_quantizer(ITEMS * np.nan, 2), ValueError, "must not contain NaN"),
        (
            lambda: lloyd_max_quantizer(np.ones((5, 1)), 1),
            ValueError,
            "levels than items are distinct",
        ),
        (lambda: lloyd_max_levels([0.5], [0.0], [1.0], 2), ValueError, "weights must sum to one"),
        (lambda: lloyd_max_levels([1.0], [0.0], [0.0], 2), ValueError, "variances must lie in"),
        (lambda: lloyd_max_levels([1.0], [0.0, 1.0], [1.0], 2), ValueError, "shape of weights"),
        (lambda: lloyd_max_levels([1.0], [0.0], [1.0], 0), ValueError, "levels must be in"),
        (
            lambda: vector_quantizer(KEY, ITEMS, 2).encode(KEY, np.zeros((2, 3))),
            ValueError,
            r"items must have shape \(N, 2\)",
        ),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_product_quantizer_stores_the_digits_of_its_index():
    y = np.random.default_rng(12).normal(size=(200, 4))
    code = product_quantizer(KEY, y, subspaces=2, codebook_size=6, rotate=True, starts=1)
    digits = code.store(KEY, y)
    np.testing.assert_array_equal(digits @ [6, 1], code.encode(KEY, y))
    # The scores of features order items as their distances do.
    distances = code.asymmetric_distances(y[:5], code.encode(KEY, y))
    scores = code.query_features(y[:5]) @ code.item_features(digits).T
    length = ((y[:5] - y.mean(axis=0)) ** 2).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(length - 2 * scores, distances, rtol=0, atol=1e-12)


def test_codewords_that_are_too_many_are_not_listed():
    code = long_product_quantizer(KEY, np.random.default_rng(13).normal(size=(300, 4)), 18)
    with pytest.raises(ValueError, match="cannot list them, 65536 are the most"):
        code.encode(KEY, np.zeros((1, 4)))
    with pytest.raises(ValueError, match="cannot list them"):
        _ = code.codewords
