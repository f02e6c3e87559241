r"""The recall of codes of R bits of information, joint encoders too, as lines in the share of the database (C27).

For every $\lambda > 0$ and $\gamma \ge 0$ the recall of a share t is at most

$$t\gamma + \lambda R \ln 2 + \sup_a \{\lambda \ln E\, e^{P(X>a|Y)/\lambda} - \gamma P(X>a)\}.$$

The supremum over lists of a share s is a function U(s); that over all s is its upper concave hull, and the best gamma at t is
the slope of the hull there.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from rdsim.information import LN2
from rdsim.limits._supporting_lines import lower_hull
from rdsim.limits.converses._recalls import Reals, Recalls


@dataclass(frozen=True)
class Lines:
    """Bounds of the recall at a share t of the database, each a line in t: at most t gamma + height.

    Attributes:
        log_t: shares for which the lines were chosen, ln t, increasing, shape (T,).
        log_gamma: ln of the slopes, shape (T,).
        height: value at t = 0, shape (T,).
        multiplier: lambda, recall a nat, shape (T,): the same line for R' bits is higher by lambda (R' - R) ln 2.

    """

    log_t: Reals
    log_gamma: Reals
    height: Reals
    multiplier: Reals

    def at(self, log_t: Reals) -> Reals:
        """Return the lower of the two lines chosen for the neighbouring shares: a bound at any share."""
        return self._lower(log_t)[0]

    def tangent(self, recalls: Recalls) -> tuple[float, float]:
        """Bound a mean of recalls by a line in the bits, which holds at all of them: its value at R, and its slope a bit."""
        value, multiplier = self._lower(recalls.log_t)
        # A recall of one needs no line, and does not grow with the bits.
        slope = np.where(value < 1, multiplier * LN2, 0.0)
        return float(recalls.weight @ value), float(recalls.weight @ slope)

    def _lower(self, log_t: Reals) -> tuple[Reals, Reals]:
        """Return the lower of the two lines that are chosen for the neighbouring shares, and its multiplier."""
        right = np.clip(np.searchsorted(self.log_t, log_t), 0, self.log_t.size - 1)
        left = np.maximum(right - 1, 0)
        low, high = (np.exp(log_t + self.log_gamma[i]) + self.height[i] for i in (left, right))
        multiplier = np.where(low < high, self.multiplier[left], self.multiplier[right])
        return np.clip(np.minimum(low, high), 0.0, 1.0), multiplier


MOST_CORRELATION: Final = 1 - 1e-6
"""Largest correlation: closer to one P(X > a|Y) is so steep that the points would be millions; the rank rate is left."""
LEAST_MULTIPLIER: Final = 3e-4
"""Least lambda, recall a nat. At a smaller one the integrals need finer steps, and the bound says nothing
below thousands of bits."""
_LOWEST: Final = 0.002
_HIGHEST: Final = 2.0
"""Range of lambda times R in nats that is searched: at the best lambda this product is a part of the recall."""
_LEAST_NATS: Final = 0.1
"""Of fewer nats than these the same range of lambda is searched as of these: there it does not depend on R."""
_RATIO: Final = 1.1
"""Ratio of neighbouring multipliers on the grid of the search; a parabola through three of them refines the best. The value
has a sharp minimum in lambda where half of the recall's exponential mean comes from the items that are found: of a database of
2^60 items it is a fortieth of lambda wide."""
_COARSER: Final = 3
"""The best of every so many multipliers is sought first, and then among those around it: the value is convex in lambda."""
_NEAR: Final = 0.05
"""Step to which the best ln lambda of many shares is rounded, so that shares have multipliers in common; the bits that a
loss needs are lowered by less than a hundredth of them."""
_BRACKET: Final = 0.1
"""Half the width of the interval of ln lambda in which the golden section begins."""
_STEP: Final = 0.1
"""Step of the thresholds a, in standard deviations of X."""
_FEW: Final = 8
"""Up to so many shares, each has a lambda of its own, found by the golden section."""
_GOLDEN: Final = 0.5 * (math.sqrt(5.0) - 1)
_AROUND: Final = 8
"""Fine steps to either side of a corner among whose thresholds lambda is sharpened: the corners are known to a grid of twice `_STEP`."""
_FINE_STEPS: Final = 4
"""Fine steps in `_STEP`: with whole ones a recall was loosened by up to 4e-4 of it, with these by 2e-5 (measured)."""
_SECTIONS: Final = 9
"""Steps of the golden section, which find ln lambda to within 2e-3 and the recall to within a thousandth."""
_PARTS: Final = 24
"""Finer thresholds in each step beside those where a line touches the hull; two where there are many shares."""
_STEP_OF_ITEMS: Final = 0.25
"""Step of the points over the root of lambda and the width of P(X > a|Y = y), sigma/rho. The integrand, the
exponential of that probability over lambda, is as narrow as a third of it: the trapezoidal rule is then exact to
e^(-2 (pi/.75)^2), 1e-15."""
_REMAINDER: Final = 2 / (3 * math.sqrt(3))
"""Largest |(x - h) x (x + h)| / h^3 between the three points of a parabola."""
_LARGEST_EXPONENT: Final = 700.0
"""Largest x for which e^x is still a float64."""
_REACH: Final = 9.0
"""So many widths sigma/rho from a/rho, P(X > a|Y = y) is within 1e-19 of zero or one."""
_LOWEST_ITEM: Final = 9.0
"""Minus the least y among the points: a fraction of 1e-19 of all items lies below it."""
_DIGITS: Final = 9
"""Digits of a step to which two thresholds that lie alike among the points agree; what differs then is rounding."""
_LARGEST_STEP: Final = 0.4
"""Largest step of the points y, at which the trapezoidal rule integrates the normal density to e^-120."""


class _Points(NamedTuple):
    """Items around each threshold, and what lies outside.

    Attributes:
        log_normal: ln of the items' probabilities, shape (y,) or, if each threshold has items of its own, (a, y).
        seen: the different rows of P(X > a|Y = y), shape (rows, y).
        row: the row of each threshold, shape (a,).
        below: ln of the probability of the items below, for which it is zero, shape (a,).
        above: the same of those above, for which it is one, shape (a,).
        y: the items, shape (y,), if they are the same for all thresholds.

    """

    log_normal: Reals
    seen: Reals
    row: NDArray[np.intp]
    below: Reals
    above: Reals
    y: Reals | None


class Items:
    """P(X > a | Y = y) at thresholds a, on points y of halved steps as small multipliers need them.

    The probabilities are the same for every multiplier, so that they are computed once a step. Where P(X > a|Y = y) is
    steep, it is computed near y = a/rho alone, where it rises from zero to one: a window of the points that the
    trapezoidal rule takes for every threshold.
    """

    reach = _REACH
    """Widths sigma/rho from where P(X > a|Y = y) is 1/2, beyond which it is zero or one."""

    def __init__(self, correlation: float, a: Reals) -> None:
        self.rho, self.a = correlation, a
        self.sigma = math.sqrt((1 - correlation) * (1 + correlation))
        self.step = _STEP_OF_ITEMS * self.sigma / correlation
        # A power of two parts of this interval are a step, so that thresholds `_STEP` apart lie alike among the points.
        period = _STEP / correlation
        self._longest = period / math.ceil(period / _LARGEST_STEP)
        self._seen: dict[float, _Points] = {}

    def usefulness(self, multiplier: float) -> Reals:
        r"""Return $\lambda \ln E\, e^{P(X>a|Y)/\lambda}$ by the trapezoidal rule over items, shape of a."""
        points = self._points(self.step * math.sqrt(multiplier))
        end = None
        if points.y is not None:
            # Beyond this end a share of exp(-40) is left, even if every item there is found.
            end = int(np.searchsorted(points.y, math.sqrt(2 / multiplier + 80.0)))
        # The sum over items of P(y) e^{P(X>a|y)/lambda}, with those outside the window at e^0 and
        # e^{1/lambda}; 1/lambda may be thousands, so that the largest exponent is taken off
        # first.
        exponent = (points.seen[:, :end] / multiplier)[points.row]
        exponent += points.log_normal[..., :end]
        above = points.above + 1 / multiplier
        highest = np.maximum(np.maximum(exponent.max(axis=1), points.below), above)
        exponent -= highest[:, None]
        np.exp(exponent, out=exponent)
        outside = np.exp(points.below - highest) + np.exp(above - highest)
        return np.asarray(multiplier * (np.log(exponent.sum(axis=1) + outside) + highest))

    def _points(self, largest: float) -> _Points:
        step = self._longest * 0.5 ** max(math.ceil(math.log2(self._longest / largest)), 0)
        if step not in self._seen:
            # The multipliers of this step are at least a quarter of (step / self.step)^2, and the least of all.
            smallest = max(0.25 * (step / self.step) ** 2, LEAST_MULTIPLIER)
            high = min(
                max(float(self.a.max()), 6.0) / self.rho + 10.0, math.sqrt(2 / smallest + 80.0)
            )
            y: Reals = step * np.arange(
                math.floor(-_LOWEST_ITEM / step), math.ceil(high / step), dtype=float
            )
            log_normal = -0.5 * y * y - 0.5 * math.log(2 * math.pi) + math.log(step)
            width = 2 * self.reach * self.sigma / self.rho / step
            if width >= y.size - 1:
                nothing = np.full(self.a.size, -np.inf)
                found = _Points(
                    log_normal, self._inside(y), np.arange(self.a.size), nothing, nothing, y
                )
            else:
                found = self._windows(y, log_normal, math.ceil(width) + 1)
            self._seen[step] = found
        return self._seen[step]

    def _windows(self, y: Reals, log_normal: Reals, width: int) -> _Points:
        """Cut so many points around each threshold out of all.

        P(X > a|Y = y) is a function of y - a/rho, so that it is computed once for all thresholds that lie alike among their
        points.
        """
        step, half = y[1] - y[0], width // 2
        # P(X > a|Y = y) is one half at y = a/rho, and the window lies around that.
        middle = np.searchsorted(y, self.a / self.rho)
        first = np.clip(middle - half, 0, y.size - width)
        distance = y[first] - self.a / self.rho
        _, example, row = np.unique(
            np.round(distance / step, _DIGITS), return_index=True, return_inverse=True
        )
        beyond = distance[example][:, None] + step * np.arange(width)
        seen = scipy.special.ndtr(self.rho / self.sigma * beyond)
        # Sums of all points up to a place, and from a place on.
        up_to = np.logaddexp.accumulate(log_normal)
        from_on = np.append(np.logaddexp.accumulate(log_normal[::-1])[::-1], -np.inf)
        below = np.where(first > 0, up_to[first - 1], -np.inf)
        windows = np.lib.stride_tricks.sliding_window_view(log_normal, width)[first]
        return _Points(windows, seen, row, below, from_on[first + width], None)

    def _inside(self, y: Reals) -> Reals:
        """P(X > a | Y = y), shape (a, y)."""
        return np.asarray(scipy.special.ndtr((self.rho * y - self.a[:, None]) / self.sigma))


def information(items: Callable[[Reals], Items], bits: Reals, log_t: Reals) -> list[Lines]:
    """Bound the recall of any code of R bits of information an item, joint encoders too, for several R.

    For each lambda the largest over half-spaces is the upper concave hull of
    U(s) = lambda ln E exp(P(X > a_s|Y)/lambda) over shares s, less a line; gamma is the slope of the
    hull at t. Whatever lambda and gamma are, the bound holds. Neither hull nor lines depend on R, so that what is
    computed for one lambda serves all bits and shares; the best lambda is found on few thresholds.

    Args:
        items: makes P(X > a|Y) at thresholds a.
        bits: R, shape (bits,).
        log_t: ln of shares, increasing, shape (T,).

    """
    if bits.size == 0:
        return []
    highest = max(1.0 - float(scipy.special.ndtri_exp(log_t.min())), 6.0)
    coarse = items(np.arange(-6.0, highest, _STEP))
    best = np.full((bits.size, log_t.size), np.inf)
    gamma, height, chosen = (np.zeros(best.shape) for _ in range(3))

    # Each R tries the multipliers that were found for it, so that its bound does not depend on the other R of a call.
    multipliers = _multipliers(items, coarse.a[::2], bits * LN2, log_t)
    for multiplier in np.unique(multipliers):
        rows = np.flatnonzero((multipliers == multiplier).any(axis=1))
        log_gamma, above = _supports(items, coarse, float(multiplier), log_t)
        heights = above + multiplier * bits[rows, None] * LN2
        values = np.asarray(np.exp(log_t + log_gamma) + heights)
        for row, line_heights, line_values in zip(rows, heights, values, strict=True):
            better = line_values < best[row]
            best[row, better] = line_values[better]
            gamma[row, better] = log_gamma[better]
            height[row, better] = line_heights[better]
            chosen[row, better] = multiplier
    return [Lines(log_t, *each) for each in zip(gamma, height, chosen, strict=True)]


def _multiplier(log: float) -> float:
    return max(math.exp(log), LEAST_MULTIPLIER)


def _multipliers(
    items: Callable[[Reals], Items], thresholds: Reals, nats: Reals, log_t: Reals
) -> Reals:
    """Find lambda that is about the best for each number of nats and share, shape (nats, T).

    They are sought on powers of one ratio, of which each number of nats has a range of its own, and refined by a
    parabola through the best three, of few shares by the golden section. Any multiplier gives a bound: what is lost
    here is tightness.
    """
    rough = items(thresholds)
    log_shares = scipy.special.log_ndtr(-rough.a)

    @functools.cache
    def hull(power: int) -> tuple[Reals, NDArray[np.intp]]:
        """The concave hull of U(s) at the shares, and the places of the two corners around each, shape (2, T)."""
        useful = rough.usefulness(_multiplier(step * power))
        corners = _corners(useful, log_shares, log_t)
        return _on_hull(useful, log_shares, log_t, *corners), corners

    def values(powers: NDArray[np.intp], nat: float) -> Reals:
        """The bound for each lambda is the hull plus lambda R ln 2; shape of the powers, (P, T)."""
        each, place = np.unique(powers, return_inverse=True)
        hulls = np.stack([hull(int(power))[0] for power in each])
        return hulls[place.reshape(powers.shape), np.arange(log_t.size)] + nat * np.exp(
            step * powers
        )

    step = math.log(_RATIO)
    around = np.arange(-_COARSER, _COARSER + 1)[:, None]
    log_best = np.empty((nats.size, log_t.size))
    for row, nat in enumerate(nats):
        enough = max(float(nat), _LEAST_NATS)
        ends = np.log([max(_LOWEST / enough, LEAST_MULTIPLIER), _HIGHEST / enough]) / step
        first, last = (math.ceil(end / _COARSER) for end in ends)
        coarse, heights = [], []
        # From the largest down, since small ones need many points, until the value has risen twice at every share: it is convex.
        for number in range(max(last, first), first - 1, -1):
            coarse.append(_COARSER * number)
            heights.append(values(np.full((1, log_t.size), coarse[-1]), nat)[0])
            if len(heights) > 2 and (np.diff(heights[-3:], axis=0) > 0).all():
                break
        near = np.array(coarse)[np.argmin(heights, axis=0)] + around
        found = values(near, nat)
        i = np.clip(found.argmin(axis=0), 1, len(found) - 2)
        # The value is a convex function of lambda, whose least is refined by the parabola through three values in ln lambda.
        a, b, c = (np.take_along_axis(found, (i + k)[None], axis=0)[0] for k in (-1, 0, 1))
        curvature = a - 2 * b + c
        bent = curvature > 0
        shift = np.where(bent, 0.5 * (a - c) / np.where(bent, curvature, 1.0), 0.0)
        place = np.take_along_axis(near, i[None], axis=0)[0]
        log_best[row] = step * (place + np.clip(shift, -1.0, 1.0))
        if log_t.size <= _FEW:
            for share, power in enumerate(place):
                corners = np.unique([hull(int(power) + k)[1][:, share] for k in (-1, 0, 1)])
                log_best[row, share] = _sharpened(
                    items, thresholds[corners], log_best[row, share], nat, log_t[share]
                )
    if log_t.size > _FEW:
        log_best = _NEAR * np.round(log_best / _NEAR)
    return np.asarray(np.maximum(np.exp(log_best), LEAST_MULTIPLIER))


def _on_hull(
    useful: Reals, log_shares: Reals, log_t: Reals, left: NDArray[np.intp], right: NDArray[np.intp]
) -> Reals:
    """Interpolate the concave hull of U(s) at shares between two of its corners."""
    lower, share = np.exp(np.stack([log_shares[left], log_t]) - log_shares[right])
    part = (share - lower) / (1 - lower)
    return np.asarray(useful[left] + part * (useful[right] - useful[left]))


def _sharpened(
    items: Callable[[Reals], Items], corners: Reals, log: float, nats: float, log_t: float
) -> float:
    """Sharpen ln lambda for one share by the golden section, on thresholds near those where lines touched the hull for lambda about it.

    The value is convex in lambda, with kinks where the hull's corner changes. Far from these thresholds the hull is not computed,
    nor need it be: what is chosen is lambda alone, and its bound is computed on all thresholds.
    """
    # Whole steps from the first corner: no threshold stands twice but for rounding.
    steps = np.round((corners - corners[0]) / _STEP).astype(int)
    around = np.unique(np.add.outer(_FINE_STEPS * steps, np.arange(-_AROUND, _AROUND + 1)))
    near = items(corners[0] + _STEP / _FINE_STEPS * around)
    log_shares, at = scipy.special.log_ndtr(-near.a), np.array([log_t])

    def value(log: float) -> float:
        multiplier = _multiplier(log)
        useful = near.usefulness(multiplier)
        left, right = _corners(useful, log_shares, at)
        return float(_on_hull(useful, log_shares, at, left, right)[0]) + multiplier * nats

    low, high = log - _BRACKET, log + _BRACKET
    inner = [high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)]
    values = [value(x) for x in inner]
    for _ in range(_SECTIONS):
        if values[0] <= values[1]:
            high, inner[1], values[1] = inner[1], inner[0], values[0]
            inner[0] = high - _GOLDEN * (high - low)
            values[0] = value(inner[0])
        else:
            low, inner[0], values[0] = inner[0], inner[1], values[1]
            inner[1] = low + _GOLDEN * (high - low)
            values[1] = value(inner[1])
    return inner[int(values[1] < values[0])]


def _supports(
    items: Callable[[Reals], Items], coarse: Items, multiplier: float, log_t: Reals
) -> tuple[Reals, Reals]:
    """Return ln of the slopes of lines that touch the hull at the shares, and their heights, at one lambda.

    They are found on the coarse thresholds, and again on fine ones where they touch.
    """
    parts = _PARTS if log_t.size <= _FEW else 2
    a, useful = coarse.a, coarse.usefulness(multiplier)
    touched = np.unique(_corners(useful, scipy.special.log_ndtr(-a), log_t))
    # Numbers of the fine thresholds, so that no threshold stands twice but for rounding: `peak` needs their distances.
    number = np.unique(np.add.outer(parts * touched, np.arange(-parts, parts + 1)))
    fine = a[0] + _STEP / parts * number[number % parts != 0]
    order = np.argsort(np.concatenate([a, fine]))
    more = items(fine).usefulness(multiplier)
    a = np.concatenate([a, fine])[order]
    useful = np.concatenate([useful, more])[order]
    log_shares = scipy.special.log_ndtr(-a)
    left, right = _corners(useful, log_shares, log_t)
    # Slopes are as large as the database: differences of shares are taken in the log domain.
    log_gamma = np.log(useful[right] - useful[left]) - log_shares[right]
    log_gamma -= np.log(-np.expm1(log_shares[left] - log_shares[right]))
    above = useful - np.exp(log_gamma[:, None] + log_shares)
    return log_gamma, peak(above, a)


def peak(rows: Reals, x: Reals | None = None) -> Reals:
    r"""Bound the maximum of a smooth function by its values on a grid x, by default the integers, along the last axis.

    Between its points the function may exceed each of its local maxima on the grid as a parabola through three points
    does: the maximum and its two neighbours, or the last three at an end. The excess is added to every one of them, not
    to the highest alone: a line that touches a hull at two corners is as high at both, and where the grid is coarser the
    function may lie higher in between. So is the largest remainder of the parabola, $|f'''| h^3 / (9 \sqrt 3)$: the
    function is skew where shares fall steeply in a step. Its third derivative is taken from four neighbouring points, the
    larger of both sides, so that this is an estimate of the error with a margin, not a proof.
    """
    whole = rows.max(axis=-1)
    if rows.shape[-1] < 4:
        return np.asarray(whole)
    x = np.arange(rows.shape[-1], dtype=float) if x is None else x
    left, right = np.diff(x)[:-1], np.diff(x)[1:]
    step = np.diff(rows, axis=-1) / np.diff(x)
    rise, fall = step[..., :-1], -step[..., 1:]
    # Slope and half the curvature of the parabola about each inner point, by divided differences.
    slope = (rise * right - fall * left) / (left + right)
    half_curvature = (rise + fall) / (left + right)
    # Its slope at the ends, upwards into the grid.
    first = step[..., :1] + half_curvature[..., :1] * left[0]
    last = -step[..., -1:] + half_curvature[..., -1:] * right[-1]
    slope = np.concatenate([first, slope, last], axis=-1)
    bent = np.concatenate(
        [half_curvature[..., :1], half_curvature, half_curvature[..., -1:]], axis=-1
    )
    highest = np.concatenate(
        [
            (step[..., :1] <= 0) & (first > 0),
            (rise >= 0) & (fall >= 0),
            (step[..., -1:] >= 0) & (last > 0),
        ],
        axis=-1,
    )
    highest &= bent > 0
    # The quotient is taken first: it is at most twice the distance of the neighbours, and the square might overflow.
    excess = slope * (slope / (4 * np.where(highest, bent, np.inf)))
    # Third divided differences, f''' / 6, of the four points that begin at each; then of those on both sides.
    third = np.abs(np.diff(half_curvature, axis=-1)) / (x[3:] - x[:-3])
    third = np.concatenate(
        [third[..., :1], third[..., :1], third, third[..., -1:], third[..., -1:]], axis=-1
    )
    width = np.concatenate([left[:1], np.maximum(left, right), right[-1:]])
    excess += _REMAINDER * width**3 * np.maximum(third[..., :-1], third[..., 1:])
    return np.asarray(np.maximum(whole, np.where(highest, rows + excess, -np.inf).max(axis=-1)))


def _corners(useful: Reals, log_shares: Reals, log_t: Reals) -> NDArray[np.intp]:
    """Places of the two corners of the upper concave hull of U(s) around each share t, shape (2, T)."""
    # In units of the least share that matters, or of the largest threshold's if exp would overflow.
    unit = max(float(log_t.min()), float(log_shares.max()) - _LARGEST_EXPONENT)
    corners = lower_hull(np.exp(log_shares - unit), -useful)
    right = np.clip(np.searchsorted(log_shares[corners], log_t), 1, corners.size - 1)
    return np.stack([corners[right - 1], corners[right]])
