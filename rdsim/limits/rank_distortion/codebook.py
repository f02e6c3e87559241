r"""The optimal law of the ranking, written out: few rankings whose mixture attains R(D) (C3, C5).

`rank_prior` finds the rank law t that majorises the prior p. A code needs the converse direction of
Hardy, Littlewood and Polya: p as a mixture $p_j = \sum_\pi q(\pi) t_{\pi(j)}$ of permutations of t. Each
step takes out of p as much as it can of the ranking that sorts what is left, until a constraint
$\sum_{j \in S} p_j \le \sum_{r \le |S|} t_r$ becomes tight, which it stays: after at most M - 1 steps all
are, and what is left is one ranking. So at most M rankings suffice (Caratheodory's number), and no
kernel over rankings is ever built.
"""

import math
from typing import Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from rdsim import validation
from rdsim.limits.rank_distortion._pooling import TOLERANCE, make_problem, pool, weights
from rdsim.number_types import ArrayLike
from rdsim.ranking.loss import Loss
from rdsim.results import result
from rdsim.transformations import on_host

_TIGHT: Final = 1e-15
"""A constraint broken by less than this share of what is left is rounding."""


@result
class RankingCodebook:
    r"""A random codebook over rankings, and the certified point of its test channel.

    Attributes:
        slope: s, bits per unit of loss.
        rankings: items (indices into the prior) from best to worst, shape (k, M).
        probability: q, the probability of each ranking, shape (k,).
        distortion: expected loss of the test channel $Q(\pi|j) \propto q(\pi) 2^{-s\rho(\pi(j))}$.
        rate: bits the channel needs at most.
        gap: what R(D) may lie below that rate, bits; includes rounding, infinite if some item is
            out of reach.

    """

    slope: Float[Array, ""]
    rankings: Int[Array, "k m"]
    probability: Float[Array, " k"]
    distortion: Float[Array, ""]
    rate: Float[Array, ""]
    gap: Float[Array, ""]

    @property
    def converged(self) -> Bool[Array, ""]:
        """Whether the certified gap is within `TOLERANCE`: no ranking is missing."""
        return self.gap <= TOLERANCE


@on_host
@validation.needs_float64
def ranking_codebook(
    prior: ArrayLike, slope: ArrayLike, loss: Loss, *, max_rankings: int = 1024
) -> RankingCodebook:
    r"""Find rankings and probabilities whose mixture is the optimal output marginal of one slope.

    The certificate is that of C5, priced exactly: the ranking with the largest
    $c(\pi) = \sum_j (p_j / Z_j) 2^{-s\rho(\pi(j))}$ sorts $p_j / Z_j$.

    Args:
        prior: p, shape (M,), in any order; items without mass come last in every ranking.
        slope: s >= 0, finite, bits per unit of loss, a scalar.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        max_rankings: k at most; M always suffice, and where ranks are not pooled one does. Cut
            short, the last ranking takes what is left, and the gap says what that costs.

    Returns:
        The codebook; memory is k M integers, time k sorts of M items.

    Raises:
        TypeError: if the number of rankings is not an integer.
        ValueError: if the prior is no pmf, the slope is negative or infinite, the number of
            rankings is below one, or the loss is unknown.

    References:
        Hardy, Littlewood and Polya (1934), Inequalities, section 2.19; Yasutake et al. (2011),
        Algorithms and Computation (ISAAC), for decompositions over the permutahedron.

    """
    p = np.asarray(validation.pmf("prior", prior))
    s = float(validation.interval("slope", slope, low=0.0, high=math.inf, open_high=True, ndim=0))
    most = validation.integer("max_rankings", max_rankings, low=1)
    problem = make_problem(np.ones(1), p[None], loss)
    (ordered,) = problem.priors
    w = weights(problem.rho, s)
    starts, P, W = pool(ordered, w)
    law = np.repeat(P / W, np.diff(starts, append=ordered.size)) * w[: ordered.size]
    tight = np.zeros(ordered.size, bool)
    tight[np.append(starts[1:], ordered.size) - 1] = True
    probability, orders = _mixture(ordered, law, tight, most)
    by_mass = np.argsort(-p, kind="stable")
    massless = np.broadcast_to(by_mass[ordered.size :], (len(orders), p.size - ordered.size))
    return RankingCodebook(
        slope=jnp.asarray(s),
        rankings=jnp.asarray(np.concatenate([by_mass[orders], massless], axis=1)),
        probability=jnp.asarray(probability),
        **_certified(ordered, problem.rho[: ordered.size], w, s, probability, orders),
    )


