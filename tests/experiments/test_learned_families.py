"""The menu of the study of learned families: every choice is the system that it stands for."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments import learned_families
from experiments.shared.circle import mixture_on_circle
from rdsim.codes.stochastic_quantizer import EntropyWeightedQuantizer
from rdsim.learning.families.cca import fit_cca
from rdsim.learning.families.dual_encoder import InfoNCELearner
from rdsim.learning.families.hashing import HashLearner, hashing_system, with_hamming
from rdsim.learning.families.quantized_embedding import quantized_systems
from rdsim.learning.training.loop import Schedule
from rdsim.simulation.mixture_decoders import density_decoder

CONFIG = dataclasses.replace(learned_families.SMOKE, training=64)
BITS = (1, 2, 4)
ATOMS = 3
"""Of the stochastic code; no power of two, and not the most words of any."""


@pytest.fixture(scope="module")
def systems():
    source = mixture_on_circle(CONFIG, CONFIG.noise)
    key = jax.random.key(3)
    _, items, _ = source.sample(key, (CONFIG.training,))
    hashing = HashLearner(query_size=4, item_size=2, supervised=False).build(nnx.Rngs(1))
    dual = InfoNCELearner(query_size=4, item_size=2).build(nnx.Rngs(2))
    known = EntropyWeightedQuantizer(
        codewords=items[:ATOMS],
        output_marginal=jnp.array([0.2, 0.3, 0.5]),
        slope=jnp.array(0.7),
        **dict.fromkeys(("rate", "distortion", "index_entropy", "gap", "tolerance"), jnp.zeros(())),
    )
    return items, [
        *fit_cca(key, source, BITS, Schedule(), CONFIG.training),
        *(hashing_system(hashing, items, bits) for bits in BITS),
        *(with_hamming(hashing_system(hashing, items, bits)) for bits in BITS),
        *quantized_systems(key, dual, items, BITS[:2]),
        *quantized_systems(key, dual, items, BITS[2:], "product"),
        (known, density_decoder(source, known, source.discretise_item(8))),
    ]


def test_a_choice_of_the_menu_is_the_system(systems):
    items, made = systems
    queries = jnp.stack([items + 0.1, items - 0.2], axis=1)
    menu = learned_families._menu(made)
    assert len(menu) == len(made)
    channel = jax.jit(lambda code, y: code.channel(y))
    encode = jax.jit(lambda code, y: code.encode(jax.random.key(5), y))
    score = jax.jit(
        lambda rule, values, x: jax.vmap(lambda one: rule(values, one))(x), static_argnums=0
    )
    for (code, decoder), (chosen, rule) in zip(made, menu, strict=True):
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
    chosen, decoder = learned_families._menu(made)[0]
    assert len(chosen.codes) == len(decoder.scores.rules) == 5
    assert all(code.codewords.shape[-2:] == (16, 2) for code in chosen.codes)


def test_every_hash_stands_beside_itself_with_a_hashed_query():
    names = learned_families._names(learned_families.QUICK)
    assert len(names) == len(set(names)) == len(learned_families.FAMILIES) + 2 + 1
    assert set(learned_families.HAMMING.values()) < set(names)
    assert learned_families._names(learned_families.SMOKE)[1:] == (
        "hashing, pairs",
        "hashing, pairs, Hamming",
        learned_families.KNOWN,
    )
