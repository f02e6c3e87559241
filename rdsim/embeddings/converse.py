r"""The rank converse (C4) for queries with any targets: what no system can exceed, whatever the data.

Let the queried groups have $m_g$ items each, stored at R bits per item, and let a share $p_g$ of the queries be of
group g. The first target of a query stands no higher than its group does among the groups, each at its best
item. The bits of all items of a group are a code of the group, and groups of one code tie, so that among k
groups that are equally likely

$$H(\text{rank}) \ge \log_2 k - H(\text{code}), \quad H(\text{code}) \le R \, E m_g + H(m_g).$$

A distribution with $p_g \le 1/k$ is a mixture of uniform ones on k groups, and the bound is concave in the rate:
so C4 holds with $k = \lfloor 1/\max_g p_g \rfloor$ and this rate. With one item a group and equally many queries of
each it is C4 itself.
"""

import math

import numpy as np
from jaxtyping import Float

from rdsim import limits
from rdsim.embeddings.data.task import RetrievalTask
from rdsim.embeddings.quality import CUTOFFS, METRICS
from rdsim.ranking.loss import Loss


def group_sizes(task: RetrievalTask) -> tuple[int, float, float]:
    """Return k, the mean number of items of a query's group, and the entropy of that number."""
    queries = np.bincount(task.query_group)
    items = np.bincount(task.item_group, minlength=len(queries))[: len(queries)]
    share = queries[queries > 0] / queries.sum()
    size = items[queries > 0]
    # The largest integer k with all shares at most 1/k, in exact integers.
    k = int(queries.sum() // queries.max())
    weight = np.bincount(size, share)
    weight = weight[weight > 0]
    return k, float(share @ size), max(0.0, float(-(weight * np.log2(weight)).sum()))


def converse(task: RetrievalTask, bits: np.ndarray) -> tuple[Float[np.ndarray, "b 5"], float]:
    """Bound every metric at so many bits per item; also return log2 k."""
    k, size, entropy = group_sizes(task)
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