def _mixture(
    p: np.ndarray, law: np.ndarray, tight: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Write p as a mixture of permutations of the law; tight[k] if so is the constraint of k + 1."""
    order, left, mass = np.arange(p.size), p.copy(), 1.0
    shares: list[float] = []
    orders: list[np.ndarray] = []
    while len(shares) < most - 1 and not tight.all():
        order = _sorted(left, order, tight)
        vertex = np.empty(p.size)
        vertex[order] = law
        share, order_then, place = _longest_step(left, mass, vertex, law, order, tight)
        if place < 0:
            break
        shares.append(share)
        orders.append(order)
        left, mass, order = left - share * vertex, mass - share, order_then
        tight = tight.copy()
        tight[place] = True
    shares.append(mass)
    orders.append(_sorted(left, order, tight))
    found = np.maximum(np.array(shares), 0.0)
    return found / found.sum(), np.stack(orders)


def _sorted(value: np.ndarray, order: np.ndarray, tight: np.ndarray) -> np.ndarray:
    """Sort the items by value, greatest first, inside each run of ranks that ends tight."""
    return order[np.lexsort((-value[order], np.cumsum(tight) - tight))]


def _longest_step(
    left: np.ndarray,
    mass: float,
    vertex: np.ndarray,
    law: np.ndarray,
    order: np.ndarray,
    tight: np.ndarray,
) -> tuple[float, np.ndarray, int]:
    """Find how much of the vertex can be taken away, and the constraint that stops it.

    The slack of a set S, mass t(S) - left(S) - share (t(S) - vertex(S)), is linear in the share; so
    from above, go to where the worst set of the present share becomes tight (Dinkelbach), until no
    set is broken. Sorting finds the sets.
    """
    share, place, order_then = mass, -1, order
    run = np.cumsum(tight) - tight
    first = np.flatnonzero(np.append(True, tight[:-1]))

    def sums(value: np.ndarray) -> np.ndarray:
        """Sums from the start of each run."""
        total = np.cumsum(value)
        return total - (total - value)[first][run]

    while True:
        trial = _sorted(left - share * vertex, order, tight)
        room = sums(mass * law - left[trial])
        loss = sums(law - vertex[trial])
        broken = ~tight & (room - share * loss < -_TIGHT * mass) & (loss > 0)
        if not broken.any():
            return share, order_then, place
        ratio = np.where(broken, np.maximum(room, 0.0) / np.where(broken, loss, 1.0), np.inf)
        place, order_then = int(np.argmin(ratio)), trial
        if ratio[place] >= share * (1 - 1e-14):
            return share, order_then, place
        share = float(ratio[place])


def _certified(
    p: np.ndarray,
    rho: np.ndarray,
    w: np.ndarray,
    slope: float,
    probability: np.ndarray,
    orders: np.ndarray,
) -> dict[str, Array]:
    """The point of C5 of the mixture, whatever the mixture is."""
    Z, Z_rho = np.zeros(p.size), np.zeros(p.size)
    for share, order in zip(probability, orders, strict=True):
        Z[order] += share * w[: p.size]
        Z_rho[order] += share * w[: p.size] * rho
    reached = Z > 0
    if not reached.all():
        gap, distortion, rate = math.inf, math.inf, math.inf
    else:
        distortion = float(np.sum(p * Z_rho / Z))
        rate = max(-float(np.sum(p * np.log2(Z))) - slope * distortion, 0.0)
        best = float(np.sum(np.sort(p / Z)[::-1] * w[: p.size]))
        rounding = 16 * np.finfo(float).eps * (len(orders) + math.log2(p.size) + 1)
        gap = max(math.log2(best), 0.0) + rounding
    return {
        "distortion": jnp.asarray(distortion),
        "rate": jnp.asarray(rate),
        "gap": jnp.asarray(gap),
    }
