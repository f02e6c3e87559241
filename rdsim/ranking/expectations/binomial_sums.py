r"""Expectations over a binomial number of winners: sums of its terms, each from the one before.

$B \sim \mathrm{Binomial}(n, z/M)$ with n = M or M - 1, given ln z and ln M, so that M may be huge.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim.information import LN2

CERTAIN: Final = 45.0
"""M p from which on some competitor wins to all digits: (1-p)^M <= e^(-Mp) < 3e-20."""
_UNROLLED: Final = 4  # terms of a sum that are one pass over the targets
_NOBODY: Final = 1e-12
"""Fraction of competitors left below which there are none: if there are some, it is at least 1/n."""


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
        # The falling factorial n (n-1) ... (n-j+1) is n^j times these factors; one that is zero up to rounding is
        # that of a competitor who does not exist.
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


_TERMS: Final = math.ceil(CERTAIN) + _terms_beyond(math.ceil(CERTAIN))
RANKS: Final = np.arange(1, _TERMS + _UNROLLED + 2)
"""The ranks that a target has below the cut, and some more that no number of winners leads to."""


def expected_value(
    log_z: Float[Array, "..."],
    log_M: Float[Array, "..."],
    values: Float[np.ndarray, " ranks"],
    absent: int,
) -> Float[Array, "..."]:
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
    f, log_p = jnp.asarray(values), log_z - log_M
    likely = log_p > -LN2
    scale, inverse, term = _binomial(jnp.where(likely, log_M - LN2, log_z), log_M, absent)
    # Where competitors that do not win are counted M is below 90, and n an integer to the last digit.
    n = jnp.round(jnp.exp(jnp.minimum(log_M, math.log(2 * CERTAIN)))) - absent
    log_win = jnp.minimum(jnp.where(likely, log_p, 0.0), 0.0)
    scale = jnp.where(likely, n * jnp.expm1(-log_win), scale)
    first = jnp.where(likely, jnp.exp(n * log_win), term(0))
    last = n.astype(int)

    def weight(i: Array) -> Array:
        # i competitors that do not win leave n - i that do.
        return jnp.where(likely, f[jnp.maximum(last - i, 0)], f[i])

    total = _sum_by_ratios(_TERMS, weight, _upwards(0, scale, inverse), jnp.shape(scale))
    return first * total


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
    # Away from the mean terms fall: either sum begins with its largest term, and few of the others count.
    few = log_z < math.log(K)
    found = jnp.where(few, term(K) * upper, 1 - term(K - 1) * lower)
    return jnp.where(_possible(log_M, K), found, 0.0)


@miss_loss.defjvp
def _miss_loss_jvp(
    cutoff: int, primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    _, _, term = _binomial(*primals, absent=1)
    # The size of the database is an integer: its tangent is not used.
    return miss_loss(*primals, cutoff), cutoff * term(cutoff) * tangents[0]


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def miss_integral(
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


@miss_integral.defjvp
def _miss_integral_jvp(
    cutoff: int, primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    slope = jnp.exp(primals[0]) * miss_loss(*primals, cutoff)
    return miss_integral(*primals, cutoff), slope * tangents[0]


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
