r"""Test channels for items of few values, by alternating sorting and entropic transport (C12).

Sort the codewords by the posterior of a query x: the competitors that beat codeword u are those before
it, so that u owns an interval $(a, a+e)$ of [0, 1], e = P(u), its slot, and costs the mean
$\bar\ell_x(u)$ over it of $\ell(q)$, the loss if a competitor wins with probability q. Hence the expected
loss is

$$\sum_{u,y} P(u,y)\, c(u,y), \qquad c(u,y) = \sum_x P(x|y)\, \bar\ell_x(u),$$

linear in P(u,y) for fixed slots: at given P(u) the best channel of a slope is an entropic optimal
transport of the codewords to the letters, $P(u,y) = P(u) P(y) e^{(f_u + g_y - c(u,y))/s}$ with dual
variables f and g, found by Sinkhorn's iteration. As $\ell$ rises with q, sorting assigns the slots at the
least cost, so that transport and sorting, in alternation, never raise $E\,\rho + s\,I(U;Y)$ among
codewords of given probabilities.

No number of codewords like Caratheodory's suffices: the loss is not linear in the encoder, since every
codeword takes part in the loss of the others. Let a binary query sort the codewords by q in [0, 1], 0
from the front and 1 from the back. Then a channel is a family of posteriors $\pi_q$ of mean $P_Y$ whose
cost $\int \sum_y \pi_q(y) (P(0|y)\ell(q) + P(1|y)\ell(1-q)) + s D(\pi_q\|P_Y)\,dq$ is convex, and least at

$$\pi_q(y) \propto P(y)\, e^{(g_y - P(0|y)\ell(q) - P(1|y)\ell(1-q))/s},$$

which is indeed sorted by q: the best of all channels, with a codeword for each q. The DSBS(p) has
$\pi_q(0) = \sigma\bigl((1-2p)(\ell(1-q)-\ell(q))/s\bigr)$. A finite number of codewords is worse by the
order of one over its square. With more kinds of query the sorting is a local optimum, found from a few
starts. In nats.
"""

from functools import partial, reduce
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim.information import mutual_information
from rdsim.limits.bottleneck._solver import reduced
from rdsim.limits.retrieval._time_sharing import Schemes
from rdsim.ranking.codewords import stored_losses
from rdsim.ranking.loss import RankLoss
from rdsim.ranking.rank_distribution import expected_loss, expected_loss_kernel, reach_of

_CODEWORDS: Final = 64  # codewords of a channel, over all kinds of query
_FEWEST: Final = 3  # least number of codewords of each kind of query
_SLOPES: Final = np.geomspace(48.0, 1 / 96, 80)
"""Lagrange multipliers s, loss per nat, relative to the range of the loss."""
_ALTERNATIONS: Final = 12  # alternations of sorting and transport
_SINKHORN_STEPS: Final = 12
"""Sinkhorn steps of one transport, from the dual variables of the one before."""
_KNOTS: Final = 2048  # knots of the table of the loss
_FINEST: Final = 1e-3  # least probability at which the loss is tabulated, over 1/M
_LARGEST: Final = 2.0**48
"""Database size from which on slots get no finer: there the loss is D_max up to rounding."""
_CELL_LIMIT: Final = 1e5  # upper limit on |X|^n |Y|^n, the pairs of a query and an item
_WORK_LIMIT: Final = 1e8  # upper limit on the exponentials of a search


class _LossTable(NamedTuple):
    r"""Integral of $\ell$ from 0 to q, at knots."""

    q: Float[Array, " t"]
    integral: Float[Array, " t"]


