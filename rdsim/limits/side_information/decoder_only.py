r"""The Wyner-Ziv rate-distortion function: side information at the decoder alone, certified.

$$R_{WZ}(D) = \min \{ I(Y;T|Z) : T - Y - Z,\; E\,d(Y, t(Z)) \le D \},$$

where T ranges over the strategies, the maps from z to the reproduction (Shannon's device; they are
enough since the decoder uses T only through the map it selects). In this form the problem is convex
(`strategy_solver`), so every point carries a certificate.
"""

import itertools
import math
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from rdsim import validation
from rdsim.certified import Certified
from rdsim.information import LN2, binary_entropy
from rdsim.limits.side_information._strategies import StrategyPoint, StrategyProblem, solve
from rdsim.limits.side_information.both_ends import check_joint, expected, maximum_distortion
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.transformations import falling, implicit_root, on_host

MAXIMUM_UNKNOWNS: Final = 4096
"""Strategies times letters of Z beyond which the dense Newton system is refused."""

_BATCH: Final = 8
"""Slopes solved in one call of the search, so that it compiles once."""

_SEARCH: Final = 60
"""Rounds of the search for a slope; each at least halves the bracket of a distortion."""


@result
class WynerZivCurve:
    r"""Certified points of the Wyner-Ziv R(D), one a slope.

    Attributes:
        slope: s, bits per unit of distortion, shape (S,).
        distortion: $E\,d(Y, t(Z))$ of the test channel, shape (S,).
        rate: I(Y;T|Z) of the test channel, bits, shape (S,).
        gap: certified upper minus lower bound on R(D) at that distortion, bits, shape (S,).
        test_channel: Q(t|y), shape (S, |Y|, T).
        strategies: reproduction letter that strategy t chooses at z, shape (T, |Z|).
        tolerance: the gap asked for, bits.

    """

    slope: Float[Array, " s"]
    distortion: Float[Array, " s"]
    rate: Float[Array, " s"]
    gap: Float[Array, " s"]
    test_channel: Float[Array, "s y t"]
    strategies: Int[Array, "t z"]
    tolerance: Float[Array, ""]

    @property
    def converged(self) -> Bool[Array, " s"]:
        """Whether the certified gap is within the tolerance, a slope at a time."""
        return self.gap <= self.tolerance


@validation.needs_float64
def wyner_ziv_dsbs(crossover: ArrayLike, *, distortion: ArrayLike) -> Float[Array, "..."]:
    r"""Compute the Wyner-Ziv R(D) of the doubly symmetric binary source, Hamming distortion.

    $$R_{WZ}(D) = \text{lower convex envelope of } g(D) = h(a * D) - h(D),\ 0 \le D \le a,
      \text{ and the point } (a, 0),$$

    that is g up to $D_c$ and from there the tangent through (a, 0): $g(D_c) = (D_c - a)\, g'(D_c)$.

    Args:
        crossover: a in [0, 1], a scalar; beyond 1/2 the side information is inverted first.
        distortion: D >= 0, any shape; the rate is zero from min(a, 1-a) on.

    Returns:
        Bits a letter, shape of D.

    Raises:
        ValueError: if the crossover lies outside [0, 1] or a distortion is negative.

    References:
        Wyner and Ziv (1976), IEEE Trans. Inf. Theory 22(1), Section II.

    """
    a = validation.interval("crossover", crossover, low=0.0, high=1.0, ndim=0)
    return _dsbs(jnp.minimum(a, 1 - a), validation.interval("distortion", distortion, low=0.0))


