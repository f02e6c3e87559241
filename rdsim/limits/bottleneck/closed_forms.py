r"""Information bottlenecks of discrete sources in closed form.

$\mathrm{IB}(R)$ is the most information about the query X that R bits about the database letter Y
can keep; it is the rate at which items can be told apart when each is stored at R bits per letter.
All functions are elementwise over an array of rates or relevances.

All raise ValueError if an argument is no pmf, no probability, negative, or the shapes do not fit.
"""

from typing import Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.information import binary_capacity, entropy, inverse_binary_capacity
from rdsim.limits.bottleneck.gaussian import BottleneckPoint
from rdsim.number_types import ArrayLike
from rdsim.root_finding import bisect
from rdsim.transformations import falling, implicit_root

_LINEAR: Final = 1e-200  # bits below which 1 - h((1-t)/2) is t^2 / (2 ln 2) to far beyond float64
_HALVINGS: Final = 100
"""Bisections of the test channel's bias, which exhaust the digits of a float64."""
_ROUNDING: Final = 1e-15  # relative excess over I(X;Y) up to which a relevance counts as I(X;Y)


@validation.needs_float64
def bottleneck_dsbs(crossover: ArrayLike, *, rate: ArrayLike) -> Float[Array, "..."]:
    r"""Compute IB(R) of the doubly symmetric binary source with crossover p.

    $$\mathrm{IB}(R) = \max_{I(U;Y) \le R} I(U;X) = 1 - h(a * p), \quad h(a) = 1 - R,$$

    where $a * p = a(1-p) + p(1-a)$; a binary symmetric test channel with crossover a achieves it
    (Mrs. Gerber's lemma). In the biases $1-2a$ and $1-2p$, which multiply, it loses no digits to
    cancellation, so that $\mathrm{IB}(R) \to (1-2p)^2 R$ holds for tiny rates too.

    Args:
        crossover: p in [0, 1], any shape that broadcasts with the rate.
        rate: R >= 0, bits about Y a letter, any shape. More than H(Y) = 1 bit is of no further
            use: the value at 1 is returned.

    Returns:
        IB(R) in bits per letter, the broadcast shape.

    Reference:
        Wyner & Ziv (1973), "A theorem on the entropy of certain binary sequences and
        applications: part I"; Witsenhausen & Wyner (1975), "A conditional entropy bound for a
        pair of discrete random variables".

    """
    R = validation.interval("rate", rate, low=0.0)
    p = validation.interval("crossover", crossover, low=0.0, high=1.0)
    R, p = validation.broadcast(rate=R, crossover=p)
    return _dsbs_relevance(R, p)


@validation.needs_float64
def bottleneck_dsbs_rate(crossover: ArrayLike, *, relevance: ArrayLike) -> Float[Array, "..."]:
    r"""Compute the least rate R with IB(R) at least the given relevance: the inverse of IB.

    $$\mathrm{IB}^{-1}(I) = 1 - h(a), \quad h(a * p) = 1 - I.$$

    Args:
        crossover: p in [0, 1], any shape that broadcasts with the relevance.
        relevance: I >= 0, bits about X a letter, any shape.

    Returns:
        R in bits per letter, the broadcast shape; infinite where the relevance exceeds
        I(X;Y) = 1 - h(p), which no rate gives.

    Reference:
        Wyner & Ziv (1973), as for `bottleneck_dsbs`.

    """
    v = validation.interval("relevance", relevance, low=0.0)
    p = validation.interval("crossover", crossover, low=0.0, high=1.0)
    v, p = validation.broadcast(relevance=v, crossover=p)
    return _dsbs_rate(v, p)


@validation.needs_float64
def bottleneck_dsbs_point(crossover: ArrayLike, *, slope: ArrayLike) -> BottleneckPoint:
    r"""Compute the point of the doubly symmetric binary source's bottleneck at a slope.

    With $c = |1 - 2p|$ and $t = 1 - 2a$ the bias of the test channel, IB has the slope s where

    $$c \operatorname{artanh}(c t) = s \operatorname{artanh} t.$$

    Args:
        crossover: p in [0, 1], any shape that broadcasts with the slope.
        slope: s in (0, 1), bits about X per bit about Y, any shape.

    Returns:
        I(U;X) and I(U;Y) in bits per letter, each of the broadcast shape: zero from the slope
        $(1-2p)^2$ on, which the curve has at rate zero.

    Reference:
        Wyner & Ziv (1973), as for `bottleneck_dsbs`.

    """
    s = validation.interval("slope", slope, low=0.0, high=1.0, open_low=True, open_high=True)
    p = validation.interval("crossover", crossover, low=0.0, high=1.0)
    s, p = validation.broadcast(slope=s, crossover=p)
    return _dsbs_point(s, p)


