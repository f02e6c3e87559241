"""R(D) of discrete and continuous sources, certified.

`discrete` and `continuous` solve, `refinement` asks whether a coarse description can
be refined without loss, and `allocation` splits a rate over several sources.
"""

from rdsim.limits.rate_distortion.allocation import (
    allocation_penalty,
    allocation_penalty_high_rate,
    entropy_gap,
)
from rdsim.limits.rate_distortion.continuous import (
    ContinuousRateDistortion,
    continuous_rate_distortion,
)
from rdsim.limits.rate_distortion.discrete import (
    RateDistortionCurve,
    distortion_at,
    rate_at,
    rate_distortion_curve,
)
from rdsim.limits.rate_distortion.refinement import SuccessiveRefinement, successive_refinement

__all__ = [
    "ContinuousRateDistortion",
    "RateDistortionCurve",
    "SuccessiveRefinement",
    "allocation_penalty",
    "allocation_penalty_high_rate",
    "continuous_rate_distortion",
    "distortion_at",
    "entropy_gap",
    "rate_at",
    "rate_distortion_curve",
    "successive_refinement",
]
