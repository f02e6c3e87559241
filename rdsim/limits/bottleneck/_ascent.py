r"""Encoders that reach the concave envelope, by column generation from inside (C11).

The linear program of `_envelope` is climbed from inside: an encoder is a set of masses
$m_u = w_u \pi_u$ of its atoms with $\sum_u m_u = P_Y$, feasible at every step. One round is

1. insert the atom that pricing found (column generation), taking its mass from all others;
2. alternating minimisation of Tishby, Pereira and Bialek (1999): its value never falls, but near
   the optimum its error shrinks by a factor close to one;
3. merge copies of one atom;
4. Newton's method on all atoms and the dual variables together, which converges quadratically; its
   result is kept if the value did not fall;
5. price the new dual variables: find the posterior that violates them most.

The value of the encoder bounds the optimum from below, the dual variables, raised by the violation,
from above; a round counts as progress when it closes enough of the gap between the two. Pricing is
a local search, so that the upper bound is an estimate: `_certificate` proves it. In nats; a lane is one
encoder at one slope, and all functions take lanes side by side along the leading axis L.
"""

from typing import Final, NamedTuple

import numpy as np

from rdsim.limits.bottleneck._envelope import (
    OPTIMAL,
    VALUE_ROUNDING,
    Envelope,
    EnvelopeProblem,
    atoms_of,
    gain,
    gradients,
    merge_copies,
    most_violating,
    normalised,
    tilt,
)
from rdsim.limits.bottleneck._newton import newton

_ROUNDS: Final = 40  # rounds of column generation at most
_ALTERNATIONS: Final = 30  # steps of alternating minimisation in a round

_MIN_GAIN: Final = 1e-13
"""A round that raises the value by less than this, in nats, counts as stalled ..."""

_MIN_GAP_FRACTION: Final = 0.01
"""... and so does one that closes less than this fraction of the remaining gap."""

_NEWTON_SCHEDULE: Final = (
    (0.0, False),
    (0.0, True),
    (1e-4, False),
    (1e-4, True),
    (1e-7, False),
    (1e-11, True),
    (1e-15, False),
)
"""What Newton's method tries after each further stalled round, in a cycle, found by trial.

The first entry is the fraction of P_Y below which a mass is set to zero beforehand: an atom whose
mass vanishes only in the limit keeps an equation of its own, which holds the dual variables at a
wrong value. No one threshold fits all problems. The second is whether a singular system is damped.
"""

_CELLS: Final = 2**20
"""Numbers that the largest arrays of a batch of slopes may hold; more slopes are taken in turns."""

_INSERTED: Final = 0.5
"""Fraction of its largest feasible mass that a new atom gets; the alternating steps adjust it."""

_SHRINK: Final = 8.0
"""Divisor of that fraction after a round that lowered the value, which is then undone."""


def _free_slot(masses: np.ndarray, problem: EnvelopeProblem) -> np.ndarray:
    """Free a slot of every lane that uses all n+1 (Caratheodory), without lowering the value.

    More than n posteriors are linearly dependent, and the value is linear in their weights: along
    the dependence, in the direction in which it does not fall, one of the weights comes to zero.
    """
    weights = masses.sum(axis=2)
    full = np.flatnonzero(np.all(weights > 0, axis=1))
    if full.size == 0 or masses.shape[1] <= masses.shape[2]:
        return masses
    w, pi = weights[full], atoms_of(masses[full], problem.py)
    # The last right singular vector spans the dependence: sum_u shift_u pi_u = 0.
    shift = np.linalg.svd(np.swapaxes(pi, 1, 2), full_matrices=True)[2][:, -1]
    # The posteriors sum to one each, hence so does the shift to zero: the total weight is kept
    # too.
    rising = np.sum(shift * gain(pi, problem.lanes(full)), axis=1) >= 0
    shift = np.where(rising[:, None], shift, -shift)
    reach = np.where(shift < 0, w / np.where(shift < 0, -shift, 1.0), np.inf)
    leaving = reach.argmin(axis=1)
    lanes = np.arange(full.size)
    reweighted = (w + reach[lanes, leaving][:, None] * shift)[:, :, None] * pi
    # Rounding may leave a weight some 1e-17 below zero, of which no logarithm could be taken
    # later.
    reweighted = np.maximum(reweighted, 0.0)
    reweighted[lanes, leaving] = 0.0
    # Rounding is repaired letter by letter, so that the masses sum to P_Y exactly.
    total = reweighted.sum(axis=1)
    sound = np.all(total > 0, axis=1)
    masses = masses.copy()
    repaired = reweighted[sound] * (problem.py / total[sound])[:, None]
    masses[full[sound]] = repaired
    return masses


