"""Float embeddings at a few bits: the nearest codeword is stored, and no system passes the converse."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rdsim import limits
from rdsim.learning.families import stored_embeddings
from rdsim.learning.families.catalogue import fit_family
from rdsim.learning.families.dual_encoder import DualEncoder
from rdsim.learning.families.stored.embedded_codes import embeddings_of
from rdsim.learning.families.stored_embeddings import (
    StoredFamily,
    quantize_embeddings,
    quantized_system,
    quantized_systems,
)
from rdsim.learning.operating_points import operating_point
from rdsim.learning.training.networks import architecture
from rdsim.learning.training.schedule import Schedule
from rdsim.limits.bottleneck import mixture_bottleneck_bound
from rdsim.sources.mixture import gaussian_mixture

SOURCE = gaussian_mixture(
    [0.5, 0.3, 0.2], [[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]], 0.2, query_noise=[0.01, 0.3]
)
QUERIES, ITEMS, _ = SOURCE.sample(jax.random.key(5), (96,))
BUILD = architecture(DualEncoder, query_size=4, item_size=2, hidden=(6,), dimension=4)


@pytest.fixture(scope="module")
def model():
    return BUILD(nnx.Rngs(0))


@pytest.mark.parametrize("quantizer", ["k-means", "product"])
@pytest.mark.parametrize("comparison", ["inner product", "distance"])
def test_the_nearest_codeword_is_stored_and_compared_with_the_query(model, quantizer, comparison):
    ((code, decoder),) = quantized_systems(
        jax.random.key(0),
        *embeddings_of(model),
        ITEMS,
        (4,),
        quantizer=quantizer,
        comparison=comparison,
    )
    words = np.asarray(code.code.codewords)
    assert words.shape == (16, 4)
    stored = np.asarray(model.embed_items(ITEMS), float)
    distance = ((stored[:, None] - words) ** 2).sum(-1)
    indices = np.asarray(code.encode(jax.random.key(1), ITEMS))
    np.testing.assert_allclose(
        distance[np.arange(len(ITEMS)), indices], distance.min(axis=1), rtol=1e-6, atol=1e-9
    )
    np.testing.assert_array_equal(code.channel(ITEMS), np.eye(16)[indices])
    query = np.asarray(model.embed_queries(QUERIES[0]), float)
    expected = words @ query
    if comparison == "distance":
        expected = -((words - query) ** 2).sum(-1)
    np.testing.assert_allclose(
        decoder.scores(decoder.parameters, QUERIES[0]), expected, rtol=1e-5, atol=1e-6
    )


def test_product_words_are_combinations_of_two_blocks(model):
    stored = jnp.asarray(model.embed_items(ITEMS), float)
    code = quantize_embeddings(jax.random.key(0), stored, 4, "product")
    assert [book.shape for book in code.codebooks] == [(4, 2), (4, 2)]
    rotated = (np.asarray(code.codewords) - code.centre) @ np.asarray(code.rotation).T
    books = [np.asarray(book) for book in code.codebooks]
    expected = [np.concatenate(pair) for pair in itertools.product(*books)]
    np.testing.assert_allclose(rotated, expected, rtol=0, atol=1e-9)
    odd = quantize_embeddings(jax.random.key(0), stored, 3, "product")
    assert [book.shape[0] for book in odd.codebooks] == [2, 2, 2]
    assert len(quantize_embeddings(jax.random.key(0), stored, 1, "product").codewords) == 2


@pytest.mark.parametrize("quantizer", ["k-means", "product"])
def test_embeddings_that_occur_several_times_have_a_codeword_each(quantizer):
    distinct = np.array([[0.0, 1.0], [2.0, -1.0], [3.0, 0.5]])
    code = quantize_embeddings(
        jax.random.key(0), jnp.asarray(np.repeat(distinct, 20, 0)), 4, quantizer
    )
    found = np.asarray(code.codewords)
    np.testing.assert_allclose(found[np.argsort(found[:, 0])], distinct, rtol=0, atol=1e-12)
    one = quantize_embeddings(jax.random.key(0), jnp.ones((60, 2)), 4, quantizer)
    np.testing.assert_allclose(one.codewords, [[1.0, 1.0]], rtol=0, atol=1e-12)


def test_blocks_of_equal_bits_that_are_more_than_coordinates_become_fewer_unequal_ones():
    points = jax.random.normal(jax.random.key(0), (600, 2))
    code = quantize_embeddings(jax.random.key(1), points, 7, "product")
    assert [len(book) for book in code.codebooks] == [128]
    assert code.codewords.shape == (128, 2)
    eleven = quantize_embeddings(jax.random.key(1), points, 11, "product")
    assert sum(int(np.log2(len(book))) for book in eleven.codebooks) == 11
    with pytest.raises(ValueError, match=r"bits must be at most 8 with 2 coordinates .* got 9"):
        quantize_embeddings(jax.random.key(1), points[:64], 9, "product")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Scaled:
    """A learner of `_Scale`."""

    modalities: int
    size: int

    @staticmethod
    def of(data):
        return _Scaled(modalities=data.modalities, size=data.item_size)


class _Scale(nnx.Module):
    """Items times three; scores of what is stored by the mean of the modalities."""

    def __init__(self):
        self.scale = nnx.Param(jnp.float32(3.0))

    def embed_items(self, items):
        return self.scale[...] * items

    def compare(self, queries, stored):
        return queries.mean(axis=1) @ stored.T


def test_a_fit_trains_on_pairs_of_the_source_and_stores_the_training_items(monkeypatch):
    source = gaussian_mixture([1.0], [[0.0, 1.0]], 0.5, query_noise=[0.1, 0.2, 0.3])
    seen = []

    def fitted_models(_key, learner, data, schedule, *, settings):
        seen.extend([learner, data, schedule, settings])
        return [_Scale()]

    monkeypatch.setattr(stored_embeddings, "fitted_models", fitted_models)
    plan = Schedule(steps=7)
    systems = fit_family(
        jax.random.key(3),
        StoredFamily(learner=_Scaled.of, setting=0.25),
        source,
        bits=(1, 3),
        schedule=plan,
        training=48,
    )
    learner, data, schedule, settings = seen
    assert learner == _Scaled(modalities=3, size=2)
    assert (schedule, settings) == (plan, (0.25,))
    queries, items, _ = data.sample
    assert items.shape == (48, 2)
    assert [len(code.code.codewords) for code, _ in systems] == [2, 8]
    for code, decoder in systems:
        indices = np.asarray(code.encode(jax.random.key(0), items))
        # A cell of k-means has its items' mean as its codeword: no other items give these.
        own = [3 * np.asarray(items)[indices == u].mean(axis=0) for u in np.unique(indices)]
        words = np.asarray(code.code.codewords)
        np.testing.assert_allclose(words[np.unique(indices)], own, rtol=1e-5)
        scores = decoder.scores(decoder.parameters, queries[0])
        assert scores.dtype == jnp.float64
        np.testing.assert_allclose(scores, words @ np.asarray(queries[0]).mean(axis=0), rtol=1e-5)


def _beyond(code, decoder):
    """Largest of bound minus the end of the interval; at most zero if no bound is passed."""
    sizes = np.array([5.0, 8.0])
    point = operating_point(
        jax.random.key(1),
        SOURCE,
        code,
        decoder,
        sizes,
        trials=4096,
        cells=48,
        confidence=1 - 1e-7,
    )
    known = mixture_bottleneck_bound(SOURCE, point.information)
    bound = np.asarray(limits.rank_loss(sizes, "reciprocal_rank", rate=known).lower)
    # A loss below 0.05 would be an alarm.
    assert (bound > 0.05).all()
    return float((bound - point.losses["reciprocal_rank"].upper).max())


def test_C4_no_random_dual_encoder_lies_beyond_the_converse():
    for seed in range(6):
        model = BUILD(nnx.Rngs(seed))
        ((code, decoder),) = quantized_systems(
            jax.random.key(seed), *embeddings_of(model), ITEMS, (3,)
        )
        assert _beyond(code, decoder) <= 0


def test_C4_no_fitted_system_lies_beyond_the_converse():
    for seed in range(2):
        ((code, decoder),) = fit_family(
            jax.random.key(seed), "CCA", SOURCE, bits=(3,), training=256
        )
        assert _beyond(code, decoder) <= 0


def _as_it_is(_parameters, points):
    return points


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"bits": 0}, ValueError, "bits must be at least 1, got 0"),
        ({"bits": 13}, ValueError, "bits must be at most 8 with 2 coordinates"),
        ({"bits": 2.0}, TypeError, "bits must be an integer"),
        ({"quantizer": "ball"}, ValueError, "quantizer must be one of"),
        ({"comparison": "ball"}, ValueError, "comparison must be one of"),
        ({"items": np.full((4, 2), np.nan)}, ValueError, "items"),
    ],
)
def test_bad_arguments_are_named(change, error, message):
    arguments = {
        "key": jax.random.key(0),
        "embed_items": (_as_it_is, None),
        "embed_queries": (_as_it_is, None),
        "items": np.asarray(ITEMS),
        "bits": 2,
    }
    with pytest.raises(error, match=message):
        quantized_system(**(arguments | change))
