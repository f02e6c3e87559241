"""Codes and how close they come: random codebooks and exact averages over them, and codes for items.

Codes for items in R^d share one protocol, `ItemCode`: a channel P(u|y), codewords, an encoder.
Their rates are measured as information and as real bits by `entropy_coding`.

Arguments are checked before anything is computed: a ValueError names the one whose numbers or shape do not fit, a
TypeError one that is no integer, no key or no code where that is needed. Docstrings say only what is raised besides.
"""

from rdsim.codes import ensembles, quantizers
from rdsim.codes.codebook import random_codebook
from rdsim.codes.common_form import CODES, CommonCode, common_code, fit_item_code
from rdsim.codes.distances import squared_error
from rdsim.codes.encoders import likelihood_encoder
from rdsim.codes.ensembles import *
from rdsim.codes.entropy_coding import (
    code_rates,
    entropy_coded_bits,
    huffman_lengths,
)
from rdsim.codes.item_code import ItemCode, StoredCode
from rdsim.codes.quantizers import *
from rdsim.codes.stored_search import search

__all__ = [
    "CODES",
    "CommonCode",
    "ItemCode",
    "StoredCode",
    "code_rates",
    "common_code",
    "entropy_coded_bits",
    "fit_item_code",
    "huffman_lengths",
    "likelihood_encoder",
    "random_codebook",
    "search",
    "squared_error",
]
__all__ += ensembles.__all__
__all__ += quantizers.__all__
