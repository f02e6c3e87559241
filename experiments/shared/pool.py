"""Training of a stochastic code at many slopes on a pool of pairs, drawn once."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rdsim.learning import Pairs, Schedule, StochasticCodeLearner, Trained, train

_HELD_OUT = 16
"""One pair in so many is kept to judge the runs by."""


@dataclass(frozen=True)
class PooledBatch:
    """A `draw` for `train`: pairs out of a pool of them."""

    size: int

    def __call__(self, key: jax.Array, pool: Pairs) -> Pairs:
        """Draw pairs with replacement."""
        index = jax.random.randint(key, (self.size,), 0, pool.items.shape[0])
        return Pairs(pool.queries[index], pool.items[index])


def learn(
    key: jax.Array,
    learner: StochasticCodeLearner,
    queries: Any,
    items: Any,
    slopes: np.ndarray,
    *,
    batch: int,
    steps: int,
    learning_rate: float,
) -> Trained:
    """Train a code at every slope at once.

    Args:
        key: PRNG key.
        learner: of codes.
        queries: of the pool, shape (N, K, d).
        items: of the pool, shape (N, d).
        slopes: one a run.
        batch: pairs of a step.
        steps: of the training, judged at its middle and its end.
        learning_rate: largest step size.

    """
    kept = len(items) // _HELD_OUT
    pool = Pairs(*(jnp.asarray(part, jnp.float32) for part in (queries, items)))
    judged = Pairs(pool.queries[:kept], pool.items[:kept])
    rest = Pairs(pool.queries[kept:], pool.items[kept:])
    return train(
        key,
        learner,
        PooledBatch(batch),
        rest,
        judged,
        jnp.asarray(slopes, jnp.float32),
        schedule=Schedule(steps=steps, evaluate_every=-(-steps // 2), learning_rate=learning_rate),
    )
