r"""The upper concave envelope behind the information bottleneck, and its pricing problem (C11).

A description U of Y splits the marginal $P_Y$ into posteriors: $\sum_u w_u \pi_u = P_Y$. With

$$g(\pi) = D(P_{X|Y}\,\pi \,\|\, P_X) - s\, D(\pi \| P_Y), \qquad
I(U;X) - s\, I(U;Y) = \sum_u w_u\, g(\pi_u),$$

so the best value at slope s is the upper concave envelope of g at $P_Y$ (Witsenhausen and Wyner
1975), a linear program with one column for each point of the simplex: an affine function
$\langle\lambda, \pi\rangle \ge g$ bounds it by $\langle\lambda, P_Y\rangle$, and whether it lies
above g is the pricing problem.

Pricing climbs by the larger of two steps: the bottleneck's own update
$\pi_y \propto P_Y(y)\, e^{((P^T \ln (P\pi / P_X))_y - \lambda_y)/s}$, which never descends since
it replaces the convex part of g by its tangent, and Newton's on the same equations in
$\ln \pi$. A maximiser found so is local: `envelope_certificate` bounds what was missed.
Everything in this file is in nats.
"""

from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

STOP: Final = 3e-14  # nats of gap at which an encoder is optimal to rounding
_POLISH: Final = 6  # climbing steps a round; atoms are climbed again every round
_SWEEPS: Final = 3  # steps of every start before the best are chosen
_BEST: Final = 4  # starts that are followed up in each round
_INSIDE: Final = 1e-5  # share of P_Y mixed into every start
_NEAR_CORNERS: Final = (0.02, 1e-3, 1e-7, 1e-10)  # and into each corner
_APART: Final = 0.2  # L1 distance between two starts that are both followed up
_ALMOST_ONE: Final = 1e-3  # L1 distance below which two atoms may be copies of one atom


class Problem(NamedTuple):
    """A source with letters of Y that all have mass and differ, at one slope.

    Attributes:
        channel: P(x|y), shape (|X|, n); rows of zeros are harmless padding.
        px: P(x), shape (|X|,).
        py: P(y) > 0, shape (n,).
        slope: s in (0, 1), or a batch of them.

    """

    channel: Float[Array, "x n"]
    px: Float[Array, " x"]
    py: Float[Array, " n"]
    slope: Float[Array, "*batch"]


class Envelope(NamedTuple):
    """Atoms that carry the envelope at P_Y, and the affine function above them.

    Attributes:
        weights: w_u >= 0, shape (k,).
        atoms: pi_u, shape (k, n), a row each.
        dual: lambda, nats, shape (n,).
        gap: the value of lambda at P_Y, raised by the largest g - lambda that pricing found, less
            the value achieved, nats; an estimate, since pricing is local.

    """

    weights: Float[Array, " k"]
    atoms: Float[Array, "k n"]
    dual: Float[Array, " n"]
    gap: Float[Array, ""]


