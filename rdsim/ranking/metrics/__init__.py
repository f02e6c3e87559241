"""Metrics of given scores, averaged exactly over the order of tied items, so that no tie rule can flatter.

`expected` has the metrics of lists with any positives, `single_target` the rank of one target, `paired`
the ranks of the queries of one real database.
"""

from rdsim.ranking.metrics.expected import (
    average_precision,
    ndcg,
    precision,
    recall,
    reciprocal_rank,
    retrieval_metrics,
    top1,
)
from rdsim.ranking.metrics.paired import PairRanks, pair_ranks, recalls, reciprocal_ranks
from rdsim.ranking.metrics.single_target import rank

__all__ = [
    "PairRanks",
    "average_precision",
    "ndcg",
    "pair_ranks",
    "precision",
    "rank",
    "recall",
    "recalls",
    "reciprocal_rank",
    "reciprocal_ranks",
    "retrieval_metrics",
    "top1",
]
