"""Encoders: nearest codeword and probabilities against plain sums; no index depends on the memory."""

import math

import jax
import numpy as np
import pytest
import scipy.stats
import strategies as sts
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim.codes import encoders
from rdsim.codes.encoders import items_at_once, likelihood_encoder
from rdsim.codes.letter_tables import letter_table

KEY = jax.random.key(42)
HAMMING = 1.0 - np.eye(3, 4)
ITEMS, CODEWORDS, LENGTH = 40, 300, 6  # two blocks of codewords, the second not full


def distances(items, codebook, distortion):
    """Block distortions, one pair after the other in exact arithmetic of the table given."""
    table = np.asarray(distortion)
    return np.array(
        [[math.fsum(table[y, u] for y, u in zip(item, codeword, strict=True)) for codeword in codebook]
         for item in np.asarray(items).tolist()]
    )  # fmt: skip


def drawn(seed, letters, rows=CODEWORDS):
    return np.random.default_rng(seed).integers(0, letters, (rows, LENGTH))


@given(sts.distortions((3, 4)), st.integers(0, 2**31))
@settings(max_examples=25)
def test_nearest_word_is_one_of_the_nearest(distortion, seed):
    items, book = drawn(seed, 3, ITEMS), drawn(seed + 1, 4)
    index = np.asarray(likelihood_encoder(KEY, items, book, distortion, math.inf))
    table = distances(items, book.tolist(), distortion)
    least = table.min(axis=1)
    # The lattice moves a sum by no more than 2^-50 of the largest.
    assert np.all(table[np.arange(ITEMS), index] <= least + 1e-14 * table.max())
    assert np.all((index >= 0) & (index < CODEWORDS))


@pytest.mark.parametrize("slope", [math.inf, 0.7])
def test_no_index_depends_on_the_memory_or_on_parts(slope):
    items, book = drawn(1, 3, ITEMS), drawn(2, 4)

    def encode(part, **options):
        return np.asarray(likelihood_encoder(KEY, part, book, HAMMING, slope, **options))

    whole = encode(items)
    np.testing.assert_array_equal(whole, encode(items, memory_budget=2**18))
    np.testing.assert_array_equal(whole[:20], encode(items[:20]))
    np.testing.assert_array_equal(whole[20:], encode(items[20:], first_item=20))


def test_ties_are_broken_by_a_fair_lot():
    # One item, encoded 4000 times under other numbers; codewords 3, 7, 260 and 299 tie.
    book = np.ones((CODEWORDS, LENGTH), int)
    tied = [3, 7, 260, 299]
    book[tied] = 0
    book[tied, [0, 1, 2, 3]] = 1
    index = np.asarray(
        likelihood_encoder(KEY, np.zeros((4000, LENGTH), int), book, HAMMING, math.inf)
    )
    counts = np.bincount(index, minlength=CODEWORDS)
    assert counts.sum() == counts[tied].sum()
    assert scipy.stats.chisquare(counts[tied]).pvalue > 1e-7  # false alarm 1e-7


@pytest.mark.parametrize("nearest_at", [0, 299])
def test_likelihood_encoder_draws_words_by_their_chances(nearest_at):
    distortion = np.array([[0.0, 1.0, 0.3, 2.0], [0.8, 0.0, 0.5, 0.7], [1.0, 1.0, 1.0, 1.0]])
    item, book, slope = drawn(5, 3, 1), drawn(6, 4), 1.3
    # The least distortion in the first block of codewords, or found late, in the second.
    nearest = distances(item, book.tolist(), distortion)[0].argmin()
    book[[nearest, nearest_at]] = book[[nearest_at, nearest]]
    index = likelihood_encoder(KEY, np.repeat(item, 20_000, axis=0), book, distortion, slope)
    probabilities = np.exp2(-slope * distances(item, book.tolist(), distortion)[0])
    probabilities /= probabilities.sum()
    counts = np.bincount(np.asarray(index), minlength=CODEWORDS)
    order = np.argsort(probabilities)
    grouped = [part.sum() for part in np.split(counts[order], 30)]
    wanted = np.array([part.sum() for part in np.split(probabilities[order], 30)]) * 20_000
    assert scipy.stats.chisquare(grouped, wanted).pvalue > 1e-7  # false alarm 1e-7
    by_place = [counts[:256].sum(), counts[256:].sum()]  # the two blocks
    due = 20_000 * np.array([probabilities[:256].sum(), probabilities[256:].sum()])
    assert scipy.stats.chisquare(by_place, due).pvalue > 1e-7


