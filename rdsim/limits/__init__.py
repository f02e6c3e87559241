"""What no system can beat: rate-distortion functions, the bottleneck, ranking and retrieval limits.

Every number is computed in float64; what is not a closed form carries an upper and a lower bound,
and a local optimum says that it is one.
"""

from rdsim.limits import closed_forms, finite_blocklength
from rdsim.limits.allocation import allocation_penalty, allocation_penalty_high_rate, entropy_gap
from rdsim.limits.bottleneck import bottleneck_dsbs, bottleneck_dsbs_rate
from rdsim.limits.bottleneck_closed_forms import (
    bottleneck_erasure,
    bottleneck_erasure_rate,
    bottleneck_gaussian,
    bottleneck_gaussian_rate,
    bottleneck_vector_gaussian,
    bottleneck_vector_gaussian_point,
    bottleneck_vector_gaussian_rate,
)
from rdsim.limits.continuous import ContinuousRateDistortion, continuous_rate_distortion
from rdsim.limits.contraction import contraction_coefficient
from rdsim.limits.identification import identification_binary, identification_gaussian
from rdsim.limits.information_bottleneck import (
    InformationBottleneck,
    bottleneck_at,
    bottleneck_rate,
    information_bottleneck,
)
from rdsim.limits.minimax import MinimaxRate, minimax_rate, worst_mismatched_rate
from rdsim.limits.mixture_bottleneck import mixture_bottleneck_bound
from rdsim.limits.rank import rank_loss, rank_rate
from rdsim.limits.rank_prior import (
    RankPriorCurve,
    gibbs_rank_law,
    majorises,
    rank_loss_prior,
    rank_prior_bound,
    rank_rate_prior,
    rank_rate_prior_curve,
    rank_rate_side_information,
)
from rdsim.limits.ranking_codebook import RankingCodebook, ranking_codebook
from rdsim.limits.rate_distortion import (
    RateDistortionCurve,
    distortion_at,
    rate_at,
    rate_distortion,
)
from rdsim.limits.retrieval import RetrievalBounds, retrieval_bounds
from rdsim.limits.retrieval_distortion import (
    SelfConsistentSchemes,
    retrieval_distortion,
    self_consistent,
)
from rdsim.limits.shift import mismatched_rate, redundancy
from rdsim.limits.side_information import (
    ConditionalCurve,
    conditional_rate_at,
    conditional_rate_distortion,
    indirect_rate_at,
    indirect_rate_distortion,
)
from rdsim.limits.skew import CommonRate, SkewBound, common_rate, skew_bound
from rdsim.limits.successive_refinement import SuccessiveRefinement, successive_refinement
from rdsim.limits.two_sided import TwoSidedBounds, two_sided_dsbs, two_sided_gaussian
from rdsim.limits.wyner_ziv import (
    WynerZivCurve,
    wyner_ziv,
    wyner_ziv_at,
    wyner_ziv_dsbs,
    wyner_ziv_gaussian,
)

__all__ = [
    "CommonRate",
    "ConditionalCurve",
    "ContinuousRateDistortion",
    "InformationBottleneck",
    "MinimaxRate",
    "RankPriorCurve",
    "RankingCodebook",
    "RateDistortionCurve",
    "RetrievalBounds",
    "SelfConsistentSchemes",
    "SkewBound",
    "SuccessiveRefinement",
    "TwoSidedBounds",
    "WynerZivCurve",
    "allocation_penalty",
    "allocation_penalty_high_rate",
    "bottleneck_at",
    "bottleneck_dsbs",
    "bottleneck_dsbs_rate",
    "bottleneck_erasure",
    "bottleneck_erasure_rate",
    "bottleneck_gaussian",
    "bottleneck_gaussian_rate",
    "bottleneck_rate",
    "bottleneck_vector_gaussian",
    "bottleneck_vector_gaussian_point",
    "bottleneck_vector_gaussian_rate",
    "closed_forms",
    "common_rate",
    "conditional_rate_at",
    "conditional_rate_distortion",
    "continuous_rate_distortion",
    "contraction_coefficient",
    "distortion_at",
    "entropy_gap",
    "finite_blocklength",
    "gibbs_rank_law",
    "identification_binary",
    "identification_gaussian",
    "indirect_rate_at",
    "indirect_rate_distortion",
    "information_bottleneck",
    "majorises",
    "minimax_rate",
    "mismatched_rate",
    "mixture_bottleneck_bound",
    "rank_loss",
    "rank_loss_prior",
    "rank_prior_bound",
    "rank_rate",
    "rank_rate_prior",
    "rank_rate_prior_curve",
    "rank_rate_side_information",
    "ranking_codebook",
    "rate_at",
    "rate_distortion",
    "redundancy",
    "retrieval_bounds",
    "retrieval_distortion",
    "self_consistent",
    "skew_bound",
    "successive_refinement",
    "two_sided_dsbs",
    "two_sided_gaussian",
    "worst_mismatched_rate",
    "wyner_ziv",
    "wyner_ziv_at",
    "wyner_ziv_dsbs",
    "wyner_ziv_gaussian",
]
