"""What a retrieval system can reach with items (and queries) of so many bits.

`items` is the exact optimum of one encoder and a converse for all, of items of one letter; `joint_curve` is the
exact optimum of joint encoders of a small database; `distortion` makes retrieval an ordinary distortion; `two_sided`
compresses queries too; `identification` is for similarity queries; `mixture` is a converse for Gaussian mixtures.
"""

from rdsim.limits.retrieval.distortion import (
    SelfConsistentSchemes,
    retrieval_distortion,
    self_consistent,
)
from rdsim.limits.retrieval.identification import identification_binary, identification_gaussian
from rdsim.limits.retrieval.items import ItemCurve, RetrievalCurve, retrieval_curve
from rdsim.limits.retrieval.joint_curve import JointRetrievalCurve, joint_retrieval_curve
from rdsim.limits.retrieval.mixture import mixture_loss_bound
from rdsim.limits.retrieval.two_sided import TwoSidedBounds, two_sided_dsbs, two_sided_gaussian

__all__ = [
    "ItemCurve",
    "JointRetrievalCurve",
    "RetrievalCurve",
    "SelfConsistentSchemes",
    "TwoSidedBounds",
    "identification_binary",
    "identification_gaussian",
    "joint_retrieval_curve",
    "mixture_loss_bound",
    "retrieval_curve",
    "retrieval_distortion",
    "self_consistent",
    "two_sided_dsbs",
    "two_sided_gaussian",
]
