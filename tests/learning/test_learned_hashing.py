"""Learned hashes: signs as an item code, Hamming scores, and the converse for queries of B bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from rdsim import limits
from rdsim.learning.families.catalogue import fit_family
from rdsim.learning.families.dual_encoder import DualEncoder
from rdsim.learning.families.hashing import (
    HashLearner,
    log_collisions,
    sign_code,
    sign_system,
    straight_through_sign,
    with_hamming,
)
from rdsim.learning.families.pairs import array_pairs
from rdsim.learning.families.stored.embedded_codes import embeddings_of
from rdsim.learning.held_out_points import held_out_point
from rdsim.learning.operating_points import operating_point
from rdsim.learning.training.networks import architecture
from rdsim.learning.training.schedule import Schedule
from rdsim.limits.bottleneck import mixture_bottleneck_bound
from rdsim.sources import vector_gaussian
from rdsim.sources.mixture import gaussian_mixture

SOURCE = gaussian_mixture(
    [0.5, 0.3, 0.2], [[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]], 0.2, query_noise=[0.01, 0.3]
)
QUERIES, ITEMS, CLASSES = SOURCE.sample(jax.random.key(5), (64,))
BITS = 3


def _model(seed, by="pairs"):
    build = architecture(
        DualEncoder, query_size=4, item_size=2, hidden=(6,), dimension=8, unit=False
    )
    learner = HashLearner(build=build, by=by)
    return learner, learner.build(nnx.Rngs(seed))


def _bits(values):
    return (np.asarray(values, float)[..., :BITS] > 0).astype(int)


def _log_collisions(words):
    """The probability that two words agree, each bit of one flipped with probability .001."""
    n = len(words)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    each = [np.where(words[i] == words[j], 0.999, 0.001).prod() for i, j in pairs]
    return np.log(1 / n + np.mean(each))


def test_collisions_have_the_value_and_the_gradient_of_their_product():
    words = jnp.asarray(np.random.default_rng(0).choice([-1.0, 1.0], (20, BITS)))

    def product(h):
        agree = jnp.prod(0.5 * (1 + 0.998 * h[:, None] * h), axis=-1)
        rate = jnp.sum(agree * (1 - jnp.eye(20))) / (20 * 19)
        return jnp.log(1 / 20 + rate)

    found = jax.value_and_grad(lambda h: log_collisions(h, BITS))(words)
    wanted = jax.value_and_grad(product)(words)
    np.testing.assert_allclose(found[0], _log_collisions(np.asarray(words)), rtol=1e-10)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)
    padded = jnp.pad(words, ((0, 0), (0, 2)))
    np.testing.assert_allclose(log_collisions(padded, BITS), found[0], rtol=1e-12)


def test_a_hash_of_six_bits_does_not_collapse():
    # On a mixture in the plane the contrast alone leaves 4.1 of 6 bits in use, and an MRR of .063.
    angles = np.arange(6) * np.pi / 3
    source = gaussian_mixture(
        [0.3, 0.25, 0.2, 0.12, 0.08, 0.05],
        2 * np.stack([np.cos(angles), np.sin(angles)], axis=1),
        0.25,
        query_noise=[0.02, 0.5],
    )
    queries, items, _ = source.sample(jax.random.key(77), (1024,))

    def measured(seed, name):
        (system,) = fit_family(
            jax.random.key(seed),
            name,
            source,
            bits=(6,),
            schedule=Schedule(steps=300, evaluate_every=75),
            training=1536,
        )
        return held_out_point(jax.random.key(3), system, queries, items)

    # Eight keys gave 5.15 to 5.50 bits: what is asked is asked of a mean over keys.
    hashes = [measured(seed, "hashing, pairs") for seed in (1, 2)]
    assert np.mean([float(point.code_bits) for point in hashes]) > 5.2
    product = measured(1, "InfoNCE, product")
    # A loss is one less the MRR: the upper end of a loss is the lower end of its MRR.
    loss, other = (point.losses["reciprocal_rank"] for point in (hashes[0], product))
    assert float(loss.mean) < float(other.mean)
    assert 1 - float(loss.mean) > 0.095


def test_a_sign_is_straight_through():
    values = jnp.array([-2.0, -0.1, 0.0, 3.0])
    np.testing.assert_array_equal(straight_through_sign(values), [-1, -1, -1, 1])
    slope = jax.grad(lambda v: jnp.sum(straight_through_sign(v) * jnp.arange(4.0)))(values)
    np.testing.assert_array_equal(slope, np.arange(4.0))


@given(st.integers(0, 10**6))
def test_the_code_of_signs_counts_in_binary(seed):
    points = np.random.default_rng(seed).normal(size=(10, BITS))
    code = sign_code(BITS)
    indices = [int("".join(map(str, row)), 2) for row in _bits(points)]
    np.testing.assert_array_equal(code.encode(jax.random.key(0), points), indices)
    np.testing.assert_array_equal(np.asarray(code.codewords)[indices], 2 * _bits(points) - 1)


def test_signs_beyond_those_stored_are_not_looked_at():
    points = np.random.default_rng(1).normal(size=(40, BITS + 2))
    code, short = sign_code(BITS, coordinates=BITS + 2), sign_code(BITS)
    key = jax.random.key(0)
    np.testing.assert_array_equal(code.encode(key, points), short.encode(key, points[:, :BITS]))
    np.testing.assert_array_equal(code.codewords[:, :BITS], short.codewords)
    np.testing.assert_array_equal(code.codewords[:, BITS:], 0.0)


@pytest.fixture(scope="module")
def system():
    _, model = _model(0)
    return model, *sign_system(*embeddings_of(model), ITEMS, BITS)


def test_items_are_stored_as_the_signs_of_their_network(system):
    model, code, _ = system
    bits = _bits(model.embed_items(ITEMS))
    indices = [int("".join(map(str, row)), 2) for row in bits]
    np.testing.assert_array_equal(code.encode(jax.random.key(0), ITEMS), indices)
    channel = np.asarray(code.channel(ITEMS))
    np.testing.assert_array_equal(channel, np.eye(2**BITS)[indices])
    for word in set(indices):
        mean = np.asarray(ITEMS)[np.array(indices) == word].mean(axis=0)
        np.testing.assert_allclose(code.codewords[word], mean, rtol=1e-12)


def test_scores_keep_the_query_as_it_is(system):
    model, _, decoder = system
    corners = 2.0 * ((np.arange(2**BITS)[:, None] >> np.arange(BITS)[::-1]) & 1) - 1
    for query in QUERIES[:5]:
        expected = corners @ np.asarray(model.embed_queries(query), float)[:BITS]
        np.testing.assert_allclose(
            decoder.scores(decoder.parameters, query), expected, rtol=0, atol=1e-6
        )


def test_scores_fall_with_the_hamming_distance_where_it_is_asked_for(system):
    model, code, float_query = system
    same, decoder = with_hamming((code, float_query))
    assert same is code
    for query in QUERIES[:5]:
        own = int("".join(map(str, _bits(model.embed_queries(query)))), 2)
        expected = [BITS - 2 * bin(own ^ word).count("1") for word in range(2**BITS)]
        np.testing.assert_array_equal(decoder.scores(decoder.parameters, query), expected)


@pytest.mark.parametrize("by", ["pairs", "classes", "both"])
def test_the_loss_is_that_of_its_terms(by):
    learner, model = _model(3, by)
    # Of semi-supervised hashing most classes are unknown.
    classes = np.where(np.arange(64) % 8 == 0, CLASSES, -1) if by == "both" else np.asarray(CLASSES)
    batch = (QUERIES, ITEMS, jnp.asarray(classes))
    value, numbers = learner.loss(model, batch, jax.random.key(0), float(BITS), jnp.float32(0))
    x, y = (
        np.asarray(v, float)[:, :BITS]
        for v in (model.embed_queries(QUERIES), model.embed_items(ITEMS))
    )
    y = np.tanh(y)
    hash_x, hash_y = np.where(x > 0, 1, -1), np.where(y > 0, 1, -1)
    agree = np.mean(hash_x == hash_y)
    expected = 0.0
    if by != "classes":
        scores = x @ hash_y.T / 0.1  # the temperature at the start
        for table in (scores, scores.T):
            log_sum = np.log(np.exp(table).sum(axis=1))
            expected += 0.5 * np.mean(log_sum - np.diag(table))
        expected += 0.3 * _log_collisions(hash_y)
    if by != "pairs":
        expected += np.mean(
            [
                np.log1p(np.exp((-1 if a == b else 1) * 0.5 * p @ q))
                for p, a in zip(x, classes, strict=True)
                for q, b in zip(y, classes, strict=True)
                if a >= 0 and b >= 0
            ]
        )
    expected += 0.1 * (hash_y.mean(axis=0) ** 2).mean()
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    np.testing.assert_allclose(numbers["agreement"], agree, rtol=1e-5)


def test_a_loss_without_a_gradient_through_the_sign_would_not_move():
    learner, model = _model(4)
    graph, state = nnx.split(model)

    def loss(values, bits):
        batch = (QUERIES, ITEMS, CLASSES)
        merged = nnx.merge(graph, values)
        return learner.loss(merged, batch, jax.random.key(0), bits, jnp.float32(0))[0]

    slope = jax.jit(jax.grad(loss))(state, float(BITS))
    last = slope["item_network"]["layers"][1]["kernel"][...]
    assert (np.abs(last[:, :BITS]).max(axis=0) > 0).all()
    # The bits that this run does not use have no gradient.
    np.testing.assert_array_equal(last[:, BITS:], 0.0)


def test_C4_no_hash_lies_beyond_the_converse():
    sizes = np.array([5.0, 8.0])
    for seed in range(6):
        _, model = _model(10 + seed)
        system = sign_system(*embeddings_of(model), ITEMS, BITS)
        for code, decoder in (system, with_hamming(system)):
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
            upper = point.losses["reciprocal_rank"].upper
            bits = mixture_bottleneck_bound(SOURCE, point.information)
            assert float(point.information) <= float(point.index_entropy) + 1e-9 <= BITS + 2e-9
            # What items cost binds both; the bits of a hashed query bind it as well.
            for rate in (bits, jnp.asarray(float(BITS))):
                bound = np.asarray(limits.rank_loss(sizes, "reciprocal_rank", rate=rate).lower)
                assert (bound > 0.0).all()
                assert (upper >= bound).all()


@pytest.mark.parametrize(
    ("bits", "error", "message"),
    [
        (0, ValueError, r"bits must be in \[1, 12\], got 0"),
        (13, ValueError, r"bits must be in \[1, 12\], got 13"),
        (2.0, TypeError, "bits must be an integer"),
    ],
)
def test_bad_bits_are_named(bits, error, message):
    with pytest.raises(error, match=message):
        sign_code(bits)


def test_fewer_coordinates_than_bits_are_named():
    with pytest.raises(ValueError, match="coordinates must be at least 3, got 2"):
        sign_code(3, coordinates=2)


def test_more_bits_than_a_network_has_are_named(system):
    with pytest.raises(ValueError, match=r"bits must be in \[1, 8\], got 9"):
        sign_system(*embeddings_of(system[0]), ITEMS, 9)


def test_classes_are_asked_for_by_name():
    pairs = array_pairs(jax.random.key(0), QUERIES, ITEMS, held_out=8)
    with pytest.raises(ValueError, match="two classes"):
        fit_family(jax.random.key(0), "hashing, classes", pairs, bits=(2,))


def test_random_planes_hash_canonical_variables_and_keep_the_query():
    generator = np.random.default_rng(0)
    y = generator.normal(size=(300, 3))
    x = y @ generator.normal(size=(3, 4)) + 0.1 * generator.normal(size=(300, 4))
    pairs = array_pairs(jax.random.key(0), x, y, held_out=50)
    short, long = fit_family(jax.random.key(1), "random hyperplanes", pairs, bits=(4, 16))
    digits = long[0].store(jax.random.key(2), y)
    # Both hash by the same planes, of which the shorter has the first ones.
    words = digits[:, :4] @ (2 ** np.arange(3, -1, -1))
    np.testing.assert_array_equal(short[0].encode(jax.random.key(2), y), words)
    embed, (inner, planes) = long[1].scores.embed, long[1].parameters[0]
    asked = np.asarray(embed.first(inner, jnp.asarray(x[:1]))) @ np.asarray(planes)
    rows = jnp.asarray(long[0].rows(digits[:7])[0])
    found = long[1].scores((long[1].parameters[0], rows), jnp.asarray(x[:1]))
    np.testing.assert_allclose(found, (2.0 * digits[:7] - 1) @ asked, rtol=1e-9)
    # An item is hashed by what is predicted of its own query: most of the bits agree.
    own = np.asarray(embed((inner, planes), jnp.asarray(x[:, None])))
    assert np.mean((own > 0) == digits) > 0.9


def test_a_hash_of_64_bits_does_not_collapse():
    source = vector_gaussian(np.eye(6), np.eye(6), 0.9 * np.eye(6))
    queries, items = source.sample(jax.random.key(0), (1536,))
    pairs = array_pairs(jax.random.key(1), queries[512:], items[512:])
    (system,) = fit_family(
        jax.random.key(2),
        "hashing, pairs",
        pairs,
        bits=(64,),
        schedule=Schedule(steps=100, evaluate_every=50),
    )
    bits = system[0].store(jax.random.key(3), items[:512]).astype(float)
    mean = bits.mean(axis=0)
    assert ((mean > 0.2) & (mean < 0.8)).mean() > 0.9
    # Bits that cut along one line would be equal or opposite.
    apart = np.abs(np.corrcoef(bits.T))[np.triu_indices(64, 1)]
    assert apart.mean() < 0.35
    assert len(np.unique(bits, axis=0)) > 0.95 * 512
