"""Encoders of pictures and texts: padding does not show, order does, and a family is trained through them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

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


def test_a_family_is_trained_through_pictures_and_texts():
    # A picture has one bright square of nine; its text names row and column.
    rng = np.random.default_rng(0)
    place = rng.integers(0, 9, 300)
    pictures = 0.1 * rng.normal(size=(300, 6, 6, 1))
    for i, p in enumerate(place):
        pictures[i, 2 * (p // 3) : 2 * (p // 3) + 2, 2 * (p % 3) : 2 * (p % 3) + 2] += 1
    texts = np.stack([place // 3, 3 + place % 3], axis=1)
    pairs = array_pairs(jax.random.key(0), texts, pictures.reshape(300, -1), held_out=64)
    family = DualEncoderFamily(
        query_encoder=architecture(Recurrent, vocabulary=6, width=8),
        item_encoder=architecture(ConvNet, shape=(6, 6, 1), channels=4, stages=1),
    )
    mrr = []
    for steps in (0, 120):
        (system,) = family(
            jax.random.split(jax.random.key(1), 3),
            pairs,
            (4,),
            Schedule(steps=steps, evaluate_every=60),
        )
        point = held_out_point(jax.random.key(2), system, texts, pictures.reshape(300, -1))
        mrr.append(1 - float(point.losses["reciprocal_rank"].mean))
    # Who knows the place alone finds the item among a ninth of the others: (1/33) H_33 = .124.
    assert mrr[1] > 1.5 * mrr[0]
    assert mrr[1] < 0.15


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
