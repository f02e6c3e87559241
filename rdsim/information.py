r"""Entropies, divergences and information densities of discrete distributions, in bits.

Here alone zero probabilities are treated: 0 log 0 = 0, in value and in gradient.
"""

import math
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float

from rdsim.namespaces import namespace_of
from rdsim.transformations import falling

LN2: Final = math.log(2.0)


def safe_log2(x: Float[Any, "..."]) -> Float[Any, "..."]:
    """Logarithm to base 2 where x > 0, and 0 where x = 0, so that 0 log 0 = 0 in a product."""
    xp = namespace_of(x)
    positive = x > 0
    return xp.where(positive, xp.log2(xp.where(positive, x, 1.0)), 0.0)


def log_from_zero(x: Float[Any, "..."]) -> Float[Any, "..."]:
    """Natural logarithm where x > 0, and -inf where x = 0, with no derivative there."""
    xp = namespace_of(x)
    positive = x > 0
    return xp.where(positive, xp.log(xp.where(positive, x, 1.0)), -xp.inf)


def log1p(x: Float[Any, "..."]) -> Float[Any, "..."]:
    """Natural logarithm of 1 + x to full accuracy; jnp.log1p errs by 3e-14 just above x = -0.41."""
    xp = namespace_of(x)
    small = xp.abs(x) < 0.3
    return xp.where(small, xp.log1p(xp.where(small, x, 0.0)), xp.log(xp.where(small, 1.0, 1 + x)))


def log_share(
    scores: Float[Array | np.ndarray, "... k"], target: Float[Array | np.ndarray, "..."]
) -> Any:
    r"""Log softmax probability of the target, $\ln (e^{s_t} / \sum_j e^{s_j})$, over the last axis.

    The target's score is subtracted before anything is summed: the probability depends on
    differences of scores alone, and adding a constant to all of them changes nothing but their own
    rounding. With $s_t - \ln \sum_j e^{s_j}$ the rounding of a large score would count as
    information.

    Args:
        scores: s in nats, the target's among them or not, NumPy (on the host) or JAX.
        target: s_t of each row.

    Returns:
        Nats, the shape of the target, of the same kind of array.

    """
    excess = scores - target[..., None]
    summed = scipy.special.logsumexp if isinstance(excess, np.ndarray) else jax.nn.logsumexp
    return -summed(excess, axis=-1)


def at_most_one(mean: Float[Any, "..."]) -> Float[Any, "..."]:
    """A mean of losses or a sum of probabilities, which rounding alone can take above one."""
    return namespace_of(mean).where(
        mean > 1, 1.0, mean
    )  # not jnp.minimum, which halves the derivative at one


def below_largest(scores: Float[Array, "... k"]) -> Float[Array, "... k"]:
    """Scores less the largest of their row, which no softmax depends on, before they are scaled."""
    return scores - jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))


def entropy(p: Float[Array, "... y"]) -> Float[Array, "..."]:
    r"""Shannon entropy $H(p) = -\sum_y p_y \log_2 p_y$ in bits, over the last axis."""
    return -jnp.sum(p * safe_log2(p), axis=-1)


