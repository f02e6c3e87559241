r"""Scalar quantizers, a coordinate at a time: even cells, and the cells of Lloyd and Max.

The codewords of an item in R^d are the grid of the coordinates' levels; its index counts through
them in mixed radix, the last coordinate fastest. B bits per item are $K = 2^B$ codewords exactly.

Both fits raise a ValueError that names the argument if one lies outside its range, and a TypeError if
bits are not integers.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from rdsim import validation
from rdsim.codes.distances import training_items
from rdsim.codes.item_code import DeterministicCode, item_points
from rdsim.codes.quantizers.lloyd_max import lloyd_max_levels, sample_levels
from rdsim.number_types import ArrayLike, Integer
from rdsim.results import result
from rdsim.sources.mixture import GaussianMixtureSource
from rdsim.transformations import on_host

MAX_BITS: Final = 16
"""Most bits per item, so that the codewords can be listed."""


@result
class ScalarQuantizer(DeterministicCode):
    """A code that quantizes each coordinate by itself.

    Attributes:
        levels: of each coordinate, d arrays of shape (L_i,), rising.
        thresholds: between the levels, d arrays of shape (L_i - 1,), rising; an item on a
            threshold belongs to the cell above it.
        converged: of each coordinate, whether its levels are those that were searched for, shape
            (d,); even cells are not searched for.

    """

    levels: tuple[Float[Array, " l"], ...]
    thresholds: tuple[Float[Array, " t"], ...]
    converged: Bool[Array, " d"]

    @property
    def codewords(self) -> Float[Array, "k d"]:
        """The grid of levels, shape (K, d), K the product of the numbers of levels."""
        grid = jnp.meshgrid(*self.levels, indexing="ij")
        return jnp.stack([axis.ravel() for axis in grid], axis=1)

    @property
    def _size(self) -> int:
        """Number of codewords, without a list of them."""
        return math.prod(x.shape[0] for x in self.levels)

    def _indices(self, items: ArrayLike) -> Int[Array, " n"]:
        points = item_points(items, len(self.levels))
        return _cells(points, self.thresholds)


@jax.jit
def _cells(items: Float[Array, "n d"], thresholds: tuple[Array, ...]) -> Int[Array, " n"]:
    index = jnp.zeros(items.shape[0], jnp.int32)
    for i, edges in enumerate(thresholds):
        cell = jnp.searchsorted(edges, items[:, i], side="right")
        index = index * (edges.shape[0] + 1) + cell.astype(jnp.int32)
    return index


@on_host
@validation.needs_float64
def uniform_scalar_quantizer(
    items: ArrayLike, bits: Integer, *, tail: ArrayLike = 1e-3
) -> ScalarQuantizer:
    r"""Cut the range of each coordinate into even cells, each with its middle as level.

    Args:
        items: training items, shape (N, d); the range of a coordinate is from its quantile at
            `tail` to that at 1 - `tail`. Items beyond belong to the cell at the end.
        bits: an item, 0 to 16, each given to the coordinate whose expected error $\sigma_i^2
            4^{-b_i}$ is largest by then; or one number of bits per coordinate.
        tail: fraction of the training items beyond either end of the range, in [0, 1/2).

    Returns:
        The code, with $2^{\text{bits}}$ codewords.

    """
    points = np.asarray(training_items(items))
    cut = float(validation.interval("tail", tail, low=0.0, high=0.5, open_high=True, ndim=0))
    allocation = _allocation(bits, points.var(axis=0))
    ends = np.quantile(points, [cut, 1 - cut], axis=0)
    levels, thresholds = [], []
    for low, high, b in zip(*ends, allocation, strict=True):
        edges = np.linspace(low, high, 2**b + 1)
        levels.append(jnp.asarray((edges[1:] + edges[:-1]) / 2))
        thresholds.append(jnp.asarray(edges[1:-1]))
    return ScalarQuantizer(
        levels=tuple(levels), thresholds=tuple(thresholds), converged=jnp.ones(len(levels), bool)
    )


def _allocation(bits: Any, variances: np.ndarray) -> list[int]:
    """Bits of each coordinate: those given, or one at a time to the largest expected error."""
    dimension = variances.size
    if isinstance(bits, Sequence | np.ndarray | jax.Array) and np.ndim(bits) > 0:
        given = [validation.integer("bits", b, low=0) for b in np.asarray(bits).tolist()]
        if len(given) != dimension or sum(given) > MAX_BITS:
            raise ValueError(
                f"bits must be one number a coordinate, {dimension} in all, summing to at most "
                f"{MAX_BITS}, got {given}"
            )
        return given
    total = validation.integer("bits", bits, low=0, high=MAX_BITS)
    allocation = [0] * dimension
    # Greedy allocation: a bit divides the error of a coordinate by four at high rate, so that the largest error gets it.
    error = variances.astype(float).copy()
    for _ in range(total):
        worst = int(np.argmax(error))
        allocation[worst] += 1
        error[worst] /= 4
    return allocation


@on_host
@validation.needs_float64
def lloyd_max_quantizer(items: ArrayLike, bits: Integer) -> ScalarQuantizer:
    r"""Quantize each coordinate with the levels of Lloyd and Max for its distribution.

    Args:
        items: a Gaussian mixture (`GaussianMixtureSource`), whose coordinates are
            quantized by exact integrals, or training items of shape (N, d).
        bits: as for `uniform_scalar_quantizer`; at most 12 a coordinate.

    Returns:
        The code, with $2^{\text{bits}}$ codewords; each coordinate that `converged` is at a local
        optimum, the global one for a Gaussian.

    Raises:
        ValueError: also if a coordinate has fewer distinct items than levels.

    References:
        Max (1960), IRE Trans. Inf. Theory 6(1); Lloyd (1982), IEEE Trans. Inf. Theory 28(2).

    """
    if isinstance(items, GaussianMixtureSource):
        w, m, v = (np.asarray(x) for x in (items.weights, items.item_means, items.item_variance))
        variances = w @ (v[:, None] + (m - w @ m) ** 2)
        fits = [
            lloyd_max_levels(w, m[:, i], v, 2**b)
            for i, b in enumerate(_allocation(bits, variances))
        ]
    else:
        points = np.asarray(training_items(items))
        fits = [
            sample_levels(column, 2**b, f"coordinate {i}")
            for i, (column, b) in enumerate(
                zip(points.T, _allocation(bits, points.var(axis=0)), strict=True)
            )
        ]
    return ScalarQuantizer(
        levels=tuple(fit.levels for fit in fits),
        thresholds=tuple(fit.thresholds for fit in fits),
        converged=jnp.stack([fit.converged for fit in fits]),
    )
