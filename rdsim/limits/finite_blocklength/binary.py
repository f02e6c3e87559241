r"""A coin with bias p, bits wrong counted: Bernoulli(p) under Hamming distortion.

With $p \le 1/2$, $K = \lfloor nD \rfloor$ and $S(n,K) = \sum_{k \le K} \binom{n}{k}$:

- converse (Kostina and Verdu 2012, on the binary source): the code must serve source words of probability
  1 - eps, at least $\sum_{k \le r} \binom{n}{k} + \lambda \binom{n}{r+1}$ of them, the likeliest;
  one codeword serves S(n,K). For the fair coin it is $1 - \epsilon \le M 2^{-n} S(n,K)$.
- achievability (there too, here with the ball in full): codewords i.i.d. Bernoulli(q),
  $q = (p-D)/(1-2D)$, a word of weight t is served with probability
  $P_t = P[\mathrm{Bin}(t, 1-q) + \mathrm{Bin}(n-t, q) \le K]$ and
  $\epsilon = \sum_t \binom{n}{t} p^t (1-p)^{n-t} (1-P_t)^M$.
"""

import math
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, logsumexp
from jaxtyping import Array, Float, Int
from scipy import special

from rdsim import validation
from rdsim.information import LN2, binary_entropy
from rdsim.limits.finite_blocklength.codebook import random_coding_log2_words
from rdsim.limits.finite_blocklength.result import (
    FiniteBlocklength,
    bucket,
    finite_blocklength,
    grid,
    steps_within,
)
from rdsim.limits.finite_blocklength.second_order import SecondOrder, second_order
from rdsim.number_types import ArrayLike
from rdsim.transformations import on_host

MAX_BLOCK_LENGTH: Final = 5000


@on_host
@validation.needs_float64
def binary_hamming(
    p: ArrayLike, *, distortion: ArrayLike, excess_probability: ArrayLike, block_lengths: ArrayLike
) -> FiniteBlocklength:
    r"""Bound the least rate that keeps at most n D of n bits wrong but for a given probability.

    $$\sum_t \binom{n}{t} p^t (1-p)^{n-t} (1-P_t)^M = \epsilon, \qquad
      P_t = P[\mathrm{Bin}(t, 1-q) + \mathrm{Bin}(n-t, q) \le nD].$$

    The achievability is the least of three: random words of the optimal bias q, random words of fair
    bits, and all $2^n$ words.

    Args:
        p: probability of one, in (0, 1), a scalar; p and 1-p are the same problem.
        distortion: D in [0, min(p, 1-p)), share of wrong bits, a scalar.
        excess_probability: in (0, 1), shape (...).
        block_lengths: n, integers in 1..5000, broadcast against it. For longer blocks see
            `binary_hamming_second_order`.

    Returns:
        Converse, achievability and approximation, bits a letter, the broadcast shape.

    Raises:
        ValueError: if an argument lies outside its range; from D_max on no rate is needed.

    References:
        Kostina and Verdu (2012), IEEE Trans. Inf. Theory 58(6), the section on the
        binary memoryless source.

    """
    bias, D = _check(p, distortion)
    n, eps = grid(block_lengths, excess_probability, low=1, high=MAX_BLOCK_LENGTH)
    radius = jnp.asarray(steps_within(n, D))
    size, widest = bucket(int(np.max(n))), bucket(int(np.max(radius)))
    # One of the t ones of a source word is missed with probability 1-q, one of its zeros with q.
    # The optimal q of long blocks serves rare words badly: a fair one is better at tiny eps.
    best = n.ravel().astype(float)
    for q in {(bias - D) / (1 - 2 * D), 0.5}:
        converse, achievability = _bounds(
            jnp.asarray(bias),
            jnp.asarray(log_binomials(size, widest, 1 - q)),
            jnp.asarray(np.logaddexp.accumulate(log_binomials(size, widest, q), axis=1)),
            *(n.ravel(), radius.ravel(), eps.ravel()),
        )
        best = jnp.minimum(best, achievability)
    return finite_blocklength(_second_order(bias, D), n, eps, converse, best)


