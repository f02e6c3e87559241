"""Discrete joint sources: any table P(X,Y), and the doubly symmetric binary source."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from rdsim import validation


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class DiscreteSource:
    """A joint law of X in {0..|X|-1} (query) and Y in {0..|Y|-1} (database item).

    A PyTree with the table as its only leaf, so sources pass through jit and stack under vmap.

    Attributes:
        joint: P(X,Y), shape (|X|, |Y|), rows x and columns y, summing to one.

    """

    # JAX rebuilds a tree with other leaves (batched arrays, shapes, axes): no checks in __init__.
    __no_type_check__ = True

    joint: Float[Array, "x y"]

    @property
    def px(self) -> Float[Array, " x"]:
        """Marginal of the query letter, shape (|X|,)."""
        return self.joint.sum(axis=-1)

    @property
    def py(self) -> Float[Array, " y"]:
        """Marginal of the database letter, shape (|Y|,)."""
        return self.joint.sum(axis=-2)

    def sample(
        self, key: Key[Array, ""], shape: tuple[int, ...] = ()
    ) -> tuple[Int[Array, "..."], Int[Array, "..."]]:
        """Independent pairs (x, y) drawn from the joint law.

        Args:
            key: PRNG key; the pairs depend on it and on the shape alone.
            shape: shape of each of the two results.

        Returns:
            Letters x and y, two int32 arrays of the given shape.

        Raises:
            TypeError: if the key is not a typed key.

        """
        validation.prng_key("key", key)
        return _sample(key, self.joint, tuple(shape))


@jax.jit(static_argnames="shape")
def _sample(
    key: Key[Array, ""], joint: Float[Array, "x y"], shape: tuple[int, ...]
) -> tuple[Int[Array, "..."], Int[Array, "..."]]:
    """Inverse-transform sampling on the flattened table; letters without mass are never drawn."""
    cumulative = jnp.cumsum(joint.ravel())
    point = jax.random.uniform(key, shape, joint.dtype) * cumulative[-1]
    cell = jnp.searchsorted(cumulative, point, side="right")
    # Rounding can put a point on the very end of the table: the last cell with mass is meant.
    last = joint.size - 1 - jnp.argmax(joint.ravel()[::-1] > 0)
    cell = jnp.minimum(cell, last).astype(jnp.int32)
    return cell // joint.shape[1], cell % joint.shape[1]


def discrete(joint: Any) -> DiscreteSource:
    r"""A source from its table $P(x,y)$.

    Args:
        joint: shape (|X|, |Y|), rows x (query), columns y (database); non-negative, sum one.

    Returns:
        The source. The table is rescaled so that it sums to one to the last digit.

    Raises:
        ValueError: if the table is not two-dimensional, has a negative or NaN entry, or does not
            sum to one within 1e-9; the message names the entry.

    """
    return DiscreteSource(joint=validation.pmf("joint", joint, ndim=2))


def dsbs(crossover: Any) -> DiscreteSource:
    r"""The doubly symmetric binary source: Y a fair coin, X = Y flipped with probability p.

    $$P(x,y) = \tfrac12 (1-p) \text{ if } x = y, \quad \tfrac12 p \text{ if } x \ne y.$$

    Args:
        crossover: p in [0, 1], a scalar.

    Returns:
        The source, |X| = |Y| = 2.

    Raises:
        ValueError: if the crossover lies outside [0, 1] or is not a scalar.

    """
    p = validation.interval("crossover", crossover, low=0.0, high=1.0, ndim=0)
    return DiscreteSource(joint=0.5 * jnp.stack([jnp.stack([1 - p, p]), jnp.stack([p, 1 - p])]))
