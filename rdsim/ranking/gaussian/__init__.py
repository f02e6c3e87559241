"""The rank distribution of Gaussian pairs, exact up to quadrature, with no database drawn.

`scalar` holds letters of one correlation, alone and in blocks (C1); `vector` canonical correlations that differ (C29),
for one target or, by `several_targets`, for several (C31).
"""

from rdsim.ranking.gaussian.scalar import gaussian_rank_loss
from rdsim.ranking.gaussian.vector import SampledLoss, vector_gaussian_rank_loss

__all__ = ["SampledLoss", "gaussian_rank_loss", "vector_gaussian_rank_loss"]
