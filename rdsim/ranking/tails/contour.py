r"""Tails of quadratic forms in Gaussians, by the inversion integral on a contour through the saddlepoint.

For a cumulant generating function K(t) = ln E exp(t L), finite around t,

$$P(L > l) = \frac{1}{2\pi i} \int e^{K(z) - z l} \frac{dz}{z} \quad (+1 \text{ for } t < 0),
\qquad l = K'(t),$$

along any path that crosses the real axis at t. On the vertical line, Imhof's integral (1961), the
integrand of a few degrees of freedom decays as a power. K of a quadratic form is analytic but for cuts
on the real axis, so that the path may be bent away from the vertical, towards the nearest branch point b:

$$z(\theta) = t + |t - b| \, (\mp (\cosh\theta - 1) + i \sinh\theta).$$

There the integrand decays doubly exponentially. Its angle with the vertical stays below 45 degrees, at which
the modulus of the factor of every component, central or not and however far its own branch point, is
largest at the real axis: nothing cancels, and a tail of probability 2^-1000 keeps its digits. The
trapezoidal rule converges geometrically in the number of nodes (Trefethen and Weideman 2014). The pole at
z = 0, which comes near the path as t does, adds to the midpoint rule exactly $-1/(1 + e^{2\pi p/h})$, p being
its place on the imaginary axis of theta and h the step: that is taken back.
"""

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
Complexes = NDArray[np.complex128]

_STEP: Final = 0.85
"""Step in widths of the peak: a normal peak is summed to exp(-2 pi^2 / 0.85^2) = 1e-12."""
_WIDEST_STEP: Final = 0.12
"""Largest step of theta: the branch point and the pole beside it are at least pi/4 away, exp(-pi^2 / (2 h)) = 1e-18."""
_NATS: Final = 28.0
"""The last node is where the integrand has decayed by so many nats."""
_NEAR_POLE: Final = 7.0
"""A pole more than so many widths of the peak away contributes less than rounding."""


class Contour(NamedTuple):
    """Nodes of the upper half of each path; sums over them are the whole integral.

    Attributes:
        shift: z - t, shape (T, J).
        z: shape (T, J).
        weight: dz / (2 pi i), twice, for the other half is the conjugate, shape (T, J).
        pole: what is added for the pole at zero, shape (T,).

    """

    shift: Complexes
    z: Complexes
    weight: Complexes
    pole: Reals


def contour(t: Reals, branch: float, smallest: Reals, largest: Reals) -> Contour:
    """Place the nodes for saddlepoints t.

    Args:
        t: saddlepoints, all on one side of the branch point, shape (T,).
        branch: the branch point of K that is nearest.
        smallest: least variance K''(t) of the distributions that share the path, shape (T,).
        largest: largest such variance, shape (T,).

    """
    s = np.abs(t - branch)
    side = 1.0 if branch < t[0] else -1.0
    narrow, wide = s * np.sqrt(largest), s * np.sqrt(smallest)
    h = np.minimum(_STEP / narrow, _WIDEST_STEP)
    # Re K falls from its peak by at least K'' s^2 (cosh(theta) - 1) / 2.
    reach = 2 * np.arcsinh(np.sqrt(_NATS) / wide)
    theta = h[:, None] * (np.arange(math.ceil(float((reach / h).max()))) + 0.5)
    back = 2 * np.sinh(0.5 * theta) ** 2  # cosh - 1
    shift = s[:, None] * (-side * back + 1j * np.sinh(theta))
    weight = (h * s / math.pi)[:, None] * (np.cosh(theta) + 1j * side * np.sinh(theta))
    # The pole is where z(i p) = 0; farther away than that it has no share left.
    sine = (t / s + side) / math.sqrt(2)
    place = np.arcsin(np.clip(sine, -1.0, 1.0)) - side * math.pi / 4
    share = 1 / (1 + np.exp(np.clip(2 * math.pi * place / h, -700.0, 700.0)))
    pole = np.where((t * np.sqrt(largest) < _NEAR_POLE) & (sine < 1), share, 0.0)
    return Contour(shift, t[:, None] + shift, weight, pole)
