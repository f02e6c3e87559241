r"""The retrieval rate-distortion function between two bounds (C12, C25, C26, C27): bits against rank loss.

Items of n letters, M of them, loss rho of the target's rank.

Lower bound (the converse): every encoder, even one that sees the whole database, needs at least
$n\,\mathrm{IB}^{-1}(R_\rho(D; M)/n)$ bits per item (C4), and at least the single-letter converse of
whole items (C26), which is the tighter one for short items. Gaussian items need at least the bits at which half-spaces
allow the loss (C27), where bits are those of information: the form for codewords of fixed length or for separate encoders is
tighter, and does not hold for all systems that the upper bound is about. The lower bound is infinite where even the stored
items do not identify the target well enough: no system reaches such a D.

Upper bound: a single test channel, used for every item of the database, makes descriptions of
$I(U;Y^n)$ bits per item, n I(U;Y) if it works letter by letter, and its loss is exact. The rate is that
of describing all M items together with common randomness: a prefix code spends at most
$\log_2(M I + 1) + 5$ bits more, on the whole database (Li and El Gamal 2018, strong functional
representation lemma), so the excess an item vanishes.

Time sharing: common randomness picks one channel for the whole database, so the competitors are
made by the target's own channel and both the rate and the loss are averages. Hence the
lower convex hull of all points found, with the constant description (D_max, 0), is achieved.

Items of few values, one letter or a short block, are described whole. Where the queries sort them in
one order or its reverse the upper bound is the best of all channels to the tolerance (C25).
Otherwise it is the best of channels of some dozens of codewords (`items._alternation`), some 1e-3 bits
above the optimum, and of C25's own where codewords are told apart best. Where queries are of many classes, groups of them
take the place of all in C26 (`items._groups`). Longer items: a local search among memoryless channels of |Y| + 1 codewords
(`_block_channels`), below which C4 alone stands. Encoders that see the
whole database and describe items jointly may need fewer bits than any single channel, down to the
lower bound.
"""

import dataclasses
from functools import reduce
from typing import Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.limits._supporting_lines import lower_hull
from rdsim.limits.bottleneck import bottleneck_gaussian_rate, bottleneck_rate
from rdsim.limits.converses._half_spaces import half_space_bits
from rdsim.limits.rank_distortion.uniform import rank_rate
from rdsim.limits.retrieval._block_channels import block_schemes
from rdsim.limits.retrieval.items import RetrievalCurve, retrieval_curve
from rdsim.limits.retrieval.items._alternation import alternated
from rdsim.limits.retrieval.items._item_curve import at_slopes, searched
from rdsim.limits.retrieval.items._programme import evaluated, many_classes
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.gaussian import gaussian_rank_loss
from rdsim.ranking.gaussian.scalar import QuadratureLoss
from rdsim.ranking.loss import Loss, RankLoss, parse_loss
from rdsim.ranking.rank_distribution import expected_loss
from rdsim.results import result
from rdsim.sources.gaussian_pairs import GaussianSource
from rdsim.sources.tables import DiscreteSource
from rdsim.transformations import on_host

_GAUSSIAN_RATES: Final = np.geomspace(0.05, 8.0, 24)
"""Rates of the Gaussian test channel that are evaluated, bits per letter."""
_CELL_LIMIT: Final = 1024.0
"""Pairs of a query and an item, |X|^n |Y|^n, up to which items are described whole."""
_LARGEST: Final = 1000.0
"""log2 M up to which items are described whole, and half-spaces used."""
_MULTIPLIERS: Final = np.geomspace(1 / 96, 48.0, 80)
"""Rewards a nat of the channels that are searched, over the range of the reward."""
_SLOPES: Final = np.geomspace(1 / 8, 4.0, 8)
"""Rewards a bit at which that converse is solved, over the mean reward a bit of stored items."""
_STEEP: Final = 0.15
"""Largest of these rewards at which C25 is solved as well: there a few dozens of codewords are too coarse."""
_FAST: Final = 3
"""Classes up to which C25 is solved as well, and the converse to `_ROUGH`; beyond, to `_ROUGHER` at every other slope."""
_ROUGH: Final = 4e-3
_ROUGHER: Final = 1e-2
"""Tolerances of these solutions, bits: what lies between the lines of neighbouring slopes is of this order."""


