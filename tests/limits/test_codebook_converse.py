"""The converse of one codebook (C27) against binomial sums, for codewords of any probabilities."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim import codes, sources
from rdsim.limits import codebook_loss
from rdsim.ranking.loss import parse_loss

LOSSES = ("error", "reciprocal_rank", ("miss", 3), "dcg")


def first(M, loss):
    """W(n)/n of n = 1 to M places."""
    rank = np.arange(1.0, M + 1)
    kind = parse_loss(loss).kind
    if kind == "reciprocal_rank":
        reward = 1 / rank
    elif kind == "dcg":
        reward = 1 / np.log2(1 + rank)
    else:
        reward = (rank <= parse_loss(loss).cutoff).astype(float)
    return np.cumsum(reward) / rank


def told(q, M, loss):
    """Loss of a decoder that is told the target's codeword: all items with it are equally likely at every place."""
    competitors = scipy.stats.binom.pmf(np.arange(M), M - 1, np.asarray(q)[:, None])
    return 1 - float(np.sum(q * (competitors @ first(M, loss))))


@settings(max_examples=30)
@given(
    st.lists(st.floats(1e-3, 1.0), min_size=1, max_size=9),
    st.integers(2, 200),
    st.sampled_from(LOSSES),
)
def test_C27_no_codebook_of_any_probabilities_passes(numbers, M, loss):
    q = np.array(numbers) / np.sum(numbers)
    size, exact = math.log2(M), told(q, M, loss)
    assert float(codebook_loss(size, loss, bits=math.log2(q.size))) <= exact + 1e-9
    entropy = float(-np.sum(q * np.log2(q)))
    assert float(codebook_loss(size, loss, bits=entropy, rate="entropy")) <= exact + 1e-9


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("words", "M"), [(1, 7), (4, 7), (16, 1000), (300, 40)])
def test_C27_equal_codewords_reach_the_bound(words, M, loss):
    found = float(codebook_loss(math.log2(M), loss, bits=math.log2(words)))
    assert found == pytest.approx(told(np.full(words, 1 / words), M, loss), rel=1e-9, abs=1e-12)


@settings(max_examples=40)
@given(
    st.integers(2, 300),
    st.integers(1, 400),
    st.sampled_from(LOSSES),
    st.integers(0, 2**31),
)
def test_C27_no_codebook_of_given_items_passes_and_equal_classes_reach_it(M, words, loss, seed):
    size, bits = math.log2(M), math.log2(words)
    bound = float(codebook_loss(size, loss, bits=bits, items="given"))
    # Whoever knows the items can do better.
    assert bound <= float(codebook_loss(size, loss, bits=bits)) + 1e-9
    for codeword in (np.random.default_rng(seed).integers(0, words, M), np.arange(M) % words):
        times = np.bincount(codeword, minlength=words)[codeword]
        told = 1 - float(first(M, loss)[times - 1].mean())
        assert bound <= told + 1e-9
    # The last classes are as equal as can be.
    assert bound == pytest.approx(told, rel=0, abs=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("M", [3, 4, 6])
@pytest.mark.parametrize("words", [1, 2, 3])
def test_C27_the_best_of_all_codebooks_of_given_items_is_the_bound(M, words, loss):
    """Every assignment of the items to codewords, and a decoder that is told the codeword."""
    told = [
        1 - first(M, loss)[np.bincount(each, minlength=words)[list(each)] - 1].mean()
        for each in itertools.product(range(words), repeat=M)
    ]
    bound = codebook_loss(math.log2(M), loss, bits=math.log2(words), items="given")
    assert float(bound) == pytest.approx(min(told), rel=0, abs=1e-11)


def test_given_items_are_bounded_for_fixed_length():
    with pytest.raises(ValueError, match="fixed_length"):
        codebook_loss(3.0, "error", bits=1.0, rate="entropy", items="given")
    with pytest.raises(ValueError, match="items must be one of"):
        codebook_loss(3.0, "error", bits=1.0, items="seen")
    with pytest.raises(ValueError, match="log2_size"):
        codebook_loss(60.0, "error", bits=1.0, items="given")
    found = codebook_loss([3.0, 5.0], "error", bits=np.ones((2, 3)), items="given")
    assert found.shape == (2, 3, 2)


@pytest.mark.parametrize("loss", LOSSES)
def test_C27_the_entropy_bound_is_the_best_of_two_lengths(loss):
    """The hull at R is a chord between two lengths, over all pairs of a grid of them."""
    M, bits = 256, np.array([1.0, 3.0, 6.0])
    length = np.linspace(0.0, 30.0, 241)
    reward = np.array([1 - told(np.full(1, 2.0**-r), M, loss) for r in length]) * 2.0**length
    chords = []
    for R in bits:
        low, high = reward[length <= R][:, None], reward[length > R]
        short, long = length[length <= R][:, None], length[length > R]
        chords.append(np.max(low + (R - short) / (long - short) * (high - low)))
    found = 1 - np.asarray(codebook_loss(8.0, loss, bits=bits, rate="entropy"))
    assert np.all(found >= np.array(chords) - 1e-12)
    np.testing.assert_allclose(found, chords, rtol=3e-3, atol=0)


@settings(max_examples=30)
@given(st.floats(1.0, 60.0), st.floats(0.0, 80.0), st.sampled_from(LOSSES))
def test_C27_codewords_of_one_length_are_among_those_of_that_mean_length(size, bits, loss):
    """The hull lies below the loss at every length, between the points of its grid too."""
    found = {
        rate: float(codebook_loss(size, loss, bits=bits, rate=rate))
        for rate in ("entropy", "fixed_length")
    }
    assert found["entropy"] <= found["fixed_length"]


def test_C27_codebooks_drawn_for_each_item_may_pass_it():
    """A few words of each item's own, and junk for the rest: another item's words lie elsewhere."""
    source = sources.projected_normal(256, correlation=0.98)
    code = codes.sphere_ensemble(source, 10.0, "error", bits=4.0, code="junk_codeword", share=0.1)
    assert float(code.loss.upper) < float(codebook_loss(10.0, "error", bits=4.0)) - 0.01


def test_shapes_follow_the_bits_and_then_the_sizes():
    for rate in ("fixed_length", "entropy"):
        found = codebook_loss([3.0, 5.0], "error", bits=np.ones((2, 3)), rate=rate)
        assert found.shape == (2, 3, 2)
    with pytest.raises(ValueError, match="rate must be one of"):
        codebook_loss(3.0, "error", bits=1.0, rate="information")
