"""Real pairs: what is refused, how ranks and intervals are counted, and what long codes reach."""

import dataclasses
import importlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim import limits, ranking
from rdsim.codes.quantizers.hashing import long_hyperplane_hash, rotated_hash
from rdsim.codes.quantizers.product import long_product_quantizer, most_block_bits
from rdsim.finite_sample.contrastive import contrastive_information
from rdsim.learning.embeddings.paired_embeddings import check_pairs, shared_space, split_pairs
from rdsim.learning.embeddings.product_code import ProductCode
from rdsim.learning.embeddings.rank_quality import measured
from rdsim.ranking.paired import drawn_ranks, pair_ranks, recalls, reciprocal_ranks
from rdsim.simulation.intervals import clopper_pearson, empirical_bernstein

gap = importlib.import_module("rdsim.learning.embeddings.gap")

KEY = jax.random.key(5)


def points(count, dimension, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dimension))


def with_entry(value, row=3, column=1):
    changed = points(50, 3)
    changed[row, column] = value
    return changed


def with_row(value, row=3):
    changed = points(50, 3)
    changed[row] = value
    return changed


def repeated():
    changed = points(50, 3)
    changed[[7, 30]] = changed[[4, 12]]
    return changed


def with_zero_row():
    changed = points(50, 3)
    changed[3] = 0.0
    return changed


GOOD = points(50, 3)


@pytest.mark.parametrize(
    ("queries", "items", "error", "message"),
    [
        (GOOD[0], GOOD, ValueError, r"queries must have shape \(rows, coordinates\).*got shape"),
        (GOOD, GOOD[:, :0], ValueError, r"items must have shape.*\(50, 0\)"),
        (GOOD, with_entry(np.nan), ValueError, r"items must be finite.* got nan at index \(3, 1\)"),
        (with_entry(-np.inf), GOOD, ValueError, r"queries must be finite.* got -inf at index \(3"),
        (GOOD, GOOD[:-1], ValueError, "got 50 queries and 49 items"),
        (GOOD[:39], GOOD[:39], ValueError, "at least 40 pairs are needed, got 39"),
        (GOOD, repeated(), ValueError, r"items must be distinct, but row 7 equals row 4 \(2 rows"),
        (GOOD, with_row(0.0), ValueError, "items must have a direction.* 0.0 at index 3"),
        (
            with_row(1e-310),
            GOOD,
            ValueError,
            r"queries must have a direction.* 1e-310 at index 3",
        ),
        (with_row(1e160), GOOD, ValueError, r"queries must be finite, at most 1e\+100"),
        (GOOD, GOOD.astype("f8,f8"), TypeError, r"items must hold real numbers"),
        (GOOD.astype(complex), GOOD, TypeError, "queries must hold real numbers.*complex"),
        (GOOD, GOOD.astype(str), TypeError, "items must hold real numbers"),
    ],
)
def test_what_is_no_pair_is_named(queries, items, error, message):
    with pytest.raises(error, match=message):
        check_pairs(queries, items)


def test_equal_queries_are_no_fault():
    x, y = check_pairs(repeated(), GOOD)
    np.testing.assert_array_equal(x, repeated())
    np.testing.assert_array_equal(y, GOOD)


