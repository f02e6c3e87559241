r"""Deep CCA: two networks whose outputs are as correlated as can be.

$$\max_{f, g} \ \bigl\| (\Sigma_f + rI)^{-1/2} \Sigma_{fg} (\Sigma_g + rI)^{-1/2} \bigr\|_{tr},$$

the sum of the canonical correlations of f(X) and g(Y). Linear CCA of the outputs follows.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.learning.families.canonical_correlations import (
    centred_covariances,
    whitened_cross_covariance,
)
from rdsim.learning.families.cca import canonical_maps
from rdsim.learning.families.dual_encoder import DualEncoder
from rdsim.learning.families.pairs import ItemPairs, System, fitted_models
from rdsim.learning.families.stored.embedded_codes import embeddings_of
from rdsim.learning.families.stored_embeddings import checked_bits, quantized_systems
from rdsim.learning.training.learner import LossAndRecord
from rdsim.learning.training.schedule import Schedule
from rdsim.number_types import ArrayLike


def total_correlation(x: ArrayLike, y: ArrayLike, ridge: float) -> Float[Array, ""]:
    """Sum of the canonical correlations of two samples, with a ridge: the trace norm.

    Args:
        x: shape (N, e).
        y: of the same pairs, shape (N, f).
        ridge: added to the variances.

    Returns:
        The sum, in [0, min(e, f)], in the precision of the samples.

    References:
        Andrew, Arora, Bilmes & Livescu (2013), "Deep canonical correlation analysis", ICML.

    """
    x, y = (jnp.asarray(validation.finite(n, v, ndim=2)) for n, v in (("x", x), ("y", y)))
    if x.shape[0] != y.shape[0] or 0 in x.shape or 0 in y.shape:
        raise ValueError(f"x and y must have shapes (n, e) and (n, f), got {x.shape} and {y.shape}")
    validation.non_negative("ridge", ridge, ndim=0)
    covariances = centred_covariances(x - x.mean(axis=0), y - y.mean(axis=0))
    white, _, _ = whitened_cross_covariance(*covariances, ridge)
    total = jnp.sum(jnp.linalg.svd(white, compute_uv=False))
    if not validation.is_traced(total) and not jnp.isfinite(total):
        raise ValueError("x and y must have covariances of full rank, or ridge be positive")
    return total


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepCCALearner:
    """Train two networks to outputs of the largest total correlation.

    Attributes:
        build: makes the `DualEncoder`, not of unit length; its temperature goes unused.
        ridge: added to the variances of the outputs.

    """

    build: Callable[[nnx.Rngs], Any]
    ridge: float = 1e-2

    def loss(self, model: Any, batch: Any, *_: Any) -> LossAndRecord:
        """Minus the total correlation of a batch (queries, items, ...)."""
        x, y = model.embed_queries(batch[0]), model.embed_items(batch[1])
        return -total_correlation(x, y, self.ridge), {}


def deep_cca_family(
    keys: Key[Array, " 3"], data: ItemPairs, bits: tuple[int, ...], schedule: Schedule
) -> list[System]:
    """Train by the total correlation, and quantize the canonical variables of the outputs."""
    learner = DeepCCALearner(
        build=data.encoders(DualEncoder, dimension=data.output_size, unit=False)
    )
    checked_bits(bits, data.sample[1], learner=learner)
    (model,) = fitted_models(keys[0], learner, data, schedule)
    maps = canonical_maps(*embeddings_of(model), data.sample[:2], regularisation=learner.ridge)
    return quantized_systems(keys[1], *maps, data.sample[1], bits, comparison="distance")
