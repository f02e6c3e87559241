r"""Dual encoders: queries and items embedded apart and compared by inner products.

$$s(x, y) = \langle f(x), g(y) \rangle / \tau, \quad \tau \text{ learned.}$$

Trained by InfoNCE, whose optimum is the information density up to a function of the query (and, in
both directions, up to a constant), or by triplets with a margin.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.information import LN2, log_share
from rdsim.learning.families.pairs import ItemPairs, System, fitted_models
from rdsim.learning.families.stored.embedded_codes import embeddings_of
from rdsim.learning.families.stored_embeddings import (
    QUANTIZERS,
    checked_bits,
    quantized_systems,
)
from rdsim.learning.training.learner import LossAndRecord
from rdsim.learning.training.networks import MLP, architecture, unit_length
from rdsim.learning.training.schedule import Schedule
from rdsim.number_types import ArrayLike

_LEAST_TEMPERATURE: Final = 0.01
"""Scores of unit embeddings are at most a hundred, the bound of Radford et al. (2021): sharper ones make steps unstable."""


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
        *,
        query_size: int,
        item_size: int,
        hidden: tuple[int, ...] = (32, 32),
        dimension: int = 8,
        unit: bool = True,
        temperature: float = 0.1,
        query_encoder: Callable[..., Any] | None = None,
        item_encoder: Callable[..., Any] | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        """Make the networks.

        Args:
            query_size: numbers in the queries of an item, all modalities together.
            item_size: numbers in an item.
            hidden: widths of the hidden layers of both networks.
            dimension: e of the embeddings.
            unit: whether embeddings have length one.
            temperature: at the start.
            query_encoder: an `architecture` that is also given `outputs`, e: a network in the place
                of the multilayer perceptron (`training.encoders` has some); None for that.
            item_encoder: the same for items.
            rngs: keys of the first parameters.

        """
        validation.integer("query_size", query_size, low=1)
        validation.integer("item_size", item_size, low=1)
        inner = tuple(validation.integer("hidden", width, low=1) for width in hidden)
        validation.integer("dimension", dimension, low=1)
        validation.positive("temperature", temperature, ndim=0)
        self.query_network, self.item_network = (
            MLP((size, *inner, dimension), rngs)
            if encoder is None
            else encoder(rngs, outputs=dimension)
            for size, encoder in ((query_size, query_encoder), (item_size, item_encoder))
        )
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
        self, queries: Float[Array, "n m d"], items: Float[Array, "k c"]
    ) -> Float[Array, "n k"]:
        """Inner products over the temperature, of every query with every item."""
        return self.embed_queries(queries) @ self.embed_items(items).T / self.temperature()

    def temperature(self) -> Float[Array, ""]:
        """Temperature of the scores, learned and bounded from below."""
        return jnp.maximum(jnp.exp(self.log_temperature[...]), _LEAST_TEMPERATURE)

    def _embedded(self, points: Float[Array, "... e"]) -> Float[Array, "... e"]:
        return unit_length(points) if self.unit else points


def info_nce_loss(scores: ArrayLike) -> Float[Array, ""]:
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
    s = _square(scores)
    right = jnp.diagonal(s)
    return -0.5 * jnp.mean(log_share(s, right) + log_share(s.T, right))


def triplet_loss(scores: ArrayLike, margin: float, *, hardest: bool) -> Float[Array, ""]:
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
    s = _square(scores)
    number = s.shape[0]
    if not isinstance(hardest, bool):
        raise TypeError(f"hardest must be a bool, got {hardest!r}")
    validation.bounded("margin", margin, ndim=0)
    if number < 2:
        raise ValueError(f"scores must be of two pairs or more, got shape {s.shape}")
    right = jnp.diagonal(s)
    other = ~jnp.eye(number, dtype=bool)
    found = jnp.zeros((), s.dtype)
    for rows in (s, s.T):
        hinge = jnp.where(other, jax.nn.relu(margin + (rows - right[:, None])), 0.0)
        found += jnp.mean(hinge.max(axis=1) if hardest else hinge.sum(axis=1) / (number - 1))
    return 0.5 * found


def _square(scores: ArrayLike) -> Float[Array, "n n"]:
    square = validation.finite("scores", scores, ndim=2)
    if square.shape[0] != square.shape[1] or square.size == 0:
        raise ValueError(
            f"scores must have shape (n, n), pairs on the diagonal, got {square.shape}"
        )
    return jnp.asarray(square)


def grouped_scores(model: Any, queries: Any, items: Any, candidates: int) -> Float[Array, "g c c"]:
    """Score the pairs of a batch in groups, every query against the items of its group.

    A re-ranker pays for every pair: groups of C cost N C scores of a batch of N, not N^2. Pairs that do not fill a group
    are left out, as of held-out pairs whose number the user chose; fewer than C pairs are one group.

    Args:
        model: module with `scores`.
        queries: shape (N, K, d).
        items: shape (N, d).
        candidates: C, at least 2.

    Returns:
        Shape (G, C, C), pairs on the diagonals.

    """
    size = min(validation.integer("candidates", candidates, low=2), items.shape[0])
    whole = items.shape[0] // size * size
    groups = (side[:whole].reshape(-1, size, *side.shape[1:]) for side in (queries, items))
    return jax.vmap(model.scores)(*groups)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContrastiveLearner:
    """Train any module with `scores` of queries and items by InfoNCE.

    Attributes:
        build: makes the module, hashable: an `architecture`.
        candidates: in a group, among which a query's item is to be found; None for the batch.

    """

    build: Callable[[nnx.Rngs], Any]
    candidates: int | None = None

    def loss(self, model: Any, batch: Any, *_: Any) -> LossAndRecord:
        """InfoNCE of a batch (queries, items, ...); records its bound on I(X;Y) in bits."""
        if not callable(getattr(model, "scores", None)):
            raise TypeError(f"build must make a module with the method scores, got {type(model)}")
        queries, items = batch[:2]
        if self.candidates is None:
            number, contrast = items.shape[0], info_nce_loss(model.scores(queries, items))
        else:
            tables = grouped_scores(model, queries, items, self.candidates)
            number, contrast = tables.shape[-1], jnp.mean(jax.vmap(info_nce_loss)(tables))
        return contrast, {"information": (jnp.log(number) - contrast) / LN2}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TripletLearner:
    """Train a dual encoder of unit embeddings by triplets of the batch.

    Attributes:
        build: makes the `DualEncoder`.
        margin: m, between cosines.
        hardest: whether a pair is set against its hardest negative alone.

    """

    build: Callable[[nnx.Rngs], Any]
    margin: float = 0.1
    hardest: bool = False

    def loss(self, model: Any, batch: Any, *_: Any) -> LossAndRecord:
        """Hinge loss of a batch (queries, items, ...)."""
        queries, items = model.embed_queries(batch[0]), model.embed_items(batch[1])
        return triplet_loss(queries @ items.T, self.margin, hardest=self.hardest), {}


def info_nce_encoder(data: ItemPairs) -> ContrastiveLearner:
    """Return the learner of unit embeddings of these pairs by InfoNCE."""
    return ContrastiveLearner(build=data.encoders(DualEncoder))


def triplet_encoder(data: ItemPairs) -> TripletLearner:
    """Return the learner of unit embeddings of these pairs by triplets."""
    return TripletLearner(build=data.encoders(DualEncoder, temperature=1.0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class DualEncoderFamily:
    """Train a dual encoder, and store items as quantized embeddings compared by inner products.

    Attributes:
        learner: makes the learner from the pairs.
        quantizer: "k-means" or "product".
        query_encoder: network of the queries, as `DualEncoder` takes it.
        item_encoder: network of the items.

    """

    learner: Callable[[ItemPairs], Any] = info_nce_encoder
    quantizer: str = "k-means"
    query_encoder: Callable[..., Any] | None = None
    item_encoder: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        validation.choice("quantizer", self.quantizer, QUANTIZERS)
        validation.function("learner", self.learner)
        for name in ("query_encoder", "item_encoder"):
            if getattr(self, name) is not None:
                validation.function(name, getattr(self, name))

    def __call__(
        self, keys: Key[Array, " 3"], data: ItemPairs, bits: tuple[int, ...], schedule: Schedule
    ) -> list[System]:
        """Fit the systems, one for each number of bits."""
        learner = self.learner(data)
        encoders = {"query_encoder": self.query_encoder, "item_encoder": self.item_encoder}
        chosen = {name: encoder for name, encoder in encoders.items() if encoder is not None}
        if chosen:
            build = architecture(learner.build.module, **dict(learner.build.sizes), **chosen)
            learner = dataclasses.replace(learner, build=build)
        checked_bits(bits, data.sample[1], self.quantizer, learner=learner)
        (model,) = fitted_models(keys[0], learner, data, schedule)
        return quantized_systems(
            keys[1], *embeddings_of(model), data.sample[1], bits, quantizer=self.quantizer
        )
