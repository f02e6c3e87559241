"""Codes of many bits: what product quantizers and hashes store, score and reach."""

import math

import jax
import numpy as np
import pytest

from rdsim.codes.quantizers.hashing import long_hyperplane_hash, rotated_hash
from rdsim.codes.quantizers.product_fits import long_product_quantizer, most_block_bits
from rdsim.ranking.metrics.paired import pair_ranks

KEY = jax.random.key(5)


def points(count, dimension, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dimension))


def test_a_long_product_quantizer_reaches_the_exact_ranks_at_many_bits():
    y = points(200, 6)
    x = y + 0.02 * points(200, 6, 1)
    fine = long_product_quantizer(KEY, y, 30)
    digits = fine.store(KEY, y)
    assert digits.shape == (200, 6)
    exact = pair_ranks(np.column_stack([x, np.ones(200)]), np.column_stack([y, -(y**2).sum(1) / 2]))
    coarse = long_product_quantizer(KEY, y, 4)
    quality = [
        pair_ranks(c.query_features(x), c.store(KEY, y), c.item_features).reciprocal_ranks().mean()
        for c in (coarse, fine)
    ]
    assert exact.reciprocal_ranks().mean() == 1.0
    assert quality[0] < 0.5 < 0.99 < quality[1]


def test_scores_of_a_product_quantizer_order_as_distances():
    y, x = points(100, 5), points(7, 5, 1)
    made = long_product_quantizer(KEY, y, 9)
    digits = made.store(KEY, y)
    codewords = np.concatenate(
        [book[digits[:, s]] for s, book in enumerate(made.codebooks)], axis=1
    )
    reconstructed = codewords @ made.rotation + made.centre
    distance = ((x[:, None] - reconstructed) ** 2).sum(axis=2)
    scores = made.query_features(x) @ made.item_features(digits).T
    gaps = scores + 0.5 * distance
    np.testing.assert_allclose(gaps - gaps[:, :1], 0.0, rtol=0, atol=1e-10)
    counts = [book.shape[0] for book in made.codebooks]
    assert math.prod(counts) == 2**9
    # Nearest codewords: the reconstruction is no farther than under any other codeword of a block.
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
        pair_ranks(side(x), stored, made.item_features).reciprocal_ranks()
        for side in (made.query_features, made.hamming_features)
    )
    lost = own - signs
    assert lost.mean() > 6 * lost.std() / math.sqrt(2000)


def test_a_rotated_hash_is_nearer_to_signs_than_its_start():
    corners = np.where(np.random.default_rng(0).random((400, 4)) < 0.5, -1.0, 1.0)
    rotation = np.linalg.qr(points(4, 4))[0]
    made = rotated_hash(KEY, corners @ rotation + 0.05 * points(400, 4, 1), 4)
    # Corners of a rotated cube fall into cells of their own.
    codes = made.store(KEY, corners @ rotation)
    assert len(np.unique(codes, axis=0)) == len(np.unique(corners, axis=0)) == 16
    np.testing.assert_allclose(made.planes @ made.planes.T, np.eye(4), rtol=0, atol=1e-9)


def test_codes_know_how_many_bits_they_can_have():
    assert [most_block_bits(n) for n in (8, 64, 1023, 1024, 10**6)] == [1, 4, 7, 8, 8]
    with pytest.raises(ValueError, match="bits must be at most 12 with 3 coordinates"):
        long_product_quantizer(KEY, points(64, 3), 13)
    with pytest.raises(ValueError, match=r"bits must be in \[1, 3\], got 4"):
        rotated_hash(KEY, points(64, 3), 4)
