r"""Retrieval as an ordinary distortion, once the competitors are fixed (C13).

With competitors of law q0 and scores s(x,u) the rank law (C1) gives each pair of an item letter and
a description a price,

$$d_M(y,u) = \sum_x P(x|y)\, E\,\rho(\text{rank of } (x,u)), \quad
a(x,u) = P_{q_0}[s(x,U) > s(x,u)],\ e(x,u) = P_{q_0}[s(x,U) = s(x,u)],$$

and R(D) for it is the certified problem of `rate_distortion_curve`. In a database that is described by
one channel the competitors are made by that channel too. A fixed point, in which q0 is the channel's
own output marginal and the scores are its own information densities, prices itself: its loss and
its rate I(U;Y) are achieved, so the point lies above every outer bound.

It is an equilibrium and not a minimum: no item gains by another description while the others stay,
but to change all items at once may pay, since an item's description also troubles the others. The
matrix jumps where two scores change order, so that the iteration may cycle, and there may be many
fixed points or none that it finds: nothing is guaranteed, and the residual is reported.
"""

from functools import partial
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from rdsim import validation
from rdsim.information import information_density, mutual_information, safe_log2
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.loss import Loss, RankLoss, parse_loss
from rdsim.ranking.rank_law import expected_loss_kernel, log_chance, reach_of
from rdsim.ranking.score_order import dense_ranks
from rdsim.results import result
from rdsim.transformations import A_STOPPING_RULE, M_IS_AN_INTEGER, not_differentiable

_ITERATED: Final = "an iteration finds the fixed point, of which there may be many"
_TIE: Final = 2.0**-30
"""Bits by which two densities must differ not to be called tied: symmetry must survive rounding."""


@not_differentiable(log2_size=M_IS_AN_INTEGER)
@validation.needs_float64
def retrieval_distortion(
    joint: ArrayLike, scores: ArrayLike, competitor: ArrayLike, log2_size: ArrayLike, loss: Loss
) -> Float[Array, "y u"]:
    r"""Compute the price d_M(y,u) of a description, the competitors' law and the scores fixed.

    Args:
        joint: P(x,y), shape (|X|, |Y|).
        scores: s(x,u), shape (|X|, |U|), higher is better; -inf allowed.
        competitor: q0, law of a competitor's description, shape (|U|,).
        log2_size: log2 M >= 1, a scalar.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".

    Returns:
        Expected losses in [0, 1], shape (|Y|, |U|): a distortion for `rate_distortion_curve`. The row of
        a letter y without mass is zero.

    Raises:
        ValueError: if a law is no pmf, a score is NaN, shapes do not match, the size is below 2, or
            the loss is unknown.

    """
    parsed = parse_loss(loss)
    joint = validation.pmf("joint", joint, ndim=2)
    scores = validation.real_array("scores", scores, ndim=2)
    q = validation.pmf("competitor", competitor)
    size = validation.interval("log2_size", log2_size, low=1.0, high=1e5, ndim=0)
    if scores.shape != (joint.shape[0], q.shape[0]):
        raise ValueError(
            f"scores must have one row a letter of X and one column a description, shape "
            f"({joint.shape[0]}, {q.shape[0]}), got {scores.shape}"
        )
    return _matrix(joint, scores, q, size, parsed, reach_of(size))


@result
class SelfConsistentSchemes:
    r"""Fixed points of the self-consistent iteration, or what it came to, one a start.

    Attributes:
        slope: s, bits per unit of loss.
        channel: P(u|y), shape (S, |Y|, |U|).
        distortion: its expected loss among competitors made by itself, exact, shape (S,).
        rate: its I(U;Y) in bits, shape (S,): with the loss it is an achieved point.
        residual: largest change of an entry P(y,u) in one undamped step, shape (S,); zero at a
            fixed point.
        gap: certified bound, bits, on how far rate + slope * distortion lies above the least for
            the final matrix d_M among channels into its own letters, shape (S,): zero if the
            channel is optimal against itself.
        iterations: steps taken, shape (S,).
        tolerance: residual asked for.

    """

    slope: Float[Array, ""]
    channel: Float[Array, "s y u"]
    distortion: Float[Array, " s"]
    rate: Float[Array, " s"]
    residual: Float[Array, " s"]
    gap: Float[Array, " s"]
    iterations: Int[Array, " s"]
    tolerance: Float[Array, ""]

    @property
    def converged(self) -> Bool[Array, " s"]:
        """Whether the residual is within the tolerance, a start at a time."""
        return self.residual <= self.tolerance


