"""Cross-attention of regions and words: its formula, its symmetries, and what is stored of a set."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim.learning.families.catalogue import fit_family
from rdsim.learning.families.pairs import array_pairs
from rdsim.learning.families.rankers import region_attention
from rdsim.learning.families.stored import set_codes
from rdsim.learning.held_out_points import held_out_point
from rdsim.learning.training.schedule import Schedule

R, M, D = 3, 2, 4


def built(joined):
    return region_attention.RegionAttention(
        regions=R,
        item_size=R * D,
        word_size=5,
        joined=joined,
        hidden=(),
        dimension=3,
        rngs=nnx.Rngs(1),
    )


MODELS = {joined: built(joined) for joined in region_attention.JOININGS}
MODELS["concatenated"].weights[...] = jnp.array([0.3, -0.2, 0.9, 0.5, 0.1, 0.7], jnp.float32)
compared = jax.jit(
    lambda model, x, y: (
        model.compare(x, model.embed_items(y)),
        model.attention(x, model.embed_items(y)),
    )
)


def drawn(seed):
    generator = np.random.default_rng(seed)
    return jnp.asarray(generator.normal(size=(2, M, 5))), jnp.asarray(
        generator.normal(size=(3, R * D))
    )


def softmax(values, axis):
    exponentials = np.exp(values - values.max(axis=axis, keepdims=True))
    return exponentials / exponentials.sum(axis=axis, keepdims=True)


@pytest.mark.parametrize("joined", MODELS)
@settings(max_examples=5)
@given(seed=st.integers(0, 1000))
def test_scores_are_those_of_the_attended_sums(joined, seed):
    x, y = drawn(seed)
    model = MODELS[joined]
    scores, (alpha, beta) = (jax.tree.map(np.asarray, part) for part in compared(model, x, y))
    words, regions = (
        np.asarray(model.embed_words(x)),
        np.asarray(model.embed_items(y)).reshape(3, R, 3),
    )
    np.testing.assert_allclose(np.linalg.norm(regions, axis=-1), 1, rtol=0, atol=1e-5)
    for n in range(2):
        for k in range(3):
            similar = 4.0 * regions[k] @ words[n].T
            np.testing.assert_allclose(alpha[n, k], softmax(similar, 0), rtol=0, atol=1e-5)
            np.testing.assert_allclose(beta[n, k], softmax(similar, 1), rtol=0, atol=1e-5)
            attended = softmax(similar, 0).T @ regions[k], softmax(similar, 1) @ words[n]
            sums = (words[n] * attended[0]).mean(0), (regions[k] * attended[1]).mean(0)
            if joined == "averaged":
                expected = 0.5 * (sums[0] + sums[1]).sum() / 0.1
            else:
                expected = np.concatenate(sums) @ np.asarray(model.weights[...]) / 0.1
            assert scores[n, k] == pytest.approx(expected, rel=1e-4, abs=1e-4)


@settings(max_examples=5)
@given(order=st.permutations(range(R)), swap=st.permutations(range(M)))
def test_the_order_of_a_set_does_not_matter_and_attention_moves_with_it(order, swap):
    x, y = drawn(7)
    moved = y.reshape(3, R, D)[:, jnp.array(order)].reshape(3, -1)
    scores, (alpha, _) = compared(MODELS["concatenated"], x, y)
    again, (alpha_again, _) = compared(MODELS["concatenated"], x[:, jnp.array(swap)], moved)
    np.testing.assert_allclose(again, scores, rtol=0, atol=1e-4)
    np.testing.assert_allclose(alpha_again, alpha[:, :, order][..., swap], rtol=0, atol=1e-5)


@given(regions=st.integers(1, 6), bits=st.integers(6, 40))
def test_a_set_fits_in_its_bits(regions, bits):
    words = set_codes.shared_codewords(regions, bits)
    stored = math.comb(min(words, 256) + regions - 1, regions)
    assert stored <= 2**bits
    if words <= 256:
        assert math.comb(words + regions, regions) > 2**bits


@pytest.mark.parametrize("bits", [5, 40])
def test_stored_sets_have_no_order_and_are_read_back(bits):
    vectors = np.random.default_rng(0).normal(size=(200, R, 8))
    digits = set_codes.set_quantizer(jax.random.key(0), vectors.reshape(200, -1), R, bits)
    stored = digits.digits(vectors[:9].reshape(9, -1))
    np.testing.assert_array_equal(stored, digits.digits(vectors[:9, [2, 0, 1]].reshape(9, -1)))
    # The points are those of the regions' nearest codewords, in another order.
    single = set_codes.SetDigits(digits.code, 1)
    nearest = single.points(single.digits(vectors[:9].reshape(-1, 8))).reshape(9, R, 8)
    read = digits.points(stored).reshape(9, R, 8)
    for a, b in zip(read, nearest, strict=True):
        # Products of another shape round otherwise.
        np.testing.assert_allclose(np.sort(a, axis=0), np.sort(b, axis=0), rtol=0, atol=1e-12)
    rows = len(np.unique(digits.digits(vectors.reshape(200, -1)), axis=0))
    assert rows <= 2**bits


def test_a_family_of_sets_is_trained_to_find_its_items():
    generator = np.random.default_rng(0)
    parts = generator.normal(size=(600, 2, 3))
    items = parts + 0.1 * generator.normal(size=parts.shape)
    words = parts[:, ::-1]
    pairs = array_pairs(jax.random.key(0), words, items.reshape(600, -1), held_out=64)
    family = region_attention.RegionAttentionFamily(regions=2)
    mrr = []
    for steps in (0, 60):
        plan = Schedule(steps=steps, evaluate_every=60)
        (system,) = family(jax.random.split(jax.random.key(1), 3), pairs, (12,), plan)
        point = held_out_point(jax.random.key(2), system, words[:256], items[:256].reshape(256, -1))
        mrr.append(1 - float(point.losses["reciprocal_rank"].mean))
        assert float(point.code_bits) <= 8
    chance = np.mean(1 / np.arange(1, 257))
    assert mrr[1] > 3 * max(mrr[0], chance)


@pytest.mark.parametrize(
    ("regions", "bits", "message"),
    [
        (3, 12, "regions must divide the 4 numbers of an item, got 3"),
        (2, 1, "bits must leave 2 regions two codewords each, got 1"),
        (2, 900, "bits must leave each of 2 regions what a product quantizer holds, got 900"),
    ],
)
def test_sets_that_cannot_be_stored_are_refused_before_any_step(regions, bits, message):
    x, y = np.random.default_rng(0).normal(size=(2, 80, 4))
    pairs = array_pairs(jax.random.key(0), x, y, held_out=32)
    # So many steps would not end.
    plan = Schedule(steps=10**9, evaluate_every=10**9)
    with pytest.raises(ValueError, match=message):
        fit_family(
            jax.random.key(1),
            region_attention.RegionAttentionFamily(regions=regions),
            pairs,
            bits=(bits,),
            schedule=plan,
        )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: region_attention.RegionAttentionFamily(joined="added"), "joined must be one of"),
        (lambda: region_attention.RegionAttentionFamily(regions=0), "regions must be at least 1"),
        (lambda: set_codes.shared_codewords(4, 2), "bits must leave 4 regions"),
        (
            lambda: region_attention.RegionAttention(
                regions=3, item_size=4, word_size=1, rngs=nnx.Rngs(0)
            ),
            "regions must divide",
        ),
    ],
)
def test_bad_sets_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
