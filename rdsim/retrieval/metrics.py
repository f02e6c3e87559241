r"""Metrics of retrieval on given scores, in which ties are worth what they are worth on average.

A metric of a ranking is not yet a metric of scores: tied items have no order. Breaking ties by the
place in the list makes a constant scorer look perfect whenever the positives come first. Here a
metric of scores is the exact expectation over all orders of the tied items, so it depends neither
on the order of the candidates nor on chance (McSherry & Najork, "Computing information retrieval
performance measures efficiently in the presence of tied scores", ECIR 2008).

In the formulas a tie group has $n$ items, $m$ of them positive, and there are $h$ items, $a$ of
them positive, ahead of it; the query has $P$ positives among $M$ items. Higher score = better.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int32, Key

from rdsim import validation


def rank(scores: Any, target: Any, key: Key[Array, ""]) -> Int32[Array, "..."]:
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
    s = _scores(scores)
    t = _integers("target", target)
    if t.shape != s.shape[:-1]:
        raise ValueError(
            f"target must have the shape {s.shape[:-1]} of the queries, got shape {t.shape}"
        )
    if not validation.is_traced(t):
        _require_inside("target", t, low=0, high=s.shape[-1] - 1)
    validation.prng_key("key", key)
    return _rank(s, jnp.asarray(t), key)


def reciprocal_rank(scores: Any, positives: Any) -> Float[Array, "..."]:
    r"""Expect the reciprocal rank of the first positive; its mean over queries is the MRR.

    With $n, m, h$ of the first tie group that holds a positive,

    $$\sum_{i=1}^{n-m+1} \frac{\binom{n-i}{m-1}}{\binom{n}{m}} \frac{1}{h+i};$$

    a constant scorer with one positive gets $H_M / M$.

    Reference: McSherry & Najork (2008).

    Args:
        scores: shape (..., M), M >= 2, infinities allowed; higher is better.
        positives: boolean mask of shape (..., M), or integer places of shape (..., P) padded
            with -1.

    Returns:
        One value in (0, 1] per query, shape (...).

    Raises:
        TypeError: if the positives are neither booleans nor integers.
        ValueError: if a score is NaN, M < 2, the shapes differ, a query has no positive, or a
            place repeats or lies outside [0, M).

    """
    return _per_query(_reciprocal_rank, scores, positives)


def recall(scores: Any, positives: Any, k: Any) -> Float[Array, "..."]:
    r"""Expect the share of the positives that is found among the first k items.

    $$\frac{1}{P} \Bigl( a + (k - h) \frac{m}{n} \Bigr)$$

    with $n, m, h, a$ of the tie group that holds rank $k$.

    Reference: McSherry & Najork (2008).

    Args:
        scores: shape (..., M), M >= 2, infinities allowed; higher is better.
        positives: boolean mask of shape (..., M), or integer places of shape (..., P) padded
            with -1.
        k: length of the list, an integer in [1, M].

    Returns:
        One value in [0, 1] per query, shape (...).

    Raises:
        TypeError: if the positives are neither booleans nor integers, or k is no integer.
        ValueError: as for `reciprocal_rank`, and if k lies outside [1, M].

    """
    return _per_query(_recall, scores, positives, k)


def precision(scores: Any, positives: Any, k: Any) -> Float[Array, "..."]:
    r"""Expect the share of positives among the first k items.

    $$\frac{1}{k} \Bigl( a + (k - h) \frac{m}{n} \Bigr)$$

    with $n, m, h, a$ of the tie group that holds rank $k$.

    Reference: McSherry & Najork (2008).

    Args:
        scores: shape (..., M), M >= 2, infinities allowed; higher is better.
        positives: boolean mask of shape (..., M), or integer places of shape (..., P) padded
            with -1.
        k: length of the list, an integer in [1, M].

    Returns:
        One value in [0, 1] per query, shape (...).

    Raises:
        TypeError: if the positives are neither booleans nor integers, or k is no integer.
        ValueError: as for `reciprocal_rank`, and if k lies outside [1, M].

    """
    return _per_query(_precision, scores, positives, k)


def average_precision(scores: Any, positives: Any) -> Float[Array, "..."]:
    r"""Expect the average precision; its mean over queries is the MAP.

    $$\frac{1}{P} \sum_{\text{groups}} \sum_{i=1}^{n} \frac{m}{n}
    \frac{a + 1 + (i-1) \frac{m-1}{n-1}}{h+i},$$

    where a group of one item has no middle term: $i - 1 = 0$.

    Reference: McSherry & Najork (2008).

    Args:
        scores: shape (..., M), M >= 2, infinities allowed; higher is better.
        positives: boolean mask of shape (..., M), or integer places of shape (..., P) padded
            with -1.

    Returns:
        One value in (0, 1] per query, shape (...).

    Raises:
        TypeError: if the positives are neither booleans nor integers.
        ValueError: as for `reciprocal_rank`.

    """
    return _per_query(_average_precision, scores, positives)


def ndcg(scores: Any, positives: Any, k: Any = None) -> Float[Array, "..."]:
    r"""Expect the normalised discounted cumulative gain with gains 0 and 1.

    $$\frac{\sum_{r=1}^{k} e_r / \log_2(1+r)}{\sum_{r=1}^{\min(k,P)} 1 / \log_2(1+r)},$$

    with $e_r = m/n$ of the tie group that holds rank $r$.

    Reference: Järvelin & Kekäläinen (2002); ties: McSherry & Najork (2008).

    Args:
        scores: shape (..., M), M >= 2, infinities allowed; higher is better.
        positives: boolean mask of shape (..., M), or integer places of shape (..., P) padded
            with -1.
        k: length of the list, an integer in [1, M], or None for all M items.

    Returns:
        One value in [0, 1] per query, shape (...).

    Raises:
        TypeError: if the positives are neither booleans nor integers, or k is no integer.
        ValueError: as for `reciprocal_rank`, and if k lies outside [1, M].

    """
    return _per_query(_ndcg, scores, positives, k)


def top1(scores: Any, positives: Any) -> Float[Array, "..."]:
    r"""Expect whether the first item is positive: the probability $m/n$ in the first tie group.

    Reference: McSherry & Najork (2008).

    Args:
        scores: shape (..., M), M >= 2, infinities allowed; higher is better.
        positives: boolean mask of shape (..., M), or integer places of shape (..., P) padded
            with -1.

    Returns:
        One value in [0, 1] per query, shape (...).

    Raises:
        TypeError: if the positives are neither booleans nor integers.
        ValueError: as for `reciprocal_rank`.

    """
    return _per_query(_precision, scores, positives, 1)


def retrieval_metrics(scores: Any, positives: Any, k: Any = (1, 10)) -> dict[str, Float[Array, ""]]:
    """Average every metric over the queries.

    Reference: McSherry & Najork (2008).

    Args:
        scores: shape (..., M), M >= 2, infinities allowed; higher is better.
        positives: boolean mask of shape (..., M), or integer places of shape (..., P) padded
            with -1.
        k: lengths of the list, integers in [1, M].

    Returns:
        Scalars under "MRR", "MAP", "NDCG" (whole list), "top-1", and "recall@k" and
        "precision@k" for each k.

    Raises:
        TypeError: if the positives are neither booleans nor integers, or k holds no integers.
        ValueError: as for `reciprocal_rank`, if some k lies outside [1, M], or if there is no
            query to average over.

    """
    s, p = _checked(scores, positives)
    if 0 in s.shape:
        raise ValueError(f"scores must hold at least one query, got shape {s.shape}")
    if isinstance(k, str) or not np.iterable(k):
        raise TypeError(f"k must be a sequence of integers, got {k!r}")
    lengths = [validation.integer("k", entry, low=1, high=s.shape[-1]) for entry in k]
    means = _evaluate(_all_metrics, s, p, jnp.asarray(lengths, int))
    at = {name: means.pop(name) for name in ("recall", "precision")}
    averages = {name: values.mean() for name, values in means.items()}
    for place, length in enumerate(lengths):
        for name, values in at.items():
            averages[f"{name}@{length}"] = values[..., place].mean()
    return averages


class _Ranking(NamedTuple):
    """A query's items by falling score: of each rank, the tie group that holds it; shapes (M,)."""

    rank: Float[Array, " M"]
    n: Float[Array, " M"]
    m: Float[Array, " M"]
    h: Float[Array, " M"]
    a: Float[Array, " M"]
    P: Float[Array, ""]

    @property
    def i(self) -> Float[Array, " M"]:
        """Place inside the group, from 1."""
        return self.rank - self.h

    @property
    def e(self) -> Float[Array, " M"]:
        """Expected relevance."""
        return self.m / self.n


