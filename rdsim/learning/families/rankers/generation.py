r"""Conditional generation used for retrieval: a model of the item given the query scores what is stored.

$$p(y|x) = \sum_{j=1}^{J} \pi_j(x) \, N(y; \mu_j(x), \Lambda_j(x)^{-1}), \quad s(x, u) = \ln p(u|x) - \ln p(u),$$

a mixture density network and, for the denominator, one of the same form without a query. The difference
is the information density of the two models, what a query adds to the density of an item.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.learning.families.pairs import ItemPairs
from rdsim.learning.gaussian_experts import log_normal
from rdsim.learning.training.learner import LossAndRecord
from rdsim.learning.training.networks import MLP, architecture, bounded_precisions
from rdsim.number_types import ArrayLike

_COMPONENTS: Final = 4


class ItemGenerator(nnx.Module):
    """Mixture densities of items, given the queries and without them.

    Attributes:
        network: from the queries to weights, means and precisions of the components.
        prior: the same numbers without a query.
        components: J.

    """

    def __init__(
        self,
        *,
        query_size: int,
        item_size: int,
        hidden: tuple[int, ...] = (32, 32),
        components: int = _COMPONENTS,
        rngs: nnx.Rngs,
    ) -> None:
        """Make the network for so many numbers in the queries of an item and in an item."""
        self.components = validation.integer("components", components, low=1)
        outputs = components * (1 + 2 * item_size)
        self.network = MLP((query_size, *hidden, outputs), rngs)
        self.prior = nnx.Param(0.5 * jax.random.normal(rngs.params(), (outputs,), jnp.float32))

    def embed_items(self, items: ArrayLike) -> Float[Array, "n d"]:
        """Items as they are, float32."""
        return jnp.asarray(items, jnp.float32)

    def log_densities(
        self, queries: Any, points: Any
    ) -> tuple[Float[Array, "n m"], Float[Array, " m"]]:
        """Log densities of points (M, d) given queries (N, K, d_x), and of the points alone, nats."""
        flat = jnp.asarray(queries, jnp.float32).reshape(len(queries), -1)
        points = jnp.asarray(points)
        given = jax.vmap(lambda out: self._log_density(out, points))(self.network(flat))
        return given, self._log_density(self.prior[...], points)

    def _log_density(self, outputs: Float[Array, " o"], points: Float[Array, "m d"]) -> Any:
        J = self.components
        weights = jax.nn.log_softmax(outputs[:J])
        means, logs = jnp.split(outputs[J:].reshape(J, -1), 2, axis=1)
        each = log_normal(points[:, None], means, bounded_precisions(logs))
        return jax.nn.logsumexp(weights + each, axis=1)

    def compare(self, queries: ArrayLike, points: ArrayLike) -> Float[Array, "n m"]:
        """Score points (M, d) of the item space for queries (N, K, d_x), in nats."""
        given, alone = self.log_densities(queries, points)
        return given - alone


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationLearner:
    """Train an `ItemGenerator` by maximum likelihood.

    Attributes:
        build: makes the generator.

    References:
        Bishop (1994), "Mixture density networks".

    """

    build: Callable[[nnx.Rngs], Any]

    def loss(self, model: Any, batch: Any, *_: Any) -> LossAndRecord:
        """Minus the mean log densities of a batch (queries, items, ...), in nats."""
        queries, items = batch[:2]
        flat = jnp.asarray(queries, jnp.float32).reshape(len(queries), -1)
        items = jnp.asarray(items, jnp.float32)
        density = jax.vmap(lambda out, item: model._log_density(out, item[None])[0])
        given = jnp.mean(density(model.network(flat), items))
        alone = jnp.mean(model._log_density(model.prior[...], items))
        return -(given + alone), {"information": given - alone}


def generation_learner(data: ItemPairs) -> GenerationLearner:
    """Return the learner of a generator of these items."""
    return GenerationLearner(
        build=architecture(
            ItemGenerator,
            query_size=data.query_size,
            item_size=data.item_size,
            hidden=data.hidden,
        )
    )
