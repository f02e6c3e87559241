"""How good a ranking is: the distribution of the target's rank, and metrics of given scores.

The rank distribution (C1) needs no database: one evaluation gives all sizes from 2 to 2^1000. Metrics
take an explicit set of positives and average over the order of tied items.

Functions check their arguments before anything is computed: a ValueError names the one whose numbers or
shape do not fit, a TypeError one that holds no numbers, no integers or no key where those are needed.
Docstrings say only what is raised besides.
"""

from rdsim.ranking.block_score import block_loss
from rdsim.ranking.codewords import codeword_loss, scored_loss
from rdsim.ranking.gaussian import (
    QuadratureLoss,
    SampledLoss,
    gaussian_rank_loss,
    vector_gaussian_rank_loss,
)
from rdsim.ranking.loss import Loss
from rdsim.ranking.metrics import (
    PairRanks,
    average_precision,
    both_directions,
    dcg,
    graded_ndcg,
    map_at_r,
    ndcg,
    pair_ranks,
    precision,
    r_precision,
    rank,
    recall,
    recalls,
    reciprocal_rank,
    reciprocal_ranks,
    retrieval_metrics,
    success,
    top1,
)
from rdsim.ranking.rank_distribution import expected_loss
from rdsim.ranking.similarity import (
    averaged_cosine,
    cosine,
    fuse,
    information_density_scores,
    inner_product,
    negative_squared_distance,
)
from rdsim.ranking.subsets import subset_loss
from rdsim.ranking.tails import (
    SaddlepointTail,
    ScoreTail,
    saddlepoint_tail,
    score_tail,
    with_planted_items,
)
from rdsim.ranking.temperature import (
    FittedTemperatures,
    bayes_temperatures,
    entropy_difference_temperatures,
    fit_temperatures,
)

__all__ = [
    "FittedTemperatures",
    "Loss",
    "PairRanks",
    "QuadratureLoss",
    "SaddlepointTail",
    "SampledLoss",
    "ScoreTail",
    "average_precision",
    "averaged_cosine",
    "bayes_temperatures",
    "block_loss",
    "both_directions",
    "codeword_loss",
    "cosine",
    "dcg",
    "entropy_difference_temperatures",
    "expected_loss",
    "fit_temperatures",
    "fuse",
    "gaussian_rank_loss",
    "graded_ndcg",
    "information_density_scores",
    "inner_product",
    "map_at_r",
    "ndcg",
    "negative_squared_distance",
    "pair_ranks",
    "precision",
    "r_precision",
    "rank",
    "recall",
    "recalls",
    "reciprocal_rank",
    "reciprocal_ranks",
    "retrieval_metrics",
    "saddlepoint_tail",
    "score_tail",
    "scored_loss",
    "subset_loss",
    "success",
    "top1",
    "vector_gaussian_rank_loss",
    "with_planted_items",
]
