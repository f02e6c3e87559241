r"""Search: the stored items of the greatest scores for each query, in blocks of a fixed memory.

$$\text{top}_k \{ \langle f(x), g(\text{stored}_i) \rangle : i = 1..M \},$$

with f and g the features of a `StoredCode`: products of matrices in float32, and in float64 for the few items whose
score may belong to the greatest.
"""

import math
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from rdsim import validation
from rdsim.codes.item_code import GivenStoredCode
from rdsim.number_types import ArrayLike, Integer
from rdsim.results import result
from rdsim.transformations import on_host

_FEATURES: Final = 1 << 19
"""Numbers in the features of a block of items (4 MiB of float64)."""
_SCORES: Final = 1 << 20
"""Scores of a block of queries and a block of items (4 MiB of float32)."""


@result
class SearchResult:
    """The stored items of the greatest scores.

    Attributes:
        indices: rows of the stored items, of falling score and of rising row where scores are equal,
            shape (Q, k).
        scores: inner products of the features, shape (Q, k).

    """

    indices: Int[np.ndarray, "q k"]
    scores: Float[np.ndarray, "q k"]


@on_host
def search(
    code: GivenStoredCode, queries: ArrayLike, stored: ArrayLike, count: Integer
) -> SearchResult:
    """Find the k stored items of the greatest scores for each query.

    The result is that of float64 scores of all items, sorted: it does not depend on the size of the blocks.

    Args:
        code: a `StoredCode`.
        queries: shape (Q, d).
        stored: what `code.store` returned for M items.
        count: k, 1 to M.

    Returns:
        The items and their scores.

    """
    if not all(hasattr(code, part) for part in ("query_features", "item_features")):
        raise TypeError(
            f"code must have query_features and item_features, as a StoredCode has, got {type(code)}"
        )
    given = validation.numbers("stored", stored)
    digits = np.asarray(given)
    if digits.ndim != 2 or not np.issubdtype(digits.dtype, np.integer):
        raise ValueError(
            f"stored must be rows of integers, one an item, got {digits.dtype} of shape {digits.shape}"
        )
    k = validation.integer("count", count, low=1, high=max(1, len(digits)))
    features = np.asarray(code.query_features(queries), np.float64)
    prepared = _Queries.of(features)
    best_scores = np.full((len(features), k), -np.inf)
    best_rows = np.full((len(features), k), len(digits), np.int64)
    items = max(1, _FEATURES // features.shape[1])
    for first in range(0, len(digits), items):
        block = _block(code, digits, first, items)
        if block.shape[1] != features.shape[1]:
            raise ValueError(
                f"stored must be rows of this code, whose queries have {features.shape[1]} features, got "
                f"rows of {digits.shape[1]} integers with {block.shape[1]} features"
            )
        _take_over(best_scores, best_rows, prepared, block, first)
    return SearchResult(indices=best_rows, scores=best_scores)


def _block(code: GivenStoredCode, digits: np.ndarray, first: int, items: int) -> np.ndarray:
    return np.asarray(code.item_features(digits[first : first + items]), np.float64)


class _Queries(NamedTuple):
    """Features of the queries, and how well float32 holds their scores.

    Attributes:
        features: float64, shape (Q, F).
        single: the same times `scale`, float32.
        scale: a power of two that keeps float32 from overflow and underflow.
        length: of each query, after scaling.

    """

    features: np.ndarray
    single: np.ndarray
    scale: float
    length: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> "_Queries":
        scale = _power_of_two(features)
        scaled = features * scale
        length = np.sqrt(np.einsum("ij,ij->i", scaled, scaled))
        return cls(features, scaled.astype(np.float32), scale, length)


def _power_of_two(features: np.ndarray) -> float:
    """A power of two that brings the largest feature near one, without rounding; subnormal ones nearer to it."""
    return 2.0 ** min(-math.frexp(np.abs(features).max(initial=0.0))[1], 1023)


def _take_over(
    best_scores: np.ndarray, best_rows: np.ndarray, queries: _Queries, block: np.ndarray, first: int
) -> None:
    """Merge the items of a block into the best found so far.

    Scores in float32 choose the items that may belong to the k best: those at most twice the rounding error below the
    k-th best score so far. Only their scores are computed in float64, and the k best of old and new are kept
    by falling score and rising row. That order is total, so what is dropped can never return.
    """
    scale = _power_of_two(block)
    single = np.ascontiguousarray((block * scale).T, np.float32)
    longest = math.sqrt(np.einsum("ij,ij->i", block, block).max()) * scale
    # F products and sums and the roundings of the features each err by one unit in the last place.
    unsure = 2 * (block.shape[1] + 8) * 2.0**-24 * queries.length * longest + 1e-36
    k = best_scores.shape[1]
    rows = max(1, _SCORES // len(block))
    for start in range(0, len(queries.single), rows):
        chosen = slice(start, start + rows)
        scores = queries.single[chosen] @ single
        # One factor after the other: their product may be beyond float64.
        least = best_scores[chosen, -1] * queries.scale * scale
        if len(block) > k and np.isneginf(least).any():
            # The k-th best of the block itself, where fewer than k have been found.
            here = np.partition(scores, len(block) - k, axis=1)[:, len(block) - k]
            least = np.maximum(least, here)
        # Rounded downwards: a threshold may admit too many, never too few.
        threshold = np.nextafter((least - unsure[chosen]).astype(np.float32), np.float32(-np.inf))
        query, item = np.nonzero(scores >= threshold[:, None])
        if query.size:
            exact = np.einsum("ij,ij->i", queries.features[chosen][query], block[item])
            _merge(best_scores[chosen], best_rows[chosen], query, exact, item + first)


def _merge(
    best_scores: np.ndarray,
    best_rows: np.ndarray,
    query: np.ndarray,
    scores: np.ndarray,
    rows: np.ndarray,
) -> None:
    """Keep the k best of those kept so far and new ones, which are sorted by query."""
    changed, counts = np.unique(query, return_counts=True)
    k = best_scores.shape[1]
    # Ragged lists become one table: the k best so far, then the new items of a query; empty places score -inf and
    # stand behind every item. Sorting by falling score and rising row keeps the k best of each line.
    place = np.arange(query.size) - np.repeat(np.cumsum(counts) - counts, counts)
    line = np.repeat(np.arange(changed.size), counts)
    all_scores = np.full((changed.size, k + int(counts.max())), -np.inf)
    all_rows = np.full(all_scores.shape, np.iinfo(np.int64).max)
    all_scores[:, :k], all_rows[:, :k] = best_scores[changed], best_rows[changed]
    all_scores[line, k + place], all_rows[line, k + place] = scores, rows
    order = np.lexsort((all_rows, -all_scores), axis=1)[:, :k]
    best_scores[changed] = np.take_along_axis(all_scores, order, axis=1)
    best_rows[changed] = np.take_along_axis(all_rows, order, axis=1)
