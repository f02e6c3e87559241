r"""Blahut-Arimoto in JAX, as fast as a peer would write it, with the certificate as stopping rule.

$q_u \leftarrow q_u c_u$ with $c = K^T (p / Kq)$, $K = 2^{-s e}$, e the distortion above its row's
least: two products of a matrix and a vector a step, no logarithm but the one of the gap. The log
domain would take two |Y| |U| tables of exponentials a step instead.
"""

import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Found(NamedTuple):
    """Output marginals (S, |U|), gaps in bits (S,), steps (S,), and the seconds that they took."""

    q: np.ndarray
    gap: np.ndarray
    steps: np.ndarray
    seconds: float


@jax.jit
def _advance(
    p: jax.Array,
    d: jax.Array,
    slopes: jax.Array,
    q: jax.Array,
    gap: jax.Array,
    target: float,
    most: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Take up to so many steps more at every slope whose gap is above the target."""
    excess = d - d.min(axis=1, keepdims=True)

    def one(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        slope, q, gap = state
        K = jnp.exp2(-slope * excess)

        def step(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            q, _, steps = state
            c = (p / (K @ q)) @ K
            # The gap belongs to q, not to the next one: it is what is returned if this ends it.
            gap = jnp.log2(c.max())
            return jnp.where(gap > target, q * c, q), gap, steps + 1

        def unfinished(state: tuple[jax.Array, ...]) -> jax.Array:
            return (state[1] > target) & (state[2] < most)

        return jax.lax.while_loop(unfinished, step, (q, gap, jnp.array(0)))

    return jax.lax.map(one, (slopes, q, gap))


def blahut_arimoto(
    p: np.ndarray,
    d: np.ndarray,
    slopes: np.ndarray,
    gap: float,
    limit: float,
    steps_at_once: int = 2000,
) -> Found:
    """Run all slopes to the gap, or until the limit in seconds is over."""
    data = jnp.asarray(p), jnp.asarray(d), jnp.asarray(slopes)
    letters, number = d.shape[1], len(slopes)
    q = jnp.full((number, letters), 1.0 / letters)
    reached, steps = jnp.full(number, jnp.inf), jnp.zeros(number, int)
    start = time.perf_counter()
    while True:
        q, reached, more = jax.block_until_ready(_advance(*data, q, reached, gap, steps_at_once))
        steps = steps + more
        seconds = time.perf_counter() - start
        if bool((reached <= gap).all()) or seconds > limit:
            return Found(np.asarray(q), np.asarray(reached), np.asarray(steps), seconds)
