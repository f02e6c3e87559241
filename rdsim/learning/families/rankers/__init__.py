"""More ways to rank stored items: metrics, kernels, random planes, fused ranks, a generator of items, attention of sets.

Each module is one family; `catalogue` lists them.
"""

from rdsim.learning.families.rankers.generation import generation_learner
from rdsim.learning.families.rankers.hyperplanes import hyperplane_family
from rdsim.learning.families.rankers.kernel_cca import kernel_cca_family
from rdsim.learning.families.rankers.metric import metric_family
from rdsim.learning.families.rankers.rank_fusion import RankFusionFamily
from rdsim.learning.families.rankers.region_attention import RegionAttentionFamily

__all__ = [
    "RankFusionFamily",
    "RegionAttentionFamily",
    "generation_learner",
    "hyperplane_family",
    "kernel_cca_family",
    "metric_family",
]
