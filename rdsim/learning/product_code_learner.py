r"""Networks of a stochastic code of several codebooks, and the objective that trains them.

Networks make the probabilities $P(u_g|y)$ of the codewords of codebook g and the tables $T_g(x, u_g)$ of their
scores; priors $q_g$ are learned beside them. The slope objective, in bits,

$$-\,\mathrm{InfoNCE}(X;U) + \lambda\, E \sum_g D(P(\cdot|Y)_g \,\|\, q_g),$$

bounds $-I(X;U) + \lambda I(U;Y)$ from above in expectation (van den Oord et al. 2018; Alemi et al.
2017): the inner sums are information bounds, whatever the networks. Codewords are drawn by Gumbel noise;
gradients pass straight through the softened draw (Jang et al. 2017; Maddison et al. 2017).
"""

import dataclasses
import math
from typing import Any, Final

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Key

from rdsim.information import log_share
from rdsim.learning.training.learner import LossAndRecord
from rdsim.transformations import with_derivatives_of

GROUP_BITS: Final = 4
"""Bits of a full codebook; the last one of a code may be smaller."""
_UNUSED: Final = -1e9
"""Logit of a codeword that a run does not use, in nats: its probability underflows to zero."""


class Tower(nnx.Module):
    """A linear map and a hidden layer side by side, to one number for each codeword of every codebook."""

    def __init__(self, inputs: int, hidden: int, outputs: int, rngs: nnx.Rngs) -> None:
        """Make the layers; the hidden part starts at zero, so that the first map is linear."""
        self.straight = nnx.Linear(inputs, outputs, rngs=rngs)
        self.inner = nnx.Linear(inputs, hidden, rngs=rngs)
        self.outer = nnx.Linear(
            hidden, outputs, kernel_init=nnx.initializers.zeros_init(), rngs=rngs
        )

    def __call__(self, points: Array) -> Array:
        """Map points (N, d) to (N, outputs)."""
        points = jnp.asarray(points, jnp.float32)
        return self.straight(points) + self.outer(jax.nn.gelu(self.inner(points)))


class ProductCodeModel(nnx.Module):
    """Item tower, query tower and priors of G codebooks of W codewords."""

    def __init__(
        self, items: int, queries: int, groups: int, codewords: int, hidden: int, rngs: nnx.Rngs
    ) -> None:
        """Make the towers for items and queries of so many coordinates."""
        self.groups, self.codewords = groups, codewords
        self.item = Tower(items, hidden, groups * codewords, rngs)
        self.query = Tower(queries, hidden, groups * codewords, rngs)
        self.prior = nnx.Param(jnp.zeros((groups, codewords), jnp.float32))

    def logits(self, items: Array) -> Array:
        """Logits of P(u_g|y), shape (N, G, W)."""
        return self.item(items).reshape(-1, self.groups, self.codewords)

    def tables(self, queries: Array) -> Array:
        """Scores of every codeword for queries, nats, shape (Q, G, W)."""
        return self.query(queries).reshape(-1, self.groups, self.codewords)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProductCodeLearner:
    """Trains codes of several codebooks by the slope objective; a `Learner`.

    A setting is {"slope": λ, "codewords": codewords used of each codebook, shape (G,)}; a batch is a pair
    of queries (N, d_x) and items (N, d_y), row i with row i.

    Attributes:
        items: coordinates of an item.
        queries: coordinates of a query.
        groups: codebooks G.
        codewords: codewords of each, W.
        hidden: units of the hidden layer of each tower.
        warmest: temperature of the softened draw at the start.
        coolest: at the end.
        noise: standard deviation of the noise added to the training points, which are expected
            with coordinates of unit variance.

    """

    items: int
    queries: int
    groups: int
    codewords: int = 1 << GROUP_BITS
    hidden: int = 128
    warmest: float = 1.0
    coolest: float = 0.5
    noise: float = 0.0

    def build(self, rngs: nnx.Rngs) -> ProductCodeModel:
        """Make the towers and flat priors."""
        return ProductCodeModel(
            self.items, self.queries, self.groups, self.codewords, self.hidden, rngs
        )

    def loss(
        self, model: Any, batch: Any, key: Key[Array, ""], setting: Any, progress: Array
    ) -> LossAndRecord:
        """Slope objective of a batch, bits; records its information and its rate."""
        queries, items = (jnp.asarray(part, jnp.float32) for part in batch)
        draw, blur = jax.random.split(key)
        pairs = jnp.concatenate([queries, items], axis=1)
        deviation = self.noise * (progress < 1)
        pairs += deviation * jax.random.normal(blur, pairs.shape, jnp.float32)
        queries, items = jnp.split(pairs, [self.queries], axis=1)
        used = jnp.arange(self.codewords) < setting["codewords"][:, None]
        logits = jnp.where(used, model.logits(items), _UNUSED)
        temperature = self.warmest + (self.coolest - self.warmest) * progress
        noisy = logits + jax.random.gumbel(draw, logits.shape, jnp.float32)
        soft = jax.nn.softmax(noisy / temperature)
        hard = jax.nn.one_hot(jnp.argmax(noisy, axis=-1), self.codewords, dtype=jnp.float32)
        codewords = with_derivatives_of(hard, soft)
        scores = jnp.einsum("qgw,mgw->qm", model.tables(queries), codewords)
        size = queries.shape[0]
        nats = log_share(scores, jnp.diagonal(scores)) + math.log(size)
        information = jnp.mean(nats) / math.log(2)
        rate = jnp.mean(_rate_bits(logits, jnp.where(used, model.prior[...], _UNUSED)))
        loss = -information + setting["slope"] * rate
        return loss, {"information": information, "rate": rate}


def _rate_bits(logits: Array, prior: Array) -> Array:
    """Divergence of the codewords' probabilities from the priors, summed over codebooks, bits, shape (N,)."""
    log_channel = jax.nn.log_softmax(logits)
    log_prior = jax.nn.log_softmax(prior)
    terms = jnp.exp(log_channel) * (log_channel - log_prior)
    return jnp.sum(terms, axis=(-2, -1)) / math.log(2)
