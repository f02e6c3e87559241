r"""Test channels for items of few values, by transport of words to items (C12).

Sort the words by the posterior of a query x: the competitors that beat word u are those before it,
so that u owns a slot $(a, a+e)$ of [0, 1], e = P(u), and pays the mean $\bar\ell_x(u)$ over it of
$\ell(q)$, the loss if a competitor wins with probability q. Hence the expected loss is

$$\sum_{u,y} P(u,y)\, c(u,y), \qquad c(u,y) = \sum_x P(x|y)\, \bar\ell_x(u),$$

linear in P(u,y) while the slots stand: at given P(u) the best channel of a slope is an entropic
transport of the words to the letters, $P(u,y) = P(u) P(y) e^{(f_u + g_y - c(u,y))/s}$. As $\ell$
rises with q, sorting is the cheapest way to hand out slots, so that transport and sorting, in
turns, never raise $E\,\rho + s\,I(U;Y)$ at words of given probabilities.

No count of words like Caratheodory's suffices: the loss is not linear in the encoder, since every
word takes part in what the others pay. Let a binary query sort the words by q in [0, 1], 0 from the
front and 1 from the back. Then a channel is a family of posteriors $\pi_q$ of mean $P_Y$ whose cost
$\int \sum_y \pi_q(y) (P(0|y)\ell(q) + P(1|y)\ell(1-q)) + s D(\pi_q\|P_Y)\,dq$ is convex, and least at

$$\pi_q(y) \propto P(y)\, e^{(g_y - P(0|y)\ell(q) - P(1|y)\ell(1-q))/s},$$

which is indeed sorted by q: the best of all channels, with a word for each q. The DSBS(p) has
$\pi_q(0) = \sigma\bigl((1-2p)(\ell(1-q)-\ell(q))/s\bigr)$. A finite number of words loses to it
by the order of one over its square. With more kinds of query the sorting is a local optimum, found
from a few starts. In nats.
"""

from functools import partial, reduce
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rdsim.information import mutual_information
from rdsim.limits.bottleneck._solver import reduced
from rdsim.limits.retrieval._time_sharing import Points
from rdsim.ranking.loss import RankLoss
from rdsim.ranking.rank_law import expected_loss, expected_loss_kernel, reach_of

_WORDS: Final = 64
_FEWEST: Final = 3
"""Words that a kind of query has at least."""
_SLOPES: Final = np.geomspace(48.0, 1 / 96, 80)
"""Loss a nat is worth, over the range of the loss."""
_TURNS: Final = 12
_TRANSPORTS: Final = 12
_KNOTS: Final = 2048
_FINEST: Final = 1e-3
"""Least probability at which the loss is tabulated, over 1/M."""
_LARGEST: Final = 2.0**48
"""Database size from which on the slots are no finer: there the loss is D_max but for rounding."""
_CELL_LIMIT: Final = 1e5
"""Pairs of a query and an item."""
_WORK_LIMIT: Final = 1e8
"""Exponentials a search may cost."""


class _Table(NamedTuple):
    r"""Integral of $\ell$ from 0 to q, at knots."""

    q: Float[Array, " t"]
    integral: Float[Array, " t"]


