"""Checks of distributions, channels and the distortions that belong to them."""

from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from rdsim.transformations import is_traced
from rdsim.validation.arrays import interval, numbers, offending

PROBABILITY_SUM_TOLERANCE: Final = 1e-9
"""How far the sum of a pmf may lie from one: tables typed or computed elsewhere are rounded."""


def pmf(name: str, value: Any, *, ndim: int = 1) -> jax.Array:
    """The value as a pmf (or a joint pmf): non-negative, summing to one, rescaled to do so exactly.

    How far the sum may lie from one is said in `_sum_tolerance`.
    """
    value = numbers(name, value)
    array = interval(name, value, low=0.0, ndim=ndim)
    if array.size == 0:
        raise ValueError(f"{name} must have at least one letter, got shape {array.shape}")
    if is_traced(array):
        return array / jnp.sum(array)
    total = float(np.sum(np.asarray(array)))
    if not abs(total - 1.0) <= _sum_tolerance(value.dtype, array.size):
        raise ValueError(f"{name} must sum to one, got a sum of {total!r}")
    return jnp.asarray(np.asarray(array) / total, float)


def distortions(
    value: Any, masses: Any, *, letter: str = "source letter", all_finite: bool = False
) -> jax.Array:
    """The argument distortions: at least 0, one row a letter; a letter with mass keeps a finite one."""
    array = interval("distortions", value, low=0.0, open_high=all_finite, ndim=2)
    if array.shape[0] != masses.shape[0] or array.shape[1] == 0:
        raise ValueError(
            f"distortions must have one row a {letter} and at least one column, "
            f"shape ({masses.shape[0]}, |U|), got {array.shape}"
        )
    if not is_traced(array, masses):
        lost = np.isinf(np.asarray(array)).all(axis=1) & (np.asarray(masses) > 0)
        if lost.any():
            raise ValueError(
                f"distortions must leave every {letter} a finite one, got only inf in row "
                f"{int(np.argmax(lost))}"
            )
    return array


def sided_joint(value: Any, compress: Any, *, along: str) -> jax.Array:
    """A joint pmf with the compressed letter along its "rows" or "columns".

    Libraries differ in which letter of a joint pmf they compress, and no check of shapes can find a
    swap in a square table: so the caller names the side.
    """
    if not isinstance(compress, str) or compress not in ("rows", "columns"):
        raise ValueError(
            'compress must be "rows" or "columns", the side of joint whose letter is compressed, '
            f"got {compress!r}"
        )
    joint = pmf("joint", value, ndim=2)
    if compress == along:
        return joint
    return joint.T if is_traced(joint) else jnp.asarray(np.asarray(joint).T)


def channel(name: str, value: Any, *, ndim: int = 2) -> jax.Array:
    """The value as a channel: non-negative rows along the last axis, each rescaled to sum to one.

    How far a sum may lie from one is said in `_sum_tolerance`.
    """
    value = numbers(name, value)
    array = interval(name, value, low=0.0, ndim=ndim)
    if array.shape[-1] == 0:
        raise ValueError(f"{name} must have at least one letter a row, got shape {array.shape}")
    if is_traced(array):
        return array / jnp.sum(array, axis=-1, keepdims=True)
    sums = np.sum(np.asarray(array), axis=-1)
    wrong = ~(np.abs(sums - 1.0) <= _sum_tolerance(value.dtype, array.shape[-1]))
    if wrong.any():
        raise ValueError(
            f"{name} must have rows that sum to one, got a sum of {offending(sums, wrong)}"
        )
    return jnp.asarray(np.asarray(array) / sums[..., None], float)


def _sum_tolerance(dtype: Any, entries: int) -> float:
    """How far the sum of so many probabilities may lie from one.

    1e-9. For floats of 32 bits or fewer, if that is more: the rounding of their type (half the
    distance from 1 to the next number) times the number of entries, which is the most that summing
    in that type can lose; but never more than 1 %, for a sum farther off is an error and not
    rounding.
    """
    if not (jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits <= 32):
        return PROBABILITY_SUM_TOLERANCE
    rounding = float(jnp.finfo(dtype).eps) / 2 * entries
    return max(PROBABILITY_SUM_TOLERANCE, min(rounding, 0.01))
