r"""How far g may rise above an affine function on the simplex: branch and bound (C11).

For the function $\varphi(\pi) = D(P\pi \| P_X) - s D(\pi\|P_Y) - \langle\lambda, \pi\rangle$ (see
`_envelope`) each cell, a simplex with vertices $v_i$, gets the least of three upper bounds:

1. Up to affine terms $\varphi$ is a sum of $t \ln t$ over rows x of $t = P\pi$, convex, and of
   $\kappa_y \pi_y \ln \pi_y$, with $\kappa_y$ the mass of the rows that only y can reach, less s.
   Replace the concave of these by tangents at the cell's centre c: what results is convex and
   above $\varphi$, so its maximum is at a vertex:
   $\max_i \varphi(v_i) + \sum_{\kappa_y<0} |\kappa_y| \, [v \ln(v/c) - v + c]_{i,y}$.
2. If the second derivative of $\varphi$ is at least $-\rho$ in the cell's own edge coordinates,
   $\varphi$ exceeds what is linearly interpolated between its vertices by at most $\rho/2$ times a
   constant k of the number m of edges at a vertex, so that it is at most
   $\max_i \varphi(v_i) + \rho\, k/2$, $k = 1/4$ on a segment and $1 - 1/m$ beyond.
3. If the second derivative is at most H in these coordinates, and $\epsilon I - H$ is positive
   definite, Taylor's theorem at c gives $\varphi(c) + \frac12 \nabla^T (\epsilon I - H)^{-1}
   \nabla + \frac12 \epsilon r^2$, with r the distance of c from the farthest vertex.

The first two exceed the vertices' maximum to second order in the cell's size, so that the cells
left near a quadratic maximum are a constant number a level. Where the maximum is a whole curve of
posteriors their number grows as the square root of one over the tolerance: there the third
decides, whose error is of third order. Cells are halved on the edge that is longest in
$\sqrt\pi$, which makes them thin along a face. In nats.
"""

from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rdsim.limits.bottleneck._envelope import EnvelopeProblem, gain, tilt

_BATCHES: Final = (256, 1024)
"""Cells bounded in one call of the kernel: two sizes, so that little is compiled."""

_LANES: Final = 64  # slopes are padded to a power of two from here on, for the same reason
_LEVELS: Final = 400  # levels of halving at most: cells that are open then are given up

_MULTIPLES: Final = (1.1, 3.0)
"""Multiples of the largest eigenvalue that are tried as the shift epsilon of Taylor's bound."""

_SHIFT: Final = 1e-6
"""Least shift, relative to the second derivative: it keeps the matrix of Taylor's bound regular."""

_TINY: Final = 1e-300  # least shift where the second derivative is zero

ROUNDING: Final = 2e-14
"""Nats by which a computed value of the function may be off, for masses that are not absurd."""


class Excess(NamedTuple):
    """What branch and bound found, for S affine functions."""

    upper: np.ndarray  # certified bound on the largest g - lambda, nats, shape (S,)
    found: np.ndarray  # largest value met at a vertex, nats, shape (S,)
    where: np.ndarray  # the point of that value, shape (S, n)
    finished: np.ndarray  # whether no cell was given up, shape (S,)


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


def _bounded(
    cell: Float[Array, "n n"],
    slope: Float[Array, ""],
    dual: Float[Array, " n"],
    problem: EnvelopeProblem,
) -> tuple[Array, Array, Array, Array]:
    """Bound one cell, whose vertices are rows, by the least of the module's three bounds.

    Returns:
        The bound, the largest value at a vertex, that vertex, and the two halves of the cell.

    """
    n = cell.shape[0]
    P = problem.channel
    here = problem._replace(slope=slope)
    value = gain(cell, here) - cell @ dual
    # Rows of P that one letter alone reaches: their t ln t is a multiple of pi_y ln pi_y.
    alone = jnp.sum(P > 0, axis=1) == 1
    kappa = jnp.sum(jnp.where(alone[:, None], P, 0.0), axis=0) - slope
    concave = jnp.maximum(-kappa, 0.0)

    # First bound: vertices' values, each raised by what the tangents at the centre add.
    centre = jnp.mean(cell, axis=0)
    inside = (cell > 0) & (centre > 0)
    logs = jnp.log(jnp.where(inside, cell, 1.0) / jnp.where(inside, centre, 1.0))
    tangent = value + (jnp.where(inside, cell * logs, 0.0) - cell + centre) @ concave

    # Edge coordinates: pi = cell[0] + edges^T z. The second derivative of t ln t is 1/t, so that the
    # range of t over the cell, taken at vertices, bounds the second derivative from both sides.
    edges = cell[1:] - cell[0]
    least, most = jnp.min(cell, axis=0), jnp.max(cell, axis=0)
    t = cell @ P.T
    least_image, most_image = jnp.min(t, axis=0), jnp.max(t, axis=0)
    image = jnp.where(alone, 0.0, 1.0)[:, None] * (P @ edges.T)

    def second(under_negative: Array, under_positive: Array, under_image: Array) -> Array:
        """Second derivative with its negative and positive terms divided by these."""
        divisor = jnp.where(kappa >= 0, under_positive, under_negative)
        diagonal = kappa / jnp.where(divisor > 0, divisor, 1.0)
        convex = image / jnp.where(under_image > 0, under_image, 1.0)[:, None]
        return image.T @ convex + (edges * diagonal) @ edges.T

    # Second bound: the best vertex, raised by the curvature below which the function cannot go.
    lowest, _ = _eigenvalue_range(second(least, most, most_image))
    constant = 0.25 if n == 2 else 1 - 1 / (n - 1)
    chords = jnp.max(value) + 0.5 * constant * jnp.maximum(-lowest, 0.0)
    # A letter that is absent from the whole face adds nothing; one that vanishes at a vertex
    # only has an unbounded second derivative.
    vanishing = (least == 0) & (most > 0)
    chords = jnp.where(jnp.any((concave > 0) & vanishing), jnp.inf, chords)

    # Third bound, in the same coordinates.
    log_centre = jnp.log(jnp.where(centre > 0, centre, 1.0) / problem.py)
    gradient = edges @ (tilt(centre, here) - slope * log_centre - dual)
    taylor = _taylor_bound(
        gain(centre, here) - centre @ dual, gradient, second(most, least, least_image), n
    )
    unbounded = jnp.any((kappa > 0) & vanishing)
    unbounded |= jnp.any(~alone & (least_image == 0) & (most_image > 0))
    taylor = jnp.where(unbounded, jnp.inf, taylor)
    bound = jnp.minimum(jnp.max(tangent), jnp.minimum(chords, taylor))

    # Halve the edge that is longest in sqrt(pi), in which distances near a face count for more.
    root = jnp.sqrt(cell)
    length = jnp.sum((root[:, None] - root[None]) ** 2, axis=-1)
    i, j = jnp.unravel_index(jnp.argmax(length), (n, n))
    middle = 0.5 * (cell[i] + cell[j])
    halves = jnp.stack([cell.at[i].set(middle), cell.at[j].set(middle)])
    return bound, jnp.max(value), cell[jnp.argmax(value)], halves


