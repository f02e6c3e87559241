r"""Which of K random codewords an encoder stores: the distribution of its distance, exactly.

The distances $T_1..T_K$ of the codewords of a codebook are i.i.d. with pmf f. Given the distance of the
chosen codeword, the codeword itself is distributed as any codeword at that distance, so that the
distribution of its distance is all there is to know of the codebook, and K may be as large as 2^900.

**Nearest codeword.** With F the distribution function, $P(\min_k T_k > t) = (1-F(t))^K = e^{-x_t}$ and

$$P(\min_k T_k = t) = e^{-x_{t-1}} \big(1 - e^{-(x_t - x_{t-1})}\big), \quad
  x_t - x_{t-1} = -K \ln\Big(1 - \frac{f(t)}{1-F(t-1)}\Big).$$

All terms are positive, so nothing cancels.

**Likelihood encoder**, which chooses codeword k with probability $w(T_k) / \sum_j w(T_j)$, $w \le 1$. With
$\varphi(\lambda) = \sum_t f(t) e^{-\lambda w(t)}$ and $1/z = \int_0^\infty e^{-\lambda z} d\lambda$,

$$P(\text{chosen distance} = t) = K f(t) \int_0^\infty w(t) e^{-\lambda w(t)} \varphi(\lambda)^{K-1} d\lambda.$$
"""

from typing import Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from rdsim.root_finding import bisect

_STEP: Final = 0.2
"""Step in ln(lambda): the integrand is analytic for |Im| < pi/2, so the error is below e^-40."""
_TAIL: Final = 45.0
"""How far below ln(1/K) the sum over ln(lambda) begins: what is left out is a fraction of e^-45."""
_RACE_STEPS: Final = 80
"""Halvings of a bracket of ln(lambda), which is at most some 10^3 wide: all bits of a float64."""


def nearest_distribution(f: Float[Array, " t"], K: Float[Array, ""]) -> Float[Array, " t"]:
    """P(the least of K draws = t), t in increasing order of distance, from the pmf f of one draw."""
    tail = jnp.cumsum(f[::-1])[::-1]
    ratio = jnp.where(f > 0, f / jnp.where(tail > 0, tail, 1.0), 0.0)
    # At the largest distance the ratio is one, up to rounding: no draw lies beyond, and x is infinite.
    last = ratio >= 1
    increment = jnp.where(last, jnp.inf, -K * jnp.log1p(-jnp.where(last, 0.5, ratio)))
    before = jnp.concatenate([jnp.zeros(1), jnp.cumsum(increment)[:-1]])
    return jnp.where(f > 0, jnp.exp(-before) * -jnp.expm1(-increment), 0.0)


def nearest_distribution_of_logs(
    log_f: Float[Array, " t"],
    log_F: Float[Array, " t"],
    log_tail: Float[Array, " t"],
    last: Bool[Array, " t"],
    log_K: Float[Array, "..."],
) -> Float[Array, "... t"]:
    """P(the least of K draws = t) where f, 1-F and 1/K may lie far below the least float.

    Args:
        log_f: ln f(t); -inf where a draw never lies.
        log_F: ln F(t).
        log_tail: ln P(T >= t), exact where it is small.
        last: whether t is the largest distance, where x is infinite. The caller says so: two equal
            logarithms, computed twice by a compiler that rounds either time as it likes, may compare
            as equal once and as different the next time.
        log_K: ln K, K the number of codewords.

    Returns:
        Probabilities, zero where a draw never lies.

    """
    inside = log_f > -jnp.inf
    log_f = jnp.where(inside, log_f, 0.0)
    log_K = log_K[..., None]
    ratio = jnp.where(last, 0.5, jnp.exp(log_f - log_tail))
    # -ln(1 - r) is r below 1e-17, where exp(log_f - log_tail) may be zero and its logarithm is not.
    log_increment = jnp.where(ratio < 1e-17, log_f - log_tail, jnp.log(-jnp.log1p(-ratio)))
    increment = jnp.where(last, jnp.inf, jnp.exp(log_increment + log_K))
    # ln x_{t-1} = ln(-ln(1 - F(t-1))) in one stroke, from whichever of F and 1-F is known better: for
    # small F it is ln F itself, beyond F = 1/e the tail.
    log_below = jnp.concatenate([jnp.array([-jnp.inf]), log_F[:-1]])
    minus_log_tail = jnp.concatenate([jnp.zeros(1), -log_tail[1:]])
    F = jnp.exp(jnp.minimum(log_below, -0.5))
    log_x = jnp.where(
        log_below < -1.0,
        jnp.where(log_below < -37, log_below, jnp.log(-jnp.log1p(-F))),
        jnp.log(minus_log_tail),
    )
    survived = jnp.exp(-jnp.exp(log_x + log_K))
    return jnp.where(inside, survived * -jnp.expm1(-increment), 0.0)


