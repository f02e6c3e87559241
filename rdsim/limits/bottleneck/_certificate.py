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

import numpy as np

from rdsim.limits.bottleneck._envelope import EnvelopeProblem, gain, solve, tilt

_BATCH: Final = 4096  # cells bounded at a time: their arrays stay in the processor's cache
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


def _eigenvalue_range(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds on the eigenvalues of symmetric matrices: exact up to 2 x 2, else Gershgorin's."""
    diagonal = np.diagonal(matrix, axis1=1, axis2=2)
    if matrix.shape[1] == 2:
        # The eigenvalues of a symmetric 2 x 2 matrix are its mean diagonal plus and minus this
        # root.
        half = 0.5 * (diagonal[:, 0] - diagonal[:, 1])
        mean = 0.5 * (diagonal[:, 0] + diagonal[:, 1])
        root = np.sqrt(half**2 + matrix[:, 0, 1] ** 2)
        return mean - root, mean + root
    # Gershgorin's circle theorem: every eigenvalue lies within the sum of a row's off-diagonal
    # sizes of its diagonal entry. Both ends err to the safe side, towards a wider range.
    radius = np.abs(matrix).sum(axis=2) - np.abs(diagonal)
    return (diagonal - radius).min(axis=1), (diagonal + radius).max(axis=1)


def _taylor_bound(
    value: np.ndarray, gradient: np.ndarray, second: np.ndarray, letters: int
) -> np.ndarray:
    """Bound a function on cells by its values and gradients at the centres: the third bound.

    The gradients and what bounds the second derivatives from above are in edge coordinates.
    """
    _, highest = _eigenvalue_range(second)
    # The centre is 1/n in each of the n - 1 edge coordinates and the vertices are zero and the
    # unit vectors: this is the squared distance to a unit vector, the farther ones for n > 2.
    radius = 1 - 2 / letters + (letters - 1) / letters**2
    floor = _SHIFT * np.abs(second).max(axis=(1, 2)) + _TINY
    least = np.full(len(value), np.inf)
    for multiple in _MULTIPLES:
        # Any shift above the largest eigenvalue makes the matrix positive definite, and thus
        # gives a bound: a small one keeps the last term small, a large one the middle one. Where
        # g is concave in the cell (highest < 0) the shift is nearly zero, and the bound is the
        # peak of the parabola.
        shift = multiple * np.maximum(highest, 0.0) + floor
        matrix = shift[:, None, None] * np.eye(letters - 1) - second
        step = solve(matrix, gradient[:, :, None])[:, :, 0]
        bound = value + 0.5 * np.sum(gradient * step, axis=1) + 0.5 * shift * radius
        least = np.fmin(least, np.where(np.isfinite(bound), bound, np.inf))
    return least


def _bounded(
    cell: np.ndarray, slope: np.ndarray, dual: np.ndarray, problem: EnvelopeProblem
) -> list[np.ndarray]:
    """Bound cells, shape (b, n, n), whose vertices are rows, by the least of the module's bounds.

    Args:
        cell: vertices, shape (b, n, n).
        slope: of the function of each cell, shape (b,).
        dual: lambda of that function, shape (b, n).
        problem: the source.

    Returns:
        The bounds, the largest values at a vertex, these vertices, and the two halves of each cell.

    """
    count, n, _ = cell.shape
    P = problem.channel
    here = problem._replace(slope=slope)
    value = gain(cell, here) - (cell @ dual[:, :, None])[..., 0]
    # Rows of P that one letter alone reaches: their t ln t is a multiple of pi_y ln pi_y.
    alone = np.sum(P > 0, axis=1) == 1
    kappa = np.where(alone[:, None], P, 0.0).sum(axis=0) - slope[:, None]
    concave = np.maximum(-kappa, 0.0)

    # First bound: vertices' values, each raised by what the tangents at the centre add.
    centre = cell.mean(axis=1)
    inside = (cell > 0) & (centre > 0)[:, None]
    # The Bregman divergence of v ln v, v ln(v/c) - v + c, is what the tangent at c lies above the
    # function by, per unit of concavity; it is c at v = 0, and all zero on a face without the
    # letter.
    logs = np.log(np.where(inside, cell, 1.0) / np.where(inside, centre[:, None], 1.0))
    above = np.where(inside, cell * logs, 0.0) - cell + centre[:, None]
    tangent = value + (above @ concave[:, :, None])[..., 0]

    # Edge coordinates: pi = cell[0] + edges^T z. The second derivative of t ln t is 1/t, so that the
    # range of t over the cell, taken at vertices, bounds the second derivative from both sides.
    edges = cell[:, 1:] - cell[:, :1]
    least, most = cell.min(axis=1), cell.max(axis=1)
    t = cell @ P.T
    least_image, most_image = t.min(axis=1), t.max(axis=1)
    image = np.where(alone, 0.0, edges @ P.T)  # (b, n - 1, |X|)

    def second(
        under_negative: np.ndarray, under_positive: np.ndarray, under_image: np.ndarray
    ) -> np.ndarray:
        """Second derivatives with their negative and positive terms divided by these."""
        divisor = np.where(kappa >= 0, under_positive, under_negative)
        diagonal = kappa / np.where(divisor > 0, divisor, 1.0)
        convex = image / np.where(under_image > 0, under_image, 1.0)[:, None]
        own = (edges * diagonal[:, None]) @ edges.swapaxes(1, 2)
        return np.asarray(convex @ image.swapaxes(1, 2) + own)

    # Second bound: the best vertex, raised by the curvature below which the function cannot go.
    # For a bound from below the convex terms are divided by the largest value that their argument
    # takes in the cell, the concave ones by the smallest: each term is then as negative as it can
    # be anywhere.
    lowest, _ = _eigenvalue_range(second(least, most, most_image))
    # The largest of sum_i w_i - |w|^2 over weights of the m = n - 1 unit vectors, see the module.
    constant = 0.25 if n == 2 else 1 - 1 / (n - 1)
    chords = value.max(axis=1) + 0.5 * constant * np.maximum(-lowest, 0.0)
    # A letter that is absent from the whole face adds nothing; one that vanishes at a vertex
    # only has an unbounded second derivative.
    vanishing = (least == 0) & (most > 0)
    chords = np.where(np.any((concave > 0) & vanishing, axis=1), np.inf, chords)

    # Third bound, in the same coordinates.
    log_centre = np.log(np.where(centre > 0, centre, 1.0) / problem.py)
    direction = tilt(centre, here) - slope[:, None] * log_centre - dual
    # A letter absent from a face has no edge along it, so that what its logarithm is set to is
    # multiplied by zero.
    gradient = (edges @ direction[:, :, None])[..., 0]
    middle_value = gain(centre, here) - np.sum(centre * dual, axis=1)
    # From above it is the other way round: the concave terms over the largest, the convex over
    # the smallest.
    taylor = _taylor_bound(middle_value, gradient, second(most, least, least_image), n)
    # A convex term whose argument vanishes somewhere in the cell has no upper bound on its second
    # derivative.
    unbounded = np.any((kappa > 0) & vanishing, axis=1)
    unbounded |= np.any(~alone & (least_image == 0) & (most_image > 0), axis=1)
    taylor = np.where(unbounded, np.inf, taylor)
    bound = np.minimum(tangent.max(axis=1), np.minimum(chords, taylor))

    # Halve the edge that is longest in sqrt(pi), in which distances near a face count for more.
    root = np.sqrt(cell)
    length = np.sum((root[:, :, None] - root[:, None]) ** 2, axis=-1).reshape(count, n * n)
    i, j = np.unravel_index(length.argmax(axis=1), (n, n))
    cells = np.arange(count)
    middle = 0.5 * (cell[cells, i] + cell[cells, j])
    halves = np.stack([cell, cell], axis=1)
    # Bisection of a simplex: replacing either end of the edge by its midpoint gives two that
    # cover it.
    halves[cells, 0, i] = middle
    halves[cells, 1, j] = middle
    return [bound, value.max(axis=1), cell[cells, value.argmax(axis=1)], halves]


def _bounded_cells(
    cells: np.ndarray,
    function: np.ndarray,
    slopes: np.ndarray,
    duals: np.ndarray,
    problem: EnvelopeProblem,
) -> list[np.ndarray]:
    """Bound a list of cells, each of the function with its number, a batch at a time."""
    parts = []
    # Zeros have logarithms where no mass is: what comes of it is masked.
    with np.errstate(all="ignore"):
        for start in range(0, len(function), _BATCH):
            of = function[start : start + _BATCH]
            parts.append(_bounded(cells[start : start + _BATCH], slopes[of], duals[of], problem))
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
    cells, function = np.broadcast_to(np.eye(n), (S, n, n)), np.arange(S)
    found, where = np.full(S, -np.inf), np.tile(np.asarray(problem.py), (S, 1))
    # Largest bound of the cells that were closed, and of those that were given up.
    closed, given_up = np.zeros(S), np.zeros(S)
    spent = np.zeros(S, int)
    for _ in range(_LEVELS):
        spent += np.bincount(function, minlength=S)
        bound, value, vertex, halves = _bounded_cells(cells, function, slopes, duals, problem)
        # NumPy writes repeated indices in order: of several better vertices of one function the last, which is
        # the best, stays.
        order = np.argsort(value, kind="stable")
        better = order[value[order] > found[function[order]]]
        found[function[better]] = value[better]
        where[function[better]] = vertex[better]
        # Zero is a floor since lambda is only ever raised: how far g stays below it does not
        # matter.
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
