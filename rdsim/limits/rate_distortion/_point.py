r"""One certified point of R(D): what any output marginal proves, and the solvers that find a good one (C5).

With $K = 2^{-s d}$, $Z = K q$ and $c_u = \sum_y p_y K_{yu} / Z_y$ a slope s is optimal where $c_u \le 1$ for
every letter and $c_u = 1$ for those in use.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from rdsim import validation
from rdsim.information import safe_log2
from rdsim.limits.rate_distortion._column_generation import solve_on_host, solve_separable
from rdsim.limits.rate_distortion._interior_point import dense, shifted_kernel
from rdsim.limits.rate_distortion._separable import Cost, SumOfAxes
from rdsim.namespaces import select
from rdsim.threads import blas_threads_for, one_blas_thread

_RARE: Final = 1e-3
"""Mass of the rows that are certified apart, relative to the tolerance: each may cost some tens of bits."""
_COVER: Final = 1e-2
"""Mass of q for rows that are certified apart and that no other letter reaches, relative to the tolerance."""
_LARGEST: Final = 1.0
"""Bits that a tolerance counts as at most in these two, which are masses and must stay small."""


class Point(NamedTuple):
    """What one slope proves about R(D), from any output marginal q (see `_certify`).

    The distortion is kept as its excess over D_min, in which nothing cancels; rate and gap in bits.
    """

    slope: Any
    excess: Any
    rate: Any
    gap: Any
    q: Any


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


def constant_distortions(p: Float[Any, " y"], d: Float[Any, "y u"]) -> Float[Any, " u"]:
    r"""Distortion $\sum_y p_y d(y,u)$ of each constant reproduction u; D_max is the least of them.

    Infinite where a letter with mass forbids u.
    """
    xp = d.__array_namespace__()
    forbidden = xp.any(xp.isinf(d) & (p > 0)[:, None], axis=0)
    return xp.where(forbidden, xp.inf, p @ xp.where(xp.isinf(d), 0.0, d))


def tilted_channel(
    excess: Float[Any, "y u"], slope: Any, q: Float[Any, " u"]
) -> tuple[Float[Any, "y u"], Float[Any, "y u"], Float[Any, " y"]]:
    """Test channel Q(u|y) = q_u K_yu / Z_y of a slope and an output marginal, its kernel K, and Z."""
    K = shifted_kernel(excess, slope)
    Z = K @ q
    xp = K.__array_namespace__()
    return q * K / xp.where(Z > 0, Z, 1.0)[:, None], K, Z


def lagrangian_and_distortion(
    p: Float[Array, " y"],
    excess: Float[Array, "y u"],
    slope: Float[Array, ""],
    q: Float[Array, " u"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    r"""Return $F = -\sum p \log_2 Z$ in bits and the excess distortion $\sum p Q e$."""
    Q, _, Z = tilted_channel(excess, slope, q)
    return -jnp.sum(p * safe_log2(Z)), jnp.sum(p[:, None] * Q * jnp.where(Q > 0, excess, 0.0))


def _certify(
    p: Float[Any, " y"],
    K: Any,
    cost: Any,
    slope: Any,
    q: Float[Any, " u"],
    rare: Bool[np.ndarray, " y"] | None = None,
) -> Point:
    r"""Prove a point of R(D) from the output marginal q, whatever q is (C5).

    Its test channel has distortion D and a rate of at most R = F - s D bits. R(D) lies below that by
    at most $\log_2 \max_u c_u$, the gap, which is inf if q leaves a letter with mass without support.
    `cost` is K times the excess distortion, |Y| x |U| as K: arrays, or what has products with vectors.

    The bound holds for every $\nu$ in the place of p / Z, $F^* \ge \sum_y p_y \log_2 (\nu_y / p_y) - \log_2 \max_u (\nu K)_u$
    (Jensen). With $\nu_y = p_y$ rare rows lift no letter above one and cost $p_y \log_2 (1/Z_y)$ bits; of both bounds
    the better one is taken.
    """
    xp = K.__array_namespace__()
    Z = K @ q
    ratio = p / xp.where(Z > 0, Z, 1.0)
    distortion = ratio @ (cost @ q)
    spent = xp.where(distortion > 0, slope, 0.0) * distortion  # at slope inf and D_min it is zero
    rate = -(p @ safe_log2(Z)) - spent
    # A letter of probability zero may have no finite distortion to the support. It adds nothing to c.
    certificate = xp.log2(xp.max(ratio @ K))
    if rare is not None:
        apart = np.log2(np.max(np.where(rare, p, ratio) @ K)) - p[rare] @ safe_log2(Z[rare])
        certificate = np.minimum(certificate, apart)
    rounding = 4 * np.finfo(float).eps * sum(K.shape)  # of sums over y and over u
    valid = xp.all((Z > 0) | (p == 0))
    gap = xp.where(valid, xp.maximum(certificate, 0.0) + rounding, xp.inf)
    return Point(slope, distortion, xp.maximum(rate, 0.0), gap, q)


def _best_candidate(
    p: Float[Any, " y"],
    K: Any,
    cost: Any,
    constants: Float[Any, " u"],
    slope: Any,
    tolerance: Any,
    solved: tuple[Float[Any, " u"], Float[Any, " u"]],
    rare: Bool[np.ndarray, " y"] | None = None,
) -> Point:
    """Certify what a solver has found.

    The interior point returns q with all letters a little above zero. Three candidates are certified:
    that q, its active letters alone (exact zeros elsewhere), and at slope zero the best constant.
    A later candidate replaces an earlier one if its gap is as good, or within the tolerance.
    `cost` and `rare` are those of `_certify`, `constants` are the `constant_distortions`.
    """
    xp = K.__array_namespace__()

    def certified(q: Any) -> Point:
        q = q / q.sum()
        if rare is not None:
            q = _covering(K, q, rare, _COVER * min(tolerance, _LARGEST))
        return _certify(p, K, cost, slope, q, rare)

    q, w = solved
    point = certified(q)
    # Complementary slackness: of q_u w_u = mu the larger factor says which of the two is not zero.
    pruned = certified(xp.where(q > w, q, 0.0))
    # Exact zeros name the support, which the derivatives need.
    point = select(pruned.gap <= xp.maximum(tolerance, point.gap), pruned, point)
    # A constant letter is the limit of the optima as the slope falls to zero.
    best = xp.arange(q.size) == xp.argmin(constants)
    constant = certified(xp.where(best, 1.0, 0.0))
    use = (slope == 0) & (constant.gap <= xp.maximum(tolerance, point.gap))
    return select(use, constant, point)


def _rare_letters(p: Float[np.ndarray, " y"], tolerance: float) -> Bool[np.ndarray, " y"] | None:
    """The rows of least mass that make up a small part of the tolerance together; None if there are none.

    The interior point would have to follow its path until q w is as small as their masses, and of 1e-300 it cannot.
    """
    order = np.argsort(p, kind="stable")
    rare = np.zeros(p.size, bool)
    rare[order] = np.cumsum(p[order]) <= _RARE * min(tolerance, _LARGEST)
    rare &= p > 0
    return rare if rare.any() else None


def _covering(
    K: Any, q: Float[np.ndarray, " u"], rare: Bool[np.ndarray, " y"], mass: float
) -> Float[np.ndarray, " u"]:
    """Q with a little mass for the best letters of rare rows that it hardly reaches, if there are any."""
    bare = np.flatnonzero(rare & (K @ q < mass))
    if not bare.size:
        return q
    cover = np.bincount(K.argmax(axis=1)[bare], minlength=q.size) / bare.size
    return np.asarray((1 - mass) * q + mass * cover)


def _cost(K: Float[Any, "y u"], excess: Float[Any, "y u"]) -> Float[Any, "y u"]:
    """K times the excess distortion, zero where K is."""
    xp = K.__array_namespace__()
    return xp.where(K > 0, K, 0.0) * xp.where(K > 0, excess, 0.0)


def computes_on_host(method: str, *arguments: Any) -> bool:
    """Whether the numbers are known, and the method or else the machine asks for NumPy."""
    validation.choice("method", method, ("auto", "column_generation", "dense"))
    if method == "auto":
        method = "column_generation" if jax.default_backend() == "cpu" else "dense"
    return method == "column_generation" and not validation.is_traced(arguments)


@contextlib.contextmanager
def host_arithmetic(table: np.ndarray) -> Iterator[None]:
    """Set up NumPy for the solvers: what is not finite is seen, and not certified; few threads for few letters."""
    with np.errstate(all="ignore"), blas_threads_for(table.size):
        yield


def solver_on_host(
    p: Float[np.ndarray, " y"], excess: Float[np.ndarray, "y u"]
) -> Callable[[float, float], Point]:
    """The point of a slope and a tolerance in NumPy: on few letters at a time, and by the axes of a grid.

    The other arguments are those of `solve_point`.
    """
    constants = constant_distortions(p, excess)
    axes = SumOfAxes.found_in(excess)

    def solve(slope: float, tolerance: float) -> Point:
        K: Any
        cost: Any
        rare = _rare_letters(p, tolerance)
        if axes is None:
            K = shifted_kernel(excess, slope)
            solved = solve_on_host(p, excess, K, slope, tolerance, rare)
            cost = _cost(K, excess)
            return _best_candidate(p, K, cost, constants, slope, tolerance, solved, rare)
        with one_blas_thread():  # the factors are small, however large the table is
            K = axes.kernel(slope)
            common = p if rare is None else np.where(rare, 0.0, p)
            solved = solve_separable(common, axes, K, slope, tolerance)
            cost = Cost(axes, K)
            return _best_candidate(p, K, cost, constants, slope, tolerance, solved, rare)

    return solve


def solve_point(
    p: Float[Array, " y"],
    excess: Float[Array, "y u"],
    slope: Float[Array, ""],
    tolerance: Float[Array, ""],
) -> Point:
    """Solve one slope to the certified gap. Its derivatives are those of `change_of_point`.

    Args:
        p: source pmf, shape (|Y|,).
        excess: distortions above the row's least, shape (|Y|, |U|).
        slope: s >= 0, bits per unit of distortion, or inf.
        tolerance: certified gap in bits at which to stop.

    Returns:
        The point.

    """
    K = shifted_kernel(excess, slope)
    solved = dense(p, jnp.where((p > 0)[:, None], K, 1.0), tolerance)
    constants = constant_distortions(p, excess)
    return _best_candidate(p, K, _cost(K, excess), constants, slope, tolerance, solved)
