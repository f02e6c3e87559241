r"""What a word can tell about directions: caps are the best decoding regions, for each dimension n (C27).

The item is uniform on $S^{n-1}$ and the density of the query decreases with the angle from it. Of all sets of given
probabilities caps around one pole then maximise $P(X \in A, Y \in B)$ (Baernstein and Taylor 1976), as half-spaces do
for normal pairs. So the bounds of `_half_spaces` hold with

$$C_R(s) = P(X \in A_s \mid Y \in B_R), \qquad P(A_s) = s,\ P(B_R) = 2^{-R},$$

A and B caps. Given $Y \in B$ the density of the query's angle from the pole, against that of a uniform one, is a mean of
$G(\theta, \tau)$ (`rdsim.sources.sphere.caps`) over the cap, and decreases with the angle.
"""

import functools
import math
from typing import Final

import jax.numpy as jnp
import numpy as np
from scipy.interpolate import CubicSpline

from rdsim.limits.converses import _half_spaces
from rdsim.limits.converses._half_spaces import Recalls
from rdsim.ranking.loss import RankLoss
from rdsim.ranking.sphere import CodewordAngles, QueryAngles
from rdsim.sources import SphericalSource
from rdsim.sources.sphere import caps
from rdsim.sources.sphere.caps import Reals
from rdsim.sources.sphere.gauss import gauss_rule

_LN2: Final = math.log(2.0)
_NODES: Final = 10  # angles in a cap, at which the density of the query is smooth
_CELLS: Final = 480  # of the query's place, over 18 standard deviations or more
ROUNDING: Final = 2e-6
"""By which every reward is loosened: more than the splines of the density can lose, 1e-6 in all."""


class CapTails:
    """The recall of caps, for words that are caps of several probabilities 2^-r, shape (r,)."""

    def __init__(self, source: SphericalSource, r: Reals) -> None:
        self.r, self.n = np.asarray(r, float), source.dimension
        parameter = float(source.parameter)
        self.rows = [_row(source.kind, source.dimension, parameter, float(one)) for one in self.r]

    def recall(self, log_t: Reals) -> Reals:
        """Return C_r(t) for the first word, at shares of the database."""
        return self.rows[0].inside(caps.angle_of_cap(self.n, log_t))

    def worth(self, log_gamma: Reals) -> Reals:
        r"""Return $\max_s C_r(s) - \gamma s$, shape of gamma followed by (r,).

        The best cap ends where the density of the query against a uniform one is gamma.
        """
        found = []
        for row in self.rows:
            psi = row.where(log_gamma)
            found.append(row.inside(psi) - np.exp(log_gamma + caps.log_cap(self.n, psi)))
        return np.maximum(np.stack(found, axis=-1), 0.0)

    def log_ratio(self, r: float, log_t: Reals) -> Reals:
        """Ln of the density at the end of the cap of share t, for a word of r bits, by the nearest row."""
        row = self.rows[int(np.argmin(np.abs(self.r - r)))]
        return row.log_density_ratio(caps.angle_of_cap(self.n, log_t))


class _Row:
    """The query's place given that the item lies in a cap: its distribution, and its density's ratio."""

    def __init__(self, source: SphericalSource, r: float) -> None:
        words = words_in_cap(source.dimension, r)
        angles = QueryAngles(source, words)
        self.psi = np.linspace(angles.psi.min(), angles.psi.max(), _CELLS + 1)
        mixture = source.mixture()
        each = caps.log_dependence(source.dimension, *mixture, self.psi[:, None], words.psi)
        ratio = np.exp(each) @ words.weight
        self.log_ratio = np.minimum.accumulate(np.log(np.maximum(ratio, 1e-300)))
        density = np.exp(caps.log_measure(source.dimension, self.psi)) * ratio
        self.distribution = CubicSpline(self.psi, density).antiderivative()

    def inside(self, psi: Reals) -> Reals:
        """Probability that the query lies in the cap that ends at a place."""
        place = np.clip(psi, self.psi[0], self.psi[-1])
        return np.asarray(np.clip(self.distribution(place), 0.0, 1.0))

    def where(self, log_ratio: Reals) -> Reals:
        """Place of a density ratio, which decreases."""
        return np.asarray(np.interp(-log_ratio, -self.log_ratio, self.psi))

    def log_density_ratio(self, psi: Reals) -> Reals:
        """Ln of the density ratio at places."""
        return np.asarray(np.interp(psi, self.psi, self.log_ratio))


@functools.lru_cache(maxsize=2048)
def _row(kind: str, n: int, parameter: float, r: float) -> _Row:
    return _Row(SphericalSource(parameter=jnp.asarray(parameter), dimension=n, kind=kind), r)


def words_in_cap(n: int, r: float) -> CodewordAngles:
    """The angle of a uniform item in a cap of probability 2^-r from its pole."""
    log_u = -np.linspace(0.0, 40.0, 2001)[1:] + 0.01
    log_c = log_u - r * _LN2
    log_odds = log_c - np.log(-np.expm1(log_c))
    found, weight = gauss_rule(log_odds, np.exp(log_u), _NODES)
    return CodewordAngles(caps.angle_of_cap(n, -np.logaddexp(0.0, -found)), weight / weight.sum())


def fixed_length(source: SphericalSource, bits: float, recalls: Recalls) -> tuple[float, bool]:
    """Bound the reward of words of R bits each, separate encoders; say whether unequal words may be better."""
    make = functools.partial(CapTails, source)
    equal = float(recalls.weight @ CapTails(source, np.array([bits])).recall(recalls.log_t))
    return _half_spaces.hulled(make, bits, recalls, equal, _half_spaces.FEWER_LONGER)


def entropy(source: SphericalSource, bits: float, recalls: Recalls) -> tuple[float, bool]:
    """Bound the reward of words of R bits on average, separate encoders."""
    return _half_spaces.averaged(
        functools.partial(CapTails, source), bits, recalls, _half_spaces.FEWER_UNLIMITED
    ), True


def loss_of_equal_words(source: SphericalSource, size: float, loss: RankLoss, bits: float) -> float:
    """Average the loss over the query of an item in a cap, ranked among uniform competitors (one encoder)."""
    angles = QueryAngles(source, words_in_cap(source.dimension, bits))
    return float(angles.mean(np.array([size]), loss).fine[0])
