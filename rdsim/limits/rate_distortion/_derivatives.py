r"""The derivatives of a certified point of R(D) (C8).

At the optimum q of slope s the letters of the active support A satisfy $c_u = 1$ with
$c_u = \sum_y p_y K_{yu} / Z_y$, $K = 2^{-s d}$, $Z = K q$. These conditions give the derivative of
q with respect to p, d and s (implicit function theorem):

$$H_{AA} \, dq_A = \partial c_A, \qquad H_{uv} = \sum_y p_y K_{yu} K_{yv} / Z_y^2,$$

$\partial c$ the change of c at fixed q. The derivative of $F = R + s D = -\sum p \log_2 Z$ needs no
dq at all (envelope theorem): $dF = -\sum dp \log_2 Z + s \sum p Q \, dd + D \, ds$. Those of D and
of $R = F - s D$ follow by the chain rule.
"""

from typing import Any, Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rdsim.limits.rate_distortion._point import Point, lagrangian_and_distortion, tilted_channel

_NULL: Final = 1e-11
"""Squared canonical correlations of (Y, U), which are at most 1, below this are taken for zero."""


def change_of_point(
    problem: tuple[Array, Array, Array], point: Point, change: tuple[Any, ...]
) -> Point:
    """Apply the formulas of the module docstring to one direction of change of (p, excess, slope).

    They are linear in it, and can be differentiated again. The gap is a constant.
    """
    slope = problem[2]
    q, dq = _output_marginal_jvp(problem, change, point.q)
    # dF needs no dq (envelope theorem); D changes with the problem at fixed q, and with q.
    _, (dF, dD) = jax.jvp(lambda p, e, s: lagrangian_and_distortion(p, e, s, q), problem, change)
    _, (_, dD_by_q) = jax.jvp(lambda x: lagrangian_and_distortion(*problem, x), (q,), (dq,))
    dD = dD + dD_by_q
    # At slope inf, D stays at D_min: the product s dD is zero there.
    finite = jnp.where(jnp.isinf(slope), 0.0, slope)
    dR = dF - finite * dD - change[2] * point.excess
    return Point(change[2], dD, dR, jnp.zeros_like(point.gap), dq)


def _output_marginal_jvp(
    problem: tuple[Array, Array, Array], change: tuple[Any, ...], q: Float[Array, " u"]
) -> tuple[Float[Array, " u"], Float[Array, " u"]]:
    r"""Polish q by one Newton step on its support, and differentiate $c_A = 1$ there.

    The system is scaled by $\sqrt{q}$: $\sqrt{q_u q_v} H_{uv}$ has the squared canonical
    correlations of (Y, U) as its eigenvalues, all at most 1, so that a cut has a meaning. Along
    the eigenvectors below the cut (duplicate letters, optima that are not unique) q stays put:
    that is the derivative of least norm.
    """

    def optimality(
        p: Float[Array, " y"], excess: Float[Array, "y u"], slope: Array, q: Array
    ) -> Float[Array, " u"]:
        """c_u, which is 1 on the support and at most 1 elsewhere at the optimum."""
        _, K, Z = tilted_channel(excess, slope, q)
        return (p / jnp.where(Z > 0, Z, 1.0)) @ K

    p, excess, slope = problem
    _, K, Z = tilted_channel(excess, slope, q)
    Z = jnp.where(Z > 0, Z, 1.0)
    c = (p / Z) @ K
    # Complementary slackness: 1 - c_u is the dual slack of the letter u, and of q and slack the
    # larger tells which of the two is positive at the optimum.
    active = (q > 0) & (q > 1 - c)
    root = jnp.where(active, jnp.sqrt(jnp.where(active, q, 1.0)), 0.0)
    scaled = K * root / Z[:, None]
    # Identity rows for the other letters, which keep dq = 0.
    H = scaled.T @ (p[:, None] * scaled) + jnp.diag(jnp.where(active, 0.0, 1.0))
    value, vector = jnp.linalg.eigh(jax.lax.stop_gradient(H))
    inverse = jnp.where(value > _NULL, 1 / jnp.where(value > _NULL, value, 1.0), 0.0)

    def solve(right: Float[Array, " u"]) -> Float[Array, " u"]:
        """Apply the pseudo-inverse of the unscaled H."""
        # The rule of a linear solve: higher derivatives do not go through the eigenvectors.
        return root * jax.lax.custom_linear_solve(
            lambda x: H @ x,
            root * right,
            lambda _, b: vector @ (inverse * (b @ vector)),
            symmetric=True,
        )

    # The derivative's error is that of q to first order, while the certificate sees it to second
    # order: one Newton step on the support makes up for it, unless it leaves the simplex.
    polished = jnp.where(active, q + solve(jnp.where(active, c - 1, 0.0)), q)
    q = jnp.where(jnp.all(polished >= 0), polished, q)
    _, dc = jax.jvp(lambda p, e, s: optimality(p, e, s, q), problem, change)
    return q, solve(dc)
