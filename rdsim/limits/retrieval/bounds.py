r"""The retrieval rate-distortion function between two bounds (C12): bits an item against rank loss.

Items of n letters, M of them, loss rho of the target's rank.

Lower bound (the converse): every encoder, even one that sees the whole database, needs at least
$n\,\mathrm{IB}^{-1}(R_\rho(D; M)/n)$ bits an item (C4), infinite where even the stored items do not
identify the target well enough: no system reaches such a D.

Upper bound: a single test channel, used for every item of the database, makes descriptions of
$I(U;Y^n)$ bits an item, n I(U;Y) if it works letter by letter, and its loss is exact. The rate is that
of describing all M items together with common randomness: a prefix code spends at most
$\log_2(M I + 1) + 5$ bits more, on the whole database (Li and El Gamal 2018, strong functional
representation lemma), so the excess an item vanishes.

Time sharing: common randomness picks one channel for the whole database, so the competitors are
made by the target's own channel and both the rate and the loss are averages. (Were each item to
draw its own channel, the competitors would be a mixture, and the loss not the average.) Hence the
lower convex hull of all points found, with the constant description (D_max, 0), is achieved.

Items of few values, one letter or a short block: no finite number of codewords attains the exact
trade-off of rate and loss, so the search has dozens (`_item_channels`). With two kinds of query it ends
within 0.01 bits of the best of all single channels (0.001 for the DSBS), with more it is local.
Longer items: a local search among memoryless channels of |Y| + 1 codewords (`_block_channels`). A better
channel may exist, and the lower bound says by how much. Encoders that see the whole database and
describe items jointly may need fewer bits than any single channel: about half in databases of four
items, where their optimum can be enumerated.
"""

from collections.abc import Callable
from typing import Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.limits.bottleneck import bottleneck_gaussian_rate, bottleneck_rate
from rdsim.limits.rank_distortion.uniform import rank_rate
from rdsim.limits.retrieval._block_channels import block_schemes
from rdsim.limits.retrieval._item_channels import item_schemes
from rdsim.limits.retrieval._time_sharing import Schemes, lower_hull
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.gaussian import gaussian_rank_loss
from rdsim.ranking.loss import Loss, RankLoss, parse_loss
from rdsim.ranking.rank_distribution import expected_loss
from rdsim.results import result
from rdsim.sources.gaussian_pairs import GaussianSource
from rdsim.sources.tables import DiscreteSource
from rdsim.transformations import on_host

_GAUSSIAN_RATES: Final = np.geomspace(0.05, 8.0, 24)
"""Rates of the Gaussian test channel that are evaluated, bits a letter."""


@result
class RetrievalBounds:
    """Bits an item that retrieval within a loss needs, between two bounds.

    Attributes:
        distortion: expected loss allowed, shape (D,).
        lower: bits an item that every system needs, shape (D,); inf where none reaches the loss.
        upper: bits an item achieved by a single channel for all items, time-shared, shape (D,); inf
            where nothing that was found reaches the loss. Joint encoders may need fewer.
        vertex_loss: losses of the schemes that are time-shared, increasing, shape (V,).
        vertex_bits: their bits an item, shape (V,).
        channels: their test channels, of whole items, P(u|y^n), shape (V, |Y|^n, |U|), the last
            letter running fastest, or P(u|y) of single letters, shape (V, |Y|, |U|), where items
            have too many values; of a Gaussian source the rates of its Gaussian test channel, bits
            a letter, shape (V,).
        zero_rate_loss: D_max, the loss of a random ranking.

    """

    distortion: Float[Array, " d"]
    lower: Float[Array, " d"]
    upper: Float[Array, " d"]
    vertex_loss: Float[Array, " v"]
    vertex_bits: Float[Array, " v"]
    channels: Float[Array, "v ..."]
    zero_rate_loss: Float[Array, ""]

    @property
    def gap(self) -> Float[Array, " d"]:
        """Upper minus lower bound, bits an item; zero where both are infinite."""
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
    tolerance: ArrayLike = 1e-6,
) -> RetrievalBounds:
    r"""Bound the bits an item that retrieval within an expected rank loss needs (C12).

    $$n\,\mathrm{IB}^{-1}\Bigl(\frac{R_\rho(D;M)}{n}\Bigr) \le R^*(D) \le
    \mathrm{conv} \min_{P_{U|Y^n}} \{ I(U;Y^n) : E\,\rho(\mathrm{rank}) \le D \}.$$

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
            of few values (of binary letters up to four) and Gaussian sources have no such rounds.
        levels: as in `block_loss`.
        tolerance: certified gap of the bottleneck's inverse in the lower bound, bits a letter.

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
    gap = float(validation.tolerance(tolerance))
    if distortion is not None:
        distortion = validation.interval("distortion", distortion, low=0.0, high=1.0, ndim=1)
    zero_rate = float(expected_loss(size, parsed, log_a=-jnp.inf, log_e=0.0))
    if isinstance(source, GaussianSource):
        points, inverse_bottleneck = _gaussian_schemes(source, size, n, parsed)
    else:
        joint = source.joint if isinstance(source, DiscreteSource) else source
        joint = np.asarray(validation.pmf("source", joint, ndim=2))
        schemes = item_schemes(joint, size, n, parsed)
        points = schemes or block_schemes(joint, size, n, parsed, steps, levels)

        def inverse_bottleneck(relevance: np.ndarray) -> np.ndarray:
            rate = bottleneck_rate(joint, relevance, tolerance=gap, compress="columns")
            return np.asarray(rate.lower)

    corners = lower_hull(points, zero_rate)
    if distortion is None:
        distortion = jnp.linspace(corners.loss[0], zero_rate, 33)
    D = np.asarray(distortion)
    needed = np.asarray(rank_rate(size, parsed, distortion=D).lower) / n
    achieved = np.interp(D, corners.loss, corners.bits, left=np.inf, right=0.0)
    return RetrievalBounds(
        distortion=distortion,
        lower=jnp.asarray(np.where(zero_rate <= D, 0.0, n * inverse_bottleneck(needed))),
        upper=jnp.asarray(achieved),
        vertex_loss=jnp.asarray(corners.loss),
        vertex_bits=jnp.asarray(corners.bits),
        channels=jnp.asarray(corners.channels),
        zero_rate_loss=jnp.asarray(zero_rate),
    )


def _gaussian_schemes(
    source: GaussianSource, size: Float[Array, ""], n: int, loss: RankLoss
) -> tuple[Schemes, Callable[[np.ndarray], np.ndarray]]:
    """Evaluate the Gaussian test channel; and the inverse of the scalar Gaussian bottleneck."""
    if source.cross_covariance.shape != (1, 1):
        raise ValueError(
            "source must be scalar if it is Gaussian, got a cross covariance of shape "
            f"{source.cross_covariance.shape}"
        )
    correlation = float(source.canonical_correlations[0])
    rates = _GAUSSIAN_RATES
    quadrature = gaussian_rank_loss(correlation, size, loss, n=n, rate=rates, nodes=200)
    losses = np.minimum(np.asarray(quadrature.value + quadrature.error), 1.0)

    def inverse_bottleneck(relevance: np.ndarray) -> np.ndarray:
        return np.asarray(bottleneck_gaussian_rate(correlation, relevance=relevance))

    return Schemes(losses, n * rates, rates), inverse_bottleneck