@pytest.mark.parametrize(
    "dtype",
    ["float16", "float32", "int8", "uint8", "int16", "int64", jnp.bfloat16, jnp.float8_e4m3fn],
)
def test_every_type_of_real_numbers_is_taken_at_its_values(dtype):
    small = np.random.default_rng(0).permutation(125)[:50]
    items = np.stack([small // 25 + 1, small // 5 % 5, small % 5], axis=1).astype(dtype)
    x, y = check_pairs(items[::-1], items)
    assert x.dtype == y.dtype == np.float64
    np.testing.assert_array_equal(y, items.astype(float))


@given(st.integers(0, 10**6))
def test_no_item_is_on_both_sides_of_a_split(seed):
    generator = np.random.default_rng(seed)
    names = generator.integers(0, 50, 200)
    rows = np.arange(200.0)[:, None]
    items = names[:, None] * 1.0
    parts = split_pairs(jax.random.key(seed), rows, items)
    assert not set(parts.items.ravel()) & set(parts.held_out_items.ravel())
    both = np.concatenate([parts.queries, parts.held_out_queries]).ravel()
    np.testing.assert_array_equal(np.sort(both), rows.ravel())
    np.testing.assert_array_equal(parts.items.ravel(), names[parts.queries.ravel().astype(int)])


def test_a_split_keeps_pairs_together_and_loses_none():
    rows = np.arange(100.0)[:, None]
    parts = split_pairs(KEY, rows, -rows, held_out=0.3)
    assert parts.held_out_items.shape == (30, 1)
    np.testing.assert_array_equal(parts.queries, -parts.items)
    np.testing.assert_array_equal(parts.held_out_queries, -parts.held_out_items)
    both = np.concatenate([parts.queries, parts.held_out_queries]).ravel()
    np.testing.assert_array_equal(np.sort(both), rows.ravel())
    with pytest.raises(ValueError, match="held_out leaves 10 of 100 pairs to rank"):
        split_pairs(KEY, rows, -rows, held_out=0.1)


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_ranks_are_those_of_the_metrics_with_ties(seed):
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, 3, (12, 2))
    queries = generator.integers(-2, 3, (12, 2)).astype(float)
    ranks = pair_ranks(queries, codes)
    scores, own = queries @ codes.T, np.arange(12)[:, None]
    expected = ranking.reciprocal_rank(scores, own)
    np.testing.assert_allclose(reciprocal_ranks(ranks), expected, rtol=1e-12)
    np.testing.assert_allclose(
        recalls(ranks, 3), ranking.recall(scores, own, 3), rtol=0, atol=1e-12
    )
    assert ranks.size == 12
    some = pair_ranks(queries[:5], codes)
    np.testing.assert_array_equal(some.ahead, ranks.ahead[:5])


def test_ranks_in_blocks_are_ranks(monkeypatch):
    from rdsim.ranking import paired as pair_ranking

    x, y = points(30, 4), points(30, 4, 1)
    whole = pair_ranks(x, y), contrastive_information(x, y)
    monkeypatch.setattr(pair_ranking, "_ENTRIES", 70)
    parts = pair_ranks(x, y), contrastive_information(x, y)
    np.testing.assert_array_equal(whole[0].ahead, parts[0].ahead)
    assert float(whole[1].lower) == pytest.approx(float(parts[1].lower), abs=1e-12)


@pytest.mark.parametrize(
    ("dtype", "units"),
    [
        (np.float64, [2.0**-1000, 2.0**-664, 2.0**328]),
        (np.float32, [2.0**-110, 2.0**-80, 2.0**66, 2.0**120]),
    ],
)
def test_ranks_do_not_depend_on_the_unit_of_features(dtype, units):
    y = points(200, 6).astype(dtype)
    x = y + points(200, 6, 1).astype(dtype)
    wanted = pair_ranks(x, y)
    assert len(set(wanted.ahead)) > 10
    for unit in np.array(units, dtype):
        mixed = np.where(np.arange(200)[:, None] % 2, unit, dtype(1))
        for found in (
            pair_ranks(unit * x, unit * y),
            pair_ranks(mixed * x, unit * y),
            pair_ranks(unit * x, y, lambda codes, unit=unit: unit * codes),
        ):
            np.testing.assert_array_equal(found.ahead, wanted.ahead)
            np.testing.assert_array_equal(found.tied, wanted.tied)


def test_features_of_zero_are_tied():
    assert pair_ranks(np.zeros((3, 2)), np.eye(3, 2)).tied.tolist() == [3, 3, 3]
    assert pair_ranks(np.eye(3, 2), np.zeros((3, 2))).tied.tolist() == [3, 3, 3]


def test_lots_fall_evenly_among_the_tied():
    ranks = pair_ranks(np.ones((4000, 1)), np.repeat([[2.0], [1.0]], 2000, axis=0))
    drawn = drawn_ranks(np.random.default_rng(0), ranks)
    assert (drawn[:2000].min(), drawn[2000:].min()) >= (1, 2001)
    assert drawn[:2000].max() <= 2000
    # Uniform on 2000 ranks: the mean of 2000 draws is within six standard deviations.
    assert abs(drawn[:2000].mean() - 1000.5) < 6 * 2000 / math.sqrt(12 * 2000)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_C4_no_ranking_by_stored_codes_passes_their_entropy(seed, words):
    # Exact for one database and all of its items as targets, whatever scores the queries give.
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, words, 24)
    codes[generator.random(24) < 0.3] = 0
    tables = generator.normal(size=(24, 12))
    if seed % 2:
        tables[np.arange(24), codes] += 5  # every target's own code first: the best there is
    ranks = pair_ranks(tables, np.eye(12)[codes])
    share = np.bincount(codes) / 24
    entropy = -(share[share > 0] * np.log2(share[share > 0])).sum()
    assert ranks.code_bits == pytest.approx(entropy, abs=1e-12)
    loss = 1 - reciprocal_ranks(ranks).mean()
    needed = limits.rank_rate(math.log2(24), "reciprocal_rank", D=min(loss, 1.0))
    assert float(needed.lower) <= ranks.code_bits + 1e-9


