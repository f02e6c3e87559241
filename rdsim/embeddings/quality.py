r"""Retrieval quality from the ranks of targets, ties averaged, with intervals over groups of queries.

Of a query, the first target found counts for MRR and R@K, and every target for nDCG@10. With a items
ahead of the best-ranked targets, t items at their score and m of these t targets, all orders of the t being
equally likely,

$$P(r > a + j) = \prod_{i=0}^{m-1} \frac{t - j - i}{t - i}, \quad R@K = P(r \le K), \quad
    MRR = \sum_j \frac{P(r > a + j - 1) - P(r > a + j)}{a + j},$$

$$DCG@K = \sum_{targets} \frac{g}{t} \sum_{r=a+1}^{\min\{a+t, K\}} \frac{1}{\log_2(1 + r)}.$$

The interval of a mean is Wilson's at the effective number of queries p(1 - p)/V, V the variance of the mean
with groups as the unit (queries of one group are not independent).

References:
    McSherry and Najork (2008), ECIR; Jarvelin and Kekalainen (2002), ACM TOIS 20(4); Wilson (1927), JASA 22;
    Korn and Graubard (1998), Survey Methodology 24(2), for the effective number.

"""

import dataclasses
from typing import Final

import numpy as np
import scipy
from jaxtyping import Float, Int

from rdsim.embeddings.data.task import Targets
from rdsim.embeddings.ranks import TargetRanks
from rdsim.ranking.metrics.single_target import tied_gain