def _ranking(scores: Float[Array, " M"], relevant: Bool[Array, " M"]) -> _Ranking:
    """Sort the items and find the tie groups, in O(M log M)."""
    M = scores.shape[0]
    s, relevance = jax.lax.sort((-scores, relevant.astype(scores.dtype)), num_keys=1)
    edge = s[1:] != s[:-1]
    yes = jnp.ones((1,), bool)
    place = jnp.arange(M)
    first = jax.lax.cummax(jnp.where(jnp.concatenate([yes, edge]), place, 0))
    last = jax.lax.cummin(jnp.where(jnp.concatenate([edge, yes]), place, M - 1), reverse=True)
    found = jnp.cumsum(relevance)
    a = found[first] - relevance[first]
    return _Ranking(
        rank=(place + 1).astype(s.dtype),
        n=(last - first + 1).astype(s.dtype),
        m=found[last] - a,
        h=first.astype(s.dtype),
        a=a,
        P=found[-1],
    )


def _reciprocal_rank(g: _Ranking, k: Int[Array, "..."]) -> Float[Array, ""]:
    """Sum over the place of the first positive in the first group with positives."""
    del k
    g0 = jnp.argmax(g.m > 0)
    n, m, h = g.n[g0], g.m[g0], g.h[g0]
    i = g.rank - h
    # P(1) = m/n and P(i) / P(i-1) = (n-m-i+2) / (n-i+1): a product of factors in [0, 1], exact for
    # m = 1, where the difference of log factorials loses digits as M grows. The factor vanishes
    # at i = n-m+2, the first place that is impossible.
    step = jnp.where(i > n, 0.0, (n - m - i + 2) / jnp.maximum(n - i + 1, 1))
    probability = m / n * jnp.cumprod(jnp.where(i <= 1, 1.0, step))
    return jnp.sum(jnp.where(i >= 1, probability / g.rank, 0.0))


