r"""One class of result for every limit that has a curve: certified points, and what they prove.

R(D) is convex and does not increase, which is what `_supporting_lines` needs to bound it between its points
and to search for further ones. The information bottleneck is the same thing upside down: the relevance at a
rate is concave and does not decrease, so that minus the relevance takes the place of R and the rate that of D.

R(D) of a discrete source has a search of its own, compiled and differentiable, in `rate_distortion._search`.
"""

from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from rdsim import validation
from rdsim.certified import Certified
from rdsim.limits._supporting_lines import Points, lower_hull, search
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.transformations import on_host


def achieved(rate: Array, gap: Array, tolerance: ArrayLike) -> Certified:
    """Make a rate that is achieved, and lies at most a gap above the limit, a certified number."""
    lower = jnp.where(jnp.isinf(gap), -jnp.inf, rate - gap)
    return Certified(value=rate, lower=lower, upper=rate, tolerance=jnp.asarray(tolerance))


@result
class Curve:
    r"""Certified points of a limit, one a slope, and what they prove between and beyond them.

    The limit is the rate as a function of the distortion; of the bottleneck, the relevance as a function
    of the complexity. At the point of a slope, with the whole curve on one side of a line through the
    proved end,

    $$R_i^- \le R(D_i) \le R_i^+, \qquad R(D) \ge R_i^- - s_i (D - D_i) \text{ for every } D,$$

    `rate.lower` and `rate.upper`: the upper is achieved. At any other distortion `lower` and `upper` say
    what all points together prove; `rate_at` and `distortion_at` solve for more of them.

    Attributes:
        slope: s >= 0, by how many bits the limit changes per unit of the other coordinate, shape (S,).

    """

    slope: Float[Array, " s"]

    _along: ClassVar[str] = "distortion"
    _limit: ClassVar[str] = "rate"
    _concave: ClassVar[bool] = False

    @property
    def limit(self) -> Certified:
        """The coordinate that is certified, shape (S,)."""
        found: Certified = getattr(self, self._limit)
        return found

    @property
    def gap(self) -> Float[Array, "..."]:
        """Certified upper minus lower bound of each point, bits, shape of the slope."""
        return self.limit.gap

    @property
    def converged(self) -> Bool[Array, "..."]:
        """Whether the certified gap is within the tolerance asked for, a slope at a time."""
        return self.limit.converged

    @property
    def tolerance(self) -> Float[Array, "..."]:
        """The gap that was asked for, bits."""
        return self.limit.tolerance

    def lower(self, at: ArrayLike) -> Float[Array, "..."]:
        r"""Bound the limit below, by the points of this curve alone.

        $$R(D) \ge \max\Bigl\{0,\ \max_i R_i^- - s_i (D - D_i)\Bigr\}, \qquad
            \mathrm{IB}(R) \ge \mathrm{conv}\{(0, 0),\ (R_i, I_i^-),\ (H(Y), I(X;Y))\}.$$

        Args:
            at: D (of the bottleneck R), any shape.

        Returns:
            Bits, shape of D.

        """
        return -self._hull(at) if self._concave else self._known().line(self._checked(at))

    def upper(self, at: ArrayLike) -> Float[Array, "..."]:
        r"""Bound the limit above, by the points of this curve alone.

        $$R(D) \le \mathrm{conv}\{(D_i, R_i^+),\ (D_{\max}, 0)\}, \qquad
            \mathrm{IB}(R) \le \min\{R,\ I(X;Y),\ \min_i I_i^+ + s_i (R - R_i)\}.$$

        The hull is taken on the host: a curve of traced numbers has none, and is refused by name.

        Args:
            at: D (of the bottleneck R), any shape.

        Returns:
            Bits, shape of D; infinite below the least distortion of the points.

        """
        return -self._known().line(self._checked(at)) if self._concave else self._hull(at)

    def to_xarray(self) -> Any:
        """Return the points as an `xarray.Dataset` along the dimension "slope", with their bounds."""
        import xarray

        bits = {"units": "bits"}
        return xarray.Dataset(
            {
                self._along: ("slope", np.atleast_1d(getattr(self, self._along))),
                self._limit: ("slope", np.atleast_1d(self.limit.value), bits),
                f"{self._limit}_lower": ("slope", np.atleast_1d(self.limit.lower), bits),
                f"{self._limit}_upper": ("slope", np.atleast_1d(self.limit.upper), bits),
                "converged": ("slope", np.atleast_1d(self.converged)),
            },
            coords={"slope": np.atleast_1d(self.slope)},
            attrs={"tolerance": float(self.tolerance)},
        )

    def plot(self, axes: Any = None, *, label: str | None = None, color: Any = None) -> Any:
        """Draw what is achieved as a line through the points, and what is proved as a band below.

        Args:
            axes: of Matplotlib, to draw on; by default a new figure's.
            label: of the line, for a legend.
            color: of line, points and band; by default the next one of the axes.

        Returns:
            The axes.

        """
        from matplotlib import pyplot

        axes = pyplot.subplots()[1] if axes is None else axes
        corners = np.asarray(self._corners()[0])
        at = np.unique(np.append(np.linspace(corners[0], corners[-1], 200), corners))
        lower, upper = self.lower(at), self.upper(at)
        (line,) = axes.plot(at, lower if self._concave else upper, label=label, color=color)
        axes.plot(getattr(self, self._along), self.limit, "o", color=line.get_color())
        axes.fill_between(at, lower, upper, color=line.get_color(), alpha=0.3, linewidth=0)
        axes.set(xlabel=self._along, ylabel=f"{self._limit} (bits)")
        return axes

    def _ends(self) -> Points:
        """Points of the convex function that need no solver. Each kind says which."""
        raise NotImplementedError

    def _known(self) -> Points:
        """All points of the convex function: the limit, or minus the limit if that is concave."""
        f = -self.limit if self._concave else self.limit
        own = (self.slope, getattr(self, self._along), f.lower, f.upper)
        return self._ends().and_also(Points(*map(jnp.atleast_1d, own)))

    def _hull(self, at: ArrayLike) -> Float[Array, "..."]:
        return jnp.interp(self._checked(at), *self._corners(), left=jnp.inf)

    @on_host
    def _corners(self) -> tuple[Any, Any]:
        """Corners of the hull of the known points, which are the same inside `jax.jit`."""
        known = self._known()
        corners = lower_hull(known.x, known.upper)
        return known.x[corners], known.upper[corners]

    def _checked(self, at: ArrayLike) -> Float[Array, "..."]:
        return validation.interval(self._along, at, low=0.0)


