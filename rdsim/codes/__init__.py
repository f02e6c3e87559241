"""Codes and how close they come: random codebooks and exact averages over them, and codes for items.

Codes for items in R^d share one protocol, `ItemCode`: a channel P(u|y), codewords, an encoder.
Their rates are measured as information and as real bits by `entropy_coding`.
"""

from rdsim.codes.catalogue import CODES, CommonCode, common_code, fit_item_code
from rdsim.codes.codebook import random_codebook
from rdsim.codes.distances import grid_atoms, seeded_atoms, squared_error
from rdsim.codes.dsbs import dsbs_ensemble, dsbs_rank_law
from rdsim.codes.encoders import likelihood_encoder, minimum_distortion_encoder
from rdsim.codes.ensemble import competitor_chances, discrete_ensemble
from rdsim.codes.entropy_coding import (
    CodeRates,
    RangeCoded,
    channel_simulation_bits,
    code_rates,
    entropy_coded_bits,
    expected_length,
    huffman_lengths,
    shannon_lengths,
)
from rdsim.codes.hashing import HyperplaneHash, hyperplane_hashing
from rdsim.codes.item_code import ItemCode
from rdsim.codes.lloyd_max import LloydMax, lloyd_max_levels
from rdsim.codes.product_quantization import ProductQuantizer, product_quantizer
from rdsim.codes.random_coding import RandomCode, random_code
from rdsim.codes.scalar_quantizer import (
    ScalarQuantizer,
    lloyd_max_quantizer,
    uniform_scalar_quantizer,
)
from rdsim.codes.stochastic_quantizer import EntropyWeightedQuantizer, entropy_weighted_quantizer
from rdsim.codes.stored_codes import (
    LongHash,
    LongProductQuantizer,
    long_hyperplane_hash,
    long_product_quantizer,
    rotated_hash,
)
from rdsim.codes.vector_quantization import (
    VectorQuantizer,
    entropy_constrained_quantizer,
    vector_quantizer,
)

__all__ = [
    "CODES",
    "CodeRates",
    "CommonCode",
    "EntropyWeightedQuantizer",
    "HyperplaneHash",
    "ItemCode",
    "LloydMax",
    "LongHash",
    "LongProductQuantizer",
    "ProductQuantizer",
    "RandomCode",
    "RangeCoded",
    "ScalarQuantizer",
    "VectorQuantizer",
    "channel_simulation_bits",
    "code_rates",
    "common_code",
    "competitor_chances",
    "discrete_ensemble",
    "dsbs_ensemble",
    "dsbs_rank_law",
    "entropy_coded_bits",
    "entropy_constrained_quantizer",
    "entropy_weighted_quantizer",
    "expected_length",
    "fit_item_code",
    "grid_atoms",
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
    "seeded_atoms",
    "shannon_lengths",
    "squared_error",
    "uniform_scalar_quantizer",
    "vector_quantizer",
]
