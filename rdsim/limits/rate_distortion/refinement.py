r"""Successive refinement: can a coarse description be part of a fine one at no loss?

$(Y, U_1, U_2)$ describes Y at distortions $D_1 > D_2$ with both rates on R(D) iff optimal test
channels exist with $Y - U_2 - U_1$ Markov (Equitz and Cover 1991):

$$Q_1(u_1|y) = \sum_{u_2} Q_2(u_2|y)\, W(u_1|u_2).$$

At slope s the optimal channels are $Q(u|y) = q_u K_{yu} / Z_y$, $K = 2^{-s d}$, with the one
optimal Z and any pmf q with $K q = Z$ on the letters where $c_u = \sum_y p_y K_{yu} / Z_y = 1$. With
$J(u_1,u_2) = q_2(u_2) W(u_1|u_2)$ all pairs of optimal channels and all W at once are a linear
program: where an optimum is not unique, none has to be chosen.
"""

from typing import Final

import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Bool, Float

from rdsim import validation
from rdsim.limits.rate_distortion.discrete import rate_distortion_curve
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.transformations import on_host

_UNDECIDED: Final = 100.0
"""Residuals above the threshold, up to so many times it, are called undecided."""
_HALVINGS: Final = 70
"""Bisections of the bracket [-40, 40] of log2 of the slope, which exhaust the digits of a float64."""
_CLOSE: Final = 1e-13
"""The search for a slope ends at so small an error of D, in units of the largest distortion."""


@result
class SuccessiveRefinement:
    r"""Whether a source is successively refinable from D1 to D2, and how it was decided.

    Attributes:
        residual: least total deviation from a Markov pair of optimal channels: the mean L1 distance
            between Q_1 and Q_2 W, plus what the conditions of optimality miss.
        threshold: sqrt(2 ln 2 sum_of_gaps) plus the linear program's own 1e-7: by Pinsker's
            inequality the order in which gaps of so many bits can move a channel.
        refinable: residual at most the threshold.
        undecided: residual above it by less than a factor of 100: neither yes nor no.
        refinement: W(u1|u2), shape (|U|, |U|), rows u2; a row of an unused u2 is uniform.
        coarse_slope: s at D1, bits per unit of distortion.
        fine_slope: s at D2.
        sum_of_gaps: certified gap of R(D1) plus that of R(D2), bits.

    """

    residual: Float[Array, ""]
    threshold: Float[Array, ""]
    refinable: Bool[Array, ""]
    undecided: Bool[Array, ""]
    refinement: Float[Array, "u2 u1"]
    coarse_slope: Float[Array, ""]
    fine_slope: Float[Array, ""]
    sum_of_gaps: Float[Array, ""]


@on_host
@validation.needs_float64
def successive_refinement(
    p: ArrayLike, distortions: ArrayLike, *, coarse: ArrayLike, fine: ArrayLike
) -> SuccessiveRefinement:
    r"""Decide whether R(D1) bits can be refined to R(D2) bits without loss.

    Args:
        p: source pmf, shape (|Y|,).
        distortions: d, finite and >= 0, shape (|Y|, |U|).
        coarse: D1, a scalar above D2; from D_max on the coarse description is empty and every
            source is refinable.
        fine: D2, a scalar, at least D_min.

    Returns:
        The least residual of the Markov condition, and the verdict.

    References:
        Equitz and Cover (1991), "Successive refinement of information", IEEE Trans. Inf. Theory
        37(2), Theorem 2; Rimoldi (1994), 40(1).

    """
    p = validation.pmf("p", p)
    finite = validation.interval("distortions", distortions, low=0.0, high=np.inf, open_high=True)
    d = validation.distortions(finite, p)
    D1 = float(validation.interval("coarse", coarse, low=0.0, ndim=0))
    D2 = float(validation.interval("fine", fine, low=0.0, ndim=0))
    least = float(p @ d.min(axis=1))
    if least * (1 - 1e-12) > D2:
        raise ValueError(f"fine must be at least D_min = {least!r}, got {D2!r}")
    if not D2 < D1:
        raise ValueError(f"coarse must be above fine = {D2!r}, got {D1!r}")
    # In units of the largest distortion, to a power of two: exact, and what tolerances are meant in.
    unit = 2.0 ** float(np.frexp(np.max(d))[1] - 1)
    d, D1, D2 = jnp.asarray(np.asarray(d) / unit), D1 / unit, D2 / unit
    s1, Z1, gap1 = _optimum_at(p, d, D1)
    s2, Z2, gap2 = _optimum_at(p, d, D2)
    residual, W = _least_residual(np.asarray(p), np.asarray(d), (s1, Z1, D1), (s2, Z2, D2))
    threshold = np.sqrt(2 * np.log(2) * (gap1 + gap2)) + 1e-7
    return SuccessiveRefinement(
        residual=jnp.asarray(residual),
        threshold=jnp.asarray(threshold),
        refinable=jnp.asarray(residual <= threshold),
        undecided=jnp.asarray(threshold < residual <= _UNDECIDED * threshold),
        refinement=jnp.asarray(W),
        coarse_slope=jnp.asarray(s1 / unit),
        fine_slope=jnp.asarray(s2 / unit),
        sum_of_gaps=jnp.asarray(gap1 + gap2),
    )