def item_schemes(
    joint: np.ndarray, log2_size: Float[Array, ""], n: int, loss: RankLoss
) -> Points | None:
    """Search the test channels P(u|y^n) that trade rate against loss best.

    Args:
        joint: P(x,y) of letters, shape (|X|, |Y|).
        log2_size: log2 M.
        n: letters in an item.
        loss: of the target's rank.

    Returns:
        One channel a slope and the stored item, with exact losses and rates; nothing where the
        search would cost too much.

    """
    letter = joint[joint.sum(axis=1) > 0]
    if n * np.log2(letter.size) > np.log2(_CELL_LIMIT):
        return None
    # From here on an item is one letter.
    joint = reduce(np.kron, [letter] * n)
    kinds, letters = joint.shape
    each = max(_WORDS // kinds, _FEWEST)
    words = kinds * each
    if 5.0 * _SLOPES.size * _TURNS * _TRANSPORTS * words * letters > _WORK_LIMIT:
        return None
    M = min(2.0 ** min(float(log2_size), 1000.0), _LARGEST)
    # Letters alike for the query, stored as one, cost fewer bits; those without mass are any.
    stored = np.eye(max(words, letters))[np.maximum(reduced(joint).letter, 0)]
    best = _exact(joint, stored[None], log2_size, loss)
    span = float(expected_loss(log2_size, loss, log_a=-jnp.inf, log_e=0.0)) - best.loss[0]
    if span <= 0:
        return best
    found = _transported(
        jnp.asarray(joint),
        jnp.asarray(span * _SLOPES),
        *map(jnp.asarray, _starts(joint, each, M)),
        _table(M, log2_size, loss),
    )
    channels = np.pad(found, ((0, 0), (0, 0), (0, stored.shape[1] - words)))
    schemes = _exact(joint, channels, log2_size, loss)
    return Points(*(np.concatenate(pair) for pair in zip(best, schemes, strict=True)))


def _exact(
    joint: np.ndarray, channels: np.ndarray, log2_size: Float[Array, ""], loss: RankLoss
) -> Points:
    reach = reach_of(log2_size)
    losses, bits = _ranked(jnp.asarray(joint), jnp.asarray(channels), log2_size, loss, reach)
    return Points(np.asarray(losses), np.maximum(np.asarray(bits), 0.0), channels)


@partial(jax.jit, static_argnames=("loss", "reach"))
def _ranked(
    joint: Float[Array, "x y"],
    channels: Float[Array, "b y u"],
    log2_size: Float[Array, ""],
    loss: RankLoss,
    reach: int,
) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """Exact losses and bits; words that tie may be put into any order, the sum is the same."""

    def one(channel: Float[Array, "y u"]) -> tuple[Array, Array]:
        through = joint @ channel
        chance = through.sum(axis=0)
        score = through / jnp.where(chance > 0, chance, 1.0)

        def given(row: Float[Array, " u"], score: Float[Array, " u"]) -> Float[Array, ""]:
            order = jnp.argsort(-score, stable=True)
            share = chance[order]
            before = jnp.append(0.0, jnp.minimum(jnp.cumsum(share)[:-1], 1.0))
            log_a, log_e = _safe_log(before), _safe_log(share)
            return row[order] @ expected_loss_kernel(log_a, log_e, log2_size, loss, reach)

        bits = mutual_information(joint.sum(axis=0)[:, None] * channel)
        return jnp.sum(jax.vmap(given)(through, score)), bits

    return jax.lax.map(one, channels)


def _safe_log(x: Float[Array, "..."]) -> Float[Array, "..."]:
    return jnp.where(x > 0, jnp.log(jnp.where(x > 0, x, 1.0)), -jnp.inf)


def _table(M: float, log2_size: Float[Array, ""], loss: RankLoss) -> _Table:
    ends = np.geomspace(_FINEST / M, 1.0, _KNOTS)
    log_q = jnp.log(jnp.asarray(ends))
    # The mean over (0, q) is the loss of a target that ties with a share q and is never beaten.
    mean = expected_loss_kernel(-jnp.inf, log_q, log2_size, loss, reach_of(log2_size))
    q, integral = jnp.asarray(ends), ends * mean
    return _Table(jnp.append(0.0, q), jnp.append(0.0, integral))


def _starts(joint: np.ndarray, each: int, M: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of the words, shape (S, U), and posteriors of Y to sort by at first, (S, U, |Y|).

    A family of words leans towards each kind of query, the rarer the more; its probabilities are equal,
    or graded so that slots are fine where the loss rises. Or the words lean anywhere. Or each
    letter has its own words, whose probabilities add up to its own.
    """
    kinds = len(joint)
    py = joint.sum(axis=0)
    grid = np.append(0.0, np.geomspace(_FINEST / M, 1 / kinds, _KNOTS))
    spread = np.log1p(grid * M) / np.log1p(M / kinds) + grid * kinds
    ends = np.interp(np.linspace(0, 2, each + 1), spread, grid)
    graded = np.tile(np.diff(ends), kinds)
    equal = np.full(kinds * each, 1 / (kinds * each))
    likelihood = joint / np.where(py > 0, py, 1.0)
    lean = np.tile(np.linspace(1, 0, each, endpoint=False), kinds)[:, None]
    towards = py * ((1 - lean) + lean * np.repeat(likelihood, each, axis=0))
    anywhere = py * np.random.default_rng(0).exponential(size=towards.shape) ** 2
    share, near = _words_of_letters(py, kinds * each)
    starts = [(equal, towards), (graded, towards), (share, near)]
    if kinds > 2:  # a binary query's order is settled
        starts += [(equal, anywhere), (graded, anywhere)]
    chances, posteriors = (np.stack(part) for part in zip(*starts, strict=True))
    chances /= chances.sum(axis=1, keepdims=True)
    return chances, posteriors / posteriors.sum(axis=2, keepdims=True)


def _words_of_letters(py: np.ndarray, words: int) -> tuple[np.ndarray, np.ndarray]:
    """Split every letter into words, finer towards its ends; their posteriors are near it."""
    count = np.where(py > 0, 1, 0)
    while count.sum() < words:
        count[np.argmax(py / np.maximum(count, 1))] += 1
    shares = [np.diff(0.5 - 0.5 * np.cos(np.linspace(0, np.pi, k + 1))) for k in count]
    chances = np.concatenate([p * share for p, share in zip(py, shares, strict=True)])[:words]
    letter = np.repeat(np.arange(py.size), count)[:words]
    near = 1 - 0.01 * np.arange(words)[:, None] / words
    return chances, near * np.eye(py.size)[letter] + (1 - near) * py


def _slot_losses(
    posterior: Float[Array, "u y"],
    chance: Float[Array, " u"],
    channel: Float[Array, "x y"],
    table: _Table,
) -> Float[Array, "u y"]:
    """Compute c(u,y) of the slots that sorting by the posteriors hands out."""

    def mean_loss(score: Float[Array, " u"]) -> Float[Array, " u"]:
        order = jnp.argsort(-score, stable=True)
        after = jnp.cumsum(chance[order])
        ends = jnp.append(0.0, after / after[-1])
        area = jnp.diff(jnp.interp(ends, table.q, table.integral))
        return jnp.zeros_like(score).at[order].set(area / chance[order])

    return jax.vmap(mean_loss)(channel @ posterior.T).T @ channel


@jax.jit
def _transported(
    joint: Float[Array, "x y"],
    slopes: Float[Array, " k"],
    chances: Float[Array, "s u"],
    posteriors: Float[Array, "s u y"],
    table: _Table,
) -> Float[Array, "k y u"]:
    """Sort and transport in turns from all starts; of each slope, keep the channel of least cost."""
    py = joint.sum(axis=0)
    channel = joint / jnp.where(py > 0, py, 1.0)
    log_py = jnp.log(py)

    def from_start(slope: Array, chance: Array, posterior: Array) -> tuple[Array, Array]:
        log_chance = jnp.log(chance)

        def prices(cost: Array, g: Array) -> Array:
            return -jax.nn.logsumexp(log_py + g - cost, axis=1)

        def turn(_: Int[Array, ""], state: tuple[Array, Array, Array]) -> tuple[Array, ...]:
            posterior, g, _ = state
            cost = _slot_losses(posterior, chance, channel, table) / slope

            def transport(_: Int[Array, ""], g: Float[Array, " y"]) -> Float[Array, " y"]:
                f = prices(cost, g)
                return -jax.nn.logsumexp((log_chance + f)[:, None] - cost, axis=0)

            g = jax.lax.fori_loop(0, _TRANSPORTS, transport, g)
            return jax.nn.softmax(log_py + g - cost, axis=1), g, cost

        start = posterior, jnp.zeros_like(py), jnp.zeros_like(posterior)
        _, g, cost = jax.lax.fori_loop(0, _TURNS, turn, start)
        f = prices(cost, g)
        # The value of the transport's dual, over the slope: what the channel costs, in nats.
        return jax.nn.softmax((log_chance + f)[:, None] - cost, axis=0).T, chance @ f + py @ g

    def one_slope(slope: Float[Array, ""]) -> Float[Array, "y u"]:
        found, cost = jax.vmap(from_start, in_axes=(None, 0, 0))(slope, chances, posteriors)
        return found[jnp.argmin(cost)]

    return jax.vmap(one_slope)(slopes)
