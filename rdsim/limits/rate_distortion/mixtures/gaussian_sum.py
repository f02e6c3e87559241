r"""The largest value of a positive sum of unit Gaussian kernels, bounded rigorously.

$$c(u) = \sum_y \nu_y e^{-|z_y - u|^2 / 2}, \qquad \nu_y \ge 0, \; u \in R^1 \text{ or } R^2.$$

The maximiser lies in the hull of the z, whose box is cut into cells narrower than the kernel. In a
cell c is its Taylor polynomial of total degree below m, up to at most
$1.0865\, r^m / \sqrt{m!} \sum_y \nu_y e^{-\delta_y^2/4}$ (Cramer's inequality for the Hermite
functions; r the half diagonal, $\delta_y$ the distance of $z_y$ from the cell). The polynomial is
bounded by branch and bound: on a box a quadratic, whose largest value is known, plus a bound on the
third derivatives. All coefficients of all cells are matrix products, because the kernel factorises.
The line is the plane with one cell of no width across.
"""

import math
from typing import Final, NamedTuple

import numpy as np

HALF_WIDTH: Final = {1: 0.25, 2: 0.2}
"""Half the width of a cell in standard deviations of the kernel, by dimension."""
ORDER: Final = 13
"""Total degree m of the Taylor polynomials, exclusive."""
_CRAMER: Final = 1.0866
"""Above Cramer's constant 1.0865 of the Hermite functions."""
_MAX_CELLS: Final = 2_000_000
"""Most cells over the points; beyond, an error says that the points lie too far apart."""
_MAX_BOXES: Final = 400_000
"""Boxes of branch and bound at one depth, beyond which it stops with the bound it has."""
_MAX_DEPTH: Final = 24
"""Most halvings of a cell's side: below 2^-24 of it, values in a box differ by rounding alone."""
_CHUNK: Final = 20_000_000
"""Numbers held in memory at once."""

Cells = tuple[np.ndarray, np.ndarray]
"""Centres along the two axes; along the second, a single zero on the line."""


class TooManyCellsError(ValueError):
    """The points span too many kernel widths to be searched."""


class Bound(NamedTuple):
    """A rigorous upper bound on max c, and the largest value seen with its place, shape (d,)."""

    upper: float
    seen: float
    place: np.ndarray


def cells_over(z: np.ndarray) -> Cells:
    """Cells that cover the box around the points z, shape (N, d)."""
    half = HALF_WIDTH[z.shape[1]]
    axes, count = [], 1
    for low, high in zip(z.min(axis=0), z.max(axis=0), strict=True):
        cells = max(1, math.ceil((high - low) / (2 * half)))
        count *= cells
        if count > _MAX_CELLS:
            raise TooManyCellsError(f"the points span {high - low:.3g} kernel widths")
        axes.append((low + high) / 2 + half * (2 * np.arange(cells) - (cells - 1)))
    return axes[0], axes[1] if z.shape[1] == 2 else np.zeros(1)