def _found(g: _Ranking, k: Int[Array, ""]) -> Float[Array, ""]:
    """Count the expected positives among the first k."""
    return g.a[k - 1] + g.i[k - 1] * g.m[k - 1] / g.n[k - 1]


def _recall(g: _Ranking, k: Int[Array, ""]) -> Float[Array, ""]:
    return _found(g, k) / g.P


def _precision(g: _Ranking, k: Int[Array, ""]) -> Float[Array, ""]:
    return _found(g, k) / k


def _average_precision(g: _Ranking, k: Int[Array, "..."]) -> Float[Array, ""]:
    """Precision at each rank given a positive there, weighted with the probability of one."""
    del k
    positives_so_far = g.a + 1 + (g.i - 1) * (g.m - 1) / jnp.maximum(g.n - 1, 1)
    return jnp.sum(g.e * positives_so_far / g.rank) / g.P


def _ndcg(g: _Ranking, k: Int[Array, ""]) -> Float[Array, ""]:
    """Divide the expected gain of the first k by the gain of a list with all positives in front."""
    discount = 1 / jnp.log2(1 + g.rank)
    gain = jnp.sum(jnp.where(g.rank <= k, g.e * discount, 0.0))
    return gain / jnp.sum(jnp.where(g.rank <= jnp.minimum(k, g.P), discount, 0.0))


def _all_metrics(g: _Ranking, k: Int[Array, " K"]) -> dict[str, Float[Array, "..."]]:
    """Every metric from one sort."""
    one = jnp.ones((), k.dtype)
    return {
        "MRR": _reciprocal_rank(g, k),
        "MAP": _average_precision(g, k),
        "NDCG": _ndcg(g, g.rank.size * one),
        "top-1": _precision(g, one),
        "recall": jax.vmap(lambda length: _recall(g, length))(k),
        "precision": jax.vmap(lambda length: _precision(g, length))(k),
    }


