r"""One certified point of R(D) and its derivatives (C5, C8).

At the optimum q of slope s the letters of the active support A satisfy $c_u = 1$ with
$c_u = \sum_y p_y K_{yu} / Z_y$, $K = 2^{-s d}$, $Z = K q$. These conditions give the derivative of
q with respect to p, d and s (implicit function theorem):

$$H_{AA} \, dq_A = \partial c_A, \qquad H_{uv} = \sum_y p_y K_{yu} K_{yv} / Z_y^2,$$

$\partial c$ the change of c at fixed q. The derivative of $F = R + s D = -\sum p \log_2 Z$ needs no
dq at all (envelope theorem): $dF = -\sum dp \log_2 Z + s \sum p Q \, dd + D \, ds$. Those of D and
of $R = F - s D$ follow by the chain rule.
"""

from functools import partial
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rdsim.information import LN2, safe_log2
from rdsim.limits.rate_distortion._interior_point import (
    FEW_LETTERS,
    column_generation,
    dense,
    shifted_kernel,
)

_NULL: Final = 1e-11
"""Squared canonical correlations (at most 1) below this are taken for zero."""


class Point(NamedTuple):
    """One certified point; D is kept as the excess over D_min, in which nothing cancels."""

    slope: Float[Array, ""]
    excess: Float[Array, ""]
    rate: Float[Array, ""]
    gap: Float[Array, ""]
    q: Float[Array, " u"]


@jax.jit
def excess_distortions(d: Float[Array, "y u"]) -> tuple[Float[Array, "y u"], Float[Array, " y"]]:
    """Distortion above the row's least one, and that least one; zero for a row of inf alone.

    Adding a constant to a row changes no optimum, so the least one is a constant to derivatives:
    all of a change of d goes through the excess.
    """
    least = jax.lax.stop_gradient(jnp.min(d, axis=1))
    reached = least < jnp.inf
    least = jnp.where(reached, least, 0.0)
    return jnp.where(reached[:, None], d - least[:, None], 0.0), least


def mean_distortions(p: Float[Array, " y"], d: Float[Array, "y u"]) -> Float[Array, " u"]:
    """Distortion of each constant reproduction; inf where a letter with mass forbids it."""
    forbidden = jnp.any(jnp.isinf(d) & (p > 0)[:, None], axis=0)
    return jnp.where(forbidden, jnp.inf, p @ jnp.where(jnp.isinf(d), 0.0, d))


def channel(
    excess: Float[Array, "y u"], slope: Float[Array, ""], q: Float[Array, " u"]
) -> tuple[Float[Array, "y u"], Float[Array, "y u"], Float[Array, " y"]]:
    """Test channel, kernel and row sums of one slope and output marginal."""
    K = shifted_kernel(excess, slope)
    Z = K @ q
    return q * K / jnp.where(Z > 0, Z, 1.0)[:, None], K, Z


