"""Items stored as quantized canonical variables, compared by the density of Gaussian pairs."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.learning.families.canonical_correlations import (
    canonical_correlation_analysis,
    deviations,
)
from rdsim.learning.families.pairs import ItemPairs, System
from rdsim.learning.families.stored.embedded_codes import Chain, embedded_points
from rdsim.learning.families.stored_embeddings import quantized_systems
from rdsim.learning.training.schedule import Schedule

_MOST_CORRELATED: Final = 1 - 1e-6
"""Correlations above it are taken for it where variables are weighted: equal variables have no scale."""


def canonical(parameters: Any, points: Array) -> Array:
    """Map points by a mean that is subtracted and a matrix, in float64."""
    mean, linear = parameters
    return (jnp.asarray(points, float) - mean) @ linear


def canonical_maps(
    embed_items: tuple[Callable[[Any, Array], Array], Any],
    embed_queries: tuple[Callable[[Any, Array], Array], Any],
    sample: Any,
    *,
    regularisation: float = 0.0,
    dimension: int | None = None,
) -> tuple[tuple[Chain, Any], tuple[Chain, Any]]:
    r"""Map items and queries to canonical variables, in units that rank by the density of Gaussian pairs.

    Of Gaussian pairs with canonical variables u and v, up to a function of the query,

    $$\ln \frac{p(v|u)}{p(v)} = -\frac12 \sum_i \Bigl( \frac{\rho_i}{\sqrt{1-\rho_i^2}} v_i -
        \frac{1}{\sqrt{1-\rho_i^2}} u_i \Bigr)^2 + c(u):$$

    items are stored in these units, in which the squared error of a quantizer is what the score
    loses, and codewords are ranked by their distance to the query's. So the strong variables get
    the bits.

    Args:
        embed_items: pure, hashable function (parameters, items (N, d)) -> (N, dy), and parameters.
        embed_queries: the same of queries, (..., K, d) -> (..., dx).
        sample: queries (N, K, d) and items (N, d), to which all is fitted.
        regularisation: ridge of the analysis.
        dimension: most canonical variables that are kept; None for all.

    Returns:
        The two maps, each a function and its parameters.

    """
    (item_map, item_parameters), (query_map, query_parameters) = embed_items, embed_queries
    x = embedded_points(query_map, query_parameters, sample[0])
    y = embedded_points(item_map, item_parameters, sample[1])
    most = min(x.shape[1], y.shape[1])
    wanted = most if dimension is None else dimension
    found = canonical_correlation_analysis(x, y, min(most, wanted), regularisation=regularisation)
    # The standard deviation of a canonical variable given its partner.
    correlations = np.asarray(found.correlations)
    deviation = np.sqrt(1.0 - np.minimum(correlations, _MOST_CORRELATED) ** 2)
    item_weights = jax.device_put(np.asarray(found.map_y) * (correlations / deviation))
    query_weights = jax.device_put(np.asarray(found.map_x) / deviation)
    return (
        (Chain(item_map, canonical), (item_parameters, (found.mean_y, item_weights))),
        (Chain(query_map, canonical), (query_parameters, (found.mean_x, query_weights))),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CCAFamily:
    """Analyse all modalities together with the items; nothing is trained, so no schedule is used.

    Attributes:
        regularisation: ridge of the analysis, in squared units of the data.

    """

    regularisation: float = 0.0

    def __post_init__(self) -> None:
        validation.non_negative("regularisation", self.regularisation, ndim=0)

    def __call__(
        self, keys: Key[Array, " 3"], data: ItemPairs, bits: tuple[int, ...], schedule: Schedule
    ) -> list[System]:
        """Fit the systems, one for each number of bits."""
        del schedule
        of_items, of_queries = varying_columns(data)
        with analysed_pairs():
            maps = canonical_maps(
                of_items,
                of_queries,
                data.sample[:2],
                regularisation=float(self.regularisation),
            )
            return quantized_systems(keys[0], *maps, data.sample[1], bits, comparison="distance")


@contextlib.contextmanager
def analysed_pairs() -> Iterator[None]:
    """Say of an analysis that failed what the x and the y of its error are, and what can be done."""
    try:
        yield
    except ValueError as error:
        if "must have a covariance of full rank" not in str(error):
            raise
        raise ValueError(
            f"pairs cannot be analysed: {error} (x are the queries of the pairs, y the items): use more pairs than "
            "coordinates, or fewer coordinates, or CCAFamily(regularisation=...)"
        ) from error


def varying_columns(
    data: ItemPairs,
) -> tuple[tuple[Callable[[Any, Array], Array], Any], tuple[Callable[[Any, Array], Array], Any]]:
    """Embeddings of items and of queries by their numbers as they are, those left out that are constant in the sample.

    Raises:
        ValueError: if nothing varies.

    """
    queries, items = map(np.asarray, data.sample[:2])
    found = []
    for name, embed, points in (
        ("items", as_they_are, items),
        ("queries", side_by_side, queries.reshape(len(queries), -1)),
    ):
        (varying,) = np.nonzero(deviations(points))
        if not varying.size:
            raise ValueError(f"pairs cannot be analysed: all {name} are the same")
        all_vary = varying.size == points.shape[1]
        found.append((embed, None if all_vary else jax.device_put(varying)))
    return found[0], found[1]


def as_they_are(columns: Any, items: Float[Array, "... d"]) -> Float[Array, "... c"]:
    """Items are their own embeddings, or some of their columns are."""
    return items if columns is None else items[..., columns]


def side_by_side(columns: Any, queries: Float[Array, "... m d"]) -> Float[Array, "... c"]:
    """The modalities of a query, one after the other, are its embedding, or some of these columns are."""
    return as_they_are(columns, queries.reshape(*queries.shape[:-2], -1))
