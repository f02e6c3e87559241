r"""A latent shared by the query modalities and the item: a multimodal variational autoencoder.

$$p(z) = N(0, I), \quad p(x_i | z) = N(x_i;\, d_i(z),\, \operatorname{diag} \nu_i), \quad
  q(z | x_S) \propto p(z) \prod_{i \in S} N(z;\, m_i(x_i),\, \Lambda_i(x_i)^{-1}),$$

with $i = 0..K-1$ the query modalities and $i = K$ the item. The product of experts is a posterior
for any subset S, and every subset has its bound on $\ln p(x_S)$ (Wu & Goodman 2018). An item is
stored as the quantized mean of its posterior.
"""

import dataclasses
import operator
from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.codes.quantizers.product_fits import long_product_quantizer
from rdsim.learning.families.pairs import ItemPairs, System, fitted_models
from rdsim.learning.families.stored import MOST_LISTED_BITS, LongCode, ProductDigits
from rdsim.learning.families.stored.embedded_codes import embedded_code, module_method
from rdsim.learning.families.stored_embeddings import (
    StoredScores,
    checked_bits,
    quantize_embeddings,
)
from rdsim.learning.gaussian_experts import log_normal, log_overlap, product_of_experts
from rdsim.learning.training.learner import LossAndRecord
from rdsim.learning.training.networks import (
    bounded_precisions,
    of_each,
    stacked_networks,
)
from rdsim.learning.training.schedule import Schedule
from rdsim.number_types import ArrayLike
from rdsim.simulation.coded_items import Decoder

_WARM_UP: Final = 0.5
"""Share of the steps in which the weight of the divergence from the prior rises to one. With its full weight from the
start the posteriors of sixteen coordinates collapse to the prior within the first steps, where the decoders
still say nothing, and stay there."""


class SharedLatent(nnx.Module):
    """Encoders and decoders of K query modalities and the item around one latent.

    Attributes:
        encoders: from a modality to the mean and the log precision of its expert, stacked, the
            item's last.
        decoders: from the latent to the mean of a modality, stacked.
        log_precisions: of the coordinates of the modalities given the latent, shape (K + 1, d).
        dimension: L of the latent.

    """

    def __init__(
        self,
        *,
        modalities: int,
        size: int,
        item_size: int | None = None,
        hidden: tuple[int, ...] = (32,),
        dimension: int = 2,
        rngs: nnx.Rngs,
    ) -> None:
        """Make the networks.

        Args:
            modalities: K of a query.
            size: d, coordinates of each modality.
            item_size: coordinates of an item; None for as many as a modality has.
            hidden: widths of the hidden layers.
            dimension: L of the latent.
            rngs: of the first parameters.

        """
        self.dimension = validation.integer("dimension", dimension, low=1)
        self.sizes = (size, item_size or size)
        size = max(self.sizes)  # the shorter of query and item is padded with zeros
        number = validation.integer("modalities", modalities, low=1) + 1
        self.encoders = stacked_networks(number, (size, *hidden, 2 * dimension), rngs)
        self.decoders = stacked_networks(number, (dimension, *hidden, size), rngs)
        self.log_precisions = nnx.Param(jnp.zeros((number, size), jnp.float32))

    def embed_items(self, items: ArrayLike) -> Float[Array, "n l"]:
        """Posterior means of the latent given items (N, d), float32."""
        return self.item_posterior(items)[0]

    def item_posterior(self, items: ArrayLike) -> tuple[Float[Array, "n l"], Float[Array, "n l"]]:
        """Mean and precision of q(z|y) for items (N, d), each of shape (N, L)."""
        encoder = jax.tree.map(operator.itemgetter(-1), self.encoders)
        means, precisions = _expert(encoder(padded(items, max(self.sizes))))
        return product_of_experts(means[:, None], precisions[:, None])

    def query_posterior(
        self, queries: ArrayLike
    ) -> tuple[Float[Array, "n l"], Float[Array, "n l"]]:
        """Mean and precision of q(z|x) for queries (N, K, d), each of shape (N, L)."""
        encoders = jax.tree.map(lambda leaf: leaf[:-1], self.encoders)
        return product_of_experts(*_expert(of_each(encoders, padded(queries, max(self.sizes)))))

    def compare(
        self, queries: ArrayLike, means: ArrayLike, precisions: ArrayLike
    ) -> Float[Array, "n k"]:
        """Score stored latents, means and precisions (K, L), by their overlap with the posterior of queries (N, K, d)."""
        mean, precision = (
            jnp.asarray(part, float)[:, None] for part in self.query_posterior(queries)
        )
        return log_overlap(mean, precision, means, precisions)

    def evidence_bound(
        self, points: ArrayLike, subsets: Any, noise: Float[Array, "b n l"], weight: Any = 1.0
    ) -> Float[Array, "b n"]:
        r"""One draw of what has a mean of at most $\ln p(x_S)$ over the noise, in nats.

        $$\ln p(x_S | z) + \ln p(z) - \ln q(z | x_S), \quad z = \mu + \Lambda^{-1/2} \epsilon$$

        Every draw equals $\ln p(x_S)$ if q is the model's true posterior.

        Args:
            points: queries and item, the shorter padded with zeros, shape (N, K + 1, d).
            subsets: one for each modality in S and zero for others, shape (B, K + 1).
            noise: standard normal epsilon, shape (B, N, L).
            weight: of $\ln q(z | x_S) - \ln p(z)$; below one the value is no bound.

        """
        x, inside = jnp.asarray(points, jnp.float32), jnp.asarray(subsets, jnp.float32)
        means, precisions = _expert(of_each(self.encoders, x))
        mean, precision = product_of_experts(means, precisions * inside[:, None, :, None])
        z = mean + noise / jnp.sqrt(precision)
        count = x.shape[1]
        latents = jnp.broadcast_to(
            z.reshape(-1, 1, z.shape[-1]), (z[..., 0].size, count, z.shape[-1])
        )
        decoded = of_each(self.decoders, latents).reshape(*z.shape[:2], *x.shape[1:])
        noise_precision = bounded_precisions(self.log_precisions[...])
        # Coordinates that pad a modality have no density.
        sizes = np.array([self.sizes[0]] * (count - 1) + [self.sizes[1]])
        real = (np.arange(x.shape[-1]) < sizes[:, None]).astype(np.float32)
        density = log_normal(x, decoded, noise_precision, real)
        likelihood = jnp.sum(density * inside[:, None], axis=-1)
        divergence = log_normal(z, mean, precision) - log_normal(z, 0.0, jnp.ones_like(z))
        return likelihood - weight * divergence


