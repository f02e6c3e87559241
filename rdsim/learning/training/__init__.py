"""One training loop for every learner: many runs side by side, early stopping, checkpoints."""

from rdsim.learning.training.batches import whole_data
from rdsim.learning.training.encoders import ConvNet, Recurrent, Transformer
from rdsim.learning.training.learner import Learner
from rdsim.learning.training.loop import train
from rdsim.learning.training.networks import MLP, architecture
from rdsim.learning.training.schedule import Schedule
from rdsim.learning.training.trained import Trained, TrainingDivergedError

__all__ = [
    "MLP",
    "ConvNet",
    "Learner",
    "Recurrent",
    "Schedule",
    "Trained",
    "TrainingDivergedError",
    "Transformer",
    "architecture",
    "train",
    "whole_data",
]
