r"""Ranks of the targets of real queries in one real database, ties exactly, in bounded memory.

Query i looks for item i. Every score here is an inner product of features of the query and features
of the item's code. Items with one code have one score, so scores are computed for distinct codes
only, and a tie is a tie to the last digit. `single_target` averages over the order of the tied items.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Int

from rdsim import validation
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.metrics.single_target import tied_gain
from rdsim.transformations import on_host

_ENTRIES: Final = 1 << 22  # most scores that are held in memory at a time


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairRanks:
    """Ranks of the targets of queries, before ties are broken.

    Attributes:
        ahead: items that score above the target, shape (Q,).
        tied: items that score as the target does, itself included, shape (Q,).
        size: items in the database.
        code_bits: entropy of the stored codes' frequencies in the database, bits.

    """

    ahead: Int[np.ndarray, " q"]
    tied: Int[np.ndarray, " q"]
    size: int
    code_bits: float

    def reciprocal_ranks(self) -> Float[np.ndarray, " q"]:
        """Expected reciprocal rank of each query's target; the mean is the MRR."""
        return tied_gain(self.ahead, self.tied, "reciprocal_rank")

    def recalls(self, k: Integer) -> Float[np.ndarray, " q"]:
        """Probability that each query's target is among the first k."""
        return tied_gain(self.ahead, self.tied, ("miss", validation.integer("k", k, low=1)))


@on_host
def pair_ranks(
    query_features: ArrayLike,
    codes: ArrayLike,
    item_features: Callable[[Any], np.ndarray] | None = None,
) -> PairRanks:
    """Rank the targets of queries among all stored items.

    Args:
        query_features: of the first Q items' queries, Q at most M, shape (Q, F). Scores are computed
            in float32 if all are, in float64 otherwise, and the unit of neither matters.
        codes: of the items, one a row, shape (M, ...).
        item_features: codes, of the type they have -> features, shape (codes, F); None where the
            codes are features.

    Returns:
        The ranks; with all M queries, averages over them are those of a uniform target.

    """
    query_features = np.asarray(validation.finite("query_features", query_features, ndim=2))
    if item_features is not None:
        validation.function("item_features", item_features)
    given = np.asarray(validation.numbers("codes", codes))
    stored = np.asarray(validation.finite("codes", given))
    size = len(stored) if stored.ndim > 1 else 0
    if not 1 <= len(query_features) <= size or 0 in stored.shape:
        raise ValueError(
            f"codes must have a row an item, and query_features one for each of the first items, "
            f"got {stored.shape} and {query_features.shape}"
        )
    # Scores are computed once for each distinct code, and counted as often as the code is stored: the time
    # falls with the number of distinct codes, and equal codes tie exactly.
    _, first, label, multiplicity = np.unique(
        stored, axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    label = label.reshape(-1)  # the distinct code of each item
    features = stored[first]
    if item_features is not None:
        made = item_features(given[first])
        features = np.asarray(validation.finite("item_features of the codes", made))
    features, query_features = _in_range(features, None).T, _in_range(query_features, 1)
    if features.ndim != 2 or features.shape[0] != query_features.shape[1]:
        raise ValueError(
            f"query_features must have as many columns as items have features, got "
            f"{query_features.shape[1]} for {features.shape[:-1]}"
        )
    count = len(query_features)
    return ranks_of_codes(
        lambda rows: query_features[rows] @ features, label, multiplicity, count, entries=_ENTRIES
    )


def ranks_of_codes(
    scores: Callable[[np.ndarray], np.ndarray],
    label: Int[np.ndarray, " m"],
    multiplicity: Int[np.ndarray, " c"],
    queries: int,
    *,
    entries: int,
) -> PairRanks:
    """Rank the targets of the first items' queries by the scores of distinct codes, in blocks of queries.

    Args:
        scores: rows of queries -> their scores of every code, shape (rows, codes). All calls are of as
            many rows: the last block is filled with rows of the one before.
        label: code of each item.
        multiplicity: items of each code; zero for codes that are not stored.
        queries: Q.
        entries: most scores that are held at a time.

    """
    step = min(queries, max(1, entries // len(multiplicity)))
    ahead, tied = np.empty(queries, np.int64), np.empty(queries, np.int64)
    for start in range(0, queries, step):
        first = min(start, queries - step)
        rows = np.arange(first, first + step)
        table = scores(rows)
        own = np.take_along_axis(table, label[rows, None], axis=1)
        ahead[rows] = (table > own) @ multiplicity
        tied[rows] = (table == own) @ multiplicity
    share = multiplicity[multiplicity > 0] / len(label)
    code_bits = float(-(share * np.log2(share)).sum())
    return PairRanks(ahead=ahead, tied=tied, size=len(label), code_bits=code_bits)


def _in_range(features: np.ndarray, axis: int | None) -> np.ndarray:
    """Scale features so that no product overflows, and that of the largest entries does not underflow.

    Ranks depend neither on the unit of a query (axis 1) nor on that of all items (axis None). A
    largest entry beyond a quarter of the type's exponents, up or down, is brought into [1/2, 1). The
    factor is a power of two, so that no digit is lost; features of ordinary size stay as they are.
    """
    exponents = np.frexp(np.abs(features).max(axis=axis, keepdims=True, initial=0.0))[1]
    beyond = np.abs(exponents) > np.finfo(features.dtype).maxexp // 4
    return np.ldexp(features, -np.where(beyond, exponents, 0)) if beyond.any() else features
