"""R(D) of discrete and continuous sources, certified.

`discrete` and `continuous` solve; the certificate of a discrete point is computed in `_point`, of a continuous one in
`mixtures.gaussian_sum`; `_separable` knows the grids of the plane; `_search` finds the slope of a target, and `_targets` the
limit there with its derivatives. `refinement` asks whether a coarse description can
be refined without loss, and `allocation` splits a rate over several sources.
"""

# Parts of the solver, for packages that solve many problems inside a program of their own. They check no
# arguments, and so are no public names of `rdsim.limits`.
from rdsim.limits.rate_distortion._interior_point import (
    interior_point as interior_point,
)
from rdsim.limits.rate_distortion._interior_point import (
    shifted_kernel as shifted_kernel,
)
from rdsim.limits.rate_distortion._point import excess_distortions as excess_distortions
from rdsim.limits.rate_distortion._targets import rate_and_gradient as rate_and_gradient
from rdsim.limits.rate_distortion.allocation import (
    allocation_penalty,
    entropy_difference,
)
from rdsim.limits.rate_distortion.continuous import (
    continuous_rate_distortion,
)
from rdsim.limits.rate_distortion.discrete import (
    RateDistortionCurve,
    distortion_at,
    rate_at,
    rate_distortion_curve,
)
from rdsim.limits.rate_distortion.refinement import successive_refinement

__all__ = [
    "RateDistortionCurve",
    "allocation_penalty",
    "continuous_rate_distortion",
    "distortion_at",
    "entropy_difference",
    "rate_at",
    "rate_distortion_curve",
    "successive_refinement",
]
