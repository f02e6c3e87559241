"""The cost of learning from N samples: learned codes, the distribution of their excess, and estimators.

Excesses are differences of Lagrangians on the true distribution, in nats as in the theorems (a nat
is 1 / ln 2 bits); slopes are in bits per unit of distortion, as everywhere.
"""

from rdsim.finite_sample.bounds import empirical_bernstein_bound, pac_bayes_bound, uniform_bound
from rdsim.finite_sample.database_size import (
    IsotropicTwin,
    PredictedQuality,
    effective_dimension,
    fit_isotropic_twin,
    predict_quality,
)
from rdsim.finite_sample.information_bounds import (
    channel_information,
    decoder_information,
    donsker_varadhan,
    infonce,
    leave_one_out_information,
    plug_in_information,
)
from rdsim.finite_sample.information_estimate import InformationEstimate
from rdsim.finite_sample.limit_distribution import ExcessDistribution, excess_distribution
from rdsim.finite_sample.plug_in_code import PlugInExcess, plug_in_excess
from rdsim.finite_sample.plug_in_estimate import PlugInRate, letter_counts, plug_in_rate
from rdsim.finite_sample.power_law import PowerLaw, fit_exponent, fit_exponent_of_trials
from rdsim.finite_sample.retrieval_from_counts import LearnedRetrieval, learned_retrieval
from rdsim.finite_sample.sandwich import RateSandwich, continuous_sandwich

__all__ = [
    "ExcessDistribution",
    "InformationEstimate",
    "IsotropicTwin",
    "LearnedRetrieval",
    "PlugInExcess",
    "PlugInRate",
    "PowerLaw",
    "PredictedQuality",
    "RateSandwich",
    "channel_information",
    "continuous_sandwich",
    "decoder_information",
    "donsker_varadhan",
    "effective_dimension",
    "empirical_bernstein_bound",
    "excess_distribution",
    "fit_exponent",
    "fit_exponent_of_trials",
    "fit_isotropic_twin",
    "infonce",
    "learned_retrieval",
    "leave_one_out_information",
    "letter_counts",
    "pac_bayes_bound",
    "plug_in_excess",
    "plug_in_information",
    "plug_in_rate",
    "predict_quality",
    "uniform_bound",
]
