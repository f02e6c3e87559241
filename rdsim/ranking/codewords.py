r"""The rank distribution when every item is stored as one of K descriptions: exact, query by query.

$$E\,\rho(\text{rank} \mid a, e), \quad
a = \sum_{u: s_u > s_t} q_u,\quad e = \sum_{u: s_u = s_t} q_u,$$

with t the target's description and q the distribution of a competitor's. Items with one description
tie (C1). Only the masses above and beside the target are summed, all of one sign: a keeps its
relative accuracy however small it is, with no sorting.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rdsim import validation
from rdsim.information import at_most_one, information_density
from rdsim.number_types import ArrayLike
from rdsim.ranking.loss import Loss, RankLoss, parse_loss
from rdsim.ranking.rank_distribution import (
    expected_loss_kernel,
    log_probability,
    weighted_loss,
)
from rdsim.ranking.score_order import dense_ranks, target_score
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
        loss: the rank loss, a `Loss`.
        scores: s(x,u), shape (|X|, |U|), higher is better; by default the information density,
            which is optimal.

    Returns:
        Loss in [0, 1], shape of log2_size.

    """
    parsed = parse_loss(loss)
    joint = validation.pmf("joint", joint, ndim=2)
    size = validation.log2_size(log2_size)
    if scores is None:
        scores = information_density(joint)
    scores = validation.real_array("scores", scores, ndim=2)
    if scores.shape != joint.shape:
        raise ValueError(f"scores must have the shape {joint.shape} of joint, got {scores.shape}")
    return _scored_loss(joint, scores, size, parsed)


@not_differentiable(log2_size=M_IS_AN_INTEGER)
@validation.needs_float64
def codeword_loss(
    scores: ArrayLike, target: ArrayLike, competitor: ArrayLike, log2_size: ArrayLike, loss: Loss
) -> Float[Array, "..."]:
    r"""Compute the expected rank loss of queries whose targets are stored as codewords.

    The formula is the one above, for the target's own codeword t.

    Args:
        scores: s_u of every codeword for each query, higher is better, shape (..., K); -inf is the
            lowest score and ties with itself.
        target: index of the target's codeword, integers in [0, K), shape (...).
        competitor: q, the distribution of a competitor's codeword, shape (K,).
        log2_size: log2 M >= 1, shape (sizes...).
        loss: the rank loss, a `Loss`.

    Returns:
        Loss in [0, 1] of each query at each size, shape (..., sizes...). Averages are the caller's.

    """
    parsed = parse_loss(loss)
    mass = validation.pmf("competitor", competitor)
    table = _codeword_scores(scores, mass.size)
    index = _codeword_index(target, mass.size)
    if index.shape != table.shape[:-1]:
        raise ValueError(
            f"target must have the shape {table.shape[:-1]} of the queries, got {index.shape}"
        )
    size = validation.log2_size(log2_size)
    return _codeword_loss(table, index, mass, size, parsed)


def check_sample(
    scores: ArrayLike, target: ArrayLike, competitor: ArrayLike
) -> tuple[Float[Array, "n m k"], Int[Array, "..."], Float[Array, " k"]]:
    """Check a sample of multimodal queries: finite scores, their targets, a competitor's masses.

    The shapes of scores and targets are compared by the caller, whose message names all it compares.
    """
    mass = validation.pmf("competitor", competitor)
    table = _codeword_scores(scores, mass.size)
    table = validation.interval("scores", table, open_low=True, ndim=3)
    return table, _codeword_index(target, mass.size), mass


def log_masses(
    scores: Float[Array, "... k"] | Int[Array, "... k"],
    own: Float[Array, "... t"] | Int[Array, "... t"],
    competitor: Float[Array, " k"],
) -> tuple[Float[Array, "... t"], Float[Array, "... t"]]:
    """Sum the masses above and beside each target: ln a and ln e, as `expected_loss` takes them.

    Args:
        scores: of a competitor's K descriptions, for each query; their `dense_ranks` where they are
            computed in the same compiled program.
        own: scores of the targets of each query.
        competitor: probability of each description.

    """
    others, own = scores[..., None, :], own[..., None]
    above = jnp.sum(jnp.where(others > own, competitor, 0.0), axis=-1)
    beside = jnp.sum(jnp.where(others == own, competitor, 0.0), axis=-1)
    return log_probability(above), log_probability(beside)


def stored_losses(
    scores: Float[Array, "x u"],
    competitor: Float[Array, " u"],
    log2_size: Float[Array, ""],
    loss: RankLoss,
) -> Float[Array, "x u"]:
    """Compute the expected loss of every query and description of its target, inside compiled code."""
    ranks = dense_ranks(scores)
    return expected_loss_kernel(*log_masses(ranks, ranks, competitor), log2_size, loss)


def relative_to_target(
    scores: Float[Array, "n m k"], target: Int[Array, " n"]
) -> Float[Array, "n m k"]:
    """Subtract from each modality's scores that of the target: what all codewords share ranks none."""
    return scores - jnp.take_along_axis(scores, target[:, None, None], axis=-1)


def _codeword_scores(value: ArrayLike, codewords: int) -> Float[Array, "... k"]:
    table = validation.interval("scores", value, open_high=True)
    if table.ndim == 0 or table.shape[-1] != codewords:
        raise ValueError(
            f"scores must have one score for each of {codewords} codewords last, "
            f"got shape {table.shape}"
        )
    return table


def _codeword_index(value: ArrayLike, codewords: int) -> Int[Array, "..."]:
    array = validation.integer_array("target", value)
    validation.interval("target", array, low=0.0, high=codewords - 1.0)
    return jnp.asarray(array)


@partial(jax.jit, static_argnames="loss")
def _scored_loss(
    joint: Float[Array, "x u"],
    scores: Float[Array, "x u"],
    log2_size: Float[Array, "..."],
    loss: RankLoss,
) -> Float[Array, "..."]:
    ranks = dense_ranks(scores)
    log_a, log_e = log_masses(ranks, ranks, joint.sum(axis=0))
    return at_most_one(weighted_loss(joint, log_a, log_e, log2_size, loss))


@partial(jax.jit, static_argnames="loss")
def _codeword_loss(
    scores: Float[Array, "... k"],
    target: Int[Array, "..."],
    competitor: Float[Array, " k"],
    log2_size: Float[Array, "..."],
    loss: RankLoss,
) -> Float[Array, "..."]:
    own, _ = target_score(scores, target)
    log_a, log_e = log_masses(scores, own, competitor)

    def one_size(size: Float[Array, ""]) -> Float[Array, "..."]:
        return expected_loss_kernel(log_a[..., 0], log_e[..., 0], size, loss)

    # One size at a time: a miss at K holds some K numbers for each query and size.
    losses = jax.lax.map(one_size, log2_size.ravel())
    return jnp.moveaxis(losses, 0, -1).reshape(*target.shape, *log2_size.shape)
