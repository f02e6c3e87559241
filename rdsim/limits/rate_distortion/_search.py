r"""R at given distortions and D at given rates, certified: the search for the slope of a target (C5, C8).

A target is a distortion or, with `by_rate`, a rate. Two points on its two sides are kept: their
chord is achieved by time sharing, and the supporting lines of all points seen bound from below
(`rdsim.limits._supporting_lines`; here in fixed shapes, for NumPy and JAX alike). That settles the
bounds; for the derivatives the slope itself is then found.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from jaxtyping import Float

from rdsim.information import LN2
from rdsim.limits.rate_distortion._point import Point, constant_distortions, tilted_channel
from rdsim.namespaces import on_numpy, select, while_loop
from rdsim.root_finding import bisect, bisect_on_host

_STEPS: Final = 100
"""Points solved at most for one target; ten or so are usual."""

_NARROW: Final = 1e-7
"""Relative width to which the bracket of a slope is closed where the slope itself is wanted."""

_INWARDS: Final = 0.02
"""Fraction of the bracket by which a trial slope is moved off the interpolated one, so that it is
expected on the side from which the bracket then shrinks to a fiftieth."""

_OUTWARDS: Final = 4.0
"""Factor between trial slopes while only one side of the target is known."""

Solver = Callable[[Any, Any], Point]
"""The point of a slope, to a gap."""


class Target(NamedTuple):
    """A distortion or a rate at which the limit is wanted, and the problem that it belongs to."""

    solve: Solver
    p: Float[Any, " y"]
    excess: Float[Any, "y u"]
    goal: Any
    tolerance: Any
    by_rate: bool

    def at_zero_rate(self) -> tuple[Any, Any]:
        """Whether the target is reached at rate zero, and the limit then."""
        return without_rate(
            self.goal, constant_distortions(self.p, self.excess).min(), self.by_rate
        )


class Bracket(NamedTuple):
    """State of the search for bounds: `left` costs more bits than the target, `right` fewer."""

    left: Point  # not above the target distortion
    right: Point  # not below it
    slope: Any  # to be solved next
    lower: Any
    upper: Any
    steps: Any


class _SlopeBracket(NamedTuple):
    """State of the search for the slope itself, which lies between those of the two points."""

    left: Point
    right: Point
    steps: Any


class Optimum(NamedTuple):
    """What the derivatives at a target need."""

    slope: Any  # where nothing is sent, the steepest such slope
    q: Any  # output marginal


def bounded(target: Target, end: Bracket) -> tuple[Any, Any]:
    """The bounds of a finished search, or the limit itself where it is reached at rate zero."""
    trivial, value = target.at_zero_rate()
    xp = target.p.__array_namespace__()
    return xp.where(trivial, value, end.lower), xp.where(trivial, value, end.upper)


def without_rate(goal: Any, zero_rate: Any, by_rate: bool) -> tuple[Any, Any]:
    """Whether the target is reached at rate zero, and the limit then."""
    return (goal <= 0, zero_rate) if by_rate else (goal >= zero_rate, 0.0)


def _fraction(left: Any, right: Any, goal: Any) -> Any:
    """Fraction of the way from left to right at which the target lies; 0 if they are equal."""
    xp = goal.__array_namespace__()
    return xp.where(left == right, 0.0, (goal - left) / xp.where(left == right, 1.0, right - left))


def _line_at_target(point: Point, goal: Any, by_rate: bool) -> Any:
    """Lower bound on the limit by the supporting line of one point."""
    xp = goal.__array_namespace__()
    vertical = xp.isinf(point.slope)
    slope = xp.where(vertical, 1.0, point.slope)
    floor = point.rate - point.gap
    if not by_rate:
        at_end = xp.where(point.excess >= goal, floor, 0.0)
        return xp.where(vertical, at_end, floor - slope * (goal - point.excess))
    # Where the line of slope -s, of height `floor` at the point, comes down to the rate that is
    # allowed.
    line = point.excess + (floor - goal) / xp.where(slope > 0, slope, 1.0)
    # The line of slope zero bounds no D, unless it says that no D has so small a rate.
    flat = xp.where(floor > goal, xp.inf, 0.0)
    return xp.where(vertical, 0.0, xp.where(slope > 0, line, flat))


def _chord_at_target(left: Point, right: Point, goal: Any, by_rate: bool) -> Any:
    """Upper bound on the limit by time sharing of the two points."""
    xp = goal.__array_namespace__()
    if by_rate:
        x, y, f, g = left.rate, right.rate, left.excess, right.excess
    else:
        x, y, f, g = left.excess, right.excess, left.rate, right.rate
    fraction = _fraction(x, y, goal)
    return xp.where(fraction <= 0, f, xp.where(fraction >= 1, g, f + fraction * (g - f)))


def bracket_target(target: Target) -> Bracket:
    """Narrow the bracket of one target until chord and supporting lines meet within the tolerance.

    The next slope is in turn that of the chord (exact where the curve is straight) and that of the
    secant, interpolated between the slopes of the two points (fast where it is curved). The first
    is inf: the left end of the curve; the right end is the best constant letter.
    """
    xp, tolerance = target.p.__array_namespace__(), target.tolerance
    zero, right = xp.zeros(()), _without_bits(target.p, target.excess, xp.zeros(()))
    return while_loop(
        lambda now: (now.upper - now.lower > tolerance) & (now.steps < _STEPS),
        lambda now: _narrowed(
            now, target.solve(now.slope, tolerance / 4), target.goal, target.by_rate
        ),
        Bracket(right, right, xp.asarray(xp.inf), zero, xp.asarray(xp.inf), xp.asarray(0)),
    )


def _without_bits(p: Float[Any, " y"], excess: Float[Any, "y u"], slope: Any) -> Point:
    """The best constant letter, as the optimum of a slope at which nothing is sent."""
    xp, costs = p.__array_namespace__(), constant_distortions(p, excess)
    constant = xp.where(xp.arange(costs.size) == xp.argmin(costs), 1.0, 0.0)
    return Point(slope, xp.min(costs), xp.zeros(()), xp.zeros(()), constant)


def _narrowed(state: Bracket, new: Point, goal: Any, by_rate: bool) -> Bracket:
    """Put a new point on its side of the target, bound with it, and choose the next slope."""
    xp = goal.__array_namespace__()
    # The first point is solved at slope inf, the left end: it is put to the left whatever
    # rounding says.
    is_left = (new.rate >= goal) if by_rate else (new.excess <= goal)
    is_left = is_left | (state.steps == 0)
    left, right = select(is_left, (new, state.right), (state.left, new))
    lower = xp.maximum(state.lower, _line_at_target(new, goal, by_rate))
    upper = _chord_at_target(left, right, goal, by_rate)
    # The chord is also the slope of the next trial: if the curve is straight between the points,
    # the supporting line of that slope is the chord, and both bounds meet at once.
    width = right.excess - left.excess
    chord = (left.rate - right.rate) / xp.where(width > 0, width, xp.inf)
    x, y = (left.rate, right.rate) if by_rate else (left.excess, right.excess)
    secant = left.slope + _fraction(x, y, goal) * (right.slope - left.slope)
    # While the left end is still at slope inf only the chord has a slope.
    usable = xp.isfinite(secant) & (state.steps % 2 == 1) & (x != y)
    slope = xp.where(usable, secant, chord)
    return Bracket(left, right, slope, lower, upper, state.steps + 1)


def optimum_at_target(target: Target, end: Bracket) -> Optimum:
    """Find slope and output marginal of the optimum at the target.

    The certified bounds meet long before the slope is known to their accuracy: the tolerance may put the two
    points of the search on the wrong sides of the target, and where little is sent it exceeds the rate itself. So
    the bracket is opened again, from the first slope at which anything is sent to infinity, and closed by points
    solved to a finer tolerance: first at the two slopes of the search, then by interpolation to either side in turn,
    every third time by halving. On a straight piece it closes on the critical slope, whose two ends are mixed. On a
    curved one the error of the mixture is the square of the width.
    """
    solve, p, excess, goal, tolerance, by_rate = target
    xp = p.__array_namespace__()

    def coordinate(point: Point) -> Any:
        return point.rate if by_rate else point.excess

    def with_exact_rate(point: Point) -> Point:
        return point._replace(rate=_information(p, excess, point)) if by_rate else point

    start = with_exact_rate(end.left)
    fraction = _fraction(coordinate(start), coordinate(with_exact_rate(end.right)), goal)
    at_end = xp.isinf(start.slope) & (fraction <= 0)
    first = _first_slope(p, excess)
    left, right = start._replace(slope=xp.asarray(xp.inf)), _without_bits(p, excess, first)
    # A derivative is as wrong as the point's gap is against what is sent; below 1e-13 the solver does not come.
    sent = goal if by_rate else end.upper
    fine = xp.minimum(tolerance / 4, xp.maximum(1e-5 * sent, 1e-13))
    trivial, _ = target.at_zero_rate()
    wanted = ~(trivial | at_end)

    def is_open(state: _SlopeBracket) -> Any:
        low, high = state.right.slope, state.left.slope
        return wanted & (high > low * (1 + _NARROW)) & (state.steps < _STEPS)

    def step(state: _SlopeBracket) -> _SlopeBracket:
        seen = xp.where(state.steps == 0, end.right.slope, end.left.slope)
        inside = (seen > state.right.slope) & (seen < state.left.slope)
        slope = xp.where((state.steps < 2) & inside, seen, _next_slope(state, coordinate, goal))
        new = with_exact_rate(solve(slope, fine))
        is_left = (new.rate > goal) if by_rate else (new.excess <= goal)
        left, right = select(is_left, (new, state.right), (state.left, new))
        return _SlopeBracket(left, right, state.steps + 1)

    done = while_loop(is_open, step, _SlopeBracket(left, right, xp.asarray(0)))
    left, right = done.left, done.right
    fraction = xp.clip(_fraction(coordinate(left), coordinate(right), goal), 0.0, 1.0)
    slope = left.slope + fraction * (right.slope - xp.where(at_end, 0.0, left.slope))
    return Optimum(
        xp.where(trivial, first, xp.where(at_end, xp.inf, slope)),
        xp.where(at_end, left.q, (1 - fraction) * left.q + fraction * right.q),
    )


def _next_slope(state: _SlopeBracket, coordinate: Callable[[Point], Any], goal: Any) -> Any:
    """Choose the trial slope that narrows the bracket of a slope.

    While the high end is inf or the low end zero: outwards by `_OUTWARDS`, from the chord's slope at
    least. Then the geometric mean of the ends every third time, else a little beside the interpolated
    slope, alternately above and below it.
    """
    xp = goal.__array_namespace__()
    left, right = state.left, state.right
    low, high = right.slope, left.slope
    width = right.excess - left.excess
    chord = (left.rate - right.rate) / xp.where(width > 0, width, 1.0)
    chord = xp.where((width > 0) & (chord > 0), chord, 1.0)
    upwards = _OUTWARDS * xp.maximum(low, chord)
    downwards = xp.minimum(high, chord) / _OUTWARDS
    inside = xp.isfinite(high) & (low > 0)
    low_, high_ = xp.where(inside, low, 1.0), xp.where(inside, high, 2.0)
    # Two roots, since the product of both slopes may overflow.
    middle = xp.sqrt(low_) * xp.sqrt(high_)
    fraction = xp.clip(_fraction(coordinate(right), coordinate(left), goal), 0.0, 1.0)
    secant = low_ + fraction * (high_ - low_)
    # A trial exactly at the interpolated slope would mostly land on the same side again, as with
    # regula falsi, and leave the other end where it is.
    beside = xp.maximum(_INWARDS * (high_ - low_), 0.4 * _NARROW * secant)
    beside = secant + xp.where(state.steps % 2 == 0, beside, -beside)
    between = xp.where(state.steps % 3 == 2, middle, xp.clip(beside, low_, high_))
    return xp.where(inside, between, xp.where(xp.isinf(high), upwards, downwards))


def _information(p: Float[Any, " y"], excess: Float[Any, "y u"], point: Point) -> Any:
    r"""I(Y;U) of a point in bits, to relative accuracy even where it is far below rounding.

    With $t = K/Z - 1$, of mean zero in every row, it is the sum of $(1 + t) \ln(1 + t) - t \ge 0$,
    in which the parts of first order are gone: they cancel in $F - sD$, and leave some 1e-16 bits.
    """
    xp = p.__array_namespace__()
    _, K, Z = tilted_channel(excess, point.slope, point.q)
    t = K / xp.where(Z > 0, Z, 1.0)[:, None] - 1
    terms = xp.where(t > -1, (1 + t) * xp.log1p(xp.where(t > -1, t, 0.0)) - t, 1.0)
    used = (p > 0)[:, None] & (point.q > 0)
    return xp.sum(xp.where(used, p[:, None] * point.q * xp.maximum(terms, 0.0), 0.0)) / LN2


def _first_slope(p: Float[Any, " y"], excess: Float[Any, "y u"]) -> Any:
    r"""Steepest slope at which nothing is sent: that of R(D) at D_max from below, $-dR/dD$.

    The best constant letter $u_0$ is the optimum as long as $c_u \le 1$ for all u, where $c_u - 1 =
    \sum_y p_y (2^{-s \Delta_{yu}} - 1)$, $\Delta_{yu} = d_{yu} - d_{yu_0}$. It is convex in s and
    zero at 0, so that it has one other zero; none above 0 if $u$ is as good a constant as $u_0$.
    """
    xp, costs = p.__array_namespace__(), constant_distortions(p, excess)
    constant = xp.argmin(costs)
    mass = (p > 0)[:, None]
    base = xp.where(xp.isinf(excess[:, constant]), 0.0, excess[:, constant])[:, None]
    change = xp.where(mass, excess - base, 0.0)
    helps, differs = xp.any(change < 0, axis=0), xp.any(change != 0, axis=0)
    # Constants that are as good as the best but for rounding make the first slope zero.
    rounding = 4 * np.finfo(float).eps * sum(excess.shape) * costs[constant]
    as_good = differs & (costs - costs[constant] <= rounding)
    scale = xp.max(xp.where(xp.isfinite(change), xp.abs(change), 0.0), axis=0)
    unit = xp.where(scale > 0, scale, 1.0)

    def enters(log2_slope: Any) -> Any:
        """Whether c_u > 1: the letter u enters the support at this slope."""
        # Powers beyond 2^1000 say as much as 2^1000.
        power = xp.minimum(-(2.0**log2_slope) * change / unit, 1000.0)
        return p @ xp.expm1(LN2 * xp.where(mass, power, 0.0)) > 0

    # log2 s over all positive floats; 64 halvings are below their last digit.
    ends = xp.full(costs.shape, -1000.0), xp.full(costs.shape, 1000.0)
    low, high = (bisect_on_host if on_numpy(p) else bisect)(enters, *ends, steps=64)
    slope = xp.where(helps, 2.0 ** ((low + high) / 2) / unit, xp.inf)
    # Where every constant is forbidden to some letter, something is sent at every slope.
    return xp.where(xp.isinf(costs[constant]), 0.0, xp.min(xp.where(as_good, 0.0, slope)))
