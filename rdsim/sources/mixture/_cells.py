"""A Gaussian mixture source cut into cells, on the host: tables, points and masses."""

import functools
from typing import Final, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy

from rdsim.root_finding import bisect_on_host
from rdsim.sources import discretisation
from rdsim.sources.discretisation import Discretisation, DiscretisedItem
from rdsim.sources.mixture.densities import MixtureParameters

_HALVINGS: Final = 90
"""Halvings of a bracket of some 18 standard deviations: more than its ends' 53 bits, so that none is
left."""


class _Line(NamedTuple):
    """One coordinate cut into cells."""

    edges: np.ndarray  # (cells + 1,)
    masses: np.ndarray  # (c, cells), within each class
    moments: np.ndarray  # (c, cells), integrals of the coordinate within each class


def _edges(w: np.ndarray, mean: np.ndarray, deviation: np.ndarray, cells: int) -> np.ndarray:
    """Cut a mixture on a line into cells as the Gaussian's: density about the cube root of the pdf.

    The quantiles are found by bisection, each from its own level alone: doubling refines.
    """
    # The cube root of w N(m, v) is proportional to w^(1/3) v^(1/3) N(m, 3 v): point density of fine quantizers.
    weight = np.cbrt(w * deviation**2)
    weight = weight / weight.sum()
    wide = np.sqrt(3.0) * deviation
    level = np.arange(1, cells) / cells
    low = np.full(cells - 1, np.min((mean - 9 * wide)[w > 0]))
    high = np.full(cells - 1, np.max((mean + 9 * wide)[w > 0]))

    def reached(x: np.ndarray) -> np.ndarray:
        return ~(scipy.special.ndtr((x[:, None] - mean) / wide) @ weight < level)

    low, high = bisect_on_host(reached, low, high, steps=_HALVINGS)
    return np.concatenate([[-np.inf], 0.5 * (low + high), [np.inf]])


def _line(w: np.ndarray, mean: np.ndarray, deviation: np.ndarray, cells: int) -> _Line:
    """Cut one coordinate of the mixture, and integrate each class over the cells."""
    edges = _edges(w, mean, deviation, cells)
    scaled = (edges - mean[:, None]) / deviation[:, None]
    masses = discretisation.cell_probabilities(scaled[:, :-1], scaled[:, 1:])
    moments = np.stack([discretisation.cell_moments(row) for row in scaled])
    return _Line(edges, masses, mean[:, None] * masses + deviation[:, None] * moments)


def _points(w: np.ndarray, line: _Line) -> tuple[np.ndarray, np.ndarray]:
    """Conditional means and masses of the cells; an impossible cell has an edge as its point."""
    mass = w @ line.masses
    inner = np.clip(line.edges[:-1], line.edges[1], line.edges[-2])
    return np.divide(w @ line.moments, mass, out=inner, where=mass > 0), mass


def discretise(
    source: MixtureParameters, cells: int, modality: int, *, information_upper: float
) -> Discretisation:
    """Cut the pair of one modality and an item on a line into cells.

    The upper bound on the information of the uncut pair says what the cutting costs at most.
    """
    w, v = np.asarray(source.weights), np.asarray(source.item_variance)
    gain = float(source.gains[modality])
    variance_x = gain**2 * v + float(source.query_noise[modality])
    means = (np.asarray(source.query_means)[modality, :, 0], np.asarray(source.item_means)[:, 0])
    deviations = (np.sqrt(variance_x), np.sqrt(v))
    lines = [_line(w, m, s, cells) for m, s in zip(means, deviations, strict=True)]
    table = np.zeros((cells, cells))
    for c in np.flatnonzero(w):
        scaled = [
            (line.edges - m[c]) / s[c] for line, m, s in zip(lines, means, deviations, strict=True)
        ]
        # Within a class the pair is bivariate normal: X = gain Y + noise has this correlation with Y.
        rho = gain * deviations[1][c] / deviations[0][c]
        table += w[c] * discretisation.bivariate_cells(float(rho), *scaled)
    points = [_points(w, line)[0] for line in lines]
    return discretisation.build(
        table,
        edges=(lines[0].edges, lines[1].edges),
        points=(points[0], points[1]),
        information_upper=information_upper,
        mean_squared_error=float(discretise_item(source, cells).mean_squared_error),
    )


def discretise_item(source: MixtureParameters, cells: int) -> DiscretisedItem:
    """Cut the item alone into a product grid."""
    w, v = np.asarray(source.weights), np.asarray(source.item_variance)
    means = np.asarray(source.item_means)
    centre = w @ means  # squares are taken about it, so that none is large
    centred = means - centre
    lines = [_line(w, m, np.sqrt(v), cells) for m in centred.T]
    dimension = len(lines)
    grid = (cells,) * dimension
    masses = np.zeros(grid)
    moments = np.zeros((*grid, dimension))
    for c in np.flatnonzero(w):
        along = [line.masses[c] for line in lines]
        masses += w[c] * _outer(along)
        for i, line in enumerate(lines):
            moments[..., i] += w[c] * _outer([*along[:i], line.moments[c], *along[i + 1 :]])
    # A cell whose mass underflows gets the point of its row and of its column.
    apart = [_points(w, line)[0] for line in lines]
    fallback = np.stack(np.meshgrid(*apart, indexing="ij"), axis=-1)
    points = np.divide(moments, masses[..., None], out=fallback, where=masses[..., None] > 0)
    total = float(w @ (dimension * v + np.sum(centred**2, axis=1)))
    error = total - float(np.sum(masses * np.sum(points**2, axis=-1)))
    return DiscretisedItem(
        points=jnp.asarray(points.reshape(-1, dimension) + centre),
        masses=jnp.asarray((masses / masses.sum()).ravel()),
        mean_squared_error=jnp.asarray(error),
    )


def _outer(factors: list[np.ndarray]) -> np.ndarray:
    """The product of vectors along axes of their own."""
    return functools.reduce(np.multiply.outer, factors)
