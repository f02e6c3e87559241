"""Items stored as quantized canonical variables, compared by the density of Gaussian pairs."""

import dataclasses
from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from rdsim.learning.families.canonical_correlations import canonical_correlation_analysis
from rdsim.learning.families.pairs import ItemPairs, System
from rdsim.learning.families.stored.embedded_codes import embedded_points
from rdsim.learning.families.stored_embeddings import quantized_system
from rdsim.learning.training.schedule import Schedule
from rdsim.transformations import on_host

_MOST_CORRELATED: Final = 1 - 1e-6
"""Correlations above it are taken for it where variables are weighted: equal variables have no scale."""


@dataclasses.dataclass(frozen=True)
class CanonicalMap:
    """Canonical variables of an embedding; parameters are the embedding's, a mean and a map.

    Attributes:
        embed: pure, hashable function (parameters, points) -> (..., dx).

    """

    embed: Callable[[Any, Array], Array]

    def __call__(self, parameters: Any, points: Array) -> Array:
        """Map the embedding of points."""
        inner, mean, linear = parameters
        return (jnp.asarray(self.embed(inner, points), float) - mean) @ linear


@on_host
def canonical_systems(
    key: Key[Array, ""],
    embed_items: tuple[Callable[[Any, Array], Array], Any],
    embed_queries: tuple[Callable[[Any, Array], Array], Any],
    sample: Any,
    bits: tuple[int, ...],
    *,
    regularisation: float = 0.0,
    dimension: int | None = None,
) -> list[System]:
    r"""Quantize the canonical variables of items, and rank them by the density of Gaussian pairs.

    Of Gaussian pairs with canonical variables u and v, up to a function of the query,

    $$\ln \frac{p(v|u)}{p(v)} = -\frac12 \sum_i \Bigl( \frac{\rho_i}{\sqrt{1-\rho_i^2}} v_i -
        \frac{1}{\sqrt{1-\rho_i^2}} u_i \Bigr)^2 + c(u):$$

    items are stored in these units, in which the squared error of a quantizer is what the score
    loses, and codewords are ranked by their distance to the query's. So the strong variables get
    the bits.

    Args:
        key: PRNG key of the quantizers' starts.
        embed_items: pure, hashable function (parameters, items (N, d)) -> (N, dy), and parameters.
        embed_queries: the same of queries, (..., K, d) -> (..., dx).
        sample: queries (N, K, d) and items (N, d), to which all is fitted.
        bits: of an item, one system each.
        regularisation: ridge of the analysis.
        dimension: most canonical variables that are kept; None for all.

    Returns:
        A code and its decoder for each number of bits.

    Raises:
        ValueError: as `canonical_correlation_analysis` and the quantizer.

    """
    of_items, of_queries = canonical_maps(
        embed_items,
        embed_queries,
        sample,
        regularisation=regularisation,
        dimension=dimension,
    )
    return [
        quantized_system(
            jax.random.fold_in(key, b), of_items, of_queries, sample[1], b, comparison="distance"
        )
        for b in bits
    ]


def canonical_maps(
    embed_items: tuple[Callable[[Any, Array], Array], Any],
    embed_queries: tuple[Callable[[Any, Array], Array], Any],
    sample: Any,
    *,
    regularisation: float = 0.0,
    dimension: int | None = None,
) -> tuple[tuple[CanonicalMap, Any], tuple[CanonicalMap, Any]]:
    """Maps of items and of queries to the units of `canonical_systems`, whose arguments these are."""
    (item_map, item_parameters), (query_map, query_parameters) = embed_items, embed_queries
    x = embedded_points(query_map, query_parameters, sample[0])
    y = embedded_points(item_map, item_parameters, sample[1])
    most = min(x.shape[1], y.shape[1])
    wanted = most if dimension is None else dimension
    found = canonical_correlation_analysis(x, y, min(most, wanted), regularisation=regularisation)
    spread = jnp.sqrt(1.0 - jnp.minimum(found.correlations, _MOST_CORRELATED) ** 2)
    weighted = found.map_y * (found.correlations / spread)
    of_items = (CanonicalMap(item_map), (item_parameters, found.mean_y, weighted))
    expected = (query_parameters, found.mean_x, found.map_x / spread)
    of_queries = (CanonicalMap(query_map), expected)
    return of_items, of_queries


def cca_family(
    keys: Key[Array, " 3"], data: ItemPairs, bits: tuple[int, ...], schedule: Schedule
) -> list[System]:
    """Analyse all modalities together with the items; nothing is trained, so no schedule is used."""
    del schedule
    of_items, of_queries = (as_they_are, None), (side_by_side, None)
    return canonical_systems(keys[0], of_items, of_queries, data.sample[:2], bits)


def as_they_are(parameters: None, items: Float[Array, "... d"]) -> Float[Array, "... d"]:
    """Items are their own embeddings."""
    del parameters
    return items


def side_by_side(parameters: None, queries: Float[Array, "... m d"]) -> Float[Array, "... f"]:
    """The modalities of a query, one after the other, are its embedding."""
    del parameters
    return queries.reshape(*queries.shape[:-2], -1)
