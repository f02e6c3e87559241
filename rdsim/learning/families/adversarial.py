r"""Modalities aligned by an adversary: a discriminator must not tell queries from items.

A discriminator D guesses from an embedding whether it is an item's; the encoders are trained against
it by reversing its gradient,

$$\min_{\text{encoders}} \max_D\ \text{InfoNCE} - \lambda\, \mathrm{CE}(D),$$

with one optimiser for both sides. With items weighing a half and the modalities of the queries the
other half, its accuracy falls to 1/2 when the two distributions of embeddings agree.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.information import LN2
from rdsim.learning.families.dual_encoder import info_nce_loss
from rdsim.learning.families.fusion import FusedEncoder
from rdsim.learning.families.pairs import ItemPairs, System
from rdsim.learning.families.stored_embeddings import StoredFamily
from rdsim.learning.training.learner import LossAndRecord
from rdsim.learning.training.networks import MLP
from rdsim.learning.training.schedule import Schedule
from rdsim.number_types import ArrayLike
from rdsim.transformations import with_derivatives_of


@jax.custom_vjp
def reverse_gradient(values: ArrayLike, strength: Any) -> Any:
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


def _forward(values: ArrayLike, strength: Any) -> tuple[Any, Any]:
    return values, strength


def _backward(strength: Any, slope: Any) -> tuple[Any, Any]:
    return (-strength * slope).astype(slope.dtype), jnp.zeros_like(strength)


reverse_gradient.defvjp(_forward, _backward)


class AlignedEncoder(FusedEncoder):
    """Late fusion, and a discriminator of its embeddings."""

    def __init__(
        self,
        *,
        modalities: int,
        size: int,
        item_size: int | None = None,
        hidden: tuple[int, ...] = (32,),
        dimension: int = 4,
        rngs: nnx.Rngs,
    ) -> None:
        """Make the encoder and the discriminator, of the sizes of `FusedEncoder`."""
        super().__init__(
            fusion="late",
            modalities=modalities,
            size=size,
            item_size=item_size,
            hidden=hidden,
            dimension=dimension,
            rngs=rngs,
        )
        self.discriminator = MLP((dimension, *hidden, 1), rngs)

    def discriminate(
        self, queries: ArrayLike, items: ArrayLike, strength: Any
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Cross-entropy in nats of telling items from queries, and the accuracy.

        Args:
            queries: shape (N, K, d).
            items: shape (N, d).
            strength: of the reversed gradient that reaches the encoders.

        """
        reversed_items = reverse_gradient(self.embed_items(items), strength)
        reversed_queries = reverse_gradient(self.embed_queries(queries), strength)
        item = self.discriminator(reversed_items)[..., 0]
        query = self.discriminator(reversed_queries)[..., 0]
        entropy = 0.5 * (jnp.mean(jax.nn.softplus(-item)) + jnp.mean(jax.nn.softplus(query)))
        right = 0.5 * (jnp.mean(item > 0) + jnp.mean(query <= 0))
        return entropy, right


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdversarialLearner:
    r"""Train by InfoNCE against a discriminator; the setting of a run is $\lambda$.

    Attributes:
        build: makes the `AlignedEncoder`.

    """

    build: Callable[[nnx.Rngs], Any]

    def loss(
        self, model: Any, batch: Any, _: Key[Array, ""], setting: Any, progress: Array
    ) -> LossAndRecord:
        r"""InfoNCE of a batch, with the gradient of both players.

        The value is InfoNCE alone: a run is evaluated by how well it retrieves, not by how well its
        discriminator guesses. The reversal rises to $\lambda$ over the training. Recorded: the
        accuracy, and the bound on I(X;Y) in bits.
        """
        queries, items = batch[:2]
        contrast = info_nce_loss(model.scores(queries, items))
        rising = setting * jnp.tanh(5.0 * progress)  # the rise of Ganin et al. (2016)
        game, accuracy = model.discriminate(queries, items, rising)
        return with_derivatives_of(contrast, contrast + game), {
            "accuracy": accuracy,
            "information": (jnp.log(items.shape[0]) - contrast) / LN2,
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdversarialFamily:
    r"""Train with an adversary, and store items as quantized embeddings.

    Attributes:
        strength: $\lambda \ge 0$, of the reversed gradient that the adversary gives the encoders.

    """

    strength: float = 1.0

    def __post_init__(self) -> None:
        validation.non_negative("strength", self.strength, ndim=0)

    def __call__(
        self, keys: Key[Array, " 3"], data: ItemPairs, bits: tuple[int, ...], schedule: Schedule
    ) -> list[System]:
        """Fit the systems, one for each number of bits."""
        family = StoredFamily(learner=adversarial_learner, setting=float(self.strength))
        return family(keys, data, bits, schedule)


def adversarial_learner(data: ItemPairs) -> AdversarialLearner:
    """Return the learner of an aligned encoder of these pairs."""
    build = data.of_modalities(AlignedEncoder, dimension=data.output_size)
    return AdversarialLearner(build=build)
