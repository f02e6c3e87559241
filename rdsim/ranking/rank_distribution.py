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
- DCG: $1/\log_2(1+r) = \int (1-\tau)^{r-1} m(\tau) d\tau$, so the loss is the error of a database
  thinned to a fraction $\tau$ of its items, averaged over $\tau$.
"""

import functools
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
from rdsim.information import LN2, at_most_one
from rdsim.number_types import ArrayLike
from rdsim.ranking.loss import Loss, RankLoss, log_database_size, parse_loss
from rdsim.transformations import M_IS_AN_INTEGER, not_differentiable

_CERTAIN: Final = 45.0
"""M p from which on some competitor wins to all digits: (1-p)^M <= e^(-Mp) < 3e-20."""
_RARE: Final = -600.0  # ln(M p) below which the powers of M p in the series underflow float64
_UNROLLED: Final = 8  # terms of a sum that are one pass over the targets
_NOBODY: Final = (
    1e-12  # fraction of competitors left below which there are none: more is at least 1/n
)
_HALVED: Final = 56  # terms, each at most half the one before, that leave less than a rounding
_NARROW: Final = 0.125  # of the length over which a loss changes; see `_mean_among_ties`
_TRACED_REACH: Final = 1024
"""Largest log2 M of the DCG loss where the size is traced, so that its value is not known."""


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
        The thinning form of the DCG loss: Bernstein's theorem, 1/log2(1+r) being completely
        monotone in r. For ties: McSherry and Najork (2008), ECIR.

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
    return expected_loss_kernel(log_a, log_e, size, parsed, reach_of(size))


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


def reach_of(log2_size: Float[Array, "..."]) -> int:
    """Return a power of two that bounds log2 M, the only static information about the sizes.

    The DCG loss needs more nodes for larger databases; few powers of two mean few compilations.
    """
    if validation.is_traced(log2_size):
        return _TRACED_REACH
    return 1 << max(math.ceil(math.log2(float(jnp.max(log2_size)) + 1e-9)), 3)


@partial(jax.jit, static_argnames=("loss", "reach"))
def expected_loss_kernel(
    log_a: Float[Array, "..."],
    log_e: Float[Array, "..."],
    log2_size: Float[Array, "..."],
    loss: RankLoss,
    reach: int,
) -> Float[Array, "..."]:
    """Compute `expected_loss` without validation, for use inside other compiled functions."""
    log_M = log_database_size(log2_size)
    if loss == RankLoss("miss", 1):
        return at_most_one(_error_probability(log_a, log_e, log_M))
    if loss.kind == "dcg":
        log_a, log_e, log_M = jnp.broadcast_arrays(log_a, log_e, log_M)
        return at_most_one(_thinned_error(log_a, log_e, log_M, reach))
    # ln M keeps its shape: what depends on M alone is then computed once for all targets.
    log_a, log_e = jnp.broadcast_arrays(log_a, log_e)
    return at_most_one(_average_over_ties(log_a, log_e, log_M, loss))


def weighted_loss(
    weight: Float[Array, "..."],
    log_a: Float[Array, "..."],
    log_e: Float[Array, "..."] | float,
    log2_size: Float[Array, "..."],
    loss: RankLoss,
    reach: int,
) -> Float[Array, "..."]:
    """Sum the expected loss of many targets, each with its weight, one database size at a time."""

    def one_size(size: Float[Array, ""]) -> Float[Array, ""]:
        return jnp.sum(weight * expected_loss_kernel(log_a, log_e, size, loss, reach))

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


def _sum_by_ratios(
    terms: int,
    weight: Callable[[Array], Array],
    ratio: Callable[[Array], Array],
    shape: tuple[int, ...],
) -> Float[Array, "..."]:
    r"""$\sum_i w_i \prod_{k < i} r_k$ over at least so many terms by Horner's rule, without exponentials.

    Blocks of terms are unrolled: each is one pass over the targets, in which the sum stays in registers.
    """
    blocks = -(-terms // _UNROLLED)

    def add(step: Array, total: Array) -> Array:
        for k in reversed(range(_UNROLLED)):
            i = (blocks - 1 - step) * _UNROLLED + k
            total = weight(i) + ratio(i) * total
        return total

    found: Array = jax.lax.fori_loop(0, blocks, add, jnp.zeros(shape))
    return found


def _binomial(
    log_z: Float[Array, "..."], log_M: Float[Array, "..."], absent: int
) -> tuple[Array, Array, Callable[[int], Array]]:
    r"""$n p / (1-p)$, $1/n$, and the function $j \mapsto P[B = j]$ of $B \sim \mathrm{Binomial}(n, p)$.

    n is M less the absent items, and p = z/M. Nothing cancels where M is huge: with $\sigma = -\ln(1-p)$,
    $\ln P(j) = j (\ln np + \sigma) - n\sigma - \ln j! + \sum_{i<j} \ln(1 - i/n)$, and $n\sigma$ is $np$
    times $\sigma/p$, which is one up to rounding for small p.
    """
    log_share = jnp.log1p(-absent * jnp.exp(-log_M))  # ln(n/M)
    inverse = jnp.exp(-log_M - log_share)
    # A p that rounds to one is taken for the largest number below it.
    p = jnp.minimum(jnp.exp(jnp.minimum(log_z - log_M, 0.0)), 1 - 2.0**-53)
    surprise = -jnp.log1p(-p)
    stretch = jnp.where(p > 1e-20, surprise / jnp.where(p > 1e-20, p, 1.0), 1.0)
    log_np = log_z + log_share
    none = jnp.exp(log_np) * stretch

    def term(j: int) -> Array:
        left = 1 - jnp.arange(j) * inverse[..., None]
        log_left = jnp.where(
            left > _NOBODY, jnp.log(jnp.where(left > _NOBODY, left, 1.0)), -jnp.inf
        )
        powers = j * (log_np + surprise) if j > 0 else 0.0
        return jnp.exp(powers - none - math.lgamma(j + 1) + jnp.sum(log_left, axis=-1))

    return jnp.exp(log_np + surprise), inverse, term


def _terms_beyond(K: int) -> int:
    """Terms of an upper tail beyond K, the mean being at most K, until less than a rounding is left."""
    return math.ceil(9 * math.sqrt(K)) + 25


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def miss_loss(
    log_z: Float[Array, "..."], log_M: Float[Array, "..."], cutoff: int
) -> Float[Array, "..."]:
    r"""$P[\mathrm{Binomial}(M-1, z/M) \ge K]$, by whichever of its two sums has no cancellation.

    Where fewer than K winners are expected the tail from K on is summed, else those below K are taken
    from one. The terms follow from one another by their ratio. The derivative in $\ln z$ is $K P(K)$.
    """
    K = cutoff
    scale, inverse, term = _binomial(log_z, log_M, absent=1)
    one = jnp.ones(())
    upper = _sum_by_ratios(
        _terms_beyond(K), lambda _: one, _upwards(K, scale, inverse), scale.shape
    )
    lower = _sum_by_ratios(K, lambda _: one, _downwards(K, scale, inverse), scale.shape)
    few = log_z < math.log(K)
    found = jnp.where(few, term(K) * upper, 1 - term(K - 1) * lower)
    return jnp.where(_possible(log_M, K), found, 0.0)


@miss_loss.defjvp
def _miss_loss_jvp(
    cutoff: int, primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    _, _, term = _binomial(*primals, absent=1)
    return miss_loss(*primals, cutoff), cutoff * term(cutoff) * tangents[0]


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _miss_integral(
    log_z: Float[Array, "..."], log_M: Float[Array, "..."], cutoff: int
) -> Float[Array, "..."]:
    r"""$\int_0^z$ of `miss_loss`: $E\,(B - K)^+$ with $B \sim \mathrm{Binomial}(M, z/M)$.

    For $\int_0^x P[\mathrm{Binomial}(M-1, p) = j] \, dp = P[\mathrm{Binomial}(M, x) > j] / M$. From a mean of K
    on it is $z - K + E\,(K - B)^+$.
    """
    K = cutoff
    scale, inverse, term = _binomial(log_z, log_M, absent=0)

    def weight(i: Array) -> Array:
        return i + 1.0

    upper = _sum_by_ratios(_terms_beyond(K), weight, _upwards(K + 1, scale, inverse), scale.shape)
    lower = _sum_by_ratios(K, weight, _downwards(K, scale, inverse), scale.shape)
    few = log_z < math.log(K)
    found = jnp.where(few, term(K + 1) * upper, jnp.exp(log_z) - K + term(K - 1) * lower)
    return jnp.where(_possible(log_M, K), found, 0.0)


@_miss_integral.defjvp
def _miss_integral_jvp(
    cutoff: int, primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    slope = jnp.exp(primals[0]) * miss_loss(*primals, cutoff)
    return _miss_integral(*primals, cutoff), slope * tangents[0]


def _upwards(first: int, scale: Array, inverse: Array) -> Callable[[Array], Array]:
    """Ratios P(j+1) / P(j) from a first j upwards; zero from j = n on."""

    def ratio(i: Array) -> Array:
        left = 1 - (first + i) * inverse
        return scale * (jnp.where(left > _NOBODY, left, 0.0) / (first + i + 1.0))

    return ratio


def _downwards(K: int, scale: Array, inverse: Array) -> Callable[[Array], Array]:
    """Ratios P(j-1) / P(j) from j = K-1 downwards; zero from j = 0 on."""
    odds = 1 / jnp.where(scale > 0, scale, 1.0)

    def ratio(i: Array) -> Array:
        j = jnp.maximum(K - 1.0 - i, 0.0)
        return odds * (j / jnp.maximum(1 - (j - 1) * inverse, inverse))

    return ratio


def _possible(log_M: Float[Array, "..."], K: int) -> Array:
    """Whether a database of M items has K competitors."""
    return jnp.exp(jnp.minimum(log_M, 50.0)) > K + 0.5


def _reciprocal_rank_integral(
    log_z: Float[Array, "..."], log_M: Float[Array, "..."]
) -> Float[Array, "..."]:
    r"""$\int_0^z$ of `reciprocal_rank_loss`: $E\,(B - H_B)$ with $B \sim \mathrm{Binomial}(M, z/M)$, z < 45.

    $H_b = \sum_{r \le b} 1/r$. For every rank loss the integral of $E\,\rho(1 + B')$, $B' \sim
    \mathrm{Binomial}(M-1, z/M)$, is the expectation of the cumulative loss: $\frac{d}{dp} E\,S(B) =
    M\,E\,[S(B'+1) - S(B')]$ with $S(b) = \sum_{r \le b} \rho(r)$. No term is negative.
    """
    terms = math.ceil(_CERTAIN) + _terms_beyond(math.ceil(_CERTAIN))
    ranks = np.arange(1, terms + _UNROLLED + 2)
    cumulative = jnp.asarray(np.cumsum(1 - 1 / ranks)[1:])  # S from b = 2 on; S(0) = S(1) = 0
    # Where p > 1/2, which leaves M < 90, the ratios of the terms would overflow. There
    # E H_B = H_M - sum (1-p)^j / j over j <= M, whose terms halve.
    log_p = log_z - log_M
    likely = log_p > -LN2
    scale, inverse, term = _binomial(jnp.where(likely, log_M - LN2, log_z), log_M, absent=0)
    upwards = term(2) * _sum_by_ratios(
        terms, lambda i: cumulative[i], _upwards(2, scale, inverse), jnp.shape(scale)
    )
    M = jnp.exp(jnp.minimum(log_M, math.log(100.0)))
    missed = -jnp.expm1(jnp.minimum(jnp.where(likely, log_p, 0.0), 0.0))
    total = _sum_by_ratios(
        _HALVED,
        lambda i: jnp.where(i + 1 < M + 0.5, 1 / (i + 1.0), 0.0),
        lambda _: missed,
        jnp.shape(missed),
    )
    harmonic = jax.scipy.special.digamma(M + 1) + np.euler_gamma
    downwards = jnp.exp(jnp.where(likely, log_z, 0.0)) - harmonic + missed * total
    return jnp.where(likely, downwards, upwards)


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

    Beyond a cut in z the expected number of winners is so large that a two-valued loss is one and the
    reciprocal rank is $1/z$, whose integral is a logarithm. Three cases leave the mean: no ties,
    ties and winners so rare that the loss is linear, and ties few beside the winners.
    """
    K = loss.cutoff
    reciprocal = loss.kind == "reciprocal_rank"
    cut = _CERTAIN if reciprocal else K + 12 * math.sqrt(K) + 50

    def at(log_z: Float[Array, "..."]) -> Float[Array, "..."]:
        if reciprocal:
            return reciprocal_rank_loss(jnp.minimum(log_z - log_M, 0.0), log_M)
        return miss_loss(jnp.minimum(log_z, math.log(cut)), log_M, K)

    def integral(log_z: Float[Array, "..."]) -> Float[Array, "..."]:
        if reciprocal:
            return _reciprocal_rank_integral(log_z, log_M)
        return _miss_integral(log_z, log_M, K)

    tied = log_e > -jnp.inf
    # So rare that the loss is linear in p, or underflows: its mean is its value at the midpoint.
    rare = tied & (log_M + jnp.maximum(log_a, log_e) < _RARE)
    middle = jnp.logaddexp(log_a, jnp.where(rare, log_e, 0.0) - LN2)
    safe_log_e = jnp.where(tied & ~rare, log_e, -1.0)
    z_a = jnp.exp(log_M + log_a)
    z_e = jnp.exp(log_M + safe_log_e)
    inside = jnp.clip(cut - z_a, 0.0, z_e)  # length of (z_a, z_a + z_e) below the cut
    start = jnp.minimum(z_a, cut)
    # The miss loss is a power of z far below K; the reciprocal rank changes as z and 1/z do.
    length = start / 2 if reciprocal else start / (math.sqrt(K) + jnp.maximum(K - start, 0.0))
    mean_inside = _mean_among_ties(start, inside, length, at, integral)
    fraction_inside = jnp.where(inside >= z_e, 1.0, inside * jnp.exp(-log_M - safe_log_e))
    beyond = 1 - fraction_inside
    if reciprocal:
        log_end = log_M + jnp.minimum(jnp.logaddexp(log_a, safe_log_e), 0.0)
        log_begin = jnp.maximum(log_M + log_a, math.log(cut))
        log_ratio = jnp.maximum(log_end - log_begin, 0.0)
        beyond = beyond - jnp.where(inside < z_e, log_ratio * jnp.exp(-log_M - safe_log_e), 0.0)
    averaged = fraction_inside * mean_inside + beyond
    # Few ties far beyond the cut: the difference of logarithms would cancel, and the loss is flat.
    flat = tied & (inside <= 0) & (safe_log_e < log_a - 20)
    return jnp.where(tied & ~flat & ~rare, averaged, at(jnp.where(rare, middle, log_a) + log_M))


def log_probability(p: Float[Array, "..."]) -> Float[Array, "..."]:
    """Natural logarithm of a probability summed from others, -inf at zero, with no derivative there."""
    possible = p > 0
    log = jnp.log(jnp.minimum(jnp.where(possible, p, 1.0), 1.0))
    return jnp.where(possible, log, -jnp.inf)


@functools.cache
def _dcg_mixture(reach: int) -> tuple[np.ndarray, np.ndarray]:
    r"""Nodes $\ln\tau$ and weights of $1/\log_2(1+r) = \int (1-\tau)^{r-1} m(\tau) d\tau$.

    From $1/\ln(1+r) = \int_0^\infty (1+r)^{-s} ds$ and Euler's integral for each power, with
    $\tau = 1 - e^{-x}$: the density in $\ln x$ is $\ln 2 \; e^{-2x} \int_0^\infty x^s/\Gamma(s) ds$.
    Both integrals are trapezoidal sums of functions analytic in a strip, so they converge faster
    than any power of the step. A thinned database of fewer than $e^{-40}$ expected items has no loss.
    """
    step, inner_step = 0.2, 0.02
    log_x = np.arange(-(reach * LN2 + 40.0), math.log(60.0), step)
    log_s = np.arange(-20.0, 5.6, inner_step)
    s = np.exp(log_s)
    log_integrand = -scipy.special.gammaln(s) + log_s
    inner = np.array([np.exp(s * x + log_integrand).sum() for x in log_x]) * inner_step
    x = np.exp(log_x)
    weights = step * LN2 * np.exp(-2 * x) * inner
    tau = np.where(x > 1e-300, -np.expm1(-np.maximum(x, 1e-300)), 1.0)
    return np.where(x > 1e-300, np.log(tau), log_x), weights


def _thinned_error(
    log_a: Float[Array, "..."], log_e: Float[Array, "..."], log_M: Float[Array, "..."], reach: int
) -> Float[Array, "..."]:
    """DCG loss: the error of a database thinned to a fraction tau, averaged over tau."""
    nodes, mixture = _dcg_mixture(reach)
    log_tau, weights = jnp.asarray(nodes), jnp.asarray(mixture)

    def add(i: Array, total: Array) -> Array:
        return total + weights[i] * _error_probability(
            log_a + log_tau[i], log_e + log_tau[i], log_M
        )

    return jax.lax.fori_loop(0, len(weights), add, jnp.zeros_like(log_a))
