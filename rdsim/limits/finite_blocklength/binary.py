r"""A Bernoulli(p) source under Hamming distortion, at finite block length.

With $p \le 1/2$, $K = \lfloor nD \rfloor$ and $S(n,K) = \sum_{k \le K} \binom{n}{k}$:

- lower bound, the converse (Kostina and Verdu 2012, on the binary source): the code must serve source blocks
  of probability 1 - eps, at least $\sum_{k \le r} \binom{n}{k} + \lambda \binom{n}{r+1}$ of them, the
  most probable; one codeword serves S(n,K). For p = 1/2 it is $1 - \epsilon \le M 2^{-n} S(n,K)$.
- upper bound, random coding (there too, here with the full ball): codewords i.i.d. Bernoulli(q),
  $q = (p-D)/(1-2D)$, serve a block of weight t with probability
  $P_t = P[\mathrm{Bin}(t, 1-q) + \mathrm{Bin}(n-t, q) \le K]$ and
  $\epsilon = \sum_t \binom{n}{t} p^t (1-p)^{n-t} (1-P_t)^M$.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jax.scipy.special import gammaln, logsumexp
from jaxtyping import Array, Float, Int

from rdsim import validation
from rdsim.information import LN2, binary_entropy, log_from_zero
from rdsim.limits.finite_blocklength.codebook_size import random_coding_log2_codewords
from rdsim.limits.finite_blocklength.result import (
    FiniteBlocklength,
    finite_blocklength,
    grid,
    padded_size,
    steps_within,
)
from rdsim.limits.finite_blocklength.second_order import FLAT, SecondOrder, second_order
from rdsim.number_types import ArrayLike
from rdsim.transformations import on_host


@on_host
@validation.needs_float64
def binary_hamming(
    p: ArrayLike, *, distortion: ArrayLike, excess_probability: ArrayLike, block_lengths: ArrayLike
) -> FiniteBlocklength:
    r"""Bound the least rate that keeps at most n D of n bits wrong, except with a given probability.

    $$\sum_t \binom{n}{t} p^t (1-p)^{n-t} (1-P_t)^M = \epsilon, \qquad
      P_t = P[\mathrm{Bin}(t, 1-q) + \mathrm{Bin}(n-t, q) \le nD].$$

    The upper bound is the least of three: random codewords of the optimal bias q, random codewords of fair
    bits, and all $2^n$ blocks as codewords.

    Args:
        p: probability of one, in (0, 1), a scalar; p and 1-p are the same problem.
        distortion: D in [0, min(p, 1-p)), fraction of wrong bits, a scalar; from D_max on no rate is
            needed.
        excess_probability: in (0, 1), shape (...).
        block_lengths: n, integers in 1..5000, broadcast against it. For longer blocks see
            `binary_hamming_second_order`.

    Returns:
        Bounds and approximation, bits per letter, the broadcast shape.

    """
    bias, D = _checked_bernoulli(p, distortion)
    n, eps = grid(block_lengths, excess_probability)
    radius = jnp.asarray(steps_within(n, D))
    size, widest = padded_size(int(np.max(n))), padded_size(int(np.max(radius)))
    # One of the t ones of a source block is missed with probability 1-q, one of its zeros with q.
    # The optimal q of long blocks serves rare blocks badly: a fair one is better at tiny eps.
    best = n.ravel().astype(float)
    for q in {(bias - D) / (1 - 2 * D), 0.5}:
        log_hit, log_missed = math.log(q), math.log1p(-q)
        ones = log_binomials(size, widest, log_missed, log_hit)
        zeros = log_binomials(size, widest, log_hit, log_missed)
        lower, upper = _bernoulli_bounds(
            jnp.asarray(bias),
            jnp.asarray(ones),
            jnp.asarray(np.logaddexp.accumulate(zeros, axis=1)),
            n.ravel(),
            radius.ravel(),
            eps.ravel(),
        )
        best = jnp.minimum(best, upper)
    approximation = _bernoulli_second_order(bias, D)
    return finite_blocklength(approximation, n, eps, log2_lower=lower, log2_upper=best)


@on_host
@validation.needs_float64
def binary_hamming_second_order(p: ArrayLike, *, distortion: ArrayLike) -> SecondOrder:
    r"""Approximate the same rate at any block length.

    $$R(D) = h(p) - h(D), \qquad V(D) = p(1-p) \log_2^2 \frac{1-p}{p},$$

    with $(\log_2 n) / (2n)$ added at p = 1/2, where the dispersion is zero.

    Its methods are `rate` and `excess_probability`; the arguments are those of `binary_hamming`.
    """
    return _bernoulli_second_order(*_checked_bernoulli(p, distortion))


def _checked_bernoulli(p: ArrayLike, distortion: ArrayLike) -> tuple[float, float]:
    p = validation.open_unit("p", p)
    bias = min(float(p), 1 - float(p))
    D = validation.interval("distortion", distortion, low=0.0, high=bias, open_high=True, ndim=0)
    return bias, float(D)


def _bernoulli_second_order(p: float, D: float) -> SecondOrder:
    rate = binary_entropy(jnp.asarray(p)) - binary_entropy(jnp.asarray(D))
    variance = p * (1 - p)
    # The dispersion is small near p = 1/2, where it counts as zero, and where ones are rare, where it does not.
    return second_order(rate, variance * np.log2((1 - p) / p) ** 2, flat_below=4 * variance * FLAT)


def log_choose(n: Array, k: Array) -> Float[Array, "..."]:
    """Ln of n over k; -inf where k lies outside 0..n."""
    inside = (k >= 0) & (k <= n)
    n, k = jnp.asarray(n, float), jnp.where(inside, k, 0)
    return jnp.where(inside, gammaln(n + 1) - gammaln(k + 1.0) - gammaln(n - k + 1), -jnp.inf)


def log_binomials(size: int, widest: int, log_hit: float, log_missed: float) -> np.ndarray:
    """Ln of binomial probabilities of k = 0..widest of m = 0..size, (size+1, widest+1), from ln q and ln(1-q).

    Of these two neither follows from the other where q is within a rounding of zero or one.
    """
    m, k = np.arange(size + 1.0)[:, None], np.arange(widest + 1.0)
    # Log-gammas instead of factorials; outside k <= m the arguments are harmless and the result
    # is masked.
    rest = np.maximum(m - k, 0.0)
    log_count = (
        scipy.special.gammaln(m + 1)
        - scipy.special.gammaln(k + 1)
        - scipy.special.gammaln(rest + 1)
    )
    return np.where(k <= m, log_count + k * log_hit + rest * log_missed, -np.inf)


@jax.jit
def _bernoulli_bounds(
    p: Float[Array, ""],
    missed_ones: Float[Array, "m k"],
    few_zeros: Float[Array, "m k"],
    lengths: Int[Array, " b"],
    radii: Int[Array, " b"],
    eps: Float[Array, " b"],
) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """log2 M of both bounds, one n after the other from tables that all n share.

    A block of weight m is served if k of its ones are missed (first table, of probabilities) and at most
    K - k of its zeros hit (second table, of cumulative ones).
    """
    m, k = jnp.arange(missed_ones.shape[0]), jnp.arange(missed_ones.shape[1])

    def bound(arguments: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        n, K, epsilon = arguments
        log_count = log_choose(n, m)
        log_weight = log_count + m * jnp.log(p) + (n - m) * jnp.log1p(-p)
        # With k of its ones missed a block may have at most K - k of its zeros hit.
        left = jnp.where(k <= K, K - k, 0)
        zeros = few_zeros[jnp.maximum(n - m, 0)[:, None], left]
        log_ball = logsumexp(jnp.where(k <= K, missed_ones + zeros, -jnp.inf), axis=1)
        upper = random_coding_log2_codewords(log_weight, jnp.minimum(log_ball, 0.0), epsilon)
        log_served = logsumexp(jnp.where(m <= K, log_count, -jnp.inf))
        # The converse: M codewords serve at most M times S(n, K) blocks, and blocks of
        # probability 1 - eps are needed.
        log_needed = _log_fewest_blocks(log_weight, log_count, epsilon)
        return jnp.maximum((log_needed - log_served) / LN2, 0.0), upper

    return jax.lax.map(bound, (lengths, radii, eps))


def _log_fewest_blocks(
    log_weight: Float[Array, " k"], log_count: Float[Array, " k"], eps: Float[Array, ""]
) -> Float[Array, ""]:
    """Ln of the least number of blocks of probability 1 - eps, for blocks sorted by falling probability.

    All blocks of a weight are taken while what is beyond them is at least eps, and a fraction of the next.
    """
    beyond = jnp.cumsum(jnp.exp(log_weight)[::-1])[::-1]  # P[weight >= k], small terms first
    after = jnp.append(beyond[1:], 0.0)
    # The weight at which the tail passes eps is taken in part: what is bounded is a real M.
    fraction = jnp.clip((beyond - eps) / jnp.exp(jnp.maximum(log_weight, -700.0)), 0.0, 1.0)
    return logsumexp(jnp.where(after >= eps, log_count, log_count + log_from_zero(fraction)))
