r"""Random codes on the doubly symmetric binary source: the ensemble average, exactly (C14).

Each item y (n fair bits) has its own codebook of $K = 2^{nR}$ fair-coin words and is stored as the
index of the nearest; a query x (y with each bit flipped with probability p) ranks items by its
Hamming distance to their stored words. Averaged over codebooks, items and queries:

1. the distance T from y to its word is the least of K draws of Binomial(n, 1/2);
2. given T = t the distance from x to the word is Binomial(t, 1-p) + Binomial(n-t, p);
3. a competitor's word is independent of x: its distance is Binomial(n, 1/2), which gives the
   probabilities of a strict win and of a tie, and the rank law (C1) does the rest.

Every sum below adds non-negative numbers, so small errors keep their relative accuracy.
"""

from functools import partial
from typing import Any, Final

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.information import LN2, at_most_one
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking.loss import RankLoss, parse_loss
from rdsim.ranking.rank_distribution import expected_loss_kernel, reach_of
from rdsim.transformations import M_IS_AN_INTEGER, not_differentiable

MAX_BLOCK_LENGTH: Final = 20_000
_WHOLE_WORDS: Final = "the number of codewords is an integer"
_EXACT_BITS: Final = 50.0  # up to 2^50 the number of codewords is an integer
_ROOMS: Final = (64, 256, 1024, 2048, 4096, 8192, 16384, MAX_BLOCK_LENGTH)
"""Block lengths that laws are padded to with zeros: one compilation serves many lengths."""


@not_differentiable(rate=_WHOLE_WORDS, log2_size=M_IS_AN_INTEGER)
@validation.needs_float64
def dsbs_ensemble(
    crossover: ArrayLike, log2_size: ArrayLike, loss: Any, *, n: Integer, rate: ArrayLike
) -> Float[Array, "..."]:
    r"""Compute the ensemble-average rank loss of random codes on the DSBS, exactly (C14).

    $$E\,\rho(\text{rank}) = \sum_{t,k} P(T=t)\, P(k|t)\, E\,\rho\big(1+\mathrm{Bin}(M-1, F(k-1) +
    V f(k))\big), \quad f, F \text{ of } \mathrm{Bin}(n, 1/2).$$

    Args:
        crossover: p in [0, 1/2]: each query bit differs from the item's with this probability.
        log2_size: log2 M >= 1, up to thousands.
        loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
        n: block length in bits, 1 to 20000.
        rate: R in [0, 1], bits a letter; the codebook has $\lfloor 2^{nR} \rfloor$ words.

    Returns:
        Loss in [0, 1], float64, the broadcast shape of rate, log2_size and crossover.

    Raises:
        ValueError: if an argument lies outside its range; the message names it.
        TypeError: if n is not an integer.

    References:
        The scheme is the direct part of Tuncel (2009), IEEE Trans. Inf. Theory 55(8), with
        independent codebooks.

    """
    parsed = parse_loss(loss)
    n = validation.integer("n", n, low=1, high=MAX_BLOCK_LENGTH)
    rate = validation.interval("rate", rate, low=0.0, high=1.0)
    size = validation.log2_size(log2_size)
    p = validation.interval("crossover", crossover, low=0.0, high=0.5)
    room = _room_for(n)
    law = _target_law(jnp.asarray(float(n)), rate, p, room)
    # Only the DCG loss asks how large a database can be.
    reach = reach_of(size) if parsed.kind == "dcg" else 0
    return _mean_loss(jnp.asarray(float(n)), law, size, parsed, reach, room)


@not_differentiable(rate=_WHOLE_WORDS)
@validation.needs_float64
def dsbs_rank_law(
    crossover: ArrayLike, *, n: Integer, rate: ArrayLike
) -> tuple[Float[Array, "... k"], Float[Array, " k"], Float[Array, " k"]]:
    r"""Compute the law of the target's distance and the competitors' probabilities at each distance.

    Args:
        crossover: p in [0, 1/2].
        n: block length in bits, 1 to 20000.
        rate: R in [0, 1], bits a letter.

    Returns:
        $P(k)$ for k = 0..n, shape broadcast(rate, crossover) + (n+1,); $\ln F(k-1)$, a competitor's
        probability to be strictly nearer, shape (n+1,); $\ln f(k)$, its probability to tie, shape (n+1,).

    Raises:
        ValueError, TypeError, RuntimeError: as `dsbs_ensemble`.

    """
    n = validation.integer("n", n, low=1, high=MAX_BLOCK_LENGTH)
    rate = validation.interval("rate", rate, low=0.0, high=1.0)
    p = validation.interval("crossover", crossover, low=0.0, high=0.5)
    room = _room_for(n)
    letters = jnp.asarray(float(n))
    logs = _competitor_logs(letters, room)
    law = _target_law(letters, rate, p, room)
    return law[..., : n + 1], logs[0][: n + 1], logs[1][: n + 1]


