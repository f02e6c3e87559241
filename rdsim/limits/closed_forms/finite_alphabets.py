r"""R(D) of finite alphabets in closed form: Hamming and erasure distortion."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.information import binary_entropy, entropy, safe_log2
from rdsim.limits.closed_forms._levels import (
    at_most,
    checked_distortion,
    descending,
    greatest,
    up_to,
    with_rate_at_zero,
)
from rdsim.number_types import ArrayLike, Integer


@validation.needs_float64
def bernoulli_hamming(p: ArrayLike, *, distortion: ArrayLike) -> Float[Array, "..."]:
    r"""Compute R(D) of a Bernoulli(p) source under Hamming distortion.

    $$R(D) = h(p) - h(D), \quad 0 \le D \le \min(p, 1-p).$$

    Args:
        p: probability of one, in [0, 1], a scalar.
        distortion: D >= 0, probability of a wrong letter, shape (...).

    Returns:
        R(D) in bits per letter, shape (...).

    Reference:
        Shannon (1959), "Coding theorems for a discrete source with a fidelity criterion".

    """
    p = validation.interval("p", p, low=0.0, high=1.0, ndim=0)
    return _bernoulli_hamming(p, checked_distortion(distortion))


@validation.needs_float64
def uniform_hamming(letters: Integer, *, distortion: ArrayLike) -> Float[Array, "..."]:
    r"""Compute R(D) of M equally likely letters under Hamming distortion.

    $$R(D) = \log_2 M - h(D) - D \log_2 (M-1), \quad 0 \le D \le 1 - 1/M.$$

    Args:
        letters: M, an integer, 1 to 2^1000.
        distortion: D >= 0, probability of a wrong letter, shape (...).

    Returns:
        R(D) in bits per letter, shape (...).


    Reference:
        Cover & Thomas (2006), "Elements of information theory", problem 10.5.

    """
    letters = validation.integer("letters", letters, low=1, high=2**1000)
    # As floats, for no type of integers of JAX holds 2^1000; M - 1 is taken before it is rounded.
    return _uniform_hamming(
        jnp.asarray(float(letters)), jnp.asarray(float(letters - 1)), checked_distortion(distortion)
    )


@validation.needs_float64
def hamming(p: ArrayLike, *, distortion: ArrayLike) -> Float[Array, "..."]:
    r"""Compute R(D) of any finite source under Hamming distortion, by reverse water-filling.

    At level $\theta$ every wrong letter keeps the posterior probability $\min(p_y, \theta)$:

    $$D = \sum_y \min(p_y, \theta) - \theta, \qquad
      R(D) = H(Y) - \eta(1-D) + \eta(\theta) - \sum_y \eta(\min(p_y, \theta)),$$

    with $\eta(x) = -x \log_2 x$, up to $D_{\max} = 1 - \max_y p_y$. Letters with $p_y \le \theta$
    are never reproduced. Letters without mass and ties are welcome.

    Args:
        p: source pmf, shape (|Y|,).
        distortion: D >= 0, probability of a wrong letter, shape (...).

    Returns:
        R(D) in bits per letter, shape (...).

    Reference:
        Erokhin (1958), "Epsilon-entropy of a discrete random variable".

    """
    return _hamming(validation.pmf("p", p), checked_distortion(distortion))


@validation.needs_float64
def erasure(p: ArrayLike, *, distortion: ArrayLike) -> Float[Array, "..."]:
    r"""Compute R(D) of any finite source under erasure distortion: 0 right, 1 erased, inf wrong.

    $$R(D) = H(Y) - \max_{v:\, D v_y \le p_y} D\, H(v)
    = H(Y) + \sum_y m_y \log_2 \frac{m_y}{D}, \quad m_y = \min(p_y, \theta), \ \sum_y m_y = D.$$

    Letters are erased from the top: what is erased is made as uncertain as it can be. For a uniform
    source this is $(1 - D) H(Y)$; where masses differ it lies strictly below that line on (0, 1).

    Args:
        p: source pmf, shape (|Y|,).
        distortion: D >= 0, fraction of letters erased, shape (...).

    Returns:
        R(D) in bits per letter, shape (...).

    Reference:
        Uniform source: Cover & Thomas (2006), "Elements of information theory", problem 10.7. In
        general: I(Y;U) = H(Y) - D H(Y | U = erased), and D P(y | erased) is at most p(y).

    """
    return _erasure(validation.pmf("p", p), checked_distortion(distortion))


@jax.jit
def _bernoulli_hamming(
    p: Float[Array, ""], distortion: Float[Array, "*grid"]
) -> Float[Array, "*grid"]:
    # The better constant letter is wrong so often: from there on nothing need be sent.
    maximal = jnp.minimum(p, 1 - p)
    D = at_most(distortion, maximal)
    return up_to(maximal, binary_entropy(p) - binary_entropy(D), distortion)


@jax.jit
def _uniform_hamming(
    letters: Float[Array, ""], others: Float[Array, ""], distortion: Float[Array, "*grid"]
) -> Float[Array, "*grid"]:
    # A constant letter is wrong with probability 1 - 1/M; for M = 1 it is zero, and so is the rate, as 0 log 0 = 0.
    maximal = others / letters
    D = at_most(distortion, maximal)
    rate = jnp.log2(letters) - binary_entropy(D) - D * safe_log2(others)
    return up_to(maximal, rate, distortion)


@jax.jit
def _hamming(p: Float[Array, " y"], distortion: Float[Array, "*grid"]) -> Float[Array, "*grid"]:
    # One letter leaves no other whose line could be inverted below.
    if p.size == 1:
        return jnp.zeros_like(distortion)
    p, unfilled = descending(p)
    maximal = unfilled[0]
    D = at_most(distortion, maximal)
    # With the k likeliest letters reproduced, D = (k-1) theta + (mass of the others). D(theta) is
    # the least of these lines over k, so theta is the largest of their inverses.
    others = jnp.arange(1, p.size)
    theta, last = greatest((D[..., None] - unfilled[1:]) / others)
    # `last` counts from zero: with k = last + 2 letters reproduced, all but the likeliest of them, last + 1, are at the level.
    filled = others <= 1 + last[..., None]
    equivocation = _eta(1 - D) + jnp.sum(
        jnp.where(filled, _eta(theta)[..., None], _eta(p[1:])), axis=-1
    )
    rate = up_to(maximal, entropy(p) - equivocation, distortion)
    # A source that is certain has the rate zero at D = 0 too, and no infinite slope.
    return jnp.where(
        (distortion == 0) & (maximal > 0), with_rate_at_zero(distortion, rate, rate), rate
    )


@jax.jit
def _erasure(p: Float[Array, " y"], distortion: Float[Array, "*grid"]) -> Float[Array, "*grid"]:
    maximal = jnp.ones(())
    # At distortion 0 infinite terms cancel in the derivatives: they are taken just above it.
    D = at_most(jnp.where(distortion > 0, distortion, distortion + 1e-300), maximal)
    p, unfilled = descending(p)
    # With the k likeliest letters erased down to theta, D = k theta + (mass of the others).
    letters = jnp.arange(1, p.size + 1)
    theta, last = greatest((D[..., None] - unfilled) / letters)
    # Unlike under Hamming distortion the likeliest letter is levelled too: k = last + 1 of them.
    levelled = letters <= 1 + last[..., None]
    # H(Y) - D H(v) with v the erased letters' distribution, m / D: D H(v) = sum eta(m) - eta(D).
    erased = jnp.sum(jnp.where(levelled, _eta(theta)[..., None], _eta(p)), axis=-1)
    return up_to(maximal, entropy(p) - (erased - _eta(D)), distortion)


def _eta(x: Float[Array, "..."]) -> Float[Array, "..."]:
    return -x * safe_log2(x)
