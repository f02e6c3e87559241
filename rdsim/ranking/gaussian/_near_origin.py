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
_BLOCK: Final = 32  # terms of a sum between two looks at how small they have become
_SIDE_BY_SIDE: Final = 2**12  # sums that are taken side by side
_NEGLIGIBLE: Final = 1e-20
"""Term over the largest where a sum ends: the ratios of terms have fallen far enough below one that the rest adds less than 1e-17."""

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
    largest they are products of ratios at most one: each side is summed from the largest outwards until terms add
    nothing, which is some ten times the square root of that term's index, with one exponential a point.
    """
    power = first + np.arange(log_weights.shape[1])
    with np.errstate(all="ignore"):
        # Term j + 1 over term j is z c_j, and c_j falls. A Poisson distribution of mean zero has weight at j = 0 alone: the ratio of
        # two weights of zero, which is not a number, is none.
        ratio = np.where(np.isneginf(log_weights[:, 1:]), 0.0, np.exp(np.diff(log_weights)))
        c = ratio / power[1:]
        z, slower = np.exp(log_z), 1 / c
        at = np.stack([np.searchsorted(-a, -1 / b) for a, b in zip(c, z, strict=True)])
        # Ratios of zero beyond both ends of a row end its sums.
        ends = ((0, 0), (_BLOCK, _BLOCK))
        upwards, downwards = np.pad(c, ends), np.pad(slower, ends)
        place = at + _BLOCK + np.arange(len(c))[:, None] * upwards.shape[1]
        # Outwards from term m = at: m + 1 over m is the ratio of index m, and m - 1 over m one over that of index m - 1.
        after = _sums(z, upwards, place, 1)
        before = _sums(1 / z, downwards, place - 1, -1)
        largest = np.take_along_axis(log_weights - scipy.special.gammaln(power + 1), at, axis=1)
        return largest + power[at] * log_z - z + np.log1p(after + before)


def _sums(factor: Points, ratios: Points, start: np.ndarray, direction: int) -> Points:
    r"""$\sum_k \prod_{i \le k} x r_{s \pm i}$ of each factor x from its start s on, for ratios that fall and end with zeros.

    Steps are taken side by side for some thousands of factors, which stay in the cache of the processor; after each block
    of steps those whose terms have become negligible leave.
    """
    total, ratios = np.zeros(factor.size), ratios.ravel()
    for low in range(0, factor.size, _SIDE_BY_SIDE):
        which = np.arange(low, min(low + _SIDE_BY_SIDE, factor.size))
        term = np.ones(which.size)
        x, place = factor.flat[which], start.flat[which]
        while which.size:
            added = np.zeros(which.size)
            for step in range(_BLOCK):
                ratio = ratios.take(place + direction * step, mode="clip")
                ratio *= x
                term *= ratio
                added += term
            total[which] += added
            left = term > _NEGLIGIBLE
            which, term, x, place = which[left], term[left], x[left], place[left]
            place = place + direction * _BLOCK
    return total.reshape(factor.shape)