@validation.needs_float64
def bottleneck_erasure(p: ArrayLike, erasure: ArrayLike, *, rate: ArrayLike) -> Float[Array, "..."]:
    r"""Compute IB(R) of an erasure pair: X is Y with probability 1 - e, and erased otherwise.

    $$\mathrm{IB}(R) = (1-e) \min(R, H(Y)).$$

    Whether X is erased depends on neither Y nor U, so that I(U;X) = (1-e) I(U;Y) for every U, and a
    relevance I needs I / (1-e) bits.

    Args:
        p: P(y), shape (|Y|,), summing to one.
        erasure: e in [0, 1], a scalar.
        rate: R >= 0 in bits, shape (...).

    Returns:
        IB(R) in bits, shape (...).

    Reference:
        Witsenhausen and Wyner (1975), "A conditional entropy bound for a pair of discrete random
        variables".

    """
    p = validation.pmf("p", p)
    e = validation.interval("erasure", erasure, low=0.0, high=1.0, ndim=0)
    R = validation.interval("rate", rate, low=0.0)
    return (1 - e) * jnp.minimum(R, entropy(p))


@jax.jit
def _dsbs_relevance(
    rate: Float[Array, "*grid"], crossover: Float[Array, "*grid"]
) -> Float[Array, "*grid"]:
    bias = jnp.abs(1 - 2 * crossover)
    # At rate 0 IB has the slope (1-2p)^2, but the bias of the test channel grows as the square root of
    # the rate, with infinite slope: the linear approximation is exact to float64 there.
    tiny, useful = rate < _LINEAR, rate < 1
    inside = useful & ~tiny
    test_bias = inverse_binary_capacity(jnp.where(inside, rate, 0.5))
    value = binary_capacity(test_bias * bias)
    everything = binary_capacity(bias)
    return jnp.where(tiny, bias**2 * rate, jnp.where(useful, value, everything))


@jax.jit
def _dsbs_rate(
    relevance: Float[Array, "*grid"], crossover: Float[Array, "*grid"]
) -> Float[Array, "*grid"]:
    bias = jnp.abs(1 - 2 * crossover)
    everything = binary_capacity(bias)
    # The inverse of the capacity is evaluated for harmless arguments where another branch is
    # chosen: an infinite derivative of an unused branch would turn into NaN when it is multiplied
    # by zero.
    inside = (relevance >= _LINEAR) & (relevance < everything)
    # The relevance is the capacity of the product of both biases, that of the source and of the
    # test channel.
    product = inverse_binary_capacity(jnp.where(inside, relevance, 0.5))
    divisor = jnp.where(bias > 0, bias, 1.0)
    value = binary_capacity(jnp.minimum(product / divisor, 1.0))
    linear = jnp.minimum(relevance / divisor**2, 1.0)
    below = (relevance < everything) | (relevance == 0)
    # At the end of the curve, where the relevance is all there is, the rate rises infinitely fast.
    last = 1.0 - falling(relevance - everything)
    reached = jnp.where(inside, value, jnp.where(below, linear, last))
    return jnp.where(relevance > everything * (1 + _ROUNDING), jnp.inf, reached)


@jax.jit
def _dsbs_point(s: Float[Array, "*grid"], p: Float[Array, "*grid"]) -> BottleneckPoint:
    """Bisect for v = artanh t, in which a test channel without noise is infinitely far away."""
    c = jnp.abs(1 - 2 * p)
    inside = (s < c * c) & (c < 1)
    # Where there is no root, another problem is solved and not used.
    c_in, s_in = jnp.where(inside, c, 0.5), jnp.where(inside, s, 0.1)

    def excess(v: Float[Array, "*grid"]) -> Float[Array, "*grid"]:
        return c_in * jnp.arctanh(c_in * jnp.tanh(v)) - s_in * v

    # Positive up to the root, and not beyond c artanh(c) / s, as c tanh v < c.
    top = c_in * jnp.arctanh(c_in) / s_in
    _, found = bisect(lambda v: excess(v) <= 0, jnp.zeros_like(top), top, steps=_HALVINGS)
    bias = jnp.tanh(implicit_root(excess, found))
    bias = jnp.where(inside, bias, jnp.where(c < 1, 0.0, 1.0))
    return BottleneckPoint(relevance=binary_capacity(c * bias), complexity=binary_capacity(bias))
