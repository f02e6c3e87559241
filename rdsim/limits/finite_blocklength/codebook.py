r"""The number of codewords at which a mixture of covering failures falls to a given probability.

The source falls in case i with probability $w_i$, and a codeword serves it with probability $P_i$.

- Independent random codewords fail together with probability $\sum_i w_i (1-P_i)^M$.
- No M codewords can do better than $\sum_i w_i (1 - M P_i)^+$ where $P_i$ bounds the share of the
  case that one codeword serves.

Both fall in M and are solved for $\log_2 M$. Terms are non-negative, so that a failure of 1e-12 is
as accurate as one of 1/2; M and P live in logarithms.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rdsim.information import LN2

_TOLERANCE: Final = 1e-12
"""Width of the final bracket of log2 M, bits, where floats are that fine."""
_STEPS: Final = 120
_TINY: Final = 1e-320
_ALL_FAIL: Final = -37.0  # below e^-37, -ln(1-P) is P to the last digit
_FINISHED: Final = 800.0  # exp(-800) is zero
_ROUNDED: Final = 1e-12
"""Relative excess over eps that is rounding: a failure that no code avoids may equal eps itself."""


def random_coding_log2_words(
    log_weight: Float[Array, " i"], log_ball: Float[Array, " i"], eps: Float[Array, ""]
) -> Float[Array, ""]:
    """Solve for log2 of the least real M >= 1 at which random coding fails with at most eps."""
    exponent = log_exponent(log_ball)
    _, upper = _solve(partial(_random, log_weight, exponent), _enough(exponent), eps)
    return upper


def covering_log2_words(
    log_weight: Float[Array, " i"], log_ball: Float[Array, " i"], eps: Float[Array, ""]
) -> Float[Array, ""]:
    """Solve for log2 of the least real M >= 1 at which no code is ruled out by covering."""

    def failure(log2_words: Float[Array, ""]) -> Float[Array, ""]:
        served = jnp.minimum(log2_words * LN2 + log_ball, 0.0)
        return jnp.sum(jnp.exp(log_weight) * -jnp.expm1(served))

    # Where no code fails less than eps, but for rounding, and none more, a code of that many words
    # meets eps: only a failure beyond rounding proves that none does.
    enough = _enough(log_ball)
    unavoidable = failure(enough)
    met = (unavoidable > eps) & (unavoidable <= eps * (1 + _ROUNDED))
    lower, _ = _solve(failure, enough, jnp.where(met, unavoidable, eps))
    return lower


def log_exponent(log_ball: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""$\ln(-\ln(1-P))$ from $\ln P$: +inf where P = 1, -inf where P = 0."""
    tiny = log_ball < _ALL_FAIL
    certain = log_ball >= 0
    log_P = jnp.where(tiny | certain, -1.0, log_ball)
    P = jnp.exp(log_P)
    log_missed = jnp.where(P < 0.3, jnp.log1p(-P), jnp.log(-jnp.expm1(log_P)))
    return jnp.where(certain, jnp.inf, jnp.where(tiny, log_ball, jnp.log(-log_missed)))


def _random(
    log_weight: Float[Array, " i"], exponent: Float[Array, " i"], log2_words: Float[Array, ""]
) -> Float[Array, ""]:
    return jnp.sum(jnp.exp(log_weight - jnp.exp(exponent + log2_words * LN2)))


def _enough(log_rate: Float[Array, " i"]) -> Float[Array, ""]:
    """log2 of so many words that every case that can be served is."""
    hardest = jnp.min(jnp.where(jnp.isinf(log_rate), 0.0, log_rate))
    return (jnp.log(_FINISHED) - jnp.minimum(hardest, 0.0)) / LN2


def _solve(
    failure: Callable[[Array], Array], high: Float[Array, ""], eps: Float[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Bracket the root of failure = eps in [0, high] by ITP (Oliveira and Takahashi 2020).

    The failure exceeds eps at the lower end and does not at the upper. Without words 0, 0 where a
    single one will do; inf, inf where none will.
    """

    def height(log2_words: Array) -> Array:
        return jnp.log(jnp.maximum(failure(log2_words), _TINY)) - jnp.log(eps)

    zero = jnp.zeros(())
    at_zero, at_high = height(zero), height(high)

    def unfinished(state: tuple[Array, ...]) -> Array:
        low, upper, *_, step = state
        precise = upper - low <= jnp.maximum(_TOLERANCE, 4e-16 * upper)
        return ~precise & (step < _STEPS)

    def narrow(state: Any) -> Any:
        low, upper, y_low, y_upper, step = state
        middle = 0.5 * (low + upper)
        reach = _TOLERANCE * jnp.exp2(jnp.minimum(wanted + 1.0 - step, 1000.0)) - 0.5 * (
            upper - low
        )
        chord = (y_upper * low - y_low * upper) / (y_upper - y_low)
        nudge = 0.2 * (upper - low) ** 2 / high
        side = jnp.sign(middle - chord)
        moved = jnp.where(nudge <= jnp.abs(middle - chord), chord + side * nudge, middle)
        reach = jnp.maximum(reach, 0.0)
        point = jnp.where(jnp.abs(moved - middle) <= reach, moved, middle - side * reach)
        y = height(point)
        fails = y > 0
        return (
            jnp.where(fails, point, low),
            jnp.where(fails, upper, point),
            jnp.where(fails, y, y_low),
            jnp.where(fails, y_upper, y),
            step + 1.0,
        )

    wanted = jnp.ceil(jnp.log2(high / (2 * _TOLERANCE)))
    trivial, hopeless = at_zero <= 0, at_high > 0
    start = (zero, jnp.where(trivial | hopeless, 0.0, high), at_zero, at_high, zero)
    low, upper, *_ = jax.lax.while_loop(unfinished, narrow, start)
    ends = (jnp.where(trivial, 0.0, jnp.where(hopeless, jnp.inf, end)) for end in (low, upper))
    lower, above = ends
    return lower, above
