"""The rank-distortion function: bits that a ranking of so small a loss needs.

`uniform` is for targets of equal probability, `several_targets` for sets of them, `prior` and `codebook` for
any prior, for which `prior_converse` is a simpler bound, and `skew` for one code of several targets of unequal entropy.
"""

from rdsim.limits.rank_distortion.codebook import ranking_codebook
from rdsim.limits.rank_distortion.prior import (
    rank_loss_prior,
    rank_rate_prior,
    rank_rate_prior_curve,
    rank_rate_side_information,
)
from rdsim.limits.rank_distortion.prior_converse import (
    gibbs_rank_distribution,
    majorises,
    rank_prior_bound,
)
from rdsim.limits.rank_distortion.several_targets import (
    SetLoss,
    rank_loss_several_targets,
    rank_rate_several_targets,
)
from rdsim.limits.rank_distortion.skew import common_rate, skew_bound
from rdsim.limits.rank_distortion.uniform import rank_loss, rank_rate

__all__ = [
    "SetLoss",
    "common_rate",
    "gibbs_rank_distribution",
    "majorises",
    "rank_loss",
    "rank_loss_prior",
    "rank_loss_several_targets",
    "rank_prior_bound",
    "rank_rate",
    "rank_rate_prior",
    "rank_rate_prior_curve",
    "rank_rate_several_targets",
    "rank_rate_side_information",
    "ranking_codebook",
    "skew_bound",
]
