r"""The rank of a target of which a codeword is known: queries, items and codewords on a sphere, exactly.

If the codeword of the target lies at an angle $\tau$ from the target itself and on no preferred side of it, then
the query's angle $\theta$ from the codeword has the density $G(\theta, \tau)$ of `rdsim.sources.sphere.caps` against
that of a uniform query. A competitor's codeword is uniform and independent of the query: it is nearer with
probability $c_n(\theta)$. So the mean loss is

$$E_\tau \int E\,\rho\big(1 + \mathrm{Bin}(M-1, c_n(\theta))\big)\, G(\theta, \tau)\, dc_n(\theta).$$

If only a share m of the items has codewords, and the rest is ranked behind the codewords that are farther than
$\theta_0$ from the query, then a target with a nearer codeword is passed with probability $m c_n(\theta)$, and every other
one as its place says.
"""

import functools
import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import scipy

from rdsim.information import LN2
from rdsim.ranking.loss import RankLoss
from rdsim.ranking.rank_distribution import expected_loss
from rdsim.root_finding import bisect_on_host
from rdsim.sources.sphere import SphericalSource, caps
from rdsim.sources.sphere.caps import Reals

_LEFT_OUT: Final = 40.0
"""The query's density is cut where it has fallen by so many nats below its maximum."""
_FEW: Final = 7
"""Concentrations of a mixture on which the support of the query's density is determined."""
_GRID: Final = 160
"""Places of the query's angle on that grid."""
_STEP: Final = 0.25
"""Step of the trapezoidal rule in the log of a competitor's probability to win. The loss is analytic in
it within pi/2 of the real axis, as e^(-e^w) is, so that the error is e^(-pi^2/step), below 1e-16."""
_STEPS_AT_LEAST: Final = 72
"""Least number of steps over the support, which spans 18 standard deviations of a normal density."""
_PADDED: Final = 4096
"""Losses are computed at a multiple of so many places, so that few shapes are compiled."""
_TABLE_STEP: Final = 1 / 64
"""Step in ln a of a table of the loss; the error of the cubic spline through it is about step^4/100."""
_BEYOND: Final = np.polynomial.legendre.leggauss(64)


@dataclass(frozen=True)
class CodewordAngles:
    """A distribution of the angle between an item and its codeword, as finitely many places with probabilities.

    Attributes:
        psi: places, shape (t,).
        weight: their probabilities, shape (t,).

    """

    psi: Reals
    weight: Reals


class MeanLoss(NamedTuple):
    """Losses by a rule and by the rule of half as many nodes, each of the shape of the sizes."""

    fine: Reals
    coarse: Reals


