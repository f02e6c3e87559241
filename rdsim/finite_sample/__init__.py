"""The cost of learning from N samples: learned codes, the distribution of their excess, and estimators.

Excesses are differences of Lagrangians on the true distribution, in nats as in the theorems (a nat
is 1 / ln 2 bits); slopes are in bits per unit of distortion, as everywhere.

Arguments are checked before anything is computed: a ValueError names the one whose numbers or shape do not fit, a
TypeError one that is no integer or no key where that is needed. Docstrings say only what is raised besides.
"""

from rdsim.finite_sample import database_size, sandwich
from rdsim.finite_sample.bounds import empirical_bernstein_bound, pac_bayes_bound, uniform_bound
from rdsim.finite_sample.database_size import *
from rdsim.finite_sample.information_bounds import (
    channel_information,
    decoder_information,
    donsker_varadhan,
    infonce,
    plug_in_information,
)
from rdsim.finite_sample.limit_distribution import excess_distribution
from rdsim.finite_sample.plug_in_code import PlugInExcess, plug_in_excess
from rdsim.finite_sample.plug_in_estimate import plug_in_rate
from rdsim.finite_sample.power_law import PowerLaw, fit_exponent
from rdsim.finite_sample.retrieval_from_counts import LearnedRetrieval, learned_retrieval
from rdsim.finite_sample.sandwich import *

__all__ = [
    "LearnedRetrieval",
    "PlugInExcess",
    "PowerLaw",
    "channel_information",
    "decoder_information",
    "donsker_varadhan",
    "empirical_bernstein_bound",
    "excess_distribution",
    "fit_exponent",
    "infonce",
    "learned_retrieval",
    "pac_bayes_bound",
    "plug_in_excess",
    "plug_in_information",
    "plug_in_rate",
    "uniform_bound",
]
__all__ += database_size.__all__
__all__ += sandwich.__all__
