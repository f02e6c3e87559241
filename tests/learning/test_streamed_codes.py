"""Codebooks of a stream: what each policy keeps, fits anew and adds."""

import jax
import numpy as np
import pytest

from rdsim.codes.quantizers.vector import vector_quantizer
from rdsim.learning.streaming import streamed_codes

KEY = jax.random.key(0)
STREAM = np.random.default_rng(0).normal(size=(3, 40, 2)) + 4.0 * np.arange(3)[:, None, None]


def distortion(code, items):
    square = ((items[:, None] - np.asarray(code.codewords)) ** 2).sum(-1)
    return square.min(axis=1).mean()


def test_a_kept_codebook_is_that_of_the_first_batch():
    codes = streamed_codes(KEY, STREAM, 4, "fixed")
    first = vector_quantizer(jax.random.fold_in(KEY, 0), STREAM[0], 4)
    for code in codes:
        np.testing.assert_array_equal(code.codewords, first.codewords)
    # The drift is what it costs: batches lie four standard deviations apart.
    assert distortion(codes[2], STREAM[2]) > 20 * distortion(codes[0], STREAM[0])


def test_a_refitted_codebook_is_that_of_its_batch():
    for t, code in enumerate(streamed_codes(KEY, STREAM, 4, "refitted")):
        alone = vector_quantizer(jax.random.fold_in(KEY, t), STREAM[t], 4)
        np.testing.assert_array_equal(code.codewords, alone.codewords)


def test_a_grown_codebook_keeps_every_codeword_so_that_what_is_stored_can_still_be_read():
    codes = streamed_codes(KEY, STREAM, 4, "grown", growth=3)
    assert [len(code.codewords) for code in codes] == [4, 7, 10]
    for before, after, items in zip(codes, codes[1:], STREAM[1:], strict=False):
        np.testing.assert_array_equal(after.codewords[: len(before.codewords)], before.codewords)
        np.testing.assert_allclose(after.distortion, distortion(after, items), rtol=1e-9)
        chosen = np.asarray(after.encode(KEY, items))
        shares = np.bincount(chosen, minlength=len(after.codewords)) / len(items)
        np.testing.assert_allclose(after.masses, shares, rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((STREAM[0], 4, "fixed"), {}, "batches"),
        ((STREAM, 41, "fixed"), {}, "codebook_size"),
        ((STREAM, 4, "forgotten"), {}, "policy must be one of 'fixed'"),
        ((STREAM, 4, "grown"), {"growth": 0}, "growth"),
    ],
)
def test_bad_streams_are_named(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        streamed_codes(KEY, *arguments, **options)
