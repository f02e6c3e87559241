"""The Gaussian mixture source: its samples, densities, information and cells.

Samples and densities may be traced; information and cells are computed on the host, with proved
bounds.
"""

from typing import Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from rdsim import information, validation
from rdsim.certified import Certified
from rdsim.number_types import ArrayLike, Integer
from rdsim.results import result
from rdsim.sources.discretisation import MAX_CELLS, Discretisation, DiscretisedItem
from rdsim.sources.mixture import _cells, _information, densities
from rdsim.sources.modalities import chosen_modalities
from rdsim.transformations import on_host

TOLERANCE: Final = 1e-9
"""Gap asked for by default, in bits."""

_MAX_CELLS_IN_PLANE: Final = 256
"""Cells along each axis of a product grid in the plane: 65536 points in all."""


@result
class GaussianMixtureSource(densities.MixtureParameters):
    r"""A mixture of C classes of items in R^d, seen through K query modalities.

    $$C \sim w, \quad Y \mid c \sim N(m_c, v_c I), \quad
      X_k \mid c, Y \sim N(q_{kc} + g_k (Y - m_c), n_k I).$$

    Wherever a method takes `modalities`, these are the ones that are seen: one (an integer),
    several in any order, or None for all K. One that is out of range or named twice is a
    ValueError, one that is no integer a TypeError; points of a wrong shape, or not finite, are a
    ValueError.

    Attributes:
        weights: class probabilities w, shape (C,), summing to one.
        item_means: m, shape (C, d).
        item_variance: v, shape (C,), variance of each coordinate of an item in its class.
        query_means: q, shape (K, C, d).
        gains: g, shape (K,).
        query_noise: n, shape (K,), noise variance of each coordinate.

    """

    @property
    @validation.needs_float64
    def class_entropy(self) -> Float[Array, ""]:
        """H(C) in bits, exact."""
        return information.entropy(self.weights)

    def sample(
        self, key: Key[Array, ""], shape: tuple[int, ...] = ()
    ) -> tuple[Float[Array, "... k d"], Float[Array, "... d"], Int[Array, "..."]]:
        """Independent queries, shape (*shape, K, d), items, (*shape, d), and classes, int32."""
        validation.prng_key("key", key)
        return densities.sample(key, self, tuple(shape))

    def log_density_item(self, item: ArrayLike) -> Float[Array, "..."]:
        r"""Natural logarithm $\ln p(y)$ of the density of items y, shape (..., d), in nats."""
        return densities.log_item(self, self._points("item", item))

    def log_density_query(
        self, queries: ArrayLike, modalities: ArrayLike | None = None
    ) -> Float[Array, "..."]:
        r"""Natural logarithm $\ln p(x_S)$ of the density of the queries of one item.

        Args:
            queries: x, shape (..., S, d) for S modalities; (..., d) when one is named by an int.
            modalities: which ones, in the order of the queries.

        Returns:
            Nats, shape (...).

        """
        chosen = self._chosen(modalities)
        return densities.log_query(self, self._queries(queries, modalities, chosen), chosen)

    def log_density_joint(
        self, queries: ArrayLike, item: ArrayLike, modalities: ArrayLike | None = None
    ) -> Float[Array, "..."]:
        r"""Natural logarithm $\ln p(x_S, y)$ of the joint density of queries and item.

        Args:
            queries: x, as for `log_density_query`.
            item: y, shape (..., d), broadcast against the queries.
            modalities: which ones, in the order of the queries.

        Returns:
            Nats, the broadcast shape.

        """
        chosen = self._chosen(modalities)
        queries = self._queries(queries, modalities, chosen)
        return densities.log_joint(self, queries, self._points("item", item), chosen)

    def information_density(
        self, queries: ArrayLike, item: ArrayLike, modalities: ArrayLike | None = None
    ) -> Float[Array, "..."]:
        r"""Information density of queries and item, the Bayes-optimal retrieval score.

        $$i(x_S; y) = \log_2 \frac{p(x_S, y)}{p(x_S)\, p(y)}.$$

        Args:
            queries: x, as for `log_density_query`.
            item: y, shape (..., d), broadcast against the queries.
            modalities: which ones, in the order of the queries.

        Returns:
            Bits, the broadcast shape; its mean is the mutual information.

        """
        chosen = self._chosen(modalities)
        queries = self._queries(queries, modalities, chosen)
        item = self._points("item", item)
        joint = densities.log_joint(self, queries, item, chosen)
        product = densities.log_query(self, queries, chosen) + densities.log_item(self, item)
        return (joint - product) / information.LN2

    @on_host
    def item_entropy(self, *, tolerance: ArrayLike = TOLERANCE) -> Certified:
        """Differential entropy h(Y) of an item in bits, between proved bounds.

        Args:
            tolerance: gap asked for, in bits.

        Returns:
            The entropy, `converged` if the gap is within the tolerance.

        """
        wanted = _tolerance("item_entropy", tolerance)
        return _information.item_entropy(self, wanted)

    @on_host
    def mutual_information(
        self, modalities: ArrayLike | None = None, *, tolerance: ArrayLike = TOLERANCE
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
            modalities: which ones.
            tolerance: gap asked for, in bits.

        Returns:
            The information, `converged` if the gap is within the tolerance. The bounds include
            truncation, quadrature and an allowance for rounding.

        References:
            Kolchinsky & Tracey (2017), "Estimating mixture entropy with pairwise distances";
            Trefethen (2008), "Is Gauss quadrature better than Clenshaw-Curtis?", Theorem 4.5.

        """
        wanted = _tolerance("mutual_information", tolerance)
        return _information.query_information(self, self._chosen(modalities), wanted)

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
            ValueError: also if d is not 1 (see `discretise_item`).

        """
        size = validation.integer("cells", cells, low=2, high=MAX_CELLS)
        chosen = self._chosen(validation.integer("modality", modality, low=0))
        if self.item_means.shape[1] != 1:
            raise ValueError(
                f"discretise needs items on a line, got items of {self.item_means.shape[1]} "
                "dimensions; discretise_item cuts the item alone"
            )
        bits = _information.query_information(self, chosen, TOLERANCE)
        return _cells.discretise(self, size, chosen[0], information_upper=float(bits.upper))

    @on_host
    @validation.needs_float64
    def discretise_item(self, cells: Integer) -> DiscretisedItem:
        """Cut the item into the cells of a product grid: points and masses for R(D).

        Args:
            cells: number of cells along each of the d axes, an integer in [2, 2048] for d = 1 and
                in [2, 256] for d = 2.

        Returns:
            cells**d points, their masses and the mean squared error of the item replaced by them.

        """
        most = MAX_CELLS if self.item_means.shape[1] == 1 else _MAX_CELLS_IN_PLANE
        size = validation.integer("cells", cells, low=2, high=most)
        return _cells.discretise_item(self, size)

    def _chosen(self, modalities: ArrayLike | None) -> tuple[int, ...]:
        return chosen_modalities(modalities, self.gains.shape[-1])

    def _points(self, name: str, points: ArrayLike) -> Float[Array, "... d"]:
        """Points of the items' space, checked."""
        array = validation.bounded(name, points)
        dimension = self.item_means.shape[1]
        if array.ndim == 0 or array.shape[-1] != dimension:
            raise ValueError(f"{name} must have {dimension} coordinates last, got {array.shape}")
        return array

    def _queries(
        self, queries: ArrayLike, modalities: ArrayLike | None, chosen: tuple[int, ...]
    ) -> Float[Array, "... s d"]:
        """Queries of the chosen modalities, checked; one named by an integer gets its axis."""
        array = self._points("queries", queries)
        if isinstance(modalities, int | np.integer):
            return array[..., None, :]
        if array.ndim < 2 or array.shape[-2] != len(chosen):
            raise ValueError(
                f"queries must end in shape {(len(chosen), array.shape[-1])}, got {array.shape}"
            )
        return array


def _tolerance(function: str, tolerance: ArrayLike) -> float:
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

    """
    w = validation.pmf("weights", weights)
    means = validation.bounded("item_means", item_means, ndim=2)
    noise = validation.positive("query_noise", query_noise, ndim=1)
    classes, dimension, modalities = w.size, means.shape[1], noise.size
    if means.shape[0] != classes or dimension not in (1, 2) or modalities == 0:
        raise ValueError(
            f"item_means must have shape ({classes}, 1) or ({classes}, 2) for {classes} weights, "
            f"and query_noise one entry or more, got shapes {means.shape} and {noise.shape}"
        )
    variance = validation.positive("item_variance", item_variance)
    if query_means is None:
        centres = jnp.broadcast_to(means, (modalities, *means.shape))
    else:
        centres = validation.bounded("query_means", query_means, ndim=3)
        if centres.shape != (modalities, *means.shape):
            raise ValueError(
                f"query_means must have shape {(modalities, *means.shape)}, got {centres.shape}"
            )
    return GaussianMixtureSource(
        weights=w,
        item_means=means,
        item_variance=_each("item_variance", variance, classes),
        query_means=centres,
        gains=_each("gains", validation.bounded("gains", gains), modalities),
        query_noise=noise,
    )


def _each(name: str, value: Array, size: int) -> Float[Array, " c"]:
    """A number for each of `size` classes or modalities; a scalar is meant for all."""
    if value.shape not in ((), (size,)):
        raise ValueError(f"{name} must be a scalar or have shape ({size},), got {value.shape}")
    return jnp.broadcast_to(value, (size,))
