"""Every metric of a table of scores at once, averaged over the queries, from one sort of each.

The table is read in blocks of queries, so that a table of 5,000 by 25,000 scores needs little memory
beside its own.
"""

from collections.abc import Sequence
from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.number_types import ArrayLike, Boolean, Integer
from rdsim.ranking.metrics import tie_groups
from rdsim.ranking.metrics.judgements import flag, has_positives, judged

WITHOUT_POSITIVES: Final = ("error", "skip", "zero")
"""What may be done with queries that have no positive."""

_ROUNDING: Final = 1e-9
"""Rounding by which a sum of probabilities of many queries may miss the half that it equals."""


def retrieval_metrics(
    scores: ArrayLike,
    positives: ArrayLike,
    k: Integer | Sequence[Integer] = (1, 10),
    *,
    retrieved: ArrayLike | None = None,
    limit_k_to_size: Boolean = False,
    without_positives: str = "error",
) -> dict[str, Float[Array, ""]]:
    """Average every metric over the queries, the rows; of a transposed table and mask, over the items as queries.

    Args:
        scores: shape (..., M), as for `reciprocal_rank`.
        positives: mask or positions, as for `reciprocal_rank`.
        k: lengths of the list, integers, at least 1.
        retrieved: mask, as for `reciprocal_rank`.
        limit_k_to_size: as for `precision`.
        without_positives: what to do with queries that have no positive: "error" refuses them,
            "skip" leaves them out of the averages, "zero" scores them 0.

    Returns:
        Scalars under "MRR", "MAP", "NDCG" (whole list), "top-1", "R-precision", "MAP@R" and "median
        rank"; "MRR@k", "MAP@k", "NDCG@k", "recall@k", "precision@k" and "success@k" for each k; and,
        unless such queries are refused, under "queries without positives" how many there were.
        The median is that of the rank of the first positive of a random query whose ties are in
        random order, in the middle where a half lies between two ranks, infinite if half of the
        queries find none.

    """
    validation.choice("without_positives", without_positives, WITHOUT_POSITIVES)
    limited = flag("limit_k_to_size", limit_k_to_size)
    refused = without_positives == "error"
    given = judged(scores, positives, retrieved, need_positives=refused)
    validation.not_empty("scores", given.scores)
    if isinstance(k, str) or not np.iterable(k):
        raise TypeError(f"k must be a sequence of integers, got {k!r}")
    lengths = [validation.integer("k", entry, low=1) for entry in k]
    module = jnp if validation.is_traced(given) else np
    some = has_positives(given.positives)
    if without_positives == "skip" and module is np and not some.any():
        raise ValueError("positives must leave a query to average over, got none with a positive")
    counted = some if without_positives == "skip" else module.ones_like(some)
    # A histogram of the rank of the first positive, added up over chunks of queries: the median is read from it.
    ranks = np.zeros(given.scores.shape[-1])

    def every(g: tie_groups.Ranking) -> dict[str, Any]:
        nonlocal ranks
        ranks = ranks + tie_groups.first_positive(g).sum(axis=0)
        return _every_metric(g, lengths, limited)

    values = tie_groups.evaluate(every, given)
    averages = {
        name: jnp.asarray(module.where(counted, module.asarray(found), 0.0).sum() / counted.sum())
        for name, found in values.items()
    }
    averages["median rank"] = jnp.asarray(_median(module, ranks, counted.sum()))
    if not refused:
        averages["queries without positives"] = jnp.asarray((~some).sum())
    return averages


def _every_metric(g: tie_groups.Ranking, lengths: list[int], limited: bool) -> dict[str, Any]:
    """Every metric of a block of queries, from one sort."""
    M = g.rank.size
    of_list = tie_groups.precision_of_list if limited else tie_groups.precision
    at = {
        "recall": tie_groups.recall,
        "precision": of_list,
        "success": tie_groups.success,
        "MRR": tie_groups.reciprocal_rank,
        "MAP": tie_groups.average_precision,
        "NDCG": tie_groups.ndcg,
    }
    return {
        "MRR": tie_groups.reciprocal_rank(g, M),
        "MAP": tie_groups.average_precision(g, M),
        "NDCG": tie_groups.ndcg(g, M),
        "top-1": tie_groups.precision(g, 1),
        "R-precision": tie_groups.recall(g, g.some),
        "MAP@R": tie_groups.average_precision(g, g.some),
    } | {f"{name}@{k}": metric(g, k) for k in lengths for name, metric in at.items()}


def _median(module: Any, ranks: Any, queries: Any) -> Any:
    """Median of the rank: the middle of all numbers with half of the mass on either side.

    Args:
        module: NumPy or jax.numpy.
        ranks: expected number of queries whose first positive has each rank, from 1.
        queries: how many there are, with those that find no positive.

    """
    share = module.cumsum(module.asarray(ranks)) / queries
    # A half that is reached exactly is reached but for rounding.
    first, last = share < 0.5 - _ROUNDING, share < 0.5 + _ROUNDING
    ends = [module.where(below.all(), module.inf, below.sum() + 1.0) for below in (first, last)]
    return (ends[0] + ends[1]) / 2
