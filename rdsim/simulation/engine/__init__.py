"""The Monte Carlo engine: numbered trials, exact sums, stopping at a width, checkpoints, many devices."""

from rdsim.simulation.engine.checkpoint import CheckpointDamagedError, CheckpointMismatchError
from rdsim.simulation.engine.options import RunOptions
from rdsim.simulation.engine.trials import MonteCarloResult, run_trials

__all__ = [
    "CheckpointDamagedError",
    "CheckpointMismatchError",
    "MonteCarloResult",
    "RunOptions",
    "run_trials",
]
