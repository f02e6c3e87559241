r"""Hashes by random hyperplanes: the signs of random projections of canonical variables.

$$b_k(y) = \mathrm{sign} \langle w_k, v(y) \rangle, \quad s(x, b) = \sum_k \langle w_k, u(x) \rangle\, b_k, \quad w_k \sim N(0, I),$$

v the canonical variables of items in the units in which CCA stores them, u those of queries. Nothing is trained but the analysis: it is
what a trained hash of as many bits must beat.
"""

import dataclasses
from typing import Any

import jax
from jaxtyping import Array, Float, Key

from rdsim.learning.families.cca import (
    CanonicalMap,
    analysed_pairs,
    canonical_maps,
    varying_columns,
)
from rdsim.learning.families.hashing import sign_system
from rdsim.learning.families.pairs import ItemPairs, System
from rdsim.learning.training.schedule import Schedule


@dataclasses.dataclass(frozen=True)
class Projected:
    """Random projections of an embedding; parameters are the embedding's, and the planes (e, B).

    Attributes:
        embed: pure, hashable function (parameters, points) -> (..., e).

    """

    embed: CanonicalMap

    def __call__(self, parameters: Any, points: Array) -> Float[Array, "... b"]:
        """Project the embedding of points."""
        inner, planes = parameters
        return self.embed(inner, points) @ planes


def hyperplane_family(
    keys: Key[Array, " 3"], data: ItemPairs, bits: tuple[int, ...], schedule: Schedule
) -> list[System]:
    """Analyse queries and items, and hash by random planes; no schedule is used.

    References:
        Charikar (2002), "Similarity estimation techniques from rounding algorithms", STOC; Gordo,
        Perronnin, Gong and Lazebnik (2014), IEEE Trans. PAMI 36(1), for queries that are not hashed.

    """
    del schedule
    with analysed_pairs():
        of_items, of_queries = canonical_maps(*varying_columns(data), data.sample[:2])
    planes = jax.random.normal(keys[0], (of_items[1][2].shape[1], max(bits)))
    systems: list[System] = []
    for b in bits:
        stored, asked = (
            (Projected(embed), (parameters, planes[:, :b]))
            for embed, parameters in (of_items, of_queries)
        )
        systems.append(sign_system(stored, asked, data.sample[1], b))
    return systems
