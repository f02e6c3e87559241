r"""Memoryless test channels for items of n letters, by pattern search (C12).

The candidates are bottleneck optima and the stored letter, whole, noisy, erased, or with one letter
flagged. Around the best of them mass is moved between the codewords, by fractions that shrink. What is
found is a local optimum, with no more than |Y| + 1 codewords.
"""

from functools import partial
from typing import Any, Final, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from rdsim.information import information_bits
from rdsim.limits._supporting_lines import lower_hull
from rdsim.limits.bottleneck import information_bottleneck
from rdsim.number_types import Integer
from rdsim.ranking import block_score
from rdsim.ranking.loss import RankLoss
from rdsim.ranking.rank_distribution import expected_loss, losses_of
from rdsim.sources.sequence_types import composition_count, log_probability

_SLOPES: Final = np.linspace(0.04, 0.96, 24)
"""Slopes dI(U;X)/dI(U;Y) of the bottleneck optima among the candidates."""
_MIXTURES: Final = 12  # points along each family of mixed channels
_SEARCH_LEVELS: Final = 12
"""Levels to which the search rounds the scores of a letter; the final losses have more."""
_SEARCH_WORK: Final = 1e6
"""Multiplications of one loss up to which test channels are improved by search."""
_STARTS: Final = 6  # slopes of the hull at which the search runs side by side
_DECIMALS: Final = 7
"""Decimals of a candidate channel, so that letters alike by symmetry are alike in float64."""


class Schemes(NamedTuple):
    """Schemes: their losses and bits per item, shape (V,), and their channels, (V, ...)."""

    loss: np.ndarray
    bits: np.ndarray
    channels: np.ndarray


def best_schemes(schemes: Schemes, zero_rate: float) -> Schemes:
    """Corners of the lower convex hull of the points (loss, bits) and (D_max, 0), by increasing loss."""
    useful = (schemes.loss < zero_rate) & (schemes.bits > 0)
    constant = np.zeros_like(schemes.channels[:1])
    if constant.ndim == 3:
        constant[..., 0] = 1.0  # every item has the first description
    loss = np.append(schemes.loss[useful], zero_rate)
    bits = np.append(schemes.bits[useful], 0.0)
    channels = np.concatenate([schemes.channels[useful], constant])
    corners = lower_hull(loss, bits)
    return Schemes(loss[corners], bits[corners], channels[corners])


