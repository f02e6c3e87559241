"""What no system can beat: rate-distortion functions, the bottleneck, ranking and retrieval limits.

Every number is computed in float64; what is not a closed form carries an upper and a lower bound,
and a local optimum says that it is one. `Certified.gap` is upper minus lower bound.

Arguments are checked before anything is computed, here and in every package below: a ValueError names the one whose
numbers or shape do not fit, a TypeError one that is no integer, no key or no source where that is needed. Docstrings say
only what is raised besides.
"""

from rdsim.limits import (
    bottleneck,
    closed_forms,
    converses,
    finite_blocklength,
    rank_distortion,
    rate_distortion,
    retrieval,
    shift,
    side_information,
)
from rdsim.limits._curve import Curve, RateCurve
from rdsim.limits.bottleneck import *
from rdsim.limits.converses import *
from rdsim.limits.rank_distortion import *
from rdsim.limits.rate_distortion import *
from rdsim.limits.retrieval import *
from rdsim.limits.sandwich import RetrievalBounds, retrieval_bounds
from rdsim.limits.shift import *
from rdsim.limits.side_information import *
from rdsim.limits.time_sharing import time_shared_loss

__all__ = [
    "Curve",
    "RateCurve",
    "RetrievalBounds",
    "closed_forms",
    "finite_blocklength",
    "retrieval_bounds",
    "time_shared_loss",
]
__all__ += bottleneck.__all__
__all__ += converses.__all__
__all__ += rank_distortion.__all__
__all__ += rate_distortion.__all__
__all__ += retrieval.__all__
__all__ += shift.__all__
__all__ += side_information.__all__
