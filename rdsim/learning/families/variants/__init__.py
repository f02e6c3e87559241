"""Dual encoders for pairs that are not as they should be, and for more than one task.

`wrong_pairs` bears a share of wrong pairs, `missing_modalities` queries that lack a modality, and `multi_task`
learns the classes of the items beside retrieval.
"""

from rdsim.learning.families.variants.missing_modalities import GapFamily
from rdsim.learning.families.variants.multi_task import multi_task_encoder
from rdsim.learning.families.variants.wrong_pairs import RobustFamily

__all__ = ["GapFamily", "RobustFamily", "multi_task_encoder"]
