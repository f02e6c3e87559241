r"""The retrieval rate-distortion function between two bounds (C12): bits an item against rank loss.

Items of n letters, M of them, loss rho of the target's rank.

Outer: no encoder, not even one that sees the whole database, does with fewer bits an item than
$n\,\mathrm{IB}^{-1}(R_\rho(D; M)/n)$ (C4), infinite where even the stored items do not let the
query tell the target: D is then out of reach.

Inner: a memoryless test channel P(u|y) makes descriptions $U^n$ with $n I(U;Y)$ bits an item, and
its loss is exact (`block_loss`). The rate is that of describing all M items together with common
randomness: a prefix code spends at most $\log_2(M n I + 1) + 5$ bits more, on the whole database
(Li and El Gamal 2018, strong functional representation lemma), so the excess an item vanishes.

Time sharing: common randomness picks one channel for the whole database, so the competitors are
made by the target's own channel and both the rate and the loss are averages. (Were each item to
draw its own channel, the competitors would be a mixture, and the loss not the average.) Hence the
lower convex hull of all points found, with the constant description (D_max, 0), is achieved. The
search for channels is local: a better one may exist, the outer bound says how much better.
"""

import dataclasses
import math
from functools import partial
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rdsim import validation
from rdsim.information import mutual_information
from rdsim.limits.information_bottleneck import bottleneck_rate, information_bottleneck
from rdsim.limits.rank import rank_rate
from rdsim.retrieval import block_score
from rdsim.retrieval.gaussian import gaussian_rank_loss
from rdsim.retrieval.loss import Loss, RankLoss, parse_loss
from rdsim.retrieval.rank_law import expected_loss, expected_loss_kernel, reach_of
from rdsim.sources.discrete import DiscreteSource
from rdsim.sources.gaussian import GaussianSource