@result
class RetrievalBounds:
    """Bits per item that retrieval within a loss needs, between two bounds.

    Attributes:
        distortion: expected loss allowed, shape (D,).
        lower: bits per item that every system needs, shape (D,); inf where none reaches the loss.
        upper: bits per item achieved by a single channel for all items, time-shared, shape (D,); inf
            where nothing that was found reaches the loss. Joint encoders may need fewer.
        vertex_loss: losses of the schemes that are time-shared, increasing, shape (V,).
        vertex_bits: their bits per item, shape (V,).
        zero_rate_loss: D_max, the loss of a random ranking.

    """

    distortion: Float[Array, " d"]
    lower: Float[Array, " d"]
    upper: Float[Array, " d"]
    vertex_loss: Float[Array, " v"]
    vertex_bits: Float[Array, " v"]
    zero_rate_loss: Float[Array, ""]

    @property
    def gap(self) -> Float[Array, " d"]:
        """Upper minus lower bound, bits per item; zero where both are infinite."""
        equal = self.upper == self.lower
        return jnp.where(equal, 0.0, self.upper - jnp.where(equal, 0.0, self.lower))


@on_host
@validation.needs_float64
def retrieval_bounds(
    source: DiscreteSource | GaussianSource | ArrayLike,
    log2_size: ArrayLike,
    loss: Loss,
    *,
    n: Integer,
    distortion: ArrayLike | None = None,
    rounds: Integer = 12,
    levels: Integer | None = None,
    tolerance: ArrayLike = 1e-4,
) -> RetrievalBounds:
    r"""Bound the bits per item that retrieval within an expected rank loss needs (C12).

    $$n\,\mathrm{IB}^{-1}\Bigl(\frac{R_\rho(D;M)}{n}\Bigr) \le R^*(D) \le
    \mathrm{conv} \min_{P_{U|Y^n}} \{ I(U;Y^n) : E\,\rho(\mathrm{rank}) \le D \}.$$

    The bits are those of information, $I(U;Y^n)$ an item: the lower bound holds for every system, also one that sees the whole database, whatever
    its codewords are. It is the largest of the left side (C4), for items of few values the single-letter converse (C26), and for
    Gaussian items, up to $\log_2 M = 1000$, half-spaces of information (C27).

    Args:
        source: a `DiscreteSource`, a `GaussianSource` of scalars, or a table P(x,y).
        log2_size: log2 M >= 1, a scalar.
        loss: the rank loss, a `rdsim.ranking.Loss`.
        n: letters in an item.
        distortion: losses D in [0, 1], shape (D,); by default 33 from the least that is achieved
            to D_max.
        rounds: of a pattern search for long items, which moves mass between the codewords of the best
            candidate channels (bottleneck optima; the stored letter, whole, noisy, erased, or one
            letter flagged), the fraction moved shrinking by the root of two a round. Where one loss
            costs more than 1e6 multiplications the candidates are fewer and no round is made. Items
            of few values (of binary letters up to five) and Gaussian sources have no such rounds.
        levels: as in `block_loss`.
        tolerance: certified gap to reach for each bound, bits: an item of C25 and C26 where queries
            sort the items in one order or its reverse (otherwise C26 is solved at four or eight
            slopes, to some thousandths), a letter of the inverse bottleneck in C4.

    Returns:
        Both bounds. From D_max on both are zero.

    Raises:
        ValueError: if the source is Gaussian but not scalar, or the exact rank distribution is too
            costly (see `block_loss`).

    References:
        Tuncel (2009), IEEE Trans. Inf. Theory 55(8), for the limit of large n; Li and El Gamal
        (2018), IEEE Trans. Inf. Theory 64(11), Theorem 1, for the rate of a test channel.

    """
    parsed = parse_loss(loss)
    size = validation.interval("log2_size", log2_size, low=1.0, high=1e5, ndim=0)
    n = validation.integer("n", n, low=1)
    steps = validation.integer("rounds", rounds, low=0)
    if levels is not None:
        levels = validation.integer("levels", levels, low=1)
    wanted = float(validation.tolerance(tolerance))
    if distortion is not None:
        distortion = validation.interval("distortion", distortion, low=0.0, high=1.0, ndim=1)
    zero_rate = float(expected_loss(size, parsed, log_a=-jnp.inf, log_e=0.0))
    if isinstance(source, GaussianSource):
        pairs = _GaussianItems(source, n)
        found, inverse_bottleneck = pairs.schemes(size, parsed), pairs.inverse_bottleneck
        whole = None
    else:
        joint = source.joint if isinstance(source, DiscreteSource) else source
        joint = np.asarray(validation.pmf("source", joint, ndim=2))

        def inverse_bottleneck(relevance: np.ndarray) -> np.ndarray:
            rate = bottleneck_rate(joint, relevance, tolerance=wanted, compress="columns")
            return np.asarray(rate.lower)

        whole = _whole_items(joint, size, loss, n, wanted)
        if whole is None:
            schemes = block_schemes(joint, size, n, parsed, steps, levels)
            found = schemes.loss, schemes.bits
    if whole is not None:
        D = _goals(distortion, float(whole.minimum_loss), zero_rate)
        found, converse = _item_bounds(whole, np.minimum(D, zero_rate))
    useful = (found[0] < zero_rate) & (found[1] > 0)
    loss_, bits = np.append(found[0][useful], zero_rate), np.append(found[1][useful], 0.0)
    corners = lower_hull(loss_, bits)
    vertex_loss, vertex_bits = loss_[corners], bits[corners]
    D = _goals(distortion, vertex_loss[0], zero_rate)
    # C4: the ranking must know R_rho(D; M) bits about the target, of which an item's letters can
    # tell no more than the bottleneck of its own bits; so the inverse bottleneck, n letters at a
    # time.
    needed = np.asarray(rank_rate(size, parsed, distortion=D).lower) / n
    achieved = np.interp(D, vertex_loss, vertex_bits, left=np.inf, right=0.0)
    lower = n * inverse_bottleneck(needed)
    if isinstance(source, GaussianSource):
        lower = pairs.raised(size, parsed, D, lower)
    if whole is not None:
        # Two ways round to different last digits: neither bound may pass the other for that.
        lower = np.minimum(np.maximum(lower, converse), achieved)
    return RetrievalBounds(
        distortion=jnp.asarray(D, float),
        lower=jnp.asarray(np.where(zero_rate <= D, 0.0, lower), float),
        upper=jnp.asarray(achieved, float),
        vertex_loss=jnp.asarray(vertex_loss, float),
        vertex_bits=jnp.asarray(vertex_bits, float),
        zero_rate_loss=jnp.asarray(zero_rate, float),
    )


