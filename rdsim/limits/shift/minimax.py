r"""The codebook whose worst source in a divergence ball needs the fewest bits (C24).

$$\min_q \max_{P:\, D(P \| P_0) \le \delta} R(P,q,D),$$

R(P,q,D) of `mismatch`. It is a maximum over slopes too, and convex in P, so that the saddle point is
one over mixtures of scenarios (P, s). The lower bound is C5's, for the best mixture of the scenarios
found (a linear program); the upper bound is branch and bound over the slope. Scenarios are generated
one by one, the worst case of the codebook that is best against those before it.
"""

from typing import Final, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Bool, Float

from rdsim import validation
from rdsim.certified import Certified
from rdsim.information import LN2
from rdsim.limits.rate_distortion.discrete import rate_at
from rdsim.limits.shift._divergence_ball import largest_mean
from rdsim.limits.shift.worst_case import ROUNDING, Ball, worst_source
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.transformations import on_host

_SCENARIOS: Final = 40  # most scenarios (P, s) that are generated


@result
class MinimaxRate:
    r"""The least worst-case rate of one i.i.d. codebook over a divergence ball.

    Attributes:
        rate: $\min_q \max_P R(P,q,D)$ between certified bounds, bits.
        codebook: q whose worst case is the upper bound, shape (|U|,).
        hardest: the P in the ball of largest R(P,q,D) that was found, shape (|Y|,).
        largest_rate: largest R(P,D) of the sources P that were visited, bits; no code whatever that
            serves the whole ball has a smaller rate. It may lie strictly below `rate`.

    """

    rate: Certified
    codebook: Float[Array, " u"]
    hardest: Float[Array, " y"]
    largest_rate: Float[Array, ""]

    @property
    def converged(self) -> Bool[Array, ""]:
        """Whether the bounds met within the tolerance."""
        return self.rate.converged


@on_host
@validation.needs_float64
def minimax_rate(
    p: ArrayLike,
    distortions: ArrayLike,
    divergence: ArrayLike,
    *,
    distortion: ArrayLike,
    tolerance: ArrayLike = 1e-6,
) -> MinimaxRate:
    r"""Compute the least worst-case rate of one i.i.d. codebook over a ball of sources.

    $$\min_q \; \max_{P:\, D(P\|P_0) \le \delta} R(P,q,D).$$

    R(P,q,D) is convex in q but convex in P as well, so the two need not be exchangeable: the
    solution may need several hardest sources. They are generated one by one. For weights $w_i$ on
    pairs $(P_i, s_i)$ every q' obeys

    $$\max_P R(P,q',D) \ge \sum_i w_i \Big(-\sum_y P_i(y) \log_2 Z_i(y) - s_i D\Big)
      - \log_2 \max_u \sum_i w_i \sum_y P_i(y) \frac{2^{-s_i d(y,u)}}{Z_i(y)},$$

    Z taken at any q (concavity of the logarithm, as in C5): the lower bound. The upper bound is
    the worst case of the codebook found, by branch and bound over s and the dual of the ball.

    Args:
        p: P_0, the centre of the ball, shape (|Y|,).
        distortions: d(y,u) >= 0, finite, shape (|Y|, |U|).
        divergence: delta >= 0, bits, a scalar. At 0 the answer is R(P_0, D).
        distortion: D, a scalar, at least the largest D_min over the ball.
        tolerance: gap to reach, bits.

    Returns:
        The rate between its bounds, the codebook, and the hardest source.

    References:
        Sakrison (1969), "The rate distortion function for a class of sources", Inf. Control 15, for
        the class; Dembo and Kontoyiannis (2002) for the mismatch.

    """
    p0 = validation.pmf("p", p)
    d = validation.distortions(distortions, p0, all_finite=True)
    delta = validation.interval("divergence", divergence, low=0.0, high=np.inf, ndim=0)
    D = validation.interval("distortion", distortion, low=0.0, ndim=0)
    target = validation.tolerance(tolerance)
    # Some source of the ball keeps this distortion at any rate, whatever the codebook.
    needed = float(largest_mean(jnp.min(d, axis=1)[None], p0, delta)[0][0])
    if float(D) < needed * (1 - ROUNDING):
        raise ValueError(
            f"distortion must be at least the largest D_min over the ball, {needed!r}, got {float(D)!r}"
        )
    return _minimax(Ball(np.asarray(p0), np.asarray(d), delta, D), target)


