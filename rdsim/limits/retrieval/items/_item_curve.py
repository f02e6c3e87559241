"""What every curve of bits per item against rank loss has: its ends, and a search on its slopes."""

import dataclasses
from typing import Any, ClassVar, Final, TypeVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.certified import Certified
from rdsim.limits._curve import Curve, between
from rdsim.limits._supporting_lines import Points, search
from rdsim.limits.bottleneck._solver import reduced
from rdsim.number_types import ArrayLike
from rdsim.ranking.loss import RankLoss, parse_loss
from rdsim.ranking.rank_distribution import expected_loss_kernel
from rdsim.results import result
from rdsim.sources.tables import DiscreteSource
from rdsim.transformations import on_host

_PART: Final = 0.25
"""Part of the tolerance in loss that a solved slope may leave; the distance between slopes takes the rest."""
_PART_OF_RATE: Final = 0.5
"""The same of the tolerance in bits: had each slope all of it, nothing would be left for the distance between slopes."""
_ROUNDING: Final = 1e-12
"""Losses so little below the least one are taken for it: the least is a sum that is rounded."""


@result
class ItemCurve(Curve):
    r"""Certified points of least bits per item against rank loss, one a slope, and what they prove.

    Attributes:
        slope: reward per bit, the Lagrange multiplier of the rate, shape (S,): there the curve falls by one bit where
            the loss grows by `slope`.
        loss: expected rank loss of the channel found, shape (S,).
        rate: least bits per item at that loss, shape (S,): the channel's own is `upper` and `value`,
            and `lower` is the height of a line below the whole curve.
        minimum_loss: of items stored whole, ranked best: no encoder has less.
        maximum_loss: of a random ranking, which costs no bits.
        stored_rate: bits per item that is stored whole, as far as queries tell letters apart.

    """

    loss: Float[Array, " s"]
    rate: Certified
    minimum_loss: Float[Array, ""]
    maximum_loss: Float[Array, ""]
    stored_rate: Float[Array, ""]

    _along: ClassVar[str] = "loss"

    @on_host
    def rate_at(self, loss: ArrayLike) -> Certified:
        """Solve for the least bits per item at given losses, to the tolerance of the curve.

        Args:
            loss: expected rank loss, any shape; from `maximum_loss` on the rate is zero.

        Returns:
            Bits per item, shape of the loss; `value` is the upper bound, that of one channel or of two
            that are time-shared. Where the gap stays above the tolerance `converged` is False.

        Raises:
            ValueError: if a loss lies below `minimum_loss`.

        """
        goal = self._checked(loss)
        lower, upper, _ = searched(self, np.asarray(goal), inverse=False)
        return self._certified(np.maximum(lower, 0.0), np.maximum(upper, 0.0), goal.shape)

    @on_host
    def loss_at(self, rate: ArrayLike) -> Certified:
        """Solve for the least expected rank loss at given rates, to the curve's tolerance in loss.

        Args:
            rate: bits per item, at least 0, any shape.

        Returns:
            Loss, shape of the rate; `value` is the upper bound.

        """
        goal = validation.interval("rate", rate, low=0.0)
        lower, upper, _ = searched(self, np.asarray(goal), inverse=True)
        least, most = float(self.minimum_loss), float(self.maximum_loss)
        upper = np.clip(upper, least, most)
        return self._certified(np.clip(lower, least, upper), upper, goal.shape)

    def _points(self, slopes: np.ndarray, tolerance: np.ndarray) -> Points:
        """Solve slopes, reward a bit, on the host, each to a gap in bits."""
        raise NotImplementedError

    def _at_slopes(self, slopes: np.ndarray) -> Points:
        """Solve slopes to the tolerance of the curve."""
        return self._points(slopes, np.full(slopes.shape, float(self.rate.tolerance)))

    def _certified(self, lower: np.ndarray, upper: np.ndarray, shape: tuple[int, ...]) -> Certified:
        return between(lower, upper, shape, self.rate.tolerance)

    def _ends(self) -> Points:
        # Nothing is sent at D_max. The letter itself may be stored, and no loss is less than then.
        return Points(
            jnp.asarray([0.0, np.inf]),
            jnp.stack([self.maximum_loss, self.minimum_loss]),
            jnp.zeros(2),
            jnp.stack([jnp.zeros(()), self.stored_rate]),
        )

    def _known(self) -> Points:
        own = Points(1.0 / self.slope, self.loss, self.rate.lower, self.rate.upper)
        return self._ends().and_also(Points(*map(jnp.atleast_1d, own)))

    def _checked(self, at: ArrayLike) -> Float[Array, "..."]:
        loss = validation.interval("loss", at, low=0.0)
        if not validation.is_traced(loss, self.minimum_loss):
            least = float(self.minimum_loss)
            below = np.asarray(loss) < least - _ROUNDING
            if below.any():
                raise ValueError(
                    f"loss must be at least {least!r}, that of items stored whole, "
                    f"got {np.asarray(loss)[below][0].item()!r}"
                )
        return loss


