r"""The exact optimum of joint encoders of a small database, by listing it (C26).

What an encoder that sees all M items can do is an ordinary rate-distortion problem of the whole
database: letters $y^M$, reproductions F that rank the items for every query, and $d(y^M, F)$ the
expected rank loss of a target that is any item alike. Described together with many others, at the
information rate, databases need

$$R^*(D) = \frac1M \min \{ I(Y^M; F) : E\,d(Y^M, F) \le D \}$$

bits per item. The lists are kept short: queries that sort all items alike, or in reverse, share one
ranking; rankings that differ only in ranks of equal loss are one; letters that no query tells apart
are one.
"""

import itertools
import math
from typing import ClassVar, Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.certified import Certified
from rdsim.limits._curve import Curve
from rdsim.limits._supporting_lines import Points
from rdsim.limits.bottleneck._solver import reduced
from rdsim.limits.rate_distortion.discrete import RateDistortionCurve, rate_distortion_curve
from rdsim.limits.retrieval.items._ranks import classes_of
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.loss import Loss, RankLoss, parse_loss
from rdsim.results import result
from rdsim.sources.tables import DiscreteSource
from rdsim.transformations import on_host

_MOST_ITEMS: Final = 16
_MOST_ENTRIES: Final = 2**20
"""Of the table of losses, databases times rankings: 8 MiB, some seconds a slope."""


@result
class JointRetrievalCurve(Curve):
    r"""Certified points of the least bits per item of joint encoders, one a slope.

    Attributes:
        slope: reward that a bit per item is worth, shape (S,).
        loss: expected rank loss, shape (S,).
        rate: bits per item there, shape (S,).
        database: the rate-distortion function of the whole database, bits a database.
        items: M.

    """

    loss: Float[Array, " s"]
    rate: Certified
    database: RateDistortionCurve
    items: Float[Array, ""]

    _along: ClassVar[str] = "loss"

    @on_host
    def rate_at(self, loss: ArrayLike) -> Certified:
        """Solve for the bits per item at given losses, to the tolerance of the curve.

        Args:
            loss: expected rank loss, any shape.

        Returns:
            Bits per item, shape of the loss.

        Raises:
            ValueError: if a loss lies below the least.

        """
        found: Certified = self.database.rate_at(self._checked(loss)) / self.items
        return found

    @on_host
    def loss_at(self, rate: ArrayLike) -> Certified:
        """Solve for the least loss at given bits per item, to the tolerance of the database's curve.

        Args:
            rate: bits per item, at least 0, any shape.

        Returns:
            Loss, shape of the rate.

        """
        return self.database.distortion_at(validation.interval("rate", rate, low=0.0) * self.items)

    def _known(self) -> Points:
        whole = self.database._known()
        M = self.items
        return Points(whole.slope / M, whole.x, whole.lower / M, whole.upper / M)


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

    Args:
        source: a `DiscreteSource`, or a table P(x,y), of one letter an item.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        slopes: reward a bit per item, > 0, shape (S,).
        items: M, from 2 to 16 and so small that databases times rankings are at most 2^20.
        tolerance: certified gap to reach, bits per item.

    Returns:
        The curve.

    Raises:
        ValueError: if an argument is out of range, or there are too many databases and rankings.
        TypeError: if the number of items is not an integer.

    """
    parsed = parse_loss(loss)
    table = source.joint if isinstance(source, DiscreteSource) else source
    joint = np.asarray(validation.pmf("source", table, ndim=2))
    M = validation.integer("items", items, low=2, high=_MOST_ITEMS)
    slope = validation.interval(
        "slopes", slopes, low=0.0, high=np.inf, open_low=True, open_high=True, ndim=1
    )
    wanted = validation.tolerance(tolerance)
    masses, losses = _databases(joint, M, parsed)
    whole = rate_distortion_curve(masses, losses, M / slope, tolerance=wanted * M)
    return JointRetrievalCurve(
        slope=slope,
        loss=whole.distortion,
        rate=whole.rate / M,
        database=whole,
        items=jnp.asarray(float(M)),
    )


def _databases(joint: np.ndarray, M: int, loss: RankLoss) -> tuple[np.ndarray, np.ndarray]:
    """List all databases with their probabilities, and the losses of all rankings of each."""
    kept = reduced(joint)
    queries = classes_of(kept.channel[kept.px > 0] * kept.py)
    reward = 1.0 - np.asarray(loss.of_log_rank(jnp.log(jnp.arange(1.0, M + 1))))
    earned = [
        plus * reward - minus * reward[::-1]
        for plus, minus in zip(queries.forward, queries.backward, strict=True)
    ]
    rankings = math.prod(_count(values) for values in earned)
    letters = queries.py.size
    if letters**M * rankings > _MOST_ENTRIES:
        raise ValueError(
            f"items must be so few that databases times rankings are at most {_MOST_ENTRIES}, got "
            f"{letters}^{M} databases and {rankings} rankings"
        )
    databases = np.array(list(itertools.product(range(letters), repeat=M)))
    total = np.full((len(databases), 1), reward.mean())
    for values, direction in zip(earned, queries.direction, strict=True):
        by_item = np.array(list(_arrangements(values)))
        gain = direction[databases] @ by_item.T / M
        total = (total[:, :, None] + gain[:, None, :]).reshape(len(databases), -1)
    return queries.py[databases].prod(axis=1), np.maximum(1.0 - total, 0.0)


def _count(values: np.ndarray) -> int:
    """Count the distinct arrangements of numbers that may be equal."""
    _, times = np.unique(values, return_counts=True)
    return math.factorial(values.size) // math.prod(math.factorial(int(k)) for k in times)


def _arrangements(values: np.ndarray) -> list[tuple[float, ...]]:
    """List them."""
    if values.size == 0:
        return [()]
    found = []
    for value in np.unique(values):
        rest = np.delete(values, np.flatnonzero(values == value)[0])
        found += [(float(value), *others) for others in _arrangements(rest)]
    return found
