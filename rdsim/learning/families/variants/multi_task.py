r"""Retrieval and classification learned jointly: one embedding for both tasks.

$$\mathrm{InfoNCE}(s) - \frac{w}{2n} \sum_{i: c_i \ge 0}
    \bigl[\ln p(c_i | f(x_i)) + \ln p(c_i | g(y_i))\bigr], \quad p(\cdot | z) = \operatorname{softmax}(H z),$$

with one linear map H for the embeddings of both sides. A pair whose class is unknown, -1, counts for retrieval alone.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.learning.families.dual_encoder import DualEncoder, info_nce_loss
from rdsim.learning.families.pairs import ItemPairs
from rdsim.learning.training.learner import LossAndRecord


class LabelledEncoder(DualEncoder):
    """A dual encoder with a linear map from its embeddings to classes.

    Attributes:
        head: the map.

    """

    def __init__(self, *, classes: int, rngs: nnx.Rngs, **sizes: Any) -> None:
        """Make the networks for so many classes; the other sizes are those of a `DualEncoder`."""
        super().__init__(rngs=rngs, **sizes)
        self.head = nnx.Linear(
            sizes["dimension"], validation.integer("classes", classes, low=2), rngs=rngs
        )

    def class_scores(self, embeddings: Float[Array, "n e"]) -> Float[Array, "n c"]:
        """Log probabilities of the classes given embeddings of either side."""
        return jax.nn.log_softmax(self.head(embeddings))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiTaskLearner:
    """Train a `LabelledEncoder` on both tasks.

    Attributes:
        build: makes it.
        weight: w of the classes.

    References:
        Caruana (1997), "Multitask learning", Machine Learning 28.

    """

    build: Callable[[nnx.Rngs], Any]
    weight: float = 0.5

    def __post_init__(self) -> None:
        validation.non_negative("weight", self.weight, ndim=0)

    def loss(self, model: Any, batch: Any, *_: Any) -> LossAndRecord:
        """Both losses of a batch (queries, items, classes); records how often a query's class is right."""
        x, y = model.embed_queries(batch[0]), model.embed_items(batch[1])
        known = batch[2] >= 0
        label = jnp.maximum(batch[2], 0)[:, None]
        log_x, log_y = model.class_scores(x), model.class_scores(y)
        own = sum(jnp.take_along_axis(logs, label, axis=1)[:, 0] for logs in (log_x, log_y))
        count = jnp.maximum(jnp.sum(known), 1)
        classes = -0.5 * jnp.sum(jnp.where(known, own, 0.0)) / batch[2].size
        right = jnp.sum(known & (jnp.argmax(log_x, axis=1) == label[:, 0])) / count
        contrast = info_nce_loss(x @ y.T / model.temperature())
        return contrast + self.weight * classes, {"accuracy": right}


def multi_task_encoder(data: ItemPairs) -> MultiTaskLearner:
    """Return the learner of both tasks on these pairs.

    Raises:
        ValueError: if the pairs do not name two classes or more.

    """
    classes = int(np.max(data.sample[2], initial=-1)) + 1
    if classes < 2:
        raise ValueError("data must name two classes or more for multi-task learning")
    return MultiTaskLearner(build=data.encoders(LabelledEncoder, classes=classes))
