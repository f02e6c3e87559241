r"""The distribution of the target's rank (C1): exact for every database size, with no database in memory.

Given the target's score, let a be the probability that one competitor scores strictly higher and e that
it ties. With a uniform tie-break V the rank is $1 + \mathrm{Binomial}(M-1, a + V e)$, so every loss
of the rank has a closed form or a one-dimensional integral, in the log domain, from M = 2 on:

- error: $1 - (1-a)^{M-1}(1 - \ell(y))$ with $\ell$ the reciprocal-rank loss among the ties alone,
  $y = e/(1-a)$: the target must beat all strict winners and then win the draw among the tied;
- reciprocal rank: $\ell(p) = 1 - \frac{1-(1-p)^M}{Mp}$, whose average is $(E\,S(B_{a+e}) - E\,S(B_a)) / Me$ with
  $S(b) = b - \sum_{r \le b} 1/r$;
- miss at K: a binomial tail, whose average is $(E (B_{a+e} - K)^+ - E (B_a - K)^+) / Me$ with
  $B_p \sim \mathrm{Binomial}(M, p)$;
- DCG, $\rho(r) = 1 - 1/\log_2(1+r)$: in the same way by $S(b) = \sum_{r \le b} \rho(r)$, summed term by term
  where few winners are expected, and from a table where many are.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.information import LN2, at_most_one, log_from_zero
from rdsim.number_types import ArrayLike
from rdsim.ranking.expectations.binomial_sums import (
    CERTAIN,
    RANKS,
    expected_value,
    miss_integral,
    miss_loss,
)
from rdsim.ranking.expectations.discounted_gain import mean_gain
from rdsim.ranking.loss import Loss, RankLoss, log_database_size, parse_loss
from rdsim.transformations import M_IS_AN_INTEGER, not_differentiable

_RARE: Final = -600.0  # ln(M p) below which the powers of M p in the series underflow float64
_NARROW: Final = 0.125  # of the length over which a loss changes; see `_mean_among_ties`


@not_differentiable(log2_size=M_IS_AN_INTEGER)
@validation.needs_float64
def expected_loss(
    log2_size: ArrayLike, loss: Loss, *, log_a: ArrayLike, log_e: ArrayLike
) -> Float[Array, "..."]:
    r"""Compute the expected rank loss of a target in a database of M items (C1).

    $$E\,\rho(1 + B), \quad B \sim \mathrm{Binomial}(M-1, a + V e), \quad V \sim U(0,1).$$

    Args:
        log2_size: log2 M, at least 1; M is the nearest integer up to 2^52.
        loss: the rank loss, a `Loss`.
        log_a: natural log of a, the probability that a competitor wins strictly; -inf for none.
        log_e: natural log of e, the probability that a competitor ties; -inf for none; a + e <= 1.

    Returns:
        Loss in [0, 1], float64, the broadcast shape of the first three arguments; small losses
        keep their relative accuracy.

    References:
        For ties: McSherry and Najork (2008), ECIR.

    """
    parsed = parse_loss(loss)
    log_a = validation.interval("log_a", log_a, high=1e-12)
    log_e = validation.interval("log_e", log_e, high=1e-12)
    size = validation.log2_size(log2_size)
    if not validation.is_traced(log_a, log_e):
        total = _largest_sum(np.asarray(log_a), np.asarray(log_e))
        if total > 1 + 1e-9:
            raise ValueError(
                "log_a and log_e must be logs of probabilities with a + e <= 1, "
                f"got a + e = {total!r}"
            )
    return expected_loss_kernel(log_a, log_e, size, parsed)


def gain_without_ties(
    log2_size: float, loss: RankLoss, log_a: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "..."]:
    """Compute one less the expected loss where nothing ties, to rounding, on the host: nothing is compiled."""
    log_M = float(np.log(np.round(np.exp2(log2_size)))) if log2_size <= 52 else log2_size * LN2
    if loss.kind == "dcg":
        return np.asarray(1 - expected_loss(log2_size, "dcg", log_a=log_a, log_e=-np.inf))
    if loss.kind == "reciprocal_rank":
        # (1 - (1-a)^M) / (Ma), which is one to the last digit where Ma is below 1e-20.
        log_a = np.maximum(log_a, -log_M - 46)
        surprise = -np.log1p(-np.exp(np.clip(log_a, -37.0, -1e-15)))
        log_surprise = np.where(log_a < -37, log_a, np.log(surprise))
        none = np.exp(np.minimum(log_M + log_surprise, 700.0))
        return np.asarray(-np.expm1(-none) * np.exp(-log_M - log_a))
    if log2_size < 52:
        others, K = round(math.exp(log_M)) - 1, loss.cutoff
        if others < K:
            return np.ones_like(log_a)
        return np.asarray(scipy.special.betaincc(float(K), float(others - K + 1), np.exp(log_a)))
    expected = np.exp(np.minimum(log_M + log_a, 700.0))
    return np.asarray(scipy.special.gammaincc(float(loss.cutoff), expected))


def _largest_sum(log_a: np.ndarray, log_e: np.ndarray) -> float:
    """Find the largest a + e; where both are below 1/2 it is at most one, and needs no exponentials."""
    if max(log_a.max(initial=-np.inf), log_e.max(initial=-np.inf)) < -LN2:
        return 1.0
    return float(np.max(np.exp(log_a) + np.exp(log_e), initial=0.0))


@partial(jax.jit, static_argnames="loss")
def expected_loss_kernel(
    log_a: Float[Array, "..."],
    log_e: Float[Array, "..."],
    log2_size: Float[Array, "..."],
    loss: RankLoss,
) -> Float[Array, "..."]:
    """Compute `expected_loss` without validation, for use inside other compiled functions."""
    log_M = log_database_size(log2_size)
    if loss == RankLoss("miss", 1):
        return at_most_one(_error_probability(log_a, log_e, log_M))
    # ln M keeps its shape: what depends on M alone is then computed once for all targets.
    log_a, log_e = jnp.broadcast_arrays(log_a, log_e)
    return at_most_one(_average_over_ties(log_a, log_e, log_M, loss))


def weighted_loss(
    weight: Float[Array, "..."],
    log_a: Float[Array, "..."],
    log_e: Float[Array, "..."] | float,
    log2_size: Float[Array, "..."],
    loss: RankLoss,
) -> Float[Array, "..."]:
    """Sum the expected loss of many targets, each with its weight, one database size at a time."""

    def one_size(size: Float[Array, ""]) -> Float[Array, ""]:
        return jnp.sum(weight * expected_loss_kernel(log_a, log_e, size, loss))

    return jax.lax.map(one_size, log2_size.ravel()).reshape(log2_size.shape)


def _neg_log1m(log_p: Float[Array, "..."]) -> tuple[Array, Array]:
    """-ln(1-p) and its logarithm from ln p; +inf at p = 1."""
    p = jnp.exp(jnp.minimum(log_p, 0.0))
    value = jnp.where(p < 1, -jnp.log1p(-jnp.where(p < 1, p, 0.5)), jnp.inf)
    small = log_p < -37.0  # there -ln(1-p) is p to the last bit, and may underflow
    return value, jnp.where(small, log_p, jnp.log(jnp.where(small, 1.0, value)))


def _series(x: Float[Array, "..."], coefficients: np.ndarray) -> Float[Array, "..."]:
    r"""$\sum_{k \ge 1} c_k x^k$ by Horner's rule."""
    total = jnp.zeros_like(x)
    for coefficient in coefficients[::-1]:
        total = (total + coefficient) * x
    return total


