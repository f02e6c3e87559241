r"""Identification with query and items both compressed: lower and upper bounds (C23).

The query X is kept at $R_x$ bits per letter as U, the items Y at $R_y$ bits as V. The identification rate
is the largest at which items are still identified. It lies between

- lower, which is achieved: $I(U;V)$ for a long Markov chain $U - X - Y - V$ with $I(X;U) \le R_x$,
  $I(Y;V) \le R_y$, and what time sharing of such chains gives;
- upper, the converse: the bottleneck with one side uncompressed,
  $\min\{\mathrm{IB}_Y(R_y), \mathrm{IB}_X(R_x)\}$. As $\mathrm{IB}(R) \le R$, no rate above $R_x$ or
  $R_y$ is possible either.

One symmetric chain is not optimal: its $I(U;V)$ falls as the product $R_x R_y$ at small rates, while
describing a fraction of the letters at higher rates, and the others not at all, falls as a straight
line. Both are in Westover and O'Sullivan (2008), "Achievable rates for pattern recognition", IEEE Trans.
Inf. Theory 54(1), Theorems 1 and 2, with the Gaussian and the binary example.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.information import (
    LN2,
    binary_capacity,
    inverse_binary_capacity,
    log1p,
    log_from_zero,
)
from rdsim.limits.bottleneck import bottleneck_dsbs, bottleneck_gaussian
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.transformations import implicit_root

_SHARES: Final = 257
"""Fractions of the letters on the grid that the golden-section search starts from."""
_GOLDEN_STEPS: Final = 50  # golden-section steps, which shrink the bracket by a factor of 4e-11
_GOLDEN: Final = 0.6180339887498949  # the golden ratio less one
_KINK: Final = 1e-6
"""Distance from a kink within which the maximum lies at it, above the golden section's accuracy."""
_LINEAR_BELOW: Final = 1e-200
"""Rate, bits, up to which an information is proportional to it in float64."""


@result
class TwoSidedBounds:
    r"""Bounds on the identification rate at given description rates, bits per letter.

    Attributes:
        long_chain: I(U;V) of the symmetric chain U - X - Y - V at these rates, shape (...).
        lower: the best that time sharing such a chain with silence gives, shape (...); achievable.
        upper: the tighter of the two one-sided bottlenecks, shape (...).
        share: fraction of the letters that are described in the lower bound, shape (...).

    """

    long_chain: Float[Array, "..."]
    lower: Float[Array, "..."]
    upper: Float[Array, "..."]
    share: Float[Array, "..."]

    @property
    def gap(self) -> Float[Array, "..."]:
        """Upper minus lower bound: the limit itself is not known in between."""
        return self.upper - self.lower


@validation.needs_float64
def two_sided_gaussian(
    correlation: ArrayLike, *, query_rate: ArrayLike, item_rate: ArrayLike
) -> TwoSidedBounds:
    r"""Bound the identification rate of a Gaussian pair with both sides compressed.

    $$I(U;V) = -\tfrac12 \log_2\left(1 - \rho^2 (1 - 2^{-2R_x})(1 - 2^{-2R_y})\right).$$

    Args:
        correlation: rho in [-1, 1], any shape.
        query_rate: R_x >= 0, bits per letter of the query, any shape; may be inf.
        item_rate: R_y >= 0, bits per letter of an item, any shape; may be inf. All broadcast.

    """
    r = validation.interval("correlation", correlation, low=-1.0, high=1.0)
    r, Rx, Ry = _checked_rates("correlation", r, query_rate, item_rate)
    upper = jnp.minimum(bottleneck_gaussian(r, rate=Rx), bottleneck_gaussian(r, rate=Ry))
    return _two_sided_bounds(_gaussian_chain, r, Rx, Ry, upper)


@validation.needs_float64
def two_sided_dsbs(
    crossover: ArrayLike, *, query_rate: ArrayLike, item_rate: ArrayLike
) -> TwoSidedBounds:
    r"""Bound the identification rate of the doubly symmetric binary source, both sides compressed.

    $$I(U;V) = 1 - h(a * p * b), \quad h(a) = 1 - R_x, \; h(b) = 1 - R_y.$$

    Args:
        crossover: p in [0, 1], any shape.
        query_rate: R_x >= 0, bits per letter of the query, any shape; above one of no further use.
        item_rate: R_y >= 0, bits per letter of an item, any shape. All broadcast.

    """
    p = validation.interval("crossover", crossover, low=0.0, high=1.0)
    p, Rx, Ry = _checked_rates("crossover", p, query_rate, item_rate)
    upper = jnp.minimum(bottleneck_dsbs(p, rate=Rx), bottleneck_dsbs(p, rate=Ry))
    return _two_sided_bounds(_dsbs_chain, p, Rx, Ry, upper)


def _checked_rates(
    name: str, value: Array, query_rate: ArrayLike, item_rate: ArrayLike
) -> tuple[Float[Array, "*grid"], Float[Array, "*grid"], Float[Array, "*grid"]]:
    Rx = validation.interval("query_rate", query_rate, low=0.0)
    Ry = validation.interval("item_rate", item_rate, low=0.0)
    value, Rx, Ry = validation.broadcast(**{name: value}, query_rate=Rx, item_rate=Ry)
    return value, Rx, Ry