def likelihood_distribution(
    f: Float[Array, " t"],
    log_weight: Float[Array, " t"],
    K: Float[Array, ""],
    first: Float[Array, ""],
    nodes: Int[Array, ""],
) -> Float[Array, " t"]:
    r"""P(the likelihood encoder's distance = t): a trapezoidal sum in $\ln \lambda$ from `first` on."""

    def add(node: Array, total: Float[Array, " t"]) -> Float[Array, " t"]:
        # lambda w(t) at a node: d lambda = lambda d(ln lambda) turns the integral into this sum of positive terms.
        load = jnp.exp(first + _STEP * node + log_weight)
        return total + load * jnp.exp((K - 1) * _log_phi(f, load) - load)

    total = jax.lax.fori_loop(0, nodes, add, jnp.zeros_like(f))
    return K * f * _STEP * total


def likelihood_nodes(log_K: float, log_range: float) -> tuple[float, int]:
    """First node and number of nodes of that sum; log_range is ln of the largest over the least weight."""
    first = -log_K - _TAIL
    return first, int((log_range + 5.0 - first) / _STEP) + 1


def draw_likelihood_race(
    key: Key[Array, ""],
    f: Float[Array, " t"],
    log_weight: Float[Array, " t"],
    K: Float[Array, ""],
) -> Float[Array, " t"]:
    r"""Draw the time at which the first codeword arrives, and return the weights of its distance given that.

    Every codeword waits for an exponential time of rate $w(T_k)$ and the first is chosen, with
    probability $w(T_k)/\sum_j w(T_j)$. The least time exceeds $\lambda$ with probability
    $\varphi(\lambda)^K$, and given it the chosen distance has a distribution
    $\propto f(t) w(t) e^{-\lambda w(t)}$, which is returned scaled to a largest entry of one. So no
    quadrature is needed.
    """
    wanted = jax.random.exponential(key, dtype=float) / K
    # -ln phi lies between lambda times the least and the largest weight, the latter at most one.
    log_range = jnp.max(jnp.where(f > 0, -log_weight, 0.0))
    low, high = bisect(
        lambda log_time: -_log_phi(f, jnp.exp(log_time + log_weight)) >= wanted,
        jnp.log(wanted) - 1.0,
        jnp.log(wanted) + log_range + 1.0,
        steps=_RACE_STEPS,
    )
    load = jnp.exp((low + high) / 2 + log_weight)
    weight = f * load * jnp.exp(-load)
    return weight / jnp.max(weight)


def _log_phi(f: Float[Array, " t"], load: Float[Array, " t"]) -> Float[Array, ""]:
    r"""$\ln \varphi = \ln \sum_t f(t) e^{-\text{load}(t)}$, accurate near zero too, where 1 - phi is known."""
    gone = jnp.sum(f * -jnp.expm1(-load))
    stayed = jnp.sum(f * jnp.exp(-load))
    small = gone < 0.5
    return jnp.where(
        small,
        jnp.log1p(-jnp.where(small, gone, 0.0)),
        jnp.log(jnp.maximum(jnp.where(small, 1.0, stayed), 1e-300)),
    )
