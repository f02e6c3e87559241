"""Codes and how close they come: random codebooks and exact averages over them, and codes for items.

Codes for items in R^d share one protocol, `ItemCode`: a channel P(u|y), codewords, an encoder.
Their rates are measured as information and as real bits by `entropy_coding`.

Arguments are checked before anything is computed: a ValueError names the one whose numbers or shape do not fit, a
TypeError one that is no integer, no key or no code where that is needed. Docstrings say only what is raised besides.
"""

from rdsim.codes.codebook import random_codebook
from rdsim.codes.common_form import CODES, CommonCode, common_code, fit_item_code
from rdsim.codes.distances import seeded_codewords, squared_error
from rdsim.codes.encoders import likelihood_encoder, minimum_distortion_encoder
from rdsim.codes.ensembles import (
    Competitors,
    DsbsDistances,
    GaussianTestChannel,
    RandomCode,
    SphereEnsemble,
    competitor_probabilities,
    coset_distances,
    discrete_ensemble,
    dsbs_code_loss,
    dsbs_distances,
    dsbs_ensemble,
    gaussian_test_channel,
    random_code,
    sphere_ensemble,
)
from rdsim.codes.entropy_coding import (
    CodeRates,
    RangeCoded,
    channel_simulation_bits,
    code_rates,
    entropy_coded_bits,
    huffman_lengths,
)
from rdsim.codes.item_code import ItemCode, StoredCode
from rdsim.codes.quantizers import (
    BinaryHash,
    EntropyWeightedQuantizer,
    HyperplaneHash,
    LloydMax,
    ProductQuantizer,
    ScalarQuantizer,
    VectorQuantizer,
    entropy_constrained_quantizer,
    entropy_weighted_quantizer,
    hyperplane_hashing,
    lloyd_max_levels,
    lloyd_max_quantizer,
    long_hyperplane_hash,
    long_product_quantizer,
    product_quantizer,
    rotated_hash,
    uniform_scalar_quantizer,
    vector_quantizer,
)
from rdsim.codes.stored_search import SearchResult, search

__all__ = [
    "CODES",
    "BinaryHash",
    "CodeRates",
    "CommonCode",
    "Competitors",
    "DsbsDistances",
    "EntropyWeightedQuantizer",
    "GaussianTestChannel",
    "HyperplaneHash",
    "ItemCode",
    "LloydMax",
    "ProductQuantizer",
    "RandomCode",
    "RangeCoded",
    "ScalarQuantizer",
    "SearchResult",
    "SphereEnsemble",
    "StoredCode",
    "VectorQuantizer",
    "channel_simulation_bits",
    "code_rates",
    "common_code",
    "competitor_probabilities",
    "coset_distances",
    "discrete_ensemble",
    "dsbs_code_loss",
    "dsbs_distances",
    "dsbs_ensemble",
    "entropy_coded_bits",
    "entropy_constrained_quantizer",
    "entropy_weighted_quantizer",
    "fit_item_code",
    "gaussian_test_channel",
    "huffman_lengths",
    "hyperplane_hashing",
    "likelihood_encoder",
    "lloyd_max_levels",
    "lloyd_max_quantizer",
    "long_hyperplane_hash",
    "long_product_quantizer",
    "minimum_distortion_encoder",
    "product_quantizer",
    "random_code",
    "random_codebook",
    "rotated_hash",
    "search",
    "seeded_codewords",
    "sphere_ensemble",
    "squared_error",
    "uniform_scalar_quantizer",
    "vector_quantizer",
]
