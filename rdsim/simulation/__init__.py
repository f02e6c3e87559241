"""Monte Carlo with numbered trials, every mean with its confidence interval.

Trial t draws from fold_in(key, t) and sums are exact, so a result depends on the key, the setting
and the number of trials alone, not on chunks, devices, processes or where a run was continued.

Arguments are checked before anything is drawn: a ValueError names the one whose numbers or shape do not fit, a TypeError
one that is no integer, no key or no function where that is needed. Docstrings say only what is raised besides.
"""

from rdsim.simulation import engine, importance
from rdsim.simulation.coded_items import Decoder, WholeItems, simulate_item_code
from rdsim.simulation.database import simulate_database
from rdsim.simulation.dsbs import SimulatedRanks, simulate_dsbs
from rdsim.simulation.engine import *
from rdsim.simulation.ensemble import SimulatedEnsemble, simulate_ensemble
from rdsim.simulation.importance import *
from rdsim.simulation.intervals import Estimate, clopper_pearson, empirical_bernstein
from rdsim.simulation.mixture_decoders import density_decoder, whole_items
from rdsim.simulation.score_decoders import cosine_decoder, distance_decoder
from rdsim.simulation.shared_codebook import SharedCodebookRanks, simulate_shared_codebook

__all__ = [
    "Decoder",
    "Estimate",
    "SharedCodebookRanks",
    "SimulatedEnsemble",
    "SimulatedRanks",
    "WholeItems",
    "clopper_pearson",
    "cosine_decoder",
    "density_decoder",
    "distance_decoder",
    "empirical_bernstein",
    "simulate_database",
    "simulate_dsbs",
    "simulate_ensemble",
    "simulate_item_code",
    "simulate_shared_codebook",
    "whole_items",
]
__all__ += engine.__all__
__all__ += importance.__all__
