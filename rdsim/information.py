r"""Entropies, divergences and information densities of discrete laws, in bits.

Zero probabilities have their one safe home here: 0 log 0 = 0, in value and in gradient.
"""

import math
from typing import Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

LN2: Final = math.log(2.0)


def safe_log2(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """log2(x) where x > 0, and 0 where x = 0, so that p * safe_log2(p) is 0 log 0 = 0."""
    positive = x > 0
    return jnp.where(positive, jnp.log2(jnp.where(positive, x, 1.0)), 0.0)


def entropy(p: Float[Array, "... y"]) -> Float[Array, "..."]:
    r"""Shannon entropy $H(p) = -\sum_y p_y \log_2 p_y$ in bits, over the last axis."""
    return -jnp.sum(p * safe_log2(p), axis=-1)


def binary_entropy(p: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""Binary entropy $h(p) = -p \log_2 p - (1-p) \log_2 (1-p)$ in bits."""
    p = jnp.asarray(p, float)
    inside = (p > 0) & (p < 1)
    q = jnp.where(inside, p, 0.5)
    return jnp.where(inside, -(q * jnp.log2(q) + (1 - q) * jnp.log1p(-q) / LN2), 0.0)


def inverse_binary_entropy(entropy_bits: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""The p in [0, 1/2] with $h(p)$ equal to the given entropy in [0, 1] bits.

    Bisection, h being increasing there; 1100 halvings resolve even the smallest p to its last bit.
    """
    target = jnp.asarray(entropy_bits, float)

    def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = 0.5 * (low + high)
        below = binary_entropy(middle) < target
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    low, high = jax.lax.fori_loop(
        0, 1100, halve, (jnp.zeros_like(target), jnp.full_like(target, 0.5))
    )
    return jnp.where(target <= 0, 0.0, jnp.where(target >= 1, 0.5, 0.5 * (low + high)))


def relative_entropy(p: Float[Array, "... y"], q: Float[Array, "... y"]) -> Float[Array, "..."]:
    r"""Relative entropy $D(p\|q) = \sum_y p_y \log_2 (p_y / q_y)$ in bits; inf where q misses p."""
    missed = jnp.any((p > 0) & (q == 0), axis=-1)
    return jnp.where(missed, jnp.inf, jnp.sum(p * (safe_log2(p) - safe_log2(q)), axis=-1))


def mutual_information(joint: Float[Array, "... x y"]) -> Float[Array, "..."]:
    r"""Mutual information $I(X;Y) = D(P_{XY} \| P_X P_Y)$ in bits."""
    product = joint.sum(-1, keepdims=True) * joint.sum(-2, keepdims=True)
    return jnp.sum(joint * (safe_log2(joint) - safe_log2(product)), axis=(-2, -1))


def information_density(joint: Float[Array, "... x u"]) -> Float[Array, "... x u"]:
    r"""Information density $i(x;u) = \log_2 \frac{P(x,u)}{P(x)P(u)}$ in bits.

    It is the Bayes-optimal retrieval score; -inf where the pair cannot occur although both
    letters can, and 0 where a letter has no mass (no claim is made there).
    """
    product = joint.sum(-1, keepdims=True) * joint.sum(-2, keepdims=True)
    density = safe_log2(joint) - safe_log2(product)
    return jnp.where((joint == 0) & (product > 0), -jnp.inf, density)
