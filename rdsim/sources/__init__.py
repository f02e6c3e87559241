"""Joint distributions P(X,Y) of a query X and a database item Y.

A source holds its distribution, computes its entropies and its mutual information (exactly, or
between proved bounds), draws samples from an explicit key, and cuts itself into cells with a stated
error. Every other package takes its probabilities from here.

What `sample(key, shape)` draws depends on the key and on the shape alone. Every argument is
checked: a ValueError names one that is out of range or of a wrong shape, a TypeError one that
should be an integer, or a typed key of `jax.random.key`, and is none.
"""

from rdsim.sources import mixture, sphere
from rdsim.sources.absences import with_changed_queries, with_missing, with_wrong_pairs
from rdsim.sources.discretisation import Discretisation, DiscretisedItem
from rdsim.sources.gaussian_pairs import GaussianSource, gaussian, vector_gaussian
from rdsim.sources.mixture import *
from rdsim.sources.prior import target_prior, zipf_prior
from rdsim.sources.several_modalities import MultimodalSource, gaussian_multimodal, multimodal
from rdsim.sources.sphere import *
from rdsim.sources.tables import DiscreteSource, binary_erasure_pair, discrete, dsbs, symmetric

__all__ = [
    "DiscreteSource",
    "Discretisation",
    "DiscretisedItem",
    "GaussianSource",
    "MultimodalSource",
    "binary_erasure_pair",
    "discrete",
    "dsbs",
    "gaussian",
    "gaussian_multimodal",
    "multimodal",
    "symmetric",
    "target_prior",
    "vector_gaussian",
    "with_changed_queries",
    "with_missing",
    "with_wrong_pairs",
    "zipf_prior",
]
__all__ += mixture.__all__
__all__ += sphere.__all__
