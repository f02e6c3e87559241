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
from rdsim.limits.rate_distortion._interior_point import interior_point
from rdsim.limits.rate_distortion.mixtures import gaussian_sum
from rdsim.limits.rate_distortion.mixtures.maxima import local_maxima
from rdsim.limits.rate_distortion.mixtures.moves import (
    Mixture,
    evaluated,
    half_squares,
    merged_and_moved,
)

# Lengths are in kernel widths (standard deviations of the kernel), objectives in nats.
_ROUNDS: Final = 30
_SPACING: Final = 0.8
"""Distance of neighbours on the lattice of first atoms: kernels so close sum to a constant within 1e-13."""
_MOVING_ROUNDS: Final = 2
"""Rounds in which atoms move at least; further ones as long as each divides the excess by four."""
_MERGING_RADIUS: Final = 0.3
"""Distance, in standard deviations of the kernel, within which atoms that climb to one maximiser of c are merged."""
_LATTICE: Final = 4096
"""Atoms of the first lattice at most; if it had more, the source points are the first atoms."""
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
            state = merged_and_moved(z, p, state, _MERGING_RADIUS, tolerance)
        # How good is the mixture? Cheaply, by the maxima that climbing finds; if those pass, proved.
        nu, cost = _lowered_dual(z, p, state.nu, cells, tolerance)
        left = _values_of_c(z, nu, local_maxima(z, nu, cells, 1 + tolerance / 8))
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
        peaks = local_maxima(z, state.nu, cells, 1 + tolerance / 8)
        entering, seen = _entering(z, state, peaks, tolerance)
        if excess <= 2 * tolerance or not len(entering):
            highest = gaussian_sum.largest_value(z, state.nu, tolerance / 8).place[None]
            entering, seen = _entering(z, state, np.concatenate([peaks, highest]), tolerance)
        if not len(entering):
            break
        v = np.concatenate([state.v, entering])
        q = np.concatenate([state.q, np.zeros(len(entering))])
        # A warm start as far from the last weights as c exceeds one: the new atoms need some mass
        # to grow from.
        mixing = min(max(seen, 1e-8), 0.5)
        state = _with_optimal_weights(z, p, v, q, mixing, tolerance / 8)
    merged = merged_and_moved(z, p, best, _MERGING_RADIUS, tolerance)
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
    z: np.ndarray, state: Mixture, peaks: np.ndarray, tolerance: float
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
        u = local_maxima(z, nu, cells, 1 + tolerance / 16)
        height = np.log(_values_of_c(z, nu, u))
        u, height = u[height > tolerance / 16], height[height > tolerance / 16]
        if not len(u):
            break
        # ln nu falls by a: by ln c within reach of a maximiser, beyond it less, as a Gaussian does.
        a = np.zeros(len(z))
        chunk = max(1, _PAIRS_A_CHUNK // len(z))
        for start in range(0, len(u), chunk):
            part = slice(start, start + chunk)
            beyond = np.maximum(np.sqrt(2 * half_squares(z, u[part])) - _LOWERING_REACH, 0.0)
            a = np.maximum(a, np.max(height[part] * np.exp(-2 * beyond**2), axis=1))
        nu = nu * np.exp(-_LOWERING_EXCESS * a)
        cost += _LOWERING_EXCESS * float(p @ a)
    return nu, cost


def _lattice(z: np.ndarray) -> np.ndarray:
    """A lattice over the points, or the points if they are fewer."""
    # A regular lattice: kernels at its distance sum to a constant, so that every place is
    # covered.
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


def _values_of_c(z: np.ndarray, nu: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Values of c at the points u, shape (M,); an infinite nu counts where its kernel is above zero."""
    kernel = np.exp(-half_squares(z, u)) if len(u) else np.zeros((len(z), 0))
    beyond = np.isinf(nu)
    return np.where(beyond, 0.0, nu) @ kernel + np.where(kernel[beyond] > 0, np.inf, 0.0).sum(
        axis=0
    )


def _with_optimal_weights(
    z: np.ndarray, p: np.ndarray, v: np.ndarray, start: np.ndarray, mixing: float, tolerance: float
) -> Mixture:
    """Solve for the weights of the given atoms by the interior point, and drop idle atoms."""
    energy = half_squares(z, v)
    # Each row is divided by its largest entry: no shift changes the minimiser, and nothing
    # underflows.
    K = np.exp(energy.min(axis=1)[:, None] - energy)
    with np.errstate(all="ignore"):  # a step that leaves the numbers is not taken
        q, w = interior_point(K, p, start / start.sum(), mixing, tolerance / LN2)
    return _pruned(z, p, v, q / q.sum(), (q > w) | (w < _IDLE), tolerance)


def _pruned(
    z: np.ndarray, p: np.ndarray, v: np.ndarray, q: np.ndarray, active: np.ndarray, tolerance: float
) -> Mixture:
    """Drop the inactive atoms, but not those without which c exceeds one at their place.

    An atom far out in the tail has so little weight that the interior point cannot tell it from
    an idle one, but without it c rises there. Active-set rounds: what is missed comes back.
    """
    for _ in range(_PRUNING_ROUNDS):
        if not active.any():
            break
        state = evaluated(z, p, v[active], q[active] / q[active].sum())
        missed = ~active & (_values_of_c(z, state.nu, v) > 1 + tolerance)
        if not missed.any():
            return state
        active = active | missed
    return evaluated(z, p, v, q)


def _apart(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """Keep the new places that coincide with none of the old ones nor with each other."""
    chosen: list[np.ndarray] = []
    for u in new:
        others = np.concatenate([old, np.array(chosen).reshape(-1, old.shape[1])])
        if np.min(np.sum((others - u) ** 2, axis=1)) > 1e-16:
            chosen.append(u)
    return np.array(chosen).reshape(-1, old.shape[1])


def _result(z: np.ndarray, p: np.ndarray, state: Mixture, dual: np.ndarray, excess: float) -> Atoms:
    """Order the atoms and measure the distortion of their test channel."""
    energy = half_squares(z, state.v)
    weight = np.exp(energy.min(axis=1)[:, None] - energy) * state.q
    channel = weight / weight.sum(axis=1)[:, None]
    order = np.lexsort(state.v.T[::-1])
    spent = float(p @ np.sum(channel * energy, axis=1))
    return Atoms(state.v[order], state.q[order], state.objective, spent, dual, excess)
