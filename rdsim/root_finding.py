"""Bisection, which several solvers share: under `jax.jit`, and on the host."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


def bisect(
    passed: Callable[[Float[Array, "..."]], Bool[Array, "..."]],
    low: Float[Array, "..."],
    high: Float[Array, "..."],
    *,
    steps: int,
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Halve brackets of the places where a condition turns from false to true, elementwise.

    The invariant of every step: the condition is false at `low` and true at `high`, as far as it was
    so at the start. Each step costs one evaluation and halves the bracket; some 60 steps resolve
    all 53 bits of a float64 whose magnitude is known. The result has no derivatives of its own:
    `transformations.implicit_root` gives it those of the equation.

    Args:
        passed: the condition, monotone from false to true.
        low: lower ends of the brackets.
        high: upper ends, of the same shape.
        steps: number of halvings.

    Returns:
        The last brackets, low and high.

    """

    def halve(_: Array, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = 0.5 * (low + high)
        there = passed(middle)
        return jnp.where(there, low, middle), jnp.where(there, middle, high)

    # A loop of a fixed number of steps, rather than until the bracket is narrow: it compiles to the same program for every
    # argument, and a batch does not wait for its slowest entry.
    found: tuple[Array, Array] = jax.lax.fori_loop(
        0, steps, halve, (jnp.asarray(low, float), jnp.asarray(high, float))
    )
    return found


def bisect_on_host(
    passed: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray, *, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Do the same in NumPy, for a condition that calls SciPy; arguments and result are as above."""
    for _ in range(steps):
        middle = 0.5 * (low + high)
        there = passed(middle)
        low, high = np.where(there, low, middle), np.where(there, middle, high)
    return low, high
