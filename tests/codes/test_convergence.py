"""Iterative fits say whether they converged; what cannot be fitted is named by its place."""

import jax
import numpy as np
import pytest

from rdsim.codes import (
    entropy_constrained_quantizer,
    lloyd_max_quantizer,
    long_product_quantizer,
    product_quantizer,
    rotated_hash,
    uniform_scalar_quantizer,
    vector_quantizer,
)
from rdsim.codes.quantizers import hashing

KEY = jax.random.key(0)
MANY = np.random.default_rng(8).normal(size=(400, 4))


FITS = {
    "k-means": lambda steps: vector_quantizer(KEY, MANY, 16, starts=1, iterations=steps),
    "entropy-constrained": lambda steps: entropy_constrained_quantizer(
        KEY, MANY, 16, slope=1.0, starts=1, iterations=steps
    ),
    "product": lambda steps: product_quantizer(
        KEY, MANY, subspaces=2, codebook_size=8, starts=1, iterations=steps
    ),
    "long product": lambda steps: long_product_quantizer(KEY, MANY, 8, starts=1, iterations=steps),
}


@pytest.mark.parametrize("name", FITS)
def test_a_fit_says_whether_it_converged(name):
    few, enough, more = (FITS[name](steps) for steps in (2, 200, 400))
    assert not np.any(few.converged)
    assert np.all(enough.converged)
    if hasattr(enough, "iterations"):
        assert np.all(few.iterations == 2)
        assert np.all((np.asarray(enough.iterations) > 2) & (np.asarray(enough.iterations) < 200))
        # Converged means that more steps change nothing, and one less would not have been enough.
        least = int(np.max(enough.iterations))
        assert np.all(FITS[name](least).converged)
        assert not np.all(FITS[name](least - 1).converged)
    np.testing.assert_array_equal(enough.encode(KEY, MANY), more.encode(KEY, MANY))


def test_scalar_quantizers_and_hashes_say_whether_they_converged(monkeypatch):
    assert np.all(lloyd_max_quantizer(MANY, 8).converged)
    assert np.all(uniform_scalar_quantizer(MANY, 8).converged)
    found = rotated_hash(KEY, MANY, 4)
    monkeypatch.setattr(hashing, "_ITQ_ITERATIONS", found.iterations)
    assert found.converged == rotated_hash(KEY, MANY, 4).converged
    monkeypatch.setattr(hashing, "_ITQ_ITERATIONS", 1)
    early = rotated_hash(KEY, MANY, 4)
    assert not early.converged
    assert early.iterations == 1
    monkeypatch.setattr(hashing, "_ITQ_ITERATIONS", 2000)
    late = rotated_hash(KEY, MANY, 4)
    assert late.converged
    assert late.iterations < 2000


def test_a_block_or_a_coordinate_with_too_few_distinct_items_is_named():
    constant = MANY * [1, 1, 0, 0]
    with pytest.raises(
        ValueError, match=r"codebook_size must not exceed.*1 in block 1 \(coordinates 2 to 3"
    ):
        product_quantizer(KEY, constant, subspaces=2, codebook_size=4)
    with pytest.raises(ValueError, match=r"bits must not ask.*1 in coordinate 2, got 4"):
        lloyd_max_quantizer(constant, [2, 2, 2, 2])
