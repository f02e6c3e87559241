r"""Memoryless test channels for items of n letters, by pattern search (C12).

The candidates are bottleneck optima and the stored letter, whole, noisy, erased, or with one letter
flagged. Around the best of them mass is moved between the words, by shares that shrink. What is
found is a local optimum, with no more than |Y| + 1 words.
"""

from functools import partial
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rdsim.information import mutual_information
from rdsim.limits.bottleneck import information_bottleneck
from rdsim.limits.retrieval._time_sharing import Points, lower_hull
from rdsim.ranking import block_score
from rdsim.ranking.loss import RankLoss
from rdsim.ranking.rank_law import expected_loss, expected_loss_kernel, reach_of

_SLOPES: Final = np.linspace(0.04, 0.96, 24)
_SHARES: Final = 12
"""Points along each family of mixed channels."""
_SEARCH_LEVELS: Final = 12
_SEARCH_WORK: Final = 1e6
"""Multiplications of one loss up to which test channels are improved by search."""
_STARTS: Final = 6
_WHOLE: Final = 7
"""Decimals of a candidate channel, so that letters alike by symmetry are alike in float64."""


def block_schemes(
    joint: np.ndarray, size: Float[Array, ""], n: int, loss: RankLoss, steps: int, levels: Any
) -> Points:
    """Search among candidate channels and around the best of them; evaluate the best exactly."""
    kinds = joint.shape[0]
    types = block_score.composition_count(n, kinds)
    scores = n * _SEARCH_LEVELS + 1
    costly = 2.0 * n * types * scores * (_SEARCH_LEVELS + 1) > _SEARCH_WORK
    candidates = _candidates(joint, few=costly)
    if steps == 0 or costly:
        return _evaluated(joint, candidates, size, n, loss, levels)
    letters, counts = block_score.types_of_queries(n, kinds)
    law = (letters, counts, block_score.type_chances(joint.sum(axis=1), counts), n, loss)
    zero_rate = float(expected_loss(size, loss, log_a=-jnp.inf, log_e=0.0))
    batch = _STARTS * _moved(candidates[:1], 1.0).shape[1]

    def points(channels: np.ndarray) -> Points:
        # Always the same number at a time: one compilation.
        parts = np.array_split(channels, range(batch, len(channels), batch))
        full = (np.concatenate([p, np.repeat(p[:1], batch - len(p), axis=0)]) for p in parts)
        found = [_trial_points(jnp.asarray(joint), f, size, *law, reach_of(size)) for f in full]
        loss, bits = (np.concatenate(part)[: len(channels)] for part in zip(*found, strict=True))
        return Points(loss, bits, channels)

    corners = lower_hull(points(candidates), zero_rate)
    if corners.loss.size < 2:
        return corners
    # Slopes of the hull's edges, spread over its whole range; the start is the best corner there.
    edges = -np.diff(corners.bits) / np.diff(corners.loss)
    slopes = np.interp(np.linspace(0, 1, _STARTS), np.linspace(0, 1, edges.size), edges)
    best = np.argmin(corners.bits + slopes[:, None] * corners.loss, axis=1)
    current = corners.channels[best]
    least = corners.bits[best] + slopes * corners.loss[best]
    for step in range(steps):
        trials = _moved(current, 2.0 ** (-step / 2))
        tried = points(trials.reshape(-1, *current.shape[1:]))
        cost = (tried.bits.reshape(_STARTS, -1)) + slopes[:, None] * tried.loss.reshape(_STARTS, -1)
        choice, lower = np.argmin(cost, axis=1), np.min(cost, axis=1) < least
        current = np.where(lower[:, None, None], trials[np.arange(_STARTS), choice], current)
        least = np.where(lower, np.min(cost, axis=1), least)
        # Every trial is a scheme in its own right, so all of them go to the hull.
        both = zip(corners, tried, strict=True)
        corners = lower_hull(Points(*(np.concatenate(pair) for pair in both)), zero_rate)
    return _evaluated(joint, corners.channels[:-1], size, n, loss, levels)


