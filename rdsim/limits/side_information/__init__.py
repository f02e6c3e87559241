"""R(D) with side information at both ends, or at the decoder alone (Wyner and Ziv)."""

from rdsim.limits.side_information.both_ends import (
    conditional_rate_at,
    conditional_rate_distortion,
    indirect_problem,
)
from rdsim.limits.side_information.closed_forms import wyner_ziv_dsbs, wyner_ziv_gaussian
from rdsim.limits.side_information.decoder_only import wyner_ziv, wyner_ziv_at

__all__ = [
    "conditional_rate_at",
    "conditional_rate_distortion",
    "indirect_problem",
    "wyner_ziv",
    "wyner_ziv_at",
    "wyner_ziv_dsbs",
    "wyner_ziv_gaussian",
]
