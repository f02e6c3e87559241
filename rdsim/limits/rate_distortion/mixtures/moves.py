r"""A mixture of unit Gaussians, and joint Newton steps of its atoms and weights.

$$\min_{q, v}\ -\sum_y p_y \ln \sum_j q_j e^{-|z_y - v_j|^2/2} + \sum_j q_j.$$

Lengths are in kernel widths (standard deviations of the kernel), objectives in nats.
"""

from typing import Final, NamedTuple

import numpy as np

_NEWTON_STEPS: Final = 12
"""Most joint Newton steps of a round: they converge quadratically, and what is left is the next round's work."""
_NEWTON_UNKNOWNS: Final = 80
"""Coordinates and weights beyond which atoms do not move: they are so dense that weights suffice."""
_HALVINGS: Final = 6
"""Most times that a line search halves its step."""
_ROUNDING: Final = 1e-14
"""Differences of the objective below this are rounding."""
_FLAT: Final = 1e-12
"""Least curvature that a Newton step divides by, relative to the diagonal of the Hessian."""
_LARGEST_LOG: Final = 600.0
"""Largest ln nu of the dual variables: beyond it e^x comes near to overflow, and nothing is certified."""


class Mixture(NamedTuple):
    """Atoms and weights, the objective, and the dual nu = p / Z; built by `evaluated` only."""

    v: np.ndarray
    q: np.ndarray
    objective: float
    nu: np.ndarray


def half_squares(z: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Half the squared distance of every point from every atom."""
    return sum((z[:, i, None] - v[:, i]) ** 2 for i in range(z.shape[1])) / 2


def evaluated(z: np.ndarray, p: np.ndarray, v: np.ndarray, q: np.ndarray) -> Mixture:
    """Objective and dual of a mixture, without underflow: each row is shifted by its nearest atom."""
    energy = half_squares(z, v)
    shift = energy.min(axis=1)
    log_z = np.log(np.exp(shift[:, None] - energy) @ q) - shift
    log_nu = np.log(p) - log_z
    nu = np.exp(np.minimum(log_nu, _LARGEST_LOG))
    if log_nu.max() > _LARGEST_LOG:
        nu = np.where(log_nu > _LARGEST_LOG, np.inf, nu)
    return Mixture(v, q, float(-p @ log_z), nu)


def merged_and_moved(
    z: np.ndarray, p: np.ndarray, state: Mixture, radius: float, tolerance: float
) -> Mixture:
    """Merge neighbours and let atoms and weights move, if that does not raise the objective."""
    if state.v.size + state.q.size > _NEWTON_UNKNOWNS:
        return state
    merged = _merged(z, p, state, radius) if radius > 0 else state
    after = _newton(z, p, merged)
    if after.objective <= state.objective + tolerance / 16:
        return after
    return _newton(z, p, state) if len(merged.q) < len(state.q) else state


def _merged(z: np.ndarray, p: np.ndarray, state: Mixture, radius: float) -> Mixture:
    """Replace atoms nearer than the radius, heaviest first, by their centre of gravity."""
    left = np.ones(len(state.q), bool)
    v, q = [], []
    for heaviest in np.argsort(-state.q):
        if not left[heaviest]:
            continue
        near = left & (np.sum((state.v - state.v[heaviest]) ** 2, axis=1) <= radius**2)
        left &= ~near
        q.append(state.q[near].sum())
        v.append(state.q[near] @ state.v[near] / q[-1])
    return evaluated(z, p, np.array(v), np.array(q)) if len(q) < len(state.q) else state


def _newton(z: np.ndarray, p: np.ndarray, state: Mixture) -> Mixture:
    """Joint Newton steps in places and weights on the objective plus the total weight.

    With the total added, weights are free of the constraint to sum to one, which the optimum meets
    by itself. The Hessian is scaled to a unit diagonal, so that a cut of its eigenvalues has a meaning.
    """
    k, d = state.v.shape
    for _ in range(_NEWTON_STEPS):
        gradient, hessian = _derivatives(z, state)
        if not np.all(np.isfinite(hessian)):
            break
        scale = 1 / np.sqrt(np.maximum(np.abs(np.diagonal(hessian)), 1e-300))
        value, vector = np.linalg.eigh(scale[:, None] * hessian * scale)
        # Magnitudes of the curvatures: of a saddle, too, the step goes downhill.
        curvature = np.maximum(np.abs(value), _FLAT)
        step = -scale * (vector @ ((vector.T @ (scale * gradient)) / curvature))
        moved = _line_search(z, p, state, step[:k], step[k:].reshape(k, d), gradient)
        if moved is None:
            break
        state = moved
    return state


def _line_search(
    z: np.ndarray,
    p: np.ndarray,
    state: Mixture,
    dq: np.ndarray,
    dv: np.ndarray,
    gradient: np.ndarray,
) -> Mixture | None:
    """Halve the step until the objective falls, with all weights positive and no atom moved far.

    Where the objective changes by rounding only, a step is taken if it halves the gradient. None
    if no step improves.
    """
    shrinking = dq < -0.9 * state.q
    # At most nine tenths of a weight may go in one step, and no atom may move by more than half a
    # kernel width: the Hessian says nothing about places farther away.
    reach = min(1.0, 0.9 * np.min(-state.q[shrinking] / dq[shrinking], initial=np.inf))
    reach = min(reach, 0.5 / max(float(np.max(np.abs(dv))), 1e-300))
    for _ in range(_HALVINGS):
        q = state.q + reach * dq
        moved = evaluated(z, p, state.v + reach * dv, q / q.sum())
        gain = state.objective - moved.objective
        if gain > _ROUNDING:
            return moved
        if gain > -_ROUNDING:
            there, _ = _derivatives(z, moved)
            return moved if np.max(np.abs(there)) < 0.5 * np.max(np.abs(gradient)) else None
        reach /= 2
    return None


def _derivatives(z: np.ndarray, state: Mixture) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and Hessian of the objective plus the total weight in (q, v)."""
    q = state.q
    offset = z[:, None] - state.v  # (N, k, d)
    # nu K = p K / Z, without under- or overflow because it is at most 1 near the optimum.
    nu_K = state.nu[:, None] * np.exp(-np.sum(offset**2, axis=2) / 2)
    c, pull = nu_K.sum(axis=0), np.einsum("nk,nki->ki", nu_K, offset)
    gradient = np.concatenate([1 - c, -(q[:, None] * pull).ravel()])
    return gradient, _hessian(offset, nu_K, q, c, pull)


def _hessian(
    offset: np.ndarray, nu_K: np.ndarray, q: np.ndarray, c: np.ndarray, pull: np.ndarray
) -> np.ndarray:
    """Gauss-Newton part of the logarithms, and the second derivatives of the kernels."""
    n, k, d = offset.shape
    p = nu_K @ q  # since K q = Z
    jacobian = np.concatenate([nu_K, (q[:, None] * nu_K[:, :, None] * offset).reshape(n, -1)], 1)
    # Gauss-Newton part: the Hessian of -sum p ln Z is J^T diag(1/p) J, J the derivatives of p ln
    # Z, less sum nu d2Z.
    hessian = (jacobian / p[:, None]).T @ jacobian
    curvature = np.einsum("nk,nki,nkj->kij", nu_K, offset, offset, optimize=True)
    curvature -= c[:, None, None] * np.eye(d)
    for j in range(k):
        rows = k + d * j + np.arange(d)
        hessian[j, rows] -= pull[j]
        hessian[rows, j] -= pull[j]
        hessian[np.ix_(rows, rows)] -= q[j] * curvature[j]
    return hessian
