r"""Queries far from the origin: the axis through the query is separated from the other coordinates.

At distance $L = \|x^n\|/c$ the mixtures would take of the order of $L^2$ terms. A competitor is within a radius r
if its coordinate along the axis exceeds $L - \sqrt{r^2 - q}$, $q \sim \chi^2_{n-1}$ the squared length of the others:
a normal tail of argument h. The mean over q is a short Gauss rule, for its integrand varies as
$e^{-hq/(2L)}$. Differences of large numbers are rewritten as quotients, so that no correlation is too small.
"""

import math
from typing import Final, NamedTuple

import numpy as np
import scipy

from rdsim.ranking.gaussian._near_origin import REACH, Points

_ACROSS: Final = 16  # nodes of the Gauss rule for q; the coarse quadrature has half as many


class FarNodes(NamedTuple):
    """Nodes of queries far out, whose axis is separated from the other coordinates."""

    c2: float
    shrink: float  # 1 - c^2
    w: Points  # squared lengths of queries, shape (w,)
    mass: Points  # their probabilities
    beyond: Points  # points sqrt(T) - m along the target's distance, m^2 = w (1-c^2)/c^2, (w, t)
    step: float  # their spacing
    across: Points  # nodes q of the chi-square distribution with n-1 degrees of freedom, (q,)
    log_across: Points  # ln of their weights


def far_nodes(
    c2: float, shrink: float, w: np.ndarray, mass: np.ndarray, n: int, count: int
) -> FarNodes:
    """Choose points along the target's distance, about its centre, and nodes q."""
    m = np.sqrt(w * shrink / c2)
    reach = REACH + 0.5  # sqrt(T) is at most as wide as a standard normal variable
    middle = n / (np.sqrt(n + m * m) + m)
    beyond = middle[:, None] + reach * ((2 * np.arange(count) + 1) / count - 1)
    q, weight = np.zeros(1), np.ones(1)
    if n > 1:
        q, weight = chi_square_rule(n - 1, max(min(count // 25, _ACROSS), 4))
    log_weight = np.log(np.maximum(weight, 1e-300))
    return FarNodes(c2, shrink, w, mass, beyond, 2 * reach / count, q, log_weight)


def chi_square_rule(n: int, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Golub and Welsch's Gauss rule of the chi-square distribution with n degrees of freedom."""
    k = np.arange(nodes)
    shape = 0.5 * n - 1
    off = np.sqrt(k[1:] * (k[1:] + shape))
    half, vectors = scipy.linalg.eigh_tridiagonal(2.0 * k + 1 + shape, off)
    return 2 * half, vectors[0] ** 2


def far_targets(far: FarNodes) -> tuple[Points, Points]:
    """Compute the weight of each node of distant queries, and ln of a competitor's probability to win there, shape (w, t).

    Each point is a mean over q of a normal density (the target's) and of a normal tail (a competitor's).
    """
    c2, shrink, w, mass, beyond, step, across, log_across = far
    w, delta = w[:, None, None], beyond[..., None]
    L, m = np.sqrt(w / c2), np.sqrt(w * shrink / c2)
    # T - m^2 with root T = m + delta, and the target's coordinate along the axis less m.
    excess = delta * (2 * m + delta)
    along = np.sqrt((m + delta) ** 2 - across)
    g = (excess - across) / (along + m)
    log_density = -0.5 * g**2 - 0.5 * math.log(2 * math.pi) + np.log((m + delta) / along)
    density = np.sum(np.exp(log_density + log_across), axis=-1)
    # h = L - s for s^2 = (1-c^2) T - q, by L^2 - s^2, in which L^2 (1-c^2)^2 = (1-c^2) m^2 cancels.
    s = np.sqrt(shrink * (m + delta) ** 2 - across)
    h = (w * (2 - c2) - shrink * excess + across) / (L + s)
    log_terms = scipy.special.log_ndtr(-h) + log_across
    largest = log_terms.max(axis=-1)
    log_a = largest + np.log(np.exp(log_terms - largest[..., None]).sum(axis=-1))
    return mass[:, None] * step * density, np.minimum(log_a, 0.0)
