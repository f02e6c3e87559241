"""The quality of a search in databases of other sizes, and of codes, from the ranks in one database.

`predict_quality` is exact for smaller databases, and for larger ones chooses among several forms of the
distribution over queries of the probability that an item beats the target, by the data's own smaller sizes.
`fit_isotropic_twin` makes Gaussian pairs of the same ranks, whose codes and converses are known at every size.
"""

from rdsim.finite_sample.database_size.isotropic_twin import IsotropicTwin
from rdsim.finite_sample.database_size.prediction import predict_quality
from rdsim.finite_sample.database_size.twin_fit import effective_dimension, fit_isotropic_twin

__all__ = [
    "IsotropicTwin",
    "effective_dimension",
    "fit_isotropic_twin",
    "predict_quality",
]
