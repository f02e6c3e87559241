r"""Queries near the origin: both distributions of a squared distance as Poisson mixtures.

The cumulative distribution of a noncentral chi-square variable with n degrees of freedom is

$$\sum_i \frac{z^{n/2+i} e^{-z}}{\Gamma(n/2+i+1)} P[\mathrm{Poisson}(\lambda/2) \le i],$$

z half the argument: positive terms in the log domain, exact relatively however small the probability.
"""

import math
from functools import partial
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, logsumexp, xlogy
from jaxtyping import Array, Float

from rdsim.ranking.loss import RankLoss
from rdsim.ranking.rank_distribution import weighted_loss

REACH: Final = 9.0
"""Standard deviations of sqrt(T) to either side that are integrated: less than 1e-18 lies beyond."""
_LEFT: Final = 90.0
"""Twice the nats of the lower cut of T: there its probability, of the order of T^(n/2), is e^(-45)."""

Points = Array | np.ndarray


class NearNodes(NamedTuple):
    """Nodes whose distributions are summed as Poisson mixtures, at each squared length w of a query."""

    shrink: float | Array  # 1 - c^2
    target: Points  # noncentrality of the target's squared distance, shape (w,)
    competitor: Points  # that of a competitor's
    mass: Points  # probability of each w
    v: Points  # points along the target's distance, sqrt(T) = ln(1 + e^v), shape (w, t)
    step: Points  # their spacing, shape (w,)


def near_nodes(
    mass: np.ndarray,
    shrink: float,
    target: np.ndarray,
    competitor: np.ndarray,
    n: int,
    count: int,
) -> tuple[NearNodes, int]:
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
    terms = 1 << math.ceil(math.log2(most + 12 * math.sqrt(most) + 40))
    return NearNodes(shrink, target, competitor, mass, v, (high - low) / count), terms


def _inverse_softplus(x: np.ndarray) -> np.ndarray:
    return x + np.log(-np.expm1(-x))


@partial(jax.jit, static_argnames=("loss", "terms"))
def near_loss(
    near: NearNodes,
    n: int | Array,
    size: Float[Array, "..."],
    loss: RankLoss,
    terms: int,
) -> tuple[Float[Array, "..."], Float[Array, ""]]:
    """Sum the loss over the nodes of Poisson mixtures, and their weights.

    The target's density and a competitor's probability are mixtures, over j ~ Poisson, of Gamma
    densities and of their cumulative sums; each query is one log-sum-exp over j and the points v.
    """
    shrink = near.shrink
    j = jnp.arange(terms, dtype=float)
    half = 0.5 * jnp.asarray(n, float)

    def poisson(mean: Float[Array, ""]) -> Float[Array, " j"]:
        return xlogy(j, mean) - mean - gammaln(j + 1)

    def gamma_terms(log_z: Float[Array, " t"], more: float) -> Float[Array, "t j"]:
        power = half + j + more
        return power * log_z[:, None] - jnp.exp(log_z)[:, None] - gammaln(power + 1)

    def one_query(arguments: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        target, competitor, v = arguments
        root = jax.nn.softplus(v)
        log_z = 2 * jnp.log(root) - math.log(2.0)
        log_density = logsumexp(poisson(0.5 * target) + gamma_terms(log_z, -1.0), axis=1)
        # dz = root * d root = root * sigmoid(v) dv
        log_weight = log_density + jnp.log(root) + jax.nn.log_sigmoid(v)
        at_most = jax.lax.cumlogsumexp(poisson(0.5 * competitor))
        log_a = logsumexp(at_most + gamma_terms(log_z + jnp.log(shrink), 0.0), axis=1)
        return jnp.exp(log_weight), jnp.minimum(log_a, 0.0)

    # One query at a time: a table of terms by points is held for one of them only.
    density, log_a = jax.lax.map(one_query, (near.target, near.competitor, near.v))
    weight = jnp.asarray(near.mass)[:, None] * near.step[:, None] * density
    return weighted_loss(weight, log_a, -jnp.inf, size, loss), jnp.sum(weight)
