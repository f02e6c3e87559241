r"""Retrieval as an ordinary distortion, once the competitors are fixed (C13).

With competitors of distribution q0 and scores s(x,u) the rank distribution (C1) gives each pair of an
item letter and a description a cost,

$$d_M(y,u) = \sum_x P(x|y)\, E\,\rho(\text{rank of } (x,u)), \quad
a(x,u) = P_{q_0}[s(x,U) > s(x,u)],\ e(x,u) = P_{q_0}[s(x,U) = s(x,u)],$$

and R(D) for it is the certified problem of `rate_distortion_curve`. In a database that is described by
one channel the competitors are made by that channel too. At a fixed point, where q0 is the channel's
own output marginal and the scores are its own information densities, the channel determines its own
costs: its loss and its rate I(U;Y) are achieved, so that the point lies above every lower bound.

It is an equilibrium and not a minimum: no item gains by another description while the others stay the
same, but a change of all items at once may gain, since changing one item's description changes the
competitors of the others. The matrix jumps where two scores change order, so that the iteration may
cycle, and there may be many fixed points or none that it finds: nothing is guaranteed, and the residual
is reported.
"""

from functools import partial
from typing import Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from rdsim import validation
from rdsim.information import information_density, mutual_information, safe_log2
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.codewords import stored_losses
from rdsim.ranking.loss import Loss, RankLoss, parse_loss
from rdsim.results import result
from rdsim.transformations import A_STOPPING_RULE, M_IS_AN_INTEGER, not_differentiable

_ITERATED: Final = "an iteration finds the fixed point, of which there may be many"
_TIE_BITS: Final = 2.0**-30
"""Unit to which densities are rounded, so that those equal by symmetry tie in float64."""


