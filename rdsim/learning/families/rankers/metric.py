r"""Mahalanobis metric learning: linear maps under which a query's item is the nearest.

$$s(x, y) = -\frac{|A x - B y|^2}{2 \tau},$$

trained by InfoNCE, as neighbourhood components are. Where queries and items live in one space and
A = B, it is minus the squared Mahalanobis distance of the matrix $A^T A$.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from rdsim.learning.families.dual_encoder import ContrastiveLearner, DualEncoder
from rdsim.learning.families.pairs import ItemPairs, System, fitted_models
from rdsim.learning.families.stored.embedded_codes import embeddings_of
from rdsim.learning.families.stored_embeddings import checked_bits, quantized_systems
from rdsim.learning.training.schedule import Schedule


class MetricEncoder(DualEncoder):
    """A dual encoder compared by squared distances."""

    def scores(self, queries: Any, items: Any) -> Float[Array, "n k"]:
        """Minus half the squared distances over the temperature."""
        x, y = self.embed_queries(queries), self.embed_items(items)
        square = jnp.sum(x**2, axis=1)[:, None] + jnp.sum(y**2, axis=1) - 2 * x @ y.T
        return -0.5 * square / jnp.exp(self.log_temperature[...])


def metric_family(
    keys: Key[Array, " 3"], data: ItemPairs, bits: tuple[int, ...], schedule: Schedule
) -> list[System]:
    """Learn the maps, and store items as quantized images, ranked by distance.

    References:
        Goldberger, Roweis, Hinton and Salakhutdinov (2004), "Neighbourhood components analysis",
        NIPS; Weinberger and Saul (2009), JMLR 10.

    """
    learner = ContrastiveLearner(
        build=data.encoders(
            MetricEncoder,
            hidden=(),
            dimension=min(data.query_size, data.item_size),
            unit=False,
            temperature=1.0,
        )
    )
    checked_bits(bits, data.sample[1], learner=learner)
    (model,) = fitted_models(keys[0], learner, data, schedule)
    return quantized_systems(
        keys[1], *embeddings_of(model), data.sample[1], bits, comparison="distance"
    )
