r"""A bound on the information bottleneck of a Gaussian mixture, by the bottlenecks of its classes."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.information import entropy
from rdsim.number_types import ArrayLike, Integer
from rdsim.sources.mixture import GaussianMixtureSource
from rdsim.sources.mixture.noisy_copies import NOISY_COPIES, weighted_mean
from rdsim.transformations import least, not_differentiable


@not_differentiable(source=NOISY_COPIES)
@validation.needs_float64
def mixture_bottleneck_bound(
    source: GaussianMixtureSource, rate: ArrayLike, *, modalities: Sequence[Integer] | None = None
) -> Float[Array, "..."]:
    r"""Bound from above what R bits about an item can tell about its queries.

    If both sides know the class, the pair is Gaussian, $\rho_c = v_c / (v_c + n)$, and
    $I(Y;U) = I(C;U) + I(Y;U|C)$ for every U - Y - X, so that

    $$I(X;U) \le I(C;U) + I(X;U|C) \le t + \min_{0 < s \le 1} \Bigl[ s(R-t) +
    \sum_c w_c \max_{r \ge 0} \bigl(f_c(r) - sr\bigr)\Bigr], \quad t = \min(R, H(C)),$$

    $f_c(r) = -\tfrac d2 \log_2(1 - \rho_c(1 - 2^{-2r/d}))$, the Gaussian bottleneck, of slope at most
    one. Every s gives a bound; the least over a grid is returned. It is concave in R, so that it
    holds for codes of several items too.

    Args:
        source: a mixture whose queries are noisy copies of the item.
        rate: R >= 0 bits per item, shape (...).
        modalities: which queries are seen; None for all.

    Returns:
        Bits, shape (...): at most R, and at least IB(R).

    Raises:
        ValueError: if a query seen is not a noisy copy of the item, or a rate infinite.

    References:
        Globerson and Tishby (2004), for the optimality of Gaussian descriptions of Gaussian pairs.

    """
    R = validation.non_negative("rate", rate)
    return _mixture_bound(source, R, weighted_mean(source, modalities).variance)


@jax.jit
def _mixture_bound(
    source: GaussianMixtureSource, R: Float[Array, "..."], noise: Float[Array, ""]
) -> Float[Array, "..."]:
    d = source.item_means.shape[1]
    total = (source.item_variance + noise)[:, None]
    # 1 - rho is not a difference, which would lose its digits where there is little noise.
    rho, rest = source.item_variance[:, None] / total, noise / total
    # Any grid gives a bound; this one is fine near both ends, where the curve is straight.
    s = jnp.concatenate([jnp.geomspace(1e-9, 0.5, 3000), 1 - jnp.geomspace(0.5, 1e-9, 3000)])
    # 2^(-2r/d) at the slope s; one where the slope of f is below s from the start.
    shrunk = jnp.minimum(s * rest / (rho * (1 - s)), 1.0)
    r = -0.5 * d * jnp.log2(shrunk)
    rise = source.weights @ (-0.5 * d * jnp.log2(rest + rho * shrunk) - s * r)
    # The bound t + F(R - t) rises with t, since F, the class-wise bottleneck, has slopes of at
    # most one; so the largest I(C;U) that is possible, min(R, H(C)), covers every description.
    t = jnp.minimum(R, entropy(source.weights))
    left = R - t
    # The last entry is the slope s = 1, at which no class gains more than the rate that it takes.
    return t + jnp.minimum(least(s * left[..., None] + rise), left)
