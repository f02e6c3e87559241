r"""Which of K random words an encoder stores: the law of the chosen word's distance, exactly.

The distances $T_1..T_K$ of the words of a codebook are i.i.d. with law f. Given the distance of the
chosen word, the word itself is distributed as any word at that distance, so this law is all there is
to know of the codebook, and K may be as large as 2^900.
"""

from typing import Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

_STEP: Final = 0.2
"""Step in ln(lambda): the integrand is analytic for |Im| < pi/2, so the error is below e^-40."""
_TAIL: Final = 45.0
_RACE_STEPS: Final = 80


def nearest_law(law: Float[Array, " t"], words: Float[Array, ""]) -> Float[Array, " t"]:
    r"""P(min of K draws = t), t in increasing order of distance.

    $P(T > t) = (1-F(t))^K = e^{-x_t}$, $x_t = -K \sum_{t' \le t} \ln(1 - f(t')/P(T \ge t'))$: all
    terms are positive, so nothing cancels.
    """
    tail = jnp.cumsum(law[::-1])[::-1]
    share = jnp.where(law > 0, law / jnp.where(tail > 0, tail, 1.0), 0.0)
    last = share >= 1
    increment = jnp.where(last, jnp.inf, -words * jnp.log1p(-jnp.where(last, 0.5, share)))
    before = jnp.concatenate([jnp.zeros(1), jnp.cumsum(increment)[:-1]])
    return jnp.where(law > 0, jnp.exp(-before) * -jnp.expm1(-increment), 0.0)


def likely_law(
    law: Float[Array, " t"],
    log_weight: Float[Array, " t"],
    words: Float[Array, ""],
    first: Float[Array, ""],
    nodes: Int[Array, ""],
) -> Float[Array, " t"]:
    r"""P(chosen distance = t) if word k is chosen with probability $w(T_k) / \sum_j w(T_j)$.

    With $\varphi(\lambda) = \sum_t f(t) e^{-\lambda w(t)}$ and $1/z = \int_0^\infty e^{-\lambda z}
    d\lambda$ it is $K f(t) \int_0^\infty w(t) e^{-\lambda w(t)} \varphi(\lambda)^{K-1} d\lambda$, a
    trapezoidal sum in $\ln \lambda$ from `first` on. The weights are at most one.
    """

    def add(node: Array, total: Float[Array, " t"]) -> Float[Array, " t"]:
        load = jnp.exp(first + _STEP * node + log_weight)
        gone = jnp.sum(law * -jnp.expm1(-load))
        stayed = jnp.sum(law * jnp.exp(-load))
        few = gone < 0.5
        log_phi = jnp.where(
            few,
            jnp.log1p(-jnp.where(few, gone, 0.0)),
            jnp.log(jnp.maximum(jnp.where(few, 1.0, stayed), 1e-300)),
        )
        return total + load * jnp.exp((words - 1) * log_phi - load)

    total = jax.lax.fori_loop(0, nodes, add, jnp.zeros_like(law))
    return words * law * _STEP * total


def likely_nodes(log_words: float, log_spread: float) -> tuple[float, int]:
    """First node and number of nodes; the spread is the log of the largest over the least weight."""
    first = -log_words - _TAIL
    return first, int((log_spread + 5.0 - first) / _STEP) + 1


def draw_likely(
    key: Key[Array, ""],
    law: Float[Array, " t"],
    log_weight: Float[Array, " t"],
    words: Float[Array, ""],
) -> Float[Array, " t"]:
    r"""Draw the time at which the first word is chosen; and the law of its distance given that.

    Every word waits for an exponential time of rate $w(T_k)$ and the first is chosen: that is probability
    $w(T_k)/\sum_j w(T_j)$. The least time exceeds $\lambda$ with probability $\varphi(\lambda)^K$, and given
    it the chosen distance has law $\propto f(t) w(t) e^{-\lambda w(t)}$. No quadrature is needed.
    """
    wanted = jax.random.exponential(key, dtype=float) / words

    def passed(log_time: Array) -> Array:
        """Whether -ln phi has reached what was drawn."""
        load = jnp.exp(log_time + log_weight)
        gone = jnp.sum(law * -jnp.expm1(-load))
        stayed = jnp.sum(law * jnp.exp(-load))
        few = gone < 0.5
        hazard = jnp.where(
            few,
            -jnp.log1p(-jnp.where(few, gone, 0.0)),
            -jnp.log(jnp.maximum(jnp.where(few, 1.0, stayed), 1e-300)),
        )
        return hazard >= wanted

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        there = passed(middle)
        return jnp.where(there, low, middle), jnp.where(there, middle, high)

    # -ln phi lies between lambda times the least and the largest weight, the latter at most one.
    spread = jnp.max(jnp.where(law > 0, -log_weight, 0.0))
    ends = jnp.log(wanted) - 1.0, jnp.log(wanted) + spread + 1.0
    low, high = jax.lax.fori_loop(0, _RACE_STEPS, halve, ends)
    load = jnp.exp((low + high) / 2 + log_weight)
    chance = law * load * jnp.exp(-load)
    return chance / jnp.max(chance)