def _room_for(n: int) -> int:
    return next(room for room in _ROOMS if room >= n)


def codebook_size(n: Any, rate: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""Return log2 of the number of codewords, $\lfloor 2^{nR} \rfloor$, at least one."""
    bits = n * rate
    words = jnp.floor(jnp.exp2(jnp.minimum(bits, _EXACT_BITS)) * (1 + 1e-12))
    return jnp.where(bits < _EXACT_BITS, jnp.log2(words), bits)


@partial(jax.jit, static_argnames=("loss", "reach", "room"))
def _mean_loss(
    n: Float[Array, ""],
    law: Float[Array, "... k"],
    log2_size: Float[Array, "..."],
    loss: RankLoss,
    reach: int,
    room: int,
) -> Float[Array, "..."]:
    log_a, log_e = _competitor_logs(n, room)
    given_distance = expected_loss_kernel(log_a, log_e, log2_size[..., None], loss, reach)
    return at_most_one(jnp.sum(law * given_distance, axis=-1))


def _fair_logs(n: Float[Array, ""], room: int) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
    """Ln f(k) and ln F(k) of Binomial(n, 1/2), k = 0..room; none and all of the mass beyond n."""
    k = jnp.arange(room + 1.0)
    others = jnp.maximum(n - k, 0.0)
    log_f = gammaln(n + 1.0) - gammaln(k + 1) - gammaln(others + 1) - n * LN2
    log_f = jnp.where(k <= n, log_f, -jnp.inf)
    return log_f, jnp.minimum(jax.lax.cumlogsumexp(log_f), 0.0)


@partial(jax.jit, static_argnames="room")
def _competitor_logs(
    n: Float[Array, ""], room: int
) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
    log_f, log_F = _fair_logs(n, room)
    return jnp.concatenate([jnp.array([-jnp.inf]), log_F[:-1]]), log_f


def _turned(n: Float[Array, ""], values: Float[Array, " k"]) -> Float[Array, " k"]:
    """Values at n-k, zero beyond n."""
    k = jnp.arange(values.size)
    there = jnp.maximum(n.astype(int) - k, 0)
    return jnp.where(k <= n, values[there], 0.0)


def _nearest_word_law(
    n: Float[Array, ""], log2_words: Float[Array, "..."], room: int
) -> Float[Array, "... t"]:
    r"""P(T = t), T the least of K draws of Binomial(n, 1/2), t = 0..room; zero beyond n.

    $P(T > t) = (1-F(t))^K = e^{-x_t}$, so $P(T=t) = e^{-x_{t-1}} (1 - e^{-(x_t - x_{t-1})})$ with
    $x_t - x_{t-1} = -K \ln(1 - f(t)/(1-F(t-1)))$.
    """
    log_f, log_F = _fair_logs(n, room)
    inside = log_f > -jnp.inf
    log_f = jnp.where(inside, log_f, 0.0)
    log_tail = _turned(n, log_F)  # ln P(Bin >= t), by symmetry
    log_words = (log2_words * LN2)[..., None]
    # At the last distance all words are there. Told by the distance: equal logs, computed twice by a
    # compiler that rounds either time as it likes, may compare as equal once and as different next.
    certain = jnp.arange(room + 1.0) == n
    ratio = jnp.where(certain, 0.5, jnp.exp(log_f - log_tail))
    tiny = ratio < 1e-17
    log_increment = jnp.where(tiny, log_f - log_tail, jnp.log(-jnp.log1p(-ratio)))
    increment = jnp.where(certain, jnp.inf, jnp.exp(log_increment + log_words))
    # x_{t-1} in one stroke where 1-F is known better than the sum of its increments.
    not_F = jnp.concatenate([jnp.zeros(1), -log_tail[1:]])
    low = jnp.concatenate([jnp.array([-jnp.inf]), log_F[:-1]])
    F = jnp.exp(jnp.minimum(low, -0.5))
    log_x = jnp.where(
        low < -1.0, jnp.where(low < -37, low, jnp.log(-jnp.log1p(-F))), jnp.log(not_F)
    )
    survived = jnp.exp(-jnp.exp(log_x + log_words))
    return jnp.where(inside, survived * -jnp.expm1(-increment), 0.0)


@partial(jax.jit, static_argnames="room")
def _target_law(
    n: Float[Array, ""], rate: Float[Array, "..."], crossover: Float[Array, "..."], room: int
) -> Float[Array, "... k"]:
    """P(k), k = 0..room, the law of the distance from the query to the target's stored word."""
    rate, crossover = jnp.broadcast_arrays(rate, crossover)
    nearest = _nearest_word_law(n, codebook_size(n, rate), room)
    flat = nearest.reshape(-1, room + 1)

    def through_channel(arguments: tuple[Array, Array]) -> Array:
        law, p = arguments
        return _pass_flips(n, law, p)

    passed = jax.lax.map(through_channel, (flat, crossover.ravel()))
    return passed.reshape(*rate.shape, room + 1)


def _pass_flips(
    n: Float[Array, ""], law: Float[Array, " t"], p: Float[Array, ""]
) -> Float[Array, " k"]:
    r"""$\sum_t P(t) q_k(t)$ with $q(t)$ the law of Binomial(t, 1-p) + Binomial(n-t, p).

    The generating function $(p + (1-p)z)^t ((1-p) + pz)^{n-t}$ gives, with $c = p(1-p)$,
    $c_1 = p^2 + (1-p)^2$ and $e = t(1-p)^2 + (n-t)p^2$,

    $$c (k+1) q_{k+1} = (e - c_1 k) q_k + c (n-k+1) q_{k-1}.$$

    All terms are positive while $k \le e / c_1$; beyond, the same recursion from k = n downwards
    is the one with positive terms. So the ratios are computed from both ends up to the mean.
    """
    t = jnp.minimum(jnp.arange(float(law.size)), n)
    # A flip probability of exactly zero moves nothing; the recursion needs c > 0.
    flips = p > 0
    k = jnp.arange(float(law.size))
    nearer = jnp.concatenate([jnp.zeros(1), law[:-1]]) * (n - k + 1)
    farther = jnp.concatenate([law[1:], jnp.zeros(1)]) * (k + 1)
    still = law + p * (nearer + farther - n * law)  # to first order, for derivatives at p = 0
    p = jnp.where(flips, p, 0.25)
    c, c1 = p * (1 - p), p**2 + (1 - p) ** 2
    log_p, log_1mp = jnp.log(p), jnp.log1p(-p)

    def sweep(
        e: Float[Array, " t"], log_q0: Float[Array, " t"], last: Float[Array, " t"]
    ) -> Float[Array, " k"]:
        """Contract q_k with the law, k counted from one end up to `last`, where e - c_1 k >= 0."""

        def step(carry: tuple[Array, Array], k: Array) -> tuple[tuple[Array, Array], Array]:
            log_q, ratio = carry
            contracted = jnp.sum(jnp.where(k <= last, law * jnp.exp(log_q), 0.0))
            below = jnp.where(k > 0, c * (n - k + 1) / ratio, 0.0)
            # Past `last` the ratio is not used; it only has to stay a positive number.
            ratio = jnp.where(k < last, (e - c1 * k) + below, 1.0) / (c * (k + 1))
            return (log_q + jnp.log(ratio), ratio), contracted

        return jax.lax.scan(step, (log_q0, jnp.ones(law.size)), jnp.arange(float(law.size)))[1]

    e = t * (1 - p) ** 2 + (n - t) * p**2
    middle = jnp.clip(jnp.floor(e / c1), 0, n)
    upward = sweep(e, t * log_p + (n - t) * log_1mp, middle)
    downward = _turned(n, sweep(n * c1 - e, t * log_1mp + (n - t) * log_p, n - 1 - middle))
    return jnp.where(flips, upward + downward, still)
