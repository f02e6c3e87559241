r"""The expected loss of a target averaged over the ties at its score: an integral over z = Mp (C1).

`rank_distribution` says of what. Integrals are differences where the interval is long and Gauss-Legendre sums where it
is short, so that small losses keep their digits.
"""

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import scipy
from jaxtyping import Float

from rdsim.information import LN2
from rdsim.namespaces import namespace_of, on_numpy
from rdsim.ranking.expectations.binomial_sums import (
    CERTAIN,
    RANKS,
    expected_value,
    miss_integral,
    miss_loss,
)
from rdsim.ranking.expectations.discounted_gain import mean_gain
from rdsim.ranking.loss import RankLoss

_RARE: Final = -600.0  # ln(M p) below which the powers of M p in the series underflow float64
_NARROW: Final = 0.125
"""An interval of z shorter than this fraction of the length over which the loss changes is averaged by few nodes; see
`_mean_among_ties`."""


def neg_log1m(log_p: Float[Any, "..."]) -> tuple[Any, Any]:
    """-ln(1-p) and its logarithm from ln p; +inf at p = 1."""
    xp = namespace_of(log_p)
    p = xp.exp(xp.minimum(log_p, 0.0))
    value = xp.where(p < 1, -xp.log1p(-xp.where(p < 1, p, 0.5)), xp.inf)
    small = log_p < -37.0  # there -ln(1-p) is p to the last bit, and may underflow
    return value, xp.where(small, log_p, xp.log(xp.where(small, 1.0, value)))


def _series(x: Float[Any, "..."], coefficients: np.ndarray) -> Float[Any, "..."]:
    r"""$\sum_{k \ge 1} c_k x^k$ by Horner's rule."""
    total = namespace_of(x).zeros_like(x)
    for coefficient in coefficients[::-1]:
        total = (total + coefficient) * x
    return total


_EXPONENTIAL: Final = np.array([(-1.0) ** (k + 1) / math.factorial(k + 1) for k in range(1, 19)])
_LOGARITHM: Final = np.array([1.0 / (k + 1) for k in range(1, 30)])


def reciprocal_rank_loss(log_p: Float[Any, "..."], log_M: Float[Any, "..."]) -> Float[Any, "..."]:
    r"""$1 - \frac{1-(1-p)^M}{Mp}$, with relative accuracy as $Mp \to 0$.

    With $x = -M \ln(1-p)$ it is $1 - \varphi(x) \chi(p)$, $\varphi(x) = (1-e^{-x})/x$ and
    $\chi(p) = -\ln(1-p)/p$, both one at zero.
    """
    xp = namespace_of(log_p, log_M)
    x = xp.exp(log_M + neg_log1m(log_p)[1])
    small = x < 0.5
    p = xp.where(small, xp.exp(log_p), 0.0)
    below_phi = _series(xp.where(small, x, 0.0), _EXPONENTIAL)
    near = below_phi - (1 - below_phi) * _series(p, _LOGARITHM)
    log_Mp = xp.where(small, 0.0, log_M + xp.minimum(log_p, 0.0))
    far = 1 + xp.expm1(-x) * xp.exp(-log_Mp)
    return xp.where(small, near, far)


_RECIPROCAL: Final = 1 - 1 / RANKS
_DISCOUNTED: Final = 1 - 1 / np.log2(1 + RANKS)
"""Losses of the ranks 1, 2, ...; the loss of b winners is that of rank b + 1."""


def _cumulative(losses: np.ndarray) -> np.ndarray:
    r"""$S(b) = \sum_{r \le b} \rho(r)$ for b = 0, 1, ..., whose expectation is the integral of the loss.

    For every rank loss $\frac{d}{dp} E\,S(B) = M\,E\,[S(B'+1) - S(B')] = M\,E\,\rho(1 + B')$ with
    $B \sim \mathrm{Binomial}(M, p)$ and $B' \sim \mathrm{Binomial}(M-1, p)$.
    """
    return np.concatenate([[0.0], np.cumsum(losses)[:-1]])


def _mean_among_ties(
    start: Float[Any, "..."],
    inside: Float[Any, "..."],
    length: Float[Any, "..."],
    loss: Callable[[Any], Any],
    integral: Callable[[Any], Any],
) -> Float[Any, "..."]:
    r"""Mean of a loss over z in (start, start + inside), below its cut.

    It is the difference of its integrals where the interval is longer than an eighth of the length
    over which the loss changes: there no more than one digit cancels. On a shorter one, where the loss
    is $e^{c t}$, |t| < 1, with c below 0.1, four Gauss-Legendre nodes leave less than 1e-14 of it.

    Args:
        start: first z, shape (...).
        inside: length of the interval; zero where there is none, and then the mean has no meaning.
        length: over which the loss changes by a factor of e or less.
        loss: of ln z.
        integral: of the loss from 0, of ln z.

    Returns:
        The mean, shape (...).

    """
    xp = namespace_of(start)
    narrow = inside < _NARROW * length
    positive = xp.where(inside > 0, inside, 1.0)
    begin, wide = xp.where(narrow, 1.0, start), xp.where(narrow, 1.0, positive)
    # Both ends, and all nodes, are one call each: fewer programs to compile.
    ends = xp.stack([begin, begin + wide])
    values = xp.where(ends > 0, integral(xp.log(xp.where(ends > 0, ends, 1.0))), 0.0)
    by_difference = (values[1] - values[0]) / wide
    nodes, weights = scipy.special.roots_legendre(4)
    begin, short = xp.where(narrow, start, 1.0), xp.where(narrow, inside, 0.0)
    places = xp.stack([begin + 0.5 * (1 + node) * short for node in nodes])
    by_nodes = xp.tensordot(0.5 * weights, loss(xp.log(places)), axes=1)
    return xp.where(narrow, by_nodes, by_difference)