@validation.needs_float64
def wyner_ziv_gaussian(
    correlation: ArrayLike, *, variance: ArrayLike, distortion: ArrayLike
) -> Float[Array, "..."]:
    r"""Compute the Wyner-Ziv R(D) of a Gaussian pair, squared error: no loss over knowing Z.

    $$R_{WZ}(D) = R_{Y|Z}(D) = \tfrac12 \log_2^+ \frac{\sigma^2 (1-\rho^2)}{D}.$$

    Args:
        correlation: rho in [-1, 1], a scalar.
        variance: sigma^2 of Y, positive and finite, a scalar.
        distortion: D >= 0, mean squared error, any shape.

    Returns:
        Bits a letter, shape of D; infinite at D = 0 unless rho is 1 or -1.

    Raises:
        ValueError: if an argument is out of range.

    References:
        Wyner (1978), "The rate-distortion function for source coding with side information at the
        decoder II: general sources", Inf. Control 38(1).

    """
    r = validation.interval("correlation", correlation, low=-1.0, high=1.0, ndim=0)
    variance = validation.interval(
        "variance", variance, low=0.0, high=math.inf, open_low=True, open_high=True, ndim=0
    )
    D = validation.interval("distortion", distortion, low=0.0)
    left = variance * (1 - r) * (1 + r)
    inside = left > D
    ratio = jnp.where(inside & (D > 0), left, 1.0) / jnp.where(inside & (D > 0), D, 1.0)
    at_zero = jnp.inf + falling(D)
    return jnp.where(inside, jnp.where(D > 0, 0.5 * jnp.log2(ratio), at_zero), 0.0)


@on_host
@validation.needs_float64
def wyner_ziv(
    joint: ArrayLike, d: ArrayLike, slopes: ArrayLike, *, compress: str, tolerance: ArrayLike = 1e-9
) -> WynerZivCurve:
    r"""Compute certified points of the Wyner-Ziv R(D) of any discrete pair.

    $$\min_{Q(t|y)} I(Y;T|Z) + s \sum_{y,z,t} P(y,z)\, Q(t|y)\, d(y, t(z)).$$

    Args:
        joint: P(y,z), shape (|Y|, |Z|), or its transpose: `compress` says which. Z is seen by the
            decoder only.
        d: distortions d(y,u) >= 0, shape (|Y|, |U|); inf forbids a pair.
        slopes: s >= 0, bits per unit of distortion, shape (S,). Slope 0 is the point (D_max, 0),
            slope inf the point at D_min.
        compress: "rows" if the letter that is compressed, Y, runs along the rows of the joint,
            "columns" if along its columns.
        tolerance: certified gap to reach, bits.

    Returns:
        The points; one whose gap stayed above the tolerance has `converged` False, and its bounds
        hold all the same.

    Raises:
        ValueError: if the joint is no pmf, shapes do not match, d is negative or leaves a letter
            without a finite distortion, a slope is negative, or the $|U|^{|Z|}$ strategies are
            too many.

    References:
        Wyner and Ziv (1976), IEEE Trans. Inf. Theory 22(1), Theorem 1; Dupuis, Yu and Willems
        (2004), "Blahut-Arimoto algorithms for computing channel capacity and rate-distortion with
        side information", ISIT, for the strategies.

    """
    P, d = check_joint(joint, d, compress)
    slope = validation.interval("slopes", slopes, low=0.0, ndim=1)
    target = validation.tolerance(tolerance)
    table = _strategies(d.shape[1], P.shape[1])
    problem, least = _problem(P, d, table)
    points = _solve_all(problem, slope, target)
    excess, rate, gap, channel = (np.array(part) for part in points)
    if (still := np.asarray(slope) == 0).any():
        channel[still], excess[still] = _nothing_sent(P, d, table, float(least))
        rate[still], gap[still] = 0.0, 0.0
    return WynerZivCurve(
        slope=slope,
        distortion=least + jnp.asarray(excess),
        rate=jnp.asarray(rate),
        gap=jnp.asarray(gap),
        test_channel=jnp.asarray(channel),
        strategies=jnp.asarray(table),
        tolerance=target,
    )


