r"""Identification rates of similarity queries, in closed form (C11b).

A database of n-letter vectors is compressed at R bits per letter; a query asks which vectors lie
within distortion D of it, and the answers may hold false positives but must miss none. The
identification rate is the least R at which false positives vanish with n (Ingber, Courtade and
Weissman 2015). It is another question than that of `bottleneck`: there the query is a noisy copy of
one item, here it is independent of all of them and similar to few.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.information import LN2, binary_capacity
from rdsim.number_types import ArrayLike


@validation.needs_float64
def identification_gaussian(variance: ArrayLike, *, distortion: ArrayLike) -> Float[Array, "..."]:
    r"""Compute the identification rate of Gaussian letters at squared distance D a letter.

    $$R_{\mathrm{ID}}(D) = \log_2 \frac{2}{2 - D/\sigma^2}, \quad 0 \le D < 2\sigma^2.$$

    Query and database letters are independent Gaussians of the same variance, typically
    $2\sigma^2$ apart: from there on every vector is similar and the rate is infinite.

    Args:
        variance: sigma^2 > 0, a scalar.
        distortion: D >= 0, the similarity threshold, shape (...).

    Returns:
        Bits per letter, shape (...).

    Reference:
        Ingber, Courtade and Weissman (2015), "Compression for quadratic similarity queries",
        IEEE Trans. Inf. Theory 61(5), Theorem 1.

    """
    sigma2 = validation.interval(
        "variance", variance, low=0.0, high=float("inf"), open_low=True, open_high=True, ndim=0
    )
    D = validation.interval("distortion", distortion, low=0.0)
    return _gaussian_rate(sigma2, D)


@validation.needs_float64
def identification_binary(distortion: ArrayLike) -> Float[Array, "..."]:
    r"""Compute the identification rate of fair bits at Hamming distance D a letter.

    $$R_{\mathrm{ID}}(D) = 1 - h\left(\tfrac12 - D\right), \quad 0 \le D \le \tfrac12.$$

    Args:
        distortion: D >= 0, the similarity threshold, shape (...).

    Returns:
        Bits per letter, shape (...); 1 at D = 1/2, and infinite beyond, where a typical vector is
        similar.

    Reference:
        Ingber and Weissman (2013), "The minimal compression rate for similarity identification",
        arXiv:1312.2063, for the binary symmetric source under Hamming distortion.

    """
    D = validation.interval("distortion", distortion, low=0.0)
    return _binary_rate(D)


@jax.jit
def _gaussian_rate(sigma2: Float[Array, ""], D: Float[Array, "*grid"]) -> Float[Array, "*grid"]:
    # log2(2 / (2 - D/sigma^2)) by log1p, which keeps the digits of small thresholds.
    ratio = D / (2 * sigma2)
    inside = ratio < 1
    return jnp.where(inside, -jnp.log1p(-jnp.where(inside, ratio, 0.0)) / LN2, jnp.inf)


@jax.jit
def _binary_rate(D: Float[Array, "*grid"]) -> Float[Array, "*grid"]:
    # 1 - h(1/2 - D) is the capacity of a binary symmetric channel of bias 2 D.
    return jnp.where(D <= 0.5, binary_capacity(jnp.minimum(2 * D, 1.0)), jnp.inf)
