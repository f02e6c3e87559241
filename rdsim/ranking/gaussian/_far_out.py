r"""Queries far from the origin: the axis through the query is separated from the other coordinates.

At distance $L = \|x^n\|/c$ the mixtures would take of the order of $L^2$ terms. A competitor is within a radius r
if its coordinate along the axis exceeds $L - \sqrt{r^2 - q}$, $q \sim \chi^2_{n-1}$ the squared length of the others:
a normal tail of argument h. The mean over q is a short Gauss rule, for its integrand varies as
$e^{-hq/(2L)}$. Differences of large numbers are rewritten as quotients, so that no correlation is too small.
"""

import math
from functools import partial
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jax.scipy.special import log_ndtr, logsumexp
from jaxtyping import Array, Float

from rdsim.ranking.gaussian._near_origin import REACH, Points
from rdsim.ranking.loss import RankLoss
from rdsim.ranking.rank_distribution import weighted_loss

_ACROSS: Final = 16  # nodes of the Gauss rule for q; the coarse quadrature has half as many


class FarNodes(NamedTuple):
    """Nodes of queries far out, whose axis is separated from the other coordinates."""

    c2: float | Array
    shrink: float | Array  # 1 - c^2
    w: Points  # squared lengths of queries, shape (w,)
    mass: Points  # their probabilities
    beyond: Points  # points sqrt(T) - m along the target's distance, m^2 = w (1-c^2)/c^2, (w, t)
    step: float | Array  # their spacing
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


@partial(jax.jit, static_argnames="loss")
def far_loss(
    far: FarNodes,
    size: Float[Array, "..."],
    loss: RankLoss,
) -> tuple[Float[Array, "..."], Float[Array, ""]]:
    """Sum the loss over the nodes of distant queries, and their weights.

    Each point is a mean over q of a normal density (the target's) and of a normal tail (a competitor's).
    """
    c2, shrink, w, mass, beyond, step, across, log_across = far
    w, delta = w[:, None, None], beyond[..., None]
    L, m = jnp.sqrt(w / c2), jnp.sqrt(w * shrink / c2)
    # T - m^2 with root T = m + delta, and the target's coordinate along the axis less m.
    excess = delta * (2 * m + delta)
    along = jnp.sqrt((m + delta) ** 2 - across)
    g = (excess - across) / (along + m)
    log_density = -0.5 * g**2 - 0.5 * math.log(2 * math.pi) + jnp.log((m + delta) / along)
    density = jnp.sum(jnp.exp(log_density + log_across), axis=-1)
    # h = L - s for s^2 = (1-c^2) T - q, by L^2 - s^2, in which L^2 (1-c^2)^2 = (1-c^2) m^2 cancels.
    s = jnp.sqrt(shrink * (m + delta) ** 2 - across)
    h = (w * (2 - c2) - shrink * excess + across) / (L + s)
    log_a = jnp.minimum(logsumexp(log_ndtr(-h) + log_across, axis=-1), 0.0)
    weight = jnp.asarray(mass)[:, None] * step * density
    return weighted_loss(weight, log_a, -jnp.inf, size, loss), jnp.sum(weight)
