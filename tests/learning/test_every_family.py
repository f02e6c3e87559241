"""Every family of the catalogue: it beats a random ranking and its own untrained start, and same keys give same digits."""

import functools

import jax
import numpy as np
import pytest
from flax import nnx

from rdsim import limits
from rdsim.learning import (
    ContrastiveLearner,
    DualEncoder,
    architecture,
    fitted_models,
    quantized_system,
)
from rdsim.learning.families.catalogue import FAMILIES, fit_family
from rdsim.learning.families.dual_encoder import DualEncoderFamily, triplet_loss
from rdsim.learning.families.hashing import HashingFamily
from rdsim.learning.families.pairs import array_pairs
from rdsim.learning.families.stored.embedded_codes import embeddings_of
from rdsim.learning.families.stored.learned_quantizers import QuantizedFamily
from rdsim.learning.families.stored_embeddings import StoredFamily
from rdsim.learning.held_out_points import held_out_point
from rdsim.learning.training.schedule import Schedule
from rdsim.limits.bottleneck import mixture_bottleneck_bound
from rdsim.sources.mixture import gaussian_mixture

BITS = 4
SIZE = 256
STEPS = 60
COMPUTED = ("CCA", "kernel CCA", "random hyperplanes")
"""Families without a training."""
ANALYSED = ("deep CCA",)
"""Families whose start is good: the canonical variables of random features."""
CONFIDENCE = 1 - 1e-7
# Hoeffding: the mean of SIZE numbers in [0, 1] is off by more once in 10^7.
MARGIN = float(np.sqrt(np.log(1e7) / (2 * SIZE)))
ANGLES = np.arange(6) * np.pi / 3
SOURCE = gaussian_mixture(
    [0.3, 0.25, 0.2, 0.12, 0.08, 0.05],
    2 * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1),
    0.25,
    query_noise=[0.02, 0.1],
)


@functools.cache
def data():
    """Training pairs, and a database that all families are measured in."""
    queries, items, classes = (
        np.asarray(part) for part in SOURCE.sample(jax.random.key(1), (1024,))
    )
    pairs = array_pairs(jax.random.key(2), queries[SIZE:], items[SIZE:], classes=classes[SIZE:])
    return pairs, queries[:SIZE], items[:SIZE]