def average_over_ties(
    log_a: Float[Any, "..."],
    log_e: Float[Any, "..."],
    log_M: Float[Any, "..."],
    loss: RankLoss,
) -> Float[Any, "..."]:
    r"""Average the loss over z = Mp in (Ma, Ma + Me).

    Beyond a cut in z the expected number of winners is so large that a two-valued loss is one, the
    reciprocal rank is $1/z$, whose integral is a logarithm, and the discounted gain is tabulated. Two
    cases leave the mean: no ties, and ties and winners so rare that the loss is linear.
    """
    K, xp = loss.cutoff, namespace_of(log_a, log_e, log_M)
    two_valued = loss.is_two_valued
    cut = K + 12 * math.sqrt(K) + 50 if two_valued else CERTAIN

    def at(log_z: Float[Any, "..."]) -> Float[Any, "..."]:
        below = xp.minimum(log_z, math.log(cut))
        if loss.kind == "reciprocal_rank":
            return reciprocal_rank_loss(xp.minimum(log_z - log_M, 0.0), log_M)
        if two_valued:
            return miss_loss(below, log_M, K)
        return expected_value(below, log_M, _DISCOUNTED, absent=1)

    def integral(log_z: Float[Any, "..."]) -> Float[Any, "..."]:
        if two_valued:
            return miss_integral(log_z, log_M, K)
        losses = _RECIPROCAL if loss.kind == "reciprocal_rank" else _DISCOUNTED
        return expected_value(log_z, log_M, _cumulative(losses), absent=0)

    tied = log_e > -xp.inf
    if on_numpy(tied) and not tied.any():
        return _without_ties(at, loss, log_a + log_M, log_M, cut)
    # So rare that the loss is linear in p, or underflows: its mean is its value at the midpoint.
    rare = tied & (log_M + xp.maximum(log_a, log_e) < _RARE)
    middle = xp.logaddexp(log_a, xp.where(rare, log_e, 0.0) - LN2)
    safe_log_e = xp.where(tied & ~rare, log_e, -1.0)
    z_a = xp.exp(log_M + log_a)
    z_e = xp.exp(log_M + safe_log_e)
    inside = xp.clip(cut - z_a, 0.0, z_e)  # length of (z_a, z_a + z_e) below the cut
    start = xp.minimum(z_a, cut)
    # The miss loss is a power of z far below K; other losses change as z and 1/z do.
    length = start / (math.sqrt(K) + xp.maximum(K - start, 0.0)) if two_valued else start / 2
    mean_inside = _mean_among_ties(start, inside, length, at, integral)
    share_inside = xp.where(inside >= z_e, 1.0, inside * xp.exp(-log_M - safe_log_e))
    share_inside = xp.where(z_a >= cut, 0.0, share_inside)
    # Beyond the cut: from where on, and how far. Few ties beside the winners cancel nothing.
    log_z_a = log_M + log_a
    log_begin = xp.maximum(log_z_a, math.log(cut))
    many = log_z_a >= math.log(cut)
    log_end = log_M + xp.logaddexp(xp.where(many, -1.0, log_a), safe_log_e)
    few = xp.where(many, safe_log_e - log_a, -1.0)
    log_ratio = xp.where(many, xp.logaddexp(0.0, few), xp.maximum(log_end - log_begin, 0.0))
    log_ratio = xp.where(tied & ~rare, log_ratio, 0.0)
    mean_beyond = 1 - _mean_gain_beyond(loss, log_begin, log_ratio, log_M)
    averaged = share_inside * mean_inside + (1 - share_inside) * mean_beyond
    alone = xp.where(many, mean_beyond, at(xp.where(rare, middle, log_a) + log_M))
    return xp.where(tied & ~rare, averaged, alone)


def _without_ties(
    at: Callable[[Any], Any], loss: RankLoss, log_z: Any, log_M: Any, cut: float
) -> Float[Any, "..."]:
    """The loss at one z each, on the host: those beyond the cut and those below it apart."""
    log_z, log_M = np.broadcast_arrays(log_z, log_M)
    many = log_z >= math.log(cut)
    found = np.array(at(np.where(many, -np.inf, log_z)))
    if many.any():
        found[many] = 1 - _mean_gain_beyond(loss, log_z[many], np.zeros(1), log_M[many])
    return found


def _mean_gain_beyond(
    loss: RankLoss,
    log_begin: Float[Any, "..."],
    log_ratio: Float[Any, "..."],
    log_M: Float[Any, "..."],
) -> Float[Any, "..."]:
    """One less the mean loss over z from a begin beyond the cut to the begin times a ratio."""
    xp = namespace_of(log_begin, log_M)
    if loss.is_two_valued:
        return xp.zeros(())
    if loss.kind == "dcg":
        return mean_gain(log_begin, log_ratio, log_M)
    # The mean of 1/z: a difference of logarithms over that of the ends.
    short = log_ratio < 1e-8
    x = xp.where(short, 1.0, xp.minimum(log_ratio, -_RARE))
    return xp.exp(-log_begin) * xp.where(short, 1 - log_ratio / 2, x / xp.expm1(x))