def _insert(
    masses: np.ndarray, atoms: np.ndarray, fractions: np.ndarray, problem: EnvelopeProblem
) -> np.ndarray:
    """Insert an atom into a free slot of each lane with a fraction of its largest feasible mass.

    That mass is the largest w with w atom <= P_Y; all other masses are scaled down, a letter at a
    time, so that the sum stays P_Y.
    """
    py = problem.py
    masses = _free_slot(masses, problem)
    # Ratio test of the simplex method: with a larger weight some letter's mass would fall below
    # zero.
    feasible = np.min(np.where(atoms > 0, py / np.where(atoms > 0, atoms, 1.0), np.inf), axis=1)
    # After `_free_slot` the least weight is zero, unless rounding forbade it; the atom there is
    # overwritten, and its mass goes to the new atom, which takes whatever the scaled others leave
    # of P_Y.
    slot = masses.sum(axis=2).argmin(axis=1)
    scale = (py - (fractions * feasible)[:, None] * atoms) / masses.sum(axis=1)
    others = masses * np.maximum(scale, 0.0)[:, None]
    lanes = np.arange(len(masses))
    others[lanes, slot] = 0.0
    others[lanes, slot] = np.maximum(py - others.sum(axis=1), 0.0)
    return others


def _alternate(masses: np.ndarray, problem: EnvelopeProblem) -> np.ndarray:
    r"""Alternating minimisation of Tishby et al. on whole encoders: their values never fall.

    $P(u|y) \propto w_u e^{(P^T \ln (P\pi_u/P_X))_y / s}$, from the weights and atoms before.
    """
    for _ in range(_ALTERNATIONS):
        # One step is a Blahut-Arimoto step whose distortion is -(P^T ln(P pi_u / P_X))_y / s: for
        # fixed weights and atoms the encoder is the Gibbs distribution, and its marginal gives
        # the next ones. The softmax is taken over u, the first axis, for each letter y: hence the
        # swapped axes.
        w = masses.sum(axis=2, keepdims=True)
        exponent = tilt(atoms_of(masses, problem.py), problem) / problem.slope[:, None, None]
        masses = problem.py * np.swapaxes(normalised(np.swapaxes(exponent + np.log(w), 1, 2)), 1, 2)
    return masses


class _AscentState(NamedTuple):
    """What one round of column generation hands to the next, one entry a lane."""

    masses: np.ndarray  # m_u of the encoder, summing to P_Y, shape (L, k, n)
    value: np.ndarray  # its objective, nats
    dual: np.ndarray  # lambda of the encoder, shape (L, n)
    entering: np.ndarray  # the atom that violates lambda most, to be inserted, shape (L, n)
    fraction: np.ndarray  # of the atom's largest feasible mass that it is inserted with
    best_dual: np.ndarray  # lambda of the least upper bound met so far, shape (L, n)
    best_bound: np.ndarray  # that bound, nats
    stalls: np.ndarray  # stalled rounds since the last progress


def _objective(masses: np.ndarray, problem: EnvelopeProblem) -> np.ndarray:
    """Objective of encoders, nats; minus infinity where it is not finite."""
    heights = gain(atoms_of(masses, problem.py), problem)
    value = np.sum(masses.sum(axis=2) * heights, axis=1)
    return np.where(np.isfinite(value), value, -np.inf)


def _round(state: _AscentState, problem: EnvelopeProblem, starts: np.ndarray) -> _AscentState:
    """Take one round of column generation in every lane: insert, alternate, merge, Newton's step, pricing.

    Invariants: the masses of a lane sum to P_Y; its value does not fall, for a round that lowers it is undone; its least
    upper bound does not rise. The step of Newton's method is kept only where it does not lower the value either.
    """
    py = problem.py
    # Steps 1 to 3: insert, alternate, merge.
    grown = _insert(state.masses, state.entering, state.fraction, problem)
    alternated = _alternate(grown, problem)
    weights, atoms = merge_copies(*_weights_and_atoms(alternated, py), problem)
    alternated = weights[:, :, None] * atoms
    dual = np.sum(alternated / py * gradients(atoms, problem), axis=1)

    # Step 4: Newton, from where masses that are about to vanish have been dropped.
    trial = state.stalls % len(_NEWTON_SCHEDULE)
    threshold = np.array([fraction for fraction, _ in _NEWTON_SCHEDULE])[trial]
    damped = np.array([damped for _, damped in _NEWTON_SCHEDULE])[trial]
    thinned = np.where(alternated > threshold[:, None, None] * py, alternated, 0.0)
    by_newton, newton_dual = newton(thinned, dual, problem, damped)
    before, after = _objective(alternated, problem), _objective(by_newton, problem)
    # The step is accepted if the value did not fall, up to its rounding.
    accepted = (after >= before - VALUE_ROUNDING) & np.isfinite(newton_dual).all(axis=1)
    masses = np.where(accepted[:, None, None], by_newton, alternated)
    dual = np.where(accepted[:, None], newton_dual, dual)
    value = np.where(accepted, after, before)

    # The gain is measured against the gap before the round: a linearly converging lane gains the
    # same fraction of the gap in every round and must not be taken for a stalled one.
    needed = np.maximum(_MIN_GAIN, _MIN_GAP_FRACTION * (state.best_bound - state.value))
    stalls = np.where(value - state.value >= needed, 0, state.stalls + 1)
    # The same for the whole round: an atom inserted with too large a mass can lower the value.
    rose = value >= state.value - VALUE_ROUNDING
    masses = np.where(rose[:, None, None], masses, state.masses)
    value = np.where(rose, value, state.value)
    dual = np.where(rose[:, None], dual, state.dual)

    # Step 5: the upper bound of these dual variables, and the next atom.
    entering, violation = most_violating(atoms_of(masses, py), dual, problem, starts)
    # Weak duality of the linear program: lambda raised by its largest violation is feasible, and
    # raising an affine function by a constant raises its value at P_Y by just that, for
    # probabilities sum to one. A negative violation is not used, since pricing may have missed
    # the maximum.
    bound = dual @ py + np.maximum(violation, 0.0)
    better = bound < state.best_bound
    return _AscentState(
        masses=masses,
        value=value,
        dual=dual,
        entering=entering,
        fraction=np.where(rose, _INSERTED, state.fraction / _SHRINK),
        best_dual=np.where(better[:, None], dual, state.best_dual),
        best_bound=np.minimum(bound, state.best_bound),
        stalls=stalls,
    )


