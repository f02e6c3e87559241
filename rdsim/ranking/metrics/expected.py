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

Scores are ranked on the host, in blocks of queries and in their own type, so that memory stays small and
no new size is compiled; traced, the same formulas are JAX's.
"""

from collections.abc import Callable
from typing import Any

from jaxtyping import Array, Float

from rdsim import validation
from rdsim.number_types import ArrayLike, Boolean, Integer
from rdsim.ranking.metrics import tie_groups
from rdsim.ranking.metrics.judgements import flag, judged


def reciprocal_rank(
    scores: ArrayLike,
    positives: ArrayLike,
    k: Integer | None = None,
    *,
    retrieved: ArrayLike | None = None,
) -> Float[Array, "..."]:
    r"""Expect the reciprocal rank of the first positive; its mean over queries is the MRR.

    With $n, m, h$ of the first tie group that holds a positive,

    $$\sum_{i=1}^{n-m+1} \frac{\binom{n-i}{m-1}}{\binom{n}{m}} \frac{1}{h+i};$$

    a constant scorer with one positive gets $H_M / M$. Terms of ranks $h + i > k$ are left out.

    Args:
        scores: shape (..., M), M >= 2, infinities allowed; higher is better.
        positives: boolean mask of shape (..., M), or integer positions of shape (..., P), P other
            than M, padded with -1.
        k: length of the list, an integer of at least 1, beyond which a positive earns nothing; None
            for all M items.
        retrieved: boolean mask of shape (..., M) of the items that the list holds; scores of the
            others are ignored. None if it holds all.

    Returns:
        One value in [0, 1] per query, shape (...).

    """
    return _per_query(tie_groups.reciprocal_rank, scores, positives, retrieved, k)


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
    limit_k_to_size: Boolean = False,
) -> Float[Array, "..."]:
    r"""Expect the fraction of positives among the first k items.

    $$\frac{1}{k} \Bigl( a + (k - h) \frac{m}{n} \Bigr)$$

    with $n, m, h, a$ of the tie group that holds rank $k$, the length of the list, an integer of at
    least 1; for k = 1 whether the first item is positive. With `limit_k_to_size` the divisor is the number of items
    retrieved where that is below k.
    The other arguments are those of `reciprocal_rank`.
    """
    limited = flag("limit_k_to_size", limit_k_to_size)
    metric = tie_groups.precision_of_list if limited else tie_groups.precision
    return _per_query(metric, scores, positives, retrieved, k)


def average_precision(
    scores: ArrayLike,
    positives: ArrayLike,
    k: Integer | None = None,
    *,
    retrieved: ArrayLike | None = None,
) -> Float[Array, "..."]:
    r"""Expect the average precision; its mean over queries is the MAP.

    $$\frac{1}{P} \sum_{\text{groups}} \sum_{i=1}^{n} \frac{m}{n}
    \frac{a + 1 + (i-1) \frac{m-1}{n-1}}{h+i},$$

    where a group of one item has no middle term: $i - 1 = 0$. Terms of ranks $h + i > k$ are left out,
    and P stays the number of all positives, as in `map_cut` of trec_eval. The arguments are those
    of `reciprocal_rank`.
    """
    return _per_query(tie_groups.average_precision, scores, positives, retrieved, k)


def r_precision(
    scores: ArrayLike, positives: ArrayLike, *, retrieved: ArrayLike | None = None
) -> Float[Array, "..."]:
    """Expect the precision among the first P items, P the positives of the query.

    It is the recall among them, too. The arguments are those of `reciprocal_rank`.
    """
    return _per_query(_r_precision, scores, positives, retrieved)


def map_at_r(
    scores: ArrayLike, positives: ArrayLike, *, retrieved: ArrayLike | None = None
) -> Float[Array, "..."]:
    """Expect the average precision among the first P items, P the positives of the query.

    The arguments are those of `reciprocal_rank`. Source: Musgrave, Belongie and Lim (2020), "A metric
    learning reality check", ECCV, section 3.2.
    """
    return _per_query(_map_at_r, scores, positives, retrieved)


def success(
    scores: ArrayLike, positives: ArrayLike, k: Integer, *, retrieved: ArrayLike | None = None
) -> Float[Array, "..."]:
    r"""Expect whether a positive is among the first k items: the hit rate.

    One if a positive is ahead of the tie group that holds rank $k$, and else
    $1 - \binom{n-m}{k-h} / \binom{n}{k-h}$. k is an integer of at least 1; the other arguments are those
    of `reciprocal_rank`. For one positive it is the `recall`.
    """
    return _per_query(tie_groups.success, scores, positives, retrieved, k)


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


def _r_precision(g: tie_groups.Ranking, _: Any) -> Any:
    return tie_groups.recall(g, g.some)


def _map_at_r(g: tie_groups.Ranking, _: Any) -> Any:
    return tie_groups.average_precision(g, g.some)


def _per_query(
    metric: Callable[[tie_groups.Ranking, Any], Any],
    scores: ArrayLike,
    positives: ArrayLike,
    retrieved: ArrayLike | None,
    k: Integer | None = None,
) -> Array:
    given = judged(scores, positives, retrieved)
    length = given.scores.shape[-1] if k is None else validation.integer("k", k, low=1)
    return tie_groups.evaluate(lambda g: metric(g, length), given)
