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
from jax.scipy.special import gammaln
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.codes.ensembles.bit_flips import counted_down, passed_on, window_of
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
    target = passed_on(length, rows, p, window_of(rows))
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


def _target_distances(
    n: Float[Array, ""], rate: Float[Array, "..."], crossover: Float[Array, "..."], padded: int
) -> Float[Array, "... k"]:
    """P(k), k = 0..padded, of the distance from the query to the target's stored codeword."""
    rate, crossover = jnp.broadcast_arrays(rate, crossover)
    nearest = _nearest_distances(n, rate, padded)
    return passed_on(n, nearest, crossover, window_of(nearest))


@partial(jax.jit, static_argnames="padded")
def _nearest_distances(
    n: Float[Array, ""], rate: Float[Array, "..."], padded: int
) -> Float[Array, "... t"]:
    """P(T = t), t = 0..padded, of the distance from an item to the nearest codeword of its own."""
    log_f, log_F = _fair_logs(n, padded)
    return nearest_distribution_of_logs(
        log_f,
        log_F,
        counted_down(n, log_F),  # P(T >= t) = F(n-t), by symmetry
        jnp.arange(padded + 1.0) == n,
        log2_codebook_size(n, rate) * LN2,
    )
