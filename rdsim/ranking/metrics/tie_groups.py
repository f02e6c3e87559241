r"""Metrics of rankings whose tie groups have no order: expectations over all orders, for many queries.

A tie group has $n$ items of gains that add up to $m$ (of gains 0 and 1, $m$ positives), and there are
$h$ items of gains that add up to $a$ ahead of it; the query has $P$ positives among $M$ items. Items
that were not retrieved stand behind all others as items without gain: no metric finds one of
them, but $P$ counts it.

One text serves NumPy, on the host and in blocks of queries (`evaluate`), and JAX, where it is traced:
`module` is the one or the other. On the host nothing is compiled, so that no new size costs a second.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rdsim import validation
from rdsim.ranking.metrics.judgements import Judged, as_mask

_ENTRIES: Final = 1 << 18
"""Scores that are ranked at a time: about twenty arrays of this size are alive, 40 MB."""


class Ranking(NamedTuple):
    """Queries' items by falling score: of each rank, the tie group that holds it, shape (Q, M)."""

    module: Any
    rank: Any  # 1..M, shape (M,)
    n: Any  # items of the group
    m: Any  # gain of the group
    h: Any  # items ahead of the group
    a: Any  # gain ahead of the group
    P: Any  # positives of the query, retrieved or not, shape (Q,)
    size: Any  # items retrieved, shape (Q,)
    gains: Any  # of the items as they were given, shape (Q, M)

    @property
    def e(self) -> Any:
        """Expected gain."""
        return self.m / self.n

    @property
    def some(self) -> Any:
        """P, or one for a query without positives, so that its metrics are zero and not 0/0."""
        return self.module.maximum(self.P, 1)

    def until(self, k: Any) -> "Ranking":
        """Gains of the ranks up to k, a number or one for each query; beyond it they are zero."""
        M = self.rank.size
        known = isinstance(k, int) or self.module is np
        # Ranks that no query looks at are left out, which makes short lists cheap.
        top = min(int(np.max(k)), M) if known else M
        beyond = self.rank[:top] > self.module.asarray(k)[..., None]
        return self._replace(
            rank=self.rank[:top],
            n=self.n[:, :top],
            m=self.module.where(beyond, 0.0, self.m[:, :top]),
            h=self.h[:, :top],
            a=self.a[:, :top],
        )


