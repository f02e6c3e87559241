r"""Early, intermediate and late fusion of the query modalities in a dual encoder.

Items go through one network g, $v = g(y)$. What differs is where the modalities meet:

$$s(x, v) = -\frac{\|f(x_1, .., x_K) - v\|^2}{2\tau}\ \text{(early)}, \quad
  -\frac{\|f(\sum_k h_k(x_k)) - v\|^2}{2\tau}\ \text{(intermediate)}, \quad
  -\sum_k \frac{\|f_k(x_k) - v\|^2}{2\tau_k}\ \text{(late)}.$$

Late fusion weighs each modality by its own temperature, whatever the query; the other two may weigh
one modality by what another says.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.information import LN2
from rdsim.learning.dual_encoder import info_nce_loss
from rdsim.learning.embedded_code import embedded_code, module_method
from rdsim.learning.networks import MLP
from rdsim.learning.pairs import fitted_models, item_pairs
from rdsim.learning.quantized_embedding import quantize_embeddings
from rdsim.learning.training import Schedule
from rdsim.simulation.item_code import Decoder
from rdsim.sources.mixture import GaussianMixtureSource

FUSIONS: Final = ("early", "intermediate", "late")


def stacked_networks(number: int, widths: tuple[int, ...], rngs: nnx.Rngs) -> MLP:
    """Make networks of one shape, their parameters stacked along a first axis.

    A program of stacked networks compiles as fast as one network's.

    Args:
        number: how many.
        widths: of the layers of each.
        rngs: of the first parameters.

    """
    keys = jax.random.split(rngs.params(), number)
    return jax.vmap(lambda key: MLP(widths, nnx.Rngs(key)))(keys)


def of_each(networks: MLP, points: Float[Array, "n s d"]) -> Float[Array, "n s e"]:
    """Apply the i-th of stacked networks to the i-th points of the second axis."""
    return jax.vmap(lambda network, x: network(x), in_axes=(0, 1), out_axes=1)(networks, points)


class FusedEncoder(nnx.Module):
    """A network for the items, one or more for the queries, and temperatures.

    Attributes:
        item_network: from an item to e numbers.
        networks: of the modalities, stacked; early fusion has one for all together.
        head: from the modalities' added hidden values to e numbers; intermediate fusion only.
        log_temperatures: one, or one a modality in late fusion.
        fusion: where the modalities meet.

    """

    def __init__(
        self,
        fusion: str,
        modalities: int,
        size: int,
        *,
        hidden: tuple[int, ...],
        dimension: int,
        rngs: nnx.Rngs,
    ) -> None:
        """Make the encoder.

        Args:
            fusion: "early", "intermediate" or "late".
            modalities: K of a query.
            size: d, coordinates of an item and of each modality.
            hidden: widths of the hidden layers, one or more.
            dimension: e of the embeddings.
            rngs: of the first parameters.

        Raises:
            ValueError: if the fusion is unknown, a size is below one, or there is no hidden layer.

        """
        if fusion not in FUSIONS:
            raise ValueError(f"fusion must be one of {FUSIONS}, got {fusion!r}")
        number = validation.integer("modalities", modalities, low=1)
        if not hidden:
            raise ValueError(f"hidden must have one width or more, got {hidden}")
        self.fusion = fusion
        self.item_network = MLP((size, *hidden, dimension), rngs)
        shape = {
            "early": (number * size, *hidden, dimension),
            "intermediate": (size, *hidden),
            "late": (size, *hidden, dimension),
        }[fusion]
        self.networks = stacked_networks(1 if fusion == "early" else number, shape, rngs)
        self.head = (
            MLP((hidden[-1], hidden[-1], dimension), rngs) if fusion == "intermediate" else None
        )
        temperatures = number if fusion == "late" else 1
        self.log_temperatures = nnx.Param(jnp.zeros((temperatures,), jnp.float32))

    def embed_items(self, items: Any) -> Float[Array, "n e"]:
        """Embed items of shape (N, d), float32."""
        return self.item_network(items)

    def embed_queries(self, queries: Any) -> Float[Array, "n s e"]:
        """Embed queries of shape (N, K, d): shape (N, K, e) in late fusion, (N, 1, e) in others."""
        x = jnp.asarray(queries, jnp.float32)
        if self.fusion == "early":
            x = x.reshape(x.shape[0], 1, -1)
        each = of_each(self.networks, x)
        if self.head is None:
            return each
        return self.head(jax.nn.gelu(each.sum(axis=1, keepdims=True)))

    def parts(self, queries: Any, embeddings: Any) -> Float[Array, "n s m"]:
        """Scores of stored embeddings (M, e) by each query embedding alone, in nats.

        Stored float64 is compared in float64.
        """
        q, v = self.embed_queries(queries), jnp.asarray(embeddings)
        q = q.astype(v.dtype)
        # Expanded: a table of all differences is e times the work of this product.
        square = jnp.sum(q**2, axis=-1)[..., None] + jnp.sum(v**2, axis=-1) - 2 * q @ v.T
        return -0.5 * square * jnp.exp(-self.log_temperatures[...])[:, None]

    def compare(self, queries: Any, embeddings: Any) -> Float[Array, "n m"]:
        """Score stored embeddings (M, e) for queries (N, K, d), in nats."""
        return self.parts(queries, embeddings).sum(axis=1)

    def scores(self, queries: Any, items: Any) -> Float[Array, "n m"]:
        """Score items (M, d) for queries (N, K, d), in nats."""
        return self.compare(queries, self.embed_items(items))


@dataclasses.dataclass(frozen=True, kw_only=True)
class FusionLearner:
    """Train a fused encoder by InfoNCE.

    Attributes:
        fusion: "early", "intermediate" or "late".
        modalities: K of a query.
        size: d, coordinates of an item and of each modality.
        hidden: widths of the hidden layers.
        dimension: e of the embeddings.

    """

    fusion: str
    modalities: int
    size: int
    hidden: tuple[int, ...] = (32,)
    dimension: int = 4

    def build(self, rngs: nnx.Rngs) -> FusedEncoder:
        """Make the encoder."""
        return FusedEncoder(
            *(self.fusion, self.modalities, self.size),
            hidden=self.hidden,
            dimension=self.dimension,
            rngs=rngs,
        )

    def loss(
        self, model: Any, batch: Any, key: Key[Array, ""], setting: Any, progress: Array
    ) -> tuple[Float[Array, ""], Mapping[str, Float[Array, ""]]]:
        """InfoNCE of a batch (queries, items, ...); records its bound on I(X;Y) in bits."""
        del key, setting, progress
        value = info_nce_loss(model.scores(*batch[:2]))
        return value, {"information": (jnp.log(batch[1].shape[0]) - value) / LN2}


@dataclasses.dataclass(frozen=True)
class StoredScores:
    """Scores of stored embeddings by the `compare` of a module.

    Attributes:
        graph: structure of the module, from `nnx.split`.

    """

    graph: Any

    def __call__(self, parameters: Any, queries: Float[Array, "m d"]) -> Float[Array, " k"]:
        """Score; parameters are those of the module, and the stored embeddings (K, e)."""
        inner, stored = parameters
        model = nnx.merge(self.graph, inner)
        return jnp.asarray(model.compare(queries[None], stored)[0], float)


def stored_systems(
    key: Key[Array, ""], model: Any, items: Any, bits: tuple[int, ...]
) -> list[tuple[Any, Decoder]]:
    """Store the items of a module's `embed_items` by k-means, scored by its `compare`.

    Args:
        key: PRNG key of the quantizers' starts.
        model: module with `embed_items` (N, d) -> (N, e), and `compare` of queries (N, K, d) with
            stored embeddings (M, e) -> (N, M).
        items: to which the quantizers are fitted, shape (N, d).
        bits: of an item, 1 to 12, one system each.

    Returns:
        A code and its decoder for each number of bits.

    Raises:
        ValueError: if bits or items are out of range.
        TypeError: if bits are no integers, or the key is not a typed key.

    """
    embed, parameters = module_method(model, "embed_items")
    embeddings = jnp.asarray(embed(parameters, jnp.asarray(items)), float)
    systems = []
    for b in bits:
        words = quantize_embeddings(jax.random.fold_in(key, b), embeddings, b, "k-means")
        rule = Decoder(StoredScores(embed.graph), (parameters, words.codewords))
        systems.append((embedded_code(embed, parameters, words, items), rule))
    return systems


def fit_early_fusion(
    key: Key[Array, ""],
    source: GaussianMixtureSource,
    bits: tuple[int, ...],
    schedule: Schedule,
    training: int,
) -> list[tuple[Any, Decoder]]:
    """Train early fusion, and store items as quantized embeddings of each number of bits."""
    return _fit("early", key, source, bits, schedule, training)


def fit_intermediate_fusion(
    key: Key[Array, ""],
    source: GaussianMixtureSource,
    bits: tuple[int, ...],
    schedule: Schedule,
    training: int,
) -> list[tuple[Any, Decoder]]:
    """Train intermediate fusion, and store items as quantized embeddings of each number of bits."""
    return _fit("intermediate", key, source, bits, schedule, training)


def fit_late_fusion(
    key: Key[Array, ""],
    source: GaussianMixtureSource,
    bits: tuple[int, ...],
    schedule: Schedule,
    training: int,
) -> list[tuple[Any, Decoder]]:
    """Train late fusion, and store items as quantized embeddings of each number of bits."""
    return _fit("late", key, source, bits, schedule, training)


def _fit(
    fusion: str,
    key: Key[Array, ""],
    source: GaussianMixtureSource,
    bits: tuple[int, ...],
    schedule: Schedule,
    training: int,
) -> list[tuple[Any, Decoder]]:
    data_key, train_key, code_key = jax.random.split(key, 3)
    data = item_pairs(data_key, source, training)
    _, modalities, size = data.sample[0].shape
    learner = FusionLearner(fusion=fusion, modalities=modalities, size=size)
    (model,) = fitted_models(train_key, learner, data, schedule)
    return stored_systems(code_key, model, data.sample[1], bits)
