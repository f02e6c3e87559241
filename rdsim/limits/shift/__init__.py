"""A code made for another distribution: its rate, its decoder's, and the best codebook for a ball."""

from rdsim.limits.shift.minimax import minimax_rate
from rdsim.limits.shift.mismatch import mismatched_rate, redundancy
from rdsim.limits.shift.worst_case import worst_mismatched_rate
from rdsim.limits.shift.wrong_scores import (
    generalized_mutual_information,
    generalized_mutual_information_gaussian,
)

__all__ = [
    "generalized_mutual_information",
    "generalized_mutual_information_gaussian",
    "minimax_rate",
    "mismatched_rate",
    "redundancy",
    "worst_mismatched_rate",
]