def evaluate(metric: Callable[[Ranking], Any], given: Judged, gain: Any = None) -> Any:
    """Apply a metric of rankings to all queries, in blocks of them on the host.

    Args:
        metric: function of a `Ranking` of Q queries to arrays of shape (Q, ...), or to a dictionary
            of such.
        given: what was judged.
        gain: of the positives (a function of the grades), or None for gains 0 and 1.

    Returns:
        What the metric returns, with the leading axes of the scores in the place of Q.

    """
    shape = given.scores.shape
    M = shape[-1]
    flat = Judged(*(part if part is None else part.reshape(-1, part.shape[-1]) for part in given))
    traced = validation.is_traced(given)
    queries = flat.scores.shape[0]
    step = queries if traced else max(1, _ENTRIES // M)

    def ranked(start: int) -> Any:
        block = Judged(*(part if part is None else part[start : start + step] for part in flat))
        gains = as_mask(block.positives, M) if gain is None else gain(block.positives)
        return metric(ranking(jnp if traced else np, block.scores, gains, block.retrieved))

    # Of no queries, one empty block says what shape the answer has.
    found = [ranked(start) for start in range(0, max(queries, 1), max(step, 1))]
    module = jnp if traced else np

    def joined(*parts: Any) -> Any:
        whole = module.concatenate(parts)
        return jnp.asarray(whole.reshape(shape[:-1] + whole.shape[1:]))

    return jax.tree.map(joined, *found)


def ranking(module: Any, scores: Any, gains: Any, retrieved: Any) -> Ranking:
    """Sort the items of queries and find the tie groups, in O(Q M log M).

    Args:
        module: NumPy or jax.numpy.
        scores: shape (Q, M).
        gains: at least zero, shape (Q, M); or a mask.
        retrieved: mask of shape (Q, M), or None.

    """
    M = scores.shape[-1]
    number = module.asarray(0.0).dtype
    gains = gains.astype(number)
    P = module.sum(gains > 0, axis=-1).astype(number)
    behind = module.zeros(scores.shape, bool) if retrieved is None else ~retrieved
    falling = -scores.astype(number) if scores.dtype != np.float32 else -scores
    if retrieved is None:
        order = module.argsort(falling, axis=-1)
        size = module.full(scores.shape[0], float(M))
        found = gains
    else:
        falling = module.where(retrieved, falling, 0.0)
        order = module.lexsort((falling, behind), axis=-1)
        size = module.sum(retrieved, axis=-1).astype(number)
        found = module.where(retrieved, gains, 0.0)
    # From here on every array is in the order of the ranking, best first; an edge begins a tie group.
    s, gain = (module.take_along_axis(part, order, axis=-1) for part in (falling, found))
    edge = s[:, 1:] != s[:, :-1]
    if retrieved is not None:
        last = module.take_along_axis(behind, order, axis=-1)
        edge = edge | (last[:, 1:] != last[:, :-1])
    yes = module.ones((scores.shape[0], 1), bool)
    index = module.arange(M)
    # Of each item, the first and the last index of its tie group.
    first = _so_far(module, module.where(module.concatenate([yes, edge], axis=1), index, 0))
    ends = module.where(module.concatenate([edge, yes], axis=1), index, M - 1)
    last_of = M - 1 - _so_far(module, (M - 1 - ends)[:, ::-1])[:, ::-1]
    so_far = module.cumsum(gain, axis=-1)
    ahead = module.take_along_axis(so_far, first, axis=-1) - module.take_along_axis(
        gain, first, axis=-1
    )
    return Ranking(
        module=module,
        rank=(index + 1).astype(number),
        n=(last_of - first + 1).astype(number),
        m=module.take_along_axis(so_far, last_of, axis=-1) - ahead,
        h=first.astype(number),
        a=ahead,
        P=P,
        size=size,
        gains=gains,
    )


def _so_far(module: Any, values: Any) -> Any:
    """Largest of each row up to each column."""
    if module is np:
        return np.maximum.accumulate(values, axis=-1)
    return jax.lax.cummax(values, axis=1)


def first_positive(g: Ranking) -> Any:
    """Probability that the first positive has each rank, shape (Q, M); gains must be 0 and 1.

    It lies in the first group with positives, at the index i = 1..n-m+1 with the probability
    C(n-i, m-1) / C(n, m).
    """
    module = g.module
    first = module.argmax(g.m > 0, axis=-1)[:, None]
    n, m, h = (module.take_along_axis(part, first, axis=-1) for part in (g.n, g.m, g.h))
    i = g.rank - h
    # P(1) = m/n and P(i) / P(i-1) = (n-m-i+2) / (n-i+1): a product of factors in [0, 1], exact for
    # m = 1, where the difference of log factorials loses digits as M grows. The factor vanishes
    # at i = n-m+2, the first index that is impossible.
    ratio = module.where(i > n, 0.0, (n - m - i + 2) / module.maximum(n - i + 1, 1))
    probability = m / n * module.cumprod(module.where(i <= 1, 1.0, ratio), axis=-1)
    return module.where(i >= 1, probability, 0.0)


def reciprocal_rank(g: Ranking, k: Any) -> Any:
    """Mean reciprocal rank of the first positive, zero beyond rank k."""
    first = first_positive(g.until(k))
    return (first / g.rank[: first.shape[-1]]).sum(axis=-1)


def success(g: Ranking, k: Any) -> Any:
    """Probability that a positive is among the first k."""
    # A sum of probabilities may exceed one by its rounding.
    return g.module.minimum(first_positive(g.until(k)).sum(axis=-1), 1.0)


def _found(g: Ranking, k: Any) -> Any:
    """Expected positives among the first k; ranks beyond the list hold nothing."""
    k = g.module.broadcast_to(g.module.asarray(k), g.P.shape)
    last = (g.module.minimum(k, g.rank.size) - 1).astype(int)[:, None]
    n, m, h, a = (
        g.module.take_along_axis(part, last, axis=-1)[:, 0] for part in (g.n, g.m, g.h, g.a)
    )
    return a + (g.rank[last[:, 0]] - h) * m / n


def recall(g: Ranking, k: Any) -> Any:
    """Positives found in the first k, of all."""
    return _found(g, k) / g.some


def precision(g: Ranking, k: Any) -> Any:
    """Positives found in the first k, of k ranks."""
    return _found(g, k) / k


def precision_of_list(g: Ranking, k: Any) -> Any:
    """Positives found in the first k, of the ranks up to k that the list has."""
    return precision(g, g.module.clip(g.size, 1, k))


def average_precision(g: Ranking, k: Any) -> Any:
    """Precision at each rank up to k given a positive there, weighted with its probability."""
    some, g = g.some, g.until(k)
    # The gain is zero beyond k, and what stands here for the positives so far is not used there.
    so_far = g.a + 1 + (g.rank - g.h - 1) * (g.m - 1) / g.module.maximum(g.n - 1, 1)
    return (g.e * so_far / g.rank).sum(axis=-1) / some


def dcg(g: Ranking, k: Any) -> Any:
    """Expected gain of the first k, each divided by log2(1 + rank)."""
    g = g.until(k)
    return (g.e / g.module.log2(1 + g.rank)).sum(axis=-1)


def ndcg(g: Ranking, k: Any) -> Any:
    """DCG divided by that of a list with all positives in front; gains must be 0 and 1."""
    best = g.module.cumsum(1 / g.module.log2(1 + g.rank))
    front = g.module.minimum(g.module.minimum(k, g.some), g.rank.size)
    return dcg(g, k) / best[front.astype(int) - 1]


def graded_ndcg(g: Ranking, k: int) -> Any:
    """DCG divided by that of the list whose gains fall."""
    falling = g.module.sort(g.gains, axis=-1)[:, ::-1][:, :k]
    best = falling / g.module.log2(1 + g.rank[: falling.shape[-1]])
    return dcg(g, k) / best.sum(axis=-1)
