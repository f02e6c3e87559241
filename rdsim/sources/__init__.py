"""Joint laws P(X,Y) of a query X and a database item Y.

A source knows its law, its entropies and its mutual information (exact, or between proved bounds),
draws samples from an explicit key, and cuts itself into cells with a stated error. Every other room
takes its probabilities from here.
"""

from rdsim.sources.discretisation import Discretisation, DiscretisedItem
from rdsim.sources.gaussian_pairs import GaussianSource, gaussian, vector_gaussian
from rdsim.sources.mixture import GaussianMixtureSource, gaussian_mixture
from rdsim.sources.noisy_copies import WeightedMean, weighted_mean
from rdsim.sources.prior import TargetPrior, target_prior, zipf_prior
from rdsim.sources.several_modalities import MultimodalSource, gaussian_multimodal, multimodal
from rdsim.sources.tables import DiscreteSource, binary_erasure_pair, discrete, dsbs, symmetric

__all__ = [
    "DiscreteSource",
    "Discretisation",
    "DiscretisedItem",
    "GaussianMixtureSource",
    "GaussianSource",
    "MultimodalSource",
    "TargetPrior",
    "WeightedMean",
    "binary_erasure_pair",
    "discrete",
    "dsbs",
    "gaussian",
    "gaussian_mixture",
    "gaussian_multimodal",
    "multimodal",
    "symmetric",
    "target_prior",
    "vector_gaussian",
    "weighted_mean",
    "zipf_prior",
]
