"""Monte Carlo with numbered trials, every mean with its confidence interval.

Trial t draws from fold_in(key, t) and sums are exact, so a result depends on the key, the setting
and the number of trials alone, not on chunks, devices, processes or where a run was continued.
"""

from rdsim.simulation.checkpoint import CheckpointDamagedError, CheckpointMismatchError
from rdsim.simulation.dsbs import SimulatedRanks, simulate_dsbs
from rdsim.simulation.engine import MonteCarloResult, run_trials
from rdsim.simulation.intervals import Estimate, clopper_pearson, empirical_bernstein

__all__ = [
    "CheckpointDamagedError",
    "CheckpointMismatchError",
    "Estimate",
    "MonteCarloResult",
    "SimulatedRanks",
    "clopper_pearson",
    "empirical_bernstein",
    "run_trials",
    "simulate_dsbs",
]
