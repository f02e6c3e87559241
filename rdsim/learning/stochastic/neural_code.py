r"""A neural stochastic code: items become a distribution over codewords, queries a score of every codeword.

The item encoder is a channel P(u|y) over a codebook of K codewords, the entropy model is a learned
distribution p(u), so that an entropy coder with common randomness spends
$E\,D(P(\cdot|Y)\|p) \ge I(U;Y)$ bits per item. Each of m query modalities scores the codewords, and
the decoder weighs modality k by a learned temperature:

$$r(u|x) \propto p(u) \exp\Bigl(\sum_k s_k(x_k, u) / \tau_k\Bigr).$$

The exponent is the score that items are ranked by: it is the log likelihood ratio of x given u, up
to what u does not change, when r is the true posterior and p the true distribution of U. p(u) itself is no
part of it: that a codeword is common says nothing about which of its items is meant.
"""

from typing import Final

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.information import below_largest
from rdsim.learning.training.networks import MLP
from rdsim.number_types import ArrayLike

SCORES: Final = ("free", "distance")
"""free: an MLP from the query to K numbers; distance: minus half the squared distance of the query
from a learned point of the codeword, so that a temperature is a variance."""


class NeuralCode(nnx.Module):
    """Item encoder, entropy model and query encoders; float32.

    Attributes:
        item_encoder: item -> K logits.
        prior_logits: of the entropy model, shape (K,).
        log_temperature: ln of each modality's temperature, shape (m,).
        query_encoders: one a modality, query -> K scores; none for distance scores.
        points: of the codewords in the queries' space, shape (K, d); none for free scores.

    """

    def __init__(
        self,
        item_dimension: int,
        query_dimension: int,
        codewords: int,
        *,
        modalities: int = 1,
        hidden: tuple[int, ...] = (32, 32),
        scores: str = "free",
        rngs: nnx.Rngs,
    ) -> None:
        """Make the code with its first parameters.

        Args:
            item_dimension: of an item.
            query_dimension: d, of each modality's query.
            codewords: K >= 2.
            modalities: m >= 1.
            hidden: widths of the hidden layers of every encoder.
            scores: one of `SCORES`.
            rngs: keys of the first parameters.

        """
        validation.choice("scores", scores, SCORES)
        validation.integer("codewords", codewords, low=2)
        validation.integer("modalities", modalities, low=1)
        validation.integer("query_dimension", query_dimension, low=1)
        self.item_encoder = MLP((item_dimension, *hidden, codewords), rngs)
        # Entropy model and temperatures start flat, at 1/K and at one: the first gradients are those of the networks.
        self.prior_logits = nnx.Param(jnp.zeros(codewords, jnp.float32))
        self.log_temperature = nnx.Param(jnp.zeros(modalities, jnp.float32))
        if scores == "free":
            widths = (query_dimension, *hidden, codewords)
            self.query_encoders = nnx.List(MLP(widths, rngs) for _ in range(modalities))
            self.points = None
        else:
            shape = (codewords, query_dimension)
            self.query_encoders = nnx.List()
            self.points = nnx.Param(jax.random.normal(rngs.params(), shape, jnp.float32))

    @property
    def temperatures(self) -> Float[Array, " m"]:
        """tau_k of each modality, shape (m,)."""
        return jnp.exp(self.log_temperature[...])

    def item_logits(self, items: ArrayLike) -> Float[Array, "... k"]:
        """Logits of P(u|y) for items of shape (..., item_dimension), shape (..., K)."""
        return self.item_encoder(items)

    def log_channel(self, items: ArrayLike) -> Float[Array, "... k"]:
        """Ln P(u|y) for items of shape (..., item_dimension), shape (..., K)."""
        return jax.nn.log_softmax(self.item_logits(items))

    def log_prior(self) -> Float[Array, " k"]:
        """Ln p(u) of the entropy model, shape (K,)."""
        return jax.nn.log_softmax(self.prior_logits[...])

    def scores(self, queries: ArrayLike) -> Float[Array, "... m k"]:
        """s_k(x_k, u) before temperatures, queries of shape (..., m, d), shape (..., m, K)."""
        x = jnp.asarray(queries, jnp.float32)
        if self.points is not None:
            return -0.5 * jnp.sum((x[..., None, :] - self.points[...]) ** 2, axis=-1)
        each = [encoder(x[..., k, :]) for k, encoder in enumerate(self.query_encoders)]
        return jnp.stack(each, axis=-2)

    def fused_scores(
        self, queries: ArrayLike, modalities: tuple[int, ...] | None = None
    ) -> Float[Array, "... k"]:
        """Sum of s_k/tau_k that items are ranked by, in nats, shape (..., K).

        Args:
            queries: shape (..., m, d), all modalities.
            modalities: which of them are looked at; None for all.

        """
        # Fusion of independent modalities is a sum of log likelihood ratios; the temperature is the one number that
        # corrects a modality whose scores are too sure or too timid.
        weighted = self.scores(queries) / self.temperatures[:, None]
        if modalities is not None:
            weighted = weighted[..., jnp.array(modalities, int), :]
        return jnp.sum(weighted, axis=-2)

    def log_posterior(
        self, queries: ArrayLike, modalities: tuple[int, ...] | None = None
    ) -> Float[Array, "... k"]:
        """Ln r(u|x) for queries of shape (..., m, d), shape (..., K)."""
        # Scores of distances may be as large as the coordinates squared: float32 keeps their differences only if the
        # largest is subtracted before the prior is added.
        scores = below_largest(self.fused_scores(queries, modalities))
        return jax.nn.log_softmax(self.log_prior() + scores)
