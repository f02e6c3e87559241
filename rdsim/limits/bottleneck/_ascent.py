r"""Encoders that reach the concave envelope: alternate, join, Newton, add an atom (C11).

The linear program of `concave_envelope` is climbed from inside: an encoder is a set of masses
$m_u = w_u \pi_u$ with $\sum_u m_u = P_Y$. Its value never falls under the alternating
minimisation of Tishby, Pereira and Bialek (1999), which crawls near the end; Newton's method on
all atoms and prices together finishes; the prices $\lambda$ then name an atom that the encoder
lacks, if one can be found. What is found is a local optimum: pricing is local. In nats.
"""

from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rdsim.limits.bottleneck._envelope import STOP, Envelope, Problem, gain, merged, priced, tilt

_ROUNDS: Final = 40
_ALTERNATIONS: Final = 30
_NEWTON_STEPS: Final = 6
_STALL: Final = 1e-13  # nats that a round must gain not to be one
_PROGRESS: Final = 0.01  # and share of the gap
_CUTS: Final = (0.0, 0.0, 1e-4, 1e-4, 1e-7, 1e-11, 1e-15)  # shares of P_Y left out, in turn
_DAMPED: Final = (False, True, False, True, False, True, False)  # and whether steps stay short
_DAMPING: Final = 1e-12  # of the largest squared column, where Newton's system is singular


def _freed(masses: Array, problem: Problem) -> Float[Array, "k n"]:
    """Empty a place, if all n+1 are taken, without lowering the value.

    More than n posteriors are dependent, and the value is linear in their weights: along the
    dependence, in the direction in which it does not fall, one of the weights comes to zero.
    """
    w, pi = masses.sum(axis=1), _atoms(masses, problem.py)
    shift = jnp.linalg.svd(pi.T, full_matrices=True)[2][-1]
    shift = jnp.where(shift @ gain(pi, problem) < 0, -shift, shift)
    reach = jnp.where(shift < 0, w / jnp.where(shift < 0, -shift, 1.0), jnp.inf)
    leaving = jnp.argmin(reach)
    moved = (w + reach[leaving] * shift)[:, None] * pi
    moved = jnp.maximum(moved, 0.0).at[leaving].set(0.0)
    held = moved.sum(axis=0)
    moved = moved * (problem.py / jnp.where(held > 0, held, 1.0))
    return jnp.where(jnp.all(w > 0) & jnp.all(held > 0), moved, masses)


def _with_atom(masses: Array, atom: Array, share: Array, problem: Problem) -> Float[Array, "k n"]:
    """Give an empty place a share of what can be had of an atom, taken from all others."""
    py = problem.py
    masses = _freed(masses, problem)
    reach = jnp.min(jnp.where(atom > 0, py / jnp.where(atom > 0, atom, 1.0), jnp.inf))
    slot = jnp.argmin(masses.sum(axis=1))
    held = masses.sum(axis=0)
    left = (py - share * reach * atom) / held
    others = masses * jnp.maximum(left, 0.0)
    return others.at[slot].set(jnp.maximum(py - others.sum(axis=0), 0.0))


def _atoms(masses: Array, py: Array) -> Float[Array, "k n"]:
    """Divide by the weights; an atom without weight is set to P_Y."""
    w = masses.sum(axis=1, keepdims=True)
    return jnp.where(w > 0, masses / jnp.where(w > 0, w, 1.0), py)


def _prices(pi: Float[Array, "k n"], problem: Problem) -> Float[Array, "k n"]:
    r"""Slopes of g at each atom, $P^T\ln(P\pi/P_X) - s\ln(\pi/P_Y)$; 0 s where $\pi_y = 0$."""
    logs = jnp.log(jnp.where(pi > 0, pi, 1.0)) - jnp.where(pi > 0, jnp.log(problem.py), 0.0)
    return jax.vmap(lambda p: tilt(p, problem))(pi) - problem.slope * logs


