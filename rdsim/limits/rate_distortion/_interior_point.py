r"""The optimal output marginal of one slope: a primal-dual interior point.

For a kernel $K_{yu} = 2^{-s d(y,u)}$ the rate-distortion problem at slope s is

$$\min_{q \ge 0} \; \sum_u q_u - \sum_y p_y \ln (Kq)_y ,$$

whose minimiser sums to one. With $Z = Kq$, $\nu = p/Z$ and $c = K^T \nu$ it is optimal if and only
if $w = 1 - c \ge 0$ and $q_u w_u = 0$: these are the conditions that Newton's method solves below,
all but the two products $\nu Z = p$ and $q w = \mu \to 0$ being linear (Koenker and Mizera 2014;
Mehrotra 1992 for the predictor and corrector). The corrector cycles in about one of a hundred
thousand problems: a late step that follows one without progress is a plain centring step, of one
length for primal and dual. Plain Blahut-Arimoto is $q \leftarrow q c$.

Row shifts replace the log domain: multiplying a row of K by a constant changes no minimiser, so each
row is divided by its largest entry. Then $Z_y \ge p_y$ at the optimum ($c_u \le 1$ at the row's own
best letter), and nothing that matters can underflow, however large the slope.

Arrays of NumPy are solved on the host, those of JAX in compiled code: the steps are written once. A kernel with
structure (`_separable`) brings its products and the solution of its Newton equations.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from jaxtyping import Float

from rdsim.namespaces import on_numpy, positive_definite_solver, select, while_loop

_MAX_NEWTON_STEPS: Final = 60
"""Most Newton steps; the gap that is left after them is reported as it is."""
_BOUNDARY: Final = 0.995
"""Fraction of the way to the boundary of the positive orthant that one step may go: on random problems of twenty letters
.9 took 11.7 steps on average, .995 takes 7.4, and .9995 took 6.6 (measured)."""
_SETTLED: Final = 10
"""Steps by which most problems are solved; only later ones are suspected of cycling."""
_CENTRING: Final = 0.3
"""Target of a step without corrector, in units of the mean product q w."""
RIDGE: Final = 1e-14
"""Added to the diagonal of the Newton matrix, relative to it: duplicate columns stay factorisable. It
moves no solution, for the right-hand side is exact."""


def shifted_kernel(excess: Float[Any, "y u"], slope: Any) -> Float[Any, "y u"]:
    r"""$2^{-s e}$ with $e \ge 0$; 0 where e is infinite (also at s = 0), 1 where e = 0 (at s = inf).

    Its derivatives are $-s \ln 2\, 2^{-s e}$ also at e = 0, and zero at s = inf.
    """
    xp = excess.__array_namespace__()
    finite = (excess < xp.inf) & (slope < xp.inf)
    if on_numpy(excess, slope) and finite.all():
        return np.exp2(-slope * excess)  # the same numbers, in one pass over the table
    exponent = xp.where(finite, slope, 0.0) * xp.where(finite, excess, 0.0)
    return xp.where(finite, xp.exp2(-exponent), xp.where(excess > 0, 0.0, 1.0))


class Newton(NamedTuple):
    """State of the interior point. Invariant: q, nu and w = 1 - K^T nu are positive, nu where p is."""

    q: Float[Any, " u"]  # primal, not scaled to sum to one
    nu: Float[Any, " y"]  # dual variables of the rows
    w: Float[Any, " u"]  # dual slacks of the letters
    gap: Any  # certified, bits, of q scaled to sum to one
    least: Any  # least mean of q w so far: it falls unless the corrector cycles
    steps: Any
    alive: Any  # whether the last step kept the invariant; else the one before is kept


def interior_point(
    K: Any,
    p: Float[Any, " y"],
    q_start: Float[Any, " u"],
    mixing: Any,
    tolerance: Any,
) -> tuple[Float[Any, " u"], Float[Any, " u"]]:
    r"""Minimise over the columns of K, each row of which has a positive entry.

    Args:
        K: kernel, row-shifted, shape (|Y|, k): an array, whose columns of zeros are harmless padding, or a kernel with
            structure.
        p: source pmf, shape (|Y|,).
        q_start: where to start, a pmf, shape (k,); zeros allowed.
        mixing: how much of the uniform pmf to mix into the start, in (0, 1): near 1 for a cold
            start, about the expected gap for a warm one.
        tolerance: certified gap in bits among these columns at which to stop.

    Returns:
        The pmf q and the dual slacks w, both (k,). Letter u is active where q > w.

    """
    end = primal_dual(K, p, q_start, mixing, tolerance)
    return end.q / end.q.sum(), end.w


def primal_dual(
    K: Any,
    p: Float[Any, " y"],
    q_start: Float[Any, " u"],
    mixing: Any,
    tolerance: Any,
) -> Newton:
    """Take the steps of `interior_point`, whose arguments these are: Mehrotra's predictor-corrector.

    Each step factorises the normal equations of the letters once, H + diag(w / q), and solves them
    twice: for the affine predictor, and for the corrector with the centring that it calls for.
    """
    xp, size = K.__array_namespace__(), K.shape[1]
    # A strictly positive start: q mixed with the uniform pmf, its dual shrunk until every w > 0.
    q = (1 - mixing) * q_start + mixing / size
    nu = p / (K @ q)
    c = nu @ K
    # After the division the largest c is 1 - mixing, so that every slack is at least that of
    # `mixing`: far from the boundary for a cold start, as close as the expected gap for a warm
    # one.
    nu, w = nu * (1 - mixing) / xp.max(c), 1 - c * (1 - mixing) / xp.max(c)
    infinite = xp.asarray(xp.inf)
    return while_loop(
        lambda now: now.alive & (now.gap > tolerance) & (now.steps < _MAX_NEWTON_STEPS),
        lambda now: _newton(K, p, now),
        Newton(q, nu, w, infinite, infinite, xp.asarray(0), xp.asarray(True)),
    )


# None of these functions is defined inside another: on the host every step would define it anew.


def _newton(K: Any, p: Any, state: Newton) -> Newton:
    """One step of predictor and corrector."""
    q, nu, w = state.q, state.nu, state.w
    xp, size = K.__array_namespace__(), K.shape[1]
    Z = K @ q
    mu = (q @ w) / size
    # Eliminating dw and dnu leaves these equations for dq.
    solve = _normal_equations(K, nu / Z, q, w)
    # Predictor: straight for q w = 0. How far it could go says how much centring is needed.
    # The linear conditions w = 1 - K^T nu hold from the start and after every step of any length;
    # only the products have to be solved for.
    dq, dZ, dnu, dw = _direction(K, p, Z, state, solve, (0.0, 0.0, 0.0))
    primal, dual = _step_sizes(state, dq, dnu, dw, 1.0)
    mu_predicted = ((q + primal * dq) @ (w + dual * dw)) / size
    # Corrector: Mehrotra's cube of the predicted decrease, and the predictor's second order.
    cycling = (state.steps >= _SETTLED) & (mu >= state.least)
    target = mu * xp.where(cycling, _CENTRING, (mu_predicted / mu) ** 3)
    corrector = xp.where(cycling, 0.0, 1.0)
    terms = (target, corrector * dq * dw, corrector * dnu * dZ)
    dq, _, dnu, dw = _direction(K, p, Z, state, solve, terms)
    primal, dual = _step_sizes(state, dq, dnu, dw, _BOUNDARY)
    both = xp.minimum(primal, dual)
    primal, dual = xp.where(cycling, both, primal), xp.where(cycling, both, dual)
    q, nu, w = q + primal * dq, nu + dual * dnu, w + dual * dw
    # The gap is that of q alone (C5), not of nu and w: it is certified whatever the steps do.
    gap = xp.log2(xp.max((p / (K @ (q / q.sum()))) @ K))
    alive = xp.isfinite(gap) & xp.all(q > 0) & xp.all(w > 0)
    after = Newton(q, nu, w, gap, xp.minimum(state.least, mu), state.steps + 1, alive)
    return select(alive, after, state)._replace(alive=alive, steps=state.steps + 1)


def _normal_equations(K: Any, weight: Any, q: Any, w: Any) -> Callable[[Any], Any]:
    """Return b -> x with (H + diag(w / q)) x = b, where H = K^T diag(weight) K is -d c / d q."""
    if hasattr(K, "normal_equations"):
        solve: Callable[[Any], Any] = K.normal_equations(weight, q, w)
        return solve
    xp = K.__array_namespace__()
    scaled = K * xp.sqrt(weight)[:, None]  # a product with itself takes half the flops
    H = scaled.T @ scaled
    return positive_definite_solver(H + xp.diag(w / q + RIDGE * xp.diagonal(H)))


def _direction(
    K: Any, p: Any, Z: Any, state: Newton, solve: Callable[[Any], Any], terms: tuple[Any, Any, Any]
) -> tuple[Any, Any, Any, Any]:
    """Solve the linearised conditions q w + qw = target and nu Z + nuZ = p.

    The terms are the target, and those of second order of the predictor, dq dw and dnu dZ.
    """
    target, qw, nuZ = terms
    # Elimination: dw = -K^T dnu from the linear condition, dnu = row - nu/Z K dq from the
    # products of the rows; put into the products of the letters they leave (H + diag(w/q)) dq =
    # right-hand side.
    row = (p - state.nu * Z - nuZ) / Z
    dq = solve((target - state.q * state.w - qw) / state.q + row @ K)
    dZ = K @ dq
    dnu = row - state.nu / Z * dZ
    return dq, dZ, dnu, -(dnu @ K)


def _step_sizes(state: Newton, dq: Any, dnu: Any, dw: Any, fraction: float) -> tuple[Any, Any]:
    """The primal and the dual step size, at most 1, that keep the state positive (ratio test)."""
    xp = dq.__array_namespace__()
    # The largest relative fall: 1 over the steps that reach the boundary.
    primal = xp.max(-dq / state.q)
    nu = xp.where(state.nu > 0, state.nu, 1.0)  # rows without mass have none, and keep it
    dual = xp.maximum(xp.max(-dnu / nu), xp.max(-dw / state.w))
    return (
        fraction / xp.maximum(primal, fraction),
        fraction / xp.maximum(dual, fraction),
    )


def dense(
    p: Float[Any, " y"],
    K: Float[Any, "y u"],
    tolerance: Any,
) -> tuple[Float[Any, " u"], Float[Any, " u"]]:
    """All letters at once: equal work for every slope, so it batches well (the accelerator's way)."""
    xp, letters = K.__array_namespace__(), K.shape[1]
    return interior_point(K, p, xp.full(letters, 1.0 / letters), 0.5, tolerance / 4)