def _xlogy_ratio(x: Float[Array, "..."], y: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return x ln(x/y), 0 where x = 0."""
    inside = (x > 0) & (y > 0)
    return jnp.where(inside, x * jnp.log(jnp.where(inside, x, 1) / jnp.where(inside, y, 1)), 0.0)


def divergences(pi: Float[Array, "... n"], problem: Problem) -> tuple[Array, Array]:
    r"""$D(P\pi \| P_X)$ and $D(\pi \| P_Y)$ in nats."""
    to_x = jnp.sum(_xlogy_ratio(pi @ problem.channel.T, problem.px), axis=-1)
    return to_x, jnp.sum(_xlogy_ratio(pi, problem.py), axis=-1)


def gain(pi: Float[Array, "... n"], problem: Problem) -> Float[Array, "..."]:
    r"""$g(\pi)$ in nats: zero at $P_Y$, whatever the slope."""
    to_x, to_y = divergences(pi, problem)
    return to_x - problem.slope * to_y


def tilt(pi: Float[Array, " n"], problem: Problem) -> Float[Array, " n"]:
    r"""$P^T \ln(P\pi / P_X)$; a finite stand-in for minus infinity keeps 0 times it at 0."""
    t = problem.channel @ pi
    reached = (t > 0) & (problem.px > 0)
    logs = jnp.log(jnp.where(reached, t, 1.0) / jnp.where(reached, problem.px, 1.0))
    return jnp.where(reached | (problem.px == 0), logs, -1e30) @ problem.channel


def _normalised(log_pi: Float[Array, " n"]) -> Float[Array, " n"]:
    weight = jnp.exp(log_pi - jnp.max(log_pi))
    return weight / weight.sum()


def _bottleneck_step(
    pi: Float[Array, " n"], problem: Problem, dual: Float[Array, " n"]
) -> Float[Array, " n"]:
    return _normalised(jnp.log(problem.py) + (tilt(pi, problem) - dual) / problem.slope)


def _newton_step(
    pi: Float[Array, " n"], problem: Problem, dual: Float[Array, " n"]
) -> Float[Array, " n"]:
    r"""Newton's step in $\ln\pi$ for $s \ln(\pi/P_Y) - P^T\ln(P\pi/P_X) + \lambda + \nu = 0$."""
    P, s, n = problem.channel, problem.slope, pi.shape[0]
    t = P @ pi
    inside = pi > 0
    log_pi = jnp.log(jnp.where(inside, pi, 1.0))
    residual = s * (log_pi - jnp.log(problem.py)) - tilt(pi, problem) + dual
    residual = jnp.where(inside, residual, 0.0)
    curvature = (P / jnp.where(t > 0, t, 1.0)[:, None]).T @ P
    system = jnp.zeros((n + 1, n + 1))
    system = system.at[:n, :n].set(s * jnp.eye(n) - curvature * pi)
    system = system.at[:n, n].set(1.0).at[n, :n].set(pi)
    step = jnp.linalg.solve(system, -jnp.append(residual, 0.0))[:n]
    step = jnp.where(jnp.isfinite(step) & inside, step, 0.0)
    step = step / jnp.maximum(1.0, jnp.max(jnp.abs(step)) / 3.0)
    return _normalised(jnp.where(inside, log_pi + step, -jnp.inf))


def _climb(
    pi: Float[Array, " n"], problem: Problem, dual: Float[Array, " n"], steps: int
) -> Float[Array, " n"]:
    def step(_: Int[Array, ""], pi: Float[Array, " n"]) -> Float[Array, " n"]:
        tried = jnp.stack(
            [pi, _bottleneck_step(pi, problem, dual), _newton_step(pi, problem, dual)]
        )
        height = gain(tried, problem) - tried @ dual
        return tried[jnp.argmax(jnp.where(jnp.isfinite(height), height, -jnp.inf))]

    return jax.lax.fori_loop(0, steps, step, pi)


def _followed_up(
    starts: Float[Array, "g n"], problem: Problem, dual: Float[Array, " n"]
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

    return jax.lax.scan(choose, height, None, length=_BEST)[1]


def priced(
    atoms: Float[Array, "k n"],
    dual: Float[Array, " n"],
    problem: Problem,
    starts: Float[Array, "g n"],
) -> tuple[Float[Array, " n"], Float[Array, ""]]:
    """Climb g - lambda from the atoms, from P_Y and from the best starts: where to, how high."""
    followed = _followed_up(starts, problem, dual)
    pool = jnp.concatenate([atoms, problem.py[None], followed])
    pool = jax.vmap(lambda pi: _climb(pi, problem, dual, _POLISH))(pool)
    height = gain(pool, problem) - pool @ dual
    best = jnp.argmax(jnp.where(jnp.isfinite(height), height, -jnp.inf))
    return pool[best], height[best]


def merged(weights: Array, atoms: Array, problem: Problem) -> tuple[Array, Array]:
    """Join copies of one atom where that does not lower the value; a joined copy has no weight."""
    n = atoms.shape[0]
    pairs = jnp.array([(i, j) for i in range(n) for j in range(i + 1, n)], dtype=int)

    def join(k: Int[Array, ""], state: tuple[Array, Array]) -> tuple[Array, Array]:
        w, atoms = state
        i, j = pairs[k, 0], pairs[k, 1]
        total = w[i] + w[j]
        share = jnp.where(total > 0, w[j] / jnp.where(total > 0, total, 1.0), 0.0)
        joined = (1 - share) * atoms[i] + share * atoms[j]
        height = gain(jnp.stack([joined, atoms[i], atoms[j]]), problem)
        near = jnp.sum(jnp.abs(atoms[i] - atoms[j])) < _ALMOST_ONE
        better = near & (height[0] >= (1 - share) * height[1] + share * height[2] - 1e-15)
        return (
            jnp.where(better, w.at[i].set(total).at[j].set(0.0), w),
            jnp.where(better, atoms.at[i].set(joined), atoms),
        )

    return jax.lax.fori_loop(0, len(pairs), join, (weights, atoms))


def standard_starts(n: int, py: np.ndarray, random: Any) -> np.ndarray:
    """Where pricing starts: a lattice up to three letters, subsets and random points beyond.

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
        pairs = [py * (eye[i] + eye[j]) for i in range(n) for j in range(i + 1, n)]
        without = [py * (1 - eye[i]) for i in range(n)]
        points = np.concatenate([eye, np.array(pairs), np.array(without), np.asarray(random)])
        points = points / points.sum(axis=1, keepdims=True)
    # A step cannot leave a face on which a letter of X is impossible: start inside of it.
    mixed = [(1 - share) * corner + share * py for corner in eye for share in _NEAR_CORNERS]
    return np.concatenate([(1 - _INSIDE) * points + _INSIDE * py, np.array(mixed)])