_EXPONENTIAL: Final = np.array([(-1.0) ** (k + 1) / math.factorial(k + 1) for k in range(1, 19)])
_LOGARITHM: Final = np.array([1.0 / (k + 1) for k in range(1, 30)])


def reciprocal_rank_loss(
    log_p: Float[Array, "..."], log_M: Float[Array, "..."]
) -> Float[Array, "..."]:
    r"""$1 - \frac{1-(1-p)^M}{Mp}$, with relative accuracy as $Mp \to 0$.

    With $x = -M \ln(1-p)$ it is $1 - \varphi(x) \chi(p)$, $\varphi(x) = (1-e^{-x})/x$ and
    $\chi(p) = -\ln(1-p)/p$, both one at zero.
    """
    x = jnp.exp(log_M + _neg_log1m(log_p)[1])
    small = x < 0.5
    p = jnp.where(small, jnp.exp(log_p), 0.0)
    below_phi = _series(jnp.where(small, x, 0.0), _EXPONENTIAL)
    near = below_phi - (1 - below_phi) * _series(p, _LOGARITHM)
    log_Mp = jnp.where(small, 0.0, log_M + jnp.minimum(log_p, 0.0))
    far = 1 + jnp.expm1(-x) * jnp.exp(-log_Mp)
    return jnp.where(small, near, far)