@not_differentiable(
    joint=_ITERATED,
    slope=_ITERATED,
    log2_size=M_IS_AN_INTEGER,
    damping=_ITERATED,
    tolerance=A_STOPPING_RULE,
)
@validation.needs_float64
def self_consistent(
    joint: ArrayLike,
    log2_size: ArrayLike,
    loss: Loss,
    *,
    slope: ArrayLike,
    letters: Any = None,
    starts: Integer = 8,
    key: Key[Array, ""] | None = None,
    damping: ArrayLike = 0.5,
    tolerance: ArrayLike = 1e-9,
    max_iterations: Integer = 2000,
) -> SelfConsistentSchemes:
    r"""Iterate competitors and scores to consistency with the channel they make, from many starts.

    One step: $q_0$ and the densities of the channel give d_M, and the channel becomes
    $Q(u|y) \propto q_0(u)\, 2^{-s d_M(y,u)}$, mixed with the old one. A fixed point satisfies the
    stationarity conditions of `rate_distortion_curve` for its own d_M.

    Args:
        joint: P(x,y), shape (|X|, |Y|).
        log2_size: log2 M >= 1, a scalar.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        slope: s > 0, bits per unit of loss.
        letters: |U|, by default |Y| + 1.
        starts: channels to start from, at least 1: the stored letter, then random ones, with an
            alphabet of two letters first and growing to |U|.
        key: for the random starts; `jax.random.key(0)` if none, so that results can be had again.
        damping: share of the old channel that is kept in a step, in [0, 1).
        tolerance: residual at which a start stops.
        max_iterations: steps at most.

    Returns:
        One scheme a start. Whether converged or not, distortion and rate belong to the returned
        channel and are achieved.

    Raises:
        ValueError: if an argument lies outside its range; the message names it.
        TypeError: if a count is not an integer, or the key not a typed key.

    """
    parsed = parse_loss(loss)
    joint = validation.pmf("joint", joint, ndim=2)
    steepness = validation.interval(
        "slope", slope, low=0.0, high=np.inf, open_low=True, open_high=True, ndim=0
    )
    size = validation.interval("log2_size", log2_size, low=1.0, high=1e5, ndim=0)
    width = joint.shape[1] + 1 if letters is None else letters
    width = validation.integer("letters", width, low=2)
    count = validation.integer("starts", starts, low=1)
    key = jax.random.key(0) if key is None else validation.prng_key("key", key)
    kept = validation.interval("damping", damping, low=0.0, high=1.0, open_high=True, ndim=0)
    target = validation.tolerance(tolerance)
    most = validation.integer("max_iterations", max_iterations, low=1)
    start = _starts(joint.shape[1], width, count, key)
    channel, residual, gap, iterations = _iterate(
        joint, start, steepness, size, kept, target, most, parsed, reach_of(size)
    )
    py = joint.sum(axis=0)
    d = jax.vmap(lambda Q: _own_matrix(joint, Q, size, parsed, reach_of(size)))(channel)
    return SelfConsistentSchemes(
        slope=steepness,
        channel=channel,
        distortion=jnp.sum(py[:, None] * channel * d, axis=(1, 2)),
        rate=jnp.maximum(jax.vmap(mutual_information)(py[:, None] * channel), 0.0),
        residual=residual,
        gap=gap,
        iterations=iterations,
        tolerance=target,
    )


