r"""$-\int p \ln p$ of a Gaussian mixture in up to three dimensions, by panels with proved errors.

In complex directions around a panel's centre the mixture stays within a factor $1 \pm B$ of its leading class, so
$p \ln p$ is analytic there, bounded by M, and the Gauss-Legendre rule on n nodes errs by at most
$\frac{64}{15} M r^{-2(n-1)} / (1 - r^{-2})$ (Trefethen 2008). Panels are halved until the errors sum to what was asked.
"""

import functools
import math
from typing import Final, NamedTuple

import numpy as np
import scipy

LOG_2PI: Final = math.log(2 * math.pi)
_REACH: Final = 9.0
"""Standard deviations about each class mean that are integrated; beyond them lies a probability of
2e-19."""
_NODES: Final = {1: 16, 2: 16, 3: 12}
"""Gauss-Legendre nodes along each axis of a panel, by dimension."""
_RADII: Final = (1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 9.0, 14.0)
"""Sums of half axes of the Bernstein ellipses for which a panel's error is bounded; the least bound
counts."""
MAX_PANELS: Final = {1: 20_000, 2: 20_000, 3: 40_000}
"""Panels at which halving stops, by dimension; the error reported may then exceed the tolerance."""
_CHUNK: Final = 1 << 19
"""Most points of the panels' grids that are held in memory at once, 4 MiB for each class."""
_OVERFLOW: Final = 600.0
"""Cap of exponents: e^600 stays a float64, and no panel whose bound is near it is accepted."""


class ReducedMixture(NamedTuple):
    """The mixture that is integrated, without the directions in which classes do not differ."""

    weights: np.ndarray  # (c,), all positive
    means: np.ndarray  # (c, d)
    variances: np.ndarray  # (c, d)


def integrate(mixture: ReducedMixture, tolerance: float) -> tuple[float, float]:
    """Nats and their proved error, by panels halved until the errors sum to the tolerance."""
    reach = _REACH * np.sqrt(mixture.variances)
    low, high = np.min(mixture.means - reach, axis=0), np.max(mixture.means + reach, axis=0)
    centres, halves = (0.5 * (low + high))[None], (0.5 * (high - low))[None]
    error, axis = _panel_errors(mixture, centres, halves)
    limit = MAX_PANELS[low.size]
    while error.sum() > tolerance and len(error) < limit:
        # Each panel kept errs by at most half its part of the tolerance, so all together by half of
        # it.
        split = error > 0.5 * tolerance / len(error)
        pieces = _halved(centres[split], halves[split], axis[split])
        new_error, new_axis = _panel_errors(mixture, *pieces)
        centres = np.concatenate([centres[~split], pieces[0]])
        halves = np.concatenate([halves[~split], pieces[1]])
        error = np.concatenate([error[~split], new_error])
        axis = np.concatenate([axis[~split], new_axis])
    return _panel_sum(mixture, centres, halves), float(error.sum()) + _tail(mixture)


