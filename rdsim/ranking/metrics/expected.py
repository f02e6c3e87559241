r"""Metrics of retrieval on given scores, each the exact expectation over all orders of the tied items.

A metric of a ranking is not yet a metric of scores: tied items have no order. Breaking ties by the
index in the list makes a constant scorer look perfect whenever the positives come first. The
expectation depends neither on the order of the candidates nor on a random draw (McSherry & Najork,
"Computing information retrieval performance measures efficiently in the presence of tied scores",
ECIR 2008).

In the formulas a tie group has $n$ items, $m$ of them positive, and there are $h$ items, $a$ of
them positive, ahead of it; the query has $P$ positives among $M$ items.

A ValueError is raised if a score is NaN, M < 2, the shapes differ, a query has no positive, a position
repeats or lies outside [0, M), or integers can be read as positions and as a mask; a TypeError if the
positives are neither booleans nor integers, or `retrieved` is no mask.

An item that was not retrieved has no rank and earns nothing, but if it is positive it counts in $P$, as
in trec_eval. (A score of -inf is a score: that item was retrieved and is last, tied with the others of
-inf.) The M items may then be those retrieved and the positives alone. A list shorter than k is counted
as if it went on with items that are not relevant, as in trec_eval; `limit_k_to_size` divides by the
length of the list.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rdsim import validation
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.metrics import tie_groups
from rdsim.ranking.metrics.judgements import Judged, as_mask, has_positives, judged

WITHOUT_POSITIVES: Final = ("error", "skip", "zero")
"""What may be done with queries that have no positive."""


def reciprocal_rank(
    scores: ArrayLike, positives: ArrayLike, *, retrieved: ArrayLike | None = None
) -> Float[Array, "..."]:
    r"""Expect the reciprocal rank of the first positive; its mean over queries is the MRR.

    With $n, m, h$ of the first tie group that holds a positive,

    $$\sum_{i=1}^{n-m+1} \frac{\binom{n-i}{m-1}}{\binom{n}{m}} \frac{1}{h+i};$$

    a constant scorer with one positive gets $H_M / M$.

    Args:
        scores: shape (..., M), M >= 2, infinities allowed; higher is better.
        positives: boolean mask of shape (..., M), or integer positions of shape (..., P), P other
            than M, padded with -1.
        retrieved: boolean mask of shape (..., M) of the items that the list holds; scores of the
            others are ignored. None if it holds all.

    Returns:
        One value in [0, 1] per query, shape (...).

    """
    return _per_query(tie_groups.reciprocal_rank, scores, positives, retrieved)


def recall(
    scores: ArrayLike, positives: ArrayLike, k: Integer, *, retrieved: ArrayLike | None = None
) -> Float[Array, "..."]:
    r"""Expect the fraction of the positives that is found among the first k items.

    $$\frac{1}{P} \Bigl( a + (k - h) \frac{m}{n} \Bigr)$$

    with $n, m, h, a$ of the tie group that holds rank $k$, the length of the list, an integer of at
    least 1. The other arguments are those of `reciprocal_rank`.
    """
    return _per_query(tie_groups.recall, scores, positives, retrieved, k)


def precision(
    scores: ArrayLike,
    positives: ArrayLike,
    k: Integer,
    *,
    retrieved: ArrayLike | None = None,
    limit_k_to_size: Any = False,
) -> Float[Array, "..."]:
    r"""Expect the fraction of positives among the first k items.

    $$\frac{1}{k} \Bigl( a + (k - h) \frac{m}{n} \Bigr)$$

    with $n, m, h, a$ of the tie group that holds rank $k$, the length of the list, an integer of at
    least 1. With `limit_k_to_size` the divisor is the number of items retrieved where that is below k.
    The other arguments are those of `reciprocal_rank`.
    """
    limited = _flag("limit_k_to_size", limit_k_to_size)
    metric = tie_groups.precision_of_list if limited else tie_groups.precision
    return _per_query(metric, scores, positives, retrieved, k)


def average_precision(
    scores: ArrayLike, positives: ArrayLike, *, retrieved: ArrayLike | None = None
) -> Float[Array, "..."]:
    r"""Expect the average precision; its mean over queries is the MAP.

    $$\frac{1}{P} \sum_{\text{groups}} \sum_{i=1}^{n} \frac{m}{n}
    \frac{a + 1 + (i-1) \frac{m-1}{n-1}}{h+i},$$

    where a group of one item has no middle term: $i - 1 = 0$. The arguments are those of
    `reciprocal_rank`.
    """
    return _per_query(tie_groups.average_precision, scores, positives, retrieved)


def ndcg(
    scores: ArrayLike,
    positives: ArrayLike,
    k: Integer | None = None,
    *,
    retrieved: ArrayLike | None = None,
) -> Float[Array, "..."]:
    r"""Expect the normalised discounted cumulative gain with gains 0 and 1 (Järvelin & Kekäläinen 2002).

    $$\frac{\sum_{r=1}^{k} e_r / \log_2(1+r)}{\sum_{r=1}^{\min(k,P)} 1 / \log_2(1+r)},$$

    with $e_r = m/n$ of the tie group that holds rank $r$. k is the length of the list, an integer of at
    least 1, or None for all M items. The other arguments are those of `reciprocal_rank`.
    """
    return _per_query(tie_groups.ndcg, scores, positives, retrieved, k)


def top1(
    scores: ArrayLike, positives: ArrayLike, *, retrieved: ArrayLike | None = None
) -> Float[Array, "..."]:
    r"""Expect whether the first item is positive: the probability $m/n$ in the first tie group.

    The arguments are those of `reciprocal_rank`.
    """
    return _per_query(tie_groups.precision, scores, positives, retrieved, 1)


def retrieval_metrics(
    scores: ArrayLike,
    positives: ArrayLike,
    k: Integer | Sequence[Integer] = (1, 10),
    *,
    retrieved: ArrayLike | None = None,
    limit_k_to_size: Any = False,
    without_positives: Any = "error",
) -> dict[str, Float[Array, ""]]:
    """Average every metric over the queries.

    Args:
        scores: shape (..., M), as for `reciprocal_rank`.
        positives: mask or positions, as for `reciprocal_rank`.
        k: lengths of the list, integers, at least 1.
        retrieved: mask, as for `reciprocal_rank`.
        limit_k_to_size: as for `precision`.
        without_positives: what to do with queries that have no positive: "error" refuses them,
            "skip" leaves them out of the averages, "zero" scores them 0.

    Returns:
        Scalars under "MRR", "MAP", "NDCG" (whole list), "top-1", and "recall@k" and
        "precision@k" for each k; and, unless such queries are refused, under
        "queries without positives" how many there were.

    """
    if without_positives not in WITHOUT_POSITIVES:
        raise ValueError(
            f"without_positives must be one of {WITHOUT_POSITIVES}, got {without_positives!r}"
        )
    limited = _flag("limit_k_to_size", limit_k_to_size)
    refused = without_positives == "error"
    given = judged(scores, positives, retrieved, need_positives=refused)
    if 0 in given.scores.shape:
        raise ValueError(f"scores must hold at least one query, got shape {given.scores.shape}")
    if isinstance(k, str) or not np.iterable(k):
        raise TypeError(f"k must be a sequence of integers, got {k!r}")
    lengths = [validation.integer("k", entry, low=1) for entry in k]
    some = has_positives(given.positives)
    if without_positives == "skip" and not validation.is_traced(some) and not some.any():
        raise ValueError("positives must leave a query to average over, got none with a positive")
    counted = some if without_positives == "skip" else jnp.ones_like(some)

    def average(values: Float[Array, "..."]) -> Float[Array, ""]:
        return jnp.where(counted, values, 0.0).sum() / counted.sum()

    values = _evaluate(tie_groups.every_metric, given, jnp.asarray(lengths, int))
    of_all, of_list = values.pop("precision"), values.pop("precision of the list")
    at = {"recall": values.pop("recall"), "precision": of_list if limited else of_all}
    averages = {name: average(found) for name, found in values.items()}
    for index, length in enumerate(lengths):
        for name, found in at.items():
            averages[f"{name}@{length}"] = average(found[..., index])
    if not refused:
        averages["queries without positives"] = jnp.sum(~some)
    return averages


@jax.jit(static_argnames="metric")
def _evaluate(
    metric: Callable, given: Judged, k: Int[Array, "..."]
) -> Float[Array, "..."] | dict[str, Float[Array, "..."]]:
    """Apply the metric to each query; the length k is traced, so that no length compiles anew."""

    def one_query(one: Judged) -> Any:
        relevant = as_mask(one.positives, one.scores.shape[0])
        return metric(tie_groups.ranking(one.scores, relevant, one.retrieved), k)

    for _ in given.scores.shape[:-1]:
        one_query = jax.vmap(one_query)
    return one_query(given)


def _per_query(
    metric: Callable, scores: Any, positives: Any, retrieved: Any, k: Any = None
) -> Array:
    given = judged(scores, positives, retrieved)
    length = given.scores.shape[-1] if k is None else validation.integer("k", k, low=1)
    return _evaluate(metric, given, jnp.asarray(length))


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, got {value!r}")
    return value