_AnyItemCurve = TypeVar("_AnyItemCurve", bound=ItemCurve)


def with_points(curve: _AnyItemCurve) -> _AnyItemCurve:
    """Solve the curve's own slopes; its methods need no points, so that placeholders stand there before."""
    points = curve._at_slopes(np.asarray(curve.slope))
    lower, upper = jnp.asarray(points.lower), jnp.asarray(points.upper)
    rate = Certified(value=upper, lower=lower, upper=upper, tolerance=curve.rate.tolerance)
    return dataclasses.replace(curve, loss=jnp.asarray(points.x), rate=rate)


def searched(
    curve: ItemCurve, goal: np.ndarray, *, inverse: bool
) -> tuple[np.ndarray, np.ndarray, Points]:
    """Search the slopes for goals, beginning with what is known of the curve.

    Returns:
        Lower and upper bounds at the goals, and all points that were solved or known.

    """
    known = [Points(*map(np.asarray, curve._known()))]
    tolerance = float(curve.rate.tolerance)
    if not inverse:
        least = float(curve.minimum_loss)
        goal = np.where(goal < least - _ROUNDING, goal, np.maximum(goal, least))

    def solve(slopes: np.ndarray) -> Points:
        # Slopes of a curve are bits per unit of loss; vertical and flat lines are known already.
        inside = np.sort(slopes[np.isfinite(slopes) & (slopes > 0)])
        # Where a loss is sought the tolerance is one of losses, which are a fraction of the bits where these earn little.
        part = _PART * inside if inverse else np.full(inside.shape, _PART_OF_RATE)
        # The curve's own slope is the reward that a bit earns, the reciprocal of bits per unit of
        # loss.
        known.append(curve._points(1.0 / inside, part * tolerance))
        return known[-1]

    lower, upper = search(solve, known[0], goal.ravel(), tolerance, inverse=inverse)
    return lower, upper, Points(*map(np.concatenate, zip(*known, strict=True)))


def at_slopes(curve: ItemCurve, slopes: np.ndarray) -> Points:
    """Solve the slopes, reward a bit; with what is known before."""
    return Points(*map(np.asarray, curve._known())).and_also(curve._at_slopes(slopes))


def checked_problem(
    source: Any, loss: Any, slopes: ArrayLike, tolerance: ArrayLike
) -> tuple[RankLoss, np.ndarray, Float[Array, " s"], Float[Array, ""]]:
    """Check what every such curve is asked for: the loss, P(x,y), the slopes and the tolerance."""
    parsed = parse_loss(loss)
    table = source.joint if isinstance(source, DiscreteSource) else source
    joint = np.asarray(validation.pmf("source", table, ndim=2))
    slope = validation.positive("slopes", slopes, ndim=1)
    return parsed, joint, slope, validation.tolerance(tolerance)


def unsolved(
    joint: np.ndarray,
    log2_size: Float[Array, ""],
    loss: RankLoss,
    slope: Float[Array, " s"],
    tolerance: Float[Array, ""],
) -> dict[str, Any]:
    """Fields of a curve before `with_points`: its ends, and the slopes in the place of its points."""
    least, most = end_losses(joint, log2_size, loss)
    return {
        "slope": slope,
        "loss": slope,
        "rate": Certified(value=slope, lower=slope, upper=slope, tolerance=tolerance),
        "minimum_loss": jnp.asarray(least),
        "maximum_loss": jnp.asarray(most),
        "stored_rate": jnp.asarray(reduced(joint).entropy),
        "joint": jnp.asarray(joint),
    }


def end_losses(
    joint: np.ndarray, log2_size: Float[Array, ""], loss: RankLoss
) -> tuple[float, float]:
    """Compute the losses of stored letters and of a random ranking, exactly by C1.

    Letters that tie for a query may be put into any order: the target's loss is an integral over the
    places of all of them.
    """
    py = joint.sum(axis=0)
    # An item stored whole is scored by P(x|y), its posterior's likelihood: sorted for each query
    # x, the letters before the target's are the probability a that a competitor wins, its own
    # that one ties.
    likelihood = joint / np.where(py > 0, py, 1.0)
    order = np.argsort(-likelihood, axis=1, kind="stable")
    share = py[order]
    # Cumulative sums may pass one by their rounding, where ln(1 - a - e) would not be defined.
    before = np.minimum(np.cumsum(share, axis=1) - share, 1.0)
    share = np.minimum(share, 1.0 - before)
    weight = np.take_along_axis(joint, order, axis=1)
    used = (weight > 0) & (share > 0)
    # The last entry is a target that ties with everybody.
    a, e = np.append(before[used], 0.0), np.append(share[used], 1.0)
    with np.errstate(divide="ignore"):
        losses = expected_loss_kernel(np.log(a), np.log(e), np.asarray(log2_size), loss)
    most = float(losses[-1])
    return min(float(weight[used] @ losses[:-1]), most), most
