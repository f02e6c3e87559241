r"""Fits the isotropic twin to the ranks of real pairs.

The ranks do not tell the dimension: in any dimension some distribution of correlations has nearly the same
distribution of p. The dimension is that of the items, and decides what codes of few bits can do. That distribution
is fitted without a form to the counts of items ahead, and with them to the fall of the quality with the
database; it is then moved so that the measured quality is met.
"""

import math
from collections.abc import Callable
from typing import Final

import numpy as np
import scipy
from numpy.typing import NDArray

from rdsim import validation
from rdsim.finite_sample.database_size import _mixing
from rdsim.finite_sample.database_size._cosines import Cosines
from rdsim.finite_sample.database_size._mixing import Reals
from rdsim.finite_sample.database_size._ranks import check_ranks
from rdsim.finite_sample.database_size.isotropic_twin import IsotropicTwin
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.loss import Loss, RankLoss
from rdsim.ranking.rank_distribution import gain_without_ties
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
    shift = float(scipy.optimize.brentq(lambda moved: at(moved) - quality, -1.0, 1.0, xtol=1e-12))
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
