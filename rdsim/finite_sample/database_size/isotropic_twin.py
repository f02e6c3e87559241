r"""The isotropic twin of real pairs: one effective dimension and a distribution of correlations over the pairs.

Query and item are standard normal vectors of n coordinates whose correlation differs from pair to pair. The
cosine t of a pair of correlation rho has Fisher's density, and a random item beats the target with probability

$$p = c_n(t) = \tfrac12 I_{1-t^2}\big(\tfrac{n-1}{2}, \tfrac12\big) \quad (t \ge 0), \qquad
    c_n(-t) = 1 - c_n(t).$$

The ranks do not tell the dimension: in any dimension some distribution of correlations has nearly the same
distribution of p. The dimension is that of the items, and decides what codes of few bits can do. That distribution
is fitted without a form to the counts of items ahead, and with them to the fall of the quality with the
database; it is then moved so that the measured quality is met.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Final

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.optimize import brentq

from rdsim import validation
from rdsim.finite_sample.database_size import _mixing
from rdsim.finite_sample.database_size._cosines import NATS, Cosines, beaten
from rdsim.finite_sample.database_size._mixing import Reals
from rdsim.finite_sample.database_size._ranks import check_ranks
from rdsim.limits import retrieval_converse
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.loss import Loss, RankLoss
from rdsim.ranking.rank_distribution import gain_without_ties
from rdsim.results import result
from rdsim.sources import vector_gaussian
from rdsim.transformations import on_host

_LEAST_DIMENSION: Final = 4.0
_LARGEST_DIMENSION: Final = 1024.0
# The distribution of the correlation rho has its nodes on a grid of Fisher's z = artanh(rho), from _WEAKEST to _STRONGEST.
# They are 1/sqrt(n) apart, the standard deviation of z given rho, and there are at most _NODES of them.
_WEAKEST: Final = -0.5
_STRONGEST: Final = 3.0
_NODES: Final = 50
_LIGHT: Final = 1e-4
"""Nodes of a smaller probability are left out."""
_JOINED: Final = 0.04
"""Probability up to which the converse joins correlations: all are bounded as if they were the strongest of them."""
_LITTLE: Final = 1e-3
"""Loss below which the converse counts that of stronger pairs as zero. With the joined correlations this loosened
recalls by up to .02 where it was compared, and takes a fraction of the time."""


@result
class IsotropicTwin:
    """Gaussian pairs whose correlations are those of the nodes, with their probabilities.

    Attributes:
        dimension: n, effective number of coordinates.
        correlations: rho of the nodes, shape (K,).
        probabilities: of the nodes, shape (K,).
        quality: measured quality of items stored whole, which the twin reproduces.
        fitted_quality: that of the twin before its correlations were moved; the difference says how well it fits.
        log2_size: log2 of the measured size.
        rank_loss: kind of the loss and its cutoff.

    """

    dimension: float = field(metadata={"static": True})
    correlations: Float[np.ndarray, " k"]
    probabilities: Float[np.ndarray, " k"]
    quality: float = field(metadata={"static": True})
    fitted_quality: float = field(metadata={"static": True})
    log2_size: float = field(metadata={"static": True})
    rank_loss: tuple[str, int] = field(metadata={"static": True})

    @on_host
    def loss(self, bits: ArrayLike, *, log2_size: ArrayLike) -> Float[np.ndarray, "..."]:
        r"""Compute the expected loss of random codes: the nearest of $2^R$ random directions is kept (C28).

        The largest cosine T of $2^R$ random directions has $P(T \le \tau) = (1 - c_n(\tau))^{2^R}$; the
        cosine of query and codeword is $t T + \sqrt{(1-t^2)(1-T^2)}\, w$, w being a coordinate of a random
        direction in n - 1 dimensions; a competitor's codeword is a random direction.

        Args:
            bits: R, 0 to 1000 an item, any shape; infinity for items stored whole.
            log2_size: log2 M, 1 to 1000.

        Returns:
            Expected losses, by quadrature (to about 1e-3), shape of bits.

        """
        found = random_code_losses(self, [RankLoss(*self.rank_loss)], bits, log2_size=log2_size)
        return np.asarray(found[0])

    @on_host
    def converse(self, bits: ArrayLike, *, log2_size: ArrayLike) -> Float[np.ndarray, "..."]:
        r"""Bound the loss of every code of the twin's pairs from below: the mean of C27 over the correlations.

        Proof: tell the decoder the correlation of the query's own pair, which can only help it. Given that
        it is rho, the pair is Gaussian of one correlation and the other items are independent of the query
        as before, so that the loss is at least C27 at rho; average over rho.

        Args:
            bits: R >= 0 for each item, one of $2^R$ codewords, one encoder for all; any shape.
            log2_size: log2 M, 1 to 1000.

        Returns:
            Least losses, shape of bits.

        """
        found = converse_losses(self, [RankLoss(*self.rank_loss)], bits, log2_size=log2_size)
        return np.asarray(found[0])


@on_host
def effective_dimension(points: ArrayLike) -> float:
    r"""Compute the effective dimension of points, $(\sum_i \lambda_i)^2 / \sum_i \lambda_i^2$.

    It is the participation ratio of the eigenvalues of their covariance: d for isotropic points in d
    dimensions.

    Args:
        points: one a row, shape (N, d), N >= 2, not all equal.

    Returns:
        The dimension, between 1 and d.

    """
    given = np.asarray(validation.coordinates("points", points, ndim=2))
    if len(given) < 2 or not np.ptp(given, axis=0).any():
        raise ValueError(f"points must be at least two that differ, got shape {given.shape}")
    # The scale does not matter, and squares of small points would underflow.
    centred = given - given.mean(axis=0)
    covariance = np.cov(centred / np.abs(centred).max(), rowvar=False, ddof=0).reshape(
        given.shape[1], -1
    )
    return float(np.trace(covariance) ** 2 / np.sum(covariance**2))


@on_host
@validation.needs_float64
def fit_isotropic_twin(
    ahead: ArrayLike,
    loss: Loss,
    *,
    competitors: Integer,
    dimension: float,
    tied: ArrayLike = 1,
) -> IsotropicTwin:
    r"""Fit a distribution of correlations to the ranks of real pairs, in a given dimension.

    Nonparametric maximum likelihood of the counts ahead, which are binomial with $p = c_n(t)$, t of
    Fisher's density at rho; they are then moved in $\mathrm{artanh}\,\rho$ until the twin has the
    measured quality.

    Args:
        ahead: number of competitors ahead of the target of each query, integers, shape (Q,), Q >= 2.
        loss: the rank loss that is reproduced, a `Loss`.
        competitors: N, items ranked beside the target, at least 63.
        dimension: n, 4 to 1024, for example the `effective_dimension` of the items; no integer is needed.
        tied: items at the target's score, itself included, at least 1; shape (Q,) or ().

    Returns:
        The twin.

    Raises:
        ValueError: also if the quality is 0 or 1, or one that no such pair has.

    References:
        Hotelling (1953), JRSS B 15 (the density of a cosine, there of a sample correlation); Kiefer and
        Wolfowitz (1956) for the distribution.

    """
    ranks = check_ranks(ahead, loss, competitors, tied)
    n = float(
        validation.interval(
            "dimension", dimension, low=_LEAST_DIMENSION, high=_LARGEST_DIMENSION, ndim=0
        )
    )
    measured = ranks.gains(ranks.competitors + 1)
    quality = float(measured.mean())
    ranks.require_larger(quality, "the twin")
    cosines = Cosines(n)
    z, mass = fitted_nodes(cosines, ranks.ahead, ranks.tied, ranks.competitors)
    log2_size = math.log2(ranks.competitors + 1)
    gain = gain_without_ties(log2_size, ranks.loss, cosines.log_beaten)

    def at(shift: float) -> float:
        return float(cosines.mixture(np.tanh(z + shift), mass) @ gain)

    return moved_twin(n, z, mass, at, quality, log2_size, ranks.loss)[0]


def fitted_nodes(
    cosines: Cosines,
    ahead: NDArray[np.int64],
    tied: NDArray[np.int64],
    competitors: int,
    share: Reals | None = None,
) -> tuple[Reals, Reals]:
    """Fit the distribution of artanh of the correlation: nodes and their probabilities, shape (K,) each.

    Each target has the same share of it, unless they are given, in all one.
    """
    counts = _mixing.counts_of(ahead, tied, competitors, share)
    # In artanh the density of a cosine has a standard deviation of about 1/sqrt(n) at every correlation (Fisher's
    # z-transformation): one node for each resolves all that the ranks can tell.
    number = min(math.ceil((_STRONGEST - _WEAKEST) * math.sqrt(cosines.n)) + 1, _NODES)
    z = np.linspace(_WEAKEST, _STRONGEST, number)
    # Slightly below zero, because the likelihood needs ln(1 - p).
    table = _mixing.likelihood(counts, np.minimum(cosines.log_beaten, -1e-12))
    # The EM algorithm of `free_form`, on correlations: the likelihood of a correlation is that of the cosines it gives.
    mass = _mixing.free_form(table @ cosines.density(np.tanh(z)), counts.share)
    kept = mass > _LIGHT
    return z[kept], mass[kept] / mass[kept].sum()


def moved_twin(
    dimension: float,
    z: Reals,
    mass: Reals,
    at: Callable[[float], float],
    quality: float,
    log2_size: float,
    loss: RankLoss,
) -> tuple[IsotropicTwin, float]:
    """Move all artanh of the correlations, z, until the twin has the measured quality; also return by how much.

    The maximum of the likelihood reproduces the ranks, and the quality only nearly. The quality `at` a shift rises with
    it, so that Brent's method finds the shift in [-1, 1].
    """
    if not at(-1.0) < quality < at(1.0):
        raise ValueError(f"ahead must have a quality that the pairs can have, got {quality!r}")
    shift = float(brentq(lambda moved: at(moved) - quality, -1.0, 1.0, xtol=1e-12))
    twin = IsotropicTwin(
        dimension=dimension,
        correlations=np.tanh(z + shift),
        probabilities=mass,
        quality=quality,
        fitted_quality=at(0.0),
        log2_size=log2_size,
        rank_loss=(loss.kind, loss.cutoff),
    )
    return twin, shift


def random_code_losses(
    twin: IsotropicTwin, losses: Sequence[RankLoss], bits: ArrayLike, *, log2_size: ArrayLike
) -> Reals:
    """Compute several losses of `IsotropicTwin.loss` from the same integrals, stacked along a first axis."""
    stored = np.asarray(validation.interval("bits", bits, low=0.0), float)
    if ((stored > 1000) & np.isfinite(stored)).any():
        raise ValueError(f"bits must be at most 1000, or infinity, got {stored.max()!r}")
    size = float(validation.interval("log2_size", log2_size, low=1.0, high=1e3, ndim=0))
    scores = Scores(twin.dimension, size)
    gain, whole = (
        np.stack([gain_without_ties(size, loss, log_p) for loss in losses])
        for log_p in (scores.log_p, scores.cosines.log_beaten)
    )
    found = [(whole if math.isinf(R) else gain) @ scores.of(twin, R)[1] for R in stored.ravel()]
    return 1 - np.stack(found, axis=1).reshape(len(losses), *stored.shape)


class Scores:
    """How probable it is that a random item wins against a target, among a number of items, behind random codes."""

    def __init__(self, dimension: float, log2_size: float, fineness: float = 0.3) -> None:
        """Make the grids; with 1e-20 expected winners in the database, fewer make no difference."""
        self.cosines = Cosines(dimension, fineness)
        self.log_p = np.minimum(np.arange(-log2_size * math.log(2) - 46, NATS, NATS), 0.0)
        self._table = self.cosines.cap_table()

    def of(self, twin: IsotropicTwin, bits: float) -> tuple[Reals, Reals]:
        """Return ln p on a grid, and its probabilities; unlimited bits have a grid of their own, of falling p."""
        mass = self.cosines.mixture(twin.correlations, twin.probabilities)
        if math.isinf(bits):
            return self.cosines.log_beaten, mass
        return self.log_p, beaten(self.cosines, mass, bits, self._table, self.log_p)


def converse_losses(
    twin: IsotropicTwin,
    losses: Sequence[RankLoss],
    bits: ArrayLike,
    *,
    log2_size: ArrayLike,
    tolerance: float = 1e-6,
) -> Reals:
    """Bound several losses as `IsotropicTwin.converse` does, stacked along a first axis, from the same tables.

    At each correlation to the tolerance of `retrieval_converse`.
    """
    stored = np.asarray(validation.interval("bits", bits, low=0.0, high=1e4), float)
    size = float(validation.interval("log2_size", log2_size, low=1.0, high=1e3, ndim=0))
    # More coordinates carry more information: a bound for n rounded up holds for n. Likewise a weaker pair is a
    # degraded version of a stronger one, so that correlations of small probability may be bounded by
    # the next stronger one.
    eye = np.eye(math.ceil(twin.dimension))
    total, joined = np.zeros((len(losses), stored.size)), 0.0
    wanted = np.ones(total.shape, bool)
    order = np.argsort(np.abs(twin.correlations))
    for node in order:
        joined += float(twin.probabilities[node])
        if joined < _JOINED and node != order[-1]:
            continue
        pair = vector_gaussian(eye, eye, abs(float(twin.correlations[node])) * eye)
        for loss, sum_here, open_here in zip(losses, total, wanted, strict=True):
            if not open_here.any():
                continue
            some = stored.ravel()[open_here]
            found = np.asarray(
                retrieval_converse(pair, size, loss, bits=some, tolerance=tolerance).loss
            )
            sum_here[open_here] += joined * found
            # Stronger pairs lose less still.
            open_here[open_here] = found > _LITTLE
        joined = 0.0
    return total.reshape(len(losses), *stored.shape)
