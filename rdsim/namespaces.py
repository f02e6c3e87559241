"""One formula for arrays of NumPy and of JAX: what differs between them beside the namespace.

A solver written with `namespace_of` and these functions runs on the host without being compiled, and is traced,
compiled, batched or run on an accelerator where its arguments are JAX's. A kernel that is no array names its namespace
itself, by `__array_namespace__`.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import scipy

_T = TypeVar("_T")


def on_numpy(*arrays: Any) -> bool:
    """Whether no array is JAX's, so that NumPy computes and a condition has a value."""
    return not any(isinstance(array, jax.Array) for array in arrays)


def namespace_of(*numbers: Any) -> Any:
    """Return `jax.numpy` if one of them is JAX's, otherwise NumPy, by which nothing is compiled; plain numbers are allowed."""
    return np if on_numpy(*numbers) else jnp


def select(condition: Any, new: _T, old: _T) -> _T:
    """Choose one of two trees of arrays by a scalar condition; under JAX both have been computed."""
    if on_numpy(condition):
        return new if condition else old
    chosen: _T = jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)
    return chosen


def constant(tree: _T) -> _T:
    """Take the numbers without their derivatives, of which arrays of NumPy have none."""
    if on_numpy(*jax.tree.leaves(tree)):
        return tree
    numbers: _T = jax.lax.stop_gradient(tree)
    return numbers


def while_loop(unfinished: Callable[[_T], Any], step: Callable[[_T], _T], state: _T) -> _T:
    """Take steps as long as the condition holds: a loop of Python's, or `jax.lax.while_loop`."""
    if on_numpy(*jax.tree.leaves(state)):
        while unfinished(state):
            state = step(state)
        return state
    end: _T = jax.lax.while_loop(unfinished, step, state)
    return end


def fori_loop(steps: int, step: Callable[[Any, _T], _T], state: _T, *, unroll: int = 1) -> _T:
    """Take so many steps, each with its number: a loop of Python's, or `jax.lax.fori_loop`."""
    if on_numpy(*jax.tree.leaves(state)):
        for i in range(steps):
            state = step(i, state)
        return state
    end: _T = jax.lax.fori_loop(0, steps, step, state, unroll=unroll)
    return end


def scan(
    step: Callable[[_T, Any], tuple[_T, Any]], state: _T, rows: Any, *, reverse: bool = False
) -> tuple[_T, Any]:
    """Carry a state through the rows of an array: a loop of Python's, or `jax.lax.scan`. Also returns what each step emits."""
    if not on_numpy(rows, *jax.tree.leaves(state)):
        return jax.lax.scan(step, state, rows, reverse=reverse)
    emitted: list[Any] = [None] * len(rows)
    for i in reversed(range(len(rows))) if reverse else range(len(rows)):
        state, emitted[i] = step(state, rows[i])
    return state, None if emitted[0] is None else np.stack(emitted)


def window(array: Any, start: Any, size: int) -> Any:
    """So many entries of the last axis, from a start that may depend on the step of a loop."""
    if on_numpy(array):
        return array[..., start : start + size]
    return jax.lax.dynamic_slice_in_dim(array, start, size, axis=-1)


def positive_definite_solver(matrix: Any) -> Callable[[Any], Any]:
    """Factor a symmetric positive definite matrix once; return b -> matrix^-1 b.

    NaN everywhere if the factorisation fails. A matrix of NumPy is overwritten.
    """
    if on_numpy(matrix):
        # LAPACK's arrays run down the columns: the transposed view needs no copy. Symmetric.
        factor, failed = scipy.linalg.lapack.dpotrf(matrix.T, lower=1, overwrite_a=1, clean=0)
        if failed:
            return lambda b: np.full_like(b, np.nan)
        return lambda b: scipy.linalg.lapack.dpotrs(factor, b, lower=1)[0]
    factor = jnp.linalg.cholesky(matrix, symmetrize_input=False)
    return lambda b: jax.scipy.linalg.cho_solve((factor, True), b)