def _ascend(
    masses: np.ndarray, problem: EnvelopeProblem, starts: np.ndarray, of_slope: np.ndarray
) -> tuple[Envelope, np.ndarray]:
    """Column generation from an encoder a lane, as the module says; also the values reached.

    Invariants of a round: the masses sum to P_Y, the value never falls (a round that lowers it is
    undone, and its atom inserted with a smaller mass), the best upper bound never rises. The lanes of
    a slope, whose number is `of_slope`, end when the best of both meet, or after a fixed number of
    rounds.
    """
    py = problem.py
    lanes = len(masses)
    # At first there is no atom to insert: P_Y, with fraction zero.
    far, zero, flat = np.full(lanes, np.inf), np.zeros(lanes), np.zeros((lanes, py.size))
    first = np.tile(py, (lanes, 1))
    end = _AscentState(masses, -far, flat, first, zero, flat, far, np.zeros(lanes, int))
    end = _AscentState(*(leaf.copy() for leaf in end))
    running = np.arange(lanes)
    for _ in range(_ROUNDS):
        state = _AscentState(*(leaf[running] for leaf in end))
        state = _round(state, problem.lanes(running), starts[running])
        for leaf, new in zip(end, state, strict=True):
            leaf[running] = new
        best, least = np.full((2, len(problem.slope)), [[-np.inf], [np.inf]])
        # All lanes of a slope bound one optimum: the best value of any and the least bound of any
        # are compared.
        np.maximum.at(best, of_slope, end.value)
        np.minimum.at(least, of_slope, end.best_bound)
        running = running[(least - best)[of_slope[running]] > OPTIMAL]
        if running.size == 0:
            break
    # Raised by the violation, the affine function lies above g wherever pricing looked.
    shift = np.where(np.isfinite(end.best_bound), end.best_bound - end.best_dual @ py, 0.0)
    masses = _free_slot(end.masses, problem)
    weights, atoms = merge_copies(*_weights_and_atoms(masses, py), problem)
    return Envelope(weights, atoms, end.best_dual + shift[:, None]), end.value


def _weights_and_atoms(masses: np.ndarray, py: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return masses.sum(axis=2), atoms_of(masses, py)


def best_encoders(
    problem: EnvelopeProblem, encoders: np.ndarray, starts: np.ndarray, missed: np.ndarray
) -> Envelope:
    """Ascend from several encoders at every slope, and keep the best.

    Args:
        problem: with slopes of shape (S,).
        encoders: P(u|y) to start from, shape (E, n + 1, n); each column sums to one.
        starts: where pricing starts, shape (G, n).
        missed: one more start for each slope, shape (S, n).

    Returns:
        Envelopes with a leading axis S and n + 1 slots for at most n atoms; the weights of the
        others are zero. The dual is that of the least bound met from any encoder.

    """
    S, E, n = problem.slope.size, len(encoders), problem.py.size
    # The two largest arrays hold, for every lane, (n+1) atoms of n by n Newton blocks, and the
    # points at which pricing starts, each before and after the sweeps.
    together = max(1, _CELLS // (E * n * max((n + 1) * n, 2 * (len(starts) + 1))))
    parts = []
    # Zeros are divided by and have logarithms where no mass is: what comes of it is masked.
    with np.errstate(all="ignore"):
        for first in range(0, S, together):
            index = np.repeat(np.arange(first, min(first + together, S)), E)
            points = np.broadcast_to(starts, (index.size, *starts.shape))
            points = np.concatenate([points, missed[index, None]], axis=1)
            masses = np.tile(encoders * problem.py, (index.size // E, 1, 1))
            parts.append(_ascend(masses, problem.lanes(index), points, index - first))
    found = Envelope(*(np.concatenate(leaf) for leaf in zip(*(f for f, _ in parts), strict=True)))
    value = np.concatenate([value for _, value in parts]).reshape(S, E)
    best = np.arange(S) * E + value.argmax(axis=1)
    bound = (found.dual @ problem.py).reshape(S, E)
    dual = found.dual[np.arange(S) * E + bound.argmin(axis=1)]
    return Envelope(found.weights[best], found.atoms[best], dual)
