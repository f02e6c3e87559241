"""How good a ranking is: the rank law for every database size, and metrics of given scores.

The rank law needs no database: one evaluation gives all sizes from 2 to 2^1000. Metrics take an
explicit set of positives and average over the order of tied items, so no tie rule can flatter.
"""

from rdsim.ranking.block_score import block_loss
from rdsim.ranking.codewords import codeword_loss
from rdsim.ranking.gaussian import QuadratureLoss, gaussian_rank_loss
from rdsim.ranking.loss import Loss
from rdsim.ranking.metrics import (
    average_precision,
    ndcg,
    precision,
    rank,
    recall,
    reciprocal_rank,
    retrieval_metrics,
    top1,
)
from rdsim.ranking.paired import PairRanks, pair_ranks, recalls, reciprocal_ranks
from rdsim.ranking.rank_law import expected_loss
from rdsim.ranking.saddlepoint import SaddlepointTail, saddlepoint_tail
from rdsim.ranking.score_tails import ScoreTail, score_tail
from rdsim.ranking.scored import scored_loss
from rdsim.ranking.similarity import (
    averaged_cosine,
    cosine,
    fuse,
    information_density_scores,
    inner_product,
    negative_squared_distance,
)
from rdsim.ranking.subsets import subset_reciprocal_rank
from rdsim.ranking.temperature import (
    FittedTemperatures,
    bayes_temperatures,
    entropy_gap_temperatures,
    fit_temperatures,
)
from rdsim.ranking.temperature_search import SearchedTemperatures, search_temperatures

__all__ = [
    "FittedTemperatures",
    "Loss",
    "PairRanks",
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
    "pair_ranks",
    "precision",
    "rank",
    "recall",
    "recalls",
    "reciprocal_rank",
    "reciprocal_ranks",
    "retrieval_metrics",
    "saddlepoint_tail",
    "score_tail",
    "scored_loss",
    "search_temperatures",
    "subset_reciprocal_rank",
    "top1",
]
