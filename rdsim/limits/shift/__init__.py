"""A codebook made for another distribution: its rate, and the best codebook for a ball of distributions.

Arguments are checked before anything is computed; a ValueError names the one that does not fit.
"""

from rdsim.limits.shift.minimax import MinimaxRate, minimax_rate, worst_mismatched_rate
from rdsim.limits.shift.mismatch import mismatched_rate, redundancy

__all__ = [
    "MinimaxRate",
    "minimax_rate",
    "mismatched_rate",
    "redundancy",
    "worst_mismatched_rate",
]
