"""Metrics of given scores, averaged exactly over the order of tied items, so that no tie rule can flatter.

`expected` has the metrics of lists with any positives, `graded` those of grades, `summary` all at once;
`single_target` the rank of one target, `paired` the ranks of the queries of one real database.
"""

from rdsim.ranking.metrics.expected import (
    average_precision,
    map_at_r,
    ndcg,
    precision,
    r_precision,
    recall,
    reciprocal_rank,
    success,
)
from rdsim.ranking.metrics.graded import dcg
from rdsim.ranking.metrics.paired import PairRanks, pair_ranks
from rdsim.ranking.metrics.single_target import rank
from rdsim.ranking.metrics.summary import retrieval_metrics

__all__ = [
    "PairRanks",
    "average_precision",
    "dcg",
    "map_at_r",
    "ndcg",
    "pair_ranks",
    "precision",
    "r_precision",
    "rank",
    "recall",
    "reciprocal_rank",
    "retrieval_metrics",
    "success",
]