def _halved(
    centres: np.ndarray, halves: np.ndarray, axis: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Centres and half widths of the two halves of every panel, cut along its axis."""
    rows = np.arange(len(axis))
    halves = halves.copy()
    halves[rows, axis] *= 0.5
    step = np.zeros_like(halves)
    step[rows, axis] = halves[rows, axis]
    return np.concatenate([centres - step, centres + step]), np.concatenate([halves, halves])


def _panel_errors(
    mixture: ReducedMixture, centres: np.ndarray, halves: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    r"""Bound the error of every panel's rule, and the axis along which to halve the panel.

    The rule errs along one axis at a time, while the others stay real. With class 1 leading at the
    centre, $p = w_1 N_1 g$. Along a complex displacement of modulus R from the panel's middle the
    logarithm of $w_c N_c / w_1 N_1$ moves by at most $\omega_c$ and that of $N_1$ by at most
    $\omega$, so from a real point $|g/g_0 - 1| \le B = \sum_c \pi_c (e^{\omega_c} - 1)$, where
    $\pi$ is the class posterior there: at most the odds at the centre times their largest change
    within the panel.
    """
    w, mean, var = mixture
    nodes = _NODES[centres.shape[1]]
    shift = centres[:, None] - mean  # (panels, classes, axes)
    log_class = np.log(w) - 0.5 * np.sum(shift**2 / var + np.log(var) + LOG_2PI, axis=-1)
    lead = np.argmax(log_class, axis=1)
    rows = np.arange(len(lead))
    log_odds = log_class - log_class[rows, lead][:, None]
    # First and second derivatives of the log density of the leading class, and of the log odds.
    lead_slope = shift[rows, lead] / var[lead]  # (panels, axes)
    slope = np.abs(shift / var - lead_slope[:, None])
    curvature = 0.5 * np.abs(1 / var - 1 / var[lead][:, None])
    # Change of the log odds within the panel.
    change = halves[:, None] * slope + halves[:, None] ** 2 * curvature
    log_volume = np.sum(np.log(2 * halves), axis=1)
    errors = np.full(halves.shape, np.inf)
    for i in range(halves.shape[1]):
        # Along axis i the rule leaves the real line; along the others the point is real, anywhere.
        others = change.sum(axis=-1) - change[..., i]
        log_posterior = np.minimum(log_odds + others, 0.0)
        section = halves.copy()
        section[:, i] = 0.0
        lowest, highest = _extremes(log_class, shift, var, section)
        largest = np.maximum(np.abs(lowest), np.abs(highest))
        for r in _RADII:
            rule = 0.5 * (64 / 15) * r ** (-2.0 * (nodes - 1)) / (1 - r**-2)
            R = halves[:, i] * 0.5 * (r + 1 / r)
            omega = R[:, None] * slope[..., i] + R[:, None] ** 2 * curvature[..., i]
            # ln(e^omega - 1), in logarithms: a class may be 1e-400 times as likely at the centre as
            # the leading one, and still lead elsewhere in the panel.
            constant = omega == 0
            log_growth = omega + np.log(-np.expm1(-np.where(constant, 1.0, omega)))
            log_growth = np.where(constant, -np.inf, log_growth)
            B = np.sum(np.exp(np.minimum(log_posterior + log_growth, 1.0)), axis=1)
            # The posterior sums to one: B is not above the largest growth either.
            B = np.minimum(B, np.exp(np.minimum(log_growth.max(axis=1), 1.0)))
            # With B < 1 the density has no zero in the ellipse, so that p ln p is analytic there.
            analytic = B < 1
            B = np.where(analytic, B, 0.5)
            lead_omega = R * np.abs(lead_slope[:, i]) + 0.5 * R**2 / var[lead, i]
            log_size = np.log(largest + lead_omega - np.log1p(-B))
            log_bound = highest + lead_omega + np.log1p(B) + log_size + log_volume
            bound = np.where(analytic, rule * np.exp(np.minimum(log_bound, _OVERFLOW)), np.inf)
            errors[:, i] = np.minimum(errors[:, i], bound)
    # Where the density is tiny, integral and rule are each at most its largest p |ln p| times the
    # volume.
    lowest, highest = _extremes(log_class, shift, var, halves)
    largest = np.maximum(np.abs(lowest), np.abs(highest))
    crude = 2 * largest * np.exp(np.minimum(highest + log_volume, _OVERFLOW))
    # Halve along the axis of the largest error; if no ellipse of some axis is free of zeros, along
    # the one of these on which the odds change most.
    variation = np.sum(np.exp(log_odds)[..., None] * change, axis=1) + 0.5 * halves**2 / var[lead]
    variation = np.where(np.isinf(errors), variation, -1.0)
    known = np.isfinite(errors).all(axis=1)
    axis = np.where(known, np.argmax(errors, axis=1), np.argmax(variation, axis=1))
    return np.minimum(errors.sum(axis=1), crude), axis


def _extremes(
    log_class: np.ndarray, shift: np.ndarray, var: np.ndarray, halves: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds on ln p over real boxes, from each class at its nearest and its farthest point."""
    nearest = np.maximum(np.abs(shift) - halves[:, None], 0.0)
    farthest = np.abs(shift) + halves[:, None]

    def log_density(distance: np.ndarray) -> np.ndarray:
        change = 0.5 * np.sum((distance**2 - shift**2) / var, axis=-1)
        return scipy.special.logsumexp(log_class - change, axis=1)

    return log_density(farthest), log_density(nearest)


def _panel_sum(mixture: ReducedMixture, centres: np.ndarray, halves: np.ndarray) -> float:
    r"""Sum of the panels' rules for $-p \ln p$.

    Each class density is a product over the axes, so exponentials are taken along each axis alone.
    """
    dimension = centres.shape[1]
    node, weight = scipy.special.roots_legendre(_NODES[dimension])
    weights = functools.reduce(np.multiply.outer, [weight] * dimension).ravel()
    step = max(1, _CHUNK // len(weights))
    sums = []
    for start in range(0, len(centres), step):
        centre, half = centres[start : start + step], halves[start : start + step]
        log_p = _log_on_panels(mixture, centre[..., None] + half[..., None] * node)
        terms = -np.where(np.isfinite(log_p), log_p, 0.0) * np.exp(log_p)
        sums.append(float(np.sum((terms @ weights) * np.prod(half, axis=1))))
    return math.fsum(sums)


def _log_on_panels(mixture: ReducedMixture, points: np.ndarray) -> np.ndarray:
    """Log density on the product grids of points, shape (panels, d, n), as (panels, n**d).

    It is -inf where the density lies a factor e^-700 below its panel's peak.
    """
    w, mean, var = mixture
    exponent = (points[:, :, None] - mean.T[:, :, None]) ** 2
    exponent = -0.5 * (exponent / var.T[:, :, None] + np.log(2 * math.pi * var.T)[:, :, None])
    peak = exponent.max(axis=-1)  # (panels, d, classes)
    factor = np.exp(exponent - peak[..., None])
    log_scale = np.log(w) + peak.sum(axis=1)
    largest = log_scale.max(axis=1, keepdims=True)
    product = np.exp(log_scale - largest)[..., None] * factor[:, 0]
    for i in range(1, mean.shape[1]):
        # The last product sums over the classes as well: a small matrix product for each panel.
        if i < mean.shape[1] - 1:
            product = product[..., None] * factor[:, i, :, None]
            product = product.reshape(*product.shape[:2], -1)
        else:
            product = np.swapaxes(product, 1, 2) @ factor[:, i]
    density = product.sum(axis=1) if mean.shape[1] == 1 else product.reshape(len(product), -1)
    with np.errstate(divide="ignore"):
        return largest + np.log(density)


def _tail(mixture: ReducedMixture) -> float:
    r"""Bound $\int p |\ln p|$ outside the box that is integrated, in nats.

    A point outside lies beyond the reach of every class. There $|\ln p|$ is at most that of the
    class's own density times its weight, or the logarithm of the largest p if that is above one;
    the integrals of 1 and of squares under a Gaussian tail are known.
    """
    w, _, var = mixture
    dimension = var.shape[1]
    outside = 2 * float(scipy.special.ndtr(-_REACH))
    second_moment = 2 * _REACH * math.exp(-0.5 * _REACH**2) / math.sqrt(2 * math.pi) + outside
    mass = dimension * outside
    squares = dimension * (second_moment + (dimension - 1) * outside)
    normaliser = 0.5 * np.sum(np.abs(np.log(var)) + LOG_2PI, axis=1)
    self_information = float(np.sum(w * ((np.abs(np.log(w)) + normaliser) * mass + 0.5 * squares)))
    log_peak = float(scipy.special.logsumexp(np.log(w) - 0.5 * np.sum(np.log(var), axis=1)))
    return self_information + mass * max(log_peak, 0.0)
