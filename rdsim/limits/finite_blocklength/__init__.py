"""Lossy coding at finite block length (C16): converses, random coding, Gaussian approximations.

Exact bounds on the least rate at which n letters are kept within a distortion except with a given
excess probability, and the second-order approximation at any n. The bounds and approximations are those
of Kostina and Verdu (2012), "Fixed-length lossy compression in the finite blocklength regime", IEEE Trans.
Inf. Theory 58(6), where no other source is named.
"""

from rdsim.limits.finite_blocklength.binary import binary_hamming, binary_hamming_second_order
from rdsim.limits.finite_blocklength.discrete_source import discrete
from rdsim.limits.finite_blocklength.erasures import erased_coin, erased_coin_second_order
from rdsim.limits.finite_blocklength.gaussian import gaussian_mse, gaussian_mse_second_order
from rdsim.limits.finite_blocklength.result import FiniteBlocklength
from rdsim.limits.finite_blocklength.second_order import SecondOrder
from rdsim.limits.finite_blocklength.tilted import (
    d_tilted_information,
    discrete_second_order,
    dispersion,
)

__all__ = [
    "FiniteBlocklength",
    "SecondOrder",
    "binary_hamming",
    "binary_hamming_second_order",
    "d_tilted_information",
    "discrete",
    "discrete_second_order",
    "dispersion",
    "erased_coin",
    "erased_coin_second_order",
    "gaussian_mse",
    "gaussian_mse_second_order",
]