def _optimum_at(p: Array, d: Array, D: float) -> tuple[float, np.ndarray, float]:
    """Slope of R at D, the optimal Z there, and the gap, by bisection of the slope's logarithm."""
    mean = np.asarray(p @ d)
    if mean.min() <= D:
        return 0.0, np.ones(p.size), 0.0
    scale = float(jnp.max(d))
    low, high = -40.0, 40.0
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        curve = rate_distortion_curve(p, d, [2.0**middle / scale], tolerance=1e-13)
        if float(curve.distortion[0]) > D:
            low = middle
        else:
            high = middle
        # D jumps where the curve is straight: there the bisection closes on the critical slope,
        # at which the optimum is not unique, and the linear program mixes its ends.
        if abs(float(curve.distortion[0]) - D) < _CLOSE:
            break
    s = float(curve.slope[0])
    e = np.asarray(d) - np.asarray(d).min(axis=1, keepdims=True)
    return s, 2.0 ** (-s * e) @ np.asarray(curve.output_marginal[0]), float(curve.gap[0])


def _least_residual(
    p: np.ndarray,
    d: np.ndarray,
    coarse: tuple[float, np.ndarray, float],
    fine: tuple[float, np.ndarray, float],
) -> tuple[float, np.ndarray]:
    """Least residual over all optimal pairs and all W, by one linear program.

    Unknowns are q1, J(u1,u2) and for each equation a slack above and one below, whose sum is least.
    Each of `coarse` and `fine` is (slope, Z, D).
    """
    (s1, Z1, D1), (s2, Z2, D2) = coarse, fine
    used = p > 0
    p, d, Z1, Z2 = p[used], d[used], Z1[used], Z2[used]
    (ys, us), e = d.shape, d - d.min(axis=1, keepdims=True)
    A1, A2 = 2.0 ** (-s1 * e) / Z1[:, None], 2.0 ** (-s2 * e) / Z2[:, None]  # Q = q A
    eye, ones = np.eye(us), np.ones((1, us))
    # Every row is a linear form of (q1, J) and the number it should equal; J has index (u1, u2).
    rows = [
        # p_y (Q1(u1|y) - sum_u2 Q2(u2|y) W(u1|u2)) = 0
        (
            np.concatenate(
                [
                    np.einsum("y,yu,uv->yuv", p, A1, eye).reshape(ys * us, us),
                    -np.einsum("y,yw,uv->yuvw", p, A2, eye).reshape(ys * us, us * us),
                ],
                axis=1,
            ),
            np.zeros(ys * us),
        ),
        # p_y (sum_u Q(u|y) - 1) = 0, coarse and fine
        (np.concatenate([p[:, None] * A1, np.zeros((ys, us * us))], axis=1), p),
        (np.concatenate([np.zeros((ys, us)), np.kron(ones, p[:, None] * A2)], axis=1), p),
        # mean distortions
        (np.concatenate([(p @ (A1 * d))[None], np.zeros((1, us * us))], axis=1), [D1]),
        (np.concatenate([np.zeros((1, us)), np.kron(ones, (p @ (A2 * d))[None])], axis=1), [D2]),
    ]
    # Beyond D_max a smaller distortion is as good.
    rows = rows[:3] + [row for row, s in zip(rows[3:], (s1, s2), strict=True) if s > 0]
    M = np.concatenate([row for row, _ in rows])
    b = np.concatenate([np.asarray(value) for _, value in rows])
    n, k = us + us * us, b.size
    # q1 and J are distributions: each sums to one, exactly.
    total = np.concatenate([np.ones(us), np.zeros(us * us + 2 * k)])
    both = np.concatenate([np.zeros(us), np.ones(us * us), np.zeros(2 * k)])
    found = scipy.optimize.linprog(
        np.concatenate([np.zeros(n), np.ones(2 * k)]),
        A_eq=np.concatenate([np.concatenate([M, np.eye(k), -np.eye(k)], axis=1), [total, both]]),
        b_eq=np.concatenate([b, [1.0, 1.0]]),
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if found.x is None:
        raise RuntimeError(f"the linear program was not solved: {found.message}")
    J = np.maximum(found.x[us:n].reshape(us, us).T, 0.0)
    mass = J.sum(axis=1, keepdims=True)
    W = np.where(mass > 1e-12, J / np.maximum(mass, 1e-300), 1 / us)
    return float(found.fun), W