CUTOFFS: Final = (1, 5, 10)
"""K of R@K."""
NDCG_CUTOFF: Final = 10
DISCOUNTS: Final = 1 / np.log2(1 + np.arange(1, NDCG_CUTOFF + 1))
"""What the gain of a target counts at the places 1 to 10."""
METRICS: Final = ("mrr", *(f"recall@{k}" for k in CUTOFFS), f"ndcg@{NDCG_CUTOFF}")
"""The metrics, in the order of the columns of `query_metrics`."""
FRACTIONS: Final = (0.90, 0.95, 0.99)
"""Of the uncompressed quality, for which the bits are asked."""
METRIC_NAMES: Final = ("MRR", *METRICS[1:-1], f"nDCG@{NDCG_CUTOFF}")
"""As people write them; programs are given `METRICS`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mean:
    """Means over queries with their intervals.

    Attributes:
        value: shape (...).
        lower: shape (...).
        upper: shape (...).

    """

    value: Float[np.ndarray, "..."]
    lower: Float[np.ndarray, "..."]
    upper: Float[np.ndarray, "..."]


def query_metrics(ranks: TargetRanks, targets: Targets, queries: int) -> Float[np.ndarray, "q 5"]:
    """Compute every metric of every query, in the order of `METRICS`."""
    start = np.searchsorted(targets.query, np.arange(queries))
    ahead = np.minimum.reduceat(ranks.ahead, start)
    # Targets of one score have equally many items ahead, and targets of other scores have not.
    best = ranks.ahead == ahead[targets.query]
    among = np.add.reduceat(best.astype(np.int64), start)
    tied = np.maximum.reduceat(np.where(best, ranks.tied, 0), start)
    beyond = [_not_among(ahead, tied, among, k) for k in CUTOFFS]
    return np.stack(
        [
            _reciprocal(ahead, tied, among),
            *(1 - part for part in beyond),
            _ndcg(ranks, targets, start),
        ],
        axis=1,
    )


def _not_among(ahead: np.ndarray, tied: np.ndarray, among: np.ndarray, k: int) -> np.ndarray:
    """Probability that no target is among the first k."""
    seen = np.clip(k - ahead, 0, tied)
    none = np.ones(len(ahead))
    for i in range(int(among.max())):
        more = i < among
        factor = np.maximum(tied - seen - i, 0) / np.maximum(tied - i, 1)
        none *= np.where(more, factor, 1.0)
    return none


def _reciprocal(ahead: np.ndarray, tied: np.ndarray, among: np.ndarray) -> np.ndarray:
    found = np.asarray(tied_gain(ahead, tied, "reciprocal_rank"))
    for row in np.flatnonzero(among > 1):
        a, t, m = int(ahead[row]), int(tied[row]), int(among[row])
        j = np.arange(1, t - m + 2)
        # P(j) = m/t for j = 1, and P(j)/P(j - 1) = (t - m - j + 2)/(t - j + 1).
        ratio = np.where(j == 1, m / t, (t - m - j + 2) / (t - j + 1))
        found[row] = (np.cumprod(ratio) / (a + j)).sum()
    return found


def _ndcg(ranks: TargetRanks, targets: Targets, start: np.ndarray) -> np.ndarray:
    discounts = np.append(0.0, np.cumsum(DISCOUNTS))
    last = np.minimum(ranks.ahead + ranks.tied, NDCG_CUTOFF)
    first = np.minimum(ranks.ahead, NDCG_CUTOFF)
    gain = targets.grade * (discounts[last] - discounts[first]) / ranks.tied
    ideal = best_gains(targets.query, targets.grade)[:, NDCG_CUTOFF - 1]
    return np.asarray(np.add.reduceat(gain, start) / ideal)


def best_gains(
    query: Int[np.ndarray, " t"], grade: Float[np.ndarray, " t"]
) -> Float[np.ndarray, "q 10"]:
    """DCG@1 to DCG@10 of the targets of each query, ranked first and by falling grade."""
    start = np.flatnonzero(np.diff(query, prepend=-1))
    place = np.arange(len(query)) - np.repeat(start, np.diff(start, append=len(query)))
    found = np.zeros((len(start), NDCG_CUTOFF))
    shown = place < NDCG_CUTOFF
    row = np.cumsum(np.diff(query, prepend=-1) > 0) - 1
    found[row[shown], place[shown]] = grade[np.lexsort((-grade, query))][shown]
    return np.asarray(np.cumsum(found * DISCOUNTS, axis=1))


def means(
    values: Float[np.ndarray, "q k"], group: Int[np.ndarray, " q"], confidence: float
) -> Mean:
    """Average metrics in [0, 1] over queries, with Wilson's interval at the effective number."""
    mean = values.mean(axis=0)
    variance = variance_of_mean(values - mean, group)
    groups = len(np.unique(group))
    spread = mean * (1 - mean)
    # Where all queries agree nothing is known of the variance: each group counts as one trial.
    some = (variance > 0) & (spread > 0)
    number = np.where(some, spread / np.where(some, variance, 1.0), groups)
    z = float(scipy.special.ndtri(0.5 + confidence / 2))
    centre = (mean + z**2 / (2 * number)) / (1 + z**2 / number)
    half = z / (1 + z**2 / number) * np.sqrt(spread / number + z**2 / (4 * number**2))
    return Mean(
        value=mean,
        lower=np.clip(np.minimum(centre - half, mean), 0.0, 1.0),
        upper=np.clip(np.maximum(centre + half, mean), 0.0, 1.0),
    )


def kept(
    values: Float[np.ndarray, "q k"],
    reference: Float[np.ndarray, "q k"],
    group: Int[np.ndarray, " q"],
    confidence: float,
) -> Mean:
    """Ratio of the means of two systems on the same queries, linearised, by the normal distribution."""
    below = np.maximum(reference.mean(axis=0), np.finfo(float).tiny)
    ratio = values.mean(axis=0) / below
    half = scipy.special.ndtri(0.5 + confidence / 2) * np.sqrt(
        variance_of_mean((values - ratio * reference) / below, group)
    )
    return Mean(value=ratio, lower=np.maximum(ratio - half, 0.0), upper=ratio + half)


def variance_of_mean(residuals: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Variance of a mean over queries whose groups are independent."""
    _, label = np.unique(group, return_inverse=True)
    sums = np.zeros((label.max() + 1, *residuals.shape[1:]))
    np.add.at(sums, label.reshape(-1), residuals)
    groups = len(sums)
    return np.asarray((sums**2).sum(axis=0) / len(residuals) ** 2 * groups / max(1, groups - 1))