class QueryAngles:
    """The angle of the query from the codeword of its target, for every angle between codeword and target."""

    def __init__(self, source: SphericalSource, codewords: CodewordAngles) -> None:
        self.source, self.codewords, self.n = source, codewords, source.dimension
        low, high = self._support()
        slope = np.exp(caps.log_measure(self.n, low) - caps.log_cap(self.n, low))
        steps = int(np.ceil(max(_STEPS_AT_LEAST, float(((high - low) * slope).max()) / _STEP)))
        steps += steps % 2
        place = np.linspace(0.0, 1.0, steps + 1)
        self.psi = low[:, None] + (high - low)[:, None] * place
        step = ((high - low) / steps)[:, None]
        density = np.exp(self.log_density(self.psi, codewords.psi[:, None]))
        self.weight = codewords.weight[:, None] * step * density
        self.high = float(high.max())
        self.log_c = caps.log_cap(self.n, self.psi)

    def log_density(self, psi: Reals, tau: Reals) -> Reals:
        """Ln of the density of the query's place."""
        mixture = self.source.mixture()
        return caps.log_measure(self.n, psi) + caps.log_dependence(self.n, *mixture, psi, tau)

    def _support(self) -> tuple[Reals, Reals]:
        """Places between which the density is within e^-40 of its largest value; it has one mode."""
        log_kappa, log_weight = self.source.mixture()
        some = np.unique(np.linspace(0, log_kappa.size - 1, _FEW).round().astype(int))
        tau = self.codewords.psi

        def log_density(psi: Reals, tau: Reals) -> Reals:
            dependence = caps.log_dependence(self.n, log_kappa[some], log_weight[some], psi, tau)
            return caps.log_measure(self.n, psi) + dependence

        flat = _LEFT_OUT / (self.n - 1)  # the density falls as e^-(n-1)|psi| far out
        least = min(-0.5 * max(float(log_kappa.max()), 0.0) - 5.0, -5.0)
        low, high = np.full(tau.size, least), np.full(tau.size, 5.0)
        for points in (_GRID, _GRID):
            grid = low[:, None] + (high - low)[:, None] * np.linspace(0.0, 1.0, points)
            best = log_density(grid, tau[:, None]).argmax(axis=1)
            mode = grid[np.arange(tau.size), best]
            spacing = (high - low) / (points - 1)
            low, high = mode - spacing, mode + spacing
        cut = log_density(mode, tau) - _LEFT_OUT
        ends = [
            bisect_on_host(
                lambda psi: log_density(psi, tau) <= cut, mode, np.full(tau.size, far), steps=30
            )[1]
            for far in (least - flat, 5.0 + flat)
        ]
        return ends[0], ends[1]

    def mean(self, log2_size: Reals, loss: RankLoss) -> MeanLoss:
        """Average the loss, all items having codewords."""
        return self._mean(log2_size, loss, 0.0)

    def mean_of_share(self, log2_size: Reals, loss: RankLoss, share: float) -> MeanLoss:
        """Average the loss if a share of the items has codewords and all others are one junk codeword.

        The junk codeword is ranked by its likelihood ratio, which is one: behind the codewords whose ratio is larger.
        Its place makes the probability to be passed jump, and what lies beyond is integrated by itself.
        """
        if share >= 1:
            return self.mean(log2_size, loss)
        fine, coarse = self._mean(log2_size, loss, np.log(share))
        psi = self._indifferent()
        # Beyond psi the junk codeword is ahead of the target's own: this part adds its mass 1 - share to the tail.
        nodes, weights = _BEYOND
        half = 0.5 * max(self.high - psi, 0.0)
        at = psi + half * (1 + nodes)
        log_density = self.log_density(at, self.codewords.psi[:, None])
        weight = half * weights * (self.codewords.weight @ np.exp(log_density))
        log_a = np.log(share) + caps.log_cap(self.n, at)
        first = np.logaddexp(log_a, np.log1p(-share))
        log_ahead = float(np.log(share) + caps.log_cap(self.n, np.asarray(psi)))
        junk = []
        for size in log2_size:
            more = losses(size, loss, first) - losses(size, loss, log_a)
            tied = float(expected_loss(size, loss, log_a=log_ahead, log_e=float(np.log1p(-share))))
            junk.append([weight @ more, tied])
        moved, lost = np.array(junk).reshape(-1, 2).T
        return MeanLoss(
            share * (fine + moved) + (1 - share) * lost,
            share * (coarse + moved) + (1 - share) * lost,
        )

    def _indifferent(self) -> float:
        """Place of the query, the farthest, at which a codeword is as likely as if it were another item's.

        For an item that is far from its codeword the likelihood is largest at some distance, not at the codeword
        itself: so the place is looked for from far to near, where the query lies at all.
        """

        def likely(psi: Reals) -> np.ndarray:
            mixture = self.source.mixture()
            each = caps.log_dependence(self.n, *mixture, psi[..., None], self.codewords.psi)
            return np.asarray(np.exp(each) @ self.codewords.weight > 1)

        grid = np.linspace(self.psi.max(), self.psi.min(), _GRID)
        first = int(likely(grid).argmax())
        if first == 0:
            return float(grid[0])
        found = bisect_on_host(likely, grid[first - 1 : first], grid[first : first + 1], steps=40)
        return float(found[1][0])

    def _mean(self, log2_size: Reals, loss: RankLoss, log_share: float) -> MeanLoss:
        found = np.array([losses(size, loss, self.log_c + log_share) for size in log2_size])
        found = found.reshape(-1, *self.psi.shape)
        fine = (self.weight * found).sum(axis=(1, 2))
        coarse = 2 * (self.weight * found)[..., ::2].sum(axis=(1, 2))
        # What the rule leaves out of the mass of the density belongs to the error.
        return MeanLoss(fine, coarse + abs(1 - self.weight.sum()))


def losses(log2_size: float, loss: RankLoss, log_a: Reals) -> Reals:
    """Return the expected loss of many targets that a competitor passes with probability a, without ties."""
    least, table = _table(float(log2_size), loss)
    return np.asarray(np.clip(table(np.clip(log_a, least, 0.0)), 0.0, 1.0))


@functools.lru_cache(maxsize=128)
def _table(log2_size: float, loss: RankLoss) -> tuple[float, "scipy.interpolate.CubicSpline"]:
    """Expected loss against ln a by a cubic spline, whose error is below 1e-9; below the table it is 1e-17."""
    least = -log2_size * LN2 - _LEFT_OUT
    log_a = np.linspace(least, 0.0, -(-math.ceil(-least / _TABLE_STEP) // _PADDED) * _PADDED)
    found = expected_loss(log2_size, loss, log_a=log_a, log_e=-np.inf)
    return least, scipy.interpolate.CubicSpline(log_a, np.asarray(found))