def _error_probability(
    log_a: Float[Array, "..."], log_e: Float[Array, "..."], log_M: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Probability that the target is not first."""
    log_others = log_M + jnp.log1p(-jnp.exp(-log_M))
    # -ln(1-a), the negative log-probability that one competitor does not score strictly higher.
    surprise, log_surprise = _neg_log1m(log_a)
    beaten = -jnp.expm1(-jnp.exp(log_others + log_surprise))
    # Given that nobody scores higher, a competitor ties with probability e / (1-a).
    log_tied = log_e + jnp.where(jnp.isfinite(surprise), surprise, 0.0)
    lost_draw = reciprocal_rank_loss(jnp.minimum(log_tied, 0.0), log_M)
    return beaten + (1 - beaten) * lost_draw


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
    start: Float[Array, "..."],
    inside: Float[Array, "..."],
    length: Float[Array, "..."],
    loss: Callable[[Array], Array],
    integral: Callable[[Array], Array],
) -> Float[Array, "..."]:
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
    narrow = inside < _NARROW * length
    positive = jnp.where(inside > 0, inside, 1.0)
    begin, wide = jnp.where(narrow, 1.0, start), jnp.where(narrow, 1.0, positive)
    # Both ends, and all nodes, are one call each: fewer programs to compile.
    ends = jnp.stack([begin, begin + wide])
    values = jnp.where(ends > 0, integral(jnp.log(jnp.where(ends > 0, ends, 1.0))), 0.0)
    by_difference = (values[1] - values[0]) / wide
    nodes, weights = scipy.special.roots_legendre(4)
    begin, short = jnp.where(narrow, start, 1.0), jnp.where(narrow, inside, 0.0)
    places = jnp.stack([begin + 0.5 * (1 + node) * short for node in nodes])
    by_nodes = jnp.tensordot(0.5 * weights, loss(jnp.log(places)), axes=1)
    return jnp.where(narrow, by_nodes, by_difference)


def _average_over_ties(
    log_a: Float[Array, "..."],
    log_e: Float[Array, "..."],
    log_M: Float[Array, "..."],
    loss: RankLoss,
) -> Float[Array, "..."]:
    r"""Average the loss over z = Mp in (Ma, Ma + Me).

    Beyond a cut in z the expected number of winners is so large that a two-valued loss is one, the
    reciprocal rank is $1/z$, whose integral is a logarithm, and the discounted gain is tabulated. Two
    cases leave the mean: no ties, and ties and winners so rare that the loss is linear.
    """
    K = loss.cutoff
    two_valued = loss.is_two_valued
    cut = K + 12 * math.sqrt(K) + 50 if two_valued else CERTAIN

    def at(log_z: Float[Array, "..."]) -> Float[Array, "..."]:
        below = jnp.minimum(log_z, math.log(cut))
        if loss.kind == "reciprocal_rank":
            return reciprocal_rank_loss(jnp.minimum(log_z - log_M, 0.0), log_M)
        if two_valued:
            return miss_loss(below, log_M, K)
        return expected_value(below, log_M, _DISCOUNTED, absent=1)

    def integral(log_z: Float[Array, "..."]) -> Float[Array, "..."]:
        if two_valued:
            return miss_integral(log_z, log_M, K)
        losses = _RECIPROCAL if loss.kind == "reciprocal_rank" else _DISCOUNTED
        return expected_value(log_z, log_M, _cumulative(losses), absent=0)

    tied = log_e > -jnp.inf
    # So rare that the loss is linear in p, or underflows: its mean is its value at the midpoint.
    rare = tied & (log_M + jnp.maximum(log_a, log_e) < _RARE)
    middle = jnp.logaddexp(log_a, jnp.where(rare, log_e, 0.0) - LN2)
    safe_log_e = jnp.where(tied & ~rare, log_e, -1.0)
    z_a = jnp.exp(log_M + log_a)
    z_e = jnp.exp(log_M + safe_log_e)
    inside = jnp.clip(cut - z_a, 0.0, z_e)  # length of (z_a, z_a + z_e) below the cut
    start = jnp.minimum(z_a, cut)
    # The miss loss is a power of z far below K; other losses change as z and 1/z do.
    length = start / (math.sqrt(K) + jnp.maximum(K - start, 0.0)) if two_valued else start / 2
    mean_inside = _mean_among_ties(start, inside, length, at, integral)
    share_inside = jnp.where(inside >= z_e, 1.0, inside * jnp.exp(-log_M - safe_log_e))
    share_inside = jnp.where(z_a >= cut, 0.0, share_inside)
    # Beyond the cut: from where on, and how far. Few ties beside the winners cancel nothing.
    log_z_a = log_M + log_a
    log_begin = jnp.maximum(log_z_a, math.log(cut))
    many = log_z_a >= math.log(cut)
    log_end = log_M + jnp.logaddexp(jnp.where(many, -1.0, log_a), safe_log_e)
    few = jnp.where(many, safe_log_e - log_a, -1.0)
    log_ratio = jnp.where(many, jnp.logaddexp(0.0, few), jnp.maximum(log_end - log_begin, 0.0))
    log_ratio = jnp.where(tied & ~rare, log_ratio, 0.0)
    mean_beyond = 1 - _mean_gain_beyond(loss, log_begin, log_ratio, log_M)
    averaged = share_inside * mean_inside + (1 - share_inside) * mean_beyond
    alone = jnp.where(many, mean_beyond, at(jnp.where(rare, middle, log_a) + log_M))
    return jnp.where(tied & ~rare, averaged, alone)


def _mean_gain_beyond(
    loss: RankLoss,
    log_begin: Float[Array, "..."],
    log_ratio: Float[Array, "..."],
    log_M: Float[Array, "..."],
) -> Float[Array, "..."]:
    """One less the mean loss over z from a begin beyond the cut to the begin times a ratio."""
    if loss.is_two_valued:
        return jnp.zeros(())
    if loss.kind == "dcg":
        return mean_gain(log_begin, log_ratio, log_M)
    # The mean of 1/z: a difference of logarithms over that of the ends.
    short = log_ratio < 1e-8
    x = jnp.where(short, 1.0, jnp.minimum(log_ratio, -_RARE))
    return jnp.exp(-log_begin) * jnp.where(short, 1 - log_ratio / 2, x / jnp.expm1(x))


def log_probability(p: Float[Array, "..."]) -> Float[Array, "..."]:
    """Natural logarithm of a probability summed from others, -inf at zero, with no derivative there."""
    return log_from_zero(jnp.minimum(p, 1.0))
