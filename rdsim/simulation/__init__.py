"""Monte Carlo with numbered trials, every mean with its confidence interval.

Trial t draws from fold_in(key, t), so a result depends on the key and the setting alone, not on
batches or on where a run was continued.
"""

from rdsim.simulation.dsbs import SimulatedRanks, simulate_dsbs
from rdsim.simulation.intervals import Estimate, clopper_pearson, empirical_bernstein

__all__ = ["Estimate", "SimulatedRanks", "clopper_pearson", "empirical_bernstein", "simulate_dsbs"]