def test_C4_the_entropy_of_the_codes_is_met_where_codes_are_equally_common():
    # Errors are then those of a lot among 6 of 24, and recall@6 needs all log2 4 bits.
    codes = np.repeat(np.arange(4), 6)
    ranks = pair_ranks(np.eye(4)[codes], np.eye(4)[codes])
    needed = limits.rank_rate(math.log2(24), ("miss", 6), D=1 - recalls(ranks, 6).mean())
    assert float(needed.value) == pytest.approx(ranks.code_bits, abs=1e-9)


def test_the_contrastive_estimate_and_its_jackknife_by_leaving_out():
    x, y = points(15, 3), points(15, 3, 1)

    def estimate(keep):
        scores = x[keep] @ y[keep].T
        own = np.diag(scores) - np.log(np.exp(scores).mean(axis=1))
        return own.mean() / math.log(2)

    found = contrastive_information(x, y)
    assert float(found.value) == pytest.approx(estimate(np.arange(15)), abs=1e-12)
    left = np.array([estimate(np.delete(np.arange(15), i)) for i in range(15)])
    error = math.sqrt(14 / 15 * ((left - left.mean()) ** 2).sum())
    assert float(found.value - found.lower) == pytest.approx(1.959964 * error, rel=1e-6, abs=0)
    assert (found.side, found.proved) == ("lower", False)


def test_the_contrastive_estimate_of_a_known_gaussian():
    # With the density ratio as score: 0.5 log2(1/(1 - 0.81)) bits, below log2 M by far.
    generator = np.random.default_rng(1)
    x = generator.normal(size=(800, 1))
    y = 0.9 * x + math.sqrt(0.19) * generator.normal(size=(800, 1))
    # ln p(y|x)/p(y), less what depends on x alone.
    queries = np.column_stack([0.9 * x / 0.19, np.full(800, -0.5 * 0.81 / 0.19)])
    found = contrastive_information(queries, np.column_stack([y, y**2]), confidence=1 - 1e-6)
    assert float(found.lower) < -0.5 * math.log2(0.19) < float(found.upper)


def test_the_space_is_the_one_that_ranks_best():
    generator = np.random.default_rng(2)
    y = generator.normal(size=(300, 8))
    near = y + 0.3 * generator.normal(size=y.shape)
    turned = near @ np.linalg.qr(generator.normal(size=(8, 8)))[0]
    wide = np.column_stack([turned, generator.normal(size=(300, 2))])

    def chosen(x):
        return shared_space(x[:200], y[:200], validate=(x[200:], y[200:]))

    assert chosen(near).name == "as given"
    for x in (turned, wide):
        space = chosen(x)
        assert "canonical" in space.name
        unit = space.items(y[200:])
        np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1.0, rtol=0, atol=1e-12)
        assert reciprocal_ranks(pair_ranks(space.queries(x[200:]), unit)).mean() > 0.8


def test_the_canonical_space_is_that_of_whitening_written_out():
    generator = np.random.default_rng(9)
    shared = generator.normal(size=(300, 3)) * [3.0, 1.0, 0.3]
    x = 40.0 + 7.0 * np.column_stack([shared + generator.normal(size=(300, 3)), points(300, 2)])
    y = -5.0 + 0.02 * (shared + 0.5 * generator.normal(size=(300, 3)))
    space = shared_space(x[:200], y[:200], validate=(x[200:], y[200:]))
    penalty = float(space.name.split("penalty ")[1].rstrip(")"))

    def white(points, fitted):
        scale = math.sqrt(fitted.var(axis=0).mean())
        values, axes = np.linalg.eigh(np.cov((fitted / scale).T, bias=True))
        root = axes / np.sqrt(values + penalty) @ axes.T
        return (points - fitted.mean(axis=0)) / scale @ root

    within = white(x[:200], x[:200]).T @ white(y[:200], y[:200]) / 200
    left, correlations, right = np.linalg.svd(within, full_matrices=False)
    sides = white(x[200:], x[:200]) @ left * correlations, white(y[200:], y[:200]) @ right.T
    sides = sides[0], sides[1] * correlations
    q, v = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides)
    np.testing.assert_allclose(
        space.queries(x[200:]) @ space.items(y[200:]).T, q @ v.T, rtol=0, atol=1e-8
    )