@jax.jit
def _bounded_batch(
    cells: Float[Array, "b n n"],
    function: Int[Array, " b"],
    slopes: Float[Array, " s"],
    duals: Float[Array, "s n"],
    problem: EnvelopeProblem,
) -> tuple[Array, Array, Array, Array]:
    return jax.vmap(lambda cell, k: _bounded(cell, slopes[k], duals[k], problem))(cells, function)


def _bounded_cells(
    cells: np.ndarray, function: np.ndarray, slopes: Array, duals: Array, problem: EnvelopeProblem
) -> list[np.ndarray]:
    """Bound a list of cells, each of the function with its number, in small batches if few."""
    count = len(function)
    batch = _BATCHES[count > _BATCHES[0]]
    parts = []
    for start in range(0, count, batch):
        index = np.minimum(np.arange(start, start + batch), count - 1)
        found = _bounded_batch(cells[index], function[index], slopes, duals, problem)
        parts.append([np.asarray(part)[: count - start] for part in found])
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def largest_excess(
    problem: EnvelopeProblem, duals: np.ndarray, tolerance: np.ndarray, *, budget: int
) -> Excess:
    r"""Bound $\max_\pi g(\pi) - \langle\lambda, \pi\rangle$ over the simplex, for S functions at once.

    Breadth-first branch and bound. A cell is closed once its bound lies within the tolerance of the
    largest value met (or of zero, below which nothing need be known), and halved otherwise. At every
    time the closed cells, those given up and the open ones cover the simplex, so that the largest of
    their bounds holds.

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
    padded = np.minimum(np.arange(max(_LANES, 2 ** (S - 1).bit_length())), S - 1)
    slopes_device, duals_device = jnp.asarray(slopes[padded]), jnp.asarray(duals[padded])
    shared = problem._replace(slope=jnp.zeros(()))
    cells, function = np.broadcast_to(np.eye(n), (S, n, n)), np.arange(S)
    found, where = np.full(S, -np.inf), np.tile(np.asarray(problem.py), (S, 1))
    # Largest bound of the cells that were closed, and of those that were given up.
    closed, given_up = np.zeros(S), np.zeros(S)
    spent = np.zeros(S, int)
    for _ in range(_LEVELS):
        spent += np.bincount(function, minlength=S)
        bound, value, vertex, halves = _bounded_cells(
            cells, function, slopes_device, duals_device, shared
        )
        # Of several better vertices of one function the last, which is the best, is written.
        order = np.argsort(value, kind="stable")
        better = order[value[order] > found[function[order]]]
        found[function[better]] = value[better]
        where[function[better]] = vertex[better]
        is_open = bound > (np.maximum(found, 0.0) + tolerance)[function]
        np.maximum.at(closed, function[~is_open], bound[~is_open])
        exhausted = is_open & (spent >= budget)[function]
        np.maximum.at(given_up, function[exhausted], bound[exhausted])
        halved = is_open & ~exhausted
        if not halved.any():
            break
        cells = halves[halved].reshape(-1, n, n)
        function = np.repeat(function[halved], 2)
    else:
        np.maximum.at(given_up, function[::2], bound[halved])
    upper = np.maximum(np.maximum(closed, given_up), found) + ROUNDING
    return Excess(upper, found, where, given_up == 0)
