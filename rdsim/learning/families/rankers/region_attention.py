r"""Cross-attention between the regions of an item and the words of a query, in both directions.

An item is a set of R regions $v_r$, a query a set of M words $w_m$ (its modalities), each a unit vector that a
network shared by the set makes. With $s_{rm} = \langle v_r, w_m \rangle$ and a learned sharpness $\lambda$,

$$\alpha_{mr} = \operatorname{softmax}_r \lambda s_{rm},\ a_m = \sum_r \alpha_{mr} v_r, \qquad
  \beta_{rm} = \operatorname{softmax}_m \lambda s_{rm},\ c_r = \sum_m \beta_{rm} w_m:$$

every word attends to regions, and every region to words. The score compares each with what it attended to,
coordinate by coordinate, $A = \frac1M \sum_m w_m \odot a_m$ and $C = \frac1R \sum_r v_r \odot c_r$, and adds up

$$s = \langle \theta, [A; C] \rangle / \tau \ \text{(concatenated)}, \qquad
  s = \langle \mathbf{1}, \tfrac12 (A + C) \rangle / \tau \ \text{(averaged)}.$$

No single vector of an item has this score as an inner product: what is stored is the set, each region with a
share of the bits, in no order.
"""

import dataclasses
import math
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.learning.families.dual_encoder import ContrastiveLearner
from rdsim.learning.families.pairs import ItemPairs, System, fitted_models
from rdsim.learning.families.reranking import CANDIDATES
from rdsim.learning.families.stored import LongCode
from rdsim.learning.families.stored.embedded_codes import embedded_points, module_method
from rdsim.learning.families.stored.set_codes import listed_codewords, set_quantizer
from rdsim.learning.families.stored_embeddings import StoredScores, checked_bits, stored_systems
from rdsim.learning.training.networks import MLP, Comparing, architecture, unit_length
from rdsim.learning.training.schedule import Schedule
from rdsim.simulation.coded_items import Decoder

JOININGS: Final = ("concatenated", "averaged")


