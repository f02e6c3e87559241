"""Keys and orders that the host draws: what JAX draws, to the same digits, by one program each that compiles quickly.

JAX compiles several programs where a key is split and its parts are unpacked, and one that shuffles for every number of
entries. Those here are compiled quickly, and the integers take as long to draw, to measurement.
"""

from functools import partial

import jax
import numpy as np
from jaxtyping import Array, Int, Key

from rdsim.compilation import QUICKLY


@partial(jax.jit, static_argnames="number", compiler_options=QUICKLY)
def split_key(key: Key[Array, ""], number: int) -> tuple[Key[Array, ""], ...]:
    """Split a key as `jax.random.split` does, into so many keys."""
    return tuple(jax.random.split(key, number))


def numbered_key(key: Key[Array, ""], number: int) -> Key[Array, ""]:
    """Fold a number into a key as `jax.random.fold_in` does."""
    return _folded(key, np.uint32(number))


def permutation(key: Key[Array, ""], size: int) -> Int[np.ndarray, " n"]:
    """Draw an order of 0, ..., n - 1 as `jax.random.permutation` does."""
    return np.asarray(_shuffled(key, size))


_folded = jax.jit(jax.random.fold_in, compiler_options=QUICKLY)


@partial(jax.jit, static_argnames="size", compiler_options=QUICKLY)
def _shuffled(key: Key[Array, ""], size: int) -> Int[Array, " n"]:
    return jax.random.permutation(key, size)
