"""Random codebooks: their distribution, and that no codeword depends on how many are drawn."""

import jax
import numpy as np
import pytest
import scipy.stats

from rdsim.codes.codebook import random_codebook

KEY = jax.random.key(40)
DISTRIBUTION = (0.5, 0.2, 0.0, 0.3)


def test_words_do_not_depend_on_how_many_are_drawn():
    whole = np.asarray(random_codebook(KEY, DISTRIBUTION, codebook_size=1500, n=5))
    part = np.asarray(
        random_codebook(KEY, DISTRIBUTION, codebook_size=1500, n=5, first_codeword=700)
    )
    np.testing.assert_array_equal(whole[700:], part[:800])
    assert whole.dtype == np.uint8
    assert whole.shape == (1500, 5)
    other = np.asarray(random_codebook(jax.random.key(41), DISTRIBUTION, codebook_size=1500, n=5))
    assert (whole != other).mean() > 0.3


def test_letters_follow_the_output_marginal_in_every_place():
    book = np.asarray(random_codebook(KEY, DISTRIBUTION, codebook_size=1500, n=5))
    assert not (book == 2).any()
    counts = np.stack([np.bincount(column, minlength=4) for column in book.T])[:, [0, 1, 3]]
    # Five chi-square tests and one of adjacent letters: false alarm below 1e-7 each.
    for count in counts:
        assert scipy.stats.chisquare(count, 1500 * np.array([0.5, 0.2, 0.3])).pvalue > 1e-7
    pairs = np.bincount(book[:, 0] * 4 + book[:, 1], minlength=16).reshape(4, 4)
    pairs = pairs[np.ix_([0, 1, 3], [0, 1, 3])]
    assert scipy.stats.chi2_contingency(pairs).pvalue > 1e-7


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((KEY, (0.5, 0.6), 4, 3), ValueError, "output_marginal must sum to one"),
        ((KEY, np.full(257, 1 / 257), 4, 3), ValueError, "output_marginal must have at most 256"),
        ((KEY, DISTRIBUTION, 0, 3), ValueError, "codebook_size must be in"),
        ((KEY, DISTRIBUTION, 2**24 + 1, 3), ValueError, "codebook_size must be in"),
        ((KEY, DISTRIBUTION, 4.0, 3), TypeError, "codebook_size must be an integer"),
        ((KEY, DISTRIBUTION, 4, 0), ValueError, "n must be at least 1"),
        ((0, DISTRIBUTION, 4, 3), TypeError, "key must be a typed key"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    key, distribution, codewords, n = arguments
    with pytest.raises(error, match=message):
        random_codebook(key, distribution, codebook_size=codewords, n=n)
