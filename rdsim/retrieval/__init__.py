"""How good a ranking is: the rank law for every database size, and metrics of given scores.

The rank law needs no database: one evaluation gives all sizes from 2 to 2^1000. Metrics take an
explicit set of positives and average over the order of tied items, so no tie rule can flatter.
"""

from rdsim.retrieval.block_score import block_loss
from rdsim.retrieval.gaussian import QuadratureLoss, gaussian_rank_loss
from rdsim.retrieval.loss import Loss
from rdsim.retrieval.metrics import (
    average_precision,
    ndcg,
    precision,
    rank,
    recall,
    reciprocal_rank,
    retrieval_metrics,
    top1,
)
from rdsim.retrieval.rank_law import expected_loss
from rdsim.retrieval.scored import scored_loss

__all__ = [
    "Loss",
    "QuadratureLoss",
    "average_precision",
    "block_loss",
    "expected_loss",
    "gaussian_rank_loss",
    "ndcg",
    "precision",
    "rank",
    "recall",
    "reciprocal_rank",
    "retrieval_metrics",
    "scored_loss",
    "top1",
]