def lagrangian_and_distortion(
    p: Float[Array, " y"],
    excess: Float[Array, "y u"],
    slope: Float[Array, ""],
    q: Float[Array, " u"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    r"""Return $F = -\sum p \log_2 Z$ in bits and the excess distortion $\sum p Q e$."""
    Q, _, Z = channel(excess, slope, q)
    return -jnp.sum(p * safe_log2(Z)), jnp.sum(p[:, None] * Q * jnp.where(Q > 0, excess, 0.0))


def information(p: Array, excess: Array, point: Point) -> Array:
    r"""I(Y;U) of a point in bits, to relative accuracy even where it is far below rounding.

    With $t = K/Z - 1$, of mean zero in every row, it is the sum of $(1 + t) \ln(1 + t) - t \ge 0$,
    in which the parts of first order are gone: they cancel in $F - sD$, and leave some 1e-16 bits.
    """
    _, K, Z = channel(excess, point.slope, point.q)
    t = K / jnp.where(Z > 0, Z, 1.0)[:, None] - 1
    terms = jnp.where(t > -1, (1 + t) * jnp.log1p(jnp.where(t > -1, t, 0.0)) - t, 1.0)
    used = (p > 0)[:, None] & (point.q > 0)
    return jnp.sum(jnp.where(used, p[:, None] * point.q * jnp.maximum(terms, 0.0), 0.0)) / LN2


def first_slope(p: Array, excess: Array) -> Array:
    r"""Steepest slope at which nothing is sent: that of R(D) at D_max from below, $-dR/dD$.

    The best constant letter $u_0$ is the optimum as long as $c_u \le 1$ for all u, where $c_u - 1 =
    \sum_y p_y (2^{-s \Delta_{yu}} - 1)$, $\Delta_{yu} = d_{yu} - d_{yu_0}$. It is convex in s and
    zero at 0, so that it has one other zero; none above 0 if $u$ is as good a constant as $u_0$.
    """
    cost = mean_distortions(p, excess)
    constant = jnp.argmin(cost)
    mass = (p > 0)[:, None]
    base = jnp.where(jnp.isinf(excess[:, constant]), 0.0, excess[:, constant])[:, None]
    change = jnp.where(mass, excess - base, 0.0)
    helps, differs = jnp.any(change < 0, axis=0), jnp.any(change != 0, axis=0)
    rounding = 4 * jnp.finfo(float).eps * sum(excess.shape) * cost[constant]
    as_good = differs & (cost - cost[constant] <= rounding)
    scale = jnp.max(jnp.where(jnp.isfinite(change), jnp.abs(change), 0.0), axis=0)
    unit = jnp.where(scale > 0, scale, 1.0)

    def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        # Powers beyond 2^1000 say as much as 2^1000.
        power = jnp.minimum(-(2.0**middle) * change / unit, 1000.0)
        above = p @ jnp.expm1(LN2 * jnp.where(mass, power, 0.0)) > 0
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    # Halving of log2 s over all positive floats; 64 times is below their last digit.
    start = jnp.full(cost.shape, -1000.0), jnp.full(cost.shape, 1000.0)
    low, high = jax.lax.fori_loop(0, 64, halve, start)
    slope = jnp.where(helps, 2.0 ** ((low + high) / 2) / unit, jnp.inf)
    # Where every constant is forbidden to some letter, something is sent at every slope.
    return jnp.where(jnp.isinf(cost[constant]), 0.0, jnp.min(jnp.where(as_good, 0.0, slope)))


def _certify(
    p: Float[Array, " y"],
    excess: Float[Array, "y u"],
    slope: Float[Array, ""],
    q: Float[Array, " u"],
) -> Point:
    """The point of C5 at the output marginal q, whatever q is; gap inf where Z underflows."""
    Q, K, Z = channel(excess, slope, q)
    distortion = jnp.sum(p[:, None] * Q * jnp.where(Q > 0, excess, 0.0))
    cost = jnp.where(distortion > 0, slope, 0.0) * distortion
    rate = -jnp.sum(p * safe_log2(Z)) - cost
    # A letter without mass may lie out of reach of all that is used: it asks for nothing.
    certificate = jnp.log2(jnp.max((p / jnp.where(Z > 0, Z, 1.0)) @ K))
    rounding = 4 * jnp.finfo(float).eps * sum(excess.shape)
    valid = jnp.all((Z > 0) | (p == 0))
    gap = jnp.where(valid, jnp.maximum(certificate, 0.0) + rounding, jnp.inf)
    return Point(slope, distortion, jnp.maximum(rate, 0.0), gap, q)


@partial(jax.custom_jvp, nondiff_argnums=(4,))
def solve_point(
    p: Float[Array, " y"],
    excess: Float[Array, "y u"],
    slope: Float[Array, ""],
    tolerance: Float[Array, ""],
    method: str,
) -> Point:
    """Solve one slope to the certified gap; differentiable in p, excess and slope, both modes.

    Args:
        p: source pmf, shape (|Y|,).
        excess: distortions above the row's least, shape (|Y|, |U|).
        slope: s >= 0, bits per unit of distortion, or inf.
        tolerance: certified gap in bits at which to stop.
        method: "column_generation" or "dense".

    Returns:
        The point. Its gap is constant to derivatives.

    """
    few = excess.shape[1] <= FEW_LETTERS
    solver = dense if few or method == "dense" else column_generation
    q, w = solver(p, jnp.where((p > 0)[:, None], excess, 0.0), slope, tolerance)
    point = _certify(p, excess, slope, q / q.sum())
    support = jnp.where(q > w, q, 0.0)
    pruned = _certify(p, excess, slope, support / support.sum())
    # A constant letter is the limit of the optima as the slope falls to zero.
    best = jnp.argmin(mean_distortions(p, excess))
    constant = _certify(p, excess, slope, jax.nn.one_hot(best, q.size, dtype=q.dtype))

    def better(new: Point, old: Point, use: Bool[Array, ""]) -> Point:
        return jax.tree.map(lambda a, b: jnp.where(use, a, b), new, old)

    point = better(pruned, point, pruned.gap <= jnp.maximum(tolerance, point.gap))
    return better(
        constant, point, (slope == 0) & (constant.gap <= jnp.maximum(tolerance, point.gap))
    )


@solve_point.defjvp
def _solve_point_jvp(
    method: str, primals: tuple[Array, ...], tangents: tuple[Any, ...]
) -> tuple[Point, Point]:
    p, excess, slope, tolerance = primals
    problem, change = (p, excess, slope), tangents[:3]
    point = solve_point(p, excess, slope, tolerance, method)
    q, dq = _output_marginal_jvp(problem, change, point.q)
    _, (dF, dD) = jax.jvp(lambda p, e, s: lagrangian_and_distortion(p, e, s, q), problem, change)
    _, (_, moved) = jax.jvp(lambda x: lagrangian_and_distortion(*problem, x), (q,), (dq,))
    dD = dD + moved
    finite = jnp.where(jnp.isinf(slope), 0.0, slope)
    rate = dF - finite * dD - change[2] * point.excess
    return point, Point(change[2], dD, rate, jnp.zeros_like(point.gap), dq)


def _output_marginal_jvp(
    problem: tuple[Array, Array, Array], change: tuple[Any, ...], q: Float[Array, " u"]
) -> tuple[Float[Array, " u"], Float[Array, " u"]]:
    r"""Polish q by one Newton step on its support, and differentiate $c_A = 1$ there.

    The system is scaled by $\sqrt{q}$: $\sqrt{q_u q_v} H_{uv}$ has the squared canonical
    correlations of (Y, U) as its eigenvalues, all at most 1, so that a cut has a meaning. Along
    the eigenvectors below the cut (duplicate letters, optima that are not unique) q stays put:
    that is the derivative of least norm.
    """

    def prices(
        p: Float[Array, " y"], excess: Float[Array, "y u"], slope: Array, q: Array
    ) -> Float[Array, " u"]:
        _, K, Z = channel(excess, slope, q)
        return (p / jnp.where(Z > 0, Z, 1.0)) @ K

    p, excess, slope = problem
    _, K, Z = channel(excess, slope, q)
    Z = jnp.where(Z > 0, Z, 1.0)
    c = (p / Z) @ K
    active = (q > 0) & (q > 1 - c)
    root = jnp.where(active, jnp.sqrt(jnp.where(active, q, 1.0)), 0.0)
    scaled = K * root / Z[:, None]
    # Identity rows for the other letters, which keep dq = 0.
    H = scaled.T @ (p[:, None] * scaled) + jnp.diag(jnp.where(active, 0.0, 1.0))
    value, vector = jnp.linalg.eigh(jax.lax.stop_gradient(H))
    inverse = jnp.where(value > _NULL, 1 / jnp.where(value > _NULL, value, 1.0), 0.0)

    def solve(right: Float[Array, " u"]) -> Float[Array, " u"]:
        # The rule of a linear solve: higher derivatives do not go through the eigenvectors.
        return root * jax.lax.custom_linear_solve(
            lambda x: H @ x,
            root * right,
            lambda _, b: vector @ (inverse * (b @ vector)),
            symmetric=True,
        )

    polished = jnp.where(active, q + solve(jnp.where(active, c - 1, 0.0)), q)
    q = jnp.where(jnp.all(polished >= 0), polished, q)
    _, dc = jax.jvp(lambda p, e, s: prices(p, e, s, q), problem, change)
    return q, solve(dc)
