r"""Random codes on the doubly symmetric binary source: the ensemble average, exactly (C14).

Each item y (n fair bits) has its own codebook of $K = \lfloor 2^{nR} \rfloor$ codewords of fair bits and is
stored as the index of the nearest; a query x (y with each bit flipped with probability p) ranks items by
its Hamming distance to their stored codewords. Averaged over codebooks, items and queries:

1. the distance T from y to its codeword is the least of K draws of Binomial(n, 1/2);
2. given T = t the distance from x to the codeword is Binomial(t, 1-p) + Binomial(n-t, p);
3. a competitor's codeword is independent of x: its distance is Binomial(n, 1/2), which gives the
   probabilities of a strict win and of a tie, and the rank distribution (C1) does the rest.

Every sum below adds non-negative numbers, so small errors keep their relative accuracy.
Distributions over distances 0..n are padded with zeros to a few lengths, so that few shapes are compiled.
"""

from functools import partial
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.codes.ensembles.chosen_codeword import nearest_distribution_of_logs
from rdsim.information import LN2, at_most_one
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.loss import Loss, RankLoss, parse_loss
from rdsim.ranking.rank_distribution import expected_loss_kernel
from rdsim.results import result
from rdsim.transformations import M_IS_AN_INTEGER, not_differentiable

MAX_BLOCK_LENGTH: Final = 20_000
"""Longest blocks; the distribution of a distance is a table of n + 1 numbers."""
_K_IS_AN_INTEGER: Final = "the number of codewords is an integer"
_EXACT_BITS: Final = 50.0
"""Codebooks of up to 2^50 codewords have an integer number of them; beyond, K is 2^{nR} itself."""
_PADDED_LENGTHS: Final = (64, 256, 1024, 2048, 4096, 8192, 16384, MAX_BLOCK_LENGTH)
"""Block lengths that distributions are padded to with zeros: one compilation serves many lengths."""


@result
class DsbsDistances:
    r"""Distances of a query to stored codewords on the DSBS, averaged over random codes.

    Attributes:
        target: P(k), k = 0..n, of the distance to the target's codeword, shape
            broadcast(rate, crossover) + (n+1,).
        log_nearer: $\ln F(k-1)$, of the probability that a competitor is strictly nearer, shape (n+1,).
        log_tied: $\ln f(k)$, of the probability that it ties, shape (n+1,).

    """

    target: Float[Array, "... k"]
    log_nearer: Float[Array, " k"]
    log_tied: Float[Array, " k"]


@not_differentiable(rate=_K_IS_AN_INTEGER, log2_size=M_IS_AN_INTEGER)
@validation.needs_float64
def dsbs_ensemble(
    crossover: ArrayLike, log2_size: ArrayLike, loss: Loss, *, n: Integer, rate: ArrayLike
) -> Float[Array, "..."]:
    r"""Compute the ensemble-average rank loss of random codes on the DSBS, exactly (C14).

    $$E\,\rho(\text{rank}) = \sum_{t,k} P(T=t)\, P(k|t)\, E\,\rho\big(1+\mathrm{Bin}(M-1, F(k-1) +
    V f(k))\big), \quad f, F \text{ of } \mathrm{Bin}(n, 1/2).$$

    Args:
        crossover: p in [0, 1/2]: each query bit differs from the item's with this probability.
        log2_size: log2 M >= 1, up to thousands.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        n: block length in bits, 1 to 20000.
        rate: R in [0, 1], bits per letter; the codebook has $\lfloor 2^{nR} \rfloor$ codewords.

    Returns:
        Loss in [0, 1], float64, the broadcast shape of rate, log2_size and crossover.

    References:
        The scheme is the direct part of Tuncel (2009), IEEE Trans. Inf. Theory 55(8), with
        independent codebooks.

    """
    parsed = parse_loss(loss)
    n = validation.integer("n", n, low=1, high=MAX_BLOCK_LENGTH)
    rate = validation.interval("rate", rate, low=0.0, high=1.0)
    size = validation.log2_size(log2_size)
    p = validation.interval("crossover", crossover, low=0.0, high=0.5)
    length, padded = jnp.asarray(float(n)), _padded_length(n)
    target = _target_distances(length, rate, p, padded)
    # Only the DCG loss asks how large a database can be.
    return _mean_loss(length, target, size, parsed, padded)


@not_differentiable(log2_size=M_IS_AN_INTEGER)
@validation.needs_float64
def dsbs_code_loss(
    distances: ArrayLike, log2_size: ArrayLike, loss: Loss, *, crossover: ArrayLike
) -> Float[Array, "..."]:
    r"""Compute the mean rank loss of one code on the DSBS whose words are shifted anew for every item (C14).

    The sum of `dsbs_ensemble` with the distance T of an item from its codeword given. A uniform shift, known to the
    decoder, makes a competitor's codeword uniform; given T the pattern of errors must be independent of the codeword, as it is for
    linear codes that keep one leader of each coset (`coset_distances`). A code whose items of one codeword are a ball has
    the T of a uniform word of that ball: perfect codes are of this kind.

    Args:
        distances: P(T = t), t = 0..n, shape (n + 1,).
        log2_size: log2 M >= 1, up to thousands.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        crossover: p in [0, 1/2].

    Returns:
        Loss in [0, 1], the broadcast shape of crossover and log2_size.

    """
    parsed = parse_loss(loss)
    nearest = validation.pmf("distances", distances, ndim=1)
    n = validation.integer("n", nearest.size - 1, low=1, high=MAX_BLOCK_LENGTH)
    size = validation.log2_size(log2_size)
    p = validation.interval("crossover", crossover, low=0.0, high=0.5)
    length, padded = jnp.asarray(float(n)), _padded_length(n)
    rows = jnp.broadcast_to(jnp.pad(nearest, (0, padded - n)), (*p.shape, padded + 1))
    target = _passed_on(length, rows, p, _window(rows))
    return _mean_loss(length, target, size, parsed, padded)


