r"""How far g may rise above an affine function on the simplex: branch and bound (C11).

For the function $\varphi(\pi) = D(P\pi \| P_X) - s D(\pi\|P_Y) - \langle\lambda, \pi\rangle$ (see
`concave_envelope`) each cell, a simplex with vertices $v_i$, gets the smaller of two upper bounds:

1. Up to affine terms $\varphi$ is a sum of $t \ln t$ over rows x of $t = P\pi$, convex, and of
   $\kappa_y \pi_y \ln \pi_y$, with $\kappa_y$ the mass of the rows that only y can reach, less s.
   Replace the concave of these by tangents at the cell's centre c: what results is convex and
   above $\varphi$, so its maximum is at a vertex:
   $\max_i \varphi(v_i) + \sum_{\kappa_y<0} |\kappa_y| \, [v \ln(v/c) - v + c]_{i,y}$.
2. If the second derivative of $\varphi$ is at least $-\rho$ in the cell's own edge coordinates,
   $\varphi$ lies above its chords by at most $\rho/2$ times a constant of the dimension, so it
   is at most $\max_i \varphi(v_i) + \rho\, k/2$, $k = 1/4$ on a segment and $1 - 1/m$ beyond.

Both exceed the vertices' maximum to second order in the cell's size, so that the cells left near a
quadratic maximum are a constant number a level. Cells are halved on the edge that is longest in
$\sqrt\pi$, which makes them thin along a face. In nats.
"""

from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rdsim.limits.concave_envelope import Problem, gain

_BATCHES: Final = (256, 1024)  # cells bounded in one call: few numbers, so that little is compiled
_LEVELS: Final = 400
ROUNDING: Final = 2e-14
"""Nats by which a computed value of the function may be off, for masses that are not absurd."""


class Excess(NamedTuple):
    """What branch and bound found, a batch of affine functions.

    Attributes:
        upper: certified bound on the largest g - lambda, nats, shape (S,).
        found: largest value met at a vertex, nats, shape (S,).
        where: the point of that value, shape (S, n).
        finished: whether no cell was left open, shape (S,).

    """

    upper: np.ndarray
    found: np.ndarray
    where: np.ndarray
    finished: np.ndarray


def _cell(
    cell: Float[Array, "n n"], slope: Float[Array, ""], dual: Float[Array, " n"], problem: Problem
) -> tuple[Array, Array, Array, Array]:
    """Bound one cell; also its best vertex's value and place, and its two halves."""
    n = cell.shape[0]
    P = problem.channel
    value = gain(cell, problem._replace(slope=slope)) - cell @ dual
    alone = jnp.sum(P > 0, axis=1) == 1
    kappa = jnp.sum(jnp.where(alone[:, None], P, 0.0), axis=0) - slope
    concave = jnp.maximum(-kappa, 0.0)

    centre = jnp.mean(cell, axis=0)
    inside = (cell > 0) & (centre > 0)
    logs = jnp.log(jnp.where(inside, cell, 1.0) / jnp.where(inside, centre, 1.0))
    tangent = value + (jnp.where(inside, cell * logs, 0.0) - cell + centre) @ concave

    edges = cell[1:] - cell[0]
    least, most = jnp.min(cell, axis=0), jnp.max(cell, axis=0)
    image = jnp.where(alone, 0.0, 1.0)[:, None] * (P @ edges.T)
    largest = jnp.max(cell @ P.T, axis=0)
    convex = image / jnp.where(largest > 0, largest, 1.0)[:, None]
    diagonal = jnp.where(
        kappa >= 0,
        kappa / jnp.where(most > 0, most, 1.0),
        kappa / jnp.where(least > 0, least, 1.0),
    )
    second = image.T @ convex + (edges * diagonal) @ edges.T
    radius = jnp.sum(jnp.abs(second), axis=1) - jnp.abs(jnp.diagonal(second))
    lowest = jnp.min(jnp.diagonal(second) - radius)
    if n == 3:
        half = 0.5 * (second[0, 0] - second[1, 1])
        lowest = 0.5 * jnp.trace(second) - jnp.sqrt(half**2 + second[0, 1] ** 2)
    shape = 0.25 if n == 2 else 1 - 1 / (n - 1)
    bent = jnp.max(value) + 0.5 * shape * jnp.maximum(-lowest, 0.0)
    # A letter that is absent from the whole face adds nothing; one that vanishes at a vertex
    # only has an unbounded second derivative.
    unbounded = jnp.any((concave > 0) & (least == 0) & (most > 0))
    bound = jnp.minimum(jnp.max(tangent), jnp.where(unbounded, jnp.inf, bent))

    root = jnp.sqrt(cell)
    length = jnp.sum((root[:, None] - root[None]) ** 2, axis=-1)
    i, j = jnp.unravel_index(jnp.argmax(length), (n, n))
    middle = 0.5 * (cell[i] + cell[j])
    halves = jnp.stack([cell.at[i].set(middle), cell.at[j].set(middle)])
    return bound, jnp.max(value), cell[jnp.argmax(value)], halves


