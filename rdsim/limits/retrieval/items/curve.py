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
from typing import ClassVar, Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.certified import Certified
from rdsim.limits._curve import Curve
from rdsim.limits._supporting_lines import Points, search
from rdsim.limits.bottleneck._solver import reduced
from rdsim.limits.retrieval.items._programme import Programme, optimum, programme
from rdsim.limits.retrieval.items._ranks import Rewards, classes_of, tabulated
from rdsim.number_types import ArrayLike
from rdsim.ranking.loss import Loss, RankLoss, parse_loss
from rdsim.ranking.rank_distribution import expected_loss_kernel, reach_of
from rdsim.results import result
from rdsim.sources.tables import DiscreteSource
from rdsim.transformations import on_host

_LARGEST: Final = 1000.0
"""log2 M: beyond 2^1024 numbers overflow."""
_PADDED: Final = 64
"""Losses of stored letters are computed for a multiple of so many, by few programs."""


@result
class RetrievalCurve(Curve):
    r"""Certified points of least bits per item against rank loss, one a slope, and what they prove.

    Attributes:
        slope: reward that a bit is worth, shape (S,): the curve falls by a bit a `slope` of loss.
        loss: expected rank loss of the channel found, shape (S,).
        rate: least bits per item at that loss, shape (S,): the channel's own is `upper` and `value`,
            and `lower` is the height of a line below the whole curve.
        minimum_loss: of items stored whole, ranked best: no encoder has less.
        maximum_loss: of a random ranking, which costs no bits.
        stored_rate: bits per item that is stored whole, as far as queries tell letters apart.
        joint: P(x,y), shape (|X|, |Y|).
        log2_size: log2 M.
        rank_loss: the loss as it was named.
        encoder: "shared" or "joint".

    """

    loss: Float[Array, " s"]
    rate: Certified
    minimum_loss: Float[Array, ""]
    maximum_loss: Float[Array, ""]
    stored_rate: Float[Array, ""]
    joint: Float[Array, "x y"]
    log2_size: Float[Array, ""]
    rank_loss: Loss = dataclasses.field(metadata={"static": True}, default="reciprocal_rank")
    encoder: str = dataclasses.field(metadata={"static": True}, default="shared")

    _along: ClassVar[str] = "loss"

    @on_host
    def rate_at(self, loss: ArrayLike) -> Certified:
        """Solve for the least bits per item at given losses, to the tolerance of the curve.

        Args:
            loss: expected rank loss, any shape; from `maximum_loss` on the rate is zero.

        Returns:
            Bits per item, shape of the loss; `value` is the upper bound. With shared encoders a
            channel, or two that are time-shared, achieve it. Where the gap stays above the
            tolerance `converged` is False.

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

    @on_host
    def test_channel(self, slope: ArrayLike) -> Float[Array, "y u"]:
        """Solve for the best channel found at one slope.

        Args:
            slope: reward a bit, > 0, a scalar.

        Returns:
            P(u|y), rows summing to one, shape (|Y|, U): of thousands of codewords where queries are of
            one class. A letter without mass has the row of the codewords' own distribution.

        """
        at = validation.interval(
            "slope", slope, low=0.0, high=np.inf, open_low=True, open_high=True, ndim=0
        )
        found = optimum(self.programme(), float(at), float(self.rate.tolerance)).joint
        found = found[found.sum(axis=1) > 0]
        rows = (found / found.sum(axis=0)).T
        letter = reduced(np.asarray(self.joint)).letter
        weight = found.sum(axis=1) / found.sum()
        return jnp.asarray(np.where(letter[:, None] >= 0, rows[letter], weight))

    def _certified(self, lower: np.ndarray, upper: np.ndarray, shape: tuple[int, ...]) -> Certified:
        low, high = (jnp.asarray(np.reshape(bound, shape)) for bound in (lower, upper))
        return Certified(value=high, lower=low, upper=high, tolerance=self.rate.tolerance)

    def programme(self) -> Programme:
        """State the problem that is solved slope by slope."""
        rewards = _tabulated(float(self.log2_size), parse_loss(self.rank_loss), self.encoder)
        return programme(classes_of(self.letters()), rewards)

    def letters(self) -> np.ndarray:
        """Return P(x,y) without letters of no mass, letters that no query tells apart joined."""
        kept = reduced(np.asarray(self.joint))
        return kept.channel[kept.px > 0] * kept.py

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
            below = np.asarray(loss) < least - 1e-12
            if below.any():
                raise ValueError(
                    f"loss must be at least {least!r}, that of items stored whole, "
                    f"got {np.asarray(loss)[below][0].item()!r}"
                )
        return loss


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
    most: some 1e-4 bits for up to five classes of queries, and more for more.

    Args:
        source: a `DiscreteSource`, or a table P(x,y), of one letter an item.
        log2_size: log2 M in [1, 1000], a scalar. Losses are accurate to 1e-13 of one, so that
            nothing is said about rewards below that.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        slopes: reward a bit, > 0, shape (S,).
        encoder: "shared" for one encoder for all items, exact; "joint" for a converse for every
            encoder, those included that see the whole database.
        tolerance: certified gap to reach, bits.

    Returns:
        The curve. A point whose gap stayed above the tolerance has `converged` False; its bounds
        hold all the same.

    """
    parsed = parse_loss(loss)
    table = source.joint if isinstance(source, DiscreteSource) else source
    joint = np.asarray(validation.pmf("source", table, ndim=2))
    size = validation.interval("log2_size", log2_size, low=1.0, high=_LARGEST, ndim=0)
    slope = validation.interval(
        "slopes", slopes, low=0.0, high=np.inf, open_low=True, open_high=True, ndim=1
    )
    wanted = validation.tolerance(tolerance)
    if encoder not in ("shared", "joint"):
        raise ValueError(f'encoder must be "shared" or "joint", got {encoder!r}')
    least, most = _end_losses(joint, size, parsed)
    curve = RetrievalCurve(
        slope=slope,
        loss=slope,
        rate=Certified(value=slope, lower=slope, upper=slope, tolerance=wanted),
        minimum_loss=jnp.asarray(least),
        maximum_loss=jnp.asarray(most),
        stored_rate=jnp.asarray(reduced(joint).entropy),
        joint=jnp.asarray(joint),
        log2_size=size,
        rank_loss=loss,
        encoder=encoder,
    )
    points = _points(curve.programme(), np.asarray(slope), float(wanted))
    rate = Certified(
        value=jnp.asarray(points.upper),
        lower=jnp.asarray(points.lower),
        upper=jnp.asarray(points.upper),
        tolerance=wanted,
    )
    return dataclasses.replace(curve, loss=jnp.asarray(points.x), rate=rate)


