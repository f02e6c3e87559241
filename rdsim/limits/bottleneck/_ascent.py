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
a local search, so that the upper bound is an estimate: `_certificate` proves it. In nats.
"""

from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rdsim.limits.bottleneck._envelope import (
    OPTIMAL,
    VALUE_ROUNDING,
    Envelope,
    EnvelopeProblem,
    gain,
    merge_copies,
    most_violating,
    tilt,
)

_ROUNDS: Final = 40  # rounds of column generation at most
_ALTERNATIONS: Final = 30  # steps of alternating minimisation in a round

_NEWTON_STEPS: Final = 6
"""Newton steps in a round: quadratic convergence needs four from an error of 0.1 to 1e-16."""

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

_DAMPING: Final = 1e-12
"""Damping of a singular Newton system, relative to its largest squared column."""

_INSERTED: Final = 0.5
"""Fraction of its largest feasible mass that a new atom gets; the alternating steps adjust it."""

_SHRINK: Final = 8.0
"""Divisor of that fraction after a round that lowered the value, which is then undone."""


def _free_slot(masses: Array, problem: EnvelopeProblem) -> Float[Array, "k n"]:
    """Free a slot if all n+1 are taken (Caratheodory step), without lowering the value.

    More than n posteriors are linearly dependent, and the value is linear in their weights: along
    the dependence, in the direction in which it does not fall, one of the weights comes to zero.
    """
    w, pi = masses.sum(axis=1), _atoms(masses, problem.py)
    # The last right singular vector spans the dependence: sum_u shift_u pi_u = 0.
    shift = jnp.linalg.svd(pi.T, full_matrices=True)[2][-1]
    shift = jnp.where(shift @ gain(pi, problem) < 0, -shift, shift)
    reach = jnp.where(shift < 0, w / jnp.where(shift < 0, -shift, 1.0), jnp.inf)
    leaving = jnp.argmin(reach)
    reweighted = (w + reach[leaving] * shift)[:, None] * pi
    reweighted = jnp.maximum(reweighted, 0.0).at[leaving].set(0.0)
    # Rounding is repaired letter by letter, so that the masses sum to P_Y exactly.
    total = reweighted.sum(axis=0)
    reweighted = reweighted * (problem.py / jnp.where(total > 0, total, 1.0))
    return jnp.where(jnp.all(w > 0) & jnp.all(total > 0), reweighted, masses)


def _insert(
    masses: Array, atom: Array, fraction: Array, problem: EnvelopeProblem
) -> Float[Array, "k n"]:
    """Insert an atom into a free slot with a fraction of its largest feasible mass.

    That mass is the largest w with w atom <= P_Y; all other masses are scaled down, a letter at a
    time, so that the sum stays P_Y.
    """
    py = problem.py
    masses = _free_slot(masses, problem)
    feasible = jnp.min(jnp.where(atom > 0, py / jnp.where(atom > 0, atom, 1.0), jnp.inf))
    slot = jnp.argmin(masses.sum(axis=1))
    kept = (py - fraction * feasible * atom) / masses.sum(axis=0)
    others = masses * jnp.maximum(kept, 0.0)
    return others.at[slot].set(jnp.maximum(py - others.sum(axis=0), 0.0))


def _atoms(masses: Array, py: Array) -> Float[Array, "k n"]:
    """Divide the masses by the weights; an atom without weight is set to P_Y."""
    w = masses.sum(axis=1, keepdims=True)
    return jnp.where(w > 0, masses / jnp.where(w > 0, w, 1.0), py)


def _gradients(pi: Float[Array, "k n"], problem: EnvelopeProblem) -> Float[Array, "k n"]:
    r"""Gradient of g at each atom, $P^T\ln(P\pi/P_X) - s\ln(\pi/P_Y)$; 0 s where $\pi_y = 0$."""
    logs = jnp.log(jnp.where(pi > 0, pi, 1.0)) - jnp.where(pi > 0, jnp.log(problem.py), 0.0)
    return jax.vmap(lambda p: tilt(p, problem))(pi) - problem.slope * logs


def _alternate(masses: Array, problem: EnvelopeProblem) -> Float[Array, "k n"]:
    r"""Alternating minimisation of Tishby et al. on a whole encoder: its value never falls.

    $P(u|y) \propto w_u e^{(P^T \ln(P\pi_u/P_X))_y / s}$, from the weights and atoms before.
    """

    def step(_: Int[Array, ""], masses: Float[Array, "u n"]) -> Float[Array, "u n"]:
        w = masses.sum(axis=1, keepdims=True)
        pi = _atoms(masses, problem.py)
        tilts = jax.vmap(lambda p: tilt(p, problem))(pi) / problem.slope
        exponent = tilts + jnp.where(w > 0, jnp.log(jnp.where(w > 0, w, 1.0)), -jnp.inf)
        return problem.py * jax.nn.softmax(exponent, axis=0)

    return jax.lax.fori_loop(0, _ALTERNATIONS, step, masses)


def _solve_damped(matrix: Array, right: Array, damped: Array) -> Float[Array, " m"]:
    """Solve a linear system; if damped, by a short step where it is singular to rounding.

    Where the best posteriors form a curve, atoms may slide along it, and Newton's system is
    singular: the damped least-squares step (Levenberg-Marquardt) moves to the curve, not along it.
    """
    exact = jnp.linalg.solve(matrix, right)
    gram = matrix.T @ matrix
    damping = _DAMPING * jnp.max(jnp.diagonal(gram)) * jnp.eye(len(gram))
    short = jnp.linalg.solve(gram + damping, matrix.T @ right)
    # Off singular systems both agree; an exact step of more than twice the length is rounding.
    long = jnp.max(jnp.abs(exact)) > 2 * jnp.max(jnp.abs(short))
    found = jnp.where(damped & (long | ~jnp.all(jnp.isfinite(exact))), short, exact)
    return jnp.where(jnp.all(jnp.isfinite(found)), found, 0.0)


def _newton(
    masses: Float[Array, "k n"],
    dual: Float[Array, " n"],
    problem: EnvelopeProblem,
    damped: Bool[Array, ""],
) -> tuple[Float[Array, "k n"], Float[Array, " n"]]:
    r"""Newton's method on all atoms and dual variables together, from masses that are near.

    Its unknowns are $\ln m_{uy}$, which keeps masses positive, and $\lambda_y$; its equations the
    conditions of stationarity $P^T\ln(P\pi_u/P_X) - s\ln(\pi_u/P_Y) = \lambda$, an atom and a letter
    each, and $\sum_u m_u = P_Y$, a letter each. Masses that are zero stay so: their rows of the
    matrix are those of the identity. The result is scaled, a letter at a time, to sum to P_Y.
    """
    P, s, py = problem.channel, problem.slope, problem.py
    count, n = masses.shape
    size = count * n

    def step(_: Int[Array, ""], state: tuple[Array, Array]) -> tuple[Array, Array]:
        m, dual = state
        used = m > 0
        pi = _atoms(m, py)
        gradient = _gradients(pi, problem)
        t = pi @ P.T
        # Derivative of an atom's gradient in the logarithms of its own masses, n x n.
        curvature = jnp.einsum("xy,ux,xz->uyz", P, 1 / jnp.where(t > 0, t, 1.0), P)
        blocks = (curvature - (1 - s)) * pi[:, None, :] - s * jnp.eye(n)
        blocks = jnp.where(used[:, :, None], blocks, jnp.eye(n))
        by_mass = jnp.einsum("uij,uv->uivj", blocks, jnp.eye(count)).reshape(size, size)
        by_dual = jnp.einsum("ui,ij->uij", -used.astype(float), jnp.eye(n)).reshape(size, n)
        sums = jnp.einsum("ui,ij->jui", m, jnp.eye(n)).reshape(n, size)
        matrix = jnp.block([[by_mass, by_dual], [sums, jnp.zeros((n, n))]])
        residual = jnp.where(used, gradient - dual, 0.0)
        right = jnp.concatenate([-residual.ravel(), py - m.sum(axis=0)])
        found = _solve_damped(matrix, right, damped)
        # No mass may change by more than a factor of e in one step.
        length = jnp.maximum(1.0, jnp.max(jnp.abs(found[:size])))
        return m * jnp.exp(found[:size].reshape(count, n) / length), dual + found[size:] / length

    m, dual = jax.lax.fori_loop(0, _NEWTON_STEPS, step, (masses, dual))
    return m * (py / m.sum(axis=0)), dual


class _AscentState(NamedTuple):
    """What one round of column generation hands to the next."""

    masses: Float[Array, "k n"]  # m_u of the encoder, summing to P_Y
    value: Float[Array, ""]  # its objective, nats
    dual: Float[Array, " n"]  # lambda of the encoder
    entering: Float[Array, " n"]  # the atom that violates lambda most, to be inserted
    fraction: Float[Array, ""]  # of the atom's largest feasible mass that it is inserted with
    best_dual: Float[Array, " n"]  # lambda of the least upper bound met so far
    best_bound: Float[Array, ""]  # that bound, nats
    rounds: Int[Array, ""]  # rounds so far
    stalls: Int[Array, ""]  # stalled rounds since the last progress


def _objective(masses: Float[Array, "k n"], problem: EnvelopeProblem) -> Float[Array, ""]:
    """Objective of an encoder, nats; minus infinity where it is not finite."""
    value = masses.sum(axis=1) @ gain(_atoms(masses, problem.py), problem)
    return jnp.where(jnp.isfinite(value), value, -jnp.inf)


def _ascend(
    masses: Float[Array, "k n"], problem: EnvelopeProblem, starts: Float[Array, "g n"]
) -> tuple[Envelope, Float[Array, ""]]:
    """Column generation from one encoder, as the module says; also the value that it reached.

    Invariants of a round: the masses sum to P_Y, the value never falls (a round that lowers it is
    undone, and its atom inserted with a smaller mass), the best upper bound never rises. It ends
    when the two meet, or after a fixed number of rounds.
    """
    py = problem.py

    def round_(state: _AscentState) -> _AscentState:
        # Steps 1 to 3: insert, alternate, merge.
        grown = _insert(state.masses, state.entering, state.fraction, problem)
        weights, atoms = merge_copies(*_weights_and_atoms(_alternate(grown, problem), py), problem)
        alternated = weights[:, None] * atoms
        dual = jnp.sum(alternated / py * _gradients(atoms, problem), axis=0)

        # Step 4: Newton, from where masses that are about to vanish have been dropped.
        trial = state.stalls % len(_NEWTON_SCHEDULE)
        threshold = jnp.array([fraction for fraction, _ in _NEWTON_SCHEDULE])[trial]
        damped = jnp.array([damped for _, damped in _NEWTON_SCHEDULE])[trial]
        kept = jnp.where(alternated > threshold * py, alternated, 0.0)
        newton, newton_dual = _newton(kept, dual, problem, damped)
        before, after = jax.vmap(lambda m: _objective(m, problem))(jnp.stack([alternated, newton]))
        # The step is accepted if the value did not fall, up to its rounding.
        accepted = (after >= before - VALUE_ROUNDING) & jnp.all(jnp.isfinite(newton_dual))
        masses = jnp.where(accepted, newton, alternated)
        dual = jnp.where(accepted, newton_dual, dual)
        value = jnp.where(accepted, after, before)

        needed = jnp.maximum(_MIN_GAIN, _MIN_GAP_FRACTION * (state.best_bound - state.value))
        stalls = jnp.where(value - state.value >= needed, 0, state.stalls + 1)
        # The same for the whole round: an atom inserted with too large a mass can lower the value.
        rose = value >= state.value - VALUE_ROUNDING
        masses = jnp.where(rose, masses, state.masses)
        value = jnp.where(rose, value, state.value)
        dual = jnp.where(rose, dual, state.dual)

        # Step 5: the upper bound of these dual variables, and the next atom.
        entering, violation = most_violating(_atoms(masses, py), dual, problem, starts)
        bound = py @ dual + jnp.maximum(violation, 0.0)
        better = bound < state.best_bound
        return _AscentState(
            masses=masses,
            value=value,
            dual=dual,
            entering=entering,
            fraction=jnp.where(rose, _INSERTED, state.fraction / _SHRINK),
            best_dual=jnp.where(better, dual, state.best_dual),
            best_bound=jnp.minimum(bound, state.best_bound),
            rounds=state.rounds + 1,
            stalls=stalls,
        )

    def unfinished(state: _AscentState) -> Array:
        return (state.best_bound - state.value > OPTIMAL) & (state.rounds < _ROUNDS)

    # At first there is no atom to insert: P_Y, with fraction zero.
    far, zero, flat = jnp.array(jnp.inf), jnp.zeros(()), jnp.zeros_like(py)
    start = _AscentState(masses, -far, flat, py, zero, flat, far, jnp.array(0), jnp.array(0))
    end = jax.lax.while_loop(unfinished, round_, start)
    # Raised by the violation, the affine function lies above g wherever pricing looked.
    shift = jnp.where(jnp.isfinite(end.best_bound), end.best_bound - py @ end.best_dual, 0.0)
    masses = _free_slot(end.masses, problem)
    weights, atoms = merge_copies(*_weights_and_atoms(masses, py), problem)
    return Envelope(weights, atoms, end.best_dual + shift), end.value


def _weights_and_atoms(masses: Array, py: Array) -> tuple[Float[Array, " k"], Float[Array, "k n"]]:
    return masses.sum(axis=1), _atoms(masses, py)


@jax.jit
def best_encoders(
    problem: EnvelopeProblem,
    encoders: Float[Array, "e k n"],
    starts: Float[Array, "g n"],
    missed: Float[Array, "s n"],
) -> Envelope:
    """Ascend from several encoders, a batch of slopes side by side, and keep the best.

    Args:
        problem: with slopes of shape (S,).
        encoders: P(u|y) to start from, shape (E, n + 1, n); each column sums to one.
        starts: where pricing starts, shape (G, n).
        missed: one more start for each slope, shape (S, n).

    Returns:
        Envelopes with a leading axis S and n + 1 slots for at most n atoms; the weights of the
        others are zero. The dual is that of the least bound met from any encoder.

    """

    def at_slope(slope: Float[Array, ""], point: Float[Array, " n"]) -> Envelope:
        single = problem._replace(slope=slope)
        all_starts = jnp.append(starts, point[None], axis=0)
        found, value = jax.vmap(lambda e: _ascend(e * problem.py, single, all_starts))(encoders)
        best = jax.tree.map(lambda leaf: leaf[jnp.argmax(value)], found)
        bound = found.dual @ problem.py
        return best._replace(dual=found.dual[jnp.argmin(bound)])

    return jax.vmap(at_slope)(problem.slope, missed)
