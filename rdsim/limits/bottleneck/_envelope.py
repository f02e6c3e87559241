r"""The upper concave envelope behind the information bottleneck, and its pricing problem (C11).

A description U of Y splits the marginal $P_Y$ into posteriors: $\sum_u w_u \pi_u = P_Y$. With

$$g(\pi) = D(P_{X|Y}\,\pi \,\|\, P_X) - s\, D(\pi \| P_Y), \qquad
I(U;X) - s\, I(U;Y) = \sum_u w_u\, g(\pi_u),$$

so the best value at slope s is the upper concave envelope of g at $P_Y$ (Witsenhausen and Wyner
1975), a linear program with one column for each point of the simplex: an affine function
$\langle\lambda, \pi\rangle \ge g$ bounds it by $\langle\lambda, P_Y\rangle$, and whether it lies
above g is the pricing problem.

Pricing climbs $g - \lambda$ by the better of two steps. One is the bottleneck's own update
$\pi_y \propto P_Y(y)\, e^{((P^T \ln (P\pi / P_X))_y - \lambda_y)/s}$, which never descends, since it
replaces the convex part of g by its tangent (minorise and maximise). The other is Newton's on the
same equations, in $\ln \pi$. A maximiser found so is local: `_certificate` bounds what was missed.
Everything in this file is in nats.
"""

from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

OPTIMAL: Final = 3e-14  # nats between the bounds at which an encoder is optimal up to rounding

VALUE_ROUNDING: Final = 1e-15
"""Nats by which two computed values of one encoder may differ: a few ulps of a value of order one."""

_CLIMBING_STEPS: Final = 6
"""Steps of every climb in one round of pricing; atoms are climbed again in every round."""

_SWEEPS: Final = 3  # steps from every start before the best of them are chosen
_FOLLOWED: Final = 4  # starts that are followed up in each round of pricing

_APART: Final = 0.2
"""L1 distance between two starts that are both followed up: nearer ones climb the same maximum."""

_INTERIOR: Final = 1e-5
"""Weight of P_Y in every start: no step leaves a face of the simplex, so that none starts on one."""

_NEAR_CORNERS: Final = (0.02, 1e-3, 1e-7, 1e-10)
"""Weights of P_Y in four starts near each corner, where maxima lie at any distance from it."""

_NEAR_COPIES: Final = 1e-3  # L1 distance below which two atoms may be copies of one atom
_LOG_ZERO: Final = -1e30  # stands for ln 0: zero times it is zero, not NaN
_LONGEST_STEP: Final = 3.0  # largest change of a coordinate of ln pi in one Newton step


class EnvelopeProblem(NamedTuple):
    """A source with letters of Y that all have mass and differ, at one slope."""

    channel: Float[Array, "x n"]  # P(x|y); rows of zeros are harmless padding
    px: Float[Array, " x"]
    py: Float[Array, " n"]  # all positive
    slope: Float[Array, "*batch"]  # s in (0, 1), or a batch of them


class Envelope(NamedTuple):
    """Atoms that carry the envelope at P_Y, and the affine function above them."""

    weights: Float[Array, " k"]  # w_u >= 0
    atoms: Float[Array, "k n"]  # pi_u, a row each
    dual: Float[Array, " n"]  # lambda, nats, raised by the largest g - lambda that pricing found