def test_no_interval_of_the_contrastive_estimate_passes_log2_of_its_pairs():
    features = 1.7 * np.eye(5) + 0.6 * points(5, 5, 3)
    found = contrastive_information(features, features)
    value, lower, upper = (float(end) for end in (found.value, found.lower, found.upper))
    assert value < upper == math.log2(5) < 2 * value - lower


def test_a_long_product_quantizer_reaches_the_exact_ranks_at_many_bits():
    y = points(200, 6)
    x = y + 0.02 * points(200, 6, 1)
    fine = long_product_quantizer(KEY, y, 30)
    digits = fine.store(KEY, y)
    assert digits.shape == (200, 6)
    exact = pair_ranks(np.column_stack([x, np.ones(200)]), np.column_stack([y, -(y**2).sum(1) / 2]))
    coarse = long_product_quantizer(KEY, y, 4)
    quality = [
        reciprocal_ranks(pair_ranks(c.query_features(x), c.store(KEY, y), c.item_features)).mean()
        for c in (coarse, fine)
    ]
    assert reciprocal_ranks(exact).mean() == 1.0
    assert quality[0] < 0.5 < 0.99 < quality[1]


def test_scores_of_a_product_quantizer_order_as_distances():
    y, x = points(100, 5), points(7, 5, 1)
    made = long_product_quantizer(KEY, y, 9)
    digits = made.store(KEY, y)
    words = np.concatenate([book[digits[:, s]] for s, book in enumerate(made.codebooks)], axis=1)
    reconstructed = words @ made.rotation + made.centre
    distance = ((x[:, None] - reconstructed) ** 2).sum(axis=2)
    scores = made.query_features(x) @ made.item_features(digits).T
    gaps = scores + 0.5 * distance
    np.testing.assert_allclose(gaps - gaps[:, :1], 0.0, rtol=0, atol=1e-10)
    counts = [book.shape[0] for book in made.codebooks]
    assert math.prod(counts) == 2**9
    # Nearest words: the reconstruction is no farther than under any other word of a block.
    assert ((y - reconstructed) ** 2).sum() < ((y - reconstructed[::-1]) ** 2).sum()


