r"""The optimal reproduction points of one slope, moving in continuous space (C7).

In units of the kernel's standard deviation the problem is the maximum likelihood of a mixture of
unit Gaussians: minimise $-\sum_y p_y \ln \sum_j q_j e^{-|z_y - v_j|^2/2}$ over atoms v and weights
q. It is convex in the mixing measure (Lindsay 1983), and optimal if and only if
$c(u) = \sum_y \nu_y e^{-|z_y - u|^2/2} \le 1$ for every u, $\nu = p/Z$. Column generation, whose
columns are the points u of space, in rounds of

1. weights of the present atoms, by the interior point; atoms without weight leave;
2. atoms that share one maximiser of c are merged, then atoms and weights take joint Newton
   steps (only where that does not raise the objective);
3. pricing: maximisers of c over the whole space enter where c exceeds one,

until the dual $\nu$, lowered a little where c exceeds one, proves the tolerance by the bound
on c that `gaussian_sum.largest_value` gives. Host code: the numbers of atoms, maximisers and cells
change from round to round.
"""

import math
from typing import Final, NamedTuple

import numpy as np

from rdsim.information import LN2
from rdsim.limits.rate_distortion import _gaussian_sum as gaussian_sum
from rdsim.limits.rate_distortion._interior_point import interior_point

# Lengths are in kernel widths (standard deviations of the kernel), objectives in nats.
_ROUNDS: Final = 30
_SPACING: Final = 0.8
"""Of the lattice of first atoms: kernels so close sum to a constant within 1e-13."""
_MOVING_ROUNDS: Final = 2
"""Rounds in which atoms move at least; further ones as long as each divides the excess by four."""
_MERGING_RADIUS: Final = 0.3
"""Distance, in standard deviations of the kernel, within which atoms that climb to one maximiser of c are merged."""
_NEWTON_STEPS: Final = 12
"""Most joint Newton steps of a round: they converge quadratically, and what is left is the next round's work."""
_NEWTON_UNKNOWNS: Final = 80
"""Coordinates and weights beyond which atoms do not move: they are so dense that weights suffice."""
_LATTICE: Final = 4096
"""Atoms of the first lattice at most; if it had more, the source points are the first atoms."""
_HALVINGS: Final = 6
"""Of the step size of a line search."""
_ROUNDING: Final = 1e-14
"""Differences of the objective below this are rounding."""
_FLAT: Final = 1e-12
"""Least curvature that a Newton step divides by, relative to the diagonal of the Hessian."""
_LOWERING_ROUNDS: Final = 8
"""Most times that the dual is lowered where c passes 1; a few suffice near the optimum, elsewhere the bound is only looser."""
_LOWERING_REACH: Final = 1.0
"""Points nearer to a maximiser of c than this contribute most of c; their dual is lowered in full."""
_LOWERING_EXCESS: Final = 1.5
"""Factor on what the dual is lowered by: farther points, which contribute too, are lowered less."""
_IDLE: Final = 1e-6
"""Least dual slack of an atom that may leave; where c is flat, all atoms are of use."""
_PRUNING_ROUNDS: Final = 6
"""Most active-set rounds; an idle atom that is still there after them costs an atom, and no accuracy."""
_LARGEST_LOG: Final = 600.0
"""Of the dual nu: beyond this nothing is certified."""
_PAIRS_A_CHUNK: Final = 4_000_000
"""Pairs of a point and a maximiser held in memory at once."""


class Atoms(NamedTuple):
    r"""An output distribution, and what was proved of it; lengths in kernel widths, rates in nats.

    Attributes:
        places: v, shape (k, d).
        weights: q, shape (k,).
        lagrangian: $-\sum p \ln Z$.
        energy: $\sum p Q |z - v|^2 / 2$, the slope times the distortion.
        dual: $\nu' \ge 0$, shape (N,), which proves the excess.
        excess: proved bound, at least 0, on how far the Lagrangian lies above the least one.

    """

    places: np.ndarray
    weights: np.ndarray
    lagrangian: float
    energy: float
    dual: np.ndarray
    excess: float


