"""The report of real pairs: its intervals, its frontier, and how it is put together."""

import dataclasses
import importlib
import math

import jax
import numpy as np
import pytest

from rdsim import limits
from rdsim.codes.quantizers.hashing import long_hyperplane_hash
from rdsim.finite_sample.contrastive import contrastive_information
from rdsim.learning.embeddings.paired_embeddings import split_pairs
from rdsim.learning.embeddings.product_code import ProductCode
from rdsim.learning.embeddings.rank_quality import measured
from rdsim.ranking.metrics.paired import pair_ranks, reciprocal_ranks
from rdsim.simulation.intervals import clopper_pearson, empirical_bernstein

gap = importlib.import_module("rdsim.learning.embeddings.gap")

KEY = jax.random.key(5)


def points(count, dimension, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dimension))


def test_every_interval_has_the_confidence_asked_for():
    ranks = pair_ranks(points(60, 3), points(60, 3, 1))
    found = measured(np.random.default_rng(0), ranks, (1, 10), 0.5)
    mrr = empirical_bernstein(reciprocal_ranks(ranks), confidence=0.5)
    np.testing.assert_allclose(found["mrr_interval"], [mrr.lower, mrr.upper], rtol=1e-12)
    # Without ties the drawn ranks are the ranks.
    hits = [int((ranks.ahead < k).sum()) for k in (1, 10)]
    recall = clopper_pearson(hits, 60, confidence=0.5)
    ends = np.stack([recall.lower, recall.upper], axis=-1)
    np.testing.assert_allclose(found["recall_interval"], ends, rtol=1e-12)


def test_an_interval_of_random_ties_is_widened_to_the_recall_that_ties_give():
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


def _ends(estimate):
    return np.stack([estimate.value, estimate.lower, estimate.upper], axis=-1)


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
    needed = np.asarray(limits.rank_rate(size, "reciprocal_rank", distortion=1 - mrr).lower)
    np.testing.assert_allclose(_ends(found.from_ranks), needed, rtol=0, atol=1e-9)
    ends = _ends(found.contrastive)
    assert (np.abs(ends - needed) > 0.01).all()
    np.testing.assert_allclose(
        _ends(found.information), np.maximum(ends, needed), rtol=0, atol=1e-12
    )
    usable = np.minimum([[2.0], [8.0]], _ends(found.information))
    assert (usable[1] < 8).all()
    best = 1 - np.asarray(limits.rank_loss(size, "reciprocal_rank", rate=usable).value)
    np.testing.assert_allclose(_ends(found.mrr_frontier), best, rtol=0, atol=1e-9)
    # A list as long as the database, or longer, holds every target.
    assert (found.quality.recall[np.isfinite(found.quality.mrr)][:, 2:] == 1).all()
    for recall in (found.uncompressed.recall[0], found.recall_converse):
        assert (recall[:, 2:] == 1).all()
    assert (_ends(found.recall_frontier)[:, 2:] == 1).all()
    dataset = found.to_xarray()
    assert dataset.sizes == {"system": 6, "bits": 2, "cutoff": 4, "end": 3}
    np.testing.assert_array_equal(dataset.mrr_frontier, _ends(found.mrr_frontier))
    np.testing.assert_array_equal(dataset.recall.sel(end="value"), found.quality.recall)
    np.testing.assert_array_equal(
        dataset.mrr.sel(end=["lower", "upper"]), found.quality.mrr_interval
    )
    assert dataset.information.attrs["units"] == "bits"
    np.testing.assert_allclose(
        found.learned_rate, (pairs.held_out_items[:, 0] ** 2).mean(), rtol=1e-12, atol=0
    )


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
def test_rates_are_integers_and_rising(bits, error, message):
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