@pytest.mark.parametrize("maker", [long_hyperplane_hash, rotated_hash])
def test_a_hash_keeps_the_query_or_takes_its_signs(maker):
    y, x = points(60, 8), points(5, 8, 1)
    made = maker(KEY, y, 6)
    stored = made.store(KEY, y)
    signs = made.item_features(stored)
    hamming = (made.store(KEY, x)[:, None] != stored[None]).sum(axis=2)
    np.testing.assert_array_equal(made.hamming_features(x) @ signs.T, 6 - 2 * hamming)
    written_out = [
        [sum(float((q - made.centre) @ a) * b for a, b in zip(made.planes, code, strict=True))]
        for q in x
        for code in np.where((y - made.centre) @ made.planes.T > 0, 1.0, -1.0)
    ]
    np.testing.assert_allclose(
        made.query_features(x) @ signs.T, np.reshape(written_out, (5, 60)), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("maker", [long_hyperplane_hash, rotated_hash])
def test_only_items_cost_bits_so_the_signs_of_a_query_lose(maker):
    # 2000 targets, both rankings of the same stored bits: MRR is lower by many standard errors.
    y = points(2000, 16)
    x = y + 0.3 * points(2000, 16, 1)
    made = maker(KEY, y[:500], 16)
    stored = made.store(KEY, y)
    own, signs = (
        reciprocal_ranks(pair_ranks(side(x), stored, made.item_features))
        for side in (made.query_features, made.hamming_features)
    )
    lost = own - signs
    assert lost.mean() > 6 * lost.std() / math.sqrt(2000)


def test_a_rotated_hash_is_nearer_to_signs_than_its_start():
    corners = np.where(np.random.default_rng(0).random((400, 4)) < 0.5, -1.0, 1.0)
    turn = np.linalg.qr(points(4, 4))[0]
    made = rotated_hash(KEY, corners @ turn + 0.05 * points(400, 4, 1), 4)
    # Corners of a turned cube fall into cells of their own.
    codes = made.store(KEY, corners @ turn)
    assert len(np.unique(codes, axis=0)) == len(np.unique(corners, axis=0)) == 16
    np.testing.assert_allclose(made.planes @ made.planes.T, np.eye(4), rtol=0, atol=1e-9)


def test_every_interval_has_the_confidence_asked_for():
    ranks = pair_ranks(points(60, 3), points(60, 3, 1))
    found = measured(np.random.default_rng(0), ranks, (1, 10), 0.5)
    mrr = empirical_bernstein(reciprocal_ranks(ranks), confidence=0.5)
    np.testing.assert_allclose(found["mrr_interval"], [mrr.lower, mrr.upper], rtol=1e-12)
    # Without ties the lots are the ranks.
    hits = [int((ranks.ahead < k).sum()) for k in (1, 10)]
    recall = clopper_pearson(hits, 60, confidence=0.5)
    ends = np.stack([recall.lower, recall.upper], axis=-1)
    np.testing.assert_allclose(found["recall_interval"], ends, rtol=1e-12)


def test_an_interval_of_lots_is_widened_to_the_recall_that_ties_give():
    ranks = pair_ranks(np.ones((60, 1)), np.ones((60, 1)))
    for seed in range(5):
        found = measured(np.random.default_rng(seed), ranks, (10,), 1e-9)
        lower, upper = found["recall_interval"][0]
        assert lower <= found["recall"][0] == pytest.approx(1 / 6, rel=1e-12, abs=0)
        assert found["recall"][0] <= upper


def test_the_frontier_is_the_least_of_the_bits_and_the_information():
    # Its rows: the converse at the bits; then at what is usable of them.
    rates = np.array([[1.0, 0.5, 0.25, 1.0], [9.0, 0.5, 0.25, 2.0]])
    best = gap._best(rates, 6.0, "reciprocal_rank")
    exact = 1 - np.asarray(limits.rank_loss(6.0, "reciprocal_rank", rate=rates).value)
    np.testing.assert_allclose(best, exact, rtol=0, atol=1e-9)
    assert (best >= exact).all()
    assert best[0, 1] == best[1, 1] < best[0, 0] < best[1, 0]


class Planted(ProductCode):
    """A hash in the place of a learned code, so that nothing is trained."""

    @classmethod
    def of(cls, made):
        code = object.__new__(cls)
        object.__setattr__(code, "made", made)
        return code

    def store(self, key, items):
        return self.made.store(key, items)

    def query_features(self, queries):
        return self.made.query_features(queries)

    def item_features(self, digits):
        return self.made.item_features(digits)

    def mean_features(self, items):
        return 0.1 * self.made.item_features(self.made.store(KEY, items))

    def rate(self, items):
        return items[:, 0] ** 2


def test_a_report_is_put_together_from_its_parts(monkeypatch):
    seen, rows = {}, []

    def planted(key, queries, items, rates, *, validate, **options):
        seen.update(queries=queries, items=items, validate=validate)
        return tuple(Planted.of(long_hyperplane_hash(key, items, rate)) for rate in rates), None

    def counted(queries, items, **options):
        rows.append(len(items))
        return contrastive_information(queries, items, **options)

    monkeypatch.setattr(gap, "product_codes", planted)
    monkeypatch.setattr(gap, "contrastive_information", counted)
    y = points(160, 4)
    pairs = split_pairs(KEY, y + 0.8 * points(160, 4, 1), y)
    found = gap.embedding_gap(KEY, pairs, [2, 8], cutoffs=(1, 10, 64, 1000))
    size, kept = math.log2(64), len(seen["validate"][1])
    # What is chosen on has not been fitted to, and the held-out pairs choose nothing.
    assert kept == 19
    used = np.vstack([seen["items"], seen["validate"][1]])
    assert len(used) == len(np.unique(used, axis=0)) == 96
    # Temperatures, the best of them again, and the learned code; then these two on the held-out.
    assert sorted(rows) == [kept] * (17 + 1 + 1) + [64] * 2
    assert found.database == 64
    mrr = np.concatenate([found.uncompressed.mrr[0], found.uncompressed.mrr_interval[0, 0]])
    needed = np.asarray(limits.rank_rate(size, "reciprocal_rank", D=1 - mrr).lower)
    np.testing.assert_allclose(found.from_ranks, needed, rtol=0, atol=1e-9)
    part = found.contrastive
    ends = np.array([part.value, part.lower, part.upper])
    assert (np.abs(ends - needed) > 0.01).all()
    np.testing.assert_allclose(found.information, np.maximum(ends, needed), rtol=0, atol=1e-12)
    usable = np.minimum([[2.0], [8.0]], found.information)
    assert (usable[1] < 8).all()
    best = 1 - np.asarray(limits.rank_loss(size, "reciprocal_rank", rate=usable).value)
    np.testing.assert_allclose(found.mrr_frontier, best, rtol=0, atol=1e-9)
    # A list as long as the database, or longer, holds every target.
    assert (found.quality.recall[np.isfinite(found.quality.mrr)][:, 2:] == 1).all()
    for recall in (found.uncompressed.recall[0], found.recall_converse, found.recall_frontier):
        assert (recall[:, 2:] == 1).all()
    np.testing.assert_allclose(
        found.learned_rate, (pairs.held_out_items[:, 0] ** 2).mean(), rtol=1e-12, atol=0
    )


def test_codes_know_how_many_bits_they_can_have():
    assert [most_block_bits(n) for n in (8, 64, 1023, 1024, 10**6)] == [1, 4, 7, 8, 8]
    with pytest.raises(ValueError, match="bits must be at most 12 with 3 coordinates"):
        long_product_quantizer(KEY, points(64, 3), 13)
    with pytest.raises(ValueError, match=r"bits must be in \[1, 3\], got 4"):
        rotated_hash(KEY, points(64, 3), 4)


@pytest.mark.parametrize(
    ("bits", "error", "message"),
    [
        ([8, 4], ValueError, r"bits must rise without repeats, got \[8, 4\]"),
        ([4, 4], ValueError, "bits must rise without repeats"),
        ([0, 4], ValueError, r"bits must be in \[1, 1024\], got 0"),
        ([], ValueError, "bits must rise"),
        ([2.5], TypeError, "bits must be an integer"),
    ],
)
def test_rates_are_whole_and_rising(bits, error, message):
    parts = split_pairs(KEY, points(60, 3), points(60, 2, 1))
    with pytest.raises(error, match=message):
        gap.embedding_gap(KEY, parts, bits)


def test_a_report_continues_from_its_finished_parts_to_the_same_digits(monkeypatch):
    trained = []

    def planted(key, queries, items, rates, **options):
        trained.append(rates)
        return tuple(Planted.of(long_hyperplane_hash(key, items, rate)) for rate in rates), None

    monkeypatch.setattr(gap, "product_codes", planted)
    y = points(160, 4)
    pairs = split_pairs(KEY, y + 0.8 * points(160, 4, 1), y)
    finished, computed = {}, []

    def keep(name, function):
        if name not in finished:
            # As they are read back from a file: arrays, and nothing else.
            finished[name] = {key: np.array(value) for key, value in function().items()}
            computed.append(name)
            raise KeyboardInterrupt
        return finished[name]

    # Eight bits are too many for the rotated hash of four coordinates.
    parts = 2 * 3 - 1 + 3
    for _ in range(parts):
        with pytest.raises(KeyboardInterrupt):
            gap.embedding_gap(KEY, pairs, [2, 8], keep=keep)
    continued = gap.embedding_gap(KEY, pairs, [2, 8], keep=keep)
    assert len(computed) == len(set(computed)) == parts
    assert len(trained) == 1
    whole = gap.embedding_gap(KEY, pairs, [2, 8])
    for one, other in zip(*(_numbers(report) for report in (continued, whole)), strict=True):
        np.testing.assert_array_equal(one, other)


def _numbers(report):
    return jax.tree.leaves(dataclasses.asdict(report))


@pytest.mark.parametrize("scale", [1e-90, 1e-13, 1e90])
def test_units_of_the_embeddings_change_no_space(scale):
    x, y = points(80, 4), points(80, 4) + points(80, 4, 1)

    def scores(unit):
        space = shared_space(unit * x[:60], y[:60], validate=(unit * x[60:], y[60:]))
        return space.queries(unit * x[60:]) @ space.items(y[60:]).T

    np.testing.assert_allclose(scores(scale), scores(1.0), rtol=0, atol=1e-9)


def test_constant_embeddings_have_a_space_in_which_all_tie():
    space = shared_space(np.ones((60, 3)), points(60, 2), validate=(np.ones((9, 3)), points(9, 2)))
    ranks = pair_ranks(space.queries(np.ones((9, 3))), space.items(points(9, 2)))
    assert (ranks.tied == 9).all()
