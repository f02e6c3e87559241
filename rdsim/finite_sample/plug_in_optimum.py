r"""The output marginal that minimises a Lagrangian, to the last digits, with its certificate.

$$\min_q F(q), \qquad F(q) = -\sum_y p_y \ln Z_y, \quad Z_y = \sum_u q_u K_{yu}, \quad K_{yu} = 2^{-s d(y,u)}.$$

An interior point method comes near, Newton's method on the letters in use squares the error that is left, and duality
bounds it: $F(q) - \min F \le \ln \max_u \sum_y p_y K_{yu} / Z_y$.
"""

from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.limits.rate_distortion import excess_distortions, interior_point, shifted_kernel
from rdsim.number_types import ArrayLike

_POLISHING_STEPS: Final = 2
"""Newton steps after the interior point; each squares the error."""


_RIDGE: Final = 1e-13
"""Added to the scaled Hessian, whose eigenvalues are squared canonical correlations (at most 1)."""


_SOLVED: Final = 1e-13
"""Gap in bits at which the interior point stops and the polishing begins."""


class SolvedSource(NamedTuple):
    """The true pmf and its optimal code: what all replications share.

    K is the row-shifted kernel and `exponent` is -ln K; q, Z and the slacks 1 - c are those of the
    optimum, whose suboptimality is certified.
    """

    p: Float[Array, " y"]
    K: Float[Array, "y u"]
    q: Float[Array, " u"]
    Z: Float[Array, " y"]
    slack: Float[Array, " u"]
    suboptimality: Float[Array, ""]
    exponent: Float[Array, "y u"]


def checked_problem(
    p: ArrayLike, distortions: ArrayLike, slope: ArrayLike
) -> tuple[Float[Array, " y"], Float[Array, "y u"], Float[Array, ""]]:
    """Return the true pmf, finite distortions and slope, checked."""
    p = validation.pmf("p", p)
    d = validation.distortions(distortions, p, all_finite=True)
    return p, d, validation.positive("slope", slope, ndim=0)


def checked_distortions(
    distortions: ArrayLike, slope: ArrayLike
) -> tuple[Float[Array, "y u"], Float[Array, ""]]:
    """Return finite distortions and a finite, positive slope."""
    d = validation.non_negative("distortions", distortions, ndim=2)
    if d.size == 0:
        raise ValueError(
            f"distortions must have at least one row and one column, got shape {d.shape}"
        )
    return d, validation.positive("slope", slope, ndim=0)


@jax.jit
def solved_source(
    p: Float[Array, " y"], d: Float[Array, "y u"], slope: Float[Array, ""]
) -> SolvedSource:
    """Find the optimal code of the true pmf, with its certificate."""
    excess, _ = excess_distortions(jnp.where((p > 0)[:, None], d, 0.0))
    K = shifted_kernel(excess, slope)
    q, suboptimality = solve(K, p)
    Z = K @ q
    return SolvedSource(p, K, q, Z, 1 - (p / Z) @ K, suboptimality, slope * jnp.log(2.0) * excess)


def solve(
    K: Float[Array, "y u"], p: Float[Array, " y"]
) -> tuple[Float[Array, " u"], Float[Array, ""]]:
    r"""Minimise $-\sum p \ln Kq$: interior point, then Newton's method on the letters it uses.

    On its support the optimum has $c_u = 1$, $c = K^T (p/Z)$; Newton's step there is
    $H\,dq = c - 1$ with $H = K^T \mathrm{diag}(p/Z^2) K$, scaled by $\sqrt{q}$ so that its
    eigenvalues are at most 1. By duality $\ln\max_u c_u$ bounds how far any q is from the optimum.
    The invariant of the polishing: the candidate with the least such bound so far is kept, whatever
    a step does.

    Args:
        K: kernel, each row's largest entry 1, shape (|Y|, |U|).
        p: pmf, shape (|Y|,).

    Returns:
        The pmf q, shape (|U|,), and $\ln\max_u c_u$ in nats with an allowance for rounding.

    """
    letters = K.shape[1]
    rounding = 4 * jnp.finfo(float).eps * sum(K.shape)

    def dual_ratios(q: Float[Array, " u"]) -> tuple[Float[Array, " u"], Float[Array, " y"]]:
        """The ratios c and Z; all infinite where a letter of positive probability has Z = 0."""
        Z = K @ q
        safe = jnp.where(Z > 0, Z, 1.0)
        return jnp.where(jnp.any((p > 0) & (Z <= 0)), jnp.inf, (p / safe) @ K), safe

    def certified(q: Array) -> tuple[Array, Array]:
        """Scale q to sum to one and bound its suboptimality; infinite if it is no pmf."""
        usable = jnp.all(q >= 0) & (jnp.sum(q) > 0)
        q = jnp.where(usable, q, 1.0 / letters)
        q = q / jnp.sum(q)
        gap = jnp.maximum(jnp.log(jnp.max(dual_ratios(q)[0])), 0.0) + rounding
        return q, jnp.where(usable & jnp.isfinite(gap), gap, jnp.inf)

    def newton(q: Array, active: Array) -> Array:
        """One Newton step on the active letters."""
        c, Z = dual_ratios(q)
        # Scaling by the root of q makes H the matrix of squared canonical correlations, of condition that does not
        # depend on how small the masses are; inactive rows become those of the identity.
        root = jnp.where(active, jnp.sqrt(jnp.where(active, q, 1.0)), 0.0)
        scaled = K * root / Z[:, None]
        H = scaled.T @ (p[:, None] * scaled) + jnp.diag(jnp.where(active, _RIDGE, 1.0))
        factor = jnp.linalg.cholesky(H, symmetrize_input=False)
        step = jax.scipy.linalg.cho_solve((factor, True), root * jnp.where(active, c - 1, 0.0))
        return jnp.where(active, q + root * step, 0.0)

    def better(new: tuple[Array, Array], old: tuple[Array, Array]) -> tuple[Array, Array]:
        return jax.tree.map(lambda a, b: jnp.where(new[1] <= old[1], a, b), new, old)

    def refine(
        _: Array, state: tuple[tuple[Array, Array], tuple[Array, Array]]
    ) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        trial, best = state
        return certified(newton(trial[0], active)), better(trial, best)

    uniform = jnp.full(letters, 1.0 / letters)
    q, w = interior_point(K, p, uniform, jnp.array(0.5), jnp.array(_SOLVED))
    # At the optimum, the mass or the slack of each codeword vanishes (complementary slackness); a codeword whose mass is
    # the larger of the two is taken to be in use.
    active = q > w
    # Polishing may fail where a letter was misjudged: then the interior point itself is the best candidate.
    start = certified(jnp.where(active, q, 0.0)), certified(q)
    return better(*jax.lax.fori_loop(0, _POLISHING_STEPS, refine, start))