def item_schemes(
    joint: np.ndarray, log2_size: Float[Array, ""], n: int, loss: RankLoss
) -> Schemes | None:
    """Search the test channels P(u|y^n) of the best trade-off between rate and loss.

    Args:
        joint: P(x,y) of letters, shape (|X|, |Y|).
        log2_size: log2 M.
        n: letters in an item.
        loss: of the target's rank.

    Returns:
        One channel a slope and the stored item, with exact losses and rates; None where the search
        would be too expensive.

    """
    letter = joint[joint.sum(axis=1) > 0]
    if n * np.log2(letter.size) > np.log2(_CELL_LIMIT):
        return None
    # From here on an item is one letter.
    joint = reduce(np.kron, [letter] * n)
    kinds, letters = joint.shape
    each = max(_CODEWORDS // kinds, _FEWEST)
    codewords = kinds * each
    exponentials = 5.0 * _SLOPES.size * _ALTERNATIONS * _SINKHORN_STEPS * codewords * letters
    if exponentials > _WORK_LIMIT:
        return None
    M = min(2.0 ** min(float(log2_size), 1000.0), _LARGEST)
    # Letters alike for the query are stored as one, which costs fewer bits; those without mass as any.
    stored = np.eye(max(codewords, letters))[np.maximum(reduced(joint).letter, 0)]
    best = _exact_schemes(joint, stored[None], log2_size, loss)
    span = float(expected_loss(log2_size, loss, log_a=-jnp.inf, log_e=0.0)) - best.loss[0]
    if span <= 0:
        return best
    masses, posteriors = _codeword_starts(joint, each, M)
    found = _best_channels(
        jnp.asarray(joint),
        jnp.asarray(span * _SLOPES),
        jnp.asarray(masses),
        jnp.asarray(posteriors),
        _loss_table(M, log2_size, loss),
    )
    channels = np.pad(found, ((0, 0), (0, 0), (0, stored.shape[1] - codewords)))
    searched = _exact_schemes(joint, channels, log2_size, loss)
    return Schemes(*map(np.concatenate, zip(best, searched, strict=True)))


def _exact_schemes(
    joint: np.ndarray, channels: np.ndarray, log2_size: Float[Array, ""], loss: RankLoss
) -> Schemes:
    losses, bits = _exact_losses(
        jnp.asarray(joint), jnp.asarray(channels), log2_size, loss, reach_of(log2_size)
    )
    return Schemes(np.asarray(losses), np.maximum(np.asarray(bits), 0.0), channels)


@partial(jax.jit, static_argnames=("loss", "reach"))
def _exact_losses(
    joint: Float[Array, "x y"],
    channels: Float[Array, "b y u"],
    log2_size: Float[Array, ""],
    loss: RankLoss,
    reach: int,
) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """Exact losses and bits of channels whose codewords are ranked by their posterior of the query."""

    def one(channel: Float[Array, "y u"]) -> tuple[Array, Array]:
        through = joint @ channel
        mass = through.sum(axis=0)
        scores = through / jnp.where(mass > 0, mass, 1.0)
        given = stored_losses(scores, mass, log2_size, loss, reach)
        bits = mutual_information(joint.sum(axis=0)[:, None] * channel)
        return jnp.sum(through * given), bits

    return jax.lax.map(one, channels)


def _loss_table(M: float, log2_size: Float[Array, ""], loss: RankLoss) -> _LossTable:
    """Tabulate the integral of the loss at knots that are even in the logarithm."""
    ends = np.geomspace(_FINEST / M, 1.0, _KNOTS)
    log_q = jnp.log(jnp.asarray(ends))
    # The mean over (0, q) is the loss of a target that ties with probability q and is never beaten.
    mean = expected_loss_kernel(-jnp.inf, log_q, log2_size, loss, reach_of(log2_size))
    q, integral = jnp.asarray(ends), ends * mean
    return _LossTable(jnp.append(0.0, q), jnp.append(0.0, integral))


def _codeword_starts(joint: np.ndarray, each: int, M: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of the codewords, shape (S, U), and posteriors of Y to sort by at first, (S, U, |Y|).

    A family of codewords has posteriors between the prior and that of each kind of query; their
    probabilities are equal, or graded so that slots are fine where the loss rises. Or posteriors are
    random. Or each letter has its own codewords, whose probabilities sum to its own.
    """
    kinds = len(joint)
    py = joint.sum(axis=0)
    grid = np.append(0.0, np.geomspace(_FINEST / M, 1 / kinds, _KNOTS))
    # Ends are even in the sum of ln(1 + q M), along which the loss of few winners rises, and of q.
    density = np.log1p(grid * M) / np.log1p(M / kinds) + grid * kinds
    ends = np.interp(np.linspace(0, 2, each + 1), density, grid)
    graded = np.tile(np.diff(ends), kinds)
    equal = np.full(kinds * each, 1 / (kinds * each))
    likelihood = joint / np.where(py > 0, py, 1.0)
    lean = np.tile(np.linspace(1, 0, each, endpoint=False), kinds)[:, None]
    towards = py * ((1 - lean) + lean * np.repeat(likelihood, each, axis=0))
    random = py * np.random.default_rng(0).exponential(size=towards.shape) ** 2
    split, near = _codewords_of_letters(py, kinds * each)
    starts = [(equal, towards), (graded, towards), (split, near)]
    if kinds > 2:  # two kinds of query sort in opposite orders whatever the start
        starts += [(equal, random), (graded, random)]
    masses = np.stack([mass for mass, _ in starts])
    posteriors = np.stack([posterior for _, posterior in starts])
    masses /= masses.sum(axis=1, keepdims=True)
    return masses, posteriors / posteriors.sum(axis=2, keepdims=True)


def _codewords_of_letters(py: np.ndarray, codewords: int) -> tuple[np.ndarray, np.ndarray]:
    """Split every letter into codewords, finer towards its ends; their posteriors are near it."""
    count = np.where(py > 0, 1, 0)
    while count.sum() < codewords:
        count[np.argmax(py / np.maximum(count, 1))] += 1
    parts = [np.diff(0.5 - 0.5 * np.cos(np.linspace(0, np.pi, k + 1))) for k in count]
    masses = np.concatenate([p * part for p, part in zip(py, parts, strict=True)])[:codewords]
    letter = np.repeat(np.arange(py.size), count)[:codewords]
    near = 1 - 0.01 * np.arange(codewords)[:, None] / codewords
    return masses, near * np.eye(py.size)[letter] + (1 - near) * py


def _slot_losses(
    posterior: Float[Array, "u y"],
    mass: Float[Array, " u"],
    query_given_item: Float[Array, "x y"],
    table: _LossTable,
) -> Float[Array, "u y"]:
    """Compute c(u,y) of the slots that sorting by the posteriors assigns."""

    def mean_loss(score: Float[Array, " u"]) -> Float[Array, " u"]:
        order = jnp.argsort(-score, stable=True)
        after = jnp.cumsum(mass[order])
        ends = jnp.append(0.0, after / after[-1])
        area = jnp.diff(jnp.interp(ends, table.q, table.integral))
        return jnp.zeros_like(score).at[order].set(area / mass[order])

    return jax.vmap(mean_loss)(query_given_item @ posterior.T).T @ query_given_item


@jax.jit
def _best_channels(
    joint: Float[Array, "x y"],
    slopes: Float[Array, " k"],
    masses: Float[Array, "s u"],
    posteriors: Float[Array, "s u y"],
    table: _LossTable,
) -> Float[Array, "k y u"]:
    """Alternate sorting and transport from all starts; of each slope, keep the channel of least cost."""
    py = joint.sum(axis=0)
    query_given_item = joint / jnp.where(py > 0, py, 1.0)

    def one_slope(slope: Float[Array, ""]) -> Float[Array, "y u"]:
        alternated = partial(_alternated, query_given_item, py, table, slope)
        found, cost = jax.vmap(alternated)(masses, posteriors)
        return found[jnp.argmin(cost)]

    return jax.vmap(one_slope)(slopes)


def _alternated(
    query_given_item: Float[Array, "x y"],
    py: Float[Array, " y"],
    table: _LossTable,
    slope: Float[Array, ""],
    mass: Float[Array, " u"],
    posterior: Float[Array, "u y"],
) -> tuple[Float[Array, "y u"], Float[Array, ""]]:
    """Sort the codewords by their posteriors, transport them at the cost of their slots, and repeat.

    The dual variables g of the letters are kept from one transport to the next. Costs and dual variables
    are in units of the slope.

    Returns:
        The channel P(u|y), and the value of the transport's dual: loss over slope plus I(U;Y), nats.

    """
    log_mass, log_py = jnp.log(mass), jnp.log(py)

    def codeword_duals(cost: Float[Array, "u y"], g: Float[Array, " y"]) -> Float[Array, " u"]:
        """The f at which each codeword has its mass."""
        return -jax.nn.logsumexp(log_py + g - cost, axis=1)

    def letter_duals(cost: Float[Array, "u y"], f: Float[Array, " u"]) -> Float[Array, " y"]:
        """The g at which each letter has its mass."""
        return -jax.nn.logsumexp((log_mass + f)[:, None] - cost, axis=0)

    def alternate(_: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        posterior, g, _ = state
        cost = _slot_losses(posterior, mass, query_given_item, table) / slope
        g = jax.lax.fori_loop(
            0, _SINKHORN_STEPS, lambda _, g: letter_duals(cost, codeword_duals(cost, g)), g
        )
        return jax.nn.softmax(log_py + g - cost, axis=1), g, cost

    start = posterior, jnp.zeros_like(py), jnp.zeros_like(posterior)
    _, g, cost = jax.lax.fori_loop(0, _ALTERNATIONS, alternate, start)
    f = codeword_duals(cost, g)
    return jax.nn.softmax((log_mass + f)[:, None] - cost, axis=0).T, mass @ f + py @ g
