r"""What a rate split without regard to the modalities costs, for Gaussian modalities (C20).

K independent Gaussian modalities of variances $\sigma_k^2$ share R bits, and their squared errors add
up. The best split is reverse water-filling: one slope, hence one distortion level, for all. Two
rules that do not look:

- "equal_rate": R/K bits each, $D_k = \sigma_k^2 2^{-2R/K}$. The same is one temperature on modalities
  normalised to unit variance, as cosine similarities are: every $D_k/\sigma_k^2$ is the same.
- "equal_noise": one quantiser noise $\nu$ for all, $R_k = \frac12 \log_2(1 + \sigma_k^2/\nu)$, one
  temperature on the raw scale without water-filling's cut: weak modalities are never dropped.

The penalty is R less the rate at which the best split has the same total distortion. Equal rates
have $D = \mathrm{AM}\, K 2^{-2R/K}$, and the Shannon lower bound on the best split's rate,
$\frac K2 \log_2(\mathrm{GM}\, K/D)$, is met while every modality is active, so

$$\text{penalty} \le \tfrac K2 \log_2 \frac{\mathrm{AM}(\sigma^2)}{\mathrm{GM}(\sigma^2)},$$

with equality once $R \ge \frac K2 \log_2(\mathrm{AM}/\min_k \sigma_k^2)$. It is also at most
$(1 - 1/K) R$, whatever the variances: no modality gets more than r bits of r, so that equal rates
of r each, K r bits, are at least as good as the best split of r. So at a given total rate the
penalty saturates, and grows with the entropy difference only as long as R grows with it.
For K = 2 and an entropy difference of $\Delta$ bits the first is $\log_2\cosh(\Delta \ln 2)$: quadratic,
$\frac{\ln 2}{2} \Delta^2$, for small differences, and $\Delta - 1$ for large ones.
"""

import math
from typing import Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.information import LN2
from rdsim.limits.closed_forms import vector_gaussian
from rdsim.number_types import ArrayLike
from rdsim.root_finding import bisect
from rdsim.transformations import implicit_root, least, with_derivatives_of

SPLITS: Final = ("equal_rate", "equal_noise")
_HALVINGS: Final = 100
"""Bisections of the bracket of the logarithm of the noise; sixty would leave its last digit open."""


@validation.needs_float64
def allocation_penalty(
    variances: ArrayLike, total_rate: ArrayLike, *, split: str = "equal_rate"
) -> Float[Array, "..."]:
    r"""Compute the bits that a split without regard to the modalities wastes (C20).

    $$R - R_{\mathrm{opt}}(D_{\mathrm{split}}(R)), \qquad
      R_{\mathrm{opt}}(D) = \sum_k \tfrac12 \log_2^+ \frac{\sigma_k^2}{\theta}, \quad
      D = \sum_k \min(\sigma_k^2, \theta).$$

    At an infinite rate it is what equal rates waste at high rates, the most they ever waste,

    $$\tfrac K2 \log_2 \frac{\mathrm{AM}(\sigma^2)}{\mathrm{GM}(\sigma^2)}
      = K \ln 2 \operatorname{Var}(h_k) + O(|h - \bar h|^3), \quad
      h_k = \tfrac12 \log_2 \sigma_k^2 + \text{const},$$

    the variance being the mean square deviation from the mean entropy; for K = 2 modalities whose entropies differ
    by Delta bits log2 cosh(Delta ln 2). Equal noise wastes nothing there.

    Args:
        variances: sigma_k^2 > 0, finite, shape (K,).
        total_rate: R >= 0, bits over all modalities, any shape; may be infinite.
        split: "equal_rate" or "equal_noise", see the module.

    Returns:
        Bits, shape of the total rate; the best split reaches the same total distortion with so
        many bits fewer.

    References:
        Cover and Thomas (2006), Theorem 10.3.3, for reverse water-filling; Gersho and Gray (1992),
        Vector Quantization and Signal Compression, section 8.3, for the high rates.

    """
    variance = _variances(variances)
    rate = validation.interval("total_rate", total_rate, low=0.0)
    validation.choice("split", split, SPLITS)
    equal = split == "equal_rate"
    distortion = _equal_rate if equal else _equal_noise
    # Where the rate is infinite another one is solved for and not used.
    ends = jnp.isinf(rate)
    finite = jnp.where(ends, 0.0, rate)
    penalty = finite - vector_gaussian(variance, distortion=distortion(variance, finite))
    penalty = jnp.where(ends, _high_rate(variance) if equal else 0.0, penalty)
    return with_derivatives_of(jnp.maximum(penalty, 0.0), penalty)


