"""How good a ranking is: the distribution of the target's rank, and metrics of given scores.

The rank distribution (C1) needs no database: one evaluation gives all sizes from 2 to 2^1000. Metrics
take an explicit set of positives and average over the order of tied items.

Functions check their arguments before anything is computed: a ValueError names the one whose numbers or
shape do not fit, a TypeError one that holds no numbers, no integers or no key where those are needed.
Docstrings say only what is raised besides.
"""

from rdsim.ranking import gaussian, metrics, tails
from rdsim.ranking.block_score import block_loss
from rdsim.ranking.codewords import codeword_loss, scored_loss
from rdsim.ranking.gaussian import *
from rdsim.ranking.loss import Loss
from rdsim.ranking.metrics import *
from rdsim.ranking.rank_distribution import expected_loss
from rdsim.ranking.similarity import (
    averaged_cosine,
    cosine,
    fuse,
    information_density_scores,
    negative_squared_distance,
)
from rdsim.ranking.subsets import subset_loss
from rdsim.ranking.tails import *
from rdsim.ranking.temperature import (
    bayes_temperatures,
    entropy_difference_temperatures,
    fit_temperatures,
)

__all__ = [
    "Loss",
    "averaged_cosine",
    "bayes_temperatures",
    "block_loss",
    "codeword_loss",
    "cosine",
    "entropy_difference_temperatures",
    "expected_loss",
    "fit_temperatures",
    "fuse",
    "information_density_scores",
    "negative_squared_distance",
    "scored_loss",
    "subset_loss",
]
__all__ += gaussian.__all__
__all__ += metrics.__all__
__all__ += tails.__all__
