"""C17: vector and product quantizers, each against its slow definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quantizer_items import CODEWORDS, ITEMS, KEY, LINE, NEW, nearest_by_search

from rdsim.codes import common_form
from rdsim.codes.assignment import Points
from rdsim.codes.distances import nearest
from rdsim.codes.entropy_coding import code_rates
from rdsim.codes.quantizers.entropy_weighted import entropy_weighted_quantizer
from rdsim.codes.quantizers.hashing import hyperplane_hashing
from rdsim.codes.quantizers.k_means import lloyd
from rdsim.codes.quantizers.lloyd_max import lloyd_max_levels
from rdsim.codes.quantizers.product_fits import long_product_quantizer, product_quantizer
from rdsim.codes.quantizers.scalar import lloyd_max_quantizer, uniform_scalar_quantizer
from rdsim.codes.quantizers.vector import entropy_constrained_quantizer, vector_quantizer
from rdsim.limits.rate_distortion.continuous import continuous_rate_distortion


def _distortion(code, items):
    codewords = np.asarray(code.codewords)[np.asarray(code.encode(KEY, items))]
    return np.mean(np.sum((items - codewords) ** 2, axis=1))


# Vector quantizers


@pytest.fixture(scope="module")
def vector():
    return vector_quantizer(KEY, ITEMS, CODEWORDS)


def test_C17_a_vector_code_takes_the_nearest_codeword(vector):
    assert vector.codewords.shape == (CODEWORDS, 2)
    codewords = np.asarray(vector.codewords)
    np.testing.assert_array_equal(vector.encode(KEY, NEW), nearest_by_search(NEW, codewords))
    np.testing.assert_array_equal(
        vector.channel(NEW), np.eye(CODEWORDS)[nearest_by_search(NEW, codewords)]
    )


def test_C17_codewords_of_k_means_are_the_means_of_their_cells(vector):
    indices = np.array(nearest_by_search(ITEMS, np.asarray(vector.codewords)))
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
    codewords = lloyd(Points(points), np.array([[0.0], [1e6]]), 50).codewords
    np.testing.assert_allclose(np.sort(codewords, axis=0), [[0.5], [10.0]], rtol=1e-12, atol=0)


@pytest.mark.parametrize("slope", [0.3, 2.0, 20.0])
def test_C17_the_entropy_constrained_code_trades_distortion_for_length(slope):
    code = entropy_constrained_quantizer(KEY, ITEMS, CODEWORDS, slope=slope)
    codewords, masses = np.asarray(code.codewords), np.asarray(code.masses)
    assert np.all(masses > 0)
    np.testing.assert_allclose(code.offsets, -np.log2(masses) / slope, rtol=0, atol=1e-12)
    indices = np.array(nearest_by_search(ITEMS, codewords, -np.log2(masses) / slope))
    np.testing.assert_array_equal(code.encode(KEY, ITEMS), indices)
    np.testing.assert_allclose(
        masses, np.bincount(indices, minlength=len(codewords)) / 40, rtol=1e-12, atol=0
    )
    for k in range(len(codewords)):
        np.testing.assert_allclose(
            codewords[k], ITEMS[indices == k].mean(axis=0), rtol=0, atol=1e-12
        )
    np.testing.assert_allclose(code.distortion, _distortion(code, ITEMS), rtol=1e-12)


# Product quantizers


@pytest.mark.parametrize("rotate", [False, True])
def test_C17_a_product_code_is_the_nearest_word_of_its_product_codebook(rotate):
    code = product_quantizer(KEY, ITEMS, subspaces=2, codebook_size=4, rotate=rotate)
    codewords = np.asarray(code.codewords)
    assert codewords.shape == (16, 2)
    np.testing.assert_array_equal(code.encode(KEY, NEW), nearest_by_search(NEW, codewords))
    np.testing.assert_array_equal(code.channel(NEW), np.eye(16)[nearest_by_search(NEW, codewords)])
    np.testing.assert_allclose(code.distortion, _distortion(code, ITEMS), rtol=1e-12)
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
    np.testing.assert_array_equal(code.encode(KEY, items), nearest_by_search(items, codewords))
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
    found = jax.jit(nearest)(ITEMS, codewords, jnp.zeros(7))
    np.testing.assert_array_equal(found, nearest_by_search(ITEMS, codewords))


@pytest.mark.parametrize("offsets", [np.zeros(7), np.arange(7.0) - 3.0, np.full(7, 0.25)])
def test_numbers_and_tracers_have_the_same_nearest_codewords(offsets):
    found = nearest(ITEMS, NEW[:7], offsets)
    np.testing.assert_array_equal(found, nearest_by_search(ITEMS, NEW[:7], offsets))
    np.testing.assert_array_equal(found, jax.jit(nearest)(ITEMS, NEW[:7], offsets))
    assert found.dtype == np.int32


def test_the_first_of_equal_codewords_is_taken():
    words = np.array([[3.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    items = np.array([[0.0, 2.0], [1.0, 0.0], [2.0, 5.0]])
    assert nearest(items, words, np.zeros(4)).tolist() == [1, 2, 0]
    assert nearest(items, words, np.array([0.0, 0.0, 0.5, 0.0])).tolist() == [1, 3, 0]


def test_a_quantizer_is_fitted_and_used_without_the_compiler(caplog):
    items = np.random.default_rng(8).normal(size=(53, 3))
    with jax.log_compiles():
        code = vector_quantizer(KEY, items, 6)
        code.encode(KEY, items[:31])
        code.channel(items[:31])
    assert not [record for record in caplog.records if "XLA compilation" in record.getMessage()]


def per_variance(items):
    """A slope that scales with the unit of the items as that of their rate does."""
    return 1 / max(items.var(), 1e-300)


FITS = {
    "uniform": lambda y: uniform_scalar_quantizer(y, 3),
    "Lloyd-Max": lambda y: lloyd_max_quantizer(y, 3),
    "k-means": lambda y: vector_quantizer(KEY, y, 8),
    "ECVQ": lambda y: entropy_constrained_quantizer(KEY, y, 8, slope=per_variance(y)),
    "product": lambda y: product_quantizer(KEY, y, subspaces=2, codebook_size=4),
    "rotated product": lambda y: product_quantizer(
        KEY, y, subspaces=2, codebook_size=4, rotate=True
    ),
    "long product": lambda y: long_product_quantizer(KEY, y, 4),
    "entropy-weighted": lambda y: entropy_weighted_quantizer(y, y[:8], slope=per_variance(y)),
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
        (lambda: entropy_constrained_quantizer(KEY, ITEMS, 2, slope=0), ValueError, "slope must"),
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
    stored = np.asarray(code.codewords)[code.encode(KEY, y)]
    distances = ((y[:5, None] - stored) ** 2).sum(axis=2)
    scores = code.query_features(y[:5]) @ code.item_features(digits).T
    length = ((y[:5] - y.mean(axis=0)) ** 2).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(length - 2 * scores, distances, rtol=0, atol=1e-12)


def test_codewords_that_are_too_many_are_not_listed():
    code = long_product_quantizer(KEY, np.random.default_rng(13).normal(size=(300, 4)), 18)
    with pytest.raises(ValueError, match="cannot list them, 65536 are the most"):
        code.encode(KEY, np.zeros((1, 4)))
    with pytest.raises(ValueError, match="cannot list them"):
        _ = code.codewords
