r"""The optimal distribution of the ranking, written out: few rankings whose mixture attains R(D) (C3, C5).

`prior` finds the distribution t of the rank, which majorises the prior p. A code needs the converse
direction of Hardy, Littlewood and Polya: p as a mixture $p_j = \sum_\pi q(\pi) t_{\pi(j)}$ of
permutations of t. The vectors that are such mixtures form the permutohedron of t,

$$\mathcal P(t) = \Bigl\{x : \sum_{j \in S} x_j \le \sum_{r \le |S|} t_r \text{ for every set } S
    \text{ of items, with equality for all items}\Bigr\},$$

whose vertices are the permutations. Each step takes out of p as much as it can of the vertex that
sorts what is left, so that the remainder stays a multiple of a point of $\mathcal P(t)$, until the
constraint of a set becomes tight, which it stays: after at most M - 1 steps all are, and the
remainder is one ranking. So at most M rankings suffice (Caratheodory's number), and no kernel over
rankings is ever built.
"""

import math
from typing import Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rdsim import validation
from rdsim.certified import Certified
from rdsim.limits.rank_distortion._pooling import pool, prior_problem, rank_weights
from rdsim.limits.rank_distortion.prior import RankCurve
from rdsim.limits.rank_distortion.uniform import TOLERANCE
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.loss import Loss, parse_loss
from rdsim.results import result
from rdsim.transformations import on_host

_TIGHT: Final = 1e-15
"""A constraint broken by less than this fraction of the remaining mass is rounding."""

_SAME_STEP: Final = 1e-14  # relative difference between two step lengths that is rounding

_DINKELBACH_STEPS: Final = 1000
"""Iterations for one step length. Dinkelbach's method converges superlinearly and takes a handful;
were it stopped here, the codebook would be valid but worse, and its certificate would say so."""


@result
class RankingCodebook(RankCurve):
    r"""A random codebook over rankings, and the certified point of its test channel.

    Attributes:
        slope: s, bits per unit of loss, a scalar.
        distortion: expected loss of the test channel $Q(\pi|j) \propto q(\pi) 2^{-s\rho(\pi(j))}$.
        rate: bits the channel needs at most (`value`, `upper`), and the lower bound on R(D), which
            includes rounding; infinite and zero if some item is out of reach.
        prior: p, shape (M,).
        loss: of a rank.
        rankings: items (indices into the prior) from best to worst, shape (k, M).
        probability: q, the probability of each ranking, shape (k,).

    """

    rankings: Int[Array, "k m"]
    probability: Float[Array, " k"]


@on_host
@validation.needs_float64
def ranking_codebook(
    prior: ArrayLike, slope: ArrayLike, loss: Loss, *, max_rankings: Integer = 1024
) -> RankingCodebook:
    r"""Find rankings and probabilities whose mixture is the optimal output marginal of one slope.

    The certificate is that of C5, priced exactly: the ranking with the largest
    $c(\pi) = \sum_j (p_j / Z_j) 2^{-s\rho(\pi(j))}$ sorts $p_j / Z_j$.

    Args:
        prior: p, shape (M,), in any order; items without mass come last in every ranking.
        slope: s >= 0, finite, bits per unit of loss, a scalar.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        max_rankings: k at most; M always suffice, and where ranks are not pooled one does. Cut
            short, the last ranking takes the remainder, and the gap says what that costs.

    Returns:
        The codebook; memory is k M integers, time k sorts of M items.

    References:
        Hardy, Littlewood and Polya (1934), Inequalities, section 2.19; Yasutake et al. (2011),
        Algorithms and Computation (ISAAC), for decompositions over the permutahedron; Dinkelbach
        (1967), Management Science 13(7), for the length of a step.

    """
    p = validation.pmf("prior", prior)
    masses = np.asarray(p)
    s = float(validation.non_negative("slope", slope, ndim=0))
    most = validation.integer("max_rankings", max_rankings, low=1)
    problem = prior_problem(np.ones(1), masses[None], loss)
    (ordered,) = problem.priors
    items = ordered.size
    w, rho = rank_weights(problem.rho, s)[:items], problem.rho[:items]
    starts, P, W = pool(ordered, w)
    t = np.repeat(P / W, np.diff(starts, append=items)) * w
    # The constraint of the k most probable items is tight where a block of pooled ranks ends.
    tight = np.zeros(items, bool)
    tight[np.append(starts[1:], items) - 1] = True
    probability, orders = _mixture_of_permutations(ordered, t, tight, most)
    distortion, rate = _test_channel(ordered, rho, w, s, probability, orders)
    by_mass = np.argsort(-masses, kind="stable")
    massless = np.broadcast_to(by_mass[items:], (len(orders), masses.size - items))
    return RankingCodebook(
        slope=jnp.asarray(s),
        distortion=jnp.asarray(distortion),
        rate=rate,
        prior=p,
        loss=parse_loss(loss),
        rankings=jnp.asarray(np.concatenate([by_mass[orders], massless], axis=1)),
        probability=jnp.asarray(probability),
    )