@jax.jit(static_argnames="metric")
def _evaluate(
    metric: Callable, scores: Array, positives: Array, k: Int[Array, "..."]
) -> Float[Array, "..."] | dict[str, Float[Array, "..."]]:
    """Apply the metric to each query; the length k is traced, so that no length compiles anew."""

    def one_query(s: Float[Array, " M"], p: Array) -> Any:
        return metric(_ranking(s, p if p.dtype == bool else _mask(p, s.shape[0])), k)

    for _ in scores.shape[:-1]:
        one_query = jax.vmap(one_query)
    return one_query(scores, positives)


def _mask(places: Int[Array, " P"], M: int) -> Bool[Array, " M"]:
    """Mask of the listed places; the padding falls on a place past the end."""
    return jnp.zeros(M + 1, bool).at[jnp.where(places < 0, M, places)].set(True)[:M]


@jax.jit
def _rank(
    scores: Float[Array, "*queries M"], target: Int[Array, "*queries"], key: Key[Array, ""]
) -> Int32[Array, "*queries"]:
    """1 + better + uniform on {0..ties}, where the target itself makes the end exclusive."""
    own = jnp.take_along_axis(scores, target[..., None], axis=-1)
    better = jnp.sum(scores > own, axis=-1, dtype=jnp.int32)
    tied = jnp.sum(scores == own, axis=-1, dtype=jnp.int32)
    return 1 + better + jax.random.randint(key, tied.shape, 0, tied, jnp.int32)


def _per_query(metric: Callable, scores: Any, positives: Any, k: Any = None) -> Array:
    s, p = _checked(scores, positives)
    length = s.shape[-1] if k is None else validation.integer("k", k, low=1, high=s.shape[-1])
    return _evaluate(metric, s, p, jnp.asarray(length))


def _checked(scores: Any, positives: Any) -> tuple[Array, Array]:
    """Scores and positives (a mask, or places) of the same queries, each with a positive."""
    s = _scores(scores)
    p = _integers("positives", positives, or_mask=True)
    M, is_mask = s.shape[-1], p.dtype == bool
    if p.shape[:-1] != s.shape[:-1] or p.ndim == 0 or (is_mask and p.shape != s.shape):
        wanted = f"{s.shape} (a mask)" if is_mask else f"{(*s.shape[:-1], 'P')} (places)"
        raise ValueError(f"positives must have shape {wanted}, got shape {p.shape}")
    if validation.is_traced(p):
        return s, jnp.asarray(p)
    if not is_mask:
        _require_inside("positives", p, low=-1, high=M - 1)
        ordered = np.sort(p, axis=-1)
        twice = (ordered[..., 1:] == ordered[..., :-1]) & (ordered[..., 1:] >= 0)
        if twice.any():
            query = np.argwhere(twice)[0]
            raise ValueError(
                "positives must list each place once, got place "
                f"{ordered[..., 1:][tuple(query)]} twice in query {query[:-1].tolist()} "
                "(a mask must be boolean)"
            )
    empty = ~(p if is_mask else p >= 0).any(axis=-1)
    if empty.any():
        raise ValueError(
            "positives must name at least one item of each query, got none in query "
            f"{np.argwhere(empty)[0].tolist()} ({int(empty.sum())} such queries)"
        )
    return s, jnp.asarray(p)


def _scores(scores: Any) -> Array:
    s = validation.real_array("scores", scores).astype(float)
    if s.ndim == 0 or s.shape[-1] < 2:
        raise ValueError(f"scores must have shape (..., M) with M >= 2, got shape {s.shape}")
    return s


def _integers(name: str, value: Any, *, or_mask: bool = False) -> Any:
    """Read an integer array (or a boolean one), on the host unless it is traced."""
    array = value if validation.is_traced(value) else np.asarray(value)
    wanted = "integers or booleans" if or_mask else "integers"
    if array.dtype.kind not in ("iub" if or_mask else "iu"):
        raise TypeError(f"{name} must hold {wanted}, got an array of dtype {array.dtype}")
    # Unsigned places cannot be compared with the padding.
    return array.astype(int) if array.dtype.kind == "u" else array


def _require_inside(name: str, array: np.ndarray, *, low: int, high: int) -> None:
    outside = (array < low) | (array > high)
    if outside.any():
        raise ValueError(
            f"{name} must lie in [{low}, {high}], got {array[outside][0]} at index "
            f"{np.argwhere(outside)[0].tolist()} ({int(outside.sum())} such entries)"
        )