def taylor(z: np.ndarray, nu: np.ndarray, cells: Cells, order: int) -> np.ndarray:
    """Coefficients a[i, j, k, l] of cell (i, j) in offsets of one half width, total degree < order.

    Shape (cells, cells, order, order), and (cells, 1, order, 1) on the line.
    """
    half, flat = HALF_WIDTH[z.shape[1]], z.shape[1] == 1
    # The kernel factorises over the axes: all coefficients are products of one-dimensional
    # Hermite tables, summed over the points by matrix products.
    across = np.ones((1, 1, len(z))) if flat else _hermite(cells[1], z[:, 1], half, order)
    found = np.zeros((len(cells[0]), len(cells[1]), order, len(across)))
    chunk = max(1, _CHUNK // (order * len(z)))
    for start in range(0, len(cells[0]), chunk):
        rows = slice(start, start + chunk)
        along = _hermite(cells[0][rows], z[:, 0], half, order) * nu
        for k in range(order):
            for other in range(min(len(across), order - k)):
                found[rows, :, k, other] = along[k] @ across[other].T
    return found


def _hermite(centres: np.ndarray, x: np.ndarray, half: float, order: int) -> np.ndarray:
    r"""$\frac{h^k}{k!} \frac{d^k}{du^k} e^{-(u-x)^2/2}$ at the centres, shape (order, cells, N)."""
    offset = centres[:, None] - x
    table = np.empty((order, *offset.shape))
    table[0] = np.exp(-(offset**2) / 2)
    if order > 1:
        table[1] = -half * offset * table[0]
    for k in range(1, order - 1):
        # The recurrence of the Hermite polynomials, He_{k+1} = x He_k - k He_{k-1}, with
        # factorials and half widths taken in, so that nothing grows.
        table[k + 1] = -half / (k + 1) * (offset * table[k] + half * table[k - 1])
    return table


def _remainder(z: np.ndarray, nu: np.ndarray, cells: Cells) -> np.ndarray:
    """Bound on what the Taylor polynomial misses in each cell."""
    dimension = z.shape[1]
    half = HALF_WIDTH[dimension]

    def reach(axis: int) -> np.ndarray:
        if axis >= dimension:
            return np.ones((1, len(z)))
        outside = np.maximum(np.abs(cells[axis][:, None] - z[:, axis]) - half, 0.0)
        return np.exp(-(outside**2) / 4)

    scale = _CRAMER * (half * math.sqrt(dimension)) ** ORDER / math.sqrt(math.factorial(ORDER))
    return scale * ((reach(0) * nu) @ reach(1).T)


def largest_value(z: np.ndarray, nu: np.ndarray, margin: float) -> Bound:
    """Bound max c by a number at most `margin` above the larger of 1 and the largest value seen.

    Args:
        z: centres in units of the kernel's standard deviation, shape (N, d), d = 1 or 2.
        nu: weights >= 0, shape (N,).
        margin: how far above the largest value the bound may lie. Where the search would take too
            many boxes the bound lies further above; it holds all the same.

    Returns:
        The bound, and the largest value met.

    """
    if not np.all(np.isfinite(nu)):
        return Bound(math.inf, math.inf, z[int(np.argmax(nu))])
    cells, half = cells_over(z), HALF_WIDTH[z.shape[1]]
    # One row for each cell: its centre, its Taylor coefficients, their error, the third derivatives.
    centre = np.stack([x.ravel() for x in np.meshgrid(*cells, indexing="ij")], axis=1)
    a = taylor(z, nu, cells, ORDER)
    a = a.reshape(-1, *a.shape[2:])
    missed = _remainder(z, nu, cells).ravel()
    third = _third_derivatives(a)
    wide = np.array([1.0, 0.0 if z.shape[1] == 1 else 1.0])
    corners = np.array([(x, y) for x in (-0.5, 0.5) for y in ((-0.5, 0.5) if wide[1] else (0.0,))])

    # Branch and bound. A box is a cell's number and a centre `at`, in half widths of the cell; all
    # boxes of one depth have one size. Invariant: max c is at most `upper` or in some open box.
    cell = np.arange(len(a))
    at = np.zeros((len(a), 2))
    seen, upper, place = 0.0, 0.0, np.zeros(2)
    for depth in range(_MAX_DEPTH):
        width = wide * 0.5**depth
        bound, value = _box_bounds(a, third, cell, at, width)
        # A value of the polynomial less the remainder is certainly reached by c.
        if len(value) and (value - missed[cell]).max() > seen:
            best = int(np.argmax(value - missed[cell]))
            seen = float(value[best] - missed[cell[best]])
            place = centre[cell[best]] + half * at[best]
        bound = bound + missed[cell]
        # Prune the boxes that cannot exceed what is accepted, and split the others in halves.
        accepted = max(1.0, seen) + margin
        open_boxes = bound > accepted
        upper = max(upper, float(np.max(bound[~open_boxes], initial=0.0)))
        cell, at, bound = cell[open_boxes], at[open_boxes], bound[open_boxes]
        if len(cell) * len(corners) > _MAX_BOXES or depth == _MAX_DEPTH - 1:
            break
        cell = np.repeat(cell, len(corners))
        at = (at[:, None] + width * corners).reshape(-1, 2)
        if not len(cell):
            bound = np.zeros(0)
            break
    upper = max(upper, float(np.max(bound, initial=0.0)))
    rounding = 4 * np.finfo(float).eps * (math.sqrt(len(z)) + ORDER) * max(upper, 1.0)
    return Bound(upper + rounding, seen, place[: z.shape[1]])


def _third_derivatives(a: np.ndarray) -> np.ndarray:
    """Bounds on the four third derivatives over a whole cell, each with its factor 1/(i! j!)."""
    j, k = np.arange(a.shape[1])[:, None], np.arange(a.shape[2])
    size = np.abs(a)

    def falling(n: np.ndarray, times: int) -> np.ndarray:
        return np.prod([n - t for t in range(times)], axis=0) if times else np.ones_like(n)

    # |a| bounds every monomial on the cell, where both offsets are at most one half width.
    terms = [
        np.tensordot(size, falling(j, i) * falling(k, 3 - i), 2)
        / (math.factorial(i) * math.factorial(3 - i))
        for i in (3, 2, 1, 0)
    ]
    return np.stack(terms, axis=1)


def _box_bounds(
    a: np.ndarray, third: np.ndarray, cell: np.ndarray, at: np.ndarray, width: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Upper bound of each cell's polynomial on a box around `at`, and its value there."""
    chunk = max(1, _CHUNK // a[0].size)
    parts = [
        _quadratic_bounds(a[cell[i : i + chunk]], at[i : i + chunk], width)
        for i in range(0, len(cell), chunk)
    ]
    if not parts:
        return np.zeros(0), np.zeros(0)
    bound, value = (np.concatenate(part) for part in zip(*parts, strict=True))
    x, y = width
    # Taylor's remainder of third order in the box: the largest third derivatives over the whole
    # cell, times products of the half widths.
    return bound + third[cell] @ np.array([x**3, x * x * y, x * y * y, y**3]), value


def _quadratic_bounds(
    a: np.ndarray, at: np.ndarray, width: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Bound the second-order Taylor polynomial of each box's polynomial at `at`, and its value there.

    By the two axes apart, or, where the quadratic is concave, by its peak if that is lower.
    """
    first, second = _powers(at[:, 0], a.shape[1]), _powers(at[:, 1], a.shape[2])
    inner = [np.einsum("njk,nk->nj", a, power) for power in second]

    def derivative(i: int, j: int) -> np.ndarray:
        return np.einsum("nj,nj->n", inner[j], first[i])

    value = derivative(0, 0)
    gx, gy = derivative(1, 0), derivative(0, 1)
    hxx, hxy, hyy = derivative(2, 0), derivative(1, 1), derivative(0, 2)
    x, y = width
    # Axis by axis the quadratic is maximised exactly, and the mixed term is at most |hxy| x y. A
    # concave quadratic is nowhere higher than its unconstrained peak, -g^T H^-1 g / 2 above the
    # centre.
    bound = parabola(gx, hxx, x) + parabola(gy, hyy, y) + np.abs(hxy) * x * y
    if y > 0:
        determinant = hxx * hyy - hxy**2
        concave = (hxx < 0) & (hyy < 0) & (determinant > 0)
        rise = -(hyy * gx**2 - 2 * hxy * gx * gy + hxx * gy**2)
        peak = rise / (2 * np.where(concave, determinant, 1.0))
        bound = np.where(concave, np.minimum(bound, peak), bound)
    return value + bound, value


def parabola(slope: np.ndarray, curvature: np.ndarray, width: float) -> np.ndarray:
    """Largest value of slope t + curvature t^2 / 2 for |t| <= width."""
    inside = (curvature < 0) & (np.abs(slope) < -curvature * width)
    peak = slope**2 / (-2 * np.where(inside, curvature, -1.0))
    return np.where(inside, peak, np.abs(slope) * width + curvature * width**2 / 2)


def _powers(t: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Monomials t^k, their first and second derivatives, each (n, order)."""
    k = np.arange(order)
    plain = t[:, None] ** k
    down, twice = np.zeros_like(plain), np.zeros_like(plain)
    down[:, 1:] = k[1:] * plain[:, :-1]
    twice[:, 2:] = (k * (k - 1))[2:] * plain[:, :-2]
    return plain, down, twice
