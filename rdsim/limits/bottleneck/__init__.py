"""The information bottleneck: the most information about the query that R bits of an item can keep.

`discrete` solves any table, with a certificate computed in `_certificate`; `closed_forms`,
`gaussian` and `mixture_bound` are formulas and bounds of particular sources.
"""

from rdsim.limits.bottleneck.closed_forms import (
    bottleneck_dsbs,
    bottleneck_dsbs_point,
    bottleneck_dsbs_rate,
    bottleneck_erasure,
)
from rdsim.limits.bottleneck.contraction import contraction_coefficient
from rdsim.limits.bottleneck.discrete import (
    bottleneck_at,
    bottleneck_rate,
    information_bottleneck,
)
from rdsim.limits.bottleneck.gaussian import (
    bottleneck_gaussian,
    bottleneck_gaussian_rate,
    bottleneck_vector_gaussian,
    bottleneck_vector_gaussian_point,
    bottleneck_vector_gaussian_rate,
    bottleneck_vector_gaussian_rates,
)
from rdsim.limits.bottleneck.mixture_bound import mixture_bottleneck_bound

__all__ = [
    "bottleneck_at",
    "bottleneck_dsbs",
    "bottleneck_dsbs_point",
    "bottleneck_dsbs_rate",
    "bottleneck_erasure",
    "bottleneck_gaussian",
    "bottleneck_gaussian_rate",
    "bottleneck_rate",
    "bottleneck_vector_gaussian",
    "bottleneck_vector_gaussian_point",
    "bottleneck_vector_gaussian_rate",
    "bottleneck_vector_gaussian_rates",
    "contraction_coefficient",
    "information_bottleneck",
    "mixture_bottleneck_bound",
]
