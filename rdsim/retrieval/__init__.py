"""How good a ranking is: the rank law for every database size, and metrics of given scores.

The rank law needs no database: one evaluation gives all sizes from 2 to 2^1000. Metrics take an
explicit set of positives and average over the order of tied items, so no tie rule can flatter.
"""

from rdsim.retrieval.block_score import block_loss
from rdsim.retrieval.codeword_loss import codeword_loss
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
from rdsim.retrieval.saddlepoint import SaddlepointTail, saddlepoint_tail
from rdsim.retrieval.score_tail import ScoreTail, score_tail
from rdsim.retrieval.scored import scored_loss
from rdsim.retrieval.similarity import (
    averaged_cosine,
    cosine,
    fuse,
    information_density_scores,
    inner_product,
    negative_squared_distance,
)
from rdsim.retrieval.temperature import (
    FittedTemperatures,
    bayes_temperatures,
    entropy_gap_temperatures,
    fit_temperatures,
)
from rdsim.retrieval.temperature_search import SearchedTemperatures, search_temperatures

__all__ = [
    "FittedTemperatures",
    "Loss",
    "QuadratureLoss",
    "SaddlepointTail",
    "ScoreTail",
    "SearchedTemperatures",
    "average_precision",
    "averaged_cosine",
    "bayes_temperatures",
    "block_loss",
    "codeword_loss",
    "cosine",
    "entropy_gap_temperatures",
    "expected_loss",
    "fit_temperatures",
    "fuse",
    "gaussian_rank_loss",
    "information_density_scores",
    "inner_product",
    "ndcg",
    "negative_squared_distance",
    "precision",
    "rank",
    "recall",
    "reciprocal_rank",
    "retrieval_metrics",
    "saddlepoint_tail",
    "score_tail",
    "scored_loss",
    "search_temperatures",
    "top1",
]
