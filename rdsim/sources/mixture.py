"""Gaussian mixtures: items in classes, seen through several noisy query modalities.

Information and cells are computed on the host, with proved bounds; samples and densities are those
of the law.
"""

import math
from typing import Any, Final

import jax.numpy as jnp
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.certified import Certified
from rdsim.number_types import ArrayLike, Integer
from rdsim.results import result
from rdsim.sources import mixture_limits
from rdsim.sources.discretisation import MAX_CELLS, Discretisation, DiscretisedItem
from rdsim.sources.mixture_law import MixtureLaw
from rdsim.transformations import on_host

TOLERANCE: Final = 1e-9
"""Gap asked for by default, in bits."""


@result
class GaussianMixtureSource(MixtureLaw):
    """A mixture of C classes of items in R^d, and K query modalities: its law and its limits.

    Attributes:
        weights: class probabilities w, shape (C,), summing to one.
        item_means: m, shape (C, d).
        item_variance: v, shape (C,), variance of each coordinate of an item in its class.
        query_means: q, shape (K, C, d).
        gains: g, shape (K,).
        query_noise: n, shape (K,), noise variance of each coordinate.

    """

    @on_host
    def item_entropy(self, *, tolerance: ArrayLike = TOLERANCE) -> Certified:
        """Differential entropy h(Y) of an item in bits, between proved bounds.

        Args:
            tolerance: gap asked for, in bits.

        Returns:
            The entropy, `converged` if the gap is within the tolerance.

        Raises:
            TypeError: if the source is traced.
            RuntimeError: if float64 is off.

        """
        wanted = _tolerance("item_entropy", tolerance)
        return mixture_limits.item_entropy(self, wanted)

    @on_host
    def mutual_information(
        self, modalities: Any = None, *, tolerance: ArrayLike = TOLERANCE
    ) -> Certified:
        r"""I(X_S; Y) of a set of modalities and the item in bits, between proved bounds.

        The queries are first replaced by a sufficient statistic, exactly: their component along
        the gains, and their components along the directions in which classes shift them beyond
        that. When every query is a noisy copy of the item (the default means, unit gains) this is
        the precision-weighted mean of the queries alone. Then
        $I(X_S; Y) = h(X') + h(Y) - h(X' - GY, Y)$, three entropies of Gaussian mixtures with
        diagonal covariances. Each is certified by quadrature when the classes differ in at most
        three directions, otherwise by pairwise bounds, which may lie bits apart.

        Args:
            modalities: which ones; None for all K.
            tolerance: gap asked for, in bits.

        Returns:
            The information, `converged` if the gap is within the tolerance. The bounds include
            truncation, quadrature and an allowance for rounding.

        Raises:
            ValueError: if a modality is out of range or named twice.
            TypeError: if a modality is not an integer, or the source is traced.
            RuntimeError: if float64 is off.

        References:
            Kolchinsky & Tracey (2017), "Estimating mixture entropy with pairwise distances";
            Trefethen (2008), "Is Gauss quadrature better than Clenshaw-Curtis?", Theorem 4.5.

        """
        wanted = _tolerance("mutual_information", tolerance)
        return mixture_limits.query_information(self, self._chosen(modalities), wanted)

    @on_host
    @validation.needs_float64
    def discretise(self, cells: Integer, *, modality: int = 0) -> Discretisation:
        """Cut one query modality and the item into cells, for items on a line (d = 1).

        Args:
            cells: number of cells of each, an integer in [2, 2048]; doubling refines.
            modality: which query.

        Returns:
            The table, its points, and what the cutting costs.

        Raises:
            ValueError: if d is not 1 (see `discretise_item`), or an argument is out of range.
            TypeError: if an argument is not an integer, or the source is traced.

        """
        size = validation.integer("cells", cells, low=2, high=MAX_CELLS)
        chosen = self._chosen(validation.integer("modality", modality, low=0))
        if self.item_means.shape[1] != 1:
            raise ValueError(
                f"discretise needs items on a line, got items of {self.item_means.shape[1]} "
                "dimensions; discretise_item cuts the item alone"
            )
        return mixture_limits.discretise(self, size, chosen[0], TOLERANCE)

    @on_host
    @validation.needs_float64
    def discretise_item(self, cells: Integer) -> DiscretisedItem:
        """Cut the item into the cells of a product grid: points and masses for R(D).

        Args:
            cells: number of cells along each of the d axes, an integer in [2, 2048] for d = 1 and
                in [2, 256] for d = 2.

        Returns:
            cells**d points, their masses and the mean squared error of the item replaced by them.

        Raises:
            ValueError: if the number of cells is out of range.
            TypeError: if it is not an integer, or the source is traced.

        """
        most = MAX_CELLS if self.item_means.shape[1] == 1 else 256
        size = validation.integer("cells", cells, low=2, high=most)
        return mixture_limits.discretise_item(self, size)