def binary_entropy(p: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""Binary entropy $h(p) = -p \log_2 p - (1-p) \log_2 (1-p)$ in bits."""
    p = jnp.asarray(p, float)
    # At both ends h is zero with an infinite slope, up on the left and down on the right: `falling` carries it. Elsewhere
    # log1p keeps the digits of log(1 - p), of which a small p would leave few.
    inside = (p > 0) & (p < 1)
    q = jnp.where(inside, p, 0.5)
    at_end = jnp.where(p <= 0, -falling(p), falling(p))
    return jnp.where(inside, -(q * jnp.log2(q) + (1 - q) * log1p(-q) / LN2), at_end)


@jax.jit
def relative_entropy(p: Float[Array, "... y"], q: Float[Array, "... y"]) -> Float[Array, "..."]:
    r"""Relative entropy $D(p\|q) = \sum_y p_y \log_2 (p_y / q_y)$ in bits; inf where q misses p."""
    # safe_log2 reads a zero of q as one, which would leave out an infinite term: it is put in by hand.
    missed = jnp.any((p > 0) & (q == 0), axis=-1)
    return jnp.where(missed, jnp.inf, jnp.sum(p * (safe_log2(p) - safe_log2(q)), axis=-1))


@jax.jit
def mutual_information(joint: Float[Array, "... x y"]) -> Float[Array, "..."]:
    r"""Mutual information $I(X;Y) = D(P_{XY} \| P_X P_Y)$ in bits."""
    return information_bits(joint)


def information_bits(joint: Float[Any, "... x y"]) -> Float[Any, "..."]:
    """`mutual_information` of tables of NumPy or JAX, by the same kind of arrays."""
    # Where the product is zero so is the joint, whose weight leaves that term out.
    return (joint * (safe_log2(joint) - safe_log2(_product(joint)))).sum(axis=(-2, -1))


@jax.jit
def information_density(joint: Float[Array, "... x u"]) -> Float[Array, "... x u"]:
    r"""Information density $i(x;u) = \log_2 \frac{P(x,u)}{P(x)P(u)}$ in bits.

    It is the Bayes-optimal retrieval score; -inf where the pair cannot occur although both
    letters can, and 0 where a letter has zero probability (any value would do there).
    """
    return density_bits(joint)


def density_bits(joint: Float[Any, "... x u"]) -> Float[Any, "... x u"]:
    """`information_density` of tables of NumPy or JAX, by the same kind of arrays."""
    product = _product(joint)
    density = safe_log2(joint) - safe_log2(product)
    return namespace_of(joint).where((joint == 0) & (product > 0), -math.inf, density)


def _product(joint: Any) -> Any:
    """P(x) P(y), a table of the shape of P(x,y)."""
    return joint.sum(-1, keepdims=True) * joint.sum(-2, keepdims=True)


def binary_capacity(bias: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""Capacity $1 - h\left(\tfrac{1-t}{2}\right)$ in bits of a binary symmetric channel of bias t.

    $$1 - h\left(\tfrac{1-t}{2}\right)
        = \frac{\ln(1-t^2) + 2t \operatorname{artanh} t}{2 \ln 2}
        = \frac{t^2}{2 \ln 2} + O(t^4).$$

    The bias is one minus twice the crossover, and biases of cascaded channels multiply. Unlike
    `1 - binary_entropy(p)` it keeps its relative accuracy down to t = 0: the textbook
    $(1+t)\ln(1+t) + (1-t)\ln(1-t)$ cancels to first order there and is used only for t > 1/2.

    Args:
        bias: t = 1 - 2p in [-1, 1], shape (...).

    Returns:
        The capacity in [0, 1] bits, shape (...).

    """
    t = jnp.abs(jnp.asarray(bias, float))
    small = t <= 0.5
    near = jnp.where(small, t, 0.0)
    far = jnp.where(small | (t >= 1), 0.75, t)
    # ln(1 - t^2) + 2 t artanh t, with artanh as half a difference of two log1p: the terms of first order are gone before
    # anything is rounded, and those that are left, -t^2 and 2 t^2, cancel no digits.
    capacity_near = jnp.log1p(-near * near) + near * (log1p(near) - log1p(-near))
    capacity_far = (1 + far) * log1p(far) + (1 - far) * log1p(-far)
    return jnp.where(
        t >= 1, 1.0 - falling(t), jnp.where(small, capacity_near, capacity_far) / (2 * LN2)
    )


@jax.custom_jvp
def inverse_binary_entropy(entropy_bits: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""Find the p in [0, 1/2] with $h(p)$ equal to the given entropy.

    Accurate relatively in p, and in 1/2 - p as far as the argument itself resolves it. The
    derivative is that of the inverse function, $1 / \log_2 \frac{1-p}{p}$.

    Args:
        entropy_bits: h(p) in bits, shape (...); below 0 reads as 0, above 1 as 1.

    Returns:
        The crossover p, shape (...).

    """
    h = jnp.clip(jnp.asarray(entropy_bits, float), 0.0, 1.0)
    # Below half a bit p itself is solved for, and keeps its digits near 0; above it the bias, which keeps those of 1/2 - p.
    return jnp.where(h <= 0.5, _small_crossover(h), 0.5 * (1.0 - _small_bias(1.0 - h)))


@inverse_binary_entropy.defjvp
def _inverse_binary_entropy_jvp(
    primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    p = inverse_binary_entropy(*primals)
    return p, tangents[0] * LN2 / (jnp.log1p(-p) - jnp.log(p))


@jax.custom_jvp
def inverse_binary_capacity(capacity_bits: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""Find the bias t in [0, 1] with $1 - h\left(\tfrac{1-t}{2}\right)$ equal to the capacity.

    Accurate relatively in t, down to a capacity of 1e-290 bits. The derivative is that of the
    inverse function, $\ln 2 / \operatorname{artanh} t$: infinite at 0, where t grows as a root.

    Args:
        capacity_bits: capacity in bits, shape (...); below 0 reads as 0, above 1 as 1.

    Returns:
        The bias t = 1 - 2p, shape (...).

    """
    c = jnp.clip(jnp.asarray(capacity_bits, float), 0.0, 1.0)
    # The two solvers with their roles exchanged: 1 - t is twice the crossover, and keeps its digits near t = 1.
    return jnp.where(c <= 0.5, _small_bias(c), 1.0 - 2.0 * _small_crossover(1.0 - c))


@inverse_binary_capacity.defjvp
def _inverse_binary_capacity_jvp(
    primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    t = inverse_binary_capacity(*primals)
    return t, tangents[0] * LN2 / jnp.arctanh(t)


_NEWTON_STEPS: Final = 10
"""A number that is fixed, so that one program serves all arguments, and twice as many as the two solvers below need from their starting points to the last digit."""


def _small_crossover(h: Float[Array, "..."]) -> Float[Array, "..."]:
    """Solve h(p) = h for h <= 1/2 by Newton's method.

    h is concave, so that every step from a lower bound is a lower bound again, and they increase to
    p.
    """
    inside = h > 0
    h = jnp.where(inside, jnp.minimum(h, 0.5), 0.5)
    # A lower bound within a factor of three, h^{-1}(x) >= x / (2 log2(6/x)) (Calabro, 2009).
    start = h / (2.0 * jnp.log2(6.0 / h))

    def step(_: Array, p: Array) -> Array:
        return p + (h - binary_entropy(p)) * LN2 / (jnp.log1p(-p) - jnp.log(p))

    return jnp.where(inside, jax.lax.fori_loop(0, _NEWTON_STEPS, step, start), 0.0)


def _small_bias(c: Float[Array, "..."]) -> Float[Array, "..."]:
    """Solve capacity(t) = c for c <= 1/2 by Newton's method.

    The capacity is convex and at least t^2 / (2 ln 2), so that every step from the starting point,
    an upper bound, is an upper bound again, and they decrease to t.
    """
    inside = c > 0
    c = jnp.where(inside, jnp.minimum(c, 0.5), 0.5)
    start = jnp.sqrt(2.0 * LN2 * c)

    def step(_: Array, t: Array) -> Array:
        return t - (binary_capacity(t) - c) * LN2 / jnp.arctanh(t)

    return jnp.where(inside, jax.lax.fori_loop(0, _NEWTON_STEPS, step, start), 0.0)