@jax.jit
def _cells(
    cells: Float[Array, "b n n"],
    lane: Int[Array, " b"],
    slopes: Float[Array, " s"],
    duals: Float[Array, "s n"],
    problem: Problem,
) -> tuple[Array, Array, Array, Array]:
    return jax.vmap(lambda cell, k: _cell(cell, slopes[k], duals[k], problem))(cells, lane)


def _evaluated(
    cells: np.ndarray, lane: np.ndarray, slopes: Any, duals: Any, problem: Problem
) -> list[np.ndarray]:
    """Bound a list of cells, in small batches if they are few."""
    batch = _BATCHES[len(lane) > _BATCHES[0]]
    parts = []
    for start in range(0, len(lane), batch):
        index = np.minimum(np.arange(start, start + batch), len(lane) - 1)
        found = _cells(cells[index], lane[index], slopes, duals, problem)
        parts.append([np.asarray(part)[: len(lane) - start] for part in found])
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def largest_excess(
    problem: Problem, duals: np.ndarray, tolerance: np.ndarray, *, budget: int
) -> Excess:
    r"""Bound $\max_\pi g(\pi) - \langle\lambda, \pi\rangle$ over the whole simplex.

    Args:
        problem: with slopes of shape (S,).
        duals: lambda, nats, shape (S, n).
        tolerance: nats above the largest value met at which a cell is closed, shape (S,).
        budget: cells to bound before giving up, for each of the S functions.

    Returns:
        The bounds. They hold whether or not the search finished.

    """
    slopes = np.asarray(problem.slope)
    S, n = np.shape(duals)
    lanes = 2 ** max(6, (S - 1).bit_length())
    padded = np.minimum(np.arange(lanes), S - 1)
    slopes_device, duals_device = jnp.asarray(slopes[padded]), jnp.asarray(duals[padded])
    shared = problem._replace(slope=jnp.zeros(()))
    cells, lane = np.broadcast_to(np.eye(n), (S, n, n)), np.arange(S)
    found, where = np.full(S, -np.inf), np.tile(np.asarray(problem.py), (S, 1))
    closed, left = np.zeros(S), np.zeros(S)
    spent = np.zeros(S, int)
    for _ in range(_LEVELS):
        spent += np.bincount(lane, minlength=S)
        bound, value, place, halves = _evaluated(cells, lane, slopes_device, duals_device, shared)
        order = np.argsort(value, kind="stable")
        better = value[order] > found[lane[order]]
        found[lane[order][better]] = value[order][better]
        where[lane[order][better]] = place[order][better]
        open_ = bound > (np.maximum(found, 0.0) + tolerance)[lane]
        np.maximum.at(closed, lane[~open_], bound[~open_])
        exhausted = open_ & (spent >= budget)[lane]
        np.maximum.at(left, lane[exhausted], bound[exhausted])
        keep = open_ & ~exhausted
        if not keep.any():
            break
        cells = halves[keep].reshape(-1, n, n)
        lane = np.repeat(lane[keep], 2)
    else:
        np.maximum.at(left, lane[keep], bound[keep])
    upper = np.maximum(np.maximum(closed, left), found) + ROUNDING
    return Excess(upper, found, where, left == 0)