@not_differentiable(log2_size=M_IS_AN_INTEGER)
@validation.needs_float64
def retrieval_distortion(
    joint: ArrayLike, scores: ArrayLike, competitor: ArrayLike, log2_size: ArrayLike, loss: Loss
) -> Float[Array, "y u"]:
    r"""Compute the cost d_M(y,u) of a description, the competitors' distribution and the scores fixed.

    Args:
        joint: P(x,y), shape (|X|, |Y|).
        scores: s(x,u), shape (|X|, |U|), higher is better; -inf allowed.
        competitor: q0, distribution of a competitor's description, shape (|U|,).
        log2_size: log2 M >= 1, a scalar.
        loss: the rank loss, a `rdsim.ranking.Loss`.

    Returns:
        Expected losses in [0, 1], shape (|Y|, |U|): a distortion for `rate_distortion_curve`. The row of
        a letter y without mass is zero.

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
    return _costs(joint, scores, q, size, parsed)


@result
class SelfConsistentSchemes:
    r"""Fixed points of the self-consistent iteration, or where it stopped, one a start.

    Attributes:
        slope: s, bits per unit of loss.
        channel: P(u|y), shape (S, |Y|, |U|).
        distortion: its expected loss among competitors made by itself, exact, shape (S,).
        rate: its I(U;Y) in bits, shape (S,): with the loss it is an achieved point.
        residual: largest change of an entry P(y,u) in one undamped step, shape (S,); zero at a
            fixed point.
        suboptimality: certified bound, bits, on the excess of rate + slope * distortion over the least
            for the final matrix d_M among channels into its own letters, shape (S,): zero if the
            channel is optimal against itself.
        iterations: steps taken, shape (S,).
        tolerance: residual asked for.

    """

    slope: Float[Array, ""]
    channel: Float[Array, "s y u"]
    distortion: Float[Array, " s"]
    rate: Float[Array, " s"]
    residual: Float[Array, " s"]
    suboptimality: Float[Array, " s"]
    iterations: Int[Array, " s"]
    tolerance: Float[Array, ""]

    @property
    def converged(self) -> Bool[Array, " s"]:
        """Whether the residual is within the tolerance, for each start."""
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
    key: Key[Array, ""],
    joint: ArrayLike,
    log2_size: ArrayLike,
    loss: Loss,
    *,
    slope: ArrayLike,
    letters: Integer | None = None,
    starts: Integer = 8,
    damping: ArrayLike = 0.5,
    tolerance: ArrayLike = 1e-9,
    max_iterations: Integer = 2000,
) -> SelfConsistentSchemes:
    r"""Iterate competitors and scores to consistency with the channel they make, from many starts.

    One step: $q_0$ and the densities of the channel give d_M, and the channel becomes
    $Q(u|y) \propto q_0(u)\, 2^{-s d_M(y,u)}$, mixed with the old one. A fixed point satisfies the
    stationarity conditions of `rate_distortion_curve` for its own d_M.

    Args:
        key: PRNG key of the random starts.
        joint: P(x,y), shape (|X|, |Y|).
        log2_size: log2 M >= 1, a scalar.
        loss: the rank loss, a `rdsim.ranking.Loss`.
        slope: s > 0, bits per unit of loss.
        letters: |U|, by default |Y| + 1.
        starts: channels to start from, at least 1: the stored letter, then random ones, with an
            alphabet of two letters first and growing to |U|.
        damping: weight of the old channel in a step, in [0, 1).
        tolerance: residual at which the iteration from a start stops.
        max_iterations: most steps from each start.

    Returns:
        One scheme a start. Whether converged or not, distortion and rate belong to the returned
        channel and are achieved.

    """
    validation.prng_key("key", key)
    parsed = parse_loss(loss)
    joint = validation.pmf("joint", joint, ndim=2)
    steepness = validation.positive("slope", slope, ndim=0)
    size = validation.interval("log2_size", log2_size, low=1.0, high=1e5, ndim=0)
    width = joint.shape[1] + 1 if letters is None else letters
    width = validation.integer("letters", width, low=2)
    count = validation.integer("starts", starts, low=1)
    weight = validation.interval("damping", damping, low=0.0, high=1.0, open_high=True, ndim=0)
    target = validation.tolerance(tolerance)
    most = validation.integer("max_iterations", max_iterations, low=1)
    start = _channel_starts(key, joint.shape[1], width, count)
    channel, residual, suboptimality, iterations = _iterated_channels(
        joint, start, steepness, size, weight, target, most, parsed
    )
    py = joint.sum(axis=0)
    d = jax.vmap(lambda Q: _own_costs(joint, Q, size, parsed))(channel)
    return SelfConsistentSchemes(
        slope=steepness,
        channel=channel,
        distortion=jnp.sum(py[:, None] * channel * d, axis=(1, 2)),
        rate=jnp.maximum(jax.vmap(mutual_information)(py[:, None] * channel), 0.0),
        residual=residual,
        suboptimality=suboptimality,
        iterations=iterations,
        tolerance=target,
    )


def _channel_starts(
    key: Key[Array, ""], rows: int, width: int, count: int
) -> Float[Array, "s y u"]:
    """The stored letter (modulo |U| if that is smaller), slightly noisy, then random channels."""
    stored = jax.nn.one_hot(jnp.arange(rows) % width, width, dtype=float)
    stored = 0.98 * stored + 0.02 / width
    random = jax.random.dirichlet(key, jnp.ones(width), (count - 1, rows))
    # A letter without mass never gains any, so that starts of few letters find fixed points of
    # few.
    used = 2 + jnp.arange(count - 1) % (width - 1)
    random = jnp.where(jnp.arange(width) < used[:, None, None], random, 0.0)
    return jnp.concatenate([stored[None], random / random.sum(axis=2, keepdims=True)])


@partial(jax.jit, static_argnames="loss")
def _costs(
    joint: Float[Array, "x y"],
    scores: Float[Array, "x u"],
    q: Float[Array, " u"],
    log2_size: Float[Array, ""],
    loss: RankLoss,
) -> Float[Array, "y u"]:
    """The matrix d_M: the losses of each query and description, averaged over the queries of an item."""
    py = joint.sum(axis=0)
    given = stored_losses(scores, q, log2_size, loss)
    return (joint / jnp.where(py > 0, py, 1.0)).T @ given


def _own_costs(
    joint: Float[Array, "x y"],
    channel: Float[Array, "y u"],
    log2_size: Float[Array, ""],
    loss: RankLoss,
) -> Float[Array, "y u"]:
    """The matrix d_M of a channel that makes its own competitors and scores."""
    through = joint @ channel
    density = information_density(through)
    scores = jnp.where(jnp.isinf(density), density, jnp.round(density / _TIE_BITS) * _TIE_BITS)
    return _costs(joint, scores, through.sum(axis=0), log2_size, loss)


@partial(jax.jit, static_argnames="loss")
def _iterated_channels(
    joint: Float[Array, "x y"],
    start: Float[Array, "s y u"],
    slope: Float[Array, ""],
    log2_size: Float[Array, ""],
    damping: Float[Array, ""],
    tolerance: Float[Array, ""],
    most: int | Array,
    loss: RankLoss,
) -> tuple[Array, Array, Array, Array]:
    """Iterate damped Blahut-Arimoto steps against the channel's own costs, from each start.

    Returns the last channels, their residuals and suboptimalities, and the number of steps.
    """
    py = joint.sum(axis=0)

    def response(channel: Float[Array, "y u"]) -> tuple[Array, Array, Array]:
        """One undamped step, its largest change of an entry P(y,u), and the certificate of C5."""
        d = _own_costs(joint, channel, log2_size, loss)
        q = py @ channel
        kernel = jnp.exp2(-slope * d)
        Z = kernel @ q
        # Blahut and Arimoto's update of the test channel, for the costs of the channel itself.
        new = q * kernel / Z[:, None]
        residual = jnp.max(py[:, None] * jnp.abs(new - channel))
        # Lagrangian of the channel itself against the dual bound -sum p log2 Z - log2 max c.
        cost = jnp.sum(py[:, None] * channel * (safe_log2(channel) - safe_log2(q) + slope * d))
        largest = jnp.max(jnp.where(q > 0, (py / Z) @ kernel, 0.0))
        excess = cost + jnp.sum(py * jnp.log2(Z)) + jnp.log2(largest)
        return new, residual, jnp.maximum(excess, 0.0)

    def unfinished(state: tuple[Array, ...]) -> Array:
        _, _, residual, _, steps = state
        return (residual > tolerance) & (steps <= most)

    def step(state: tuple[Array, ...]) -> tuple[Array, ...]:
        channel, new, _, _, steps = state
        mixed = damping * channel + (1 - damping) * new
        return mixed, *response(mixed), steps + 1

    def from_start(channel: Float[Array, "y u"]) -> tuple[Array, Array, Array, Array]:
        # The first step mixes the start with itself, so that `response` is compiled once.
        unknown = jnp.array(jnp.inf)
        begin: tuple[Array, ...] = (channel, channel, unknown, unknown, jnp.array(0))
        channel, _, residual, excess, steps = jax.lax.while_loop(unfinished, step, begin)
        return channel, residual, excess, steps - 1

    return jax.lax.map(from_start, start)
