r"""The exact optimum of joint encoders of a small database (C26).

What an encoder that sees all M items can do is an ordinary rate-distortion problem of the whole
database: letters $y^M$, reproductions F that rank the items for every query, and $d(y^M, F)$ the
expected rank loss of a target that is any item alike. Described together with many others, at the
information rate, databases need

$$R^*(D) = \frac1M \min \{ I(Y^M; F) : E\,d(Y^M, F) \le D \}$$

bits per item. Permuting the items leaves the problem as it is, which collapses databases to types and
rankings to orbits (`_arrangements`). At a slope the orbit is a reproduction whose distortion
is $-\frac1\sigma \log_2$ of the mean of $2^{-\sigma d}$ over its arrangements: C5 certifies it as it does any other.
Queries that sort all items alike, or in reverse, share one ranking; ranks of equal loss are not told apart,
nor are letters that no query tells apart.
"""

import dataclasses
import functools
import math
from typing import Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.limits._supporting_lines import Points
from rdsim.limits.bottleneck._solver import reduced
from rdsim.limits.rate_distortion.discrete import rate_distortion_curve
from rdsim.limits.retrieval._arrangements import arranged, orbits, types_of
from rdsim.limits.retrieval.items._item_curve import (
    ItemCurve,
    checked_problem,
    unsolved,
    with_points,
)
from rdsim.limits.retrieval.items._ranks import Queries, classes_of
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.loss import Loss, RankLoss, parse_loss
from rdsim.results import result
from rdsim.sources.tables import DiscreteSource
from rdsim.transformations import on_host

_MOST_ITEMS: Final = 1024
"""Most items M of a database: tables over its compositions have (M + 1)^(|Y|-1) entries."""
_ROUNDING: Final = 1e-13
"""Bits that sums of M logarithms may be off by, an item and a bit of what is summed."""


@result
class JointRetrievalCurve(ItemCurve):
    r"""Certified points of the least bits per item of joint encoders, one a slope.

    Attributes:
        slope: reward per bit of an item, the Lagrange multiplier of the rate, shape (S,).
        loss: expected rank loss, shape (S,).
        rate: bits per item there, shape (S,): `upper` and `value` are achieved by many databases described
            together.
        minimum_loss: of items stored whole, ranked best: no encoder has less.
        maximum_loss: of a random ranking, which costs no bits.
        stored_rate: bits per item that is stored whole, as far as queries tell letters apart.
        joint: P(x,y), shape (|X|, |Y|).
        items: M.
        rank_loss: the loss as it was named.

    """

    joint: Float[Array, "x y"]
    items: int = dataclasses.field(metadata={"static": True}, default=2)
    rank_loss: Loss = dataclasses.field(metadata={"static": True}, default="reciprocal_rank")

    def _points(self, slopes: np.ndarray, tolerance: np.ndarray) -> Points:
        problem = _collapsed(np.asarray(self.joint), self.items, parse_loss(self.rank_loss))
        pairs = zip(slopes, tolerance, strict=True)
        found = [problem.point(float(slope), float(bits)) for slope, bits in pairs]
        loss, lower, upper = np.array(found, float).reshape(-1, 3).T
        return Points(1.0 / slopes, loss, lower, upper)


@on_host
@validation.needs_float64
def joint_retrieval_curve(
    source: DiscreteSource | ArrayLike,
    loss: Loss,
    slopes: ArrayLike,
    *,
    items: Integer,
    tolerance: ArrayLike = 1e-9,
) -> JointRetrievalCurve:
    r"""Compute what joint encoders of a small database can do, exactly (C5 on all databases).

    $$R^*(D) = \frac1M \min \{ I(Y^M; F) : E\,d(Y^M, F) \le D \}.$$

    Where one ranking serves all queries (a binary query or item, the DSBS) a slope takes milliseconds for a
    hundred items; with three classes of queries and reciprocal ranks five items are the most.

    Args:
        source: a `DiscreteSource`, or a table P(x,y), of one letter an item.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        slopes: reward a bit, > 0, shape (S,).
        items: M, from 2 to 1024, and so small that there are at most 2^18 rankings and 2^20 pairs of types of
            databases and rankings, both up to permutations of the items.
        tolerance: certified gap to reach, bits per item.

    Returns:
        The curve.

    Raises:
        ValueError: also if there are too many databases and rankings.

    """
    parsed, joint, slope, wanted = checked_problem(source, loss, slopes, tolerance)
    M = validation.integer("items", items, low=2, high=_MOST_ITEMS)
    fields = unsolved(joint, jnp.log2(float(M)), parsed, slope, wanted)
    return with_points(JointRetrievalCurve(**fields, items=M, rank_loss=loss))


@dataclasses.dataclass(frozen=True)
class _Collapsed:
    """Types of databases and orbits of rankings.

    Attributes:
        queries: classes of queries, and P(y).
        strategies: what the items of each orbit earn, shape (O, M, C).
        types: numbers of items of each letter, shape (T, |Y|).
        random: mean reward of a random ranking.

    """

    queries: Queries
    strategies: np.ndarray
    types: np.ndarray
    random: float

    def point(self, slope: float, tolerance: float) -> tuple[float, float, float]:
        """Solve at one slope: the loss, and the bits per item there from below and above."""
        M = self.strategies.shape[1]
        found = arranged(
            self.strategies,
            self.queries.direction,
            self.queries.py,
            self.types,
            math.log(2.0) / slope,
        )
        mass = np.exp(found.log_p)
        mass /= mass.sum()
        # Bits less the part that a random ranking pays for, which all have in common.
        # The tilted mean over an orbit's arrangements, as a distortion in bits at slope one.
        bits = -found.log_mean / math.log(2.0)
        lost = 1.0 - self.random - found.gain / M
        if bits.shape[1] == 1:
            loss, value, gap = float(mass @ lost[:, 0]), float(mass @ bits[:, 0]), 0.0
        else:
            # A distortion may not be negative: a constant is taken off all, which shifts the
            # Lagrangian alone.
            least = float(bits.min())
            curve = rate_distortion_curve(mass, bits - least, [1.0], tolerance=tolerance * M)
            value = float(curve.rate.upper[0] + curve.distortion[0]) + least
            gap = float(curve.gap[0])
            channel = np.asarray(curve.test_channel()[0])
            loss = float(mass @ (channel * lost).sum(axis=1))
        # What is minimised is R + loss / slope, an item; of a random ranking R is zero.
        rate = (value + (1.0 - self.random) * M / slope) / M - loss / slope
        rounding = _ROUNDING * (1.0 + 1.0 / slope)
        return loss, rate - gap / M - rounding, rate + rounding


@functools.lru_cache(maxsize=8)
def _tabulated(joint: bytes, shape: tuple[int, int], M: int, loss: RankLoss) -> _Collapsed:
    source = reduced(np.frombuffer(joint).reshape(shape))
    queries = classes_of(source.channel[source.px > 0] * source.py)
    reward = 1.0 - np.asarray(loss.of_log_rank(jnp.log(jnp.arange(1.0, M + 1))))
    earned = [
        plus * reward - minus * reward[::-1]
        for plus, minus in zip(queries.forward, queries.backward, strict=True)
    ]
    strategies = orbits(earned) if earned else np.zeros((1, M, 0))
    types = types_of(queries.py.size, M, len(strategies))
    return _Collapsed(queries, strategies, types, float(reward.mean()))


def _collapsed(joint: np.ndarray, M: int, loss: RankLoss) -> _Collapsed:
    """Collapse the databases of a source; kept from one call to the next."""
    return _tabulated(joint.astype(float).tobytes(), joint.shape, M, loss)