def _goals(distortion: Array | None, least: float, most: float) -> np.ndarray:
    return np.linspace(least, most, 33) if distortion is None else np.asarray(distortion)


def _whole_items(
    joint: np.ndarray, size: Float[Array, ""], loss: Loss, n: int, tolerance: float
) -> RetrievalCurve | None:
    """State the problem of items of n letters as one of single letters; None if they are too many."""
    letter = joint[joint.sum(axis=1) > 0]
    if n * np.log2(letter.size) > np.log2(_CELL_LIMIT) or float(size) > _LARGEST:
        return None
    table = reduce(np.kron, [letter] * n)
    return retrieval_curve(table / table.sum(), size, loss, np.zeros(0), tolerance=tolerance)


def _item_bounds(
    shared: RetrievalCurve, D: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Find the schemes of C25 around given losses, and the converse of C26 at these.

    With one class of queries both curves are searched at the losses. With more, channels come from the
    alternation of `items._alternation` and the converse from supporting lines at a few slopes, or from
    groups of classes. Every scheme is evaluated as it is and every line holds everywhere, so that all of
    this decides how tight the bounds are, and not whether they hold.

    Returns:
        Losses and bits of the schemes; bits at D, infinite below the loss of items stored whole.

    """
    least = float(shared.minimum_loss)
    # Below the loss of items stored whole no rate suffices.
    converse = np.where(least > D, np.inf, 0.0)
    goals = np.unique(D[least <= D])
    problem = shared.programme()
    if float(shared.maximum_loss) - least <= 0:
        return (np.zeros(0), np.zeros(0)), converse
    classes = len(problem.queries.direction)
    joint = dataclasses.replace(shared, encoder="joint")
    # All queries rank the items in one order or its reverse: the curve is solved at the goals themselves.
    if classes <= 1:
        _, _, points = searched(shared, np.append(goals, least), inverse=False)
        below, _, _ = searched(joint, D, inverse=False)
        return (points.x, points.upper), np.where(least > D, np.inf, np.maximum(below, 0.0))
    span = float(shared.maximum_loss) - least
    # Channels by alternating optimisation at several multipliers. Each is achieved, whether or not it converged.
    channels = alternated(
        problem, shared.letters(), 2.0 ** float(shared.log2_size), span * _MULTIPLIERS
    )
    reward, nats = np.array([evaluated(problem, channel) for channel in channels]).T
    x = np.append(1.0 - reward, least)
    y = np.append(nats / np.log(2.0), float(shared.stored_rate))
    if many_classes(joint.programme()):
        if goals.size:
            converse = np.maximum(converse, joint.converse_by_groups().rate_at(D))
        return (x, y), converse
    # The converse for joint encoders: supporting lines at a few slopes. A line is lowered by the gap it was solved
    # to, so that a rough tolerance costs tightness and not validity.
    rough = jnp.asarray(_ROUGH if classes <= _FAST else _ROUGHER)
    # The programme takes its tolerance from the curve: both are solved roughly from here on.
    rate = dataclasses.replace(shared.rate, tolerance=rough)
    shared, joint = (dataclasses.replace(each, rate=rate) for each in (shared, joint))
    chosen = _SLOPES if classes <= _FAST else _SLOPES[1::2]
    # In units of what a bit earns on average if items are stored whole: the curve bends around
    # that slope.
    slopes = chosen * span / float(shared.stored_rate)
    if goals.size:  # where no rate suffices for any, there is nothing to bound
        converse = np.maximum(converse, at_slopes(joint, slopes).line(D))
    if classes <= _FAST:
        points = at_slopes(shared, slopes[chosen <= _STEEP])
        x, y = np.append(x, points.x), np.append(y, points.upper)
    return (x, y), converse


class _GaussianItems:
    """Items of n scalar Gaussian letters."""

    def __init__(self, source: GaussianSource, n: int) -> None:
        if source.cross_covariance.shape != (1, 1):
            raise ValueError(
                "source must be scalar if it is Gaussian, got a cross covariance of shape "
                f"{source.cross_covariance.shape}"
            )
        self.correlation, self.n = float(source.canonical_correlations[0]), n

    def losses(self, size: Float[Array, ""], loss: RankLoss, rate: np.ndarray) -> QuadratureLoss:
        """Evaluate the Gaussian test channel."""
        return gaussian_rank_loss(self.correlation, size, loss, n=self.n, rate=rate, nodes=200)

    def schemes(self, size: Float[Array, ""], loss: RankLoss) -> tuple[np.ndarray, np.ndarray]:
        """Return losses and bits of test channels, each loss bounded from above."""
        quadrature = self.losses(size, loss, _GAUSSIAN_RATES)
        # The quadrature's error is added.
        losses = np.minimum(np.asarray(quadrature.value + quadrature.error), 1.0)
        return losses, self.n * _GAUSSIAN_RATES

    def inverse_bottleneck(self, relevance: np.ndarray) -> np.ndarray:
        """Return the bits of a letter of which so many are about the query."""
        return np.asarray(bottleneck_gaussian_rate(self.correlation, relevance=relevance))

    def raised(
        self, size: Float[Array, ""], loss: RankLoss, D: np.ndarray, bits: np.ndarray
    ) -> np.ndarray:
        """Raise lower bounds on the bits for losses D to those of half-spaces, and of items stored whole."""
        if self.correlation == 0 or size > _LARGEST:
            return bits
        found = half_space_bits(self.correlation, float(size), loss, D, bits)
        # What follows from the items themselves loses no more than what follows from any description of them.
        stored = self.losses(size, loss, np.array(np.inf))
        return np.where(float(stored.value - stored.error) > D, np.inf, found)
