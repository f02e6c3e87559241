r"""The rank-distortion function of a target with a prior (C3): exact, certified, any number of items.

For a prior p on M items, sorted to decrease, and a loss $\rho$ that does not decrease with the rank,

$$R(D) = H(p) - \max\Bigl\{H(t) : \sum_r t_r \rho(r) \le D, \ t \succ p\Bigr\},$$

the maximum over distributions t of the target's rank whose first k ranks hold at least the mass of
the k most probable items, for every k. Converse: given the ranking, J and its rank determine each
other, so $I = H(J) - H(\text{rank} | \text{ranking}) \ge H(p) - H(t)$, and ranking by the posterior
(which costs nothing) puts the k most probable items of the posterior, hence at least the prior's
mass of any k, first. Achievability: $t \succ p$ makes p a mixture of permutations of t (Hardy,
Littlewood, Polya); that mixture is the distribution of the ranking, and given it the rank of J has
distribution t. Without $t \succ p$ this is the converse $H(p) - \max H(q)$, met exactly where its
maximiser, the Gibbs distribution, majorises p.

`_pooling` solves this at a slope, with a certificate; here are the curve and its inverses.
"""

import math
from dataclasses import field
from typing import Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from rdsim import validation
from rdsim.certified import Certified
from rdsim.information import entropy
from rdsim.limits._curve import RateCurve, achieved
from rdsim.limits.rank_distortion._pooling import (
    NEGLIGIBLE,
    TIE,
    PriorProblem,
    pooled_points,
    prior_bounds,
    prior_problem,
    rank_weights,
)
from rdsim.limits.rank_distortion.uniform import (
    TOLERANCE,
    checked_distortion,
    checked_rate,
    rank_rate,
)
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.loss import Loss, RankLoss, parse_loss
from rdsim.results import result
from rdsim.root_finding import bisect
from rdsim.transformations import on_host

_LOG2_SLOPES: Final = (-56.0, 12.0)
"""log2 of the slopes between which that of a Gibbs distribution lies: beyond them its mean loss is
that of a random ranking, or below 1e-300, to the last digit."""

_HALVINGS: Final = 64  # steps of bisection between them: they exhaust the digits of a float64


@result
class RankCurve(RateCurve):
    r"""What every curve of a ranking with a prior knows, beside its points.

    Attributes:
        prior: p, shape (M,).
        loss: of a rank.

    """

    prior: Float[Array, " m"]
    loss: RankLoss = field(metadata={"static": True})

    @property
    def minimum_distortion(self) -> Float[Array, ""]:
        """D_min = 0: a ranking that puts the target first has no loss."""
        return jnp.zeros(())

    @property
    @on_host
    def maximum_distortion(self) -> Float[Array, ""]:
        """D_max, the loss of ranking by the prior, which needs no bits."""
        problem = _one_prior(self.prior, self.loss)
        return jnp.asarray(pooled_points(problem, np.zeros(1)).distortion[0])

    def rate_at(self, distortion: ArrayLike) -> Certified:
        """Solve for R(D) at given losses; see `rank_rate_prior`."""
        return rank_rate_prior(self.prior, self.loss, distortion=distortion)

    def distortion_at(self, rate: ArrayLike) -> Certified:
        """Solve for D(R) at given rates; see `rank_loss_prior`."""
        return rank_loss_prior(self.prior, self.loss, rate=rate)


@result
class RankPriorCurve(RankCurve):
    r"""Certified points of R(D) of a target with a prior, one a slope.

    Attributes:
        slope: s, bits per unit of loss, shape (S,).
        distortion: expected loss D, shape (S,).
        rate: R(D) with its bounds, bits, shape (S,), of which `value` and `upper` are achieved; the
            lower bound includes rounding.
        prior: p, shape (M,).
        loss: of a rank.
        entropy_bound: the converse $H(p) - \max H(q)$ at that D, bits, shape (S,); may be negative.
        blocks: number of blocks of ranks that are pooled, shape (S,).

    """

    entropy_bound: Float[Array, " s"]
    blocks: Int[Array, " s"]

    @property
    def majorised(self) -> Bool[Array, " s"]:
        """Whether Gibbs majorises the prior, in one block, so that the converse is met, shape (S,)."""
        return self.blocks == 1


