"""The order of scores as integers, so that every comparison of them in one program agrees."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def dense_ranks(scores: Float[Array, "... u"]) -> Int[Array, "... u"]:
    """Number the distinct scores along the last axis from the least, 0, upwards; ties share a number.

    Scores must not be compared directly in a compiled program that also computes them. XLA fuses, and may
    compute a score anew for each comparison, with sums in another order: a score then differs from
    itself in its last digit, no pair is tied, and the loss of a codeword lacks that it ties with
    itself. Its error is of the order of the loss (XLA's older code generator for CPUs does so). A sort is
    never fused: each score is computed once, written down, and what follows are integers.

    Args:
        scores: shape (..., U), -inf and inf allowed, no NaN.

    Returns:
        Integers with the order and the ties of the scores, shape (..., U); no derivative.

    """
    scores = jax.lax.stop_gradient(scores)
    places = jax.lax.broadcasted_iota(jnp.int32, scores.shape, scores.ndim - 1)
    ascending, origin = jax.lax.sort((scores, places), num_keys=1)
    first = jnp.zeros_like(places[..., :1])
    rises = (ascending[..., 1:] != ascending[..., :-1]).astype(jnp.int32)
    ranks = jnp.cumsum(jnp.concatenate([first, rises], axis=-1), axis=-1)
    return jax.lax.sort((origin, ranks), num_keys=1)[1]


def target_score(
    scores: Float[Array, "... k"], target: Int[Array, "..."]
) -> tuple[Float[Array, "... 1"], Bool[Array, "... k"]]:
    """Return the score of each query's target, and a mask of its place.

    Inside a caller's `jax.jit`, XLA may compute the scores once for each of their uses. Those of a gather
    (scalar code) and those of a comparison (vector code, with fused multiplication and addition) then
    differ in the last digit, and the target would be ahead of itself. A maximum over scores of which
    all but one are masked reads them as the comparison does.
    """
    is_target = jnp.arange(scores.shape[-1]) == target[..., None]
    return jnp.max(jnp.where(is_target, scores, -jnp.inf), axis=-1, keepdims=True), is_target
