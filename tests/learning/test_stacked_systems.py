"""Stacked systems: each is the system that it is made of, in one program for all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rdsim.codes.quantizers.entropy_weighted import EntropyWeightedQuantizer
from rdsim.learning.families.catalogue import fit_family
from rdsim.learning.families.dual_encoder import DualEncoder
from rdsim.learning.families.hashing import sign_system, with_hamming
from rdsim.learning.families.stored.embedded_codes import embeddings_of
from rdsim.learning.families.stored_embeddings import quantized_systems
from rdsim.learning.stacking import stacked_systems
from rdsim.simulation.mixture_decoders import density_decoder
from rdsim.sources.mixture import gaussian_mixture

SOURCE = gaussian_mixture(
    [0.5, 0.3, 0.2], [[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]], 0.25, query_noise=[0.02, 0.5]
)
TRAINING = 64
BITS = (1, 2, 4)
ATOMS = 3
"""Of the stochastic code; no power of two, and not the most words of any."""


@pytest.fixture(scope="module")
def systems():
    key = jax.random.key(3)
    _, items, _ = SOURCE.sample(key, (TRAINING,))
    hashing = DualEncoder(query_size=4, item_size=2, unit=False, rngs=nnx.Rngs(1))
    dual = DualEncoder(query_size=4, item_size=2, rngs=nnx.Rngs(2))
    known = EntropyWeightedQuantizer(
        codewords=items[:ATOMS],
        output_marginal=jnp.array([0.2, 0.3, 0.5]),
        slope=jnp.array(0.7),
        **dict.fromkeys(("rate", "distortion", "index_entropy", "gap", "tolerance"), jnp.zeros(())),
    )
    return items, [
        *fit_family(key, "CCA", SOURCE, bits=BITS, training=TRAINING),
        *(sign_system(*embeddings_of(hashing), items, bits) for bits in BITS),
        *(with_hamming(sign_system(*embeddings_of(hashing), items, bits)) for bits in BITS),
        *quantized_systems(key, *embeddings_of(dual), items, BITS[:2]),
        *quantized_systems(key, *embeddings_of(dual), items, BITS[2:], quantizer="product"),
        (known, density_decoder(SOURCE, known, SOURCE.discretise_item(8))),
    ]


def test_a_stacked_system_is_the_system(systems):
    items, made = systems
    queries = jnp.stack([items + 0.1, items - 0.2], axis=1)
    stacked = stacked_systems(made)
    assert len(stacked) == len(made)
    channel = jax.jit(lambda code, y: code.channel(y))
    encode = jax.jit(lambda code, y: code.encode(jax.random.key(5), y))
    score = jax.jit(
        lambda rule, values, x: jax.vmap(lambda one: rule(values, one))(x), static_argnums=0
    )
    for (code, decoder), (chosen, rule) in zip(made, stacked, strict=True):
        words = code.codewords.shape[0]
        found = np.asarray(channel(chosen, items))
        np.testing.assert_allclose(found[:, :words], code.channel(items), rtol=0, atol=1e-14)
        np.testing.assert_array_equal(found[:, words:], 0.0)
        np.testing.assert_array_equal(encode(chosen, items), code.encode(jax.random.key(5), items))
        np.testing.assert_array_equal(chosen.codewords[:words], code.codewords)
        scores = np.asarray(score(rule.scores, rule.parameters, queries))
        assert np.isfinite(scores[:, words:]).all()
        expected = [decoder.scores(decoder.parameters, query) for query in queries[:4]]
        np.testing.assert_allclose(scores[:4, :words], expected, rtol=1e-6, atol=1e-6)


def test_systems_of_one_kind_are_compiled_once(systems):
    _, made = systems
    chosen, decoder = stacked_systems(made)[0]
    assert len(chosen.codes) == len(decoder.scores.rules) == 5
    assert all(code.codewords.shape[-2:] == (16, 2) for code in chosen.codes)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ([], ValueError, "systems must hold at least one"),
        (3, TypeError, "systems must be a list or tuple"),
        ([3], TypeError, "systems must be a tuple of two"),
        ([(3, 3)], TypeError, "systems must be a EmbeddedCode or EntropyWeightedQuantizer"),
    ],
)
@pytest.mark.usefixtures("unchecked_annotations")
def test_bad_systems(bad, error, message):
    with pytest.raises(error, match=message):
        stacked_systems(bad)
