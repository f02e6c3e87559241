"""Families on any pairs and at any number of bits: long codes, learned quantizers, rankers, held-out points."""

import re
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim import limits, sources
from rdsim.codes.quantizers.product_fits import long_product_quantizer
from rdsim.learning.families.canonical_correlations import canonical_correlation_analysis
from rdsim.learning.families.catalogue import fit_family
from rdsim.learning.families.pairs import array_pairs, item_pairs
from rdsim.learning.families.rankers import generation, kernel_cca, rank_fusion
from rdsim.learning.families.shared_latent import SharedLatent, padded
from rdsim.learning.families.stored import LongCode, ProductDigits, SignDigits
from rdsim.learning.families.stored.learned_quantizers import QuantizedEncoder, StageDigits
from rdsim.learning.held_out_points import held_out_point
from rdsim.learning.training.schedule import Schedule
from rdsim.simulation.coded_items import Decoder

KEY = jax.random.key(0)
CORRELATIONS = np.array([0.97, 0.9, 0.85])
SOURCE = sources.vector_gaussian(np.eye(4), np.eye(3), np.eye(4, 3) * CORRELATIONS)
X, Y = SOURCE.sample(jax.random.key(1), (256,))
PAIRS = array_pairs(KEY, X, Y, held_out=64)
CHANCE = float(np.sum(1 / np.arange(1, 257)) / 256)


def same(parameters, points):
    del parameters
    return points


def first_three(parameters, queries):
    inner, points = parameters
    del inner
    return points @ queries[0, :3]