def _mixture_of_permutations(
    p: np.ndarray, t: np.ndarray, tight: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Write p as a mixture of permutations of t: probabilities and orders of the items.

    Invariants of a step: the remainder lies in mass times the permutohedron; `tight[k]` says that the
    constraint of the first k + 1 items of `order` holds with equality, and of no others it is known.
    """
    order, remainder, mass = np.arange(p.size), p.copy(), 1.0
    taken: list[float] = []
    orders: list[np.ndarray] = []
    while len(taken) < most - 1 and not tight.all():
        order = _sorted_in_runs(remainder, order, tight)
        vertex = np.empty(p.size)
        vertex[order] = t
        length, new_order, place = _longest_step(remainder, mass, vertex, t, order, tight)
        if place is None:
            break
        taken.append(length)
        orders.append(order)
        remainder, mass, order = remainder - length * vertex, mass - length, new_order
        tight = tight.copy()
        tight[place] = True
    # The remainder is a multiple of one vertex when all constraints are tight; cut short, it is
    # replaced by one.
    taken.append(mass)
    orders.append(_sorted_in_runs(remainder, order, tight))
    found = np.maximum(np.array(taken), 0.0)
    return found / found.sum(), np.stack(orders)


def _sorted_in_runs(value: np.ndarray, order: np.ndarray, tight: np.ndarray) -> np.ndarray:
    """Sort the items by value, greatest first, inside each run of places that ends tight."""
    return order[np.lexsort((-value[order], np.cumsum(tight) - tight))]


def _longest_step(
    remainder: np.ndarray,
    mass: float,
    vertex: np.ndarray,
    t: np.ndarray,
    order: np.ndarray,
    tight: np.ndarray,
) -> tuple[float, np.ndarray, int | None]:
    r"""Find how much of the vertex can be taken away, and the constraint that stops it.

    After a step of length a the remainder, of mass m - a, must satisfy the constraint of every set,

    $$(m - a)\, t(S) - (\text{remainder}(S) - a\, \text{vertex}(S)) = N(S) - a\, D(S) \ge 0,$$

    $t(S)$ the sum of the |S| largest t, N the slack at a = 0, D what a unit of length costs of it. So
    the longest step is the least ratio N(S) / D(S) over all sets. Dinkelbach's method: at the present
    length find the sets that are broken worst, shorten the step to the least of their ratios, repeat
    until none is broken. For each size the worst set holds the largest entries: sorting finds it.

    Returns:
        The length, an order of the items whose first places form the set that becomes tight, and the
        last of these places; None if no set stops the step.

    """
    length, place, new_order = mass, None, order
    run = np.cumsum(tight) - tight
    first = np.flatnonzero(np.append(True, tight[:-1]))

    def sums(value: np.ndarray) -> np.ndarray:
        """Sums from the start of each run: what precedes it is tight, and adds no slack."""
        total = np.cumsum(value)
        return total - (total - value)[first][run]

    for _ in range(_DINKELBACH_STEPS):
        trial = _sorted_in_runs(remainder - length * vertex, order, tight)
        # N(S) and D(S) of the module's formula for the first k items of the trial order, for all
        # k at once: within a run the sums start anew, since the sets before it are tight and stay
        # so.
        slack = sums(mass * t - remainder[trial])
        cost = sums(t - vertex[trial])
        broken = ~tight & (slack - length * cost < -_TIGHT * mass) & (cost > 0)
        if not broken.any():
            break
        ratio = np.where(broken, np.maximum(slack, 0.0) / np.where(broken, cost, 1.0), np.inf)
        place, new_order = int(np.argmin(ratio)), trial
        # Dinkelbach's lengths decrease; where one does not, but for rounding, the last set is the
        # one that stops the step.
        if ratio[place] >= length * (1 - _SAME_STEP):
            break
        length = float(ratio[place])
    return length, new_order, place


def _test_channel(
    p: np.ndarray,
    rho: np.ndarray,
    w: np.ndarray,
    slope: float,
    probability: np.ndarray,
    orders: np.ndarray,
) -> tuple[float, Certified]:
    """Distortion and rate of a mixture of rankings, certified by C5, whatever the mixture is."""
    Z, Z_rho = np.zeros(p.size), np.zeros(p.size)
    for share, order in zip(probability, orders, strict=True):
        Z[order] += share * w
        Z_rho[order] += share * w * rho
    distortion = rate = math.inf
    lower = 0.0
    if (Z > 0).all():
        distortion = float(np.sum(p * Z_rho / Z))
        rate = max(-float(np.sum(p * np.log2(Z))) - slope * distortion, 0.0)
        # C5: the dual of any q is lowered by log2 max_u c_u. The worst of the M! rankings u sorts the items by p/Z, by the
        # rearrangement inequality, so that the maximum is one sort.
        best = float(np.sum(np.sort(p / Z)[::-1] * w))
        rounding = 16 * np.finfo(float).eps * (len(orders) + math.log2(p.size) + 1)
        lower = rate - (max(math.log2(best), 0.0) + rounding)
    upper = jnp.asarray(rate)
    return distortion, Certified(
        value=upper, lower=jnp.asarray(lower), upper=upper, tolerance=jnp.array(TOLERANCE)
    )
