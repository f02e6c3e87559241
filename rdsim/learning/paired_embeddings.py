r"""Real pairs of embeddings: what is wrong with them, a split, and a space that both sides share.

Row i of the items is the target of query i. Queries and items may have different dimensions; then,
or where it ranks better, canonical correlation analysis takes both to one space, in which the
similarity is an inner product of unit vectors (Hardoon, Szedmak and Shawe-Taylor 2004).
"""

import dataclasses
from typing import Any, Final

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.learning.cca import canonical_correlation_analysis
from rdsim.learning.pair_ranking import pair_ranks, reciprocal_ranks

LEAST_PAIRS: Final = 40
"""Fewest pairs that can be split into a part to fit on and a part to rank."""
_MOST_DIRECTIONS: Final = 256
_REGULARISATIONS: Final = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_VALIDATED: Final = 2000
"""Most pairs on which a space is chosen."""


def check_pairs(
    queries: Any, items: Any, *, allow_duplicates: bool = False
) -> tuple[Float[np.ndarray, "n e"], Float[np.ndarray, "n d"]]:
    """Check paired embeddings and return them as arrays of float64.

    Args:
        queries: shape (N, d_x), N >= 40.
        items: shape (N, d_y); row i is the target of query i.
        allow_duplicates: whether equal rows may occur; equal items then tie, broken by lot.

    Returns:
        Queries and items.

    Raises:
        ValueError: if a shape is wrong, the counts differ, an entry is not finite, there are too
            few rows, or (unless allowed) rows are equal; the message names the rows.
        TypeError: if they do not hold real numbers.

    """
    pair = _paired(queries, items)
    if len(pair[0]) < LEAST_PAIRS:
        raise ValueError(
            f"queries and items: at least {LEAST_PAIRS} pairs are needed, got {len(pair[0])}"
        )
    if not allow_duplicates:
        for name, array in zip(("queries", "items"), pair, strict=True):
            _distinct(name, array)
    return pair[0], pair[1]


def _paired(
    queries: Any, items: Any, names: tuple[str, str] = ("queries", "items")
) -> tuple[np.ndarray, np.ndarray]:
    pair = _finite(names[0], queries), _finite(names[1], items)
    if len(pair[0]) != len(pair[1]):
        raise ValueError(
            f"{names[0]} and {names[1]} must be pairs, got {len(pair[0])} queries and "
            f"{len(pair[1])} items"
        )
    return pair


def _finite(name: str, value: Any) -> np.ndarray:
    array = validation.host_array(name, value)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must hold real numbers, got an array of dtype {array.dtype}")
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            f"{name} must have shape (rows, coordinates), one embedding a row, got shape "
            f"{array.shape}"
        )
    array = array.astype(np.float64)
    if not (fine := np.isfinite(array)).all():
        row, column = np.argwhere(~fine)[0]
        raise ValueError(
            f"{name} must be finite, got {array[row, column]} in row {row}, column {column} "
            f"({int((~fine).sum())} such entries)"
        )
    return array


def _distinct(name: str, array: np.ndarray) -> None:
    _, first, place = np.unique(array, axis=0, return_index=True, return_inverse=True)
    place = place.reshape(-1)
    again = np.flatnonzero(first[place] != np.arange(len(array)))
    if again.size:
        raise ValueError(
            f"{name} must be distinct, but row {again[0]} equals row {first[place[again[0]]]} "
            f"({again.size} rows repeat an earlier one); drop them, or allow duplicates, which "
            "then tie"
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


def split_pairs(
    key: Key[Array, ""], queries: Any, items: Any, *, held_out: float = 0.4
) -> PairSplit:
    """Split pairs at random.

    Args:
        key: PRNG key of the split.
        queries: as `check_pairs` returns them, shape (N, d_x).
        items: shape (N, d_y).
        held_out: share of the pairs that become queries and database, 0.05 to 0.95; at least 20
            pairs are left on either side.

    Returns:
        The two parts.

    Raises:
        ValueError: if the share is out of range or a side is left with too few pairs.
        TypeError: if the key is not a typed key.

    """
    validation.prng_key("key", key)
    share = float(validation.interval("held_out", held_out, low=0.05, high=0.95, ndim=0))
    queries, items = _paired(queries, items)
    count = len(queries)
    ranked = round(share * count)
    if min(ranked, count - ranked) < LEAST_PAIRS // 2:
        raise ValueError(
            f"held_out leaves {ranked} of {count} pairs to rank and {count - ranked} to fit on; "
            f"each must be at least {LEAST_PAIRS // 2}"
        )
    order = np.asarray(jax.random.permutation(key, count))
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

    def queries(self, points: Any) -> Float[np.ndarray, "n e"]:
        """Take queries to the space."""
        return _unit((np.asarray(points) - self.query_centre) @ self.query_map)

    def items(self, points: Any) -> Float[np.ndarray, "n e"]:
        """Take items to the space."""
        return _unit((np.asarray(points) - self.item_centre) @ self.item_map)


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
        ValueError: if a shape is wrong, the counts differ or an entry is not finite.
        TypeError: if they do not hold real numbers, or `validate` is no pair.

    """
    x, y = _paired(queries, items)
    if len(x) < 2:
        raise ValueError(f"queries and items must be two pairs or more, got {len(x)}")
    names = ("validate: queries", "validate: items")
    test_x, test_y = (
        part[:_VALIDATED] for part in _paired(*validation.pair("validate", validate), names)
    )
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
    scale_x, scale_y = (max(float(np.sqrt(part.var(axis=0).mean())), 1e-300) for part in (x, y))
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


def _unit(points: np.ndarray) -> np.ndarray:
    return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-300)
