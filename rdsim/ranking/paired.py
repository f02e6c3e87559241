r"""Ranks of the targets of real queries in one real database, ties exactly, in bounded memory.

Query i looks for item i. Every score here is an inner product of features of the query and features
of the item's code. Items with one code have one score, so scores are computed for distinct codes
only, and a tie is a tie to the last digit. With b items ahead of the target and t items at its score,
itself included, over the orders of the tied items

$$E\frac1r = \frac{1}{t} \sum_{i=1}^{t} \frac{1}{b+i}, \qquad
  P(r \le k) = \min\{1, \max\{0, (k-b)/t\}\}.$$
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import scipy.special
import scipy.stats
from jaxtyping import Float, Int

from rdsim import validation
from rdsim.number_types import ArrayLike
from rdsim.transformations import on_host

_ENTRIES: Final = 1 << 22
"""Scores held at a time."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairRanks:
    """Where the targets of queries stand.

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


@on_host
def pair_ranks(
    query_features: ArrayLike,
    codes: Any,
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

    Raises:
        ValueError: if a shape does not fit, or an entry is not finite.
        TypeError: if they do not hold real numbers, or `item_features` is no function.

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
    _, first, place, multiplicity = np.unique(
        stored, axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    place = place.reshape(-1)
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
    ahead, tied = np.empty(count, np.int64), np.empty(count, np.int64)
    step = max(1, _ENTRIES // len(first))
    for start in range(0, count, step):
        rows = np.arange(start, min(start + step, count))
        scores = query_features[rows] @ features
        own = np.take_along_axis(scores, place[rows, None], axis=1)
        ahead[rows] = (scores > own) @ multiplicity
        tied[rows] = (scores == own) @ multiplicity
    share = multiplicity / size
    return PairRanks(
        ahead=ahead, tied=tied, size=size, code_bits=float(-(share * np.log2(share)).sum())
    )


def _in_range(features: np.ndarray, axis: int | None) -> np.ndarray:
    """The features in a unit in which no product overflows, and that of the largest never vanishes.

    Ranks depend neither on the unit of a query (axis 1) nor on that of all items (axis None). A
    largest entry beyond a quarter of the type's exponents, up or down, is brought into [1/2, 1). The
    factor is a power of two, so that no digit is lost; features of ordinary size stay as they are.
    """
    exponents = np.frexp(np.abs(features).max(axis=axis, keepdims=True, initial=0.0))[1]
    beyond = np.abs(exponents) > np.finfo(features.dtype).maxexp // 4
    return np.ldexp(features, -np.where(beyond, exponents, 0)) if beyond.any() else features


def reciprocal_ranks(ranks: PairRanks) -> Float[np.ndarray, " q"]:
    """Expected reciprocal rank of each query's target; the mean is the MRR."""
    validation.instance("ranks", ranks, PairRanks)
    ends = scipy.special.digamma(np.stack([ranks.ahead + ranks.tied + 1, ranks.ahead + 1]))
    alone = ranks.tied == 1  # exact where the difference of digammas is not
    return np.where(alone, 1.0 / (ranks.ahead + 1), (ends[0] - ends[1]) / ranks.tied)


def recalls(ranks: PairRanks, k: int) -> Float[np.ndarray, " q"]:
    """Probability that each query's target is among the first k."""
    validation.instance("ranks", ranks, PairRanks)
    validation.integer("k", k, low=1)
    return np.asarray(np.clip((k - ranks.ahead) / ranks.tied, 0.0, 1.0))


def drawn_ranks(generator: np.random.Generator, ranks: PairRanks) -> Int[np.ndarray, " q"]:
    """Draw the rank of each target, ties broken at random, from 1."""
    return ranks.ahead + 1 + generator.integers(0, ranks.tied)
