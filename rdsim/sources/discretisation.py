r"""A continuous pair cut into cells, with what the cutting costs.

The cells of a Gaussian variable are those of equal mass under a variance three times its own: their
density is proportional to the cube root of the pdf, the best for squared error when cells are many
(Panter & Dite 1951), and doubling the number of cells cuts every cell in two. Tables are made on
the host in NumPy.
"""

import itertools
import math
from typing import Final

import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float

from rdsim.results import result
from rdsim.sources.tables import DiscreteSource

TABLE_ERROR: Final = 1e-13
"""Total variation allowed between a table and the exact cell probabilities. Quadrature and
truncation err by less than 1e-16; the rest allows for rounding, some hundred units of it."""

MAX_CELLS: Final = 2048
"""Most cells of one coordinate: a table of 2^22 entries."""

_REACH: Final = 9.0
"""Standard deviations of y that are integrated; beyond them lies a probability of 2e-19."""
_NODES: Final = 16
"""Gauss-Legendre nodes of each panel."""


@result
class Discretisation:
    """A pair of real letters cut into cells.

    Attributes:
        source: joint distribution of the cells, shape (cells, cells).
        x_edges: edges of the query's cells, shape (cells + 1,), from -inf to inf.
        y_edges: edges of the item's cells, shape (cells + 1,), from -inf to inf.
        x_points: conditional mean of the query in each cell, shape (cells,).
        y_points: conditional mean of the item in each cell, shape (cells,).
        information: I of the table in bits.
        information_loss: bits; the information of the real pair exceeds the table's by no more.
            By data processing it exceeds it by at least -allowance.
        mean_squared_error: of the item replaced by the point of its cell, to a few 1e-16 of its
            variance.
        allowance: bits by which `information` may err, because the table may lie 1e-13 in total
            variation from the exact one; included in `information_loss`.

    """

    source: DiscreteSource
    x_edges: Float[Array, " x_edges"]
    y_edges: Float[Array, " y_edges"]
    x_points: Float[Array, " x"]
    y_points: Float[Array, " y"]
    information: Float[Array, ""]
    information_loss: Float[Array, ""]
    mean_squared_error: Float[Array, ""]
    allowance: Float[Array, ""]


@result
class DiscretisedItem:
    """A continuous item cut into the cells of a product grid.

    Attributes:
        points: conditional mean of the item in each cell, shape (n, d).
        masses: probability of each cell, shape (n,), summing to one.
        mean_squared_error: expected squared distance of the item from the point of its cell, to a
            few 1e-16 of the item's total variance.

    """

    points: Float[Array, "n d"]
    masses: Float[Array, " n"]
    mean_squared_error: Float[Array, ""]


def build(
    table: np.ndarray,
    *,
    edges: tuple[np.ndarray, np.ndarray],
    points: tuple[np.ndarray, np.ndarray],
    information_upper: float,
    mean_squared_error: float,
) -> Discretisation:
    """Assemble the result from the raw table and an upper bound on the information of the pair."""
    source = DiscreteSource(joint=jnp.asarray(table / table.sum()))
    information = source.mutual_information
    allowance = _allowance(*table.shape)
    return Discretisation(
        source=source,
        x_edges=jnp.asarray(edges[0]),
        y_edges=jnp.asarray(edges[1]),
        x_points=jnp.asarray(points[0]),
        y_points=jnp.asarray(points[1]),
        information=information,
        information_loss=jnp.maximum(information_upper - information, 0.0) + allowance,
        mean_squared_error=jnp.asarray(mean_squared_error),
        allowance=jnp.asarray(allowance),
    )


def _allowance(rows: int, columns: int) -> float:
    r"""Bound the error of I = H(X) + H(Y) - H(X,Y) in bits at total variation t.

    $|H(P) - H(Q)| \le t \log_2 (N-1) + h(t)$ for each of the three entropies (Audenaert 2007).
    """
    t = TABLE_ERROR
    h = -(t * math.log2(t) + (1 - t) * math.log1p(-t) / math.log(2.0))
    return sum(t * math.log2(max(size, 2)) + h for size in (rows, columns, rows * columns))


def normal_edges(cells: int) -> np.ndarray:
    """Edges of the cells of a standard normal, symmetric about zero."""
    edges = math.sqrt(3.0) * scipy.special.ndtri(np.arange(cells + 1) / cells)
    return 0.5 * (edges - edges[::-1])


