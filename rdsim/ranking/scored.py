"""The rank law of a discrete joint law and any score: what a stored description is worth."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rdsim import validation
from rdsim.information import at_most_one, information_density
from rdsim.number_types import ArrayLike
from rdsim.ranking.loss import Loss, RankLoss, parse_loss
from rdsim.ranking.rank_law import expected_loss_kernel, log_chance, reach_of
from rdsim.ranking.score_order import dense_ranks
from rdsim.transformations import M_IS_AN_INTEGER, not_differentiable


@not_differentiable(log2_size=M_IS_AN_INTEGER)
@validation.needs_float64
def scored_loss(
    joint: ArrayLike, log2_size: ArrayLike, loss: Loss, *, scores: ArrayLike | None = None
) -> Float[Array, "..."]:
    r"""Compute the expected rank loss of queries X against descriptions U of M items, exactly.

    $$\sum_{x,u} P(x,u)\, E\,\rho(\text{rank} \mid a(x,u), e(x,u)), \quad
    a = P_U[s(x,U) > s(x,u)],\ e = P_U[s(x,U) = s(x,u)].$$

    Args:
        joint: P(x,u) of query and stored description, shape (|X|, |U|).
        log2_size: log2 M >= 1, any shape.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        scores: s(x,u), shape (|X|, |U|), higher is better; by default the information density,
            which is optimal.

    Returns:
        Loss in [0, 1], shape of log2_size.

    Raises:
        ValueError: if the joint is not a pmf, the scores are NaN or of another shape, a size is
            below 2, or the loss is unknown.

    """
    parsed = parse_loss(loss)
    joint = validation.pmf("joint", joint, ndim=2)
    size = validation.log2_size(log2_size)
    if scores is None:
        scores = information_density(joint)
    scores = validation.real_array("scores", scores, ndim=2)
    if scores.shape != joint.shape:
        raise ValueError(f"scores must have the shape {joint.shape} of joint, got {scores.shape}")
    return _scored_loss(joint, scores, size, parsed, reach_of(size))


@partial(jax.jit, static_argnames=("loss", "reach"))
def _scored_loss(
    joint: Float[Array, "x u"],
    scores: Float[Array, "x u"],
    log2_size: Float[Array, "..."],
    loss: RankLoss,
    reach: int,
) -> Float[Array, "..."]:
    def log_chances(row: Int[Array, " u"]) -> tuple[Array, Array]:
        """Ln a and ln e of every description for one query."""
        competitor = joint.sum(axis=0)
        better = jnp.sum(jnp.where(row[None] > row[:, None], competitor, 0.0), axis=1)
        tied = jnp.sum(jnp.where(row[None] == row[:, None], competitor, 0.0), axis=1)
        return log_chance(better), log_chance(tied)

    log_a, log_e = jax.vmap(log_chances)(dense_ranks(scores))

    def one_size(size: Float[Array, ""]) -> Float[Array, ""]:
        return at_most_one(jnp.sum(joint * expected_loss_kernel(log_a, log_e, size, loss, reach)))

    return jax.lax.map(one_size, log2_size.ravel()).reshape(log2_size.shape)
