"""Gaussians of diagonal precision around one latent: their products with the prior N(0, I), and their overlap."""

import math
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.number_types import ArrayLike


def product_of_experts(
    means: ArrayLike, precisions: ArrayLike
) -> tuple[Float[Array, "... l"], Float[Array, "... l"]]:
    r"""Multiply the standard normal prior by Gaussian experts.

    $$\Lambda = 1 + \sum_i \Lambda_i, \quad \mu = \Lambda^{-1} \sum_i \Lambda_i \mu_i$$

    Args:
        means: of the experts, shape (..., S, L).
        precisions: their diagonals, non-negative, shape (..., S, L); leading axes are broadcast.

    Returns:
        Mean and precision of the product, each of shape (..., L).

    """
    means = jnp.asarray(validation.finite("means", means))
    precisions = jnp.asarray(validation.finite("precisions", precisions))
    validation.interval("precisions", precisions, low=0.0)
    try:
        shape = jnp.broadcast_shapes(means.shape, precisions.shape)
    except ValueError:
        shape = ()
    if len(shape) < 2 or means.shape[-2:] != precisions.shape[-2:]:
        raise ValueError(
            f"means and precisions must have shapes (..., S, L) that fit, got {means.shape} and "
            f"{precisions.shape}"
        )
    precision = 1.0 + jnp.sum(precisions, axis=-2)
    return jnp.sum(precisions * means, axis=-2) / precision, precision


def log_normal(values: Any, mean: Any, precision: Any, weights: Any = 1.0) -> Float[Array, "..."]:
    """Log density in nats of a Gaussian of diagonal precision, summed over the last axis by weight."""
    square = precision * (values - mean) ** 2
    terms = jnp.log(precision) - math.log(2 * math.pi) - square
    return 0.5 * jnp.sum(terms * weights, axis=-1)


def log_overlap(
    mean: ArrayLike, precision: ArrayLike, other_mean: ArrayLike, other_precision: ArrayLike
) -> Float[Array, "..."]:
    r"""Compute the information density of two observations of one latent from their posteriors.

    $$\ln \frac{p(x, y)}{p(x)\, p(y)} = \ln \int \frac{p(z|x)\, p(z|y)}{p(z)}\, dz$$

    if x and y are independent given z; in closed form for diagonal Gaussians and $p(z) = N(0, I)$.

    Args:
        mean: of p(z|x), shape (..., L).
        precision: of p(z|x), shape (..., L); at least one.
        other_mean: of p(z|y), broadcast against the first.
        other_precision: of p(z|y), positive.

    Returns:
        Nats, shape (...).

    """
    mean, precision, other_mean, other_precision = validation.broadcast(
        mean=jnp.asarray(validation.finite("mean", mean)),
        precision=jnp.asarray(validation.finite("precision", precision)),
        other_mean=jnp.asarray(validation.finite("other_mean", other_mean)),
        other_precision=jnp.asarray(validation.finite("other_precision", other_precision)),
    )
    validation.interval("precision", precision, low=1.0)
    validation.interval("other_precision", other_precision, low=0.0, open_low=True)
    joint = precision + other_precision - 1.0
    pull = precision * mean + other_precision * other_mean
    square = precision * mean**2 + other_precision * other_mean**2 - pull**2 / joint
    logs = jnp.log(precision) + jnp.log(other_precision) - jnp.log(joint)
    return 0.5 * jnp.sum(logs - square, axis=-1)
