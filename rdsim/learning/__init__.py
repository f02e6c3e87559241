"""Learned systems measured against the limit: modules of flax.nnx, one training loop, exact points.

Learning runs in float32; what is reported of a learned system is computed in float64 from its exact
discrete code.
"""

from rdsim.learning.embedded_code import EmbeddedCode, embedded_code
from rdsim.learning.operating_point import OperatingPoint, operating_point
from rdsim.learning.training import Schedule, Trained, TrainingDivergedError, train

__all__ = [
    "EmbeddedCode",
    "OperatingPoint",
    "Schedule",
    "Trained",
    "TrainingDivergedError",
    "embedded_code",
    "operating_point",
    "train",
]
