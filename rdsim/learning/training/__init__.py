"""One training loop for every learner: many runs side by side, early stopping, checkpoints."""

from rdsim.learning.training.loop import Schedule, Trained, TrainingDivergedError, train
from rdsim.learning.training.networks import MLP

__all__ = [
    "MLP",
    "Schedule",
    "Trained",
    "TrainingDivergedError",
    "train",
]
