"""Which lengths of codewords are the best (C27): codes of fixed length, and codes of an entropy.

`bounds` certifies the concave hull of the excess of one codeword, `mixtures` searches the thresholds at which it is the least, and `hulls` has
the geometry of both.
"""

from rdsim.limits.converses.code_lengths.bounds import COARSELY, Codewords, entropy, fixed_length
from rdsim.limits.converses.code_lengths.hulls import tents

__all__ = ["COARSELY", "Codewords", "entropy", "fixed_length", "tents"]
