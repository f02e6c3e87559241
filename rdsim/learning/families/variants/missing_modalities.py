r"""Queries that lack a modality: padded, completed by a prediction, or read by a product of experts.

A modality is missing where all its numbers are zero; queries keep their shape (N, K, d), and every
other family reads such queries as padded ones. With $m_k \in \{0, 1\}$ for what is present,

- padding: $f(m_1 x_1, .., m_K x_K)$; trained with gaps, f is also given m.
- prediction: $f(\hat x_1, .., \hat x_K)$, where $\hat x = \Sigma D (D \Sigma D + I - D)^{-1} D x$ with D = diag(m), and
  the mean likewise, is the best linear prediction from what is present; f as before.
- experts: the item is a point $v = g(y)$ of a latent with the prior N(0, I), and each modality present a Gaussian expert
  for it. In natural parameters a product of experts is a sum over those present,

$$s(x, v) = \sum_k m_k \sum_l \bigl(\eta_{kl}(x_k)\, v_l - \tfrac12 \Lambda_{kl}(x_k)\, v_l^2\bigr)
    = \ln \frac{p(v | x)}{p(v)} + c(x).$$

What queries of a source with gaps can reach is the limit of the source stacked over all sets S of modalities that
may be present (C30): $\sum_S \pi_S$ of the limit of each, since the decoder sees S, and a code of fixed length does not.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from rdsim import validation
from rdsim.learning.families.dual_encoder import ContrastiveLearner, DualEncoder
from rdsim.learning.families.pairs import ItemPairs, System, fitted_models
from rdsim.learning.families.stored.embedded_codes import Chain, embeddings_of
from rdsim.learning.families.stored_embeddings import (
    checked_bits,
    quantized_systems,
    stored_systems,
)
from rdsim.learning.training.learner import LossAndRecord
from rdsim.learning.training.networks import (
    MLP,
    Comparing,
    bounded_precisions,
    of_each,
    stacked_networks,
)
from rdsim.learning.training.schedule import Schedule
from rdsim.number_types import ArrayLike

READINGS: Final = ("padding", "prediction", "experts")
_RIDGE: Final = 1e-6
"""Added to the covariance of the queries, relative to its mean variance."""


def present(queries: ArrayLike) -> Bool[Array, "... k"]:
    """Which modalities of queries (..., K, d) are there: those with a number that is not zero."""
    return jnp.any(jnp.asarray(queries) != 0, axis=-1)


def with_gaps(key: Key[Array, ""], queries: Float[Array, "n k d"]) -> Float[Array, "n k d"]:
    """Let each query keep a set of its modalities, uniform among the sets that are not empty."""
    count = queries.shape[1]
    chosen = jax.random.randint(key, (len(queries), 1), 1, 2**count)
    return jnp.where(((chosen >> jnp.arange(count)) & 1)[..., None] == 1, queries, 0)


class PaddedEncoder(DualEncoder):
    """A dual encoder of queries with gaps, zeros in them; it is also given what is present, if wanted.

    Attributes:
        informed: whether it is given that.

    """

    def __init__(
        self, *, modalities: int, informed: bool, query_size: int, rngs: nnx.Rngs, **sizes: Any
    ) -> None:
        """Make the networks; the other sizes are those of a `DualEncoder`."""
        super().__init__(query_size=query_size + informed * modalities, rngs=rngs, **sizes)
        self.informed = informed

    def embed_queries(self, queries: Float[Array, "... k d"]) -> Float[Array, "... e"]:
        """Embed queries of K modalities, float32."""
        x = jnp.asarray(queries, jnp.float32)
        flat = x.reshape(*x.shape[:-2], -1)
        if self.informed:
            flat = jnp.concatenate([flat, present(x).astype(jnp.float32)], axis=-1)
        return self._embedded(self.query_network(flat))


class ExpertEncoder(Comparing):
    """A network for the items, and an expert of each modality.

    Attributes:
        item_network: from an item to the point v.
        experts: from a modality to eta and the logs of Lambda, stacked.

    """

    def __init__(
        self,
        *,
        modalities: int,
        size: int,
        item_size: int,
        hidden: tuple[int, ...],
        dimension: int,
        rngs: nnx.Rngs,
    ) -> None:
        """Make the networks; sizes are as those of a `FusedEncoder`, the dimension is that of the latent."""
        self.item_network = MLP((item_size, *hidden, dimension), rngs)
        self.experts = stacked_networks(modalities, (size, *hidden, 2 * dimension), rngs)

    def embed_items(self, items: ArrayLike) -> Float[Array, "n l"]:
        """Points of items (N, d), float32."""
        return self.item_network(items)

    def compare(self, queries: ArrayLike, stored: ArrayLike) -> Float[Array, "n k"]:
        """Score points (K, L) for queries (N, M, d), in nats."""
        x, v = jnp.asarray(queries, jnp.float32), jnp.asarray(stored, jnp.float32)
        there = present(x)[..., None]
        eta, logs = jnp.split(of_each(self.experts, x), 2, axis=-1)
        precision = bounded_precisions(logs)
        eta, precision = (jnp.sum(jnp.where(there, part, 0.0), axis=1) for part in (eta, precision))
        return eta @ v.T - 0.5 * precision @ (v**2).T


@dataclasses.dataclass(frozen=True)
class GapLearner:
    """Train as another learner does, on queries of which each has lost some modalities at random.

    Attributes:
        learner: the other.

    """

    learner: Any

    @property
    def build(self) -> Callable[[nnx.Rngs], nnx.Module]:
        """Makes the module of the other learner."""
        build: Callable[[nnx.Rngs], nnx.Module] = self.learner.build
        return build

    def loss(
        self, model: Any, batch: Any, key: Key[Array, ""], setting: Any, progress: Array
    ) -> LossAndRecord:
        """Loss of a batch (queries, items, ...) with gaps."""
        gap_key, key = jax.random.split(key)
        queries = with_gaps(gap_key, batch[0])
        result: LossAndRecord = self.learner.loss(
            model, (queries, *batch[1:]), key, setting, progress
        )
        return result


def predicted(
    moments: tuple[Float[Array, " f"], Float[Array, "f f"]], queries: Float[Array, "... k d"]
) -> Float[Array, "... k d"]:
    """Complete queries by the best linear prediction of what is missing from what is there.

    Args:
        moments: mean and covariance of complete queries, all modalities one after the other.
        queries: with zeros where a modality is missing.

    """
    mean, covariance = moments
    x = jnp.asarray(queries, float)
    there = jnp.broadcast_to(present(x)[..., None], x.shape).reshape(*x.shape[:-2], -1)
    flat = x.reshape(there.shape)
    D = there.astype(float)
    # Rows and columns of what is missing become those of the identity: the others' system is unchanged.
    kept = D[..., :, None] * covariance * D[..., None, :] + jnp.eye(len(mean)) * (1 - D)[..., None]
    solved = jnp.linalg.solve(kept, (D * (flat - mean))[..., None])[..., 0]
    return jnp.where(there, flat, mean + solved @ covariance).reshape(x.shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GapFamily:
    """Train encoders of several modalities, and serve queries that lack some of them.

    Attributes:
        reading: how gaps are read, one of `READINGS`.
        gaps: whether gaps are drawn in training too; not for prediction, which leaves none to learn from.

    References:
        Ma, Ren, Zhao, Tulyakov, Wu and Peng (2021), "SMIL", AAAI, for prediction; Neverova, Wolf, Taylor and
        Nebout (2016), IEEE Trans. PAMI 38(8), for gaps in training; Hinton (2002), Neural Computation
        14(8), for products of experts.

    """

    reading: str
    gaps: bool = False

    def __post_init__(self) -> None:
        validation.choice("reading", self.reading, READINGS)
        if self.gaps and self.reading == "prediction":
            raise ValueError(
                "gaps must be False for prediction, which is trained on complete queries"
            )

    def __call__(
        self, keys: Key[Array, " 3"], data: ItemPairs, bits: tuple[int, ...], schedule: Schedule
    ) -> list[System]:
        """Fit the systems, one for each number of bits."""
        quantizer = "k-means" if self.reading == "experts" else "product"
        learner: Any = self._learner(data)
        checked_bits(bits, data.sample[1], quantizer, learner=learner)
        (model,) = fitted_models(
            keys[0], GapLearner(learner) if self.gaps else learner, data, schedule
        )
        items = data.sample[1]
        if self.reading == "experts":
            return stored_systems(keys[1], model, items, bits)
        of_queries: Any
        of_items, of_queries = embeddings_of(model)
        if self.reading == "prediction":
            flat = np.asarray(data.sample[0], float).reshape(len(items), -1)
            covariance = np.cov(flat.T, bias=True).reshape(flat.shape[1], -1)
            ridge = _RIDGE * np.trace(covariance) / len(covariance)
            moments = (
                jnp.asarray(flat.mean(axis=0)),
                jnp.asarray(covariance + ridge * np.eye(len(covariance))),
            )
            of_queries = Chain(predicted, of_queries[0]), (moments, of_queries[1])
        return quantized_systems(keys[1], of_items, of_queries, items, bits, quantizer=quantizer)

    def _learner(self, data: ItemPairs) -> ContrastiveLearner:
        if self.reading != "experts":
            return ContrastiveLearner(
                build=data.encoders(PaddedEncoder, modalities=data.modalities, informed=self.gaps)
            )
        build = data.of_modalities(ExpertEncoder, hidden=data.hidden, dimension=data.embedding_size)
        return ContrastiveLearner(build=build)
