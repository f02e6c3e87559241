"""The rank law when every item is stored as one of K codewords: exact, query by query."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rdsim import validation
from rdsim.number_types import ArrayLike
from rdsim.ranking.loss import Loss, RankLoss, parse_loss
from rdsim.ranking.rank_law import expected_loss_kernel, log_chance, reach_of
from rdsim.transformations import M_IS_AN_INTEGER, not_differentiable


@not_differentiable(log2_size=M_IS_AN_INTEGER)
@validation.needs_float64
def codeword_loss(
    scores: ArrayLike, target: ArrayLike, competitor: ArrayLike, log2_size: ArrayLike, loss: Loss
) -> Float[Array, "..."]:
    r"""Compute the expected rank loss of queries whose targets are stored as codewords.

    $$E\,\rho(\text{rank} \mid a, e), \quad
    a = \sum_{u: s_u > s_t} q_u,\quad e = \sum_{u: s_u = s_t} q_u,$$

    t the target's codeword, q the law of a competitor's. Items with one codeword are ties (C1). Only
    the masses above and beside the target are summed, all of one sign: a keeps its relative
    accuracy however small it is, with no sorting.

    Args:
        scores: s_u of every codeword for each query, higher is better, shape (..., K); -inf is the
            lowest score and ties with itself.
        target: index of the target's codeword, integers in [0, K), shape (...).
        competitor: q, the pmf of a competitor's codeword, shape (K,).
        log2_size: log2 M >= 1, shape (sizes...).
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".

    Returns:
        Loss in [0, 1] of each query at each size, shape (..., sizes...). Averages are the caller's.

    Raises:
        ValueError: if the scores hold NaN or +inf, a target is out of range, the shapes do not fit,
            the competitor is not a pmf, a size is below 2, or the loss is unknown.
        TypeError: if the targets are not integers.

    """
    parsed = parse_loss(loss)
    mass = validation.pmf("competitor", competitor)
    table = codeword_scores("scores", scores, mass.size)
    index = codeword_index("target", target, mass.size)
    if index.shape != table.shape[:-1]:
        raise ValueError(
            f"target must have the shape {table.shape[:-1]} of the queries, got {index.shape}"
        )
    size = validation.log2_size(log2_size)
    return _codeword_loss(table, index, mass, size, parsed, reach_of(size))


def codeword_scores(name: str, value: Any, codewords: int) -> Float[Array, "... k"]:
    """Check scores of codewords: numbers or -inf, one for each of the codewords last.

    Raises:
        ValueError: naming the argument, if they are not.

    """
    table = validation.interval(name, value, open_high=True)
    if table.ndim == 0 or table.shape[-1] != codewords:
        raise ValueError(
            f"{name} must have one score for each of {codewords} codewords last, "
            f"got shape {table.shape}"
        )
    return table


def codeword_index(name: str, value: Any, codewords: int) -> Int[Array, "..."]:
    """Check indices of codewords.

    Raises:
        ValueError: naming the argument, if one is out of range.
        TypeError: if they are not integers.

    """
    array = validation.integer_array(name, value)
    validation.interval(name, array, low=0.0, high=codewords - 1.0)
    return jnp.asarray(array)


def above_target(scores: Float[Array, "n m k"], target: Int[Array, " n"]) -> Float[Array, "n m k"]:
    """Each modality's scores less its target's: what is common to all codewords ranks none."""
    return scores - jnp.take_along_axis(scores, target[:, None, None], axis=-1)


@partial(jax.jit, static_argnames=("loss", "reach"))
def _codeword_loss(
    scores: Float[Array, "... k"],
    target: Int[Array, "..."],
    competitor: Float[Array, " k"],
    log2_size: Float[Array, "..."],
    loss: RankLoss,
    reach: int,
) -> Float[Array, "..."]:
    own = jnp.take_along_axis(scores, target[..., None], axis=-1)
    better = jnp.sum(jnp.where(scores > own, competitor, 0.0), axis=-1)
    tied = jnp.sum(jnp.where(scores == own, competitor, 0.0), axis=-1)
    log_a, log_e = log_chance(better), log_chance(tied)

    def one_size(size: Float[Array, ""]) -> Float[Array, "..."]:
        return expected_loss_kernel(log_a, log_e, size, loss, reach)

    # One size at a time: a miss at K holds some K numbers for each query and size.
    losses = jax.lax.map(one_size, log2_size.ravel())
    return jnp.moveaxis(losses, 0, -1).reshape(*target.shape, *log2_size.shape)
