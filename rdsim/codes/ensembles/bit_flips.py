r"""Distances of binary words after some letters are flipped: a recursion with positive terms from either end (C14).

A word at Hamming distance t from a codeword, each of whose n letters is flipped with probability p, is then at distance
Binomial(t, 1-p) + Binomial(n-t, p) from it.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation


def counted_down(n: Float[Array, ""], values: Float[Array, " k"]) -> Float[Array, " k"]:
    """Values at n-k, zero beyond n."""
    k = jnp.arange(values.size)
    there = jnp.maximum(n.astype(int) - k, 0)
    return jnp.where(k <= n, values[there], 0.0)


def window_of(nearest: Float[Array, "... t"]) -> int:
    """Number of neighbouring t that hold every T of positive probability, or all if it is not known.

    Of 10^4 letters at half a bit T takes some 300 values: of all others the probability is zero in
    float64. Rounded up to a power of two, of which there are few programs.
    """
    size = nearest.shape[-1]
    if validation.is_traced(nearest) or nearest.size == 0:
        return size
    possible = np.asarray(nearest).reshape(-1, size) > 0
    width = size - possible[:, ::-1].argmax(axis=1) - possible.argmax(axis=1)
    return min(1 << (int(width.max()) - 1).bit_length(), size)


@partial(jax.jit, static_argnames="window")
def passed_on(
    n: Float[Array, ""],
    nearest: Float[Array, "... t"],
    crossover: Float[Array, "..."],
    window: int,
) -> Float[Array, "... k"]:
    """Pass distributions of distances through the flips, one after the other.

    Args:
        n: letters of a word.
        nearest: P(T = t), t = 0..padded, zero beyond n, shape (..., padded + 1).
        crossover: p of each distribution, shape (...).
        window: number of neighbouring t that hold all of each distribution, see `window_of`.

    """
    passed = jax.lax.map(
        lambda row: _after_flips(n, row[0], row[1], window),
        (nearest.reshape(-1, nearest.shape[-1]), crossover.ravel()),
    )
    return passed.reshape(nearest.shape)


def _after_flips(
    n: Float[Array, ""], nearest: Float[Array, " k"], p: Float[Array, ""], window: int
) -> Float[Array, " k"]:
    r"""$\sum_t P(t) q_k(t)$ with $q(t)$ the distribution of Binomial(t, 1-p) + Binomial(n-t, p).

    The generating function $(p + (1-p)z)^t ((1-p) + pz)^{n-t}$ gives, with $c = p(1-p)$,
    $c_1 = p^2 + (1-p)^2$ and $e = t(1-p)^2 + (n-t)p^2$,

    $$c (k+1) q_{k+1} = (e - c_1 k) q_k + c (n-k+1) q_{k-1}.$$

    All terms are positive while $k \le e / c_1$; beyond, the same recursion from k = n downwards
    is the one with positive terms. So the ratios are computed from both ends up to the mean, for the
    t of a window outside of which P(t) is zero.
    """
    first = jnp.minimum(jnp.argmax(nearest > 0), nearest.size - window)
    probabilities = jax.lax.dynamic_slice(nearest, (first,), (window,))
    t = jnp.minimum(first + jnp.arange(float(window)), n)
    # A flip probability of exactly zero moves nothing, and the recursion needs c > 0. The result is then
    # given to first order in p, which gives the derivative at p = 0.
    flips = p > 0
    k = jnp.arange(float(nearest.size))
    nearer = jnp.concatenate([jnp.zeros(1), nearest[:-1]]) * (n - k + 1)
    farther = jnp.concatenate([nearest[1:], jnp.zeros(1)]) * (k + 1)
    still = nearest + p * (nearer + farther - n * nearest)
    p = jnp.where(flips, p, 0.25)
    c, c1 = p * (1 - p), p**2 + (1 - p) ** 2
    log_p, log_1mp = jnp.log(p), jnp.log1p(-p)

    def sweep(
        e: Float[Array, " t"], log_q0: Float[Array, " t"], last: Float[Array, " t"]
    ) -> Float[Array, " k"]:
        """Contract q_k with P(t), k counted from one end up to `last`, where e - c_1 k >= 0."""

        def step(carry: tuple[Array, Array], k: Array) -> tuple[tuple[Array, Array], Array]:
            log_q, ratio = carry
            contracted = jnp.sum(jnp.where(k <= last, probabilities * jnp.exp(log_q), 0.0))
            # The recursion is one of ratios q_{k+1} / q_k, whose logarithms add up to ln q: q itself underflows far
            # from the mean.
            below = jnp.where(k > 0, c * (n - k + 1) / ratio, 0.0)
            # Past `last` the ratio is not used; it only has to stay a positive number.
            ratio = jnp.where(k < last, (e - c1 * k) + below, 1.0) / (c * (k + 1))
            return (log_q + jnp.log(ratio), ratio), contracted

        return jax.lax.scan(step, (log_q0, jnp.ones(window)), jnp.arange(float(nearest.size)))[1]

    e = t * (1 - p) ** 2 + (n - t) * p**2
    # Each sweep ends where its terms begin to cancel: upward at the mean e / c_1, downward at the next k.
    middle = jnp.clip(jnp.floor(e / c1), 0, n)
    upward = sweep(e, t * log_p + (n - t) * log_1mp, middle)
    downward = counted_down(n, sweep(n * c1 - e, t * log_1mp + (n - t) * log_p, n - 1 - middle))
    return jnp.where(flips, upward + downward, still)
