r"""Rate-distortion functions known in closed form, to the last digit and at every distortion.

Each function is $R(D)$ in bits per letter, elementwise over an array of distortions D >= 0: zero from
$D_{\max}$ on, and exact at D = 0, where the slope is infinite (-1e300 stands for it). They are what
the numeric solvers are tested against. A parameter out of its range, or a negative distortion, is a ValueError.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rdsim import validation
from rdsim.information import binary_entropy, entropy, safe_log2
from rdsim.number_types import ArrayLike, Integer
from rdsim.transformations import falling, with_derivatives_of


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
    return _bernoulli_hamming(p, _distortion(distortion))


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
    return _uniform_hamming(
        jnp.asarray(float(letters)), jnp.asarray(float(letters - 1)), _distortion(distortion)
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
    return _hamming(validation.pmf("p", p), _distortion(distortion))


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
    return _erasure(validation.pmf("p", p), _distortion(distortion))


@validation.needs_float64
def gaussian(variance: ArrayLike, *, distortion: ArrayLike) -> Float[Array, "..."]:
    r"""Compute R(D) of a Gaussian letter under squared error.

    $$R(D) = \tfrac12 \log_2 \frac{\sigma^2}{D}, \quad 0 \le D \le \sigma^2,$$

    infinite at D = 0 unless the variance is zero.

    Args:
        variance: sigma^2 >= 0, finite, a scalar.
        distortion: D >= 0, mean squared error, shape (...).

    Returns:
        R(D) in bits per letter, shape (...).

    Reference:
        Shannon (1949), "Communication in the presence of noise".

    """
    variance = validation.interval(
        "variance", variance, low=0.0, high=math.inf, open_high=True, ndim=0
    )
    return _vector_gaussian(variance[None], _distortion(distortion))


@validation.needs_float64
def vector_gaussian(variances: ArrayLike, *, distortion: ArrayLike) -> Float[Array, "..."]:
    r"""Compute R(D) of a Gaussian vector under total squared error, by reverse water-filling.

    $$D = \sum_k \min(\sigma_k^2, \theta), \qquad
      R(D) = \sum_k \tfrac12 \log_2^+ \frac{\sigma_k^2}{\theta}, \quad
      0 \le D \le \sum_k \sigma_k^2,$$

    infinite at D = 0 unless all variances are zero. The level $\theta$ is exact, not searched for.

    Args:
        variances: sigma_k^2 >= 0, finite, of independent components (the eigenvalues of a
            covariance), shape (n,).
        distortion: D >= 0, squared error summed over the components, shape (...).

    Returns:
        R(D) in bits per vector, shape (...).

    Reference:
        Kolmogorov (1956), "On the Shannon theory of information transmission".

    """
    variances = validation.interval(
        "variances", variances, low=0.0, high=math.inf, open_high=True, ndim=1
    )
    if variances.size == 0:
        raise ValueError("variances must have at least one component, got shape (0,)")
    return _vector_gaussian(variances, _distortion(distortion))


@validation.needs_float64
def laplacian_absolute(rate_parameter: ArrayLike, *, distortion: ArrayLike) -> Float[Array, "..."]:
    r"""Compute R(D) of the Laplace density $\tfrac{\lambda}{2} e^{-\lambda|y|}$ under |y - u|.

    $$R(D) = -\log_2 (\lambda D), \quad 0 \le D \le 1/\lambda.$$

    Args:
        rate_parameter: lambda > 0, finite, a scalar; the mean of |Y| is 1/lambda.
        distortion: D >= 0, mean absolute error, shape (...).

    Returns:
        R(D) in bits per letter, shape (...); infinite at D = 0.

    Reference:
        Berger (1971), "Rate distortion theory", section 4.3.

    """
    return _minus_log2(_rate_parameter(rate_parameter), _distortion(distortion))


@validation.needs_float64
def exponential_one_sided(
    rate_parameter: ArrayLike, *, distortion: ArrayLike
) -> Float[Array, "..."]:
    r"""Compute R(D) of the density $\lambda e^{-\lambda y}$, y >= 0, under one-sided error.

    The error is y - u where u <= y, and infinite where the reproduction overshoots:

    $$R(D) = -\log_2 (\lambda D), \quad 0 \le D \le 1/\lambda.$$

    Args:
        rate_parameter: lambda > 0, finite, a scalar; the mean of Y is 1/lambda.
        distortion: D >= 0, mean one-sided error, shape (...).

    Returns:
        R(D) in bits per letter, shape (...); infinite at D = 0.

    Reference:
        Verdu (1996), "The exponential distribution in information theory".

    """
    return _minus_log2(_rate_parameter(rate_parameter), _distortion(distortion))


def _distortion(distortion: ArrayLike) -> Float[Array, "..."]:
    return validation.interval("distortion", distortion, low=0.0)


def _rate_parameter(rate_parameter: ArrayLike) -> Float[Array, ""]:
    return validation.interval(
        "rate_parameter",
        rate_parameter,
        low=0.0,
        high=math.inf,
        open_low=True,
        open_high=True,
        ndim=0,
    )


def _from(
    maximal: Float[Array, ""], rate: Float[Array, "*grid"], distortion: Float[Array, "*grid"]
) -> Float[Array, "*grid"]:
    """Cut the rate to 0 beyond the maximal distortion, and below it where rounding went under.

    At the maximal distortion the derivatives are those from below.
    """
    rate = with_derivatives_of(jnp.maximum(rate, 0.0), rate)
    return jnp.where(distortion <= maximal, rate, 0.0)


def _at_most(distortion: Float[Array, "*grid"], maximal: Float[Array, ""]) -> Float[Array, "*grid"]:
    return jnp.where(distortion <= maximal, distortion, maximal)


def _lossless(
    distortion: Float[Array, "*grid"], rate: Float[Array, "*grid"], at_zero: Any
) -> Float[Array, "*grid"]:
    """Put in the rate at distortion 0, where it falls infinitely fast."""
    return jnp.where(distortion == 0, at_zero + falling(distortion), rate)


@jax.jit
def _bernoulli_hamming(
    p: Float[Array, ""], distortion: Float[Array, "*grid"]
) -> Float[Array, "*grid"]:
    maximal = jnp.minimum(p, 1 - p)
    D = _at_most(distortion, maximal)
    return _from(maximal, binary_entropy(p) - binary_entropy(D), distortion)


@jax.jit
def _uniform_hamming(
    letters: Float[Array, ""], others: Float[Array, ""], distortion: Float[Array, "*grid"]
) -> Float[Array, "*grid"]:
    maximal = others / letters
    D = _at_most(distortion, maximal)
    rate = jnp.log2(letters) - binary_entropy(D) - D * safe_log2(others)
    return _from(maximal, rate, distortion)


@jax.jit
def _hamming(p: Float[Array, " y"], distortion: Float[Array, "*grid"]) -> Float[Array, "*grid"]:
    if p.size == 1:
        return jnp.zeros_like(distortion)
    p, unfilled = _descending(p)
    maximal = unfilled[0]
    D = _at_most(distortion, maximal)
    # With the k likeliest letters reproduced, D = (k-1) theta + (mass of the others). D(theta) is
    # the least of these lines over k, so theta is the largest of their inverses.
    others = jnp.arange(1, p.size)
    theta, last = _greatest((D[..., None] - unfilled[1:]) / others)
    filled = others <= 1 + last[..., None]
    equivocation = _eta(1 - D) + jnp.sum(
        jnp.where(filled, _eta(theta)[..., None], _eta(p[1:])), axis=-1
    )
    rate = _from(maximal, entropy(p) - equivocation, distortion)
    return jnp.where((distortion == 0) & (maximal > 0), _lossless(distortion, rate, rate), rate)


@jax.jit
def _erasure(p: Float[Array, " y"], distortion: Float[Array, "*grid"]) -> Float[Array, "*grid"]:
    maximal = jnp.ones(())
    # At distortion 0 infinite terms cancel in the derivatives: they are taken just above it.
    D = _at_most(jnp.where(distortion > 0, distortion, distortion + 1e-300), maximal)
    p, unfilled = _descending(p)
    # With the k likeliest letters erased down to theta, D = k theta + (mass of the others).
    letters = jnp.arange(1, p.size + 1)
    theta, last = _greatest((D[..., None] - unfilled) / letters)
    levelled = letters <= 1 + last[..., None]
    erased = jnp.sum(jnp.where(levelled, _eta(theta)[..., None], _eta(p)), axis=-1)
    return _from(maximal, entropy(p) - (erased - _eta(D)), distortion)


@jax.jit
def _vector_gaussian(
    variances: Float[Array, " n"], distortion: Float[Array, "*grid"]
) -> Float[Array, "*grid"]:
    variance, unfilled = _descending(variances)
    maximal = variances.sum()
    D = _at_most(distortion, maximal)
    # As above: with k components coded, D = k theta + (variance of the others).
    components = jnp.arange(1, variance.size + 1)
    theta, last = _greatest((D[..., None] - unfilled) / components)
    coded = components <= 1 + last[..., None]
    gain = safe_log2(variance) - safe_log2(theta)[..., None]
    rate = 0.5 * jnp.sum(jnp.where(coded, gain, 0.0), axis=-1)
    lossless = (distortion == 0) & (maximal > 0)
    rate = _from(maximal, rate, distortion)
    return jnp.where(lossless, _lossless(distortion, rate, jnp.inf), rate)


@jax.jit
def _minus_log2(
    rate_parameter: Float[Array, ""], distortion: Float[Array, "*grid"]
) -> Float[Array, "*grid"]:
    maximal = 1 / rate_parameter
    D = _at_most(distortion, maximal)
    log_D = jnp.log2(jnp.where(D > 0, D, 1.0))
    rate = _from(maximal, -jnp.log2(rate_parameter) - log_D, distortion)
    return _lossless(distortion, rate, jnp.inf)


def _descending(values: Float[Array, " n"]) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Sort the values, greatest first, and sum what follows each."""
    ordered = jnp.sort(values)[::-1]
    smaller = jnp.cumsum(ordered[::-1])[::-1][1:]
    return ordered, jnp.append(smaller, 0.0)


def _greatest(levels: Float[Array, "*grid k"]) -> tuple[Float[Array, "*grid"], Int[Array, "*grid"]]:
    """Pick the greatest level and its place; of equal ones the first, in the gradient too."""
    place = jnp.argmax(levels, axis=-1)
    return jnp.take_along_axis(levels, place[..., None], axis=-1)[..., 0], place


def _eta(x: Float[Array, "..."]) -> Float[Array, "..."]:
    return -x * safe_log2(x)
