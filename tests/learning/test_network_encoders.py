"""Encoders of pictures and texts: padding does not show, order does, and they find real items."""

import collections
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.shared import pictures, stamps, word_vectors, wordnet
from rdsim.cli.messages import CommandError
from rdsim.learning.families.catalogue import fit_family
from rdsim.learning.families.dual_encoder import DualEncoderFamily
from rdsim.learning.families.pairs import array_pairs
from rdsim.learning.held_out_points import held_out_point
from rdsim.learning.training.encoders import ConvNet, Recurrent, Transformer, convolved
from rdsim.learning.training.networks import architecture
from rdsim.learning.training.schedule import Schedule

TEXTS = {
    "gru": lambda: Recurrent(vocabulary=5, outputs=3, width=4, rngs=nnx.Rngs(0)),
    "lstm": lambda: Recurrent(vocabulary=5, outputs=3, width=4, cell="lstm", rngs=nnx.Rngs(0)),
    "transformer": lambda: Transformer(
        vocabulary=5, length=6, outputs=3, width=4, layers=1, rngs=nnx.Rngs(0)
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_padding_of_a_text_does_not_show_and_the_order_of_its_tokens_does(name):
    encoder = nnx.jit(TEXTS[name]())
    tokens = [[0, 3, 1, -1, -1, -1], [1, 3, 0, -1, -1, -1]]
    out = np.asarray(encoder(jnp.array(tokens, float)))
    short = np.asarray(encoder(jnp.array(tokens, float)[:, :3]))
    np.testing.assert_allclose(out, short, rtol=0, atol=1e-6)
    assert np.abs(out[0] - out[1]).max() > 1e-4
    assert out.dtype == np.float32


@pytest.mark.parametrize(("side", "size", "strides"), [(5, 3, 1), (6, 3, 2), (5, 3, 2), (6, 1, 2)])
def test_convolutions_by_matrix_products_are_those_of_the_layer(side, size, strides):
    layer = nnx.Conv(2, 3, (size, size), strides=strides, rngs=nnx.Rngs(0))
    layer.bias[...] = jnp.arange(3.0, dtype=jnp.float32)
    maps = jnp.asarray(np.random.default_rng(0).normal(size=(2, side, side + 1, 2)), jnp.float32)
    np.testing.assert_allclose(convolved(layer, maps), layer(maps), rtol=0, atol=1e-5)


def test_patches_are_squares_of_the_picture():
    model = Transformer(shape=(4, 6, 2), patch=2, outputs=1, width=2, layers=1, rngs=nnx.Rngs(0))
    picture = np.arange(48.0).reshape(1, 4, 6, 2)
    patches = np.asarray(model._patches(jnp.asarray(picture.reshape(1, -1)), (4, 6, 2)))
    assert patches.shape == (1, 6, 8)
    np.testing.assert_array_equal(patches[0, 4], picture[0, 2:4, 2:4].ravel())


def tokens(texts, vocabulary, length):
    """Numbers of the words of texts, the most frequent ones alone, padded with -1."""
    split = [re.findall("[a-z]+", text.lower()) for text in texts]
    frequent = collections.Counter(word for words in split for word in words)
    ordered = sorted(frequent, key=lambda word: (-frequent[word], word))[:vocabulary]
    known = {word: number for number, word in enumerate(ordered)}
    found = np.full((len(texts), length), -1)
    for row, words in zip(found, split, strict=True):
        here = [known[word] for word in words if word in known][:length]
        row[: len(here)] = here
    return found


def emoji():
    """Names through a GRU, pixels through a residual network."""
    shown, names = pictures.emoji(pictures.find_font(), 8)
    family = DualEncoderFamily(
        query_encoder=architecture(Recurrent, vocabulary=512, width=16),
        item_encoder=architecture(ConvNet, shape=(8, 8, 3), channels=8, stages=1),
        quantizer="product",
    )
    return tokens(names, 512, 6), shown.reshape(len(shown), -1) / 255 - 0.5, family


def words():
    """Synonyms and definitions through transformers."""
    synonyms, definitions = wordnet.pairs()
    query, item = (
        architecture(Transformer, vocabulary=2048, length=length, width=16, layers=1)
        for length in (4, 10)
    )
    family = DualEncoderFamily(query_encoder=query, item_encoder=item, quantizer="product")
    return tokens(synonyms[::20], 2048, 4), tokens(definitions[::20], 2048, 10), family


def described():
    """Word vectors of what stamps show, given as arrays, and patches of the pictures through a transformer."""
    shown = stamps.stamps((stamps.ENGLISH,))
    points = stamps.pixels([stamp.picture for stamp in shown], 12).reshape(len(shown), -1) / 255
    vectors = word_vectors.load().embed([stamp.texts[stamps.ENGLISH] for stamp in shown])
    left, spread, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    texts = left[:, :32] * spread[:32]
    patches = architecture(Transformer, shape=(12, 12, 3), patch=4, width=32, layers=2)
    family = DualEncoderFamily(item_encoder=patches, quantizer="product")
    return texts / texts.std(), (points - points.mean()) / points.std(), family


@pytest.mark.parametrize("data", [emoji, words, described])
def test_encoders_of_pictures_and_texts_find_real_items(data):
    try:
        queries, items, family = data()
    except (CommandError, word_vectors.MissingDataError) as lacking:
        pytest.skip(str(lacking))
    order = np.random.default_rng(0).permutation(len(items))
    queries, items = queries[order], items[order]
    size = min(len(items) // 3, 1024)
    pairs = array_pairs(jax.random.key(0), queries[size:], items[size:], held_out=60)
    (system,) = fit_family(
        jax.random.key(1),
        family,
        pairs,
        bits=(16,),
        schedule=Schedule(steps=100, evaluate_every=10, weight_decay=0.3, learning_rate=3e-3),
    )
    point = held_out_point(jax.random.key(2), system, queries[:size], items[:size])
    # A random order has items ahead of the target by a share of 1/2 in the mean, with a standard deviation of
    # 1/sqrt(12 M) over M queries: five of them are exceeded once in three million.
    ahead = np.mean((point.ahead + (point.tied - 1) / 2) / (size - 1))
    assert ahead < 0.5 - 5 / np.sqrt(12 * size)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Recurrent(vocabulary=3, outputs=2, cell="rnn", rngs=nnx.Rngs(0)), "cell must be"),
        (lambda: Transformer(outputs=2, rngs=nnx.Rngs(0)), "texts .* or pictures"),
        (lambda: Transformer(outputs=2, shape=(5, 4, 1), rngs=nnx.Rngs(0)), "patch must divide"),
    ],
)
def test_bad_sizes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