class RegionAttention(Comparing):
    """Two networks, one shared by all regions and one by all words, and the attention between them.

    Attributes:
        region_network: from a region to e numbers.
        word_network: from a word to e numbers.
        weights: theta, of the concatenated sums, shape (2e,).
        log_sharpness: of lambda.
        log_temperature: of tau.
        regions: R of an item.
        joined: how the two directions are joined.

    """

    def __init__(
        self,
        *,
        regions: int,
        item_size: int,
        word_size: int,
        joined: str = "concatenated",
        hidden: tuple[int, ...] = (32,),
        dimension: int = 16,
        rngs: nnx.Rngs,
    ) -> None:
        """Make the networks.

        Args:
            regions: R of an item.
            item_size: numbers in an item, all regions one after the other.
            word_size: numbers in a word.
            joined: "concatenated" or "averaged".
            hidden: widths of the hidden layers.
            dimension: e.
            rngs: of the first parameters.

        """
        self.regions = regions
        if item_size % regions:
            raise ValueError(
                f"regions must divide the {item_size} numbers of an item, got {regions}"
            )
        self.joined = joined
        self.region_network = MLP((item_size // regions, *hidden, dimension), rngs)
        self.word_network = MLP((word_size, *hidden, dimension), rngs)
        # The concatenated score starts as the averaged one.
        self.weights = nnx.Param(jnp.full((2 * dimension,), 0.5, jnp.float32))
        # Cosines differ by about one: attention starts soft, and scores tell items of a batch apart.
        self.log_sharpness = nnx.Param(jnp.asarray(math.log(4.0), jnp.float32))
        self.log_temperature = nnx.Param(jnp.asarray(math.log(0.1), jnp.float32))

    def embed_items(self, items: Float[Array, "n i"]) -> Float[Array, "n e"]:
        """Region vectors of items (N, R d), one after the other, shape (N, R e)."""
        points = jnp.asarray(items, jnp.float32).reshape(len(items), self.regions, -1)
        return unit_length(self.region_network(points)).reshape(len(items), -1)

    def embed_words(self, queries: Float[Array, "n m d"]) -> Float[Array, "n m e"]:
        """Word vectors of queries (N, M, d)."""
        return unit_length(self.word_network(jnp.asarray(queries, jnp.float32)))

    def attention(
        self, queries: Float[Array, "n m d"], stored: Float[Array, "k e"]
    ) -> tuple[Float[Array, "n k r m"], Float[Array, "n k r m"]]:
        """Attention of queries (N, M, d) and stored items (K, R e), each of shape (N, K, R, M).

        Returns:
            alpha, of words over regions, summing to one over R; beta, of regions over words, over M.

        """
        return self._attention(self._similarities(self.embed_words(queries), self._sets(stored)))

    def compare(self, queries: Any, stored: Any) -> Float[Array, "n k"]:
        """Score stored items (K, R e) for queries (N, M, d)."""
        words, regions = self.embed_words(queries), self._sets(stored)
        similarities = self._similarities(words, regions)
        alpha, beta = self._attention(similarities)
        if self.joined == "averaged":
            # The inner product of a word with what it attended to is its mean similarity.
            to_regions = to_words = 0.5 * similarities
        else:
            half = self.weights[...].reshape(2, -1)
            to_regions = self._similarities(words * half[0], regions)
            to_words = self._similarities(words * half[1], regions)
        found = jnp.mean(jnp.sum(alpha * to_regions, axis=-2), axis=-1)
        found += jnp.mean(jnp.sum(beta * to_words, axis=-1), axis=-1)
        return found / jnp.exp(self.log_temperature[...])

    def _sets(self, stored: Any) -> Float[Array, "k r e"]:
        return jnp.asarray(stored, jnp.float32).reshape(len(stored), self.regions, -1)

    def _similarities(
        self, words: Float[Array, "n m e"], regions: Float[Array, "k r e"]
    ) -> Float[Array, "n k r m"]:
        return jnp.einsum("nme,kre->nkrm", words, regions)

    def _attention(self, similarities: Float[Array, "n k r m"]) -> tuple[Array, Array]:
        sharp = jnp.exp(self.log_sharpness[...]) * similarities
        return jax.nn.softmax(sharp, axis=-2), jax.nn.softmax(sharp, axis=-1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RegionAttentionFamily:
    """Train cross-attention of regions and words, and store items as sets of quantized regions.

    Attributes:
        regions: R of an item, which divides its numbers; of one region it is the whole item.
        joined: "concatenated" or "averaged".

    References:
        Lee, Chen, Hua, Hu and He (2018), "Stacked cross attention for image-text matching", ECCV.

    """

    regions: int = 1
    joined: str = "concatenated"

    def __post_init__(self) -> None:
        validation.integer("regions", self.regions, low=1)
        validation.choice("joined", self.joined, JOININGS)

    def __call__(
        self, keys: Key[Array, " 3"], data: ItemPairs, bits: tuple[int, ...], schedule: Schedule
    ) -> list[System]:
        """Fit the systems, one for each number of bits."""
        learner = region_attention_learner(data, regions=self.regions, joined=self.joined)
        if self.regions == 1:
            checked_bits(bits, data.sample[1], learner=learner)
        else:
            sets = jax.eval_shape(
                lambda items: learner.build(nnx.Rngs(0)).embed_items(items), data.sample[1]
            )
            points = jax.ShapeDtypeStruct(
                (sets.shape[0] * self.regions, sets.shape[1] // self.regions), sets.dtype
            )
            for b in bits:
                listed_codewords(points, self.regions, b)
        (model,) = fitted_models(keys[0], learner, data, schedule)
        items = data.sample[1]
        if self.regions == 1:
            return stored_systems(keys[1], model, items, bits)
        embed, parameters = module_method(model, "embed_items")
        vectors = np.asarray(embedded_points(embed, parameters, items))
        rule = Decoder(StoredScores(embed.graph), (parameters,))
        systems: list[System] = []
        for b in bits:
            digits = set_quantizer(jax.random.fold_in(keys[1], b), vectors, self.regions, b)
            systems.append((LongCode(embed=embed, parameters=parameters, digits=digits), rule))
        return systems


def region_attention_learner(
    data: ItemPairs, *, regions: int = 1, joined: str = "concatenated"
) -> ContrastiveLearner:
    """Return the learner of cross-attention on these pairs, by InfoNCE among groups of candidates."""
    return ContrastiveLearner(
        build=architecture(
            RegionAttention,
            regions=regions,
            item_size=data.item_size,
            word_size=data.modality_size,
            joined=joined,
        ),
        candidates=CANDIDATES,
    )