def _starts(rows: int, width: int, count: int, key: Key[Array, ""]) -> Float[Array, "s y u"]:
    """The stored letter (folded if U is smaller), slightly noisy, then random channels."""
    stored = jax.nn.one_hot(jnp.arange(rows) % width, width, dtype=float)
    stored = 0.98 * stored + 0.02 / width
    random = jax.random.dirichlet(key, jnp.ones(width), (count - 1, rows))
    used = 2 + jnp.arange(count - 1) % (width - 1)
    random = jnp.where(jnp.arange(width) < used[:, None, None], random, 0.0)
    return jnp.concatenate([stored[None], random / random.sum(axis=2, keepdims=True)])


@partial(jax.jit, static_argnames=("loss", "reach"))
def _matrix(
    joint: Float[Array, "x y"],
    scores: Float[Array, "x u"],
    q: Float[Array, " u"],
    log2_size: Float[Array, ""],
    loss: RankLoss,
    reach: int,
) -> Float[Array, "y u"]:
    def log_chances(row: Int[Array, " u"]) -> tuple[Array, Array]:
        better = jnp.sum(jnp.where(row[None] > row[:, None], q, 0.0), axis=1)
        tied = jnp.sum(jnp.where(row[None] == row[:, None], q, 0.0), axis=1)
        return log_chance(better), log_chance(tied)

    log_a, log_e = jax.vmap(log_chances)(dense_ranks(scores))
    price = expected_loss_kernel(log_a, log_e, log2_size, loss, reach)
    py = joint.sum(axis=0)
    return (joint / jnp.where(py > 0, py, 1.0)).T @ price


def _own_matrix(
    joint: Float[Array, "x y"],
    channel: Float[Array, "y u"],
    log2_size: Float[Array, ""],
    loss: RankLoss,
    reach: int,
) -> Float[Array, "y u"]:
    """The matrix of a channel that makes its own competitors and scores."""
    through = joint @ channel
    density = information_density(through)
    scores = jnp.where(jnp.isinf(density), density, jnp.round(density / _TIE) * _TIE)
    return _matrix(joint, scores, through.sum(axis=0), log2_size, loss, reach)


@partial(jax.jit, static_argnames=("loss", "reach"))
def _iterate(
    joint: Float[Array, "x y"],
    start: Float[Array, "s y u"],
    slope: Float[Array, ""],
    log2_size: Float[Array, ""],
    damping: Float[Array, ""],
    tolerance: Float[Array, ""],
    most: int | Array,
    loss: RankLoss,
    reach: int,
) -> tuple[Array, Array, Array, Array]:
    py = joint.sum(axis=0)

    def answer(channel: Float[Array, "y u"]) -> tuple[Array, Array, Array]:
        """The channel's best answer to itself, how far it moves, and the certificate of C5."""
        d = _own_matrix(joint, channel, log2_size, loss, reach)
        q = py @ channel
        kernel = jnp.exp2(-slope * d)
        Z = kernel @ q
        new = q * kernel / Z[:, None]
        residual = jnp.max(py[:, None] * jnp.abs(new - channel))
        # Lagrangian of the channel itself against the dual bound -sum p log2 Z - log2 max c.
        cost = jnp.sum(py[:, None] * channel * (safe_log2(channel) - safe_log2(q) + slope * d))
        largest = jnp.max(jnp.where(q > 0, (py / Z) @ kernel, 0.0))
        gap = cost + jnp.sum(py * jnp.log2(Z)) + jnp.log2(largest)
        return new, residual, jnp.maximum(gap, 0.0)

    def one(channel: Float[Array, "y u"]) -> tuple[Array, Array, Array, Array]:
        def unfinished(state: tuple[Array, ...]) -> Array:
            return (state[2] > tolerance) & (state[4] <= most)

        def step(state: tuple[Array, ...]) -> tuple[Array, ...]:
            channel, new, _, _, steps = state
            mixed = damping * channel + (1 - damping) * new
            return mixed, *answer(mixed), steps + 1

        # The first step mixes the start with itself: the loop holds the only copy of `answer`.
        unknown = jnp.array(jnp.inf)
        begin: tuple[Array, ...] = (channel, channel, unknown, unknown, jnp.array(0))
        channel, _, residual, gap, steps = jax.lax.while_loop(unfinished, step, begin)
        return channel, residual, gap, steps - 1

    return jax.lax.map(one, start)
