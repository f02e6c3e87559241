r"""Hashes by random hyperplanes: the signs of random projections of canonical variables.

$$b_k(y) = \mathrm{sign} \langle w_k, v(y) \rangle, \quad s(x, b) = \sum_k \langle w_k, u(x) \rangle\, b_k, \quad w_k \sim N(0, I),$$

v the canonical variables of items in the units in which CCA stores them, u those of queries. Nothing is trained but the analysis: it is
what a trained hash of as many bits must beat.
"""

import jax
from jaxtyping import Array, Float, Key

from rdsim.learning.families.cca import (
    analysed_pairs,
    canonical_maps,
    varying_columns,
)
from rdsim.learning.families.hashing import sign_system
from rdsim.learning.families.pairs import ItemPairs, System
from rdsim.learning.families.stored.embedded_codes import Chain
from rdsim.learning.training.schedule import Schedule


def projected(planes: Float[Array, "e b"], points: Float[Array, "... e"]) -> Float[Array, "... b"]:
    """Project points on the normals of planes."""
    return points @ planes


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
    planes = jax.random.normal(keys[0], (of_items[1][1][1].shape[1], max(bits)))
    systems: list[System] = []
    for b in bits:
        stored, asked = (
            (Chain(embed, projected), (parameters, planes[:, :b]))
            for embed, parameters in (of_items, of_queries)
        )
        systems.append(sign_system(stored, asked, data.sample[1], b))
    return systems
