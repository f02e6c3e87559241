r"""Sums over all ranks of a database, and the Gibbs distribution of a rank loss.

$$\ln \frac{Z(\lambda)}{M} = \ln \frac1M \sum_{r=1}^M e^{-\lambda \rho(r)}.$$

Ranks are never listed: the first thousand are summed one by one, the rest by an integral in ln r
with Euler-Maclaurin's corrections at both ends, so that M = 2^1000 costs what M = 2^20 does.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from jaxtyping import Array, Float

from rdsim.information import LN2
from rdsim.namespaces import constant, namespace_of
from rdsim.ranking.loss import RankLoss, log_database_size

_HEAD: Final = 1024  # ranks that are summed one by one before the integral starts
_CORRECTED: Final = 6  # ranks at each end of the integral that carry Euler-Maclaurin's corrections
_PANEL: Final = 3.0  # largest length of an integration panel, in ln r
_ON_A_PANEL: Final = np.polynomial.legendre.leggauss(16)
"""Gauss-Legendre nodes and weights of a panel, which integrate polynomials of degree 31 exactly."""

_OfNodes = Float[Array | np.ndarray, " r"]


class RankSum(NamedTuple):
    r"""A rule for sums over all ranks: $\frac1M \sum_r f(r) \approx \sum_k \pm e^{l_k} f(r_k)$."""

    loss: _OfNodes  # at each node r_k
    log_weight: _OfNodes  # natural log of the size of its weight, as a fraction of M
    sign: _OfNodes  # of the weight: that of some corrections is negative


@functools.cache
def _end_corrections() -> np.ndarray:
    r"""Weights at distances 1/2, 3/2, ... before an end that turn an integral into a sum.

    $\sum_{r > N} f(r) - \int_{N+1/2}^\infty f = \frac{1}{24} f' - \frac{7}{5760} f''' +
    \frac{31}{967680} f^{(5)}$ at N + 1/2, each derivative by the values at the ranks up to N.
    """
    # Finite differences by moments: weights whose sums with offset^k are the coefficient of the
    # k-th derivative times k! reproduce the expansion for all polynomials of degree five.
    offsets = -(np.arange(_CORRECTED) + 0.5)
    moments = np.zeros(_CORRECTED)
    moments[1], moments[3], moments[5] = 1 / 24, -7 / 5760 * 6, 31 / 967680 * 120
    return np.linalg.solve(np.vander(offsets, increasing=True).T, moments)


def rank_sum(log2_size: Any, loss: RankLoss, reach: int) -> RankSum:
    """Build the rule for sums over the ranks 1..M of one database size.

    Nodes: the ranks up to 1036 one by one, the last ranks before M, and those of Gauss-Legendre
    panels of equal length in ln r between. Weights of nodes that a size does not use are zero, so
    that shapes depend on `reach`, a bound of log2 M, alone. Of a number on the host the rule is computed there: programs that
    take it as an argument serve every loss.
    """
    xp = namespace_of(log2_size)
    log_M = log_database_size(log2_size)
    if loss.is_two_valued:
        # Two nodes: the ranks without loss, and all others.
        log_good = xp.minimum(math.log(loss.cutoff), log_M)
        some_bad = log_M - math.log(loss.cutoff) > 1e-15
        log_bad_share = xp.where(
            some_bad, xp.log(-xp.expm1(xp.where(some_bad, log_good - log_M, -1.0))), -xp.inf
        )
        return RankSum(
            xp.array([0.0, 1.0]), xp.stack([log_good - log_M, log_bad_share]), xp.ones(2)
        )
    # A small database is summed as a whole; its corrections and panels have no weight.
    small = log_M <= math.log(_HEAD + 2 * _CORRECTED)
    log_rank = xp.log(xp.arange(1.0, _HEAD + 2 * _CORRECTED + 1))
    last = xp.where(small, log_M, math.log(_HEAD)) + 1e-12
    corrections = _end_corrections()
    at_the_end = np.zeros(log_rank.shape)
    at_the_end[_HEAD - 1 - np.arange(_CORRECTED)] = corrections
    head = xp.where(log_rank <= last, 1.0 + xp.where(small, 0.0, at_the_end), 0.0)
    # Gauss-Legendre in t = ln r on [ln(HEAD + 1/2), ln(M + 1/2)]: dr = e^t dt.
    panels = math.ceil(max(reach * LN2 - math.log(_HEAD), 1.0) / _PANEL)
    # In ln r the summand varies on a scale of about one for every loss, however large M is: what
    # panels of length three with sixteen nodes leave is within the summation error that tests
    # measure.
    nodes, weights = _ON_A_PANEL
    low = math.log(_HEAD + 0.5)
    high = log_M + xp.log1p(0.5 * xp.exp(-log_M))
    width = xp.where(small, 0.0, (high - low) / panels)
    position = (np.arange(panels)[:, None] + 0.5 * (1 + nodes)).ravel()
    t = low + width * position
    log_panel_weight = xp.log(np.tile(0.5 * weights, panels)) + t
    log_panel_weight += xp.where(small, -xp.inf, xp.log(xp.where(small, 1.0, width)))
    top = log_M + xp.log1p(-xp.where(small, 0.0, np.arange(_CORRECTED) * xp.exp(-log_M)))
    # The sum stops at M: what the expansion would add beyond M + 1/2 is taken away.
    top_weight = xp.where(small, 0.0, -corrections)
    top = xp.where(small, 0.0, top)
    all_weights = xp.concatenate([head, top_weight])
    log_size = xp.where(all_weights == 0, 1.0, xp.abs(all_weights))
    log_size = xp.where(all_weights == 0, -xp.inf, xp.log(log_size))
    return RankSum(
        loss.of_log_rank(xp.concatenate([log_rank, top, t])),
        xp.concatenate([log_size, log_panel_weight]) - log_M,
        xp.concatenate([xp.sign(all_weights), xp.ones(t.size)]),
    )


def gibbs(slope: Float[Any, "..."], ranks: RankSum) -> tuple[Any, Any, Callable[[], Any]]:
    r"""$\ln(Z/M)$, and mean and variance of the loss of Gibbs at $\lambda$ (nats per unit of loss).

    The variance, which few steps of a search need, is computed when it is asked for.
    """
    xp = namespace_of(slope, *ranks)
    # Shifted by its largest exponent, Z and its moments share one exponential a node: most of the time of a search.
    exponent = ranks.log_weight - slope[..., None] * ranks.loss
    largest = constant(exponent.max(axis=-1))
    term = ranks.sign * xp.exp(exponent - largest[..., None])
    # Sums along rows, not products of matrices, whose order of addition depends on the number of slopes.
    Z = term.sum(axis=-1)
    mean = (ranks.loss * term).sum(axis=-1) / Z

    def variance() -> Any:
        return ((ranks.loss - mean[..., None]) ** 2 * term).sum(axis=-1) / Z

    return largest + xp.log(Z), mean, variance
