"""The joint type of an item and its stored codeword: how probable each is, over random codebooks (C14, C15)."""

import math
from functools import partial
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float, Int

from rdsim.codes.ensembles.chosen_codeword import (
    likelihood_distribution,
    likelihood_nodes,
    nearest_distribution,
)
from rdsim.codes.ensembles.random_coding import RandomCode, integer_units
from rdsim.information import LN2
from rdsim.sources import sequence_types

MAX_TABLES: Final = 16_000_000
"""Joint types that are listed: 450 letters of binary sources, 25 of ternary ones."""


def table_count(code: RandomCode) -> int:
    """Count the joint types that the exact sums list: the larger of those of (y,u) and (x,u)."""
    x, y = code.joint.shape
    cells = max(x, y) * code.output_marginal.size
    return sequence_types.composition_count(code.n, cells)


def padded_count(size: int, least: int) -> int:
    """Next power of two: one compilation serves many codes."""
    return max(2 ** math.ceil(math.log2(size)), least)


def tables_of(code: RandomCode, letters: int) -> np.ndarray:
    """All tables of counts (u, letter), lexicographic from the first row on, shape (J, |U|, L)."""
    if table_count(code) > MAX_TABLES:
        raise ValueError(
            f"code has {table_count(code):.3g} joint types of {code.n} letters, above the limit of "
            f"{MAX_TABLES:.3g} of exact sums: rdsim.simulation.simulate_ensemble samples them"
        )
    alphabet = code.output_marginal.size
    return sequence_types.compositions(code.n, alphabet * letters).reshape(-1, alphabet, letters)


def stored_distribution(code: RandomCode) -> np.ndarray:
    """P(N) of all tables N(u,y) of an item and its stored codeword, in the order of `tables_of`."""
    n, q = code.n, np.asarray(code.output_marginal)
    tables = tables_of(code, code.joint.shape[1])
    items = tables.sum(axis=1)
    # A random codeword meets an item of given type in the table N with multinomial probability, letter by letter.
    log_codeword = scipy.special.xlogy(tables.sum(axis=2), q).sum(axis=1)
    log_codeword += scipy.special.gammaln(items + 1.0).sum(axis=1)
    log_codeword -= scipy.special.gammaln(tables + 1.0).sum(axis=(1, 2))
    units = integer_units(np.asarray(code.distortions), n)
    distance = np.einsum("juy,yu->j", tables, units.units)

    kind = sequence_types.index_of(items, n)
    # Codewords of one distance from an item are chosen alike: the choice is computed once for each level, and split
    # among its tables in proportion to their probabilities.
    order, first, level = levels_of(kind, distance)
    kind, distance = kind[order], distance[order]
    probability = np.exp(log_codeword[order])
    mass = np.add.reduceat(probability, first)
    ratio = _chosen_ratio(code, kind[first], distance[first] * units.step, mass)
    log_item = sequence_types.log_probability(items[order], np.asarray(code.joint).sum(axis=0))
    stored = np.empty(len(tables))
    stored[order] = np.exp(log_item) * probability * ratio[level]
    return stored


def levels_of(kind: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort by kind and rising value; equal pairs are one level.

    Returns:
        The order; the place of each level's first entry in it; and the level of each place.

    """
    order = np.lexsort((value, kind))
    changes = (np.diff(kind[order]) != 0) | (np.diff(value[order]) != 0)
    fresh = np.concatenate([[True], changes])
    return order, np.flatnonzero(fresh), np.cumsum(fresh) - 1


def _chosen_ratio(
    code: RandomCode, kind: np.ndarray, distance: np.ndarray, mass: np.ndarray
) -> np.ndarray:
    """Probability of a level for the stored codeword, relative to that for one random codeword.

    Types of the item become rows of a table, their distances its columns, padded with zeros so that few
    shapes are compiled.
    """
    # Kinds are sorted: their first rows give every level its column within its kind.
    start = np.searchsorted(kind, np.arange(kind[-1] + 2))
    place = np.arange(kind.size) - start[kind]
    f = np.zeros((padded_count(start.size - 1, 16), padded_count(int(place.max()) + 1, 16)))
    f[kind, place] = mass
    log_weight = np.zeros_like(f)
    # Weights relative to the nearest codeword of each type of the item: the largest is one, whatever the slope.
    least = distance[start[:-1]][kind]
    log_weight[kind, place] = -float(code.slope) * LN2 * (distance - least)
    log2_K = float(code.log2_codebook_size)
    first, nodes = likelihood_nodes(log2_K * LN2, float(-log_weight.min()))
    chosen = _chosen_distributions(
        jnp.asarray(f),
        jnp.asarray(log_weight),
        jnp.exp2(log2_K),
        jnp.asarray(first),
        jnp.asarray(nodes),
        code.encoder,
    )
    found = np.asarray(chosen)[kind, place]
    # A distance that no random codeword has is not that of the stored one either.
    return np.where(mass > 0, found / np.where(mass > 0, mass, 1.0), 0.0)


@partial(jax.jit, static_argnames="encoder")
def _chosen_distributions(
    f: Float[Array, "types t"],
    log_weight: Float[Array, "types t"],
    K: Float[Array, ""],
    first: Float[Array, ""],
    nodes: Int[Array, ""],
    encoder: str,
) -> Float[Array, "types t"]:
    def one_type(row: tuple[Array, Array]) -> Array:
        if encoder == "minimum_distortion":
            return nearest_distribution(row[0], K)
        return likelihood_distribution(*row, K, first, nodes)

    return jax.lax.map(one_type, (f, log_weight))