@partial(jax.jit, static_argnames="chain")
def _two_sided_bounds(
    chain: Callable[[Array, Array, Array], Array],
    source: Float[Array, "*grid"],
    Rx: Float[Array, "*grid"],
    Ry: Float[Array, "*grid"],
    upper: Float[Array, "*grid"],
) -> TwoSidedBounds:
    alone = chain(source, Rx, Ry)
    shared, share = _time_shared(chain, source, Rx, Ry)
    # Where the bounds meet, rounding must not make them cross.
    best = jnp.where(shared > alone, shared, alone)
    return TwoSidedBounds(
        long_chain=jnp.where(alone <= upper, alone, upper),
        lower=jnp.where(best < upper, best, upper),
        upper=upper,
        share=jnp.where(alone >= shared, 1.0, share),
    )


def _time_shared(
    chain: Callable[[Array, Array, Array], Array], source: Array, Rx: Array, Ry: Array
) -> tuple[Float[Array, "*grid"], Float[Array, "*grid"]]:
    """Maximise share * chain(Rx / share, Ry / share): a grid, a golden-section search, a Newton step.

    The grid finds the neighbourhood of the largest maximum, for the function need not be concave; golden
    section narrows it to half of the digits; one Newton step on the slope gives the other half, and its
    implicit root gives the derivatives. Returns the maximum and the share.
    """

    def rate_of_described(R: Array, share: Array) -> Array:
        return jnp.where(jnp.isinf(R), R, jnp.where(jnp.isinf(R), 1.0, R) / share)

    def value(share: Array) -> Array:
        described = rate_of_described(Rx, share), rate_of_described(Ry, share)
        return share * chain(source, *described)

    grid = jnp.linspace(1 / _SHARES, 1.0, _SHARES)
    # Time sharing: a fraction of the letters is described at the rate over the fraction, the rest
    # not at all.
    best = grid[jnp.argmax(jax.lax.map(value, grid), axis=0)]

    # Each step drops the part of the bracket beside the lower of two inner points.
    def cut(_: Array, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        # One call for both points: the chain stands once in the program, whose compilation is most of a first call.
        at_left, at_right = jax.vmap(value)(jnp.stack([left, right]))
        climbs = at_left < at_right
        return jnp.where(climbs, left, low), jnp.where(climbs, high, right)

    start = jnp.maximum(best - 1 / _SHARES, 0.1 / _SHARES), jnp.minimum(best + 1 / _SHARES, 1.0)
    low, high = jax.lax.fori_loop(0, _GOLDEN_STEPS, cut, start)
    share = jax.lax.stop_gradient(0.5 * (low + high))

    def slope(share: Array) -> Array:
        return jax.jvp(value, (share,), (jnp.ones_like(share),))[1]

    # Values near a maximum agree to half their digits: one small Newton step finds the other half. A long
    # one shows that the maximum is at a kink, where one side is described in full.
    first, second = jax.jvp(slope, (share,), (jnp.ones_like(share),))
    better = share - first / jnp.where(second < 0, second, 1.0)
    smooth = (second < 0) & (jnp.abs(better - share) < _KINK) & (better < 1) & (better > 0)
    kinked = share
    for R in (Rx, Ry):
        there = (jnp.abs(share - R) < _KINK) & (R <= 1)
        smooth, kinked = smooth & ~there, jnp.where(there, R, kinked)
    share = jnp.where(smooth, implicit_root(slope, jnp.where(smooth, better, share)), kinked)
    return value(share), share


def _gaussian_chain(
    r: Float[Array, "*grid"], Rx: Float[Array, "*grid"], Ry: Float[Array, "*grid"]
) -> Float[Array, "*grid"]:
    """The bottleneck at the rate R with 1 - 2^(-2R) the product of both sides' 1 - 2^(-2R)."""
    a, b = jnp.exp2(-2 * Rx), jnp.exp2(-2 * Ry)
    product = jnp.expm1(-2 * LN2 * Rx) * jnp.expm1(-2 * LN2 * Ry)
    small = product < 0.5
    lost = jnp.where(small, 1.0, a + b * (1 - a))  # 1 - product, with the digits of both
    nats = jnp.where(small, log1p(-jnp.where(small, product, 0.0)), log_from_zero(lost))
    return bottleneck_gaussian(r, rate=-0.5 * nats / LN2)


def _dsbs_chain(
    p: Float[Array, "*grid"], Rx: Float[Array, "*grid"], Ry: Float[Array, "*grid"]
) -> Float[Array, "*grid"]:
    """I(U;V) of the Markov chain U-X-Y-V of the DSBS, with binary symmetric test channels of rates Rx, Ry."""

    def bias(R: Float[Array, "*grid"]) -> Float[Array, "*grid"]:
        """Bias of the test channel at rate R; its slope at rate 0 is infinite, and at 1 zero."""
        inside = (R > _LINEAR_BELOW) & (R < 1)
        return jnp.where(
            inside, inverse_binary_capacity(jnp.where(inside, R, 0.5)), jnp.where(R < 1, 0.0, 1.0)
        )

    a, b = bias(jnp.stack([Rx, Ry]))  # in one call, as above
    # The information is linear in the least rates, although the bias grows as a root.
    # The capacity of a small bias t is t^2 / (2 ln 2), and t^2 = 2 ln 2 R at rate R: their
    # product is linear in R.
    linear = jnp.where(Rx <= _LINEAR_BELOW, Rx * b**2, Ry * a**2)
    both = (Rx > _LINEAR_BELOW) & (Ry > _LINEAR_BELOW)
    alone = binary_capacity(a * b * (1 - 2 * p))
    return jnp.where(both, alone, linear * (1 - 2 * p) ** 2)
