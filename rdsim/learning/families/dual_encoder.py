r"""Dual encoders: queries and items embedded apart and compared by inner products.

$$s(x, y) = \langle f(x), g(y) \rangle / \tau, \quad \tau \text{ learned.}$$

Trained by InfoNCE, whose optimum is the information density up to a function of the query (and, in
both directions, up to a constant), or by triplets with a margin.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.information import LN2, log_share
from rdsim.learning.families.pairs import check_fit, fitted_models, item_pairs
from rdsim.learning.families.quantized_embedding import known_quantizer, quantized_systems
from rdsim.learning.training.loop import Schedule
from rdsim.learning.training.networks import MLP
from rdsim.simulation.coded_items import Decoder
from rdsim.sources.mixture import GaussianMixtureSource
from rdsim.transformations import on_host

_LEAST_TEMPERATURE: Final = 0.01
"""Below it the scores of unit embeddings overflow a softmax in float32 training."""


class DualEncoder(nnx.Module):
    """Two networks into one space, and a temperature.

    Attributes:
        query_network: from all modalities, one after the other, to e numbers.
        item_network: from an item to e numbers.
        log_temperature: of the scores.
        unit: whether embeddings have length one.

    """

    def __init__(
        self,
        query_widths: tuple[int, ...],
        item_widths: tuple[int, ...],
        *,
        unit: bool,
        temperature: float = 0.1,
        rngs: nnx.Rngs,
    ) -> None:
        self.query_network = MLP(query_widths, rngs)
        self.item_network = MLP(item_widths, rngs)
        self.log_temperature = nnx.Param(jnp.asarray(math.log(temperature), jnp.float32))
        self.unit = unit

    def embed_queries(self, queries: Float[Array, "... m d"]) -> Float[Array, "... e"]:
        """Embed the queries of items, all modalities together, float32."""
        flat = jnp.asarray(queries, jnp.float32).reshape(*queries.shape[:-2], -1)
        return self._embedded(self.query_network(flat))

    def embed_items(self, items: Float[Array, "... d"]) -> Float[Array, "... e"]:
        """Embed items, float32."""
        return self._embedded(self.item_network(jnp.asarray(items, jnp.float32)))

    def scores(
        self, queries: Float[Array, "n m d"], items: Float[Array, "k d"]
    ) -> Float[Array, "n k"]:
        """Inner products over the temperature, of every query with every item."""
        found = self.embed_queries(queries) @ self.embed_items(items).T
        return found / jnp.maximum(jnp.exp(self.log_temperature[...]), _LEAST_TEMPERATURE)

    def _embedded(self, points: Float[Array, "... e"]) -> Float[Array, "... e"]:
        if not self.unit:
            return points
        # The gradient of a norm is not finite at zero.
        return points / jnp.sqrt(jnp.sum(points**2, axis=-1, keepdims=True) + 1e-12)


def info_nce_loss(scores: Any) -> Float[Array, ""]:
    r"""Cross-entropy of finding the pairs of a batch, in both directions, in nats.

    $$-\frac1{2n} \sum_i \Bigl[\ln \frac{e^{s_{ii}}}{\sum_j e^{s_{ij}}} +
        \ln \frac{e^{s_{ii}}}{\sum_j e^{s_{ji}}}\Bigr].$$

    For pairs drawn independently, of any number n > 1, the least mean is at
    $s(x,y) = i(x;y) + c$, and $\log n$ minus the mean is at most I(X;Y).

    Args:
        scores: s, of query i with item j, shape (n, n); pairs on the diagonal.

    Returns:
        The mean over the batch.

    References:
        van den Oord, Li & Vinyals (2018), "Representation learning with contrastive predictive
        coding"; Radford et al. (2021), ICML, for the two directions.

    """
    scores = _square(scores)
    right = jnp.diagonal(scores)
    return -0.5 * jnp.mean(log_share(scores, right) + log_share(scores.T, right))


def triplet_loss(scores: Any, margin: float, *, hardest: bool) -> Float[Array, ""]:
    r"""Hinge of the margin between a pair's score and others', in both directions.

    $$\frac1{2n} \sum_i \bigl[\underset{j \ne i}{\mathrm{op}}\,(m + s_{ij} - s_{ii})_+ +
        \underset{j \ne i}{\mathrm{op}}\,(m + s_{ji} - s_{ii})_+\bigr],$$

    op the largest (hardest negatives) or the mean.

    Args:
        scores: s, of query i with item j, shape (n, n); pairs on the diagonal.
        margin: m.
        hardest: whether each pair is set against its hardest negative alone.

    Returns:
        The mean over the batch.

    References:
        Schroff, Kalenichenko & Philbin (2015), CVPR; Faghri et al. (2018), BMVC.

    """
    scores = _square(scores)
    number = scores.shape[0]
    validation.interval("margin", margin, open_low=True, open_high=True, ndim=0)
    if number < 2:
        raise ValueError(f"scores must be of two pairs or more, got shape {scores.shape}")
    right = jnp.diagonal(scores)
    other = ~jnp.eye(number, dtype=bool)
    found = jnp.zeros((), scores.dtype)
    for rows in (scores, scores.T):
        hinge = jnp.where(other, jax.nn.relu(margin + (rows - right[:, None])), 0.0)
        found += jnp.mean(hinge.max(axis=1) if hardest else hinge.sum(axis=1) / (number - 1))
    return 0.5 * found


def _square(scores: Any) -> Any:
    square = validation.finite("scores", scores, ndim=2)
    if square.shape[0] != square.shape[1] or square.size == 0:
        raise ValueError(
            f"scores must have shape (n, n), pairs on the diagonal, got {square.shape}"
        )
    return jnp.asarray(square)


@dataclasses.dataclass(frozen=True, kw_only=True)
class InfoNCELearner:
    """Train a dual encoder by InfoNCE with a learned temperature.

    Attributes:
        query_size: numbers in the queries of an item, all modalities together.
        item_size: numbers in an item.
        hidden: widths of the hidden layers of both networks.
        dimension: e of the embeddings.
        unit: whether embeddings have length one.

    """

    query_size: int
    item_size: int
    hidden: tuple[int, ...] = (32, 32)
    dimension: int = 8
    unit: bool = True

    def build(self, rngs: nnx.Rngs) -> DualEncoder:
        """Make the networks."""
        return dual_encoder(self, rngs, unit=self.unit)

    def loss(
        self, model: Any, batch: Any, key: Key[Array, ""], setting: Any, progress: Array
    ) -> tuple[Float[Array, ""], Mapping[str, Float[Array, ""]]]:
        """InfoNCE of a batch (queries, items, ...); records its bound on I(X;Y) in bits."""
        del key, setting, progress
        value = info_nce_loss(model.scores(*batch[:2]))
        return value, {"information": (jnp.log(batch[1].shape[0]) - value) / LN2}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TripletLearner:
    """Train a dual encoder of unit embeddings by triplets of the batch.

    Attributes:
        query_size: numbers in the queries of an item, all modalities together.
        item_size: numbers in an item.
        hidden: widths of the hidden layers of both networks.
        dimension: e of the embeddings.
        margin: m, between cosines.
        hardest: whether a pair is set against its hardest negative alone.

    """

    query_size: int
    item_size: int
    hidden: tuple[int, ...] = (32, 32)
    dimension: int = 8
    margin: float = 0.1
    hardest: bool = False

    def build(self, rngs: nnx.Rngs) -> DualEncoder:
        """Make the networks; the temperature is one."""
        return dual_encoder(self, rngs, unit=True, temperature=1.0)

    def loss(
        self, model: Any, batch: Any, key: Key[Array, ""], setting: Any, progress: Array
    ) -> tuple[Float[Array, ""], Mapping[str, Float[Array, ""]]]:
        """Hinge loss of a batch (queries, items, ...)."""
        del key, setting, progress
        queries, items = model.embed_queries(batch[0]), model.embed_items(batch[1])
        return triplet_loss(queries @ items.T, self.margin, hardest=self.hardest), {}


def dual_encoder(
    sizes: Any, rngs: nnx.Rngs, *, unit: bool, temperature: float = 0.1
) -> DualEncoder:
    """Make a dual encoder of a learner's sizes.

    Args:
        sizes: with query_size, item_size, hidden and dimension.
        rngs: of the first parameters.
        unit: whether embeddings have length one.
        temperature: at the start.

    Returns:
        The module.

    Raises:
        ValueError: if a size is below one.

    """
    for name in ("query_size", "item_size", "dimension"):
        validation.integer(name, getattr(sizes, name), low=1)
    inner = tuple(validation.integer("hidden", width, low=1) for width in sizes.hidden)
    return DualEncoder(
        (sizes.query_size, *inner, sizes.dimension),
        (sizes.item_size, *inner, sizes.dimension),
        unit=unit,
        temperature=temperature,
        rngs=rngs,
    )


@on_host
def fit_info_nce(
    key: Key[Array, ""],
    source: GaussianMixtureSource,
    bits: tuple[int, ...],
    schedule: Schedule,
    training: int,
    quantizer: str = "k-means",
) -> list[tuple[Any, Decoder]]:
    """Train by InfoNCE, and store items as quantized embeddings of each number of bits."""
    return _fit(key, source, bits, schedule, training, InfoNCELearner, quantizer)


@on_host
def fit_info_nce_product(
    key: Key[Array, ""],
    source: GaussianMixtureSource,
    bits: tuple[int, ...],
    schedule: Schedule,
    training: int,
) -> list[tuple[Any, Decoder]]:
    """Train by InfoNCE, and store items as product-quantized embeddings."""
    return fit_info_nce(key, source, bits, schedule, training, "product")


@on_host
def fit_triplet(
    key: Key[Array, ""],
    source: GaussianMixtureSource,
    bits: tuple[int, ...],
    schedule: Schedule,
    training: int,
) -> list[tuple[Any, Decoder]]:
    """Train by triplets, and store items as quantized embeddings of each number of bits."""
    return _fit(key, source, bits, schedule, training, TripletLearner, "k-means")


def _fit(
    key: Key[Array, ""],
    source: GaussianMixtureSource,
    bits: tuple[int, ...],
    schedule: Schedule,
    training: int,
    learner: Any,
    quantizer: str,
) -> list[tuple[Any, Decoder]]:
    bits = check_fit(key, source, bits, schedule, training)
    known_quantizer(quantizer)
    data_key, train_key, code_key = jax.random.split(key, 3)
    data = item_pairs(data_key, source, training)
    (model,) = fitted_models(
        train_key, learner(query_size=data.query_size, item_size=data.item_size), data, schedule
    )
    return quantized_systems(code_key, model, data.sample[1], bits, quantizer)