@result
class RateCurve(Curve):
    r"""Certified points of a rate-distortion function, one a slope.

    Attributes:
        slope: s, bits per unit of distortion, shape (S,).
        distortion: D, shape (S,).
        rate: R(D) with its bounds, bits, shape (S,): `value` and `upper` are achieved.

    """

    distortion: Float[Array, " s"]
    rate: Certified

    @property
    def minimum_distortion(self) -> Float[Array, ""]:
        """D_min, below which no rate suffices."""
        raise NotImplementedError

    @property
    def maximum_distortion(self) -> Float[Array, ""]:
        """D_max, from which on the rate is zero; may be inf."""
        raise NotImplementedError

    @on_host
    def rate_at(self, distortion: ArrayLike) -> Certified:
        """Solve for R(D) at given distortions, to the tolerance of the curve.

        Its derivative in D, where there is one, is minus the slope.

        Args:
            distortion: D, any shape, each at least D_min; from D_max on the rate is zero.

        Returns:
            Bits, shape of D: the upper bound is achieved by time sharing, the lower is proved;
            `value` is the upper bound.

        Raises:
            ValueError: if D is below D_min (naming both).

        """
        return self._solve_at(self._checked(distortion), inverse=False)

    @on_host
    def distortion_at(self, rate: ArrayLike) -> Certified:
        """Solve for D(R) at given rates, to the tolerance of the curve in units of distortion.

        Args:
            rate: R >= 0, bits, any shape; from R(D_min) on the distortion is D_min.

        Returns:
            Distortion, shape of R: the upper bound is achieved by time sharing, the lower is proved;
            `value` is the upper bound. Infinite where the rate is too low for any finite distortion.

        """
        goal = validation.non_negative("rate", rate)
        return self._solve_at(goal, inverse=True)

    def _solve_at(self, goal: Float[Array, "..."], *, inverse: bool) -> Certified:
        """Search from the ends of the curve. Kinds that have a better search use that."""
        target = float(self.tolerance)
        ends = Points(*map(np.asarray, self._ends()))
        at = np.ravel(np.asarray(goal))
        bounds = search(lambda s: self._solve(s, target / 4), ends, at, target, inverse=inverse)
        return between(*bounds, goal.shape, target)

    def _solve(self, slopes: np.ndarray, tolerance: float) -> Points:
        """Solve further slopes of the same problem, on the host."""
        raise NotImplementedError

    def _ends(self) -> Points:
        # At D_max nothing is sent, and a rate is never negative: the flat line.
        zero = jnp.zeros(1)
        return Points(zero, self.maximum_distortion[None], zero, zero)

    def _checked(self, at: ArrayLike) -> Float[Array, "..."]:
        return check_distortion(at, self.minimum_distortion)


def between(
    lower: np.ndarray, upper: np.ndarray, shape: tuple[int, ...], tolerance: ArrayLike
) -> Certified:
    """Make bounds that a search has found a certified number, its upper bound achieved."""
    low, high = jnp.asarray(lower.reshape(shape)), jnp.asarray(upper.reshape(shape))
    return Certified(value=high, lower=low, upper=high, tolerance=jnp.asarray(tolerance))


def check_distortion(distortion: ArrayLike, minimum: Float[Array, ""]) -> Float[Array, "..."]:
    """Check that no distortion lies below the least one, D_min, by more than rounding."""
    D = validation.interval("distortion", distortion, low=0.0)
    if not validation.is_traced(D, minimum):
        # D_min is a sum that a caller may have taken in another order.
        below = np.asarray(D) < float(minimum) * (1 - 1e-12)
        if below.any():
            raise ValueError(
                f"distortion must be at least D_min = {float(minimum)!r}, got "
                f"{np.asarray(D)[below][0].item()!r}"
            )
    return D