class _Mixture(NamedTuple):
    """Atoms and weights, the objective, and the dual nu = p / Z; built by `_evaluated` only."""

    v: np.ndarray
    q: np.ndarray
    objective: float
    nu: np.ndarray


def solve_atoms(z: np.ndarray, p: np.ndarray, tolerance: float) -> Atoms:
    """Find atoms and weights whose proved excess is at most `tolerance` nats, if it can.

    Args:
        z: source points in kernel widths, shape (N, d).
        p: their weights, all positive, shape (N,).
        tolerance: of the Lagrangian, nats.

    Returns:
        The best mixture found, with its proved excess, whether or not that is within the tolerance.

    """
    cells = gaussian_sum.cells_over(z)
    v = _lattice(z)
    state = _with_optimal_weights(z, p, v, np.full(len(v), 1 / len(v)), 0.5, tolerance / 8)
    moving, best, best_excess = True, state, math.inf
    for step in range(_ROUNDS):
        if moving:
            state = _merged_and_moved(z, p, state, _MERGING_RADIUS, tolerance)
        # How good is the mixture? Cheaply, by the maxima that climbing finds; if those pass, proved.
        nu, cost = _lowered_dual(z, p, state.nu, cells, tolerance)
        left = _values_of_c(z, nu, gaussian_sum.local_maxima(z, nu, cells, 1 + tolerance / 8))
        excess = cost + math.log(np.max(left, initial=1.0))
        if excess <= tolerance:
            excess = _proved_excess(z, nu, cost, tolerance)
        # Where c is flat, places matter less than having enough of them: only weights are solved.
        moving = moving and (step < _MOVING_ROUNDS or excess < best_excess / 4)
        if excess < best_excess:
            best, best_excess = state, excess
        if excess <= tolerance:
            break
        # Pricing. Near the tolerance, or if climbing finds nothing, with the highest place of the
        # proof besides: climbing may miss a very flat maximum.
        peaks = gaussian_sum.local_maxima(z, state.nu, cells, 1 + tolerance / 8)
        entering, seen = _entering(z, state, peaks, tolerance)
        if excess <= 2 * tolerance or not len(entering):
            highest = gaussian_sum.largest_value(z, state.nu, tolerance / 8).place[None]
            entering, seen = _entering(z, state, np.concatenate([peaks, highest]), tolerance)
        if not len(entering):
            break
        v = np.concatenate([state.v, entering])
        q = np.concatenate([state.q, np.zeros(len(entering))])
        mixing = min(max(seen, 1e-8), 0.5)
        state = _with_optimal_weights(z, p, v, q, mixing, tolerance / 8)
    merged = _merged_and_moved(z, p, best, _MERGING_RADIUS, tolerance)
    candidates = [merged, best] if len(merged.q) < len(best.q) else [best]
    for mixture in candidates:  # as few atoms as can be proved
        nu, cost = _lowered_dual(z, p, mixture.nu, cells, tolerance)
        excess = _proved_excess(z, nu, cost, tolerance)
        if excess <= tolerance:
            break
    return _result(z, p, mixture, nu, excess)


def _proved_excess(z: np.ndarray, nu: np.ndarray, cost: float, tolerance: float) -> float:
    """Bound the excess of the Lagrangian by the dual nu, whose lowering has cost so many nats."""
    bound = gaussian_sum.largest_value(z, nu, tolerance / 8)
    return cost + math.log(max(bound.upper, 1.0))


def _entering(
    z: np.ndarray, state: _Mixture, peaks: np.ndarray, tolerance: float
) -> tuple[np.ndarray, float]:
    """Choose the peaks that become atoms, and say by how much c exceeds one at the highest."""
    values = _values_of_c(z, state.nu, peaks)
    seen = float(np.max(values, initial=1.0)) - 1
    return _apart(peaks[values > 1 + max(tolerance / 8, 1e-3 * seen)], state.v), seen


