r"""The differential entropy of a Gaussian mixture with diagonal covariances, between proved bounds.

Two arguments are intersected. The pairwise bounds (Kolchinsky & Tracey 2017) hold in any dimension
and are exact when the classes coincide or lie far apart. In up to three dimensions (after every
direction in which the classes do not differ has been split off exactly) $-\int p \ln p$ is summed
by Gauss-Legendre panels, each with a proved error (`_entropy_panels`).

This runs on the host in NumPy: the panels depend on the values.
"""

from typing import Final, NamedTuple

import numpy as np
import scipy

from rdsim.information import LN2
from rdsim.sources.mixture._entropy_panels import LOG_2PI, MAX_PANELS, ReducedMixture, integrate

_SPLIT_TOLERANCE: Final = 1e-12
"""Standard deviations: means that differ by less, relative to their size, are taken for equal."""


class EntropyBounds(NamedTuple):
    """Bits: the best known number inside its proved bounds."""

    value: float
    lower: float
    upper: float


def mixture_entropy(
    weights: np.ndarray, means: np.ndarray, variances: np.ndarray, tolerance: float
) -> EntropyBounds:
    """Differential entropy of a Gaussian mixture with diagonal covariances.

    Args:
        weights: class probabilities, shape (c,), summing to one.
        means: shape (c, d).
        variances: shape (c, d), positive.
        tolerance: gap asked for, in bits; in more than three dimensions that differ between the
            classes only the pairwise bounds are known, and their gap may be larger.

    Returns:
        Bits. The bounds include truncation, quadrature and an allowance for rounding.

    """
    mixture, offset = _reduce(weights, means, variances)
    dimension = mixture.means.shape[1]
    farthest = float(np.max(np.abs(mixture.means) / np.sqrt(mixture.variances), initial=0.0))
    rounding = 1e-13 * (1.0 + dimension + farthest) + 8 * np.finfo(float).eps * abs(offset)
    if dimension == 0:
        return _in_bits(offset, offset, offset, rounding)
    lower, upper = _pairwise_bounds(mixture)
    # A quarter of the tolerance on either side of the sum: what remains is for truncation and
    # rounding.
    value = 0.5 * (lower + upper)
    if dimension in MAX_PANELS:
        value, error = integrate(mixture, 0.25 * tolerance * LN2)
        lower, upper = max(lower, value - error), min(upper, value + error)
        value = min(max(value, lower), upper)
    return _in_bits(value + offset, lower + offset, upper + offset, rounding)


def _in_bits(value: float, lower: float, upper: float, rounding: float) -> EntropyBounds:
    """Nats as bits, the bounds moved apart by an allowance for rounding."""
    bounds = (value, lower - rounding, upper + rounding)
    return EntropyBounds(*(float(nats) / LN2 for nats in bounds))


def _reduce(
    weights: np.ndarray, means: np.ndarray, variances: np.ndarray
) -> tuple[ReducedMixture, float]:
    """Split off, exactly, the directions in which the classes do not differ, and their nats.

    Axes along which all classes have one variance are whitened; the mixture is rotated there so
    that the means span the first directions, and the others are independent standard normals.
    """
    present = weights > 0
    weights, means, variances = weights[present], means[present], variances[present]
    means = means - weights @ means
    equal = np.all(variances == variances[:1], axis=0)
    scale = np.sqrt(variances[0, equal])
    # A rotation preserves the entropy; dividing by `scale` lowers it by the sum of ln(scale).
    whitened = means[:, equal] / scale
    coordinates = span_coordinates(whitened)
    dropped = int(equal.sum()) - coordinates.shape[1]
    nats = float(np.sum(np.log(scale))) + 0.5 * dropped * (1 + LOG_2PI)
    kept = ReducedMixture(
        weights / weights.sum(),
        np.concatenate([coordinates, means[:, ~equal]], axis=1),
        np.concatenate([np.ones_like(coordinates), variances[:, ~equal]], axis=1),
    )
    return kept, nats


def span_coordinates(points: np.ndarray) -> np.ndarray:
    """Orthonormal coordinates, shape (c, rank), of points within the affine space they span."""
    if points.shape[1] == 0:
        return points
    centred = points - points.mean(axis=0)
    left, length, _ = np.linalg.svd(centred, full_matrices=False)
    rank = int(np.sum(length > _SPLIT_TOLERANCE * (1.0 + np.abs(points).max())))
    return left[:, :rank] * length[:rank]


def _pairwise_bounds(mixture: ReducedMixture) -> tuple[float, float]:
    """Kolchinsky & Tracey (2017): Bhattacharyya distances below, relative entropies above; nats."""
    w, mean, var = mixture
    square = (mean[:, None] - mean[None]) ** 2
    ratio = var[:, None] / var[None]
    divergence = 0.5 * np.sum(square / var[None] + ratio - 1 - np.log(ratio), axis=-1)
    middle = 0.5 * (var[:, None] + var[None])
    distance = np.sum(
        square / (8 * middle) + 0.5 * np.log(middle / np.sqrt(var[:, None] * var[None])), axis=-1
    )
    within = float(w @ (0.5 * np.sum(1 + LOG_2PI + np.log(var), axis=1)))

    def between(d: np.ndarray) -> float:
        return -float(w @ scipy.special.logsumexp(-d, b=w[None], axis=1))

    lower, upper = within + between(distance), within + between(divergence)
    return min(lower, upper), upper  # equal classes: the two differ by rounding alone
