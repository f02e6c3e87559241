r"""How far g may rise above an affine function on the simplex: branch and bound (C11).

For the function $\varphi(\pi) = D(P\pi \| P_X) - s D(\pi\|P_Y) - \langle\lambda, \pi\rangle$ (see
`concave_envelope`) each cell, a simplex with vertices $v_i$, gets the least of three upper bounds:

1. Up to affine terms $\varphi$ is a sum of $t \ln t$ over rows x of $t = P\pi$, convex, and of
   $\kappa_y \pi_y \ln \pi_y$, with $\kappa_y$ the mass of the rows that only y can reach, less s.
   Replace the concave of these by tangents at the cell's centre c: what results is convex and
   above $\varphi$, so its maximum is at a vertex:
   $\max_i \varphi(v_i) + \sum_{\kappa_y<0} |\kappa_y| \, [v \ln(v/c) - v + c]_{i,y}$.
2. If the second derivative of $\varphi$ is at least $-\rho$ in the cell's own edge coordinates,
   $\varphi$ lies above its chords by at most $\rho/2$ times a constant of the dimension, so it
   is at most $\max_i \varphi(v_i) + \rho\, k/2$, $k = 1/4$ on a segment and $1 - 1/m$ beyond.
3. If the second derivative is at most H in these coordinates, and $\epsilon I - H$ is positive
   definite, Taylor's theorem at c gives $\varphi(c) + \frac12 \nabla^T (\epsilon I - H)^{-1}
   \nabla + \frac12 \epsilon r^2$, with r the distance of c from the farthest vertex.

The first two exceed the vertices' maximum to second order in the cell's size, so that the cells
left near a quadratic maximum are a constant number a level. Where the maximum is a whole curve of
posteriors their number grows as the square root of one over the tolerance: there the third
decides, whose error is of third order. Cells are halved on the edge that is longest in
$\sqrt\pi$, which makes them thin along a face. In nats.
"""

from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rdsim.limits.bottleneck._envelope import Problem, gain, tilt

_BATCHES: Final = (256, 1024)  # cells bounded in one call: few numbers, so that little is compiled
_LEVELS: Final = 400
_MULTIPLES: Final = (1.1, 3.0)  # of the largest eigenvalue, tried as the shift of Taylor's bound
_SHIFT: Final = 1e-6  # of the second derivative, by which Taylor's bound is kept well-conditioned
_TINY: Final = 1e-300
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


def _eigenvalue_range(matrix: Float[Array, "m m"]) -> tuple[Array, Array]:
    """Bounds on the eigenvalues of a symmetric matrix: exact up to 2 x 2, else Gershgorin's."""
    diagonal = jnp.diagonal(matrix)
    if len(matrix) == 2:
        half, mean = 0.5 * (diagonal[0] - diagonal[1]), 0.5 * jnp.sum(diagonal)
        root = jnp.sqrt(half**2 + matrix[0, 1] ** 2)
        return mean - root, mean + root
    radius = jnp.sum(jnp.abs(matrix), axis=1) - jnp.abs(diagonal)
    return jnp.min(diagonal - radius), jnp.max(diagonal + radius)


def _taylor_bound(
    value: Float[Array, ""],
    gradient: Float[Array, " m"],
    second: Float[Array, "m m"],
    letters: int,
) -> Float[Array, ""]:
    """Bound a function on a cell by its value and gradient at the centre: the third bound.

    The gradient and what bounds the second derivative from above are in edge coordinates.
    """
    _, highest = _eigenvalue_range(second)
    radius = 1 - 2 / letters + (letters - 1) / letters**2
    floor = _SHIFT * jnp.max(jnp.abs(second)) + _TINY

    def bound(multiple: Float[Array, ""]) -> Float[Array, ""]:
        shift = multiple * jnp.maximum(highest, 0.0) + floor
        step = jnp.linalg.solve(shift * jnp.eye(len(gradient)) - second, gradient)
        return value + 0.5 * gradient @ step + 0.5 * shift * radius

    bounds = jax.vmap(bound)(jnp.array(_MULTIPLES))
    return jnp.min(jnp.where(jnp.isfinite(bounds), bounds, jnp.inf))


def _cell(
    cell: Float[Array, "n n"], slope: Float[Array, ""], dual: Float[Array, " n"], problem: Problem
) -> tuple[Array, Array, Array, Array]:
    """Bound one cell; also its best vertex's value and place, and its two halves."""
    n = cell.shape[0]
    P = problem.channel
    here = problem._replace(slope=slope)
    value = gain(cell, here) - cell @ dual
    alone = jnp.sum(P > 0, axis=1) == 1
    kappa = jnp.sum(jnp.where(alone[:, None], P, 0.0), axis=0) - slope
    concave = jnp.maximum(-kappa, 0.0)

    centre = jnp.mean(cell, axis=0)
    inside = (cell > 0) & (centre > 0)
    logs = jnp.log(jnp.where(inside, cell, 1.0) / jnp.where(inside, centre, 1.0))
    tangent = value + (jnp.where(inside, cell * logs, 0.0) - cell + centre) @ concave

    edges = cell[1:] - cell[0]
    least, most = jnp.min(cell, axis=0), jnp.max(cell, axis=0)
    least_image, most_image = (f(cell @ P.T, axis=0) for f in (jnp.min, jnp.max))
    image = jnp.where(alone, 0.0, 1.0)[:, None] * (P @ edges.T)

    def second(under_negative: Array, under_positive: Array, under_image: Array) -> Array:
        """Second derivative with its negative and positive terms divided by these."""
        divisor = jnp.where(kappa >= 0, under_positive, under_negative)
        diagonal = kappa / jnp.where(divisor > 0, divisor, 1.0)
        convex = image / jnp.where(under_image > 0, under_image, 1.0)[:, None]
        return image.T @ convex + (edges * diagonal) @ edges.T

    lowest, _ = _eigenvalue_range(second(least, most, most_image))
    shape = 0.25 if n == 2 else 1 - 1 / (n - 1)
    bent = jnp.max(value) + 0.5 * shape * jnp.maximum(-lowest, 0.0)
    # A letter that is absent from the whole face adds nothing; one that vanishes at a vertex
    # only has an unbounded second derivative.
    vanishing = (least == 0) & (most > 0)
    bent = jnp.where(jnp.any((concave > 0) & vanishing), jnp.inf, bent)

    log_centre = jnp.log(jnp.where(centre > 0, centre, 1.0) / problem.py)
    slant = edges @ (tilt(centre, here) - slope * log_centre - dual)
    taylor = _taylor_bound(
        gain(centre, here) - centre @ dual, slant, second(most, least, least_image), n
    )
    steep = jnp.any((kappa > 0) & vanishing)
    steep |= jnp.any(~alone & (least_image == 0) & (most_image > 0))
    taylor = jnp.where(steep, jnp.inf, taylor)
    bound = jnp.minimum(jnp.max(tangent), jnp.minimum(bent, taylor))

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
