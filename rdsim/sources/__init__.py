"""Joint distributions P(X,Y) of a query X and a database item Y.

A source holds its distribution, computes its entropies and its mutual information (exactly, or
between proved bounds), draws samples from an explicit key, and cuts itself into cells with a stated
error. Every other package takes its probabilities from here. A key that is no typed key of
`jax.random.key` is a TypeError in every `sample`.
"""

from rdsim.sources.discretisation import Discretisation, DiscretisedItem
from rdsim.sources.gaussian_pairs import GaussianSource, gaussian, vector_gaussian
from rdsim.sources.mixture import (
    GaussianMixtureSource,
    WeightedMean,
    gaussian_mixture,
    weighted_mean,
)
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
