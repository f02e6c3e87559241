r"""What no system can exceed, and what no code of one codebook can, whatever the data: for queries with any targets.

Let the queried groups have $m_g$ items each, and let a share $p_g$ of the queries be of group g. The first target of a
query stands no higher than its group does among the groups, each at its best item. A distribution with
$p_g \le 1/k$ is a mixture of uniform ones on k groups.

*Any system* (C4) that stores R bits an item. The bits of all items of a group are a code of the group, and groups of one code tie, so that
among k groups that are equally likely

$$H(\text{rank}) \ge \log_2 k - H(\text{code}), \quad H(\text{code}) \le R \, E m_g + H(m_g).$$

The bound is concave in the rate: so C4 holds with $k = \lfloor 1/\max_g p_g \rfloor$ and this rate. With one item a
group and equally many queries of each it is C4 itself.

*One codebook* of $N = 2^R$ codewords: each item is stored as one of them, and scored by its codeword alone. Of one query,
groups of m items with the same codewords, each as often, are alike: all places that they take are equally likely for each, so
that with n of them the expected reward is at most that of the places 1 to n, $W(n)/n$, W being the sum of the first rewards. There are
$N_m = \binom{N + m - 1}{m}$ such classes, and W is concave: among k groups of equal probability, a share $s_m$ of m items,

$$E\,w(\text{rank}) \le \sum_m \frac{N_m}{k}\, W\!\left(\frac{k s_m}{N_m}\right),$$

W interpolated between integers. That is concave in the shares, so that it holds for any queries, with k as above and $s_m$ the share of the
queries of groups of m items. Nothing is drawn: the items are those that are there, and the codebook may be fitted to them. For
one item a group and reciprocal ranks it is $(N/M) H_{M/N}$, and recall@1 is at most N/M.
"""

import math
from typing import Final

import numpy as np
import scipy
from jaxtyping import Float

from rdsim import limits
from rdsim.embeddings.data.task import RetrievalTask
from rdsim.embeddings.quality import CUTOFFS, DISCOUNTS, METRICS
from rdsim.limits.converses.codebook import first_rewards
from rdsim.ranking.loss import Loss
from rdsim.root_finding import bisect_on_host

_ROUNDING: Final = 1e-12
"""Added to every bound for the rounding of its sums."""
_HALVINGS: Final = 50
"""Halvings of a search for bits, which leave nothing of the first interval."""


def group_sizes(task: RetrievalTask) -> tuple[int, Float[np.ndarray, " m"]]:
    """Return k, and the share of the queries whose group has m items, from m = 0 on."""
    queries = np.bincount(task.query_group)
    items = np.bincount(task.item_group, minlength=len(queries))[: len(queries)]
    asked = queries > 0
    # The largest integer k with all shares at most 1/k, in exact integers.
    k = int(queries.sum() // queries.max())
    return k, np.bincount(items[asked], queries[asked]) / queries.sum()


def group_code(shares: Float[np.ndarray, " m"]) -> tuple[float, float]:
    """Return the mean number of items of a query's group, and the entropy of that number in bits."""
    weight = shares[shares > 0]
    entropy = max(0.0, float(-(weight * np.log2(weight)).sum()))
    return float(shares @ np.arange(len(shares))), entropy


def converse(task: RetrievalTask, bits: np.ndarray) -> tuple[Float[np.ndarray, "b 5"], float]:
    """Bound every metric of any system at so many bits per item; also return log2 k."""
    k, shares = group_sizes(task)
    size, entropy = group_code(shares)
    bound = np.ones((len(bits), len(METRICS)))
    single = len(np.unique(task.targets.query)) == len(task.targets.query)
    if not single:
        bound[:, -1] = np.nan
    if k < 2:
        return bound, 0.0
    log2_size = math.log2(k)
    rate = np.asarray(bits, float) * size + entropy
    losses: list[Loss] = ["reciprocal_rank", *(("miss", cutoff) for cutoff in CUTOFFS), "dcg"]
    for column, loss in enumerate(losses if single else losses[:-1]):
        if isinstance(loss, tuple) and loss[1] >= k:
            continue
        least = limits.rank_loss(log2_size, loss, rate=np.minimum(rate, log2_size)).lower
        bound[:, column] = 1 - np.asarray(least)
    return bound, log2_size


def codebook_converse(
    k: int, shares: Float[np.ndarray, " m"], bits: np.ndarray, column: int
) -> Float[np.ndarray, " b"]:
    """Bound a metric of codes of one codebook of $2^R$ codewords, shape (b,).

    Args:
        k: as `group_sizes` returns it.
        shares: likewise.
        bits: R >= 0, shape (b,).
        column: of the metric in `METRICS`; nDCG is that of one target a query.

    """
    R = np.minimum(np.asarray(bits, float), math.log2(max(k, 2)) + 1)  # more name every item
    bound = np.zeros(R.shape)
    for m in np.flatnonzero(shares):
        # With as many classes as groups every group is named: a number that overflows says no more.
        classes = np.minimum(_multisets(np.exp2(R), int(m)), 2.0 * k)
        bound += classes / k * _first_rewards(k * shares[m] / classes, column)
    return np.asarray(np.minimum(bound * (1 + _ROUNDING), 1.0))


def _multisets(codewords: Float[np.ndarray, " b"], m: int) -> Float[np.ndarray, " b"]:
    """Multisets of m of so many codewords, or more: no less by rounding, and infinity for numbers that are not needed."""
    if m == 1:
        return codewords
    each = [
        scipy.special.gammaln(codewords + m),
        scipy.special.gammaln(codewords),
        scipy.special.gammaln(m + 1.0),
    ]
    rounding = 4e-16 * (each[0] + each[1] + each[2])
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(each[0] - each[1] - each[2] + rounding))


def codebook_bits(
    k: int, shares: Float[np.ndarray, " m"], quality: Float[np.ndarray, " n"], column: int
) -> Float[np.ndarray, " n"]:
    """Bound log2 of the codewords from below that a codebook needs for such qualities, by bisection."""

    def enough(bits: np.ndarray) -> np.ndarray:
        return ~(codebook_converse(k, shares, bits, column) < quality)

    none, all_named = np.zeros(quality.shape), np.full(quality.shape, math.log2(max(k, 2)))
    low, _ = bisect_on_host(enough, none, all_named, steps=_HALVINGS)
    return np.where(enough(none), 0.0, low)


def _first_rewards(places: Float[np.ndarray, " b"], column: int) -> Float[np.ndarray, " b"]:
    """W of a metric: the sum of the rewards of so many first places, interpolated between integers."""
    if column <= len(CUTOFFS):
        return first_rewards(
            places, "reciprocal_rank" if column == 0 else ("miss", CUTOFFS[column - 1])
        )
    sums = np.append(0.0, np.cumsum(DISCOUNTS))
    return np.interp(places, np.arange(sums.size), sums)