def measured(name, steps):
    pairs, queries, items = data()
    plan = Schedule(steps=steps, evaluate_every=max(1, steps // 2))
    (system,) = fit_family(jax.random.key(3), name, pairs, bits=(BITS,), schedule=plan)
    return held_out_point(jax.random.key(4), system, queries, items, confidence=CONFIDENCE)


@functools.cache
def least_loss():
    """Least loss of any system that stores BITS of an item (C4)."""
    known = mixture_bottleneck_bound(SOURCE, float(BITS))
    return float(limits.rank_loss(np.log2(SIZE), "reciprocal_rank", rate=known).lower)


def mean_rank(point):
    """Mean over queries of the share of items ahead of the target, the tied ones counted half."""
    return float(np.mean((point.ahead + (point.tied - 1) / 2) / (SIZE - 1)))


@pytest.mark.parametrize("name", FAMILIES)
def test_C4_a_family_beats_chance_and_its_untrained_start_and_no_converse(name):
    trained = measured(name, STEPS)
    loss = trained.losses["reciprocal_rank"]
    assert mean_rank(trained) < 0.5 - MARGIN
    assert float(loss.upper) >= least_loss()
    if name not in COMPUTED:
        start = measured(name, 0)
        assert float(loss.mean) < float(start.losses["reciprocal_rank"].mean)
        if name not in ANALYSED:
            assert mean_rank(trained) < mean_rank(start) - MARGIN


@pytest.mark.parametrize("name", ["graph network", "unpaired translation", "kernel CCA"])
def test_same_keys_give_same_digits(name):
    first, second = measured(name, STEPS), measured(name, STEPS)
    np.testing.assert_array_equal(first.ahead, second.ahead)
    np.testing.assert_array_equal(first.tied, second.tied)


REFUSED = [
    "InfoNCE, k-means",
    "deep CCA",
    "shared latent",
    "adversarial",
    "distilled",
    "hybrid fusion",
    "metric",
    "graph network",
    "unpaired translation",
    "region attention",
    "experts",
    "CCA",
]
"""A family of each way to store items by k-means, and by long product quantizers."""


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize(
    ("bits", "message"),
    [
        ((4, 6), "bits must leave k-means at most one codeword .* 50 train"),
        ((13, 900), r"bits must be at most \d+ with \d+ coordinates .* got (13|900)"),
    ],
    ids=["k-means", "product"],
)
def test_bits_that_so_few_pairs_cannot_have_are_refused_before_any_step(name, bits, message):
    pairs = array_pairs(jax.random.key(2), *(part[:60] for part in data()[1:]), held_out=10)
    # So many steps would not end.
    plan = Schedule(steps=10**9, evaluate_every=10**9)
    with pytest.raises(ValueError, match=message):
        fit_family(jax.random.key(3), name, pairs, bits=bits, schedule=plan)


def unlike_its_queries(keys, data, bits, schedule):
    """A family whose queries are embedded in another dimension than its items."""
    del schedule
    of_items, of_queries = (lambda _, points: points), (lambda _, points: points[0, :1])
    return [
        quantized_system(keys[0], (of_items, None), (of_queries, None), data.sample[1], b)
        for b in bits
    ]


@pytest.mark.parametrize(
    ("family", "error", "message"),
    [
        ("CCAA", ValueError, r"family must be one of 'InfoNCE, k-means', .* got 'CCAA'"),
        (
            lambda *_: None,
            ValueError,
            "family must return a list of 2 systems, .* got <class 'None",
        ),
        (lambda *_: [], ValueError, "family must return a list of 2 systems, .* got 0"),
        (lambda *_: [1, 2], TypeError, "family: system must be a tuple of two"),
        (lambda *_: [(1, 2), (1, 2)], TypeError, "family: decoder must be a Decoder"),
        (unlike_its_queries, ValueError, r"family: decoder must score .* of shape \(2, 2\)"),
    ],
)
def test_a_family_of_ones_own_that_returns_no_systems_is_named(family, error, message):
    with pytest.raises(error, match=message):
        fit_family(jax.random.key(3), family, data()[0], bits=(2, 3))


class WithoutScores(nnx.Module):
    def __init__(self, rngs):
        self.layer = nnx.Linear(2, 2, rngs=rngs)


def test_a_module_without_scores_is_named():
    learner = ContrastiveLearner(build=architecture(WithoutScores))
    with pytest.raises(TypeError, match="build must make a module with the method scores, got"):
        fitted_models(jax.random.key(0), learner, data()[0], Schedule(steps=1))


@pytest.mark.parametrize("bits", [3, 16])
def test_queries_and_items_of_other_sizes_are_named(bits):
    x, y = np.random.default_rng(0).normal(size=(2, 80, 5))
    pairs = array_pairs(jax.random.key(2), x, y, held_out=10)
    (system,) = fit_family(jax.random.key(3), "CCA", pairs, bits=(bits,))
    for queries in (x[:, :2], np.stack([x, x], axis=1)):
        with pytest.raises(ValueError, match=r"queries must have the shape .* was fitted to, got"):
            held_out_point(jax.random.key(4), system, queries, y)
    with pytest.raises(ValueError, match="items must have"):
        held_out_point(jax.random.key(4), system, x, y[:, :4])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: QuantizedFamily(kind="x"), ValueError, "kind must be one of"),
        (lambda: HashingFamily(by="x"), ValueError, "by must be one of"),
        (lambda: HashingFamily(by="pairs", weight_decay=-1.0), ValueError, "weight_decay must lie"),
        (lambda: DualEncoderFamily(quantizer="x"), ValueError, "quantizer must be one of"),
        (lambda: DualEncoderFamily(learner=3), TypeError, "learner"),
        (lambda: DualEncoderFamily(item_encoder=3), TypeError, "item_encoder"),
        (lambda: StoredFamily(learner=3), TypeError, "learner"),
        (lambda: architecture(3), TypeError, "module"),
        (lambda: encoder(temperature=0.0), ValueError, r"temperature must lie in \(0, inf\)"),
        (
            lambda: quantized_system(
                jax.random.key(0), *embeddings_of(encoder()), np.ones((9, 3)), 2
            ),
            ValueError,
            r"items must have the coordinates that their embedding takes, got shape \(9, 3\)",
        ),
        (lambda: triplet_loss(np.eye(3), 0.1, hardest=None), TypeError, "hardest"),
        (
            lambda: array_pairs(jax.random.key(0), np.ones((3, 2)), np.ones((3, 2)), held_out=2),
            ValueError,
            "queries and items must be of four pairs at least",
        ),
    ],
)
def test_what_no_family_can_be_made_of_is_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def encoder(**sizes):
    return DualEncoder(query_size=2, item_size=2, rngs=nnx.Rngs(0), **sizes)