def _evaluated(
    joint: np.ndarray,
    channels: np.ndarray,
    size: Float[Array, ""],
    n: int,
    loss: RankLoss,
    levels: Any,
) -> Points:
    losses = [block_score.block_loss(joint, Q, size, loss, n=n, levels=levels) for Q in channels]
    bits = n * jax.vmap(mutual_information)(joint.sum(axis=0)[:, None] * channels)
    return Points(np.array(losses, float), np.maximum(bits, 0.0), channels)


def _candidates(joint: np.ndarray, *, few: bool) -> np.ndarray:
    """Bottleneck optima; the stored letter with noise or erasures, or but one letter flagged.

    Erasures and flags are left out if there shall be few: in long blocks sharing does as well.
    """
    py = joint.sum(axis=0)
    size = py.size
    bottleneck = np.asarray(
        information_bottleneck(joint, _SLOPES, method="local", compress="columns").encoder
    )
    wide = np.zeros((len(bottleneck), size, max(size + 1, bottleneck.shape[2])))
    wide[..., : bottleneck.shape[2]] = bottleneck
    keep = np.linspace(1, 0, _SHARES, endpoint=False)[:, None, None]
    stored = np.eye(size, wide.shape[2])
    erased = np.zeros_like(stored)
    erased[:, size] = 1.0
    # Information falls as the square of what noise leaves, and in proportion under erasure.
    noisy = np.sqrt(keep) * stored + (1 - np.sqrt(keep)) * (py @ stored)
    spared = keep[1:] * stored + (1 - keep[1:]) * erased
    flagged = np.repeat(erased[None], size * len(keep), axis=0).reshape(size, -1, *erased.shape)
    for y in range(size):
        flagged[y, :, y] = keep[:, 0] * stored[y] + (1 - keep[:, 0]) * erased[y]
    partial_looks = [] if few else [spared, flagged.reshape(-1, *erased.shape)]
    candidates = np.concatenate([wide, noisy, *partial_looks])
    whole = np.round(candidates, _WHOLE)
    whole /= whole.sum(axis=2, keepdims=True)
    return np.unique(whole, axis=0)


def _moved(channels: np.ndarray, share: float) -> np.ndarray:
    """Move a share of every entry Q(u|y) to every other letter: shape (b, moves, y, u)."""
    _, rows, columns = channels.shape
    moves = [
        (y, u, v) for y in range(rows) for u in range(columns) for v in range(columns) if u != v
    ]
    moved = np.repeat(channels[:, None], len(moves), axis=1)
    for place, (y, u, v) in enumerate(moves):
        mass = share * channels[:, y, u]
        moved[:, place, y, u] -= mass
        moved[:, place, y, v] += mass
    return moved


@partial(jax.jit, static_argnames=("n", "loss", "reach"))
def _trial_points(
    joint: Float[Array, "x y"],
    channels: Float[Array, "b y u"],
    log2_size: Float[Array, ""],
    letters: Int[Array, "n t"],
    counts: Int[Array, "t x"],
    chances: Float[Array, " t"],
    n: int,
    loss: RankLoss,
    reach: int,
) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """Loss and bits of many channels, by decoders that round the scores to a few levels."""

    def one(channel: Float[Array, "y u"]) -> tuple[Array, Array]:
        through = joint @ channel
        lattice = block_score.lattice_of(through, _SEARCH_LEVELS)
        competitor, target, total = block_score.letter_laws(through, lattice, _SEARCH_LEVELS)
        log_a, log_e, law = block_score.rank_chances(
            competitor, target, total, lattice.step, letters, counts, n
        )
        given = expected_loss_kernel(log_a, log_e, log2_size, loss, reach)
        bits = n * mutual_information(joint.sum(axis=0)[:, None] * channel)
        return jnp.sum(chances[:, None] * law * given), bits

    return jax.lax.map(one, channels)
