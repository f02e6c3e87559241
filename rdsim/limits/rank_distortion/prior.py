r"""The rank-distortion function of a target with a prior (C3): exact, certified, any number of items.

For a prior p on M items, sorted to decrease, and a loss $\rho$ that does not decrease with the rank,

$$R(D) = H(p) - \max\Bigl\{H(t) : \sum_r t_r \rho(r) \le D, \ t \succ p\Bigr\},$$

the maximum over laws t of the target's rank whose first k ranks hold at least the k likeliest
items' mass, for every k. Converse: given the ranking J and its rank determine each other, so
$I = H(J) - H(\text{rank} | \text{ranking}) \ge H(p) - H(t)$, and ranking by the posterior (which
costs nothing) puts the k likeliest items of the posterior, hence at least the prior's mass of any
k, first. Achievability: $t \succ p$ makes p a mixture of permutations of t (Hardy, Littlewood,
Polya); that mixture is the law of the ranking, and given it J has rank law t. Without $t \succ p$
this is the converse $H(p) - \max H(q)$, met exactly where its maximiser, Gibbs, majorises p.

`rank_pooling` solves this at a slope, with a certificate; here are the curve and its inverses.
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from rdsim import validation
from rdsim.certified import Certified
from rdsim.information import entropy
from rdsim.limits.rank_distortion._pooling import (
    NEGLIGIBLE,
    TIE,
    TOLERANCE,
    bracket,
    make_problem,
    point_at,
    search,
    weights,
)
from rdsim.limits.rank_distortion.uniform import rank_rate
from rdsim.number_types import ArrayLike
from rdsim.ranking.loss import Loss, parse_loss
from rdsim.results import result
from rdsim.transformations import on_host


@result
class RankPriorCurve:
    r"""Certified points of R(D) of a target with a prior, one a slope.

    Attributes:
        slope: s, bits per unit of loss, shape (S,).
        distortion: expected loss D, shape (S,).
        rate: R(D), achieved, bits, shape (S,).
        gap: certified upper minus lower bound on R at that D, bits, shape (S,); includes rounding.
        bound: the converse $H(p) - \max H(q)$ at that D, bits, shape (S,); may be negative.
        blocks: number of blocks of ranks that are pooled, shape (S,).
        majorised: whether Gibbs majorises the prior (one block): the bound is met, shape (S,).

    """

    slope: Float[Array, " s"]
    distortion: Float[Array, " s"]
    rate: Float[Array, " s"]
    gap: Float[Array, " s"]
    bound: Float[Array, " s"]
    blocks: Int[Array, " s"]
    majorised: Bool[Array, " s"]

    @property
    def converged(self) -> Bool[Array, " s"]:
        """Whether the certified gap is within `TOLERANCE`, a slope at a time."""
        return self.gap <= TOLERANCE


@on_host
@validation.needs_float64
def rank_rate_prior_curve(prior: ArrayLike, slopes: ArrayLike, loss: Loss) -> RankPriorCurve:
    r"""Compute certified points of R(D) of a target with a prior, one for each slope (C3).

    $$R = H(p) - H(t), \quad D = \sum_r t_r \rho(r), \quad t_r = w_r P_B / W_B, \ w_r = 2^{-s\rho(r)},$$

    over the blocks B of ranks that pooling finds (see `rank_pooling`).

    Args:
        prior: p, shape (M,), in any order; items without mass are allowed.
        slopes: s >= 0, bits per unit of loss, shape (S,); inf gives the end D = 0.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".

    Returns:
        The curve. At s = 0 it is the ranking by the prior, D_max and no bits.

    Raises:
        ValueError: if the prior is no pmf, a slope is negative, or the loss is unknown.

    References:
        Rado (1952), J. London Math. Soc. 27; Fujishige (1980), Math. Oper. Res. 5(2), for separable
        convex programmes over a base polytope; Best and Chakravarti (1990), Math. Program. 47, for
        pooling adjacent violators; Blahut (1972), Theorem 5, for the certificate.

    """
    p = validation.pmf("prior", prior)
    slope = validation.not_empty("slopes", validation.interval("slopes", slopes, low=0.0, ndim=1))
    problem = make_problem(np.ones(1), np.asarray(p)[None], loss)
    points = [point_at(problem, s) for s in np.asarray(slope)]
    distortion = jnp.array([point.distortion for point in points])
    return RankPriorCurve(
        slope=slope,
        distortion=distortion,
        rate=jnp.array([point.rate for point in points]),
        gap=jnp.array([point.gap for point in points]),
        bound=rank_prior_bound(p, loss, D=distortion),
        blocks=jnp.array([point.blocks for point in points], dtype=int),
        majorised=jnp.array([point.blocks == 1 for point in points], dtype=bool),
    )


@on_host
@validation.needs_float64
def rank_rate_prior(prior: ArrayLike, loss: Loss, *, D: ArrayLike) -> Certified:
    """Compute R(D) of a target with a prior at given losses, certified (C3).

    Args:
        prior: p, shape (M,), in any order; items without mass are allowed.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        D: expected loss allowed, in [0, 1], any shape.

    Returns:
        Bits, shape of D; zero from D_max, the loss of ranking by the prior, on. H(p) at D = 0 for
        the losses that only the first rank does not pay.

    Raises:
        ValueError: if the prior is no pmf, D lies outside [0, 1], or the loss is unknown.

    """
    p = validation.pmf("prior", prior)
    goal = validation.not_empty("D", validation.interval("D", D, low=0.0, high=1.0))
    return search(make_problem(np.ones(1), np.asarray(p)[None], loss), goal, by_rate=False)


@on_host
@validation.needs_float64
def rank_loss_prior(prior: ArrayLike, loss: Loss, *, rate: ArrayLike) -> Certified:
    """Compute the least expected loss of a ranking on a given number of bits, with a prior (C3).

    The inverse of `rank_rate_prior` in its second argument.

    Args:
        prior: p, shape (M,), in any order; items without mass are allowed.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        rate: bits, >= 0, any shape; at 0 the items are ranked by the prior.

    Returns:
        Loss in [0, 1], shape of the rate, with bounds.

    Raises:
        ValueError: if the prior is no pmf, a rate is negative, or the loss is unknown.

    """
    p = validation.pmf("prior", prior)
    goal = validation.not_empty(
        "rate", validation.interval("rate", rate, low=0.0, high=math.inf, open_high=True)
    )
    return search(make_problem(np.ones(1), np.asarray(p)[None], loss), goal, by_rate=True)


@on_host
@validation.needs_float64
def rank_rate_side_information(
    joint: ArrayLike, loss: Loss, *, D: ArrayLike, compress: str
) -> Certified:
    r"""Compute R(D) when encoder and decoder both know Z: a prior P(J|Z=z) for each of its values.

    $$R_{J|Z}(D) = \min \sum_z P(z) R_z(D_z), \quad \sum_z P(z) D_z \le D,$$

    all $D_z$ being taken at one slope. It is at least $H(J|Z) - \max H(q)$, and no code whose
    decoder alone knows Z does better.

    Args:
        joint: P(z, j), shape (|Z|, M), summing to one, or its transpose: `compress` says which.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        D: expected loss allowed, in [0, 1], any shape.
        compress: "columns" if the target J runs along the columns of the joint, "rows" if along
            its rows.

    Returns:
        Bits, shape of D.

    Raises:
        ValueError: if the table is no joint pmf, D lies outside [0, 1], or the loss is unknown.

    References:
        Gray (1972), conditional rate-distortion theory, Stanford technical report 6502-2.

    """
    table = np.asarray(validation.sided_joint(joint, compress, along="columns"))
    goal = validation.not_empty("D", validation.interval("D", D, low=0.0, high=1.0))
    weight = table.sum(axis=1)
    seen = weight > NEGLIGIBLE
    conditional = table[seen] / weight[seen, None]
    return search(make_problem(weight[seen], conditional, loss), goal, by_rate=False)


@validation.needs_float64
def rank_prior_bound(prior: ArrayLike, loss: Loss, *, D: ArrayLike) -> Float[Array, "..."]:
    r"""Compute the converse $H(p) - \max\{H(q) : \sum_r q_r \rho(r) \le D\}$, q on {1..M} (C3).

    It holds for every prior and is met exactly where the maximiser `gibbs_rank_law` majorises it.

    Args:
        prior: p, shape (M,), in any order; M counts items without mass too.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        D: expected loss allowed, in [0, 1], any shape.

    Returns:
        Bits, shape of D; negative where the bound says nothing.

    Raises:
        ValueError: if the prior is no pmf, D lies outside [0, 1], or the loss is unknown.

    """
    p = validation.pmf("prior", prior)
    goal = validation.not_empty("D", validation.interval("D", D, low=0.0, high=1.0))
    parsed = parse_loss(loss)
    if p.size == 1:
        return jnp.zeros(goal.shape)
    log2_size = math.log2(p.size)
    largest_entropy = log2_size - rank_rate(log2_size, parsed, D=goal).lower
    return entropy(p) - largest_entropy


@on_host
@validation.needs_float64
def gibbs_rank_law(items: ArrayLike, loss: Loss, *, D: ArrayLike) -> Float[Array, " m"]:
    r"""Find the law of the rank with the largest entropy, $q_r \propto 2^{-s\rho(r)}$ with mean loss D.

    Args:
        items: M >= 1, an integer.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        D: expected loss, in [0, 1], a scalar; from the mean loss on the law is uniform.

    Returns:
        q, shape (M,), non-increasing.

    Raises:
        TypeError: if the number of items is not an integer.
        ValueError: if it is below one, D lies outside [0, 1], or the loss is unknown.

    """
    size = validation.integer("items", items, low=1)
    goal = float(validation.interval("D", D, low=0.0, high=1.0, ndim=0))
    problem = make_problem(np.ones(1), np.full((1, size), 1 / size), loss)
    if goal >= problem.rho.mean():
        return jnp.full(size, 1 / size)
    w = weights(problem.rho, bracket(problem, goal, by_rate=False).slope)
    return jnp.asarray(w / w.sum())


@on_host
def majorises(q: ArrayLike, p: ArrayLike) -> bool:
    r"""Whether q majorises p: for every k the k largest entries of q hold at least those of p.

    Compared by the tails $\sum_{r>k} q_r \le (1 + 10^{-12}) \sum_{r>k} p_r$ of the sorted laws, which
    keep their digits however small they are; so exact ties count as majorised.

    Args:
        q: pmf, shape (M,).
        p: pmf, shape (M,).

    Returns:
        Whether p is a mixture of permutations of q.

    Raises:
        ValueError: if one of them is no pmf, or their lengths differ.

    """
    q = np.asarray(validation.pmf("q", q))
    p = np.asarray(validation.pmf("p", p))
    if p.size != q.size:
        raise ValueError(f"p must have as many letters as q, {q.size}, got {p.size}")
    tail_q, tail_p = (np.cumsum(np.sort(law))[:-1] for law in (q, p))
    return bool(np.all(tail_q <= (1 + TIE) * tail_p))