def _xlogy_ratio(x: Float[Array, "..."], y: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return x ln(x/y), 0 where x = 0."""
    inside = (x > 0) & (y > 0)
    return jnp.where(inside, x * jnp.log(jnp.where(inside, x, 1) / jnp.where(inside, y, 1)), 0.0)


def gain(pi: Float[Array, "... n"], problem: EnvelopeProblem) -> Float[Array, "..."]:
    r"""$g(\pi)$ in nats: zero at $P_Y$, whatever the slope."""
    to_x = jnp.sum(_xlogy_ratio(pi @ problem.channel.T, problem.px), axis=-1)
    to_y = jnp.sum(_xlogy_ratio(pi, problem.py), axis=-1)
    return to_x - problem.slope * to_y


def tilt(pi: Float[Array, " n"], problem: EnvelopeProblem) -> Float[Array, " n"]:
    r"""$P^T \ln(P\pi / P_X)$, the gradient of the divergence to X up to a constant."""
    t = problem.channel @ pi
    reached = (t > 0) & (problem.px > 0)
    logs = jnp.log(jnp.where(reached, t, 1.0) / jnp.where(reached, problem.px, 1.0))
    return jnp.where(reached | (problem.px == 0), logs, _LOG_ZERO) @ problem.channel


def _normalised(log_pi: Float[Array, " n"]) -> Float[Array, " n"]:
    weight = jnp.exp(log_pi - jnp.max(log_pi))
    return weight / weight.sum()


def _bottleneck_step(
    pi: Float[Array, " n"], problem: EnvelopeProblem, dual: Float[Array, " n"]
) -> Float[Array, " n"]:
    return _normalised(jnp.log(problem.py) + (tilt(pi, problem) - dual) / problem.slope)


def _newton_step(
    pi: Float[Array, " n"], problem: EnvelopeProblem, dual: Float[Array, " n"]
) -> Float[Array, " n"]:
    r"""Newton's step in $\ln\pi$ for $s \ln(\pi/P_Y) - P^T\ln(P\pi/P_X) + \lambda + \nu = 0$.

    $\nu$ is the multiplier of $\sum_y \pi_y = 1$. Coordinates that are zero stay so.
    """
    P, s, n = problem.channel, problem.slope, pi.shape[0]
    t = P @ pi
    inside = pi > 0
    log_pi = jnp.log(jnp.where(inside, pi, 1.0))
    residual = s * (log_pi - jnp.log(problem.py)) - tilt(pi, problem) + dual
    residual = jnp.where(inside, residual, 0.0)
    curvature = (P / jnp.where(t > 0, t, 1.0)[:, None]).T @ P
    # The last row and column carry the constraint on the sum and its multiplier.
    matrix = jnp.zeros((n + 1, n + 1))
    matrix = matrix.at[:n, :n].set(s * jnp.eye(n) - curvature * pi)
    matrix = matrix.at[:n, n].set(1.0).at[n, :n].set(pi)
    step = jnp.linalg.solve(matrix, -jnp.append(residual, 0.0))[:n]
    step = jnp.where(jnp.isfinite(step) & inside, step, 0.0)
    step = step / jnp.maximum(1.0, jnp.max(jnp.abs(step)) / _LONGEST_STEP)
    return _normalised(jnp.where(inside, log_pi + step, -jnp.inf))


def _climb(
    pi: Float[Array, " n"], problem: EnvelopeProblem, dual: Float[Array, " n"]
) -> Float[Array, " n"]:
    """Climb g - lambda from a point; staying is one of the choices, so that it never descends."""

    def step(_: Int[Array, ""], pi: Float[Array, " n"]) -> Float[Array, " n"]:
        choices = [pi, _bottleneck_step(pi, problem, dual), _newton_step(pi, problem, dual)]
        tried = jnp.stack(choices)
        height = gain(tried, problem) - tried @ dual
        return tried[jnp.argmax(jnp.where(jnp.isfinite(height), height, -jnp.inf))]

    return jax.lax.fori_loop(0, _CLIMBING_STEPS, step, pi)


def _best_starts(
    starts: Float[Array, "g n"], problem: EnvelopeProblem, dual: Float[Array, " n"]
) -> Float[Array, "b n"]:
    """Choose the highest starts that lie apart, after a few steps of each."""

    def sweep(_: Int[Array, ""], points: Float[Array, "g n"]) -> Float[Array, "g n"]:
        return jax.vmap(lambda pi: _bottleneck_step(pi, problem, dual))(points)

    swept = jax.lax.fori_loop(0, _SWEEPS, sweep, starts)
    points = jnp.concatenate([starts, swept])
    height = gain(points, problem) - points @ dual

    def choose(height: Float[Array, " g"], _: None) -> tuple[Array, Array]:
        best = points[jnp.argmax(height)]
        near = jnp.sum(jnp.abs(points - best), axis=1) < _APART
        return jnp.where(near, -jnp.inf, height), best

    return jax.lax.scan(choose, height, None, length=_FOLLOWED)[1]


def most_violating(
    atoms: Float[Array, "k n"],
    dual: Float[Array, " n"],
    problem: EnvelopeProblem,
    starts: Float[Array, "g n"],
) -> tuple[Float[Array, " n"], Float[Array, ""]]:
    """Price the dual: climb g - lambda from the atoms, P_Y and the best starts.

    Returns:
        The highest posterior met, and g - lambda there in nats: by how much the dual is violated.

    """
    pool = jnp.concatenate([atoms, problem.py[None], _best_starts(starts, problem, dual)])
    pool = jax.vmap(lambda pi: _climb(pi, problem, dual))(pool)
    height = gain(pool, problem) - pool @ dual
    best = jnp.argmax(jnp.where(jnp.isfinite(height), height, -jnp.inf))
    return pool[best], height[best]


def merge_copies(weights: Array, atoms: Array, problem: EnvelopeProblem) -> tuple[Array, Array]:
    """Merge near atoms, pair by pair, where that does not lower the value.

    The merged atom is the mean of the two by weight, which keeps the sum of the masses; it takes
    the first slot, and the second is left without weight.
    """
    n = atoms.shape[0]
    pairs = jnp.array([(i, j) for i in range(n) for j in range(i + 1, n)], dtype=int)

    def merge(k: Int[Array, ""], state: tuple[Array, Array]) -> tuple[Array, Array]:
        w, atoms = state
        i, j = pairs[k, 0], pairs[k, 1]
        total = w[i] + w[j]
        of_second = jnp.where(total > 0, w[j] / jnp.where(total > 0, total, 1.0), 0.0)
        mean = (1 - of_second) * atoms[i] + of_second * atoms[j]
        height = gain(jnp.stack([mean, atoms[i], atoms[j]]), problem)
        near = jnp.sum(jnp.abs(atoms[i] - atoms[j])) < _NEAR_COPIES
        apart = (1 - of_second) * height[1] + of_second * height[2]
        better = near & (height[0] >= apart - VALUE_ROUNDING)
        return (
            jnp.where(better, w.at[i].set(total).at[j].set(0.0), w),
            jnp.where(better, atoms.at[i].set(mean), atoms),
        )

    return jax.lax.fori_loop(0, len(pairs), merge, (weights, atoms))


def standard_starts(n: int, py: np.ndarray, random: np.ndarray) -> np.ndarray:
    """Points where pricing starts: a lattice up to three letters, subsets and random points beyond.

    Args:
        n: letters of Y.
        py: P(y), shape (n,).
        random: positive numbers that are scaled to random points, shape (r, n), beyond three letters.

    Returns:
        Points of the simplex, shape (G, n).

    """
    eye = np.eye(n)
    if n == 2:
        first = np.linspace(0, 1, 65)
        points = np.stack([first, 1 - first], axis=1)
    elif n == 3:
        m = 16
        lattice = [(i, j, m - i - j) for i in range(m + 1) for j in range(m + 1 - i)]
        points = np.array(lattice) / m
    else:
        # P_Y given one letter, given two, and given all but one.
        pairs = [py * (eye[i] + eye[j]) for i in range(n) for j in range(i + 1, n)]
        without = [py * (1 - eye[i]) for i in range(n)]
        points = np.concatenate([eye, np.array(pairs), np.array(without), np.asarray(random)])
        points = points / points.sum(axis=1, keepdims=True)
    mixed = [(1 - share) * corner + share * py for corner in eye for share in _NEAR_CORNERS]
    return np.concatenate([(1 - _INTERIOR) * points + _INTERIOR * py, np.array(mixed)])
