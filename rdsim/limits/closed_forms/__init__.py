r"""Rate-distortion functions known in closed form, to the last digit and at every distortion.

Each function is $R(D)$ in bits per letter, elementwise over an array of distortions D >= 0: zero from
$D_{\max}$ on, and exact at D = 0, where the slope is infinite (-1e300 stands for it). They are what
the numeric solvers are tested against. A parameter out of its range, or a negative distortion, is a ValueError.
"""

from rdsim.limits.closed_forms.densities import (
    exponential_one_sided,
    gaussian,
    laplacian_absolute,
    vector_gaussian,
)
from rdsim.limits.closed_forms.finite_alphabets import (
    bernoulli_hamming,
    erasure,
    hamming,
    uniform_hamming,
)

__all__ = [
    "bernoulli_hamming",
    "erasure",
    "exponential_one_sided",
    "gaussian",
    "hamming",
    "laplacian_absolute",
    "uniform_hamming",
    "vector_gaussian",
]