def padded(points: ArrayLike, width: int) -> Float[Array, "... d"]:
    """Points with zeros appended to their last axis, float32."""
    given = jnp.asarray(points, jnp.float32)
    more = [(0, 0)] * (given.ndim - 1) + [(0, width - given.shape[-1])]
    return jnp.pad(given, more)


def _expert(out: Float[Array, "... o"]) -> tuple[Float[Array, "... l"], Float[Array, "... l"]]:
    means, logs = jnp.split(out, 2, axis=-1)
    return means, bounded_precisions(logs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SharedLatentLearner:
    """Train a shared latent by its bounds on all, on the queries, and on each modality alone.

    The weight of the divergence from the prior rises from zero to one during the first half of the steps;
    held-out pairs are always given the bounds themselves.

    Attributes:
        build: makes the `SharedLatent`.

    References:
        Bowman, Vilnis, Vinyals, Dai, Jozefowicz and Bengio (2016), "Generating sentences from a continuous
        space", CoNLL, for the rising weight.

    """

    build: Callable[[nnx.Rngs], Any]

    def loss(
        self, model: Any, batch: Any, key: Key[Array, ""], _: Any, progress: Array
    ) -> LossAndRecord:
        """Minus the sum of the bounds of a batch (queries, items, ...), in nats, the divergence weighted.

        Recorded: the bound on the mean log density of queries and item, in nats.
        """
        sides = (batch[0], batch[1][:, None])
        points = jnp.concatenate([padded(side, max(model.sizes)) for side in sides], axis=1)
        subsets = training_subsets(points.shape[1] - 1)
        shape = (len(subsets), points.shape[0], model.dimension)
        noise = jax.random.normal(key, shape, jnp.float32)
        weight = jnp.minimum(progress / _WARM_UP, 1.0)
        bounds = jnp.mean(model.evidence_bound(points, subsets, noise, weight), axis=1)
        return -jnp.sum(bounds), {"bound": bounds[0]}


def training_subsets(modalities: int) -> Float[np.ndarray, "b i"]:
    """Subsets whose bounds are summed: all, the queries, and each alone; shape (B, K + 1)."""
    alone = np.eye(modalities + 1)
    queries = alone[:-1].sum(axis=0)
    return np.stack([alone.sum(axis=0), *([queries] if modalities > 1 else []), *alone])


def shared_latent_family(
    keys: Key[Array, " 3"], data: ItemPairs, bits: tuple[int, ...], schedule: Schedule
) -> list[System]:
    """Train a shared latent, and store the quantized posterior means of items.

    What is known of an item from its codeword is taken for Gaussian, with the mean and variance of
    the posteriors of the training items that have the codeword.
    """
    learner = SharedLatentLearner(
        build=data.of_modalities(
            SharedLatent,
            hidden=data.hidden,
            # A latent of few dimensions bounds the bits that items can be stored in.
            dimension=max(2, min(64, data.item_size)),
        )
    )
    checked_bits(bits, data.sample[1], learner=learner)
    (model,) = fitted_models(keys[0], learner, data, schedule)
    items = data.sample[1]
    embed, parameters = module_method(model, "embed_items")
    mean, precision = (jnp.asarray(part, float) for part in model.item_posterior(items))
    systems: list[System] = []
    for b in bits:
        if b > MOST_LISTED_BITS:
            inner = long_product_quantizer(jax.random.fold_in(keys[1], b), mean, b)
            variance = jnp.mean(1.0 / precision, axis=0) + inner.distortion / mean.shape[1]
            long = LongCode(
                embed=embed,
                parameters=parameters,
                digits=ProductDigits(inner),
                precision=1 / variance,
            )
            systems.append((long, Decoder(StoredScores(embed.graph), (parameters,))))
            continue
        code = quantize_embeddings(jax.random.fold_in(keys[1], b), mean, b, "k-means")
        moments = _codeword_moments(code.channel(mean), mean, precision)
        rule = Decoder(StoredScores(embed.graph), (parameters, *moments))
        systems.append((embedded_code(embed, parameters, code, items), rule))
    return systems


def _codeword_moments(
    channel: Float[Array, "n k"], mean: Float[Array, "n l"], precision: Float[Array, "n l"]
) -> tuple[Float[Array, "k l"], Float[Array, "k l"]]:
    """Means and precisions of the mixtures of posteriors of each codeword; of all if it has none."""
    mass = channel.sum(axis=0)
    weights = jnp.where(mass > 0, channel / jnp.where(mass > 0, mass, 1.0), 1.0 / channel.shape[0])
    centre = weights.T @ mean
    square = (mean[:, None] - centre) ** 2 + 1.0 / precision[:, None]
    return centre, 1.0 / jnp.einsum("nk,nkl->kl", weights, square)
