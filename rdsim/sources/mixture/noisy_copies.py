r"""Queries that are noisy copies of the item: their precision-weighted mean is sufficient.

If $X_k = Y + N(0, n_k I)$ for every k, then

$$Z = n \sum_k X_k / n_k, \quad n = \Bigl(\sum_k 1/n_k\Bigr)^{-1}, \quad Z | Y \sim N(Y, n I),$$

is sufficient for the item.
"""

from typing import Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.sources.mixture.source import GaussianMixtureSource
from rdsim.sources.modalities import chosen_modalities
from rdsim.transformations import not_differentiable

NOISY_COPIES: Final = "its queries must stay noisy copies of the item"


@result
class WeightedMean:
    """The queries' sufficient statistic.

    Attributes:
        weights: n / n_k of each query seen, shape (m,), summing to one.
        variance: n, of the noise of each coordinate of the mean.

    """

    weights: Float[Array, " m"]
    variance: Float[Array, ""]


@not_differentiable(source=NOISY_COPIES)
def weighted_mean(
    source: GaussianMixtureSource, modalities: ArrayLike | None = None
) -> WeightedMean:
    """Give the weights that fuse noisy copies without loss.

    Args:
        source: a mixture whose queries are the item plus noise.
        modalities: which queries are seen; None for all.

    Returns:
        The weights and the variance left.

    Raises:
        ValueError: also if a query seen is not a noisy copy of the item.

    """
    if not isinstance(source, GaussianMixtureSource):
        raise TypeError(f"source must be a Gaussian mixture, got {type(source)}")
    chosen = list(chosen_modalities(modalities, source.gains.shape[0]))
    if not validation.is_traced(source) and not (
        np.all(np.asarray(source.gains)[chosen] == 1)
        and np.all(np.asarray(source.query_means)[chosen] == np.asarray(source.item_means))
    ):
        raise ValueError(
            "source must have queries that are the item plus noise: gains of one and query means "
            "that are the item means"
        )
    precision = 1 / source.query_noise[jnp.asarray(chosen)]
    return WeightedMean(weights=precision / precision.sum(), variance=1 / precision.sum())
