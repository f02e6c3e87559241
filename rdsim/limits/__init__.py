"""What no system can beat: rate-distortion functions, the bottleneck, ranking limits.

Every number is computed in float64; what is not a closed form carries an upper and a lower bound.
"""

from rdsim.limits import closed_forms
from rdsim.limits.bottleneck import bottleneck_dsbs, bottleneck_dsbs_rate
from rdsim.limits.rank import rank_loss, rank_rate
from rdsim.limits.rate_distortion import (
    RateDistortionCurve,
    distortion_at,
    rate_at,
    rate_distortion,
)

__all__ = [
    "RateDistortionCurve",
    "bottleneck_dsbs",
    "bottleneck_dsbs_rate",
    "closed_forms",
    "distortion_at",
    "rank_loss",
    "rank_rate",
    "rate_at",
    "rate_distortion",
]