@on_host
@validation.needs_float64
def binary_hamming_second_order(p: ArrayLike, *, distortion: ArrayLike) -> SecondOrder:
    r"""Approximate the same rate at any block length.

    $$R(D) = h(p) - h(D), \qquad V(D) = p(1-p) \log_2^2 \frac{1-p}{p},$$

    with $(\log_2 n) / (2n)$ added for the fair coin, whose dispersion is zero.

    Args:
        p: probability of one, in (0, 1), a scalar.
        distortion: D in [0, min(p, 1-p)), a scalar.

    Returns:
        The approximation, with methods `rate` and `excess_probability`.

    Raises:
        ValueError: if an argument lies outside its range.

    References:
        Kostina and Verdu (2012), IEEE Trans. Inf. Theory 58(6), the section on the
        binary memoryless source.

    """
    return _second_order(*_check(p, distortion))


def _check(p: Any, distortion: Any) -> tuple[float, float]:
    p = validation.open_unit("p", p)
    bias = min(float(p), 1 - float(p))
    D = validation.interval("distortion", distortion, low=0.0, high=bias, open_high=True, ndim=0)
    return bias, float(D)


def _second_order(p: float, D: float) -> SecondOrder:
    rate = binary_entropy(jnp.asarray(p)) - binary_entropy(jnp.asarray(D))
    return second_order(rate, p * (1 - p) * np.log2((1 - p) / p) ** 2)


def log_choose(n: Array, k: Array) -> Float[Array, "..."]:
    """Ln of n over k; -inf where k lies outside 0..n."""
    inside = (k >= 0) & (k <= n)
    n, k = jnp.asarray(n, float), jnp.where(inside, k, 0)
    return jnp.where(inside, gammaln(n + 1) - gammaln(k + 1.0) - gammaln(n - k + 1), -jnp.inf)


def log_binomials(size: int, widest: int, q: float) -> np.ndarray:
    """Ln of the Binomial(m, q) law at k = 0..widest for m = 0..size, shape (size+1, widest+1)."""
    m, k = np.arange(size + 1.0)[:, None], np.arange(widest + 1.0)
    rest = np.maximum(m - k, 0.0)
    log_law = special.gammaln(m + 1) - special.gammaln(k + 1) - special.gammaln(rest + 1)
    return np.where(k <= m, log_law + k * math.log(q) + rest * math.log1p(-q), -np.inf)


@jax.jit
def _bounds(
    p: Float[Array, ""],
    missed_ones: Float[Array, "m k"],
    few_zeros: Float[Array, "m k"],
    lengths: Int[Array, " b"],
    radii: Int[Array, " b"],
    eps: Float[Array, " b"],
) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """log2 M of both bounds, one n after the other from tables that all n share."""
    m, k = (jnp.arange(length) for length in missed_ones.shape)

    def bound(arguments: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        n, K, epsilon = arguments
        log_count = log_choose(n, m)
        log_weight = log_count + m * jnp.log(p) + (n - m) * jnp.log1p(-p)
        left = jnp.where(k <= K, K - k, 0)
        zeros = few_zeros[jnp.maximum(n - m, 0)[:, None], left]
        log_ball = logsumexp(jnp.where(k <= K, missed_ones + zeros, -jnp.inf), axis=1)
        achievable = random_coding_log2_words(log_weight, jnp.minimum(log_ball, 0.0), epsilon)
        ball = logsumexp(jnp.where(m <= K, log_count, -jnp.inf))
        needed = _likeliest(log_weight, log_count, epsilon)
        return jnp.maximum((needed - ball) / LN2, 0.0), achievable

    return jax.lax.map(bound, (lengths, radii, eps))


def _likeliest(
    log_weight: Float[Array, " k"], log_count: Float[Array, " k"], eps: Float[Array, ""]
) -> Float[Array, ""]:
    """Ln of the least number of words of probability 1 - eps; weights fall from word to word."""
    beyond = jnp.cumsum(jnp.exp(log_weight)[::-1])[::-1]  # P[weight >= k], small terms first
    after = jnp.append(beyond[1:], 0.0)
    share = jnp.clip((beyond - eps) / jnp.exp(jnp.maximum(log_weight, -700.0)), 0.0, 1.0)
    whole = after >= eps
    partial_log = log_count + jnp.log(jnp.where(share > 0, share, 1.0))
    part = jnp.where(share > 0, partial_log, -jnp.inf)
    return logsumexp(jnp.where(whole, log_count, part))