@on_host
@validation.needs_float64
def rank_rate_prior_curve(prior: ArrayLike, slopes: ArrayLike, loss: Loss) -> RankPriorCurve:
    r"""Compute certified points of R(D) of a target with a prior, one for each slope (C3).

    $$R = H(p) - H(t), \quad D = \sum_r t_r \rho(r), \quad t_r = w_r P_B / W_B, \ w_r = 2^{-s\rho(r)},$$

    over the blocks B of ranks that pooling finds (see `_pooling`).

    Args:
        prior: p, shape (M,), in any order; items without mass are allowed.
        slopes: s >= 0, bits per unit of loss, shape (S,); inf gives the end D = 0.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".

    Returns:
        The curve. At s = 0 it is the ranking by the prior, D_max and no bits.

    References:
        Rado (1952), J. London Math. Soc. 27; Fujishige (1980), Math. Oper. Res. 5(2), for separable
        convex programmes over a base polytope; Best and Chakravarti (1990), Math. Program. 47, for
        pooling adjacent violators; Blahut (1972), Theorem 5, for the certificate.

    """
    p = validation.pmf("prior", prior)
    slope = validation.not_empty("slopes", validation.interval("slopes", slopes, low=0.0, ndim=1))
    found = pooled_points(_one_prior(p, loss), np.asarray(slope))
    distortion, rate, error = map(jnp.asarray, (found.distortion, found.rate, found.error))
    return RankPriorCurve(
        slope=slope,
        distortion=distortion,
        rate=achieved(rate, error, TOLERANCE),
        prior=p,
        loss=parse_loss(loss),
        entropy_bound=rank_prior_bound(p, loss, distortion=distortion),
        blocks=jnp.asarray(found.blocks),
    )


def _one_prior(p: Array, loss: Loss) -> PriorProblem:
    return prior_problem(np.ones(1), np.asarray(p)[None], loss)


@on_host
@validation.needs_float64
def rank_rate_prior(prior: ArrayLike, loss: Loss, *, distortion: ArrayLike) -> Certified:
    """Compute R(D) of a target with a prior at given losses, certified (C3).

    Args:
        prior: p, shape (M,), in any order; items without mass are allowed.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        distortion: D, expected loss allowed, in [0, 1], any shape.

    Returns:
        Bits, shape of D; zero from D_max, the loss of ranking by the prior, on. H(p) at D = 0 for
        the losses that only the first rank does not pay.

    """
    p, D = validation.pmf("prior", prior), checked_distortion(distortion)
    return prior_bounds(_one_prior(p, loss), D, by_rate=False)


@on_host
@validation.needs_float64
def rank_loss_prior(prior: ArrayLike, loss: Loss, *, rate: ArrayLike) -> Certified:
    """Compute the least expected loss of a ranking on a given number of bits, with a prior (C3).

    The inverse of `rank_rate_prior` in the distortion.

    Args:
        prior: p, shape (M,), in any order; items without mass are allowed.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        rate: bits, >= 0, any shape; at 0 the items are ranked by the prior.

    Returns:
        Loss in [0, 1], shape of the rate, with bounds.

    """
    p, R = validation.pmf("prior", prior), checked_rate(rate)
    return prior_bounds(_one_prior(p, loss), R, by_rate=True)


@on_host
@validation.needs_float64
def rank_rate_side_information(
    joint: ArrayLike, loss: Loss, *, distortion: ArrayLike, compress: str
) -> Certified:
    r"""Compute R(D) when encoder and decoder both know Z: a prior P(J|Z=z) for each of its values.

    $$R_{J|Z}(D) = \min \sum_z P(z) R_z(D_z), \quad \sum_z P(z) D_z \le D,$$

    all $D_z$ being taken at one slope. It is at least $H(J|Z) - \max H(q)$, and no code whose
    decoder alone knows Z does better.

    Args:
        joint: P(z, j), shape (|Z|, M), summing to one, or its transpose: `compress` says which.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        distortion: D, expected loss allowed, in [0, 1], any shape.
        compress: "columns" if the target J runs along the columns of the joint, "rows" if along
            its rows.

    Returns:
        Bits, shape of D.

    References:
        Gray (1972), conditional rate-distortion theory, Stanford technical report 6502-2.

    """
    table = np.asarray(validation.sided_joint(joint, compress, along="columns"))
    weight = table.sum(axis=1)
    seen = weight > NEGLIGIBLE
    conditional = table[seen] / weight[seen, None]
    problem = prior_problem(weight[seen], conditional, loss)
    return prior_bounds(problem, checked_distortion(distortion), by_rate=False)


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
        losses, (low, high) = jnp.asarray(rho), jnp.array(_LOG2_SLOPES)

        def low_enough(log2_slope: Array) -> Array:
            w = jnp.exp2(-jnp.exp2(log2_slope) * losses)
            return w @ losses <= D * w.sum()

        slope = float(jnp.exp2(bisect(low_enough, low, high, steps=_HALVINGS)[1]))
    w = rank_weights(rho, slope)
    return jnp.asarray(w / w.sum())


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
