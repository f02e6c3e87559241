"""Information and cells of a Gaussian mixture source, on the host: the numbers behind its methods."""

import itertools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.special

from rdsim.certified import Certified
from rdsim.information import LN2
from rdsim.sources import discretisation
from rdsim.sources.discretisation import Discretisation, DiscretisedItem
from rdsim.sources.mixture_entropy import EntropyBounds, mixture_entropy, span_coordinates
from rdsim.sources.mixture_law import MixtureLaw


def _certified(value: float, lower: float, upper: float, tolerance: float) -> Certified:
    return Certified(
        value=jnp.asarray(min(max(value, lower), upper)),
        lower=jnp.asarray(lower),
        upper=jnp.asarray(upper),
        tolerance=jnp.asarray(tolerance),
    )


def item_entropy(source: MixtureLaw, tolerance: float) -> Certified:
    """h(Y) in bits."""
    return _certified(*_item_entropy(source, tolerance), tolerance)


def _item_entropy(source: MixtureLaw, tolerance: float) -> EntropyBounds:
    means = np.asarray(source.item_means)
    variances = np.repeat(np.asarray(source.item_variance)[:, None], means.shape[1], axis=1)
    return mixture_entropy(np.asarray(source.weights), means, variances, tolerance)


def query_information(source: MixtureLaw, chosen: tuple[int, ...], tolerance: float) -> Certified:
    r"""I(X_S; Y) in bits.

    The whitened queries are $A_c + g Y + Z$, Z white. Only their components along g (d of them)
    and along the differences of the A_c orthogonal to g depend on (C, Y): these are X'. Given the
    class, X' - GY is independent of Y.
    """
    index = list(chosen)
    w, m, v = (np.asarray(a) for a in (source.weights, source.item_means, source.item_variance))
    deviation = np.sqrt(np.asarray(source.query_noise)[index])
    gain = np.asarray(source.gains)[index] / deviation
    centres = np.asarray(source.query_means)[index] / deviation[:, None, None]
    shift = centres - gain[:, None, None] * m
    size = float(np.linalg.norm(gain))
    direction = gain / size if size > 0 else np.zeros_like(gain)
    along = np.einsum("k,kcd->cd", direction, shift)
    across = shift - direction[:, None, None] * along
    across = span_coordinates(np.moveaxis(across, 0, 1).reshape(len(w), -1))
    offset = np.concatenate([along, across], axis=1)
    seen = np.concatenate([along + size * m, across], axis=1)

    classes, dimension = m.shape
    variances = np.repeat(v[:, None], dimension, axis=1)
    white = np.ones_like(across)
    # An interval for the information is a sum of three for entropies.
    third = tolerance / 3
    query = mixture_entropy(w, seen, np.concatenate([1 + size**2 * variances, white], 1), third)
    if span_coordinates(offset).shape[1] == 0:
        gaussian = 0.5 * dimension * np.log2(2 * np.pi * np.e)
        terms = EntropyBounds(*(h - gaussian for h in query))
    else:
        item = mixture_entropy(w, m, variances, third)
        both = mixture_entropy(
            w,
            np.concatenate([offset, m], axis=1),
            np.concatenate([np.ones_like(offset), variances], axis=1),
            third,
        )
        terms = EntropyBounds(
            query.value + item.value - both.value,
            query.lower + item.lower - both.upper,
            query.upper + item.upper - both.lower,
        )
    # I(X;Y|C) - H(C) <= I(X;Y) <= I(X;Y|C) + H(C), and H(C) = 0 for a single class.
    given_class = float(w @ (0.5 * dimension * np.log1p(size**2 * v))) / LN2
    positive = w[w > 0]
    class_entropy = float(-np.sum(positive * np.log2(positive))) if classes > 1 else 0.0
    rounding = 1e-14 * (1 + given_class + class_entropy)
    lower = max(terms.lower, given_class - class_entropy - rounding, 0.0)
    upper = max(min(terms.upper, given_class + class_entropy + rounding), lower)
    return _certified(terms.value, lower, upper, tolerance)


class _Line(NamedTuple):
    """One coordinate cut into cells."""

    edges: np.ndarray  # (cells + 1,)
    masses: np.ndarray  # (c, cells), within each class
    moments: np.ndarray  # (c, cells), integrals of the coordinate within each class


def _edges(w: np.ndarray, mean: np.ndarray, deviation: np.ndarray, cells: int) -> np.ndarray:
    """Cut a mixture on a line into cells as the Gaussian's: density about the cube root of the pdf.

    The quantiles are found by bisection, each from its own level alone: doubling refines.
    """
    share = np.cbrt(w * deviation**2)
    share = share / share.sum()
    wide = np.sqrt(3.0) * deviation
    level = np.arange(1, cells) / cells
    low = np.full(cells - 1, np.min((mean - 9 * wide)[w > 0]))
    high = np.full(cells - 1, np.max((mean + 9 * wide)[w > 0]))
    for _ in range(90):
        middle = 0.5 * (low + high)
        below = scipy.special.ndtr((middle[:, None] - mean) / wide) @ share < level
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.concatenate([[-np.inf], 0.5 * (low + high), [np.inf]])


def _line(w: np.ndarray, mean: np.ndarray, deviation: np.ndarray, cells: int) -> _Line:
    edges = _edges(w, mean, deviation, cells)
    scaled = (edges - mean[:, None]) / deviation[:, None]
    masses = discretisation.cell_probabilities(scaled[:, :-1], scaled[:, 1:])
    spread = np.stack([discretisation.cell_moments(row) for row in scaled])
    return _Line(edges, masses, mean[:, None] * masses + deviation[:, None] * spread)


def _points(w: np.ndarray, line: _Line) -> tuple[np.ndarray, np.ndarray]:
    """Conditional means and masses of the cells; a cell without mass keeps an edge as its point."""
    mass = w @ line.masses
    inner = np.clip(line.edges[:-1], line.edges[1], line.edges[-2])
    return np.divide(w @ line.moments, mass, out=inner, where=mass > 0), mass


def discretise(source: MixtureLaw, cells: int, modality: int, tolerance: float) -> Discretisation:
    """Cut the pair of one modality and an item on a line into cells."""
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
        rho = gain * deviations[1][c] / deviations[0][c]
        table += w[c] * discretisation.bivariate_cells(float(rho), *scaled)
    points = [_points(w, line)[0] for line in lines]
    return discretisation.build(
        table,
        edges=(lines[0].edges, lines[1].edges),
        points=(points[0], points[1]),
        information_upper=float(query_information(source, (modality,), tolerance).upper),
        mean_squared_error=float(discretise_item(source, cells).mean_squared_error),
    )


def discretise_item(source: MixtureLaw, cells: int) -> DiscretisedItem:
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
    # A cell whose mass underflows keeps the points of its rows and columns.
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
    product = factors[0]
    for factor in itertools.islice(factors, 1, None):
        product = np.multiply.outer(product, factor)
    return product