def test_arrays_are_split_and_kept_in_pairs():
    classes = np.arange(256) % 5
    data = array_pairs(KEY, np.asarray(X)[:, None], Y, classes=classes, held_out=40)
    rows = np.concatenate([np.asarray(part[1]) for part in (data.sample, data.held_out)])
    order = [int(np.flatnonzero((np.asarray(Y) == row).all(axis=1))[0]) for row in rows]
    assert sorted(order) == list(range(256))
    np.testing.assert_array_equal(np.asarray(data.sample[0])[:, 0], np.asarray(X)[order[:216]])
    np.testing.assert_array_equal(data.sample[2], classes[order[:216]])
    assert (data.modalities, data.modality_size, data.query_size, data.item_size) == (1, 4, 4, 3)
    assert len(data.held_out[1]) == 40


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((X, Y[:-1]), {}, "queries and items must have shapes"),
        ((X, Y), {"held_out": 255}, "held_out must be in"),
        ((X, Y), {"classes": np.zeros(3, int)}, r"classes must have shape \(256,\)"),
        ((X, Y), {"classes": np.full(256, -2)}, "classes"),
    ],
)
def test_bad_arrays_are_named(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        array_pairs(KEY, *arguments, **options)


def programs_of(caplog, family, size):
    """How often each program was compiled for pairs of so many numbers: fitted, stored and ranked."""
    x, y = np.random.default_rng(size).normal(size=(2, 149, size))
    caplog.clear()
    with jax.log_compiles():
        data = array_pairs(KEY, x, y, held_out=37)
        (system,) = fit_family(KEY, family, data, bits=(3,), schedule=Schedule(steps=2))
        held_out_point(KEY, system, x[:40], y[:83])
    found = [
        re.search(r"XLA compilation of jit\((.*?)\) in", r.getMessage()) for r in caplog.records
    ]
    return Counter(match[1] for match in found if match)


# Of the embeddings, one for the training items and one for the database; of queries, the scores.
STORED = {"embedded_points": 2, "<unnamed function>": 1}


@pytest.mark.parametrize(
    ("family", "programs"),
    [
        # The analysis also embeds the queries, and all items together with their own columns.
        ("CCA", STORED | {"embedded_points": 4}),
        ("InfoNCE, k-means", STORED | {"first_parameters": 1, "advance": 1, "evaluate": 1}),
    ],
)
def test_few_programs_are_compiled_for_a_new_shape(caplog, family, programs):
    programs_of(caplog, family, 11)
    assert programs_of(caplog, family, 13) == programs


def test_a_product_code_reads_back_its_codewords():
    code = long_product_quantizer(KEY, Y, 5)
    digits = ProductDigits(code)
    stored = digits.digits(np.asarray(Y))
    words = np.asarray(code.codewords)
    nearest = ((np.asarray(Y)[:, None] - words) ** 2).sum(-1).argmin(1)
    np.testing.assert_allclose(digits.points(stored), words[nearest], rtol=1e-12, atol=1e-12)


def test_held_out_ranks_are_those_of_a_slow_count():
    code = LongCode(embed=same, parameters=None, digits=SignDigits(2), width=3)
    system = code, Decoder(first_three, (None,))
    losses = ("reciprocal_rank", ("miss", 3))
    point = held_out_point(KEY, system, X[:20], Y, losses)
    signs = np.where(np.asarray(Y)[:, :2] > 0, 1.0, -1.0)
    scores = np.asarray(X)[:20, :2] @ signs.T
    expected = {"reciprocal_rank": [], "miss_3": []}
    for i, row in enumerate(scores):
        ahead, tied = int((row > row[i]).sum()), int((row == row[i]).sum())
        ranks = np.arange(ahead + 1, ahead + tied + 1)
        assert (point.ahead[i], point.tied[i]) == (ahead, tied)
        expected["reciprocal_rank"].append(1 - np.mean(1 / ranks))
        expected["miss_3"].append(np.mean(ranks > 3))
    for name, values in expected.items():
        assert float(point.losses[name].mean) == pytest.approx(np.mean(values), rel=1e-12, abs=0)
    counts = np.unique(signs, axis=0, return_counts=True)[1] / 256
    assert float(point.code_bits) == pytest.approx(
        -(counts * np.log2(counts)).sum(), rel=1e-12, abs=0
    )


STORED = ("metric", "hashing, pairs", "finite scalar quantization")
"""A family of each kind of digits; `test_every_family` has all of them, at few bits."""


def converse(bits):
    found = limits.retrieval_converse(SOURCE, 8.0, "reciprocal_rank", bits=np.array(bits, float))
    return np.asarray(found.loss)


@pytest.mark.parametrize("name", STORED)
def test_C27_more_bits_find_more_and_no_converse_is_passed(name):
    bits, plan = (4, 14), Schedule(steps=100, evaluate_every=50)
    systems = fit_family(KEY, name, PAIRS, bits=bits, schedule=plan)
    points = [held_out_point(KEY, system, X, Y, confidence=1 - 1e-7) for system in systems]
    few, many = (1 - float(point.losses["reciprocal_rank"].mean) for point in points)
    assert many > few > 2 * CHANCE
    assert float(points[1].code_bits) > 4
    for point, least in zip(points, converse(bits), strict=True):
        assert float(point.losses["reciprocal_rank"].upper) >= least


def test_C29_canonical_codes_near_the_closed_form_where_all_is_stored():
    # 60 bits tell three coordinates almost exactly: the MRR is then that of the density itself.
    data = item_pairs(KEY, SOURCE, 2048, held_out=16)
    (system,) = fit_family(KEY, "CCA", data, bits=(24,))
    x, y = (np.asarray(side) for side in SOURCE.sample(jax.random.key(7), (1024,)))
    point = held_out_point(KEY, system, x, y)
    u, rho = x[:, None, :3], CORRELATIONS
    density = (-((y - rho * u) ** 2) / (1 - rho**2) + y**2).sum(-1)
    ranks = 1 + (density > np.diag(density)[:, None]).sum(axis=1)
    # Stored whole .40; 24 bits in three coordinates lose a few hundredths.
    best = np.mean(1 / ranks)
    assert best - 0.08 < 1 - float(point.losses["reciprocal_rank"].mean) < best + 0.01


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), books=st.booleans())
def test_digits_of_learned_quantizers_are_what_the_network_reads_back(seed, books):
    kind = "residual" if books else "finite scalar"
    stages, used = 3, 2
    model = QuantizedEncoder(
        kind=kind, stages=stages, levels=4, query_size=2, item_size=2, hidden=(4,), dimension=5,
        rngs=nnx.Rngs(3),
    )  # fmt: skip
    width = 5 if books else stages
    z = np.random.default_rng(seed).normal(size=(6, width))
    read = model.read_back(jnp.asarray(z, jnp.float32), used)
    words = np.asarray(model.codebooks[...], float)[:used] if books else None
    digits = StageDigits(words, used, 4)
    stored = digits.digits(z)
    assert stored.shape == (6, used)
    assert stored.min() >= 0
    assert stored.max() < 4
    points = digits.points(stored)
    points = np.pad(points, ((0, 0), (0, width - points.shape[1])))
    np.testing.assert_allclose(read, points, rtol=0, atol=1e-5)
    if not books:
        steps = np.array([-1, -1 / 3, 1 / 3, 1])
        nearest = np.abs(np.tanh(z[:, :used, None]) - steps).argmin(-1)
        np.testing.assert_array_equal(stored, nearest)


def test_what_is_read_back_of_residuals_are_codewords_to_the_last_digit():
    model = QuantizedEncoder(
        kind="residual", stages=2, levels=4, query_size=2, item_size=2, hidden=(4,), dimension=5,
        rngs=nnx.Rngs(3),
    )  # fmt: skip
    books = np.asarray(model.codebooks[...])
    z = np.random.default_rng(0).normal(size=(100, 5))
    read = nnx.jit(QuantizedEncoder.read_back)(model, jnp.asarray(z, jnp.float32), 1)
    (stored,) = StageDigits(books.astype(float)[:1], 1, 4).digits(z).T
    np.testing.assert_array_equal(read, books[0][stored])