def _minimax(ball: Ball, target: Array) -> MinimaxRate:
    """Generate scenarios until the best codebook's worst case meets the bound of their best mixture.

    A cutting-plane method on the convex function q -> sup R(P,q,D) over the ball. Each round adds the pair
    (P, s) that is worst for the present codebook, and finds the codebook that is best against all pairs so
    far. `upper` is the worst case of the best codebook seen, `lower` what a mixture of the pairs proves
    of every codebook: both only improve.
    """
    p, d, D = ball.p, ball.d, float(ball.D)
    tolerance = float(target)
    q = np.full(d.shape[1], 1 / d.shape[1])
    sources, slopes, mixtures = [p], [0.0], [p]
    lower, upper, codebook, hardest, largest = 0.0, np.inf, q, p, 0.0
    for _ in range(_SCENARIOS):
        # The tolerance of the inner problem is a tenth of the whole, since it enters the upper
        # bound in full.
        worst, P, s = worst_source(q, ball, 0.1 * tolerance)
        if worst < upper:
            upper, codebook, hardest = worst, q, P
        if upper - lower <= tolerance:
            break
        sources.append(P)
        slopes.append(s)
        scenarios = _Scenarios(np.array(sources), np.array(slopes), d, D)
        q = _best_codebook(scenarios, q)
        bound, weights = _mixed_bound(scenarios, q)
        lower = max(lower, bound)
        mixtures.append(weights @ scenarios.sources)  # inside the ball, which is convex
    # The largest R(P,D) of a source met on the way is a second lower bound: no codebook serves P with less.
    for P in np.unique([*sources, hardest, *mixtures], axis=0):
        if P @ d.min(axis=1) <= D:
            largest = max(largest, float(rate_at(P, d, ball.D).lower))
    rate = Certified(
        value=jnp.asarray(upper),
        lower=jnp.asarray(min(max(lower, largest), upper)),
        upper=jnp.asarray(upper),
        tolerance=target,
    )
    return MinimaxRate(
        rate=rate,
        codebook=jnp.asarray(codebook),
        hardest=jnp.asarray(hardest),
        largest_rate=jnp.asarray(largest),
    )


class _Scenarios(NamedTuple):
    """Pairs of a source and a slope, under distortions d and the distortion D allowed."""

    sources: np.ndarray  # shape (k, |Y|)
    slopes: np.ndarray  # shape (k,)
    d: np.ndarray
    D: float


def _scenario_costs(scenarios: _Scenarios, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cost of q in each scenario (P, s) in bits, and its dual variables c_u, shape (k, |U|)."""
    sources, slopes, d, D = scenarios
    least = d.min(axis=1)
    kernel = 2.0 ** (-slopes[:, None, None] * (d - least[:, None]))
    # Any positive number in the place of Z leaves the lower bound valid, for it holds of all nu =
    # P/Z.
    Z = np.maximum(kernel @ q, 1e-300)
    cost = np.sum(sources * (slopes[:, None] * least - np.log2(Z)), axis=1) - slopes * D
    return cost, np.einsum("ky,kyu->ku", sources / Z, kernel)


def _best_codebook(scenarios: _Scenarios, q: np.ndarray) -> np.ndarray:
    """The q that minimises the largest cost over the scenarios, by SLSQP in its epigraph form.

    The variables are q and a bound t of all costs, of which t is minimised. What it returns needs no
    certificate: its worst case is evaluated.
    """
    size = q.size
    # Strictly inside the simplex, where no cost is infinite.
    start = 0.99 * q + 0.01 / size
    first = np.append(start, _scenario_costs(scenarios, start)[0].max())

    def slack(x: np.ndarray) -> np.ndarray:
        return x[-1] - _scenario_costs(scenarios, x[:-1])[0]

    def slack_jacobian(x: np.ndarray) -> np.ndarray:
        dual = _scenario_costs(scenarios, x[:-1])[1]
        return np.column_stack([dual / LN2, np.ones(len(dual))])

    found = scipy.optimize.minimize(
        lambda x: x[-1],
        first,
        jac=lambda _: np.append(np.zeros(size), 1.0),
        bounds=[(0.0, 1.0)] * size + [(None, None)],
        constraints=[
            {"type": "ineq", "fun": slack, "jac": slack_jacobian},
            {
                "type": "eq",
                "fun": lambda x: x[:-1].sum() - 1.0,
                "jac": lambda _: np.append(np.ones(size), 0.0),
            },
        ],
        method="SLSQP",
        options={"maxiter": 300, "ftol": 1e-13},
    )
    fitted = np.maximum(found.x[:-1], 0.0)
    return fitted / fitted.sum() if np.all(np.isfinite(fitted)) and fitted.sum() > 0 else start


def _mixed_bound(scenarios: _Scenarios, q: np.ndarray) -> tuple[float, np.ndarray]:
    """The bound certified by the best mixture of the scenarios, and its weights (by HiGHS)."""
    cost, dual = _scenario_costs(scenarios, q)
    k, size = dual.shape
    # max w . cost - theta / ln 2 with theta >= c_u - 1 for every u.
    program = scipy.optimize.linprog(
        np.append(-cost, 1 / LN2),
        A_ub=np.column_stack([dual.T, -np.ones(size)]),
        b_ub=np.ones(size),
        A_eq=[[*np.ones(k), 0.0]],
        b_eq=[1.0],
        bounds=[(0, 1)] * k + [(None, None)],
        method="highs",
    )
    if program.x is None:
        return 0.0, np.full(k, 1 / k)
    w = np.maximum(program.x[:-1], 0.0)
    w = w / w.sum()
    # The linear programme has log2 c replaced by its tangent (c - 1)/ln 2 at one; the bound is
    # evaluated with the logarithm itself, which is tighter. Dual variables below one are taken
    # for one, on the safe side.
    return float(w @ cost - np.log2(max((w @ dual).max(), 1.0))), w