def _alternated(masses: Array, problem: Problem) -> Float[Array, "k n"]:
    """Alternating minimisation of Tishby et al. on a whole encoder: its value never falls."""

    def step(_: Int[Array, ""], masses: Float[Array, "u n"]) -> Float[Array, "u n"]:
        w = masses.sum(axis=1, keepdims=True)
        pi = _atoms(masses, problem.py)
        leaning = jax.vmap(lambda p: tilt(p, problem))(pi) / problem.slope
        exponent = leaning + jnp.where(w > 0, jnp.log(jnp.where(w > 0, w, 1.0)), -jnp.inf)
        return problem.py * jax.nn.softmax(exponent, axis=0)

    return jax.lax.fori_loop(0, _ALTERNATIONS, step, masses)


def _newton_step(system: Array, right: Array, damped: Array) -> Float[Array, " m"]:
    """Solve a linear system; if damped, where it is singular to rounding, by a step that is short.

    Where the best posteriors form a curve, atoms may slide along it, and Newton's system is
    singular: the damped least-squares step moves to the curve, and not along it.
    """
    exact = jnp.linalg.solve(system, right)
    gram = system.T @ system
    damping = _DAMPING * jnp.max(jnp.diagonal(gram)) * jnp.eye(len(gram))
    short = jnp.linalg.solve(gram + damping, system.T @ right)
    long = jnp.max(jnp.abs(exact)) > 2 * jnp.max(jnp.abs(short))
    found = jnp.where(damped & (long | ~jnp.all(jnp.isfinite(exact))), short, exact)
    return jnp.where(jnp.all(jnp.isfinite(found)), found, 0.0)


def _stationary(masses: Array, dual: Array, problem: Problem, damped: Array) -> tuple[Array, Array]:
    r"""Newton on all atoms and prices together, from masses $m_u = w_u \pi_u$ that are near.

    Its equations are $P^T\ln(P\pi_u/P_X) - s\ln(\pi_u/P_Y) = \lambda$ for every atom and
    $\sum_u m_u = P_Y$.
    """
    P, s, py = problem.channel, problem.slope, problem.py
    count, n = masses.shape
    size = count * n

    def step(_: Int[Array, ""], state: tuple[Array, Array]) -> tuple[Array, Array]:
        m, dual = state
        used = m > 0
        pi = _atoms(m, py)
        price = _prices(pi, problem)
        t = pi @ P.T
        bend = jnp.einsum("xy,ux,xz->uyz", P, 1 / jnp.where(t > 0, t, 1.0), P)
        blocks = (bend - (1 - s)) * pi[:, None, :] - s * jnp.eye(n)
        blocks = jnp.where(used[:, :, None], blocks, jnp.eye(n))
        by_atom = jnp.einsum("uij,uv->uivj", blocks, jnp.eye(count)).reshape(size, size)
        by_price = jnp.einsum("ui,ij->uij", -used.astype(float), jnp.eye(n)).reshape(size, n)
        carried = jnp.einsum("ui,ij->jui", m, jnp.eye(n)).reshape(n, size)
        system = jnp.block([[by_atom, by_price], [carried, jnp.zeros((n, n))]])
        residual = jnp.where(used, price - dual, 0.0)
        right = jnp.concatenate([-residual.ravel(), py - m.sum(axis=0)])
        found = _newton_step(system, right, damped)
        shrink = jnp.maximum(1.0, jnp.max(jnp.abs(found[:size])))
        return m * jnp.exp(found[:size].reshape(count, n) / shrink), dual + found[size:] / shrink

    m, dual = jax.lax.fori_loop(0, _NEWTON_STEPS, step, (masses, dual))
    return m * (py / m.sum(axis=0)), dual


class _Round(NamedTuple):
    masses: Float[Array, "k n"]
    value: Float[Array, ""]
    dual: Float[Array, " n"]
    entering: Float[Array, " n"]
    share: Float[Array, ""]
    best_dual: Float[Array, " n"]
    best_bound: Float[Array, ""]
    rounds: Int[Array, ""]
    stalls: Int[Array, ""]