def _tolerance(function: str, tolerance: Any) -> float:
    validation.require_float64(function)
    return float(validation.tolerance(tolerance))


def gaussian_mixture(
    weights: ArrayLike,
    item_means: ArrayLike,
    item_variance: ArrayLike,
    *,
    query_means: ArrayLike | None = None,
    gains: ArrayLike = 1.0,
    query_noise: ArrayLike,
) -> GaussianMixtureSource:
    """A Gaussian mixture of items with noisy query modalities.

    Args:
        weights: class probabilities, shape (C,), summing to one.
        item_means: shape (C, d), d = 1 or 2.
        item_variance: of each coordinate within its class, positive, shape (C,) or a scalar.
        query_means: mean of each query in each class, shape (K, C, d); the item means if None.
        gains: how a query follows its item within the class, shape (K,) or a scalar.
        query_noise: noise variance of each query's coordinates, positive, shape (K,).

    Returns:
        The source. With the default means and gains every query is the item plus noise.

    Raises:
        ValueError: if a shape does not fit, a number is out of range or not finite, or the weights
            do not sum to one.

    """
    w = validation.pmf("weights", weights)
    means = _finite("item_means", item_means, ndim=2)
    noise = validation.interval(
        "query_noise", query_noise, low=0.0, high=math.inf, open_low=True, open_high=True, ndim=1
    )
    classes, dimension, modalities = w.size, means.shape[1], noise.size
    if means.shape[0] != classes or dimension not in (1, 2) or modalities == 0:
        raise ValueError(
            f"item_means must have shape ({classes}, 1) or ({classes}, 2) for {classes} weights, "
            f"and query_noise one entry or more, got shapes {means.shape} and {noise.shape}"
        )
    variance = validation.interval(
        "item_variance", item_variance, low=0.0, high=math.inf, open_low=True, open_high=True
    )
    if query_means is None:
        centres = jnp.broadcast_to(means, (modalities, *means.shape))
    else:
        centres = _finite("query_means", query_means, ndim=3)
        if centres.shape != (modalities, *means.shape):
            raise ValueError(
                f"query_means must have shape {(modalities, *means.shape)}, got {centres.shape}"
            )
    return GaussianMixtureSource(
        weights=w,
        item_means=means,
        item_variance=_spread("item_variance", variance, classes),
        query_means=centres,
        gains=_spread("gains", _finite("gains", gains), modalities),
        query_noise=noise,
    )


def _finite(name: str, value: Any, ndim: int | None = None) -> Float[Array, "..."]:
    return validation.interval(name, value, open_low=True, open_high=True, ndim=ndim)


def _spread(name: str, value: Array, size: int) -> Float[Array, " c"]:
    if value.shape not in ((), (size,)):
        raise ValueError(f"{name} must be a scalar or have shape ({size},), got {value.shape}")
    return jnp.broadcast_to(value, (size,))
