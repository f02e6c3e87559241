r"""The law of a Gaussian mixture source: its samples and its densities, all traced.

$$C \sim w, \quad Y \mid c \sim N(m_c, v_c I), \quad
  X_k \mid c, Y \sim N(q_{kc} + g_k (Y - m_c), n_k I), \quad k = 1..K,$$

the X_k independent given (C, Y).
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from rdsim import information, validation
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.sources.modalities import chosen_modalities
from rdsim.sources.tables import draw_letters


@result
class MixtureLaw:
    """A mixture of C classes of items in R^d, and K query modalities.

    Attributes:
        weights: class probabilities w, shape (C,), summing to one.
        item_means: m, shape (C, d).
        item_variance: v, shape (C,), variance of each coordinate of an item in its class.
        query_means: q, shape (K, C, d).
        gains: g, shape (K,).
        query_noise: n, shape (K,), noise variance of each coordinate.

    """

    weights: Float[Array, " c"]
    item_means: Float[Array, "c d"]
    item_variance: Float[Array, " c"]
    query_means: Float[Array, "k c d"]
    gains: Float[Array, " k"]
    query_noise: Float[Array, " k"]

    @property
    @validation.needs_float64
    def class_entropy(self) -> Float[Array, ""]:
        """H(C) in bits, exact."""
        return information.entropy(self.weights)

    def sample(
        self, key: Key[Array, ""], shape: tuple[int, ...] = ()
    ) -> tuple[Float[Array, "... k d"], Float[Array, "... d"], Int[Array, "..."]]:
        """Independent triples (queries, item, class).

        Args:
            key: PRNG key; the triples depend on it and on the shape alone.
            shape: shape of the batch.

        Returns:
            Queries of shape (*shape, K, d), items of shape (*shape, d), and classes, int32 of the
            given shape.

        Raises:
            TypeError: if the key is not a typed key.

        """
        validation.prng_key("key", key)
        return _sample(key, self, tuple(shape))

    def log_density_item(self, item: Any) -> Float[Array, "..."]:
        r"""Natural logarithm of the density of items.

        Args:
            item: y, shape (..., d).

        Returns:
            $\ln p(y)$ in nats, shape (...).

        Raises:
            ValueError: if the last axis is not d, or a coordinate is not finite.

        """
        return _log_item(self, self._points("item", item))

    def log_density_query(self, queries: ArrayLike, modalities: Any = None) -> Float[Array, "..."]:
        r"""Natural logarithm of the density of the queries of one item.

        Args:
            queries: x, shape (..., S, d) for S modalities; (..., d) when one is named by an int.
            modalities: which ones, in the order of the queries; None for all K.

        Returns:
            $\ln p(x_S)$ in nats, shape (...).

        Raises:
            ValueError: if a modality is out of range or named twice, the shape does not
                fit, or a coordinate is not finite.
            TypeError: if a modality is not an integer.

        """
        chosen = self._chosen(modalities)
        return _log_query(self, self._queries(queries, modalities, chosen), chosen)

    def log_density_joint(
        self, queries: ArrayLike, item: Any, modalities: Any = None
    ) -> Float[Array, "..."]:
        r"""Natural logarithm of the joint density of queries and item.

        Args:
            queries: x, as for `log_density_query`.
            item: y, shape (..., d), broadcast against the queries.
            modalities: which ones; None for all K.

        Returns:
            $\ln p(x_S, y)$ in nats, the broadcast shape.

        Raises:
            ValueError: as for `log_density_query`.
            TypeError: if a modality is not an integer.

        """
        chosen = self._chosen(modalities)
        queries = self._queries(queries, modalities, chosen)
        return _log_joint(self, queries, self._points("item", item), chosen)

    def information_density(
        self, queries: ArrayLike, item: Any, modalities: Any = None
    ) -> Float[Array, "..."]:
        r"""Information density of queries and item, the Bayes-optimal retrieval score.

        $$i(x_S; y) = \log_2 \frac{p(x_S, y)}{p(x_S)\, p(y)}.$$

        Args:
            queries: x, as for `log_density_query`.
            item: y, shape (..., d), broadcast against the queries.
            modalities: which ones; None for all K.

        Returns:
            Bits, the broadcast shape; its mean is the mutual information.

        Raises:
            ValueError: as for `log_density_query`.
            TypeError: if a modality is not an integer.

        """
        chosen = self._chosen(modalities)
        queries = self._queries(queries, modalities, chosen)
        item = self._points("item", item)
        joint = _log_joint(self, queries, item, chosen)
        apart = _log_query(self, queries, chosen) + _log_item(self, item)
        return (joint - apart) / information.LN2

    def _chosen(self, modalities: Any) -> tuple[int, ...]:
        return chosen_modalities(modalities, self.gains.shape[-1])

    def _points(self, name: str, points: Any) -> Float[Array, "... d"]:
        array = validation.interval(name, points, open_low=True, open_high=True)
        dimension = self.item_means.shape[1]
        if array.ndim == 0 or array.shape[-1] != dimension:
            raise ValueError(f"{name} must have {dimension} coordinates last, got {array.shape}")
        return array

    def _queries(
        self, queries: Any, modalities: Any, chosen: tuple[int, ...]
    ) -> Float[Array, "... s d"]:
        array = self._points("queries", queries)
        if isinstance(modalities, int | np.integer):
            return array[..., None, :]
        if array.ndim < 2 or array.shape[-2] != len(chosen):
            raise ValueError(
                f"queries must end in shape {(len(chosen), array.shape[-1])}, got {array.shape}"
            )
        return array


@jax.jit(static_argnames="shape")
def _sample(
    key: Key[Array, ""], source: MixtureLaw, shape: tuple[int, ...]
) -> tuple[Float[Array, "... k d"], Float[Array, "... d"], Int[Array, "..."]]:
    key_class, key_item, key_query = jax.random.split(key, 3)
    modalities, _, dimension = source.query_means.shape
    c = draw_letters(key_class, source.weights, shape)
    spread = jnp.sqrt(source.item_variance)[c][..., None]
    deviation = spread * jax.random.normal(key_item, (*shape, dimension))
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


def _mix(source: MixtureLaw, log_class: Float[Array, "... c"]) -> Float[Array, "..."]:
    return jax.scipy.special.logsumexp(log_class, axis=-1, b=source.weights)


def log_class_item(source: MixtureLaw, item: Float[Array, "... d"]) -> Float[Array, "... c"]:
    """Natural log of the density of an item in each class, shape (..., C)."""
    return _log_normal(item[..., None, :] - source.item_means, source.item_variance)


@jax.jit
def _log_item(source: MixtureLaw, item: Float[Array, "... d"]) -> Float[Array, "..."]:
    return _mix(source, log_class_item(source, item))


@jax.jit(static_argnames="chosen")
def _log_query(
    source: MixtureLaw, queries: Float[Array, "... s d"], chosen: tuple[int, ...]
) -> Float[Array, "..."]:
    r"""Log density of the queries, by Bayes' rule at the item's posterior mean $\mu$ in each class.

    $$\ln p(x|c) = \ln p(x|c,\mu) + \ln p(\mu|c) - \ln p(\mu|c,x)$$

    subtracts no large squares.
    """
    index = jnp.asarray(chosen)
    gain, noise = source.gains[index], source.query_noise[index]
    residual = queries[..., None, :, :] - jnp.moveaxis(source.query_means[index], 0, 1)
    precision = 1 / source.item_variance + jnp.sum(gain**2 / noise)
    pulled = jnp.sum((gain / noise)[:, None] * residual, axis=-2) / precision[:, None]
    left = residual - gain[:, None] * pulled[..., None, :]
    log_class = jnp.sum(_log_normal(left, noise), axis=-1)
    log_class += _log_normal(pulled, source.item_variance)
    log_class -= _log_normal(jnp.zeros_like(pulled), 1 / precision)
    return _mix(source, log_class)


@jax.jit(static_argnames="chosen")
def _log_joint(
    source: MixtureLaw,
    queries: Float[Array, "... s d"],
    item: Float[Array, "... d"],
    chosen: tuple[int, ...],
) -> Float[Array, "..."]:
    index = jnp.asarray(chosen)
    gain, noise = source.gains[index], source.query_noise[index]
    deviation = item[..., None, :] - source.item_means
    expected = jnp.moveaxis(source.query_means[index], 0, 1) + (
        gain[:, None] * deviation[..., None, :]
    )
    log_class = jnp.sum(_log_normal(queries[..., None, :, :] - expected, noise), axis=-1)
    return _mix(source, log_class + log_class_item(source, item))
