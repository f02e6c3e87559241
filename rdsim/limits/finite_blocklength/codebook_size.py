r"""The number of codewords at which a mixture of covering failures falls to a given probability.

The source falls in case i with probability $w_i$, and a codeword serves it with probability $P_i$.

- Independent random codewords fail together with probability $\sum_i w_i (1-P_i)^M$.
- No M codewords can do better than $\sum_i w_i (1 - M P_i)^+$ where $P_i$ bounds the fraction of the
  case that one codeword serves.

Both fall in M and are solved for $\log_2 M$. Terms are non-negative, so that a failure of 1e-12 is
as accurate as one of 1/2; M and P are carried as logarithms.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rdsim.information import LN2

_TOLERANCE: Final = 1e-12  # width of the final bracket of log2 M, bits, where floats are that fine
_STEPS: Final = 120  # most steps of the root search; bisection alone would take some 60
_TINY: Final = 1e-320  # stands for a failure of zero, of which a logarithm is taken
_ALL_FAIL: Final = -37.0  # ln P below which -ln(1-P) is P to the last digit
_FINISHED: Final = 800.0
"""Number of codewords times P from which on the failure (1-P)^M, at most exp(-800), is zero."""
_ROUNDED: Final = 1e-12
"""Relative excess over eps that is rounding: a failure that no code avoids may equal eps itself."""


def random_coding_log2_codewords(
    log_weight: Float[Array, " i"], log_ball: Float[Array, " i"], eps: Float[Array, ""]
) -> Float[Array, ""]:
    """Solve for log2 of the least real M >= 1 at which random coding fails with at most eps."""
    exponent = log_exponent(log_ball)
    _, upper = _root_bracket(partial(_random, log_weight, exponent), _enough(exponent), eps)
    return upper


def covering_log2_codewords(
    log_weight: Float[Array, " i"], log_ball: Float[Array, " i"], eps: Float[Array, ""]
) -> Float[Array, ""]:
    """Solve for log2 of the least real M >= 1 at which no code is ruled out by covering."""

    def failure(log2_codewords: Float[Array, ""]) -> Float[Array, ""]:
        # M codewords serve at most the fraction M P of a case, and never more than all of it.
        served = jnp.minimum(log2_codewords * LN2 + log_ball, 0.0)
        return jnp.sum(jnp.exp(log_weight) * -jnp.expm1(served))

    # A failure that no code avoids may equal eps up to rounding: then eps is met, and the root is sought
    # at that failure. Only an excess beyond rounding proves that no code meets eps.
    enough = _enough(log_ball)
    unavoidable = failure(enough)
    met = (unavoidable > eps) & (unavoidable <= eps * (1 + _ROUNDED))
    lower, _ = _root_bracket(failure, enough, jnp.where(met, unavoidable, eps))
    return lower


def log_exponent(log_ball: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""$\ln(-\ln(1-P))$ from $\ln P$: +inf where P = 1, -inf where P = 0."""
    # Below e^-37 the second-order term P^2/2 is less than half a unit in the last place of P.
    tiny = log_ball < _ALL_FAIL
    certain = log_ball >= 0
    log_P = jnp.where(tiny | certain, -1.0, log_ball)
    P = jnp.exp(log_P)
    log_missed = jnp.where(P < 0.3, jnp.log1p(-P), jnp.log(-jnp.expm1(log_P)))
    return jnp.where(certain, jnp.inf, jnp.where(tiny, log_ball, jnp.log(-log_missed)))


def _random(
    log_weight: Float[Array, " i"], exponent: Float[Array, " i"], log2_codewords: Float[Array, ""]
) -> Float[Array, ""]:
    return jnp.sum(jnp.exp(log_weight - jnp.exp(exponent + log2_codewords * LN2)))


def _enough(log_rate: Float[Array, " i"]) -> Float[Array, ""]:
    """log2 of a number of codewords at which every case that can be served at all is served."""
    # M P = 800 for the case that is hardest to serve, so that (1 - P)^M <= e^-800 is zero in
    # float64.
    hardest = jnp.min(jnp.where(jnp.isinf(log_rate), 0.0, log_rate))
    return (jnp.log(_FINISHED) - jnp.minimum(hardest, 0.0)) / LN2


def _root_bracket(
    failure: Callable[[Array], Array], high: Float[Array, ""], eps: Float[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Bracket the root of failure = eps in [0, high] by ITP (Oliveira and Takahashi 2020).

    The invariant: the failure exceeds eps at the lower end and does not at the upper. The bracket is 0, 0
    where a single codeword suffices, and inf, inf where no number of them does.
    """

    def log_excess(log2_codewords: Array) -> Array:
        return jnp.log(jnp.maximum(failure(log2_codewords), _TINY)) - jnp.log(eps)

    # Bisection takes so many steps; ITP may stray from the middle by what it has saved on it.
    bisections = jnp.ceil(jnp.log2(high / (2 * _TOLERANCE)))

    def unfinished(bracket: _Bracket) -> Array:
        precise = bracket.high - bracket.low <= jnp.maximum(_TOLERANCE, 4e-16 * bracket.high)
        return ~precise & (bracket.step < _STEPS)

    def narrow(bracket: _Bracket) -> _Bracket:
        low, upper, y_low, y_upper, step = bracket
        middle = 0.5 * (low + upper)
        # The number of steps is at most that of bisection and one: as long as the bracket is
        # narrower than bisection would have made it, the point may lie off the middle by the
        # difference.
        allowed = _TOLERANCE * jnp.exp2(jnp.minimum(bisections + 1.0 - step, 1000.0))
        radius = jnp.maximum(allowed - 0.5 * (upper - low), 0.0)
        # Interpolate: the root of the chord. Truncate: move it towards the middle, so that neither end
        # stays for ever. Project: no farther from the middle than the radius.
        chord = (y_upper * low - y_low * upper) / (y_upper - y_low)
        nudge = 0.2 * (upper - low) ** 2 / high
        side = jnp.sign(middle - chord)
        truncated = jnp.where(nudge <= jnp.abs(middle - chord), chord + side * nudge, middle)
        inside = jnp.abs(truncated - middle) <= radius
        point = jnp.where(inside, truncated, middle - side * radius)
        y = log_excess(point)
        fails = y > 0
        return _Bracket(
            low=jnp.where(fails, point, low),
            high=jnp.where(fails, upper, point),
            y_low=jnp.where(fails, y, y_low),
            y_high=jnp.where(fails, y_upper, y),
            step=step + 1.0,
        )

    zero = jnp.zeros(())
    at_zero, at_high = log_excess(zero), log_excess(high)
    one_suffices, none_suffices = at_zero <= 0, at_high > 0
    start = jnp.where(one_suffices | none_suffices, 0.0, high)
    end = jax.lax.while_loop(unfinished, narrow, _Bracket(zero, start, at_zero, at_high, zero))
    trivial = jnp.where(one_suffices, 0.0, jnp.inf)
    known = one_suffices | none_suffices
    return jnp.where(known, trivial, end.low), jnp.where(known, trivial, end.high)


class _Bracket(NamedTuple):
    """Ends of a bracket of log2 M, the logarithms of failure over eps there, and the steps taken."""

    low: Float[Array, ""]
    high: Float[Array, ""]
    y_low: Float[Array, ""]
    y_high: Float[Array, ""]
    step: Float[Array, ""]
