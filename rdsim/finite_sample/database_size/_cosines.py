r"""The cosine of a pair of correlation rho in n dimensions, and that of a query with the codeword of its item.

The cosine t of a pair has Fisher's density, as a sample correlation has (Hotelling 1953). The codeword is the nearest to
the item of $2^R$ random directions.
"""

import math
from typing import Final

import numpy as np
import scipy

from rdsim.finite_sample.database_size._mixing import Reals
from rdsim.sources.sphere import caps

# Quadrature nodes of the cosine between an item and its nearest codeword, and of the direction around the codeword.
_NEAREST: Final = 64
_AROUND: Final = 40
# The probability that a random item wins is kept on a grid of its logarithm, of this step in nats; a table of it has
# this many nodes in the width of Fisher's density. Linear interpolation errs by some 1e-5 of the gain, and by 2e-4.
NATS: Final = 0.01
_FINE: Final = 27


class Cosines:
    """A grid of cosines in n dimensions, even in artanh, fine beside the width 1/sqrt(n) of their density."""

    def __init__(self, dimension: float, fineness: float = 0.3) -> None:
        self.n = dimension
        step = fineness / math.sqrt(dimension)
        y = np.arange(-4.0, 5.0, step)
        self.cosine = np.tanh(y)
        self.log_rest = 2 * caps.log_sine(y)  # ln(1 - t^2)
        self.log_beaten = caps.log_cap(dimension, -y)

    def cap_table(self) -> tuple[Reals, Reals]:
        """Tabulate ln c_n(t) in artanh(t), as far as float64 knows t."""
        y = np.arange(-18.0, 18.0, 1 / (_FINE * math.sqrt(self.n)))
        return y, caps.log_cap(self.n, -y)

    def density(self, correlations: Reals) -> Reals:
        """Masses of the grid given each correlation, shape (T, K): Fisher's density times the cells."""
        n, t, rho = self.n, self.cosine[:, None], correlations[None, :]
        log = (
            0.5 * n * np.log1p(-(rho**2))
            + 0.5
            * (n - 1)
            * self.log_rest[:, None]  # a cell of t is 1 - t^2 times one of artanh(t)
            - (n - 0.5) * np.log1p(-rho * t)
            + np.log(scipy.special.hyp2f1(0.5, 0.5, n + 0.5, 0.5 * (1 + rho * t)))
        )
        mass = np.exp(log - log.max(axis=0))
        return np.asarray(mass / mass.sum(axis=0))

    def mixture(self, correlations: Reals, probabilities: Reals) -> Reals:
        """Masses of the grid over a distribution of correlations."""
        return np.asarray(self.density(correlations) @ probabilities)


def beaten(
    cosines: Cosines, mass: Reals, bits: float, table: tuple[Reals, Reals], log_p: Reals
) -> Reals:
    """Distribution of ln P(a random codeword wins) behind the nearest of 2^bits random directions, on a grid."""
    n = cosines.n
    u, weights = np.polynomial.legendre.leggauss(_NEAREST)
    cap = -np.expm1(np.log(0.5 * (1 + u)) * 2.0**-bits)  # of the cosine T whose distribution is u
    rest = scipy.special.betaincinv(0.5 * (n - 1), 0.5, 2 * np.minimum(cap, 1 - cap))
    nearest = np.sign(0.5 - cap) * np.sqrt(1 - rest)
    w, around = scipy.special.roots_gegenbauer(_AROUND, 0.5 * (n - 3))
    kept = mass > 1e-12
    t, log_rest = cosines.cosine[kept, None, None], cosines.log_rest[kept, None, None]
    across = np.sqrt(np.exp(log_rest) * rest[None, :, None]) * w
    score = np.clip(t * nearest[None, :, None] + across, -1 + 1e-15, 1 - 1e-15)
    place = (np.interp(np.arctanh(score), *table) - log_p[0]) / NATS
    place = np.clip(place, 0.0, log_p.size - 1.001)
    # Each mass is shared by the two nodes beside it, so that its mean stays.
    node = place.astype(int)
    share = place - node
    weight = mass[kept, None, None] * (weights / 2)[:, None] * (around / around.sum())
    nodes, found = node.ravel(), np.zeros(log_p.size)
    for shift, part in ((0, 1 - share), (1, share)):
        found += np.bincount(nodes + shift, (weight * part).ravel(), log_p.size)
    return found
