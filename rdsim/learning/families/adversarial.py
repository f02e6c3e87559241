r"""Modalities aligned by an adversary: a discriminator must not tell queries from items.

A discriminator D guesses from an embedding whether it is an item's; the encoders are moved against
it by reversing its gradient,

$$\min_{\text{encoders}} \max_D\ \text{InfoNCE} - \lambda\, \mathrm{CE}(D),$$

with one optimiser for both sides. With items weighing a half and the modalities of the queries the
other half, its accuracy falls to 1/2 when the two laws of embeddings agree.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.information import LN2
from rdsim.learning.families.dual_encoder import info_nce_loss
from rdsim.learning.families.fusion import FusedEncoder
from rdsim.learning.families.quantized_embedding import fit_stored_systems
from rdsim.learning.training.loop import Schedule
from rdsim.learning.training.networks import MLP
from rdsim.simulation.coded_items import Decoder
from rdsim.sources.mixture import GaussianMixtureSource
from rdsim.transformations import on_host


@jax.custom_vjp
def reverse_gradient(values: Any, strength: Any) -> Any:
    r"""Return the values unchanged; their gradients come back times $-\lambda$.

    Args:
        values: any shape.
        strength: $\lambda$, a scalar; it gets no gradient.

    Returns:
        The values.

    References:
        Ganin et al. (2016), "Domain-adversarial training of neural networks", section 4.2.

    """
    del strength
    return values


def _forward(values: Any, strength: Any) -> tuple[Any, Any]:
    return values, strength


def _backward(strength: Any, slope: Any) -> tuple[Any, Any]:
    return (-strength * slope).astype(slope.dtype), jnp.zeros_like(strength)


reverse_gradient.defvjp(_forward, _backward)


class AlignedEncoder(nnx.Module):
    """Late fusion, and a discriminator of its embeddings."""

    def __init__(
        self,
        modalities: int,
        size: int,
        *,
        hidden: tuple[int, ...],
        dimension: int,
        rngs: nnx.Rngs,
    ) -> None:
        """Make the encoder and the discriminator, of the sizes of `FusedEncoder`."""
        self.encoder = FusedEncoder(
            "late", modalities, size, hidden=hidden, dimension=dimension, rngs=rngs
        )
        self.discriminator = MLP((dimension, *hidden, 1), rngs)

    def embed_items(self, items: Any) -> Float[Array, "n e"]:
        """Embed items of shape (N, d), float32."""
        return self.encoder.embed_items(items)

    def compare(self, queries: Any, embeddings: Any) -> Float[Array, "n m"]:
        """Score stored embeddings (M, e) for queries (N, K, d), in nats."""
        return self.encoder.compare(queries, embeddings)

    def scores(self, queries: Any, items: Any) -> Float[Array, "n m"]:
        """Score items (M, d) for queries (N, K, d), in nats."""
        return self.encoder.scores(queries, items)

    def discriminate(
        self, queries: Any, items: Any, strength: Any
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Cross-entropy in nats of telling items from queries, and the accuracy.

        Args:
            queries: shape (N, K, d).
            items: shape (N, d).
            strength: of the reversed gradient that reaches the encoders.

        """
        item, query = (
            self.discriminator(reverse_gradient(embeddings, strength))[..., 0]
            for embeddings in (self.embed_items(items), self.encoder.embed_queries(queries))
        )
        entropy = 0.5 * (jnp.mean(jax.nn.softplus(-item)) + jnp.mean(jax.nn.softplus(query)))
        right = 0.5 * (jnp.mean(item > 0) + jnp.mean(query <= 0))
        return entropy, right


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdversarialLearner:
    r"""Train by InfoNCE against a discriminator; the setting of a run is $\lambda$.

    Attributes:
        modalities: K of a query.
        size: d, coordinates of an item and of each modality.
        hidden: widths of the hidden layers.
        dimension: e of the embeddings.

    """

    modalities: int
    size: int
    hidden: tuple[int, ...] = (32,)
    dimension: int = 4

    def build(self, rngs: nnx.Rngs) -> AlignedEncoder:
        """Make the networks."""
        return AlignedEncoder(
            self.modalities, self.size, hidden=self.hidden, dimension=self.dimension, rngs=rngs
        )

    def loss(
        self, model: Any, batch: Any, key: Key[Array, ""], setting: Any, progress: Array
    ) -> tuple[Float[Array, ""], Mapping[str, Float[Array, ""]]]:
        r"""InfoNCE of a batch, with the gradient of both players.

        The value is InfoNCE alone: a run is judged by how well it retrieves, not by how well its
        discriminator guesses. The reversal rises to $\lambda$ over the training. Recorded: the
        accuracy, and the bound on I(X;Y) in bits.
        """
        del key
        queries, items = batch[:2]
        contrast = info_nce_loss(model.scores(queries, items))
        rising = setting * jnp.tanh(5.0 * progress)  # the rise of Ganin et al. (2016)
        game, accuracy = model.discriminate(queries, items, rising)
        return contrast + game - jax.lax.stop_gradient(game), {
            "accuracy": accuracy,
            "information": (jnp.log(items.shape[0]) - contrast) / LN2,
        }


@on_host
def fit_adversarial(
    key: Key[Array, ""],
    source: GaussianMixtureSource,
    bits: tuple[int, ...],
    schedule: Schedule,
    training: int,
    *,
    strength: Any = 1.0,
) -> list[tuple[Any, Decoder]]:
    r"""Train with an adversary, and store items as quantized embeddings of each number of bits.

    Args:
        key: PRNG key.
        source: to draw pairs from.
        bits: of an item, one system each.
        schedule: how to train.
        training: number of training pairs.
        strength: $\lambda \ge 0$, of the adversary.

    Returns:
        A code and its decoder for each number of bits.

    Raises:
        ValueError: if the strength is negative or not finite, or a number is out of range.

    """
    reversal = float(validation.interval("strength", strength, low=0.0, open_high=True, ndim=0))
    return fit_stored_systems(
        key, source, bits, schedule, training, AdversarialLearner, setting=reversal
    )