@not_differentiable(rate=_K_IS_AN_INTEGER)
@validation.needs_float64
def dsbs_distances(crossover: ArrayLike, *, n: Integer, rate: ArrayLike) -> DsbsDistances:
    r"""Compute the distribution of a query's distances to the target's codeword and a competitor's.

    Args:
        crossover: p in [0, 1/2].
        n: block length in bits, 1 to 20000.
        rate: R in [0, 1], bits per letter.

    Returns:
        What `dsbs_ensemble` averages a loss over.

    """
    n = validation.integer("n", n, low=1, high=MAX_BLOCK_LENGTH)
    rate = validation.interval("rate", rate, low=0.0, high=1.0)
    p = validation.interval("crossover", crossover, low=0.0, high=0.5)
    length, padded = jnp.asarray(float(n)), _padded_length(n)
    log_nearer, log_tied = _competitor_logs(length, padded)
    target = _target_distances(length, rate, p, padded)
    return DsbsDistances(
        target=target[..., : n + 1], log_nearer=log_nearer[: n + 1], log_tied=log_tied[: n + 1]
    )


def _padded_length(n: int) -> int:
    return next(length for length in _PADDED_LENGTHS if length >= n)


def log2_codebook_size(n: Any, rate: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""Return log2 of the number of codewords, $\lfloor 2^{nR} \rfloor$, at least one."""
    bits = n * rate
    # A rate that is log2 of an integer, over n, may fall short of it by rounding: a relative 1e-12 brings the integer
    # back.
    K = jnp.floor(jnp.exp2(jnp.minimum(bits, _EXACT_BITS)) * (1 + 1e-12))
    return jnp.where(bits < _EXACT_BITS, jnp.log2(K), bits)


@partial(jax.jit, static_argnames=("loss", "padded"))
def _mean_loss(
    n: Float[Array, ""],
    target: Float[Array, "... k"],
    log2_size: Float[Array, "..."],
    loss: RankLoss,
    padded: int,
) -> Float[Array, "..."]:
    log_nearer, log_tied = _competitor_logs(n, padded)
    given_distance = expected_loss_kernel(log_nearer, log_tied, log2_size[..., None], loss)
    return at_most_one(jnp.sum(target * given_distance, axis=-1))


def _fair_logs(n: Float[Array, ""], padded: int) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
    """Ln f(k) and ln F(k) of Binomial(n, 1/2), k = 0..padded; none and all of the mass beyond n."""
    k = jnp.arange(padded + 1.0)
    others = jnp.maximum(n - k, 0.0)
    # ln of the binomial coefficient by ln Gamma; 2^-n underflows from n = 1075 on, its logarithm does not.
    log_f = gammaln(n + 1.0) - gammaln(k + 1) - gammaln(others + 1) - n * LN2
    log_f = jnp.where(k <= n, log_f, -jnp.inf)
    return log_f, jnp.minimum(jax.lax.cumlogsumexp(log_f), 0.0)


@partial(jax.jit, static_argnames="padded")
def _competitor_logs(
    n: Float[Array, ""], padded: int
) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
    """Ln F(k-1) and ln f(k), of a competitor nearer than k and at k."""
    log_f, log_F = _fair_logs(n, padded)
    return jnp.concatenate([jnp.array([-jnp.inf]), log_F[:-1]]), log_f


def _reversed(n: Float[Array, ""], values: Float[Array, " k"]) -> Float[Array, " k"]:
    """Values at n-k, zero beyond n."""
    k = jnp.arange(values.size)
    there = jnp.maximum(n.astype(int) - k, 0)
    return jnp.where(k <= n, values[there], 0.0)


def _target_distances(
    n: Float[Array, ""], rate: Float[Array, "..."], crossover: Float[Array, "..."], padded: int
) -> Float[Array, "... k"]:
    """P(k), k = 0..padded, of the distance from the query to the target's stored codeword."""
    rate, crossover = jnp.broadcast_arrays(rate, crossover)
    nearest = _nearest_distances(n, rate, padded)
    return _passed_on(n, nearest, crossover, _window(nearest))


@partial(jax.jit, static_argnames="padded")
def _nearest_distances(
    n: Float[Array, ""], rate: Float[Array, "..."], padded: int
) -> Float[Array, "... t"]:
    """P(T = t), t = 0..padded, of the distance from an item to the nearest codeword of its own."""
    log_f, log_F = _fair_logs(n, padded)
    return nearest_distribution_of_logs(
        log_f,
        log_F,
        _reversed(n, log_F),  # P(T >= t) = F(n-t), by symmetry
        jnp.arange(padded + 1.0) == n,
        log2_codebook_size(n, rate) * LN2,
    )


def _window(nearest: Float[Array, "... t"]) -> int:
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
def _passed_on(
    n: Float[Array, ""],
    nearest: Float[Array, "... t"],
    crossover: Float[Array, "..."],
    window: int,
) -> Float[Array, "... k"]:
    """Distances after the flips, one codebook after the other."""
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
    downward = _reversed(n, sweep(n * c1 - e, t * log_1mp + (n - t) * log_p, n - 1 - middle))
    return jnp.where(flips, upward + downward, still)
