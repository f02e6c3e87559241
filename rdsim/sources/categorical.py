"""One draw of a letter from its probabilities: the distribution function, inverted at a uniform number."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def draw_categorical(
    weights: Float[Array, "... k"], uniform: Float[Array, "..."]
) -> Int[Array, "..."]:
    r"""Draw letter k with probability $w_k / \sum_j w_j$, the first whose cumulative sum exceeds the point.

    Args:
        weights: w >= 0, not all zero, along the last axis; they need not sum to one.
        uniform: numbers in [0, 1), one a draw; its shape broadcasts with the leading shape of weights.

    Returns:
        Letters, int32; one without weight is never drawn.

    """
    return invert(*cumulative_weights(weights), uniform)


def cumulative_weights(
    weights: Float[Array, "... k"],
) -> tuple[Float[Array, "... k"], Int[Array, "..."]]:
    """Cumulative sums along the last axis, and the last letter that has weight.

    They are flat over letters without weight, in whatever order a compiler sums.
    """
    summed = jnp.where(weights > 0, jnp.cumsum(weights, axis=-1), 0.0)
    last = weights.shape[-1] - 1 - jnp.argmax(weights[..., ::-1] > 0, axis=-1)
    return jax.lax.cummax(summed, axis=weights.ndim - 1), last


def invert(
    cumulative: Float[Array, "... k"], last: Int[Array, "..."], uniform: Float[Array, "..."]
) -> Int[Array, "..."]:
    """Find the letters at uniform numbers, from what `cumulative_weights` returns."""
    point = uniform * cumulative[..., -1]
    letter = jnp.sum(cumulative <= point[..., None], axis=-1)
    # Rounding can put a point on the very end of the sums: the last letter with weight is meant.
    return jnp.minimum(letter, last).astype(jnp.int32)
