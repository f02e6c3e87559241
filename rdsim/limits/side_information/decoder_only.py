r"""The Wyner-Ziv rate-distortion function: side information at the decoder alone, certified.

$$R_{WZ}(D) = \min \{ I(Y;T|Z) : T - Y - Z,\; E\,d(Y, t(Z)) \le D \},$$

where T ranges over the strategies, the maps from z to the reproduction (Shannon's device; they are
enough since the decoder uses T only through the map it selects). In this form the problem is convex
(`_strategies`), so every point carries a certificate.

All functions raise a ValueError if a number is out of range; those of a joint pmf also if it is none, shapes do
not match, a letter has no finite distortion, D is below D_min (naming both), or the $|U|^{|Z|}$ strategies are
too many.
"""

import itertools
from typing import Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rdsim import validation
from rdsim.certified import Certified
from rdsim.information import LN2
from rdsim.limits._curve import achieved, between, check_distortion
from rdsim.limits._supporting_lines import Points, search
from rdsim.limits.rate_distortion.discrete import minimum_distortion
from rdsim.limits.side_information._strategies import StrategyPoints, StrategyProblem, solve
from rdsim.limits.side_information.both_ends import (
    SideInformationCurve,
    check_joint,
    expected,
    maximum_distortion,
)
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.transformations import on_host

MAXIMUM_UNKNOWNS: Final = 2**16
"""Strategies times letters of Z beyond which the problem is refused: seconds a slope, and gigabytes."""


@result
class WynerZivCurve(SideInformationCurve):
    r"""Certified points of the Wyner-Ziv R(D), one a slope, with the problem they belong to.

    Attributes:
        slope: s, bits per unit of distortion, shape (S,).
        distortion: $E\,d(Y, t(Z))$ of the test channel, shape (S,).
        rate: I(Y;T|Z) with its bounds, bits, shape (S,); the test channel achieves the upper.
        test_channel: Q(t|y), shape (S, |Y|, T).
        strategies: reproduction letter that strategy t chooses at z, shape (T, |Z|).
        joint: P(y,z), shape (|Y|, |Z|).
        distortions: d, shape (|Y|, |U|).

    """

    test_channel: Float[Array, "s y t"]
    strategies: Int[Array, "t z"]

    def _solve_at(self, goal: Float[Array, "..."], *, inverse: bool) -> Certified:
        target = float(self.tolerance)
        return _solve_at(self.joint, self.distortions, goal, target, inverse=inverse)


@on_host
@validation.needs_float64
def wyner_ziv(
    joint: ArrayLike,
    distortions: ArrayLike,
    slopes: ArrayLike,
    *,
    compress: str,
    tolerance: ArrayLike = 1e-9,
) -> WynerZivCurve:
    r"""Compute certified points of the Wyner-Ziv R(D) of any discrete pair.

    $$\min_{Q(t|y)} I(Y;T|Z) + s \sum_{y,z,t} P(y,z)\, Q(t|y)\, d(y, t(z)).$$

    Args:
        joint: P(y,z), shape (|Y|, |Z|), or its transpose: `compress` says which. Z is seen by the
            decoder only.
        distortions: d(y,u) >= 0, shape (|Y|, |U|); inf forbids a pair.
        slopes: s >= 0, bits per unit of distortion, shape (S,). Slope 0 is the point (D_max, 0),
            slope inf the point at D_min.
        compress: "rows" or "columns", the side of the joint along which the compressed Y runs.
        tolerance: certified gap to reach, bits.

    Returns:
        The points; one whose gap stayed above the tolerance has `converged` False, and its bounds
        hold all the same.

    References:
        Wyner and Ziv (1976), IEEE Trans. Inf. Theory 22(1), Theorem 1; Dupuis, Yu and Willems
        (2004), "Blahut-Arimoto algorithms for computing channel capacity and rate-distortion with
        side information", ISIT, for the strategies.

    """
    P, d = check_joint(joint, distortions, compress)
    slope = validation.interval("slopes", slopes, low=0.0, ndim=1)
    target = validation.tolerance(tolerance)
    table = _strategies(d.shape[1], P.shape[1])
    problem, least = _problem(P, d, table)
    # At slope 0 nothing is sent and no multiplier is left to solve with: that point is written down directly.
    sent = np.asarray(slope) > 0
    excess, rate, gap, channel = _solve_all(problem, np.where(sent, slope, np.inf), float(target))
    if not sent.all():
        channel[~sent], excess[~sent] = _nothing_sent(P, d, table, least)
        rate[~sent], gap[~sent] = 0.0, 0.0
    return WynerZivCurve(
        slope=slope,
        distortion=least + jnp.asarray(excess),
        rate=achieved(jnp.asarray(rate), jnp.asarray(gap), target),
        test_channel=jnp.asarray(channel),
        strategies=jnp.asarray(table),
        joint=P,
        distortions=d,
    )


