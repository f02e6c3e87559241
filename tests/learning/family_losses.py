"""Rank loss of a learned system in databases of random items, held against the converse."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rdsim import limits
from rdsim.learning.families.pairs import item_pairs
from rdsim.learning.families.stored_embeddings import stored_systems
from rdsim.learning.training.loop import train
from rdsim.learning.training.schedule import Schedule
from rdsim.limits.bottleneck import mixture_bottleneck_bound
from rdsim.sources.mixture import gaussian_mixture

SIZE = 32
DATABASES = 2048
BITS = 3
# Hoeffding: the mean of losses in [0, 1] is off by more once in 10^7.
MARGIN = float(np.sqrt(np.log(1e7) / (2 * DATABASES)))
SOURCE = gaussian_mixture(
    [0.5, 0.3, 0.2],
    [[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]],
    0.25,
    query_noise=[0.02, 0.5],
)
SCHEDULE = Schedule(steps=150, evaluate_every=150)
TRAINING = 256
BATCH = 64


@functools.cache
def converse():
    """Least loss of any system that stores BITS an item."""
    known = mixture_bottleneck_bound(SOURCE, float(BITS))
    return float(limits.rank_loss(np.log2(SIZE), "reciprocal_rank", rate=known).lower)


@functools.cache
def databases():
    """Items of every database, and the queries of its first item."""
    queries, items, _ = SOURCE.sample(jax.random.key(99), (DATABASES, SIZE))
    return queries[:, 0], items.reshape(-1, items.shape[-1])


@functools.partial(jax.jit, static_argnums=0)
def score_table(scores, parameters, queries):
    return jax.vmap(lambda query: scores(parameters, query))(queries)


def measured_loss(system):
    """Mean loss of one query in each of DATABASES, every tie counted half."""
    code, decoder = system
    queries, items = databases()
    stored = np.asarray(code.encode(jax.random.key(98), items)).reshape(DATABASES, SIZE)
    table = score_table(decoder.scores, decoder.parameters, queries)
    scores = np.take_along_axis(np.asarray(table), stored, axis=1)
    target, others = scores[:, :1], scores[:, 1:]
    ahead, tied = (others > target).sum(axis=1), (others == target).sum(axis=1)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, SIZE + 1))])
    reciprocal = (harmonic[ahead + tied + 1] - harmonic[ahead]) / (tied + 1)
    return float(1 - reciprocal.mean())


def chance():
    """Loss of a random ranking."""
    return 1 - np.mean(1 / np.arange(1, SIZE + 1))


@functools.partial(jax.jit, static_argnums=0)
def built(build, seed):
    """A module with its first parameters, in one program."""
    return build(nnx.Rngs(jax.random.key(seed)))


def learner(make):
    """The learner of a family for pairs of the source."""
    return make(item_pairs(jax.random.key(0), SOURCE, 2, held_out=2))


def untrained(model):
    """A system of a module with its first parameters."""
    items = SOURCE.sample(jax.random.key(5), (TRAINING,))[1]
    return stored_systems(jax.random.key(6), model, items, (BITS,))[0]


def draw(key, source):
    """A small batch of fresh pairs."""
    return source.sample(key, (BATCH,))


def trained(learner, settings=(0.0, 0.0), schedule=SCHEDULE):
    """Train quickly on small batches."""
    held_out = SOURCE.sample(jax.random.key(8), (BATCH,))
    settings = jnp.asarray(settings, jnp.float32)
    return train(jax.random.key(7), learner, draw, SOURCE, held_out, settings, schedule=schedule)
