"""Items and a mixture that the tests of quantizers share, and the nearest codeword by its definition."""

import jax
import jax.numpy as jnp
import numpy as np

from rdsim.sources.mixture import GaussianMixtureSource

KEY = jax.random.key(0)
CODEWORDS = 8
_generator = np.random.default_rng(8)
ITEMS = _generator.normal(size=(40, 2)) @ np.array([[1.5, 1.0], [0.0, 0.5]])
LINE = ITEMS[:, :1]
NEW = 2 * _generator.normal(size=(40, 2))

MIXTURE = GaussianMixtureSource(
    weights=jnp.array([0.3, 0.5, 0.2]),
    item_means=jnp.array([[-3.0, 0.0], [0.0, 1.0], [4.0, 0.0]]),
    item_variance=jnp.array([1.0, 0.1, 2.0]),
    query_means=jnp.zeros((1, 3, 2)),
    gains=jnp.ones(1),
    query_noise=jnp.ones(1),
)


def nearest_by_search(items, codewords, offsets=None):
    offsets = np.zeros(len(codewords)) if offsets is None else offsets
    return [
        min(range(len(codewords)), key=lambda k: np.sum((y - codewords[k]) ** 2) + offsets[k])
        for y in items
    ]