@on_host
@validation.needs_float64
def wyner_ziv_at(
    joint: ArrayLike,
    distortions: ArrayLike,
    distortion: ArrayLike,
    *,
    compress: str,
    tolerance: ArrayLike = 1e-9,
) -> Certified:
    r"""Compute the Wyner-Ziv R(D) at given distortions, certified.

    Two points that bracket D are time-shared, and the slope of their chord is solved next, until
    the chord meets the supporting lines; on a straight piece that happens at once.

    Args:
        joint: P(y,z), shape (|Y|, |Z|), or its transpose: `compress` says which.
        distortions: d, shape (|Y|, |U|).
        distortion: D, any shape, each at least D_min; from
            $D_{\max} = \sum_z p_z \min_u E[d(Y,u)|z]$ on the rate is zero.
        compress: "rows" or "columns", the side of the joint along which the compressed Y runs.
        tolerance: certified gap to reach, bits.

    Returns:
        Bits, shape of D: the upper bound is achieved by time sharing two test channels, the lower
        is the best supporting line; `value` is the upper bound.

    """
    P, d = check_joint(joint, distortions, compress)
    D = check_distortion(distortion, minimum_distortion(P.sum(axis=1), d))
    return _solve_at(P, d, D, float(validation.tolerance(tolerance)), inverse=False)


def _solve_at(
    P: Float[Array, "y z"],
    d: Float[Array, "y u"],
    goal: Float[Array, "..."],
    tolerance: float,
    *,
    inverse: bool,
) -> Certified:
    """Search R at distortions, or D at rates; D is kept as the excess over D_min meanwhile."""
    problem, least = _problem(P, d, _strategies(d.shape[1], P.shape[1]))
    top = float(maximum_distortion(P, d)) - least

    def solve(slopes: np.ndarray) -> Points:
        # A quarter of the tolerance at each slope leaves the rest for the distance between chords and lines.
        excess, rate, gap, _ = _solve_all(problem, slopes, 0.25 * tolerance)
        return Points(slopes, excess, rate - gap, rate)

    ends = Points(*np.array([[0.0], [top], [0.0], [0.0]]))
    at = np.ravel(np.asarray(goal))
    at = at if inverse else np.maximum(at - least, 0.0)
    lower, upper = search(solve, ends, at, tolerance, inverse=inverse)
    offset = least if inverse else 0.0
    return between(lower + offset, upper + offset, goal.shape, tolerance)


def _strategies(letters: int, zs: int) -> np.ndarray:
    count = letters**zs
    if count * zs > MAXIMUM_UNKNOWNS:
        raise ValueError(
            f"joint and distortions give |U|^|Z| = {letters}^{zs} = {count} strategies, times |Z| more than "
            f"the {MAXIMUM_UNKNOWNS} unknowns that are solved; use fewer letters"
        )
    return np.array(list(itertools.product(range(letters), repeat=zs))).reshape(count, zs)


def _problem(
    joint: Float[Array, "y z"], distortions: Float[Array, "y u"], table: np.ndarray
) -> tuple[StrategyProblem, float]:
    """The problem of all strategies, and D_min."""
    P, d = np.asarray(joint), np.asarray(distortions)
    p, pz = P.sum(axis=1), P.sum(axis=0)
    occurs = (p > 0)[:, None]
    backward = np.where(occurs, P / np.where(occurs, p[:, None], 1.0), pz)
    # d(y,t) = sum_z P(z|y) d(y, t(z)), with an infinite distortion only where z can occur.
    mean = np.zeros((p.size, len(table)))
    for probability, reproduction in zip(backward.T[:, :, None], table.T, strict=True):
        possible = probability > 0
        mean += np.where(possible, probability * np.where(possible, d[:, reproduction], 0.0), 0.0)
    # A constant strategy attains the row's least; sums that differ from it by rounding are ties.
    row = np.where(p > 0, d.min(axis=1), 0.0)
    excess = np.where(occurs, mean, 0.0) - row[:, None]
    ties = excess <= 16 * np.finfo(float).eps * row[:, None]
    return StrategyProblem(p, backward, np.where(ties, 0.0, excess)), float(np.sum(p * row))


def _nothing_sent(
    P: Float[Array, "y z"], d: Float[Array, "y u"], table: np.ndarray, least: float
) -> tuple[np.ndarray, float]:
    """The channel that always sends the best strategy, and its excess distortion."""
    # Without bits the decoder minimises the expected distortion given z alone: a strategy of the
    # table.
    choice = np.argmin(np.asarray(expected(P.T, d)), axis=1)
    channel = np.broadcast_to((table == choice).all(axis=1), (P.shape[0], len(table)))
    return channel.astype(float), float(maximum_distortion(P, d)) - least


def _solve_all(problem: StrategyProblem, slopes: np.ndarray, tolerance: float) -> StrategyPoints:
    """Solve at slopes; the tolerance and the points are in bits."""
    points = solve(problem, slopes, tolerance * LN2)
    return points._replace(rate=points.rate / LN2, gap=points.gap / LN2)
