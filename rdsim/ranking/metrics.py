r"""Metrics of retrieval on given scores, in which ties are worth what they are worth on average.

A metric of a ranking is not yet a metric of scores: tied items have no order. Breaking ties by the
place in the list makes a constant scorer look perfect whenever the positives come first. Here a
metric of scores is the exact expectation over all orders of the tied items, so it depends neither
on the order of the candidates nor on probability (McSherry & Najork, "Computing information retrieval
performance measures efficiently in the presence of tied scores", ECIR 2008).

In the formulas a tie group has $n$ items, $m$ of them positive, and there are $h$ items, $a$ of
them positive, ahead of it; the query has $P$ positives among $M$ items. Higher score = better.

A list of the k best items is scored with `retrieved`: an item that was not retrieved has no rank and
earns nothing, but if it is positive it counts in $P$, as in trec_eval. (A score of -inf is a score:
that item was retrieved and is last, tied with the others of -inf.) The M items may then be
those retrieved and the positives alone. A list shorter than k is counted as if it went on with
items that are not relevant, as in trec_eval; `limit_k_to_size` divides by the length of the list.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int32, Key

from rdsim import validation
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking import tied_ranking
from rdsim.ranking.judgements import (
    Judged,
    as_mask,
    checked_scores,
    has_positives,
    judged,
    require_inside,
)

WITHOUT_POSITIVES: Final = ("error", "skip", "zero")
"""What may be done with queries that have no positive."""


def rank(scores: ArrayLike, target: ArrayLike, key: Key[Array, ""]) -> Int32[Array, "..."]:
    r"""Draw the rank of the target, ties broken uniformly at random.

    $$R = 1 + \#\{j : s_j > s_t\} + U, \quad U \sim \mathrm{Unif}\{0, \dots,
    \#\{j \ne t : s_j = s_t\}\}.$$

    Reference: McSherry & Najork (2008).

    Args:
        scores: shape (..., M), M >= 2, infinities allowed; higher is better.
        target: integers in [0, M), shape (...), the place of the target of each query.
        key: PRNG key; the queries of one call draw their U independently.

    Returns:
        R in {1..M}, int32, shape (...). `reciprocal_rank` is the mean of 1/R, `recall` the
        probability of R <= k.

    Raises:
        TypeError: if the target is not integer or the key is not a typed key.
        ValueError: if a score is NaN, M < 2, a target lies outside [0, M), or the shapes differ.

    """
    s = checked_scores(scores)
    t = validation.integer_array("target", target)
    if t.shape != s.shape[:-1]:
        raise ValueError(
            f"target must have the shape {s.shape[:-1]} of the queries, got shape {t.shape}"
        )
    if not validation.is_traced(t):
        require_inside("target", t, low=0, high=s.shape[-1] - 1)
    validation.prng_key("key", key)
    return _rank(s, jnp.asarray(t), key)


def reciprocal_rank(
    scores: ArrayLike, positives: ArrayLike, *, retrieved: ArrayLike | None = None
) -> Float[Array, "..."]:
    r"""Expect the reciprocal rank of the first positive; its mean over queries is the MRR.

    With $n, m, h$ of the first tie group that holds a positive,

    $$\sum_{i=1}^{n-m+1} \frac{\binom{n-i}{m-1}}{\binom{n}{m}} \frac{1}{h+i};$$

    a constant scorer with one positive gets $H_M / M$.

    Reference: McSherry & Najork (2008).

    Args:
        scores: shape (..., M), M >= 2, infinities allowed; higher is better.
        positives: boolean mask of shape (..., M), or integer positions of shape (..., P), P other
            than M, padded with -1.
        retrieved: boolean mask of shape (..., M) of the items that the list holds; scores of the
            others are ignored. None if it holds all.

    Returns:
        One value in [0, 1] per query, shape (...).

    Raises:
        TypeError: if the positives are neither booleans nor integers, or `retrieved` is no mask.
        ValueError: if a score is NaN, M < 2, the shapes differ, a query has no positive, a position
            repeats or lies outside [0, M), or integers can be read as positions and as a mask.

    """
    return _per_query(tied_ranking.reciprocal_rank, scores, positives, retrieved)


def recall(
    scores: ArrayLike, positives: ArrayLike, k: Integer, *, retrieved: ArrayLike | None = None
) -> Float[Array, "..."]:
    r"""Expect the share of the positives that is found among the first k items.

    $$\frac{1}{P} \Bigl( a + (k - h) \frac{m}{n} \Bigr)$$

    with $n, m, h, a$ of the tie group that holds rank $k$.

    Reference: McSherry & Najork (2008).

    Args:
        scores: shape (..., M), M >= 2, infinities allowed; higher is better.
        positives: boolean mask of shape (..., M), or integer positions of shape (..., P), P other
            than M, padded with -1.
        k: length of the list, an integer, at least 1.
        retrieved: boolean mask of shape (..., M) of the items that the list holds; scores of the
            others are ignored. None if it holds all.

    Returns:
        One value in [0, 1] per query, shape (...).

    Raises:
        TypeError: if the positives are neither booleans nor integers, `retrieved` is no mask, or k is
            no integer.
        ValueError: as for `reciprocal_rank`, and if k is below 1.

    """
    return _per_query(tied_ranking.recall, scores, positives, retrieved, k)


def precision(
    scores: ArrayLike,
    positives: ArrayLike,
    k: Integer,
    *,
    retrieved: ArrayLike | None = None,
    limit_k_to_size: Any = False,
) -> Float[Array, "..."]:
    r"""Expect the share of positives among the first k items.

    $$\frac{1}{k} \Bigl( a + (k - h) \frac{m}{n} \Bigr)$$

    with $n, m, h, a$ of the tie group that holds rank $k$.

    Reference: McSherry & Najork (2008).

    Args:
        scores: shape (..., M), M >= 2, infinities allowed; higher is better.
        positives: boolean mask of shape (..., M), or integer positions of shape (..., P), P other
            than M, padded with -1.
        k: length of the list, an integer, at least 1.
        retrieved: boolean mask of shape (..., M) of the items that the list holds; scores of the
            others are ignored. None if it holds all.
        limit_k_to_size: whether to divide by the number of items retrieved where that is below k.

    Returns:
        One value in [0, 1] per query, shape (...).

    Raises:
        TypeError: if the positives are neither booleans nor integers, `retrieved` is no mask, or k is
            no integer.
        ValueError: as for `reciprocal_rank`, and if k is below 1.

    """
    limited = _flag("limit_k_to_size", limit_k_to_size)
    metric = tied_ranking.precision_of_list if limited else tied_ranking.precision
    return _per_query(metric, scores, positives, retrieved, k)


def average_precision(
    scores: ArrayLike, positives: ArrayLike, *, retrieved: ArrayLike | None = None
) -> Float[Array, "..."]:
    r"""Expect the average precision; its mean over queries is the MAP.

    $$\frac{1}{P} \sum_{\text{groups}} \sum_{i=1}^{n} \frac{m}{n}
    \frac{a + 1 + (i-1) \frac{m-1}{n-1}}{h+i},$$

    where a group of one item has no middle term: $i - 1 = 0$.

    Reference: McSherry & Najork (2008).

    Args:
        scores: shape (..., M), M >= 2, infinities allowed; higher is better.
        positives: boolean mask of shape (..., M), or integer positions of shape (..., P), P other
            than M, padded with -1.
        retrieved: boolean mask of shape (..., M) of the items that the list holds; scores of the
            others are ignored. None if it holds all.

    Returns:
        One value in [0, 1] per query, shape (...).

    Raises:
        TypeError: if the positives are neither booleans nor integers, or `retrieved` is no mask.
        ValueError: as for `reciprocal_rank`.

    """
    return _per_query(tied_ranking.average_precision, scores, positives, retrieved)


def ndcg(
    scores: ArrayLike,
    positives: ArrayLike,
    k: Integer | None = None,
    *,
    retrieved: ArrayLike | None = None,
) -> Float[Array, "..."]:
    r"""Expect the normalised discounted cumulative gain with gains 0 and 1.

    $$\frac{\sum_{r=1}^{k} e_r / \log_2(1+r)}{\sum_{r=1}^{\min(k,P)} 1 / \log_2(1+r)},$$

    with $e_r = m/n$ of the tie group that holds rank $r$.

    Reference: Järvelin & Kekäläinen (2002); ties: McSherry & Najork (2008).

    Args:
        scores: shape (..., M), M >= 2, infinities allowed; higher is better.
        positives: boolean mask of shape (..., M), or integer positions of shape (..., P), P other
            than M, padded with -1.
        k: length of the list, an integer, at least 1, or None for all M items.
        retrieved: boolean mask of shape (..., M) of the items that the list holds; scores of the
            others are ignored. None if it holds all.

    Returns:
        One value in [0, 1] per query, shape (...).

    Raises:
        TypeError: if the positives are neither booleans nor integers, `retrieved` is no mask, or k is
            no integer.
        ValueError: as for `reciprocal_rank`, and if k is below 1.

    """
    return _per_query(tied_ranking.ndcg, scores, positives, retrieved, k)


def top1(
    scores: ArrayLike, positives: ArrayLike, *, retrieved: ArrayLike | None = None
) -> Float[Array, "..."]:
    r"""Expect whether the first item is positive: the probability $m/n$ in the first tie group.

    Reference: McSherry & Najork (2008).

    Args:
        scores: shape (..., M), M >= 2, infinities allowed; higher is better.
        positives: boolean mask of shape (..., M), or integer positions of shape (..., P), P other
            than M, padded with -1.
        retrieved: boolean mask of shape (..., M) of the items that the list holds; scores of the
            others are ignored. None if it holds all.

    Returns:
        One value in [0, 1] per query, shape (...).

    Raises:
        TypeError: if the positives are neither booleans nor integers, or `retrieved` is no mask.
        ValueError: as for `reciprocal_rank`.

    """
    return _per_query(tied_ranking.precision, scores, positives, retrieved, 1)


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

    Reference: McSherry & Najork (2008).

    Args:
        scores: shape (..., M), M >= 2, infinities allowed; higher is better.
        positives: boolean mask of shape (..., M), or integer positions of shape (..., P), P other
            than M, padded with -1.
        k: lengths of the list, integers, at least 1.
        retrieved: boolean mask of shape (..., M) of the items that the list holds; scores of the
            others are ignored. None if it holds all.
        limit_k_to_size: whether precision is divided by the number of items retrieved where that
            is below k.
        without_positives: what to do with queries that have no positive: "error" refuses them,
            "skip" leaves them out of the averages, "zero" scores them 0.

    Returns:
        Scalars under "MRR", "MAP", "NDCG" (whole list), "top-1", and "recall@k" and
        "precision@k" for each k; and, unless such queries are refused, under
        "queries without positives" how many there were.

    Raises:
        TypeError: if the positives are neither booleans nor integers, `retrieved` is no mask, or k
            holds no integers.
        ValueError: as for `reciprocal_rank`, if some k is below 1, or if there is no query to
            average over.

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

    values = _evaluate(tied_ranking.every_metric, given, jnp.asarray(lengths, int))
    whole, of_list = values.pop("precision"), values.pop("precision of the list")
    at = {"recall": values.pop("recall"), "precision": of_list if limited else whole}
    averages = {name: average(found) for name, found in values.items()}
    for place, length in enumerate(lengths):
        for name, found in at.items():
            averages[f"{name}@{length}"] = average(found[..., place])
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
        return metric(tied_ranking.ranking(one.scores, relevant, one.retrieved), k)

    for _ in given.scores.shape[:-1]:
        one_query = jax.vmap(one_query)
    return one_query(given)


@jax.jit
def _rank(
    scores: Float[Array, "*queries M"], target: Int[Array, "*queries"], key: Key[Array, ""]
) -> Int32[Array, "*queries"]:
    """1 + better + uniform on {0..ties}, where the target itself makes the end exclusive."""
    own = jnp.take_along_axis(scores, target[..., None], axis=-1)
    better = jnp.sum(scores > own, axis=-1, dtype=jnp.int32)
    tied = jnp.sum(scores == own, axis=-1, dtype=jnp.int32)
    return 1 + better + jax.random.randint(key, tied.shape, 0, tied, jnp.int32)


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