@validation.needs_float64
def entropy_difference(variances: ArrayLike) -> Float[Array, ""]:
    r"""Compute $\Delta H = \frac12 \log_2 (\max_k \sigma_k^2 / \min_k \sigma_k^2)$, bits.

    Args:
        variances: sigma_k^2 > 0, finite, of Gaussian modalities, shape (K,).

    Returns:
        Largest less smallest differential entropy.

    """
    log_variance = jnp.log2(_variances(variances))
    return 0.5 * (-least(-log_variance) - least(log_variance))


def _variances(variances: ArrayLike) -> Float[Array, " k"]:
    return validation.not_empty("variances", validation.positive("variances", variances, ndim=1))


@jax.jit
def _equal_rate(
    variances: Float[Array, " k"], total_rate: Float[Array, "*grid"]
) -> Float[Array, "*grid"]:
    """Total distortion of R/K bits each."""
    return variances.sum() * jnp.exp2(-2.0 * total_rate / variances.size)


@jax.jit
def _equal_noise(
    variances: Float[Array, " k"], total_rate: Float[Array, "*grid"]
) -> Float[Array, "*grid"]:
    """Total distortion with one noise, by bisection of its logarithm.

    The noise is bracketed by that at which the strongest modality alone takes all bits, and that at
    which every modality takes as many as the strongest.
    """
    spent = total_rate > 0
    x = 2.0 * LN2 * jnp.where(spent, total_rate, 1.0)

    def log_noise(x: Array) -> Array:
        """Noise that leaves x / (2 ln 2) bits of the strongest modality."""
        return jnp.log(variances.max()) - x - jnp.log(-jnp.expm1(-x))

    def nats(log_noise: Array) -> Array:
        return jnp.sum(jnp.log1p(variances / jnp.exp(log_noise)[..., None]), axis=-1)

    # Both ends in closed form: nats(log_noise) falls from at least x to at most x between them.
    start = log_noise(x), log_noise(x / variances.size)
    _, high = bisect(lambda log_noise: nats(log_noise) <= x, *start, steps=_HALVINGS)
    noise = jnp.exp(implicit_root(lambda log_noise: nats(log_noise) - x, high))[..., None]
    distortion = jnp.sum(variances * (noise / (variances + noise)), axis=-1)
    first = jnp.sum(variances**2) / variances.sum()  # what the first bits take away
    return jnp.where(spent, distortion, variances.sum() - 2.0 * LN2 * total_rate * first)


@jax.jit
def _high_rate(variances: Float[Array, " k"]) -> Float[Array, ""]:
    x = jnp.log(variances)
    x = x - x.mean()
    # The mean of x is zero: subtracting it keeps the digits of a small difference.
    # ln mean e^x = ln(1 + mean(e^x - 1 - x)), as the mean of x is zero: second order from the
    # start.
    near = jnp.log1p(jnp.mean(jnp.expm1(jnp.minimum(x, 1.0)) - jnp.minimum(x, 1.0)))
    far = jax.scipy.special.logsumexp(x) - math.log(x.size)
    return 0.5 * x.size / LN2 * jnp.where(x.max() < 1.0, near, far)