def cell_probabilities(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Standard normal probability of (low, high), by the tail on its side: no digits cancel."""
    above = low > 0
    left = np.where(above, -high, low)
    right = np.where(above, -low, high)
    return np.maximum(scipy.special.ndtr(right) - scipy.special.ndtr(left), 0.0)


def cell_moments(edges: np.ndarray) -> np.ndarray:
    """Integral of t over each cell under the standard normal density."""
    density = np.exp(-0.5 * edges**2) / math.sqrt(2 * math.pi)
    return density[:-1] - density[1:]


def bivariate_cells(rho: float, x_edges: np.ndarray, y_edges: np.ndarray) -> np.ndarray:
    r"""Cell probabilities of a standard bivariate normal pair of correlation rho.

    $$P_{ij} = \int_{b_j}^{b_{j+1}} \varphi(y)
      \left[\Phi\left(\tfrac{a_{i+1}-\rho y}{s}\right)
          - \Phi\left(\tfrac{a_i-\rho y}{s}\right)\right] dy, \quad s^2 = 1 - \rho^2.$$

    Every cell of y is cut into panels no wider than the scale on which the bracket changes, and 16
    Gauss-Legendre nodes then leave less than 1e-16; no term is negative, so small cells keep their
    relative accuracy.

    Args:
        rho: correlation in [-1, 1].
        x_edges: shape (i + 1,), increasing, in standard deviations.
        y_edges: shape (j + 1,), increasing, in standard deviations.

    Returns:
        Shape (i, j); the probability of y beyond nine standard deviations (2e-19) is left out.

    """
    if rho == 0:
        columns = cell_probabilities(y_edges[:-1], y_edges[1:])
        return np.outer(cell_probabilities(x_edges[:-1], x_edges[1:]), columns)
    if abs(rho) == 1:
        # X = rho Y: a cell has the mass of the interval of y that both its sides allow.
        ends = np.stack([x_edges[:-1], x_edges[1:]]) * rho
        low = np.maximum(ends.min(axis=0)[:, None], y_edges[:-1])
        high = np.minimum(ends.max(axis=0)[:, None], y_edges[1:])
        return np.where(low < high, cell_probabilities(low, np.maximum(low, high)), 0.0)
    scale = math.sqrt((1 - rho) * (1 + rho))
    breaks = _panel_breaks(rho, scale, x_edges, y_edges)
    node, weight = scipy.special.roots_legendre(_NODES)
    half = 0.5 * np.diff(breaks)
    y = (breaks[:-1] + half)[:, None] + half[:, None] * node
    mass = half[:, None] * weight * np.exp(-0.5 * y**2) / math.sqrt(2 * math.pi)
    # Every edge of y is a break, so that the panels of a cell are those between its two edges.
    first = np.searchsorted(breaks, np.clip(y_edges, -_REACH, _REACH))
    table = np.zeros((x_edges.size - 1, y_edges.size - 1))
    for j, (start, stop) in enumerate(itertools.pairwise(first)):
        inside = (x_edges[:, None] - rho * y[start:stop].ravel()) / scale
        table[:, j] = cell_probabilities(inside[:-1], inside[1:]) @ mass[start:stop].ravel()
    return table


def _panel_breaks(rho: float, scale: float, x_edges: np.ndarray, y_edges: np.ndarray) -> np.ndarray:
    """Ends of panels of y, so short that the conditional cell probability is smooth on every one.

    As a function of y it changes only where an edge of x is crossed, on the scale `width` of the
    conditional distribution. So the panels are as short everywhere; or, where the correlation is so
    strong that these would be too many, only within nine such widths of a crossing.
    """
    width = scale / abs(rho)
    inside = x_edges[np.isfinite(x_edges)]
    around = np.arange(-_REACH, _REACH + 0.5)
    grid = np.arange(-_REACH, _REACH + 0.5)
    if 2 * _REACH / width < inside.size * around.size:
        pieces = [np.linspace(-_REACH, _REACH, math.ceil(2 * _REACH / min(width, 1.0)) + 1)]
    else:
        pieces = [grid, (inside[:, None] / rho + width * around).ravel()]
    return np.unique(np.clip(np.concatenate([*pieces, y_edges]), -_REACH, _REACH))