_LN2: Final = math.log(2.0)
_SLOPES: Final = np.linspace(0.04, 0.96, 24)
_SHARES: Final = 12
"""Points along each family of mixed channels."""
_SEARCH_LEVELS: Final = 12
_SEARCH_WORK: Final = 1e6
"""Multiplications of one loss up to which test channels are improved by search."""
_STARTS: Final = 6
_WHOLE: Final = 7
"""Decimals of a candidate channel, so that letters alike by symmetry are alike in float64."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class RetrievalBounds:
    """Bits an item that retrieval within a loss needs, between two bounds.

    Attributes:
        distortion: expected loss allowed, shape (D,).
        outer: no system needs fewer bits an item, shape (D,); inf where the loss is out of reach.
        inner: achieved bits an item, shape (D,); inf where nothing that was found reaches the loss.
        vertex_loss: losses of the schemes that are time-shared, increasing, shape (V,).
        vertex_bits: their bits an item, shape (V,).
        channels: their test channels P(u|y), shape (V, |Y|, |U|); of a Gaussian source the rates
            of its Gaussian test channel, bits a letter, shape (V,).
        zero_rate_loss: D_max, the loss of a random ranking.

    """

    __no_type_check__ = True

    distortion: Float[Array, " d"]
    outer: Float[Array, " d"]
    inner: Float[Array, " d"]
    vertex_loss: Float[Array, " v"]
    vertex_bits: Float[Array, " v"]
    channels: Float[Array, "v ..."]
    zero_rate_loss: Float[Array, ""]

    @property
    def gap(self) -> Float[Array, " d"]:
        """Inner minus outer bound, bits an item; zero where both are infinite."""
        alike = self.inner == self.outer
        return jnp.where(alike, 0.0, self.inner - jnp.where(alike, 0.0, self.outer))


class _Points(NamedTuple):
    loss: np.ndarray
    bits: np.ndarray
    channels: np.ndarray


def retrieval_bounds(
    source: Any,
    log2_size: Any,
    n: Any,
    loss: Loss,
    *,
    distortion: Any = None,
    rounds: Any = 12,
    levels: Any = None,
    tolerance: Any = 1e-6,
) -> RetrievalBounds:
    r"""Bound the bits an item that retrieval within an expected rank loss needs (C12).

    $$n\,\mathrm{IB}^{-1}\Bigl(\frac{R_\rho(D;M)}{n}\Bigr) \le R^*(D) \le
    \mathrm{conv} \min_{P_{U|Y}} \{ n I(U;Y) : E\,\rho(\mathrm{rank}) \le D \}.$$

    Args:
        source: a `DiscreteSource`, a `GaussianSource` of scalars, or a table P(x,y).
        log2_size: log2 M >= 1, a scalar.
        n: letters in an item.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        distortion: losses D in [0, 1], shape (D,); by default 33 from the least that is achieved
            to D_max.
        rounds: of a pattern search that moves mass between the letters of the best candidate
            channels (bottleneck optima; the stored letter, whole, noisy, erased, or one letter
            flagged), the share moved shrinking by the root of two a round. Where one loss costs
            more than 1e6 multiplications the candidates are fewer and none are made, nor for a
            Gaussian source.
        levels: as in `block_loss`.
        tolerance: certified gap of the bottleneck's inverse in the outer bound, bits a letter.

    Returns:
        Both bounds. From D_max on both are zero.

    Raises:
        ValueError: if an argument is out of range, the source is Gaussian but not scalar, or the
            exact law is too costly (see `block_loss`).
        TypeError: if n or rounds is not an integer.
        RuntimeError: if float64 is off.

    References:
        Tuncel (2009), IEEE Trans. Inf. Theory 55(8), for the limit of large n; Li and El Gamal
        (2018), IEEE Trans. Inf. Theory 64(11), Theorem 1, for the rate of a test channel.

    """
    validation.require_float64("retrieval_bounds")
    parsed = parse_loss(loss)
    size = validation.interval("log2_size", log2_size, low=1.0, high=1e5, ndim=0)
    n = validation.integer("n", n, low=1)
    steps = validation.integer("rounds", rounds, low=0)
    room = float(validation.interval("tolerance", tolerance, low=0.0, open_low=True, ndim=0))
    if distortion is not None:
        distortion = validation.interval("distortion", distortion, low=0.0, high=1.0, ndim=1)
    zero_rate = float(expected_loss(-jnp.inf, 0.0, size, parsed))
    if isinstance(source, GaussianSource):
        points, outer = _gaussian(source, size, n, parsed)
    else:
        joint = source.joint if isinstance(source, DiscreteSource) else source
        joint = np.asarray(validation.pmf("source", joint, ndim=2))
        points = _discrete(joint, size, n, parsed, steps, levels)

        def outer(relevance: np.ndarray) -> np.ndarray:
            return np.asarray(bottleneck_rate(joint, relevance, tolerance=room).lower)

    corners = _hull(points, zero_rate)
    if distortion is None:
        distortion = jnp.linspace(corners.loss[0], zero_rate, 33)
    D = np.asarray(distortion)
    needed = np.asarray(rank_rate(D, size, parsed).lower) / n
    inner = np.interp(D, corners.loss, corners.bits, left=np.inf, right=0.0)
    return RetrievalBounds(
        distortion=distortion,
        outer=jnp.asarray(np.where(zero_rate <= D, 0.0, n * outer(needed))),
        inner=jnp.asarray(inner),
        vertex_loss=jnp.asarray(corners.loss),
        vertex_bits=jnp.asarray(corners.bits),
        channels=jnp.asarray(corners.channels),
        zero_rate_loss=jnp.asarray(zero_rate),
    )


def _hull(points: _Points, zero_rate: float) -> _Points:
    """Lower convex hull of the points and (D_max, 0): from the least loss on, cheapest first."""
    useful = (points.loss < zero_rate) & (points.bits > 0)
    blank = np.zeros_like(points.channels[:1])
    if blank.ndim == 3:
        blank[..., 0] = 1.0  # the constant description
    loss = np.append(points.loss[useful], zero_rate)
    bits = np.append(points.bits[useful], 0.0)
    channels = np.concatenate([points.channels[useful], blank])
    kept: list[int] = []
    for i in np.lexsort((bits, loss)):
        if kept and bits[i] >= bits[kept[-1]]:
            continue
        while len(kept) > 1:
            a, b = kept[-2:]
            turn = (loss[b] - loss[a]) * (bits[i] - bits[a])
            if turn > (loss[i] - loss[a]) * (bits[b] - bits[a]):
                break
            kept.pop()
        kept.append(int(i))
    return _Points(loss[kept], bits[kept], channels[kept])


def _discrete(
    joint: np.ndarray, size: Float[Array, ""], n: int, loss: RankLoss, steps: int, levels: Any
) -> _Points:
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
    zero_rate = float(expected_loss(-jnp.inf, 0.0, size, loss))
    batch = _STARTS * _moved(candidates[:1], 1.0).shape[1]

    def points(channels: np.ndarray) -> _Points:
        # Always the same number at a time: one compilation.
        parts = np.array_split(channels, range(batch, len(channels), batch))
        full = (np.concatenate([p, np.repeat(p[:1], batch - len(p), axis=0)]) for p in parts)
        found = [_trial_points(jnp.asarray(joint), f, size, *law, reach_of(size)) for f in full]
        loss, bits = (np.concatenate(part)[: len(channels)] for part in zip(*found, strict=True))
        return _Points(loss, bits, channels)

    corners = _hull(points(candidates), zero_rate)
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
        corners = _hull(_Points(*(np.concatenate(pair) for pair in both)), zero_rate)
    return _evaluated(joint, corners.channels[:-1], size, n, loss, levels)


def _evaluated(
    joint: np.ndarray,
    channels: np.ndarray,
    size: Float[Array, ""],
    n: int,
    loss: RankLoss,
    levels: Any,
) -> _Points:
    losses = [block_score.block_loss(joint, Q, n, size, loss, levels=levels) for Q in channels]
    bits = n * jax.vmap(mutual_information)(joint.sum(axis=0)[:, None] * channels)
    return _Points(np.array(losses, float), np.maximum(bits, 0.0), channels)


def _candidates(joint: np.ndarray, *, few: bool) -> np.ndarray:
    """Bottleneck optima; the stored letter with noise or erasures, or but one letter flagged.

    Erasures and flags are left out if there shall be few: in long blocks sharing does as well.
    """
    py = joint.sum(axis=0)
    size = py.size
    optima = np.asarray(information_bottleneck(joint, _SLOPES, method="local").encoder)
    bottleneck = np.swapaxes(optima, 1, 2)
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


def _gaussian(
    source: GaussianSource, size: Float[Array, ""], n: int, loss: RankLoss
) -> tuple[_Points, Any]:
    """Evaluate the Gaussian test channel, and invert the scalar Gaussian bottleneck."""
    if source.cross_covariance.shape != (1, 1):
        raise ValueError(
            "source must be scalar if it is Gaussian, got a cross covariance of shape "
            f"{source.cross_covariance.shape}"
        )
    rho2 = float(source.canonical_correlations[0]) ** 2
    rates = np.geomspace(0.05, 8.0, 2 * _SHARES)
    if rho2 == 0:
        blank = np.zeros(1)
        return _Points(blank + 1, blank, blank), lambda needed: np.where(needed > 0, np.inf, 0.0)
    # Below a correlation of a sixth the mixtures grow long; the zero-rate point is near by then.
    rates = rates[rho2 * -np.expm1(-2 * _LN2 * rates) > 0.03]
    quadrature = gaussian_rank_loss(math.sqrt(rho2), size, loss, n=n, rate=rates, nodes=200)
    losses = np.minimum(np.asarray(quadrature.value + quadrature.error), 1.0)

    def outer(relevance: np.ndarray) -> np.ndarray:
        kept = -np.expm1(-2 * _LN2 * relevance) / rho2
        reached = kept < 1
        return np.where(reached, -np.log1p(-np.where(reached, kept, 0.0)) / (2 * _LN2), np.inf)

    return _Points(losses, n * rates, rates), outer
