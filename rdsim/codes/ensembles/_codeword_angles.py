r"""The angle between an item on the sphere and the codeword that is kept for it, for several random codes.

- **Random directions.** Each of K is in the cap around the item that ends at the nearest with a
  probability c, and $v = -K \ln(1-c)$ has the density $e^{-v}$ whatever K is, so that K may be $2^{1000}$.
- **Coordinates** of a randomly rotated frame: T is the largest of N coordinates of a uniform unit vector
  of n, or of their absolute values. With Y normal, $P(\max_{i \le N} |Y_i| \le \tau \,|\, |Y|^2 = x)$ is
  a function F of $\tau/\sqrt x$ alone, and its mean over $\chi^2_n$ is a product, at every scale of Y. So

  $$\int_0^\infty x^{n/2-1} F(1/\sqrt x)\, e^{-px} dx = \Gamma(n/2)\, p^{-n/2}\, \mathrm{erf}(\sqrt p)^N,$$

  with $\frac12(1 + \mathrm{erf})$ without absolute values; the inverse Laplace transform is F, exactly.

An item that is farther from its codeword than others may be given none. Every distribution is a fine table,
of which a Gauss rule of a few nodes is taken.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy

from rdsim.information import LN2
from rdsim.ranking.sphere import CodewordAngles
from rdsim.sources.sphere import caps
from rdsim.sources.sphere.caps import Reals
from rdsim.sources.sphere.gauss import gauss_rule

_LATEST: Final = 3.7
_EARLIEST: Final = -36.0
"""Range of ln v of the exponential variable v: above it e^-v is below 3e-18, below it v has a probability of 2e-16."""
_TABLE: Final = 800
"""Nodes of v."""
_FEW_BITS: Final = 6.0
"""Bits of a codebook up to which the nearest codeword lies at any angle, and the rule is one in its cosine."""
LEAST_DIMENSION: Final = 16
"""Dimension from which the integral for coordinates ends within a few hundred standard deviations of its peak."""
_PLACES: Final = 400
"""Nodes of the largest coordinate: 50 panels of 8 nodes of Gauss and Legendre's rule."""
_LEFT_OUT: Final = 1e-15
"""Size of the integrand, relative to its peak, at which an integral is cut."""


@dataclass(frozen=True)
class RandomDirections:
    """The nearest of 2^R uniform directions.

    Attributes:
        n: dimension of the space.
        log2_codewords: log2 of the number of codewords.

    """

    n: int
    log2_codewords: float

    def angles(self, nodes: int, share: float = 1.0) -> CodewordAngles:
        """Return the angles of the given share of items, those nearest to their codewords."""
        latest = _LATEST if share >= 1 else min(math.log(-math.log1p(-share)), _LATEST)
        # Gauss and Legendre's rule, so that the density may end abruptly; denser where it is large.
        nodes_in, weights_in = np.polynomial.legendre.leggauss(8)
        edges = latest - np.geomspace(1.0, 1.0 + latest - _EARLIEST, _TABLE // 8 + 1) + 1.0
        half = 0.5 * (edges[:-1] - edges[1:])
        log_v = (0.5 * (edges[:-1] + edges[1:])[:, None] + half[:, None] * nodes_in).ravel()
        weight = (half[:, None] * weights_in).ravel() * np.exp(log_v - np.exp(log_v))
        # ln of c/(1-c), c = 1 - e^(-v/K): a variable on the whole line.
        log_ratio = log_v - self.log2_codewords * LN2
        ratio = np.exp(log_ratio)
        tiny = log_ratio < -36.0
        log_odds = np.where(tiny, log_ratio, ratio + np.log(-np.expm1(-np.maximum(ratio, 1e-300))))
        if self.log2_codewords <= min(_FEW_BITS, 8.0 * (self.n - 1)):
            # Few codewords lie at any angle: the loss is an entire function of the cosine.
            t = caps.cosine(caps.angle_of_cap(self.n, -np.logaddexp(0.0, -log_odds)))
            found, probability = gauss_rule(t, weight / weight.sum(), nodes)
            return CodewordAngles(-np.arctanh(found), probability)
        found, probability = gauss_rule(log_odds, weight / weight.sum(), nodes)
        return CodewordAngles(caps.angle_of_cap(self.n, -np.logaddexp(0.0, -found)), probability)


@dataclass(frozen=True)
class Coordinates:
    """The largest of N coordinates of a uniform unit vector of n.

    Attributes:
        n: dimension of the space, at least 16.
        count: N <= n.
        absolute: whether the codewords are the axes in both directions.

    """

    n: int
    count: int
    absolute: bool

    def angles(self, nodes: int, share: float = 1.0) -> CodewordAngles:
        """Return the angles of the given share of items, those nearest to their codewords."""
        # By a union bound T is farther out with a probability of e^-34.
        far = np.array([-34.0 - math.log(2 * self.count)])
        ends = 1e-6 / math.sqrt(self.n), float(caps.cosine(caps.angle_of_cap(self.n, far))[0])
        low, high = ends
        if share < 1:
            t = np.linspace(low, high, _PLACES)
            low = float(np.interp(1 - share, self._distribution(t)[0], t))
        nodes_in, weights_in = np.polynomial.legendre.leggauss(8)
        edges = np.linspace(low, high, _PLACES // 8 + 1)
        half = 0.5 * (edges[1:] - edges[:-1])[:, None]
        t = (0.5 * (edges[1:] + edges[:-1])[:, None] + half * nodes_in).ravel()
        weight = (half * weights_in).ravel() * self._distribution(t)[1]
        weight = np.maximum(weight, 0.0)
        found, probability = gauss_rule(t, weight / weight.sum(), nodes)
        return CodewordAngles(-np.arctanh(found), probability)

    def _distribution(self, t: Reals) -> tuple[Reals, Reals]:
        r"""Distribution function and density at places, by the trapezoidal rule through the saddle point.

        The integrand falls as $|1 + iy/c|^{-n/2}$ along the line of real part c = n t^2/2, with c below or near
        the saddle point.
        """
        half = self.n / 2
        c = half * t * t
        width = math.sqrt(1 / half)
        reach = math.sqrt(_LEFT_OUT ** (-2 / half) - 1)
        steps = math.ceil(reach / (0.3 * width))
        # Along the line the integrand is a peak of relative width 1/sqrt(n/2): steps of 0.3 widths, out to where it has
        # fallen to _LEFT_OUT. The trapezoidal rule converges exponentially for such a function.
        y = reach / steps * np.arange(-steps, steps + 1)
        p = c[:, None] * (1 + 1j * y)
        reached = scipy.special.erf(np.sqrt(p))
        if not self.absolute:
            reached = 0.5 * (1 + reached)
        log_f = scipy.special.gammaln(half) - half * np.log(p) + self.count * np.log(reached)
        x = 1 / (t * t)
        log_scale = (1 - half) * np.log(x) + np.log(c * reach / steps / (2 * math.pi))
        value = np.exp(log_f + p * x[:, None] + log_scale[:, None])
        function = value.sum(axis=1).real
        # The derivative in x = 1/t^2 under the same sum; dx/dt = -2/t^3 turns it into the density of t.
        slope = (value * p).sum(axis=1).real - (half - 1) / x * function
        return function, -2 * slope / t**3
