r"""A re-ranker that reads query and item together: the item attends to the query's modalities.

With tokens $t(y)$ of the item and $t_k(x_k)$ of the modalities, in h heads of width w/h,

$$a_k = \operatorname{softmax}_k \frac{\langle A\, t(y),\, B\, t_k(x_k) \rangle}{\sqrt{w/h}},
  \quad s(x, y) = \mathrm{MLP}\Bigl(t(y),\ \sum_k a_k\, C\, t_k(x_k)\Bigr).$$

It scores pairs, not embeddings of each side: what is stored of an item is a point of the item's own
space, its codeword.
"""

import dataclasses
import operator
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.information import LN2
from rdsim.learning.families.dual_encoder import info_nce_loss
from rdsim.learning.families.quantized_embedding import fit_stored_systems
from rdsim.learning.training.loop import Schedule
from rdsim.learning.training.networks import MLP, of_each, stacked_networks
from rdsim.simulation.coded_items import Decoder
from rdsim.sources.mixture import GaussianMixtureSource
from rdsim.transformations import on_host


class CrossAttention(nnx.Module):
    """Attention of items over the modalities of queries, and a score of each pair.

    Attributes:
        item_network: from an item to its token.
        networks: of the modalities, each to its token, stacked.
        projections: A, B and C, stacked, with their constants.
        head: from an item's token and what it attended to, to the score.
        heads: h.

    """

    def __init__(
        self, modalities: int, size: int, *, width: int, heads: int, rngs: nnx.Rngs
    ) -> None:
        """Make the layers.

        Args:
            modalities: K of a query.
            size: d, coordinates of an item and of each modality.
            width: w of a token.
            heads: h, a divisor of the width.
            rngs: of the first parameters.

        Raises:
            ValueError: if a number is below one, or the heads do not divide the width.

        """
        number = validation.integer("modalities", modalities, low=1)
        self.heads = validation.integer("heads", heads, low=1)
        if validation.integer("width", width, low=1) % heads:
            raise ValueError(f"heads must divide the width {width}, got {heads}")
        self.item_network = MLP((size, width, width), rngs)
        self.networks = stacked_networks(number, (size, width, width), rngs)
        self.projections = stacked_networks(3, (width, width), rngs)
        self.head = MLP((2 * width, width, 1), rngs)

    def embed_items(self, items: Any) -> Float[Array, "n d"]:
        """Items as they are, float32."""
        return jnp.asarray(items, jnp.float32)

    def tokens(self, queries: Any) -> Float[Array, "n s w"]:
        """Make the tokens of queries (N, K, d), shape (N, K, w)."""
        return of_each(self.networks, jnp.asarray(queries, jnp.float32))

    def attend(
        self, tokens: Float[Array, "n s w"], items: Float[Array, "m w"]
    ) -> tuple[Float[Array, "n m h s"], Float[Array, "n m w"]]:
        """Let every item attend to the tokens of every query.

        Args:
            tokens: of the queries, shape (N, K, w).
            items: tokens of the items, shape (M, w).

        Returns:
            Attention (N, M, h, K), summing to one over K; the values it averages, (N, M, w).

        """
        to_wanted, to_offered, to_values = (
            jax.tree.map(operator.itemgetter(i), self.projections) for i in range(3)
        )
        wanted, offered, values = (
            layer(side).reshape(*side.shape[:-1], self.heads, -1)
            for layer, side in ((to_wanted, items), (to_offered, tokens), (to_values, tokens))
        )
        product = jnp.einsum("mhe,nkhe->nmhk", wanted, offered)
        attention = jax.nn.softmax(product * wanted.shape[-1] ** -0.5, axis=-1)
        average = jnp.einsum("nmhk,nkhe->nmhe", attention, values)
        return attention, average.reshape(*average.shape[:2], -1)

    def compare(self, queries: Any, points: Any) -> Float[Array, "n m"]:
        """Score points (M, d) of the item space for queries (N, K, d), in nats."""
        items = self.item_network(points)
        seen = self.attend(self.tokens(queries), items)[1]
        pairs = jnp.concatenate([jnp.broadcast_to(items, seen.shape), seen], axis=-1)
        return self.head(pairs)[..., 0]

    def scores(self, queries: Any, items: Any) -> Float[Array, "n m"]:
        """Score items (M, d) for queries (N, K, d), in nats."""
        return self.compare(queries, items)


def grouped_scores(model: Any, queries: Any, items: Any, candidates: int) -> Float[Array, "g c c"]:
    """Score the pairs of a batch in groups, every query against the items of its group.

    A re-ranker pays for every pair: groups of C cost N C scores of a batch of N, not N^2.

    Args:
        model: module with `scores`.
        queries: shape (N, K, d).
        items: shape (N, d).
        candidates: C, a divisor of N.

    Returns:
        Shape (N/C, C, C), pairs on the diagonals.

    Raises:
        ValueError: if C does not divide N.

    """
    size = validation.integer("candidates", candidates, low=2)
    if items.shape[0] % size:
        raise ValueError(f"candidates must divide the batch of {items.shape[0]}, got {size}")
    groups = (side.reshape(-1, size, *side.shape[1:]) for side in (queries, items))
    return jax.vmap(model.scores)(*groups)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossAttentionLearner:
    """Train a re-ranker by InfoNCE.

    Attributes:
        modalities: K of a query.
        size: d, coordinates of an item and of each modality.
        width: of a token.
        heads: of the attention.
        candidates: in a group, among which a query's item is to be found.

    """

    modalities: int
    size: int
    width: int = 16
    heads: int = 2
    candidates: int = 32

    def build(self, rngs: nnx.Rngs) -> CrossAttention:
        """Make the re-ranker."""
        return CrossAttention(
            self.modalities, self.size, width=self.width, heads=self.heads, rngs=rngs
        )

    def loss(
        self, model: Any, batch: Any, key: Key[Array, ""], setting: Any, progress: Array
    ) -> tuple[Float[Array, ""], Mapping[str, Float[Array, ""]]]:
        """InfoNCE of the groups of a batch (queries, items, ...); records its bound in bits."""
        del key, setting, progress
        found = grouped_scores(model, batch[0], batch[1], self.candidates)
        value = jnp.mean(jax.vmap(info_nce_loss)(found))
        return value, {"information": (jnp.log(self.candidates) - value) / LN2}


@on_host
def fit_cross_attention(
    key: Key[Array, ""],
    source: GaussianMixtureSource,
    bits: tuple[int, ...],
    schedule: Schedule,
    training: int,
) -> list[tuple[Any, Decoder]]:
    """Train a re-ranker, and let it score the codewords of k-means codes of the items."""
    return fit_stored_systems(key, source, bits, schedule, training, CrossAttentionLearner)
