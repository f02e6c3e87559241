r"""Queries near the origin: both distributions of a squared distance as Poisson mixtures.

The cumulative distribution of a noncentral chi-square variable with n degrees of freedom is

$$\sum_i \frac{z^{n/2+i} e^{-z}}{\Gamma(n/2+i+1)} P[\mathrm{Poisson}(\lambda/2) \le i],$$

z half the argument: positive terms in the log domain, exact relatively however small the probability.
"""

import math
from typing import Final, NamedTuple

import numpy as np
import scipy

REACH: Final = 9.0
"""Standard deviations of sqrt(T) to either side that are integrated: less than 1e-18 lies beyond."""
_LEFT: Final = 90.0
"""Twice the nats of the lower cut of T: there its probability, of the order of T^(n/2), is e^(-45)."""

Points = np.ndarray


class NearNodes(NamedTuple):
    """Nodes whose distributions are summed as Poisson mixtures, at each squared length w of a query."""

    shrink: float  # 1 - c^2
    target: Points  # noncentrality of the target's squared distance, shape (w,)
    competitor: Points  # that of a competitor's
    mass: Points  # probability of each w
    v: Points  # points along the target's distance, sqrt(T) = ln(1 + e^v), shape (w, t)
    step: Points  # their spacing, shape (w,)
    terms: int  # of each mixture


def near_nodes(
    mass: np.ndarray,
    shrink: float,
    target: np.ndarray,
    competitor: np.ndarray,
    n: int,
    count: int,
) -> NearNodes:
    """Choose v: sqrt(T) = ln(1 + e^v) has even nodes where it is large, geometric ones near zero."""
    centre = np.sqrt(n + target)
    away = centre > REACH + 0.5  # from zero
    left = 0.5 * math.log(n) - 1.0 - _LEFT / (2 * n)
    low = np.where(away, _inverse_softplus(np.maximum(centre - REACH, 0.5)), left)
    high = centre + REACH
    v = low[:, None] + (high - low)[:, None] * (np.arange(count) + 0.5) / count
    most = 0.5 * float(high.max()) ** 2
    # Where a competitor's probability is not small all of its mixture is needed.
    most = max(most, min(0.5 * float(competitor.max()), 0.5 * shrink * float(high.max()) ** 2))
    terms = math.ceil(most + 12 * math.sqrt(most) + 40)
    return NearNodes(shrink, target, competitor, mass, v, (high - low) / count, terms)


def _inverse_softplus(x: np.ndarray) -> np.ndarray:
    return x + np.log(-np.expm1(-x))


def near_targets(near: NearNodes, n: int) -> tuple[Points, Points]:
    """Compute the weight of each node of Poisson mixtures, and ln of a competitor's probability to win there, shape (w, t).

    The target's density and a competitor's probability are mixtures, over j ~ Poisson, of Gamma
    densities and of their cumulative sums.
    """
    j, half = np.arange(near.terms, dtype=float), 0.5 * n

    def poisson(mean: Points) -> Points:
        return np.asarray(
            scipy.special.xlogy(j, mean[:, None]) - mean[:, None] - scipy.special.gammaln(j + 1)
        )

    root = np.logaddexp(0.0, near.v)
    log_z = 2 * np.log(root) - math.log(2.0)
    log_density = _mixtures(poisson(0.5 * near.target), half - 1, log_z)
    # dz = root * d root = root * sigmoid(v) dv
    log_weight = log_density + np.log(root) - np.logaddexp(0.0, -near.v)
    at_most = np.logaddexp.accumulate(poisson(0.5 * near.competitor), axis=1)
    log_a = _mixtures(at_most, half, log_z + math.log(near.shrink))
    weight = near.mass[:, None] * near.step[:, None] * np.exp(log_weight)
    return weight, np.minimum(log_a, 0.0)


def _mixtures(log_weights: Points, first: float, log_z: Points) -> Points:
    r"""$\ln \sum_j e^{l_{wj}} z_{wt}^{f+j} e^{-z_{wt}} / \Gamma(f+j+1)$ of each query w, at its points t.

    Terms rise to the largest and fall from there, for weights and Gamma densities are log-concave. In units of the
    largest, both sides are sums of products of ratios at most one: Horner's rule for all queries and points side by
    side, with one exponential a point where a table of terms would need hundreds.
    """
    count = log_weights.shape[1]
    power = first + np.arange(count)
    with np.errstate(all="ignore"):
        # Term j + 1 over term j is z c_j, and c_j falls. A Poisson distribution of mean zero has weight at j = 0 alone: the ratio of
        # two weights of zero, which is not a number, is none.
        ratio = np.where(np.isneginf(log_weights[:, 1:]), 0.0, np.exp(np.diff(log_weights)))
        c = ratio / power[1:]
        z, slower = np.exp(log_z), 1 / c
        at = np.stack([np.searchsorted(-a, -1 / b) for a, b in zip(c, z, strict=True)])
        places = np.argsort(at, axis=None, kind="stable")
        bounds = np.searchsorted(at.ravel()[places], np.arange(count + 1))
        # Sums over the terms from j on, and over those before it, each in units of term j; they are read off at the
        # largest term, and what they are beyond it, where they may overflow, is not used.
        after, before = np.ones(z.shape), np.zeros(z.shape)
        total = np.zeros(z.size)
        for j in reversed(range(count)):
            if j < count - 1:
                after *= z * c[:, j, None]
                after += 1
            here = places[bounds[j] : bounds[j + 1]]
            total[here] += after.ravel()[here]
        inverse = 1 / z
        for j in range(count):
            here = places[bounds[j] : bounds[j + 1]]
            total[here] += before.ravel()[here]
            if j < count - 1:
                before += 1
                before *= inverse * slower[:, j, None]
        largest = np.take_along_axis(log_weights - scipy.special.gammaln(power + 1), at, axis=1)
        return largest + power[at] * log_z - z + np.log(total.reshape(z.shape))
