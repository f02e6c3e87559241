r"""Metrics of one ranking whose tie groups have no order: expectations over all orders, for one query.

A tie group has $n$ items, $m$ of them positive, and there are $h$ items, $a$ of them positive, ahead
of it; the query has $P$ positives among $M$ items. Items that were not retrieved stand behind all
others as items without relevance: no metric finds a positive among them, but $P$ counts it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Ranking(NamedTuple):
    """A query's items by falling score: of each rank, the tie group that holds it."""

    rank: Float[Array, " M"]  # 1..M
    n: Float[Array, " M"]  # items of the group
    m: Float[Array, " M"]  # positives of the group
    h: Float[Array, " M"]  # items ahead of the group
    a: Float[Array, " M"]  # positives ahead of the group
    P: Float[Array, ""]  # positives of the query, retrieved or not
    size: Int[Array, ""]  # items retrieved

    @property
    def i(self) -> Float[Array, " M"]:
        """Index of the rank inside its group, from 1."""
        return self.rank - self.h

    @property
    def e(self) -> Float[Array, " M"]:
        """Expected relevance."""
        return self.m / self.n

    @property
    def some(self) -> Float[Array, ""]:
        """P, or one for a query without positives, so that its metrics are zero and not 0/0."""
        return jnp.maximum(self.P, 1)


def ranking(
    scores: Float[Array, " M"], relevant: Bool[Array, " M"], retrieved: Bool[Array, " M"] | None
) -> Ranking:
    """Sort the items and find the tie groups, in O(M log M)."""
    M = scores.shape[0]
    P = jnp.sum(relevant).astype(scores.dtype)
    if retrieved is None:
        size = jnp.asarray(M)
        s, relevance = jax.lax.sort((-scores, relevant.astype(scores.dtype)), num_keys=1)
        edge = s[1:] != s[:-1]
    else:
        size = jnp.sum(retrieved)
        found = (relevant & retrieved).astype(scores.dtype)
        behind, s, relevance = jax.lax.sort((~retrieved, -scores, found), num_keys=2)
        edge = (s[1:] != s[:-1]) | (behind[1:] != behind[:-1])
    yes = jnp.ones((1,), bool)
    index = jnp.arange(M)
    # Of each item, the first and the last index of its tie group.
    first = jax.lax.cummax(jnp.where(jnp.concatenate([yes, edge]), index, 0))
    last = jax.lax.cummin(jnp.where(jnp.concatenate([edge, yes]), index, M - 1), reverse=True)
    so_far = jnp.cumsum(relevance)
    a = so_far[first] - relevance[first]
    return Ranking(
        rank=(index + 1).astype(s.dtype),
        n=(last - first + 1).astype(s.dtype),
        m=so_far[last] - a,
        h=first.astype(s.dtype),
        a=a,
        P=P,
        size=size,
    )


def reciprocal_rank(g: Ranking, k: Int[Array, "..."]) -> Float[Array, ""]:
    """Sum over the index i of the first positive in the first group with positives."""
    del k
    first = jnp.argmax(g.m > 0)
    n, m, h = g.n[first], g.m[first], g.h[first]
    i = g.rank - h
    # P(1) = m/n and P(i) / P(i-1) = (n-m-i+2) / (n-i+1): a product of factors in [0, 1], exact for
    # m = 1, where the difference of log factorials loses digits as M grows. The factor vanishes
    # at i = n-m+2, the first index that is impossible.
    ratio = jnp.where(i > n, 0.0, (n - m - i + 2) / jnp.maximum(n - i + 1, 1))
    probability = m / n * jnp.cumprod(jnp.where(i <= 1, 1.0, ratio))
    return jnp.sum(jnp.where(i >= 1, probability / g.rank, 0.0))


def _found(g: Ranking, k: Int[Array, ""]) -> Float[Array, ""]:
    """Count the expected positives among the first k; ranks beyond the list hold nothing."""
    last = jnp.minimum(k, g.rank.size) - 1
    return g.a[last] + g.i[last] * g.m[last] / g.n[last]


def recall(g: Ranking, k: Int[Array, ""]) -> Float[Array, ""]:
    """Positives found in the first k, of all."""
    return _found(g, k) / g.some


def precision(g: Ranking, k: Int[Array, ""]) -> Float[Array, ""]:
    """Positives found in the first k, of k ranks."""
    return _found(g, k) / k


def precision_of_list(g: Ranking, k: Int[Array, ""]) -> Float[Array, ""]:
    """Positives found in the first k, of the ranks up to k that the list has."""
    return precision(g, jnp.clip(g.size, 1, k))


def average_precision(g: Ranking, k: Int[Array, "..."]) -> Float[Array, ""]:
    """Precision at each rank given a positive there, weighted with the probability of one."""
    del k
    positives_so_far = g.a + 1 + (g.i - 1) * (g.m - 1) / jnp.maximum(g.n - 1, 1)
    return jnp.sum(g.e * positives_so_far / g.rank) / g.some


def ndcg(g: Ranking, k: Int[Array, ""]) -> Float[Array, ""]:
    """Divide the expected gain of the first k by the gain of a list with all positives in front."""
    discount = 1 / jnp.log2(1 + g.rank)
    gain = jnp.sum(jnp.where(g.rank <= k, g.e * discount, 0.0))
    return gain / jnp.sum(jnp.where(g.rank <= jnp.minimum(k, g.some), discount, 0.0))


def every_metric(g: Ranking, k: Int[Array, " K"]) -> dict[str, Float[Array, "..."]]:
    """Every metric from one sort."""
    one = jnp.ones((), k.dtype)
    return {
        "MRR": reciprocal_rank(g, k),
        "MAP": average_precision(g, k),
        "NDCG": ndcg(g, g.rank.size * one),
        "top-1": precision(g, one),
        "recall": jax.vmap(lambda length: recall(g, length))(k),
        "precision": jax.vmap(lambda length: precision(g, length))(k),
        "precision of the list": jax.vmap(lambda length: precision_of_list(g, length))(k),
    }
