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

from dataclasses import field

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from rdsim import validation
from rdsim.certified import Certified
from rdsim.limits._curve import RateCurve, achieved
from rdsim.limits.rank_distortion._pooling import (
    NEGLIGIBLE,
    PriorProblem,
    pooled_points,
    prior_bounds,
    prior_problem,
)
from rdsim.limits.rank_distortion.prior_converse import rank_prior_bound
from rdsim.limits.rank_distortion.uniform import (
    TOLERANCE,
    checked_distortion,
    checked_rate,
)
from rdsim.number_types import ArrayLike
from rdsim.ranking.loss import Loss, RankLoss, parse_loss
from rdsim.results import result
from rdsim.transformations import on_host


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

    @on_host
    def rate_at(self, distortion: ArrayLike) -> Certified:
        """Solve for R(D) at given losses; see `rank_rate_prior`."""
        return rank_rate_prior(self.prior, self.loss, distortion=distortion)

    @on_host
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
