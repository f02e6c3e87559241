r"""A converse for targets with a prior, from the entropy of the rank alone (C3).

$$R(D) \ge H(p) - \max\Bigl\{H(q) : \sum_r q_r \rho(r) \le D\Bigr\},$$

the maximum over all distributions q of the rank. Its maximiser is the Gibbs distribution, $q_r \propto 2^{-s\rho(r)}$, and
the converse is met exactly where that majorises the prior (see `prior`, which adds this constraint).
"""

import math
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.information import entropy
from rdsim.limits.rank_distortion._pooling import (
    TIE,
    prior_problem,
    rank_weights,
)
from rdsim.limits.rank_distortion.uniform import (
    checked_distortion,
    rank_rate,
)
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.loss import Loss, parse_loss
from rdsim.root_finding import bisect
from rdsim.transformations import on_host

_LOG2_SLOPES: Final = (-56.0, 12.0)
"""log2 of the slopes between which that of a Gibbs distribution lies: beyond them its mean loss is
that of a random ranking, or below 1e-300, to the last digit."""
_HALVINGS: Final = 64  # steps of bisection between them: they exhaust the digits of a float64


@validation.needs_float64
def rank_prior_bound(prior: ArrayLike, loss: Loss, *, distortion: ArrayLike) -> Float[Array, "..."]:
    r"""Compute the converse $H(p) - \max\{H(q) : \sum_r q_r \rho(r) \le D\}$, q on {1..M} (C3).

    It holds for every prior; it is met exactly where the maximiser, `gibbs_rank_distribution`,
    majorises the prior.

    Args:
        prior: p, shape (M,), in any order; M counts items without mass too.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        distortion: D, expected loss allowed, in [0, 1], any shape.

    Returns:
        Bits, shape of D; negative where the bound says nothing.

    """
    p, D, parsed = validation.pmf("prior", prior), checked_distortion(distortion), parse_loss(loss)
    if p.size == 1:
        return jnp.zeros(D.shape)
    log2_size = math.log2(p.size)
    largest_entropy = log2_size - rank_rate(log2_size, parsed, distortion=D).lower
    return entropy(p) - largest_entropy


@on_host
@validation.needs_float64
def gibbs_rank_distribution(
    items: Integer, loss: Loss, *, distortion: ArrayLike
) -> Float[Array, " m"]:
    r"""Find the distribution of the rank, $q_r \propto 2^{-s\rho(r)}$, of largest entropy at mean loss D.

    Args:
        items: M >= 1, an integer.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        distortion: D, expected loss, in [0, 1], a scalar; from the mean loss of a random ranking on
            the distribution is uniform.

    Returns:
        q, shape (M,), non-increasing.

    """
    size = validation.integer("items", items, low=1)
    D = float(validation.interval("distortion", distortion, low=0.0, high=1.0, ndim=0))
    rho = prior_problem(np.ones(1), np.full((1, size), 1 / size), loss).rho
    if rho.mean() <= D:
        return jnp.full(size, 1 / size)
    slope = math.inf
    if D > 0:
        slope = float(_slope_of(jnp.asarray(rho), jnp.asarray(D)))
    w = rank_weights(rho, slope)
    return jnp.asarray(w / w.sum())


@jax.jit
def _slope_of(rho: Float[Array, " m"], distortion: Float[Array, ""]) -> Float[Array, ""]:
    """Find the slope at which the Gibbs distribution has a mean loss; one program for all losses of a size."""

    def low_enough(log2_slope: Array) -> Array:
        w = jnp.exp2(-jnp.exp2(log2_slope) * rho)
        return w @ rho <= distortion * w.sum()

    return jnp.exp2(bisect(low_enough, *jnp.array(_LOG2_SLOPES), steps=_HALVINGS)[1])


@on_host
def majorises(q: ArrayLike, p: ArrayLike) -> bool:
    r"""Whether q majorises p: for every k the k largest entries of q hold at least those of p.

    Compared by the tails $\sum_{r>k} q_r \le (1 + 10^{-12}) \sum_{r>k} p_r$ of the sorted pmfs, which
    keep their digits however small they are; so exact ties count as majorised.

    Args:
        q: pmf, shape (M,).
        p: pmf, shape (M,).

    Returns:
        Whether p is a mixture of permutations of q.

    """
    q = np.asarray(validation.pmf("q", q))
    p = np.asarray(validation.pmf("p", p))
    if p.size != q.size:
        raise ValueError(f"p must have as many letters as q, {q.size}, got {p.size}")
    tail_q, tail_p = np.cumsum(np.sort(q))[:-1], np.cumsum(np.sort(p))[:-1]
    return bool(np.all(tail_q <= (1 + TIE) * tail_p))
