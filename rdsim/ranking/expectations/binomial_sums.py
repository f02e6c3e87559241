r"""Expectations over a binomial number of winners: sums of its terms, each from the one before.

$B \sim \mathrm{Binomial}(n, z/M)$ with n = M or M - 1, given ln z and ln M, so that M may be huge.

This, and `ties` and `discounted_gain` above it, compute in NumPy what they are given as arrays of NumPy: a few hundred
numbers are then there before a program for them would be compiled.
"""

import math
from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from rdsim.information import LN2
from rdsim.namespaces import fori_loop, namespace_of, on_numpy

CERTAIN: Final = 45.0
"""M p from which on some competitor wins to all digits: (1-p)^M <= e^(-Mp) < 3e-20."""
_UNROLLED: Final = 4  # terms of a sum that are one pass over the targets
_NOBODY: Final = 1e-12
"""Fraction of competitors left below which there are none: if there are some, it is at least 1/n."""


def _sum_by_ratios(
    terms: int,
    weight: Callable[[Any], Any],
    ratio: Callable[[Any], Any],
    zero: Float[Any, "..."],
) -> Float[Any, "..."]:
    r"""$\sum_i w_i \prod_{k < i} r_k$ over at least so many terms by Horner's rule, without exponentials.

    Blocks of terms are unrolled: each is one pass over the targets, in which the sum stays in registers.
    """
    blocks = -(-terms // _UNROLLED)

    def add(step: Any, total: Any) -> Any:
        for k in reversed(range(_UNROLLED)):
            i = (blocks - 1 - step) * _UNROLLED + k
            total = weight(i) + ratio(i) * total
        return total

    return fori_loop(blocks, add, zero)


def _binomial(
    log_z: Float[Any, "..."], log_M: Float[Any, "..."], absent: int
) -> tuple[Any, Any, Callable[[int], Any]]:
    r"""$n p / (1-p)$, $1/n$, and the function $j \mapsto P[B = j]$ of $B \sim \mathrm{Binomial}(n, p)$.

    n is M less the absent items, and p = z/M. Nothing cancels where M is huge: with $\sigma = -\ln(1-p)$,
    $\ln P(j) = j (\ln np + \sigma) - n\sigma - \ln j! + \sum_{i<j} \ln(1 - i/n)$, and $n\sigma$ is $np$
    times $\sigma/p$, which is one up to rounding for small p.
    """
    xp = namespace_of(log_z, log_M)
    log_share = xp.log1p(-absent * xp.exp(-log_M))  # ln(n/M)
    inverse = xp.exp(-log_M - log_share)
    # A p that rounds to one is taken for the largest number below it.
    p = xp.minimum(xp.exp(xp.minimum(log_z - log_M, 0.0)), 1 - 2.0**-53)
    surprise = -xp.log1p(-p)
    stretch = xp.where(p > 1e-20, surprise / xp.where(p > 1e-20, p, 1.0), 1.0)
    log_np = log_z + log_share
    none = xp.exp(log_np) * stretch

    def term(j: int) -> Any:
        # The falling factorial n (n-1) ... (n-j+1) is n^j times these factors; one that is zero up to rounding is
        # that of a competitor who does not exist.
        left = 1 - xp.arange(j) * inverse[..., None]
        log_left = xp.where(left > _NOBODY, xp.log(xp.where(left > _NOBODY, left, 1.0)), -xp.inf)
        powers = j * (log_np + surprise) if j > 0 else 0.0
        return xp.exp(powers - none - math.lgamma(j + 1) + xp.sum(log_left, axis=-1))

    return xp.exp(log_np + surprise), inverse, term


def _terms_beyond(K: int) -> int:
    """Terms of an upper tail beyond K, the mean being at most K, until less than a rounding is left."""
    return math.ceil(9 * math.sqrt(K)) + 25


_TERMS: Final = math.ceil(CERTAIN) + _terms_beyond(math.ceil(CERTAIN))
RANKS: Final = np.arange(1, _TERMS + _UNROLLED + 2)
"""The ranks that a target has below the cut, and some more that no number of winners leads to."""


def expected_value(
    log_z: Float[Any, "..."],
    log_M: Float[Any, "..."],
    values: Float[np.ndarray, " ranks"],
    absent: int,
) -> Float[Any, "..."]:
    r"""$E\,f(B)$, $B \sim \mathrm{Binomial}(n, z/M)$, z < 45, of a rising f >= 0 with f(0) = 0.

    No term is negative, so small expectations keep their relative accuracy. Where p > 1/2, which leaves
    M < 90, the ratios of the terms would overflow; there the competitors that do not win are counted.

    Args:
        log_z: ln z, at most ln M, shape (...).
        log_M: ln M, broadcastable.
        values: f at 0, 1, ..., as many as `RANKS`.
        absent: M - n, 0 or 1.

    Returns:
        The expectation, shape (...).

    """
    xp = namespace_of(log_z, log_M)
    f, log_p = xp.asarray(values), log_z - log_M
    likely = log_p > -LN2
    # As a rule p is small everywhere, which is known where the numbers are.
    all_rare = on_numpy(likely) and not likely.any()
    scale, inverse, term = _binomial(xp.where(likely, log_M - LN2, log_z), log_M, absent)
    # Where competitors that do not win are counted M is below 90, and n an integer to the last digit.
    n = xp.round(xp.exp(xp.minimum(log_M, math.log(2 * CERTAIN)))) - absent
    log_win = xp.minimum(xp.where(likely, log_p, 0.0), 0.0)
    scale = xp.where(likely, n * xp.expm1(-log_win), scale)
    first = xp.where(likely, xp.exp(n * log_win), term(0))
    last = n.astype(int)

    def weight(i: Any) -> Any:
        # i competitors that do not win leave n - i that do.
        return f[i] if all_rare else xp.where(likely, f[xp.maximum(last - i, 0)], f[i])

    total = _sum_by_ratios(_TERMS, weight, _upwards(0, scale, inverse), xp.zeros(scale.shape))
    return first * total


def miss_loss(log_z: Float[Any, "..."], log_M: Float[Any, "..."], cutoff: int) -> Float[Any, "..."]:
    r"""$P[\mathrm{Binomial}(M-1, z/M) \ge K]$, by whichever of its two sums has no cancellation.

    Where fewer than K winners are expected the tail from K on is summed, else those below K are taken
    from one. The terms follow from one another by their ratio. The derivative in $\ln z$ is $K P(K)$.
    """
    of = _miss_loss if on_numpy(log_z, log_M) else _differentiable_miss_loss
    return of(log_z, log_M, cutoff)


def _miss_loss(log_z: Any, log_M: Any, cutoff: int) -> Any:
    K, xp = cutoff, namespace_of(log_z, log_M)
    scale, inverse, term = _binomial(log_z, log_M, absent=1)
    zero = xp.zeros(scale.shape)
    upper = _sum_by_ratios(_terms_beyond(K), lambda _: 1.0, _upwards(K, scale, inverse), zero)
    lower = _sum_by_ratios(K, lambda _: 1.0, _downwards(K, scale, inverse), zero)
    # Away from the mean terms fall: either sum begins with its largest term, and few of the others count.
    few = log_z < math.log(K)
    found = xp.where(few, term(K) * upper, 1 - term(K - 1) * lower)
    return xp.where(_possible(log_M, K), found, 0.0)


_differentiable_miss_loss = jax.custom_jvp(_miss_loss, nondiff_argnums=(2,))


@_differentiable_miss_loss.defjvp
def _miss_loss_jvp(
    cutoff: int, primals: tuple[Any, Any], tangents: tuple[Any, Any]
) -> tuple[Any, Any]:
    _, _, term = _binomial(*primals, absent=1)
    # The size of the database is an integer: its tangent is not used.
    return miss_loss(*primals, cutoff), cutoff * term(cutoff) * tangents[0]


def miss_integral(
    log_z: Float[Any, "..."], log_M: Float[Any, "..."], cutoff: int
) -> Float[Any, "..."]:
    r"""$\int_0^z$ of `miss_loss`: $E\,(B - K)^+$ with $B \sim \mathrm{Binomial}(M, z/M)$.

    For $\int_0^x P[\mathrm{Binomial}(M-1, p) = j] \, dp = P[\mathrm{Binomial}(M, x) > j] / M$. From a mean of K
    on it is $z - K + E\,(K - B)^+$.
    """
    of = _miss_integral if on_numpy(log_z, log_M) else _differentiable_miss_integral
    return of(log_z, log_M, cutoff)


def _miss_integral(log_z: Any, log_M: Any, cutoff: int) -> Any:
    K, xp = cutoff, namespace_of(log_z, log_M)
    scale, inverse, term = _binomial(log_z, log_M, absent=0)

    def weight(i: Any) -> Any:
        return i + 1.0

    zero = xp.zeros(scale.shape)
    upper = _sum_by_ratios(_terms_beyond(K), weight, _upwards(K + 1, scale, inverse), zero)
    lower = _sum_by_ratios(K, weight, _downwards(K, scale, inverse), zero)
    few = log_z < math.log(K)
    found = xp.where(few, term(K + 1) * upper, xp.exp(log_z) - K + term(K - 1) * lower)
    return xp.where(_possible(log_M, K), found, 0.0)


_differentiable_miss_integral = jax.custom_jvp(_miss_integral, nondiff_argnums=(2,))


@_differentiable_miss_integral.defjvp
def _miss_integral_jvp(
    cutoff: int, primals: tuple[Any, Any], tangents: tuple[Any, Any]
) -> tuple[Any, Any]:
    slope = jnp.exp(primals[0]) * miss_loss(*primals, cutoff)
    return miss_integral(*primals, cutoff), slope * tangents[0]


def _upwards(first: int, scale: Any, inverse: Any) -> Callable[[Any], Any]:
    """Ratios P(j+1) / P(j) from a first j upwards; zero from j = n on."""
    xp = namespace_of(scale, inverse)

    def ratio(i: Any) -> Any:
        left = 1 - (first + i) * inverse
        return scale * (xp.where(left > _NOBODY, left, 0.0) / (first + i + 1.0))

    return ratio


def _downwards(K: int, scale: Any, inverse: Any) -> Callable[[Any], Any]:
    """Ratios P(j-1) / P(j) from j = K-1 downwards; zero from j = 0 on."""
    xp = namespace_of(scale, inverse)
    odds = 1 / xp.where(scale > 0, scale, 1.0)

    def ratio(i: Any) -> Any:
        j = xp.maximum(K - 1.0 - i, 0.0)
        return odds * (j / xp.maximum(1 - (j - 1) * inverse, inverse))

    return ratio


def _possible(log_M: Float[Any, "..."], K: int) -> Any:
    """Whether a database of M items has K competitors."""
    xp = namespace_of(log_M)
    return xp.exp(xp.minimum(log_M, 50.0)) > K + 0.5
