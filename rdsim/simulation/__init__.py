"""Monte Carlo with numbered trials: trial t draws from fold_in(key, t), so a result depends on the
key and the setting alone, and every mean carries a confidence interval.
"""

from rdsim.simulation.dsbs import SimulatedRanks, simulate_dsbs
from rdsim.simulation.intervals import Estimate, clopper_pearson, empirical_bernstein

__all__ = ["Estimate", "SimulatedRanks", "clopper_pearson", "empirical_bernstein", "simulate_dsbs"]