def searched(
    curve: RetrievalCurve, goal: np.ndarray, *, inverse: bool
) -> tuple[np.ndarray, np.ndarray, Points]:
    """Search the slopes for goals, beginning with what is known of the curve.

    Returns:
        Lower and upper bounds at the goals, and all points that were solved or known.

    """
    problem = curve.programme()
    tolerance = float(curve.rate.tolerance)
    known = [Points(*(np.asarray(part) for part in curve._known()))]

    def solve(slopes: np.ndarray) -> Points:
        # Slopes of a curve are bits per unit of loss; vertical and flat lines are known already.
        inside = np.sort(slopes[np.isfinite(slopes) & (slopes > 0)])
        found = _points(problem, 1.0 / inside, tolerance)
        known.append(found)
        return found

    lower, upper = search(solve, known[0], goal.ravel(), tolerance, inverse=inverse)
    return lower, upper, Points(*map(np.concatenate, zip(*known, strict=True)))


def at_slopes(curve: RetrievalCurve, slopes: np.ndarray) -> Points:
    """Solve the slopes, reward a bit; with what is known before."""
    found = _points(curve.programme(), slopes, float(curve.rate.tolerance))
    return Points(*map(np.asarray, curve._known())).and_also(found)


def _points(problem: Programme, slopes: np.ndarray, tolerance: float) -> Points:
    """Solve slope by slope: reward - slope rate <= bound, so rate >= (reward - bound) / slope."""
    found = [optimum(problem, float(slope), tolerance) for slope in slopes]
    numbers = [(each.reward, each.rate, each.bound) for each in found]
    reward, rate, bound = np.array(numbers, float).reshape(-1, 3).T
    lower = np.minimum((reward - bound) / slopes, rate)
    return Points(1.0 / slopes, 1.0 - reward, lower, rate)


@functools.lru_cache(maxsize=32)
def _tabulated(log2_size: float, loss: RankLoss, encoder: str) -> Rewards:
    return tabulated(log2_size, loss, joint=encoder == "joint")


def _end_losses(
    joint: np.ndarray, log2_size: Float[Array, ""], loss: RankLoss
) -> tuple[float, float]:
    """Compute the losses of stored letters and of a random ranking, exactly by C1.

    Letters that tie for a query may be put into any order: the target's loss is an integral over the
    places of all of them.
    """
    py = joint.sum(axis=0)
    likelihood = joint / np.where(py > 0, py, 1.0)
    order = np.argsort(-likelihood, axis=1, kind="stable")
    share = py[order]
    before = np.minimum(np.cumsum(share, axis=1) - share, 1.0)
    share = np.minimum(share, 1.0 - before)
    weight = np.take_along_axis(joint, order, axis=1)
    used = (weight > 0) & (share > 0)
    # The last entry is a target that ties with everybody.
    a, e = np.append(before[used], 0.0), np.append(share[used], 1.0)
    padding = (0, -a.size % _PADDED)
    with np.errstate(divide="ignore"):
        log_a, log_e = np.log(np.pad(a, padding)), np.log(np.pad(e, padding, constant_values=1.0))
    losses = np.asarray(
        expected_loss_kernel(
            jnp.asarray(log_a), jnp.asarray(log_e), log2_size, loss, reach_of(log2_size)
        )
    )
    most = float(losses[a.size - 1])
    return min(float(weight[used] @ losses[: a.size - 1]), most), most