@given(st.lists(st.lists(st.integers(-2, 2), min_size=5, max_size=5), min_size=2, max_size=2))
def test_ranks_are_fused_by_their_formulas(rows):
    scores = np.array(rows, float)
    ranks = np.array([scipy.stats.rankdata(-row, method="average") for row in scores])
    table = jnp.asarray(scores)
    np.testing.assert_allclose(rank_fusion.mean_ranks(table), ranks, rtol=1e-14)
    np.testing.assert_allclose(
        rank_fusion.fused_ranks(table, "reciprocal ranks"), (1 / (60 + ranks)).sum(0), rtol=1e-13
    )
    np.testing.assert_allclose(
        rank_fusion.fused_ranks(table, "Borda"), (5 - ranks).sum(0), rtol=1e-13, atol=0
    )


def test_kernel_features_reproduce_the_kernel_at_the_landmarks():
    landmarks, root, width = kernel_cca.landmark_features(KEY, Y[:40])
    features = np.asarray(kernel_cca.kernel_features((landmarks, root, width), landmarks))
    square = ((np.asarray(landmarks)[:, None] - np.asarray(landmarks)) ** 2).sum(-1)
    kernel = np.exp(-square / (2 * float(width) ** 2))
    np.testing.assert_allclose(features @ features.T, kernel, rtol=0, atol=1e-4)
    assert float(width) ** 2 == pytest.approx(np.median(square[square > 0]), rel=1e-12, abs=0)


def test_densities_of_the_generator_are_mixtures_of_gaussians():
    model = generation.ItemGenerator(
        query_size=2, item_size=1, hidden=(4,), components=3, rngs=nnx.Rngs(0)
    )
    grid = jnp.linspace(-12, 12, 4001)[:, None]
    given, alone = jax.jit(model.log_densities)(jnp.array([[[0.3, -1.0]]]), grid)
    for log_density in (given[0], alone):
        assert float(jnp.exp(log_density).sum() * 0.006) == pytest.approx(1, rel=1e-4, abs=0)


def test_padding_a_shorter_modality_adds_no_density():
    model = SharedLatent(modalities=1, size=2, item_size=3, hidden=(4,), rngs=nnx.Rngs(0))
    items = jnp.ones((2, 3))
    points = jnp.concatenate([padded(jnp.ones((2, 1, 2)), 3), items[:, None]], axis=1)
    noise = jnp.zeros((1, 2, 2), jnp.float32)
    queries_alone = jnp.array([[1.0, 0.0]])
    bound = jax.jit(lambda points: model.evidence_bound(points, queries_alone, noise))
    value = bound(points)
    # The network sees the padding; what it says of the coordinates there has no weight.
    other = jnp.concatenate([points[:, :1], points[:, 1:] + 1.0], axis=1)
    np.testing.assert_array_equal(value, bound(other))
    assert model.embed_items(items).shape == model.query_posterior(points[:, :1, :2])[0].shape


def test_kernel_correlations_of_gaussian_pairs_are_the_powers_of_their_correlation():
    # The singular functions of a Gaussian pair are Hermite polynomials (Lancaster 1957): the canonical
    # correlations of all functions of the two are rho, rho^2, rho^3, ...
    rho = 0.9
    x, y = sources.vector_gaussian(np.eye(1), np.eye(1), np.array([[rho]])).sample(KEY, (8192,))
    sides = [
        kernel_cca.kernel_features(kernel_cca.landmark_features(key, points), points)
        for points, key in ((x, jax.random.key(2)), (y, jax.random.key(3)))
    ]
    # The ridge lowers them a little, and more where the features are weak.
    found = canonical_correlation_analysis(*sides, 2, regularisation=1e-4).correlations
    # The standard deviation of a sample's correlation is (1 - rho^2) / sqrt(N) < .005.
    np.testing.assert_allclose(found, [rho, rho**2], rtol=0, atol=0.03)


@pytest.mark.parametrize("name", ["shared latent", "adversarial"])
def test_outputs_are_as_many_as_wide_items_need_for_a_hundred_bits(name):
    x, y = np.random.default_rng(0).normal(size=(2, 300, 24))
    data = array_pairs(KEY, x, y, held_out=40)
    ((code, _),) = fit_family(KEY, name, data, bits=(100,), schedule=Schedule(steps=0))
    digits = code.store(KEY, y)
    assert len(digits) == len(y)
    assert np.log2(digits.max(axis=0) + 1.0).sum() > 90