def test_slope_zero_draws_any_word_alike():
    index = likelihood_encoder(KEY, drawn(5, 3, 20_000), drawn(6, 4), HAMMING, 0.0)
    counts = np.bincount(np.asarray(index), minlength=CODEWORDS)
    assert scipy.stats.chisquare(counts).pvalue > 1e-7


@given(sts.distortions((3, 4)), st.sampled_from((1, 6, 1000)))
@settings(max_examples=50)
def test_letter_table_is_whole_and_close(distortion, n):
    table = letter_table(distortion, n)
    units = np.asarray(table.units, float)
    np.testing.assert_array_equal(units, np.round(units))
    bits = 24 if table.units.dtype == np.float32 else 52
    assert n * np.abs(units).max(initial=0.0) < 2.0**bits
    relative = distortion[:, 1:] - distortion[:, :1]
    largest = np.abs(relative).max(initial=0.0)
    assert np.abs(units * table.step - relative).max(initial=0.0) <= 2.0**-49 * n * largest + 1e-300


def test_lattice_tables_keep_their_ties_in_single_precision():
    # 0.1 + 0.2 and 0.3 differ in float64; on the lattice of 0.1 they do not.
    table = letter_table(np.array([[0.0, 0.1, 0.2, 0.3]]), 1000)
    np.testing.assert_array_equal(table.units, [[1, 2, 3]])
    assert table.units.dtype == np.float32
    assert letter_table(np.array([[0.0, 1.0, math.pi]]), 10).units.dtype == np.float64


def test_items_at_once_grows_with_the_budget_and_fits_it():
    units = letter_table(1.0 - np.eye(2), 32).units
    sizes = [items_at_once(budget, 2**16, 32, units) for budget in (2**23, 2**24, 2**31)]
    assert sizes == sorted(sizes)
    assert sizes[-1] == encoders.MOST_ITEMS_AT_ONCE
    # Codewords alone are 2 MiB; the items of 2^23 bytes have to share what they leave.
    assert 1 <= sizes[0] < encoders.MOST_ITEMS_AT_ONCE
    with pytest.raises(ValueError, match=r"memory_budget must hold the codebook and one item, \d+"):
        items_at_once(2**20, 2**16, 32, units)
    with pytest.raises(ValueError, match="memory_budget"):
        items_at_once(2**23, 2**16, 32, units, other=2**22)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"items": [[0, 2]]}, ValueError, r"items must hold letters 0\.\.1, got 0\.\.2"),
        ({"items": [[0.0, 1.0]]}, TypeError, "items must hold integers"),
        ({"items": [0, 1]}, ValueError, "items must have shape"),
        ({"items": [[0, 1, 0]]}, ValueError, "codebook must have codewords of the 3 letters"),
        ({"codebook": [[0, -1]]}, ValueError, "codebook must hold letters"),
        ({"distortions": [[0, math.inf], [1, 0]]}, ValueError, "distortions must lie in"),
        ({"slope": -1.0}, ValueError, "slope must lie in"),
        ({"memory_budget": 100}, ValueError, "memory_budget must hold"),
        ({"key": 3}, TypeError, "key must be a typed key"),
        ({"first_item": 2**32}, ValueError, "first_item must be in"),
    ],
)
def test_bad_arguments_are_named(change, error, message):
    good = {
        "key": KEY,
        "items": [[0, 1]],
        "codebook": [[0, 1]],
        "distortions": 1.0 - np.eye(2),
        "slope": 1,
    }
    with pytest.raises(error, match=message):
        likelihood_encoder(**{**good, **change})