@on_host
@validation.needs_float64
def wyner_ziv_at(
    joint: ArrayLike,
    d: ArrayLike,
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
        d: distortions, shape (|Y|, |U|).
        distortion: D, any shape, each at least D_min; from
            $D_{\max} = \sum_z p_z \min_u E[d(Y,u)|z]$ on the rate is zero.
        compress: "rows" if the letter that is compressed, Y, runs along the rows of the joint,
            "columns" if along its columns.
        tolerance: certified gap to reach, bits.

    Returns:
        Bits, shape of D: the upper bound is achieved by time sharing two test channels, the lower
        is the best supporting line; `value` is the upper bound.

    Raises:
        ValueError: as `wyner_ziv`, and if D is below D_min (naming both).

    References:
        Wyner and Ziv (1976), as for `wyner_ziv`.

    """
    P, d = check_joint(joint, d, compress)
    D = validation.interval("distortion", distortion, low=0.0)
    target = validation.tolerance(tolerance)
    problem, least = _problem(P, d, _strategies(d.shape[1], P.shape[1]))
    low = float(least)
    goal = np.ravel(np.asarray(D))
    if (below := goal < low * (1 - 1e-12)).any():
        raise ValueError(
            f"distortion must be at least D_min = {low!r}, got {goal[below][0].item()!r}"
        )
    top = float(maximum_distortion(P, d)) - low
    upper, lower = _search(problem, np.maximum(goal - low, 0.0), top, float(target))
    value = jnp.asarray(upper.reshape(D.shape))
    return Certified(
        value=value, lower=jnp.asarray(lower.reshape(D.shape)), upper=value, tolerance=target
    )


def _search(
    problem: StrategyProblem, goal: np.ndarray, top: float, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Upper and lower bounds at excess distortions; rows of known points are (s, e, R, gap)."""
    known = np.array([[0.0, top, 0.0, 0.0]]) if top < np.inf else np.zeros((0, 4))
    steep = np.array([np.inf] if top < np.inf else [np.inf, 1e-9])
    for _ in range(_SEARCH):
        known = np.concatenate([known, _points(problem, steep, 0.25 * tolerance)])
        upper, slope = _chords(known, goal)
        lower = _lines(known, goal)
        unmet = (upper - lower > tolerance) & np.isfinite(slope) & (slope > 0)
        steep = np.setdiff1d(slope[unmet], known[:, 0])
        if steep.size == 0:
            break
    return upper, np.minimum(lower, upper)


def _points(problem: StrategyProblem, slopes: np.ndarray, tolerance: float) -> np.ndarray:
    """Rows (s, e, R, gap) of these slopes, a full batch at a time so that one program serves."""
    padded = np.append(slopes, np.zeros(-slopes.size % _BATCH))  # slope 0 takes no step at all
    points = [
        _solve_all(problem, jnp.asarray(batch), jnp.asarray(tolerance))[:3]
        for batch in padded.reshape(-1, _BATCH)
    ]
    found = np.concatenate([np.stack([np.asarray(x) for x in batch], axis=1) for batch in points])
    return np.column_stack([slopes, found[: slopes.size]])


def _chords(known: np.ndarray, goal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least rate by time sharing two known points, and minus the slope of that chord."""
    e, rate = known[:, 1], known[:, 2]
    left, right = np.nonzero(e[:, None] <= e[None, :])
    width = e[right] - e[left]
    share = (goal[:, None] - e[left]) / np.where(width > 0, width, 1.0)
    inside = (e[left] <= goal[:, None]) & ((goal[:, None] <= e[right]) | (width == 0))
    share = np.where(width > 0, share, 0.0)
    chord = np.where(inside, (1 - share) * rate[left] + share * rate[right], np.inf)
    best = np.argmin(chord, axis=1)
    drop = (rate[left] - rate[right])[best]
    slope = drop / np.where(width[best] > 0, width[best], np.nan)
    return chord[np.arange(goal.size), best], slope


def _lines(known: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Greatest supporting line; the one of slope inf holds at its own distortion alone."""
    s, e, rate, gap = known.T
    steep = np.isinf(s)
    line = rate - gap - np.where(steep, 0.0, s) * (goal[:, None] - e)
    line = np.where(steep & (goal[:, None] > e), -np.inf, line)
    return np.maximum(line.max(axis=1), 0.0)


def _strategies(letters: int, zs: int) -> np.ndarray:
    count = letters**zs
    if count * zs > MAXIMUM_UNKNOWNS:
        raise ValueError(
            f"joint and d give |U|^|Z| = {letters}^{zs} = {count} strategies, times |Z| more than "
            f"the {MAXIMUM_UNKNOWNS} unknowns that are solved; use fewer letters"
        )
    return np.array(list(itertools.product(range(letters), repeat=zs))).reshape(count, zs)


def _problem(
    P: Float[Array, "y z"], d: Float[Array, "y u"], table: np.ndarray
) -> tuple[StrategyProblem, Float[Array, ""]]:
    p, pz = P.sum(axis=1), P.sum(axis=0)
    backward = jnp.where((p > 0)[:, None], P / jnp.where(p > 0, p, 1.0)[:, None], pz)
    # d(y,t) = sum_z P(z|y) d(y, t(z)), with an infinite distortion only where z can occur.
    chosen = d[:, table]  # (y, t, z)
    chance = backward[:, None, :]
    distortions = jnp.sum(jnp.where(chance > 0, chance * jnp.where(chance > 0, chosen, 0), 0), -1)
    distortions = jnp.where((p > 0)[:, None], distortions, 0.0)
    # The least is that of a constant strategy; sums that differ from it by rounding are ties.
    row = jnp.where(p > 0, jnp.min(d, axis=1), 0.0)
    excess = distortions - row[:, None]
    ties = excess <= 16 * jnp.finfo(float).eps * row[:, None]
    excess = jnp.where(ties, 0.0, excess)
    return StrategyProblem(p, backward, excess), jnp.sum(p * row)


def _nothing_sent(
    P: Float[Array, "y z"], d: Float[Array, "y u"], table: np.ndarray, least: float
) -> tuple[np.ndarray, float]:
    """The channel that always sends the best strategy, and its excess distortion."""
    choice = np.argmin(np.asarray(expected(P.T, d)), axis=1)
    channel = np.broadcast_to((table == choice).all(axis=1), (P.shape[0], len(table)))
    return channel.astype(float), float(maximum_distortion(P, d)) - least


@jax.jit
def _solve_all(
    problem: StrategyProblem, slopes: Float[Array, " s"], tolerance: Float[Array, ""]
) -> StrategyPoint:
    """Solve one slope after the other: they take different numbers of steps."""
    points = jax.lax.map(lambda s: solve(problem, s, tolerance * LN2), slopes)
    return points._replace(rate=points.rate / LN2, gap=points.gap / LN2)


@jax.jit
def _dsbs(a: Float[Array, ""], distortion: Float[Array, "*grid"]) -> Float[Array, "*grid"]:
    def curve(D: Array) -> Array:
        return binary_entropy(a * (1 - D) + D * (1 - a)) - binary_entropy(D)

    def slope(D: Array) -> Array:
        m = a * (1 - D) + D * (1 - a)
        return (1 - 2 * a) * jnp.log2((1 - m) / m) - jnp.log2((1 - D) / D)

    def miss(D: Array) -> Array:
        """How far the tangent at D passes above (a, 0); rising in D, since g is convex."""
        return curve(D) + (a - D) * slope(D)

    def halve(_: Array, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = 0.5 * (low + high)
        below = miss(middle) < 0
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    inside = a > 0
    _, critical = jax.lax.fori_loop(0, 200, halve, (jnp.zeros_like(a), jnp.where(inside, a, 0.5)))
    critical = implicit_root(miss, critical)
    tangent = curve(critical) * (a - distortion) / jnp.where(a > critical, a - critical, 1.0)
    curved = curve(jnp.minimum(distortion, critical))
    return jnp.where(
        distortion < a, jnp.where(distortion <= critical, curved, jnp.maximum(tangent, 0.0)), 0.0
    )
