r"""Early, intermediate and late fusion of the query modalities in a dual encoder.

Items go through one network g, $v = g(y)$. What differs is where the modalities meet:

$$s(x, v) = -\frac{\|f(x_1, .., x_K) - v\|^2}{2\tau}\ \text{(early)}, \quad
  -\frac{\|f(\sum_k h_k(x_k)) - v\|^2}{2\tau}\ \text{(intermediate)}, \quad
  -\sum_k \frac{\|f_k(x_k) - v\|^2}{2\tau_k}\ \text{(late)}.$$

Late fusion weighs each modality by its own temperature, whatever the query; the other two may weigh
one modality by what another says.
"""

from functools import partial
from typing import Final

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.learning.families.dual_encoder import ContrastiveLearner
from rdsim.learning.families.pairs import ItemPairs
from rdsim.learning.training.networks import MLP, Comparing, of_each, stacked_networks
from rdsim.number_types import ArrayLike

FUSIONS: Final = ("early", "intermediate", "late")


class FusedEncoder(Comparing):
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
        *,
        fusion: str,
        modalities: int,
        size: int,
        item_size: int | None = None,
        hidden: tuple[int, ...] = (32,),
        dimension: int = 4,
        rngs: nnx.Rngs,
    ) -> None:
        """Make the encoder.

        Args:
            fusion: "early", "intermediate" or "late".
            modalities: K of a query.
            size: d, coordinates of each modality.
            item_size: coordinates of an item; None for as many as a modality has.
            hidden: widths of the hidden layers, one or more.
            dimension: e of the embeddings.
            rngs: of the first parameters.

        """
        validation.choice("fusion", fusion, FUSIONS)
        number = validation.integer("modalities", modalities, low=1)
        if not hidden:
            raise ValueError(f"hidden must have one width or more, got {hidden}")
        self.fusion = fusion
        self.item_network = MLP((item_size or size, *hidden, dimension), rngs)
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

    def embed_items(self, items: ArrayLike) -> Float[Array, "n e"]:
        """Embed items of shape (N, d), float32."""
        return self.item_network(items)

    def embed_queries(self, queries: ArrayLike) -> Float[Array, "n s e"]:
        """Embed queries of shape (N, K, d): shape (N, K, e) in late fusion, (N, 1, e) in others."""
        x = jnp.asarray(queries, jnp.float32)
        if self.fusion == "early":
            x = x.reshape(x.shape[0], 1, -1)
        each = of_each(self.networks, x)
        if self.head is None:
            return each
        return self.head(jax.nn.gelu(each.sum(axis=1, keepdims=True)))

    def parts(self, queries: ArrayLike, embeddings: ArrayLike) -> Float[Array, "n s m"]:
        """Scores of stored embeddings (M, e) by each query embedding alone, in nats.

        Stored float64 is compared in float64.
        """
        q, v = self.embed_queries(queries), jnp.asarray(embeddings)
        q = q.astype(v.dtype)
        # Expanded: a table of all differences is e times the work of this product.
        square = jnp.sum(q**2, axis=-1)[..., None] + jnp.sum(v**2, axis=-1) - 2 * q @ v.T
        return -0.5 * square * jnp.exp(-self.log_temperatures[...])[:, None]

    def compare(self, queries: ArrayLike, embeddings: ArrayLike) -> Float[Array, "n m"]:
        """Score stored embeddings (M, e) for queries (N, K, d), in nats."""
        return self.parts(queries, embeddings).sum(axis=1)


def fusion_learner(data: ItemPairs, fusion: str) -> ContrastiveLearner:
    """Return the learner of a fused encoder of these pairs by InfoNCE."""
    build = data.of_modalities(FusedEncoder, fusion=fusion, dimension=data.output_size)
    return ContrastiveLearner(build=build)


early_fusion = partial(fusion_learner, fusion="early")
intermediate_fusion = partial(fusion_learner, fusion="intermediate")
late_fusion = partial(fusion_learner, fusion="late")