def block_schemes(
    joint: np.ndarray,
    size: Float[Array, ""],
    n: int,
    loss: RankLoss,
    steps: int,
    levels: Integer | None,
) -> Schemes:
    """Search among candidate channels and around the best of them; evaluate the best exactly.

    A pattern search at several slopes of the hull at once: of all moves of mass between two codewords
    the one that lowers bits + slope * loss most is made, then the fraction moved shrinks by sqrt(2).
    """
    kinds = joint.shape[0]
    types = composition_count(n, kinds)
    scores = n * _SEARCH_LEVELS + 1
    # Multiplications of one loss: the scores' distribution of every type of query is n
    # convolutions long.
    costly = 2.0 * n * types * scores * (_SEARCH_LEVELS + 1) > _SEARCH_WORK
    candidates = _candidates(joint, few=costly)
    if steps == 0 or costly:
        return _exact_schemes(joint, candidates, size, n, loss, levels)
    letters, counts = block_score.types_of_queries(n, kinds)
    p_type = np.exp(log_probability(counts, joint.sum(axis=1)))
    zero_rate = float(expected_loss(size, loss, log_a=-np.inf, log_e=0.0))
    batch = _STARTS * _mass_moves(candidates[:1], 1.0).shape[1]
    given = joint, np.asarray(size), letters, counts, p_type

    def evaluated(channels: np.ndarray) -> Schemes:
        if batch * types * scores <= block_score.HOST_SCORES:
            losses, bits = _trial_losses(channels, *given, n=n, loss=loss)
            return Schemes(losses, bits, channels)
        # Always the same number at a time, repeated if they are fewer: one compilation.
        count = len(channels)
        full = np.concatenate([channels, np.repeat(channels[:1], -count % batch, axis=0)])
        parts = [
            _compiled_trial_losses(part, *given, n=n, loss=loss)
            for part in np.split(full, len(full) // batch)
        ]
        losses, bits = (np.concatenate(each)[:count] for each in zip(*parts, strict=True))
        return Schemes(losses, bits, channels)

    corners = best_schemes(evaluated(candidates), zero_rate)
    if corners.loss.size < 2:
        return corners
    # Slopes of the hull's edges, over its whole range; each search starts at the best corner there.
    edges = -np.diff(corners.bits) / np.diff(corners.loss)
    slopes = np.interp(np.linspace(0, 1, _STARTS), np.linspace(0, 1, edges.size), edges)
    best = np.argmin(corners.bits + slopes[:, None] * corners.loss, axis=1)
    current = corners.channels[best]
    least = corners.bits[best] + slopes * corners.loss[best]
    # Invariant: `least` is the cost of `current` at each slope, and never rises.
    for step in range(steps):
        trials = _mass_moves(current, 2.0 ** (-step / 2))
        # Compass search: every move of this fraction is tried, and no derivative is needed, which
        # the loss, a step function of the scores' order, does not have.
        tried = evaluated(trials.reshape(-1, *current.shape[1:]))
        cost = tried.bits.reshape(_STARTS, -1) + slopes[:, None] * tried.loss.reshape(_STARTS, -1)
        choice, lower = np.argmin(cost, axis=1), np.min(cost, axis=1) < least
        # A slope whose moves all cost more keeps its channel; the fraction shrinks for all alike.
        current = np.where(lower[:, None, None], trials[np.arange(_STARTS), choice], current)
        least = np.where(lower, np.min(cost, axis=1), least)
        # Every trial is a scheme in its own right, so all of them go to the hull.
        both = Schemes(*map(np.concatenate, zip(corners, tried, strict=True)))
        corners = best_schemes(both, zero_rate)
    return _exact_schemes(joint, corners.channels[:-1], size, n, loss, levels)


def _exact_schemes(
    joint: np.ndarray,
    channels: np.ndarray,
    size: Float[Array, ""],
    n: int,
    loss: RankLoss,
    levels: Integer | None,
) -> Schemes:
    losses = [block_score.block_loss(joint, Q, size, loss, n=n, levels=levels) for Q in channels]
    bits = n * information_bits(joint.sum(axis=0)[:, None] * channels)
    return Schemes(np.array(losses, float), np.maximum(bits, 0.0), channels)


def _candidates(joint: np.ndarray, *, few: bool) -> np.ndarray:
    """Bottleneck optima; the stored letter with noise or with erasures; or a flag for one letter alone.

    With `few` erasures and flags are left out: for long blocks time sharing is as good.
    """
    py = joint.sum(axis=0)
    size = py.size
    bottleneck = np.asarray(
        information_bottleneck(joint, _SLOPES, method="local", compress="columns").encoder
    )
    wide = np.zeros((len(bottleneck), size, max(size + 1, bottleneck.shape[2])))
    wide[..., : bottleneck.shape[2]] = bottleneck
    keep = np.linspace(1, 0, _MIXTURES, endpoint=False)[:, None, None]
    stored = np.eye(size, wide.shape[2])
    erased = np.zeros_like(stored)
    erased[:, size] = 1.0
    # The weight of the stored letter: under noise information falls as its square, under erasure with it.
    noisy = np.sqrt(keep) * stored + (1 - np.sqrt(keep)) * (py @ stored)
    unerased = keep[1:] * stored + (1 - keep[1:]) * erased
    flagged = np.repeat(erased[None], size * len(keep), axis=0).reshape(size, -1, *erased.shape)
    for y in range(size):
        flagged[y, :, y] = keep[:, 0] * stored[y] + (1 - keep[:, 0]) * erased[y]
    incomplete = [] if few else [unerased, flagged.reshape(-1, *erased.shape)]
    rounded = np.round(np.concatenate([wide, noisy, *incomplete]), _DECIMALS)
    rounded /= rounded.sum(axis=2, keepdims=True)
    return np.unique(rounded, axis=0)


def _mass_moves(channels: np.ndarray, fraction: float) -> np.ndarray:
    """Move a fraction of every entry Q(u|y) to every other codeword: shape (b, moves, y, u)."""
    _, rows, columns = channels.shape
    moves = [
        (y, u, v) for y in range(rows) for u in range(columns) for v in range(columns) if u != v
    ]
    moved = np.repeat(channels[:, None], len(moves), axis=1)
    for i, (y, u, v) in enumerate(moves):
        mass = fraction * channels[:, y, u]
        moved[:, i, y, u] -= mass
        moved[:, i, y, v] += mass
    return moved


def _trial_losses(
    channels: Float[Any, "... y u"],
    joint: Float[Any, "x y"],
    log2_size: Float[Any, ""],
    letters: Int[Any, "n t"],
    counts: Int[Any, "t x"],
    p_type: Float[Any, " t"],
    *,
    n: int,
    loss: RankLoss,
) -> tuple[Float[Any, "..."], Float[Any, "..."]]:
    """Loss and bits of many channels, by decoders that round the scores to a few levels."""
    through = joint @ channels
    lattice = block_score.lattice_of(through, _SEARCH_LEVELS)
    distributions = block_score.letter_distributions(through, lattice, _SEARCH_LEVELS)
    log_a, log_e, of_target = block_score.score_probabilities(distributions, letters, counts)
    weight = p_type[:, None] * of_target
    losses = losses_of(weight, log_a, log_e, log2_size, loss)
    bits = n * information_bits(joint.sum(axis=0)[:, None] * channels)
    return (weight * losses).sum(axis=(-2, -1)), bits


@partial(jax.jit, static_argnames=("n", "loss"))
def _compiled_trial_losses(
    channels: Float[Array, "b y u"], *given: Any, n: int, loss: RankLoss
) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """`_trial_losses` of one channel after another, which needs the memory of one."""
    found: tuple[Array, Array] = jax.lax.map(
        lambda channel: _trial_losses(channel, *given, n=n, loss=loss), channels
    )
    return found
