r"""Real pairs of embeddings: how they are checked and split, and a space that both sides share.

Row i of the items is the target of query i. Queries and items may have different dimensions; then,
or where it ranks better, canonical correlation analysis takes both to one space, in which the
similarity is an inner product of unit vectors (Hardoon, Szedmak and Shawe-Taylor 2004).
"""

import dataclasses
from typing import Any, Final

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key

from rdsim import validation
from rdsim.learning.families.cca import canonical_correlation_analysis, deviations
from rdsim.ranking.metrics.paired import pair_ranks, reciprocal_ranks
from rdsim.transformations import on_host

LEAST_PAIRS: Final = 40
"""Fewest pairs that can be split into a part to fit on and a part to rank."""
_MOST_DIRECTIONS: Final = 256
"""Most canonical directions: the coordinates of the shared space."""
_REGULARISATIONS: Final = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Ridges tried, relative to the mean variance of a coordinate."""
_VALIDATED: Final = 2000
"""Most pairs on which a space is chosen."""


@on_host
def check_pairs(
    queries: Any, items: Any
) -> tuple[Float[np.ndarray, "n e"], Float[np.ndarray, "n d"]]:
    """Check paired embeddings and return them as arrays of float64.

    Every item must be there once: the copies of a target would count as its competitors, and one
    could be fitted to while another is ranked. Equal queries are no fault.

    Args:
        queries: shape (N, d_x), N >= 40.
        items: shape (N, d_y), distinct; row i is the target of query i.

    Returns:
        Queries and items.

    Raises:
        ValueError: if a shape is wrong, the counts differ, an entry is not finite, there are too
            few rows, items are equal, or a row is too short to have a direction; the
            message names the rows.

    """
    pair = _paired(queries, items)
    if len(pair[0]) < LEAST_PAIRS:
        raise ValueError(
            f"queries and items: at least {LEAST_PAIRS} pairs are needed, got {len(pair[0])}"
        )
    for name, array in zip(("queries", "items"), pair, strict=True):
        validation.directions(name, array)
    _distinct(pair[1])
    return pair[0], pair[1]


def _paired(
    queries: Any, items: Any, names: tuple[str, str] = ("queries", "items")
) -> tuple[np.ndarray, np.ndarray]:
    pair = _embeddings(names[0], queries), _embeddings(names[1], items)
    if len(pair[0]) != len(pair[1]):
        raise ValueError(
            f"{names[0]} and {names[1]} must be pairs, got {len(pair[0])} queries and "
            f"{len(pair[1])} items"
        )
    return pair


def _embeddings(name: str, value: Any) -> np.ndarray:
    array = np.asarray(validation.finite(name, value), float)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            f"{name} must have shape (rows, coordinates), one embedding a row, got shape "
            f"{array.shape}"
        )
    return array


def _firsts(array: np.ndarray) -> Int[np.ndarray, " n"]:
    """For each row the first row that equals it."""
    _, first, place = np.unique(array, axis=0, return_index=True, return_inverse=True)
    return np.asarray(first[place.reshape(-1)])


def _distinct(items: np.ndarray) -> None:
    first = _firsts(items)
    again = np.flatnonzero(first != np.arange(len(items)))
    if again.size:
        raise ValueError(
            f"items must be distinct, but row {again[0]} equals row {first[again[0]]} "
            f"({again.size} rows repeat an earlier one): copies of a target would count as its "
            "competitors. Give each distinct item once, with one of its queries"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairSplit:
    """Pairs to fit on and pairs to rank.

    Attributes:
        queries: to fit on, shape (N, d_x).
        items: to fit on, shape (N, d_y).
        held_out_queries: to rank with, shape (M, d_x).
        held_out_items: the database, shape (M, d_y).

    """

    queries: Float[np.ndarray, "n e"]
    items: Float[np.ndarray, "n d"]
    held_out_queries: Float[np.ndarray, "m e"]
    held_out_items: Float[np.ndarray, "m d"]


@on_host
def split_pairs(
    key: Key[Array, ""], queries: Any, items: Any, *, held_out: float = 0.4
) -> PairSplit:
    """Split pairs at random, the pairs of equal items together.

    Args:
        key: PRNG key of the split.
        queries: as `check_pairs` returns them, shape (N, d_x).
        items: shape (N, d_y).
        held_out: fraction of the distinct items that become the database, with their queries, 0.05 to
            0.95; at least 20 pairs are left on either side.

    Returns:
        The two parts.

    Raises:
        ValueError: if the fraction is out of range or a side is left with too few pairs.

    """
    validation.prng_key("key", key)
    fraction = float(validation.interval("held_out", held_out, low=0.05, high=0.95, ndim=0))
    queries, items = _paired(queries, items)
    count = len(queries)
    first = _firsts(items)
    distinct = np.flatnonzero(first == np.arange(count))
    order = distinct[np.asarray(jax.random.permutation(key, len(distinct)))]
    # Pairs in the order of their items; stable, so that those of one item keep theirs.
    rank_of_item = np.empty(count, int)
    rank_of_item[order] = np.arange(len(order))
    rank = rank_of_item[first]
    order = np.argsort(rank, kind="stable")
    ranked = int((rank < round(fraction * len(distinct))).sum())
    if min(ranked, count - ranked) < LEAST_PAIRS // 2:
        raise ValueError(
            f"held_out leaves {ranked} of {count} pairs to rank and {count - ranked} to fit on; "
            f"each must be at least {LEAST_PAIRS // 2}"
        )
    test, fit = order[:ranked], order[ranked:]
    return PairSplit(
        queries=queries[fit],
        items=items[fit],
        held_out_queries=queries[test],
        held_out_items=items[test],
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SharedSpace:
    """Linear maps that take queries and items to unit vectors of one space.

    Attributes:
        name: how it was made: "as given", or "by canonical correlations" with their penalty.
        query_centre: subtracted from queries, shape (d_x,).
        item_centre: subtracted from items, shape (d_y,).
        query_map: shape (d_x, e).
        item_map: shape (d_y, e).

    """

    name: str
    query_centre: Float[np.ndarray, " dx"]
    item_centre: Float[np.ndarray, " dy"]
    query_map: Float[np.ndarray, "dx e"]
    item_map: Float[np.ndarray, "dy e"]

    @on_host
    def queries(self, points: Any) -> Float[np.ndarray, "n e"]:
        """Take queries to the space; one at the centre has no direction and stays a zero."""
        return _unit((_embeddings("queries", points) - self.query_centre) @ self.query_map)

    @on_host
    def items(self, points: Any) -> Float[np.ndarray, "n e"]:
        """Take items to the space; one at the centre has no direction and stays a zero."""
        return _unit((_embeddings("items", points) - self.item_centre) @ self.item_map)


@on_host
def shared_space(queries: Any, items: Any, *, validate: Any) -> SharedSpace:
    """Choose the space in which uncompressed pairs held back from the fit rank best.

    Candidates are the embeddings as given, where the dimensions are equal, and canonical
    correlations, each direction weighted with its correlation, at several penalties.

    Args:
        queries: to fit on, shape (N, d_x).
        items: their targets, shape (N, d_y).
        validate: pairs (queries, items) to choose on, distinct from those.

    Returns:
        The space, fitted to the first pairs.

    Raises:
        ValueError: if a shape is wrong, the counts differ, an entry is not finite or a row has no
            direction.
        TypeError: if they do not hold real numbers, or `validate` is no pair.

    """
    x, y = _paired(queries, items)
    for name, array in (("queries", x), ("items", y)):
        validation.directions(name, array)
    if len(x) < 2:
        raise ValueError(f"queries and items must be two pairs or more, got {len(x)}")
    names = ("validate: queries", "validate: items")
    test_x, test_y = (
        part[:_VALIDATED] for part in _paired(*validation.pair("validate", validate), names)
    )
    for name, array in zip(names, (test_x, test_y), strict=True):
        validation.directions(name, array)
    if test_x.shape[1] != x.shape[1] or test_y.shape[1] != y.shape[1]:
        raise ValueError(
            f"validate must have queries and items of {x.shape[1]} and {y.shape[1]} coordinates, "
            f"got {test_x.shape[1]} and {test_y.shape[1]}"
        )
    found = _candidates(x, y)

    def quality(space: SharedSpace) -> float:
        ranked = pair_ranks(space.queries(test_x), space.items(test_y))
        return float(reciprocal_ranks(ranked).mean())

    return max(found, key=quality)


def _candidates(x: np.ndarray, y: np.ndarray) -> list[SharedSpace]:
    found = []
    if x.shape[1] == y.shape[1]:
        plain, zero = np.eye(x.shape[1]), np.zeros(x.shape[1])
        found.append(
            SharedSpace(
                name="as given",
                query_centre=zero,
                item_centre=zero,
                query_map=plain,
                item_map=plain,
            )
        )
    directions = min(x.shape[1], y.shape[1], len(x) - 1, _MOST_DIRECTIONS)
    return found + [
        _canonical(x, y, directions, regularisation) for regularisation in _REGULARISATIONS
    ]


def _canonical(x: np.ndarray, y: np.ndarray, directions: int, penalty: float) -> SharedSpace:
    """Canonical directions, each weighted with its correlation; the penalty is relative."""
    scale_x, scale_y = _scale(x), _scale(y)
    found = canonical_correlation_analysis(
        x / scale_x, y / scale_y, directions, regularisation=penalty
    )
    weight = np.asarray(found.correlations)
    return SharedSpace(
        name=f"by canonical correlations (penalty {penalty:g})",
        query_centre=np.asarray(found.mean_x) * scale_x,
        item_centre=np.asarray(found.mean_y) * scale_y,
        query_map=np.asarray(found.map_x) * weight / scale_x,
        item_map=np.asarray(found.map_y) * weight / scale_y,
    )


def _scale(points: np.ndarray) -> float:
    """Root mean square of the columns' deviations; one where all are constant."""
    deviation = deviations(points)
    largest = float(deviation.max()) or 1.0
    return largest * float(np.sqrt(np.mean((deviation / largest) ** 2))) or 1.0


def _unit(points: np.ndarray) -> np.ndarray:
    # Scaled first: the squares of tiny numbers are zero, and those of huge ones infinite.
    largest = np.abs(points).max(axis=1, keepdims=True)
    scaled = points / np.where(largest > 0, largest, 1.0)
    return scaled / np.where(largest > 0, np.linalg.norm(scaled, axis=1, keepdims=True), 1.0)
