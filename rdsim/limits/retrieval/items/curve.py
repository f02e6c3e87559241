r"""The exact least rate of one encoder at a rank loss, and a converse for every encoder (C25, C26).

The items are letters of a discrete source, M of them. A description of an item is its posterior u
on Y; a test channel is a distribution mu of posteriors with mean P_Y, of rate
$I(\mu) = E\,D(u \| P_Y)$. With $S_x(z) = \mu\{P(x|u) > z\}$ and w = 1 - rho the expected reward of
the target's rank is at most

$$V(\mu) = \sum_x \int_0^\infty h(S_x(z))\, dz, \qquad h(s) = \int_0^s h'(v)\, dv,$$

- `encoder="shared"` (C25), one channel for all items: $h'(v) = E\,w(1 + \mathrm{Bin}(M-1, v))$, and
  V is exactly what is earned. The target's quantile v is the probability that a competitor wins (C1,
  ties broken at random), and the integral of $P(x|u)$ over quantiles is the layer cake. h is
  concave and S linear in mu, so V is concave: the least rate for a loss is a convex problem, and drawing a
  channel anew for every item never loses against time sharing.
- `encoder="joint"` (C26), encoders that see the whole database, R bits per item on average:
  $h'(v) = w(\lceil Mv \rceil)$. Given what is stored, W, the best ranking sorts the posteriors'
  $P(x|u_i(W))$, V at their empirical distribution is the reward, and $E\,V \le V(E\,\mu)$ by Jensen;
  $M R \ge \sum_i I(Y_i;W)$ since items are independent. Nor is any loss less than that of items
  stored whole (C1), whatever the rate.

Both are solved slope by slope (`_programme`): reward - slope * rate is at most a bound that
holds for every channel, and at least that of a channel that is evaluated exactly.

No earlier statement of either claim was found; functionals of this kind are Yaari's (1987) and
Acerbi's (2002).
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterable
from typing import Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.limits._supporting_lines import Points
from rdsim.limits.bottleneck._solver import reduced
from rdsim.limits.retrieval.items._groups import GroupedConverse, converse_by_groups
from rdsim.limits.retrieval.items._item_curve import (
    ItemCurve,
    checked_problem,
    unsolved,
    with_points,
)
from rdsim.limits.retrieval.items._programme import many_classes, optimum, programme
from rdsim.limits.retrieval.items._ranks import Programme, Rewards, classes_of, tabulated
from rdsim.number_types import ArrayLike
from rdsim.ranking.loss import Loss, RankLoss, parse_loss
from rdsim.results import result
from rdsim.sources.tables import DiscreteSource
from rdsim.transformations import on_host

_LARGEST: Final = 1000.0
"""log2 M: beyond 2^1024 numbers overflow."""


@result
class RetrievalCurve(ItemCurve):
    r"""Certified points of least bits per item against rank loss, one a slope, and what they prove.

    Attributes:
        slope: reward per bit, the Lagrange multiplier of the rate, shape (S,): there the curve falls by one bit where
            the loss grows by `slope`.
        loss: expected rank loss of the channel found, shape (S,).
        rate: least bits per item at that loss, shape (S,): the channel's own is `upper` and `value`,
            and `lower` is the height of a line below the whole curve. With shared encoders a
            channel, or two that are time-shared, achieve it.
        minimum_loss: of items stored whole, ranked best: no encoder has less.
        maximum_loss: of a random ranking, which costs no bits.
        stored_rate: bits per item that is stored whole, as far as queries tell letters apart.
        joint: P(x,y), shape (|X|, |Y|).
        log2_size: log2 M.
        rank_loss: the loss as it was named.
        encoder: "shared" or "joint".

    """

    joint: Float[Array, "x y"]
    log2_size: Float[Array, ""]
    rank_loss: Loss = dataclasses.field(metadata={"static": True}, default="reciprocal_rank")
    encoder: str = dataclasses.field(metadata={"static": True}, default="shared")

    @on_host
    def test_channel(self, slope: ArrayLike) -> Float[Array, "y u"]:
        """Solve for the best channel found at one slope.

        Args:
            slope: reward a bit, > 0, a scalar.

        Returns:
            P(u|y), rows summing to one, shape (|Y|, U): of thousands of codewords where queries are of
            one class. A letter without mass has the row of the codewords' own distribution.

        """
        at = validation.positive("slope", slope, ndim=0)
        problem = self.programme()
        # With many classes only the channel is asked for; an infinite bound spares the search for
        # one.
        known = np.inf if many_classes(problem) else None
        found = optimum(problem, float(at), float(self.rate.tolerance), known).joint
        found = found[found.sum(axis=1) > 0]
        rows = (found / found.sum(axis=0)).T
        letter = reduced(np.asarray(self.joint)).letter
        weight = found.sum(axis=1) / found.sum()
        return jnp.asarray(np.where(letter[:, None] >= 0, rows[letter], weight))

    def programme(self) -> Programme:
        """State the problem that is solved slope by slope."""
        rewards = _tabulated(float(self.log2_size), parse_loss(self.rank_loss), self.encoder)
        return programme(classes_of(self.letters()), rewards)

    def letters(self) -> np.ndarray:
        """Return P(x,y) without letters of no mass, letters that no query tells apart joined."""
        source = reduced(np.asarray(self.joint))
        return source.channel[source.px > 0] * source.py

    def _points(self, slopes: np.ndarray, tolerance: np.ndarray) -> Points:
        problem = self.programme()
        bounds: Iterable[float | None] = itertools.repeat(None, slopes.size)
        if slopes.size and many_classes(problem):
            # With many classes the bound does not depend on the channel: it is computed once for
            # all slopes.
            bounds = map(self.converse_by_groups().reward_less_rate, slopes.tolist())
        asked = zip(slopes.tolist(), tolerance.tolist(), bounds, strict=True)
        found = [optimum(problem, slope, bits, bound) for slope, bits, bound in asked]
        numbers = [(each.reward, each.rate, each.bound) for each in found]
        reward, rate, bound = np.array(numbers, float).reshape(-1, 3).T
        # Reward - slope rate <= bound, so rate >= (reward - bound) / slope.
        lower = np.minimum((reward - bound) / slopes, rate)
        return Points(1.0 / slopes, 1.0 - reward, lower, rate)

    def converse_by_groups(self) -> GroupedConverse:
        """Bound the loss at every rate by lines at a few slopes, of groups of queries."""
        letters = self.letters()
        parsed = parse_loss(self.rank_loss)
        return _grouped(
            letters.tobytes(), letters.shape, float(self.log2_size), parsed, self.encoder
        )


@on_host
@validation.needs_float64
def retrieval_curve(
    source: DiscreteSource | ArrayLike,
    log2_size: ArrayLike,
    loss: Loss,
    slopes: ArrayLike,
    *,
    encoder: str = "shared",
    tolerance: ArrayLike = 1e-4,
) -> RetrievalCurve:
    r"""Compute certified points of the least bits per item against rank loss (C25, C26).

    $$R(D) = \min\Bigl\{I(\mu) : \sum_x \int_0^\infty h(S_x(z))\,dz \ge 1 - D\Bigr\}.$$

    Where the queries sort the items in one order or its reverse (a binary query or item, the DSBS)
    the gap is some 1e-8 over the slope. Otherwise joint encoders of few items are solved exactly,
    and beyond the error falls with the square of the number of groups of ranks, 144 a class at
    most: some 1e-4 bits for up to five classes of queries. Thirty losses at given rates then take one to four seconds of
    three classes. For more classes and items of up to five letters the gap is some thousandths of a bit, or the
    tolerance if that is larger. For more of both, unless ranks are few, the lower bound gives each group of three or four classes a
    description of its own: of six letters it is half to four fifths of the rate, and less the more classes there are.

    Args:
        source: a `DiscreteSource`, or a table P(x,y), of one letter an item.
        log2_size: log2 M in [1, 1000], a scalar. Losses are accurate to 1e-13 of one, so that
            nothing is said about rewards below that.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        slopes: reward a bit, > 0, shape (S,). The gap falls to no less than what the tables of rewards leave open, some 1e-9 for MRR and
            DCG and 1e-13 for the error, over the slope: where a whole item's bits are worth less than that, the answer is items stored whole.
        encoder: "shared" for one encoder for all items, exact; "joint" for a converse for every
            encoder, those included that see the whole database.
        tolerance: certified gap to reach, bits.

    Returns:
        The curve. A point whose gap stayed above the tolerance has `converged` False; its bounds
        hold all the same.

    """
    parsed, joint, slope, wanted = checked_problem(source, loss, slopes, tolerance)
    size = validation.interval("log2_size", log2_size, low=1.0, high=_LARGEST, ndim=0)
    validation.choice("encoder", encoder, ("shared", "joint"))
    fields = unsolved(joint, size, parsed, slope, wanted)
    return with_points(RetrievalCurve(**fields, log2_size=size, rank_loss=loss, encoder=encoder))


@functools.lru_cache(maxsize=8)
def _grouped(
    letters: bytes, shape: tuple[int, int], log2_size: float, loss: RankLoss, encoder: str
) -> GroupedConverse:
    """Keep the last converses, which every round of a search asks for."""
    queries = classes_of(np.frombuffer(letters).reshape(shape))
    return converse_by_groups(programme(queries, _tabulated(log2_size, loss, encoder)))


@functools.lru_cache(maxsize=32)
def _tabulated(log2_size: float, loss: RankLoss, encoder: str) -> Rewards:
    return tabulated(log2_size, loss, joint=encoder == "joint")