def _lowered_dual(
    z: np.ndarray, p: np.ndarray, nu: np.ndarray, cells: gaussian_sum.Cells, tolerance: float
) -> tuple[np.ndarray, float]:
    r"""Lower the dual where c exceeds one; return it with what that costs the bound, in nats.

    Any $\nu' \ge 0$ proves $\sum p \ln (\nu' / p) - \ln \max c'$. With $\nu' = \nu e^{-a}$ the first
    term falls by $\sum p a$ only: next to nothing in the tails, where c is slow to settle and where
    the plain bound would charge its excess to the whole source.
    """
    cost = 0.0
    if not np.all(np.isfinite(nu)):
        return nu, cost
    for _ in range(_LOWERING_ROUNDS):
        u = gaussian_sum.local_maxima(z, nu, cells, 1 + tolerance / 16)
        height = np.log(_values_of_c(z, nu, u))
        u, height = u[height > tolerance / 16], height[height > tolerance / 16]
        if not len(u):
            break
        # ln nu falls by a: by ln c within reach of a maximiser, beyond it less, as a Gaussian does.
        a = np.zeros(len(z))
        chunk = max(1, _PAIRS_A_CHUNK // len(z))
        for start in range(0, len(u), chunk):
            part = slice(start, start + chunk)
            beyond = np.maximum(np.sqrt(2 * _half_squares(z, u[part])) - _LOWERING_REACH, 0.0)
            a = np.maximum(a, np.max(height[part] * np.exp(-2 * beyond**2), axis=1))
        nu = nu * np.exp(-_LOWERING_EXCESS * a)
        cost += _LOWERING_EXCESS * float(p @ a)
    return nu, cost


def _lattice(z: np.ndarray) -> np.ndarray:
    """A lattice over the points, or the points if they are fewer."""
    axes = [
        np.linspace(low, high, math.ceil((high - low) / _SPACING) + 1)
        if high > low
        else np.array([low])
        for low, high in zip(z.min(axis=0), z.max(axis=0), strict=True)
    ]
    if math.prod(map(len, axes)) > min(len(z), _LATTICE):
        return z
    lattice = np.stack([x.ravel() for x in np.meshgrid(*axes, indexing="ij")], axis=1)
    nearest = np.array([np.min(np.sum((z - v) ** 2, axis=1)) for v in lattice])
    return lattice[nearest <= 1.0 + nearest.min()]


def _half_squares(z: np.ndarray, v: np.ndarray) -> np.ndarray:
    return sum((z[:, i, None] - v[:, i]) ** 2 for i in range(z.shape[1])) / 2


def _values_of_c(z: np.ndarray, nu: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Values of c at the points u, shape (M,); an infinite nu counts where its kernel is above zero."""
    kernel = np.exp(-_half_squares(z, u)) if len(u) else np.zeros((len(z), 0))
    beyond = np.isinf(nu)
    return np.where(beyond, 0.0, nu) @ kernel + np.where(kernel[beyond] > 0, np.inf, 0.0).sum(
        axis=0
    )


def _evaluated(z: np.ndarray, p: np.ndarray, v: np.ndarray, q: np.ndarray) -> _Mixture:
    """Objective and dual of a mixture, without underflow: each row is shifted by its nearest atom."""
    energy = _half_squares(z, v)
    shift = energy.min(axis=1)
    log_z = np.log(np.exp(shift[:, None] - energy) @ q) - shift
    log_nu = np.log(p) - log_z
    nu = np.exp(np.minimum(log_nu, _LARGEST_LOG))
    if log_nu.max() > _LARGEST_LOG:
        nu = np.where(log_nu > _LARGEST_LOG, np.inf, nu)
    return _Mixture(v, q, float(-p @ log_z), nu)


def _with_optimal_weights(
    z: np.ndarray, p: np.ndarray, v: np.ndarray, start: np.ndarray, mixing: float, tolerance: float
) -> _Mixture:
    """Solve for the weights of the given atoms by the interior point, and drop idle atoms."""
    energy = _half_squares(z, v)
    K = np.exp(energy.min(axis=1)[:, None] - energy)
    with np.errstate(all="ignore"):  # a step that leaves the numbers is not taken
        q, w = interior_point(K, p, start / start.sum(), mixing, tolerance / LN2)
    return _pruned(z, p, v, q / q.sum(), (q > w) | (w < _IDLE), tolerance)


def _pruned(
    z: np.ndarray, p: np.ndarray, v: np.ndarray, q: np.ndarray, active: np.ndarray, tolerance: float
) -> _Mixture:
    """Drop the inactive atoms, but not those without which c exceeds one at their place.

    An atom far out in the tail has so little weight that the interior point cannot tell it from
    an idle one, but without it c rises there. Active-set rounds: what is missed comes back.
    """
    for _ in range(_PRUNING_ROUNDS):
        if not active.any():
            break
        state = _evaluated(z, p, v[active], q[active] / q[active].sum())
        missed = ~active & (_values_of_c(z, state.nu, v) > 1 + tolerance)
        if not missed.any():
            return state
        active = active | missed
    return _evaluated(z, p, v, q)


def _merged_and_moved(
    z: np.ndarray, p: np.ndarray, state: _Mixture, radius: float, tolerance: float
) -> _Mixture:
    """Merge neighbours and let atoms and weights move, if that does not raise the objective."""
    if state.v.size + state.q.size > _NEWTON_UNKNOWNS:
        return state
    merged = _merged(z, p, state, radius) if radius > 0 else state
    after = _newton(z, p, merged)
    if after.objective <= state.objective + tolerance / 16:
        return after
    return _newton(z, p, state) if len(merged.q) < len(state.q) else state


def _merged(z: np.ndarray, p: np.ndarray, state: _Mixture, radius: float) -> _Mixture:
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
    return _evaluated(z, p, np.array(v), np.array(q)) if len(q) < len(state.q) else state


def _newton(z: np.ndarray, p: np.ndarray, state: _Mixture) -> _Mixture:
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
    state: _Mixture,
    dq: np.ndarray,
    dv: np.ndarray,
    gradient: np.ndarray,
) -> _Mixture | None:
    """Halve the step until the objective falls, with all weights positive and no atom moved far.

    Where the objective changes by rounding only, a step is taken if it halves the gradient. None
    if no step improves.
    """
    shrinking = dq < -0.9 * state.q
    reach = min(1.0, 0.9 * np.min(-state.q[shrinking] / dq[shrinking], initial=np.inf))
    reach = min(reach, 0.5 / max(float(np.max(np.abs(dv))), 1e-300))
    for _ in range(_HALVINGS):
        q = state.q + reach * dq
        moved = _evaluated(z, p, state.v + reach * dv, q / q.sum())
        gain = state.objective - moved.objective
        if gain > _ROUNDING:
            return moved
        if gain > -_ROUNDING:
            there, _ = _derivatives(z, moved)
            return moved if np.max(np.abs(there)) < 0.5 * np.max(np.abs(gradient)) else None
        reach /= 2
    return None


def _derivatives(z: np.ndarray, state: _Mixture) -> tuple[np.ndarray, np.ndarray]:
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
    hessian = (jacobian / p[:, None]).T @ jacobian
    curvature = np.einsum("nk,nki,nkj->kij", nu_K, offset, offset, optimize=True)
    curvature -= c[:, None, None] * np.eye(d)
    for j in range(k):
        rows = k + d * j + np.arange(d)
        hessian[j, rows] -= pull[j]
        hessian[rows, j] -= pull[j]
        hessian[np.ix_(rows, rows)] -= q[j] * curvature[j]
    return hessian


def _apart(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """Keep the new places that coincide with none of the old ones nor with each other."""
    kept: list[np.ndarray] = []
    for u in new:
        others = np.concatenate([old, np.array(kept).reshape(-1, old.shape[1])])
        if np.min(np.sum((others - u) ** 2, axis=1)) > 1e-16:
            kept.append(u)
    return np.array(kept).reshape(-1, old.shape[1])


def _result(
    z: np.ndarray, p: np.ndarray, state: _Mixture, dual: np.ndarray, excess: float
) -> Atoms:
    """Order the atoms and measure the distortion of their test channel."""
    energy = _half_squares(z, state.v)
    weight = np.exp(energy.min(axis=1)[:, None] - energy) * state.q
    channel = weight / weight.sum(axis=1)[:, None]
    order = np.lexsort(state.v.T[::-1])
    spent = float(p @ np.sum(channel * energy, axis=1))
    return Atoms(state.v[order], state.q[order], state.objective, spent, dual, excess)
