"""Codes for items in R^d, fitted to training items: quantizers of points and binary hashes.

Those with listed codewords are an `ItemCode`; product quantizers and hashes of any number of bits are a
`StoredCode`.
"""

from rdsim.codes.quantizers.entropy_weighted import (
    EntropyWeightedQuantizer,
    entropy_weighted_quantizer,
)
from rdsim.codes.quantizers.hashing import (
    BinaryHash,
    HyperplaneHash,
    hyperplane_hashing,
    long_hyperplane_hash,
    rotated_hash,
)
from rdsim.codes.quantizers.lloyd_max import lloyd_max_levels
from rdsim.codes.quantizers.product import ProductQuantizer
from rdsim.codes.quantizers.product_fits import long_product_quantizer, product_quantizer
from rdsim.codes.quantizers.scalar import (
    ScalarQuantizer,
    lloyd_max_quantizer,
    uniform_scalar_quantizer,
)
from rdsim.codes.quantizers.vector import (
    VectorQuantizer,
    entropy_constrained_quantizer,
    vector_quantizer,
)

__all__ = [
    "BinaryHash",
    "EntropyWeightedQuantizer",
    "HyperplaneHash",
    "ProductQuantizer",
    "ScalarQuantizer",
    "VectorQuantizer",
    "entropy_constrained_quantizer",
    "entropy_weighted_quantizer",
    "hyperplane_hashing",
    "lloyd_max_levels",
    "lloyd_max_quantizer",
    "long_hyperplane_hash",
    "long_product_quantizer",
    "product_quantizer",
    "rotated_hash",
    "uniform_scalar_quantizer",
    "vector_quantizer",
]