def _ascent(
    masses: Float[Array, "k n"], problem: Problem, starts: Float[Array, "g n"]
) -> tuple[Envelope, Float[Array, ""]]:
    py = problem.py

    def value_of(masses: Float[Array, "k n"]) -> Float[Array, ""]:
        value = masses.sum(axis=1) @ gain(_atoms(masses, py), problem)
        return jnp.where(jnp.isfinite(value), value, -jnp.inf)

    def round_(state: _Round) -> _Round:
        grown = _alternated(_with_atom(state.masses, state.entering, state.share, problem), problem)
        weights, atoms = merged(grown.sum(axis=1), _atoms(grown, py), problem)
        joined = weights[:, None] * atoms
        dual = jnp.sum(joined / py * _prices(atoms, problem), axis=0)
        # Once the value stands still, masses on their way out are left out of Newton's equations,
        # for they would go on naming their prices.
        cut, damped = (jnp.array(x)[state.stalls % len(_CUTS)] for x in (_CUTS, _DAMPED))
        kept = jnp.where(joined > cut * py, joined, 0.0)
        newton, newton_dual = _stationary(kept, dual, problem, damped)
        before, after = jax.vmap(value_of)(jnp.stack([joined, newton]))
        finished = (after >= before - 1e-15) & jnp.all(jnp.isfinite(newton_dual))
        masses = jnp.where(finished, newton, joined)
        dual = jnp.where(finished, newton_dual, dual)
        value = jnp.where(finished, after, before)
        needed = jnp.maximum(_STALL, _PROGRESS * (state.best_bound - state.value))
        stalls = jnp.where(value - state.value >= needed, 0, state.stalls + 1)
        climbs = value >= state.value - 1e-15
        masses = jnp.where(climbs, masses, state.masses)
        value = jnp.where(climbs, value, state.value)
        dual = jnp.where(climbs, dual, state.dual)
        entering, violation = priced(_atoms(masses, py), dual, problem, starts)
        bound = py @ dual + jnp.maximum(violation, 0.0)
        better = bound < state.best_bound
        return _Round(
            masses,
            value,
            dual,
            entering,
            jnp.where(climbs, 0.5, state.share / 8),
            jnp.where(better, dual, state.best_dual),
            jnp.minimum(bound, state.best_bound),
            state.rounds + 1,
            stalls,
        )

    def unfinished(state: _Round) -> Array:
        return (state.best_bound - state.value > STOP) & (state.rounds < _ROUNDS)

    far, zero, flat = jnp.array(jnp.inf), jnp.zeros(()), jnp.zeros_like(py)
    start = _Round(masses, -far, flat, py, zero, flat, far, jnp.array(0), jnp.array(0))
    end = jax.lax.while_loop(unfinished, round_, start)
    shift = jnp.where(jnp.isfinite(end.best_bound), end.best_bound - py @ end.best_dual, 0.0)
    masses = _freed(end.masses, problem)
    found = Envelope(
        *merged(masses.sum(axis=1), _atoms(masses, py), problem),
        end.best_dual + shift,
        jnp.maximum(end.best_bound - end.value, 0.0),
    )
    return found, end.value


@jax.jit
def best_encoders(
    problem: Problem,
    encoders: Float[Array, "e k n"],
    starts: Float[Array, "g n"],
    missed: Float[Array, "s n"],
) -> Envelope:
    """Climb from several encoders, a batch of slopes side by side, and keep the best.

    Args:
        problem: with slopes of shape (S,).
        encoders: P(u|y) to start from, shape (E, n + 1, n); each column sums to one.
        starts: where pricing starts, shape (G, n).
        missed: one more start for each slope, shape (S, n).

    Returns:
        Envelopes with a leading axis S and n + 1 places for at most n atoms; the weights of the
        others are zero. The dual is that of the least bound met from any encoder.

    """

    def one(slope: Float[Array, ""], point: Float[Array, " n"]) -> Envelope:
        single = problem._replace(slope=slope)
        all_starts = jnp.append(starts, point[None], axis=0)
        found, value = jax.vmap(lambda e: _ascent(e * problem.py, single, all_starts))(encoders)
        best = jax.tree.map(lambda leaf: leaf[jnp.argmax(value)], found)
        bound = found.dual @ problem.py
        least = jnp.argmin(bound)
        gap = jnp.maximum(bound[least] - jnp.max(value), 0.0)
        return best._replace(dual=found.dual[least], gap=gap)

    return jax.vmap(one)(problem.slope, missed)
