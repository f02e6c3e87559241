r"""Samples and densities of a Gaussian mixture source, as functions of its parameters; all traced.

$$C \sim w, \quad Y \mid c \sim N(m_c, v_c I), \quad
  X_k \mid c, Y \sim N(q_{kc} + g_k (Y - m_c), n_k I), \quad k = 1..K,$$

the X_k independent given (C, Y).
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from rdsim.results import result
from rdsim.sources.tables import draw_letters


@result
class MixtureParameters:
    """The numbers w, m, v, q, g and n of the formula: what `GaussianMixtureSource` holds."""

    weights: Float[Array, " c"]
    item_means: Float[Array, "c d"]
    item_variance: Float[Array, " c"]
    query_means: Float[Array, "k c d"]
    gains: Float[Array, " k"]
    query_noise: Float[Array, " k"]


@jax.jit(static_argnames="shape")
def sample(
    key: Key[Array, ""], source: MixtureParameters, shape: tuple[int, ...]
) -> tuple[Float[Array, "... k d"], Float[Array, "... d"], Int[Array, "..."]]:
    """Queries, items and classes: the class first, then the item, then its queries."""
    key_class, key_item, key_query = jax.random.split(key, 3)
    modalities, _, dimension = source.query_means.shape
    c = draw_letters(key_class, source.weights, shape)
    standard_deviation = jnp.sqrt(source.item_variance)[c][..., None]
    deviation = standard_deviation * jax.random.normal(key_item, (*shape, dimension))
    noise = jnp.sqrt(source.query_noise)[:, None] * jax.random.normal(
        key_query, (*shape, modalities, dimension)
    )
    centres = jnp.moveaxis(source.query_means, 0, 1)[c]
    queries = centres + source.gains[:, None] * deviation[..., None, :] + noise
    return queries, source.item_means[c] + deviation, c


def _log_normal(
    residual: Float[Array, "... d"], variance: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Log density in nats of N(0, variance I) over the last axis."""
    dimension = residual.shape[-1]
    square = jnp.sum(residual**2, axis=-1)
    return -0.5 * (square / variance + dimension * jnp.log(2 * math.pi * variance))


def _mix(source: MixtureParameters, log_class: Float[Array, "... c"]) -> Float[Array, "..."]:
    """Log density of the mixture from those of its classes."""
    return jax.scipy.special.logsumexp(log_class, axis=-1, b=source.weights)


def log_class_item(source: MixtureParameters, item: Float[Array, "... d"]) -> Float[Array, "... c"]:
    """Natural log of the density of an item in each class, shape (..., C)."""
    return _log_normal(item[..., None, :] - source.item_means, source.item_variance)


@jax.jit
def log_item(source: MixtureParameters, item: Float[Array, "... d"]) -> Float[Array, "..."]:
    """Natural log of the density of an item."""
    return _mix(source, log_class_item(source, item))


@jax.jit(static_argnames="chosen")
def log_query(
    source: MixtureParameters, queries: Float[Array, "... s d"], chosen: tuple[int, ...]
) -> Float[Array, "..."]:
    r"""Log density of the queries, by Bayes' rule at the item's posterior mean $\mu$ in each class.

    $$\ln p(x|c) = \ln p(x|c,\mu) + \ln p(\mu|c) - \ln p(\mu|c,x)$$

    subtracts no large squares.
    """
    index = jnp.asarray(chosen)
    gain, noise = source.gains[index], source.query_noise[index]
    residual = queries[..., None, :, :] - jnp.moveaxis(source.query_means[index], 0, 1)
    # Of the item less its class mean, given the class: the posterior precision and mean.
    precision = 1 / source.item_variance + jnp.sum(gain**2 / noise)
    posterior_mean = jnp.sum((gain / noise)[:, None] * residual, axis=-2) / precision[:, None]
    unexplained = residual - gain[:, None] * posterior_mean[..., None, :]
    log_class = jnp.sum(_log_normal(unexplained, noise), axis=-1)
    log_class += _log_normal(posterior_mean, source.item_variance)
    log_class -= _log_normal(jnp.zeros_like(posterior_mean), 1 / precision)
    return _mix(source, log_class)


@jax.jit(static_argnames="chosen")
def log_joint(
    source: MixtureParameters,
    queries: Float[Array, "... s d"],
    item: Float[Array, "... d"],
    chosen: tuple[int, ...],
) -> Float[Array, "..."]:
    """Natural log of the joint density of queries and item, independent given item and class."""
    index = jnp.asarray(chosen)
    gain, noise = source.gains[index], source.query_noise[index]
    deviation = item[..., None, :] - source.item_means
    expected = jnp.moveaxis(source.query_means[index], 0, 1) + (
        gain[:, None] * deviation[..., None, :]
    )
    log_class = jnp.sum(_log_normal(queries[..., None, :, :] - expected, noise), axis=-1)
    return _mix(source, log_class + log_class_item(source, item))
