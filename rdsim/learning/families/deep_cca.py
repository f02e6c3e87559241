r"""Deep CCA: two networks whose outputs are as correlated as can be.

$$\max_{f, g} \ \bigl\| (\Sigma_f + rI)^{-1/2} \Sigma_{fg} (\Sigma_g + rI)^{-1/2} \bigr\|_{tr},$$

the sum of the canonical correlations of f(X) and g(Y). Linear CCA of the outputs follows.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.learning.families.cca import (
    canonical_systems,
    centred_covariances,
    whitened_cross_covariance,
)
from rdsim.learning.families.dual_encoder import DualEncoder, dual_encoder
from rdsim.learning.families.embedded import module_method
from rdsim.learning.families.pairs import check_fit, fitted_models, item_pairs
from rdsim.learning.training.loop import Schedule
from rdsim.simulation.coded_items import Decoder
from rdsim.sources.mixture import GaussianMixtureSource
from rdsim.transformations import on_host


def total_correlation(x: Any, y: Any, ridge: float) -> Float[Array, ""]:
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
    validation.interval("ridge", ridge, low=0.0, open_high=True, ndim=0)
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
        query_size: numbers in the queries of an item, all modalities together.
        item_size: numbers in an item.
        hidden: widths of the hidden layers of both networks.
        dimension: e, of both outputs.
        ridge: added to the variances of the outputs.

    """

    query_size: int
    item_size: int
    hidden: tuple[int, ...] = (32, 32)
    dimension: int = 4
    ridge: float = 1e-2

    def build(self, rngs: nnx.Rngs) -> DualEncoder:
        """Make the networks; their temperature goes unused."""
        return dual_encoder(self, rngs, unit=False)

    def loss(
        self, model: Any, batch: Any, key: Key[Array, ""], setting: Any, progress: Array
    ) -> tuple[Float[Array, ""], Mapping[str, Float[Array, ""]]]:
        """Minus the total correlation of a batch (queries, items, ...)."""
        del key, setting, progress
        x, y = model.embed_queries(batch[0]), model.embed_items(batch[1])
        return -total_correlation(x, y, self.ridge), {}


@on_host
def fit_deep_cca(
    key: Key[Array, ""],
    source: GaussianMixtureSource,
    bits: tuple[int, ...],
    schedule: Schedule,
    training: int,
) -> list[tuple[Any, Decoder]]:
    """Train by the total correlation, and quantize the canonical variables of the outputs."""
    bits = check_fit(key, source, bits, schedule, training)
    data_key, train_key, code_key = jax.random.split(key, 3)
    data = item_pairs(data_key, source, training)
    learner = DeepCCALearner(query_size=data.query_size, item_size=data.item_size)
    (model,) = fitted_models(train_key, learner, data, schedule)
    return canonical_systems(
        code_key,
        module_method(model, "embed_items"),
        module_method(model, "embed_queries"),
        data.sample[:2],
        bits,
        learner.ridge,
    )
