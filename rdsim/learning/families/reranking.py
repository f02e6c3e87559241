r"""A re-ranker that reads query and item together: the item attends to the query's modalities.

With tokens $t(y)$ of the item and $t_k(x_k)$ of the modalities, in h heads of width w/h,

$$a_k = \operatorname{softmax}_k \frac{\langle A\, t(y),\, B\, t_k(x_k) \rangle}{\sqrt{w/h}},
  \quad s(x, y) = \mathrm{MLP}\Bigl(t(y),\ \sum_k a_k\, C\, t_k(x_k)\Bigr).$$

It scores pairs, not embeddings of each side: what is stored of an item is a point of the item's own
space, its codeword. By distillation a dual encoder learns the soft ranking of a re-ranker that it
could not run itself,

$$\frac{\tau^2}{N} \sum_i D\bigl(\operatorname{softmax}(t_{i\cdot}/\tau)\,\|\,
  \operatorname{softmax}(s_{i\cdot}/\tau)\bigr)$$

in nats over the candidates of each query, t the scores of the teacher and s those of the student.
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
from rdsim.information import below_largest
from rdsim.learning.families.dual_encoder import ContrastiveLearner, grouped_scores
from rdsim.learning.families.fusion import early_fusion
from rdsim.learning.families.pairs import STARTS, ItemPairs, System, draw_batch, fitted_models
from rdsim.learning.families.stored_embeddings import checked_bits, stored_systems
from rdsim.learning.training.learner import LossAndRecord
from rdsim.learning.training.loop import train
from rdsim.learning.training.networks import MLP, Comparing, of_each, stacked_networks
from rdsim.learning.training.schedule import Schedule
from rdsim.number_types import ArrayLike
from rdsim.transformations import not_differentiable

CANDIDATES: Final = 32
"""Pairs in a group, whose items the re-ranker compares for each query of the group."""


class CrossAttention(Comparing):
    """Attention of items over the modalities of queries, and a score of each pair.

    Attributes:
        item_network: from an item to its token.
        networks: of the modalities, each to its token, stacked.
        projections: A, B and C, stacked, with their constants.
        head: from an item's token and what it attended to, to the score.
        heads: h.

    """

    def __init__(
        self,
        *,
        modalities: int,
        size: int,
        item_size: int | None = None,
        width: int = 16,
        heads: int = 2,
        rngs: nnx.Rngs,
    ) -> None:
        """Make the layers.

        Args:
            modalities: K of a query.
            size: d, coordinates of each modality.
            item_size: coordinates of an item; None for as many as a modality has.
            width: w of a token.
            heads: h, a divisor of the width.
            rngs: of the first parameters.

        """
        number = validation.integer("modalities", modalities, low=1)
        self.heads = validation.integer("heads", heads, low=1)
        if validation.integer("width", width, low=1) % heads:
            raise ValueError(f"heads must divide the width {width}, got {heads}")
        self.item_network = MLP((item_size or size, width, width), rngs)
        self.networks = stacked_networks(number, (size, width, width), rngs)
        self.projections = stacked_networks(3, (width, width), rngs)
        self.head = MLP((2 * width, width, 1), rngs)

    def embed_items(self, items: ArrayLike) -> Float[Array, "n d"]:
        """Items as they are, float32."""
        return jnp.asarray(items, jnp.float32)

    def tokens(self, queries: ArrayLike) -> Float[Array, "n s w"]:
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

        def projected(i: int, side: Float[Array, "... w"]) -> Float[Array, "... h e"]:
            layer = jax.tree.map(operator.itemgetter(i), self.projections)
            return layer(side).reshape(*side.shape[:-1], self.heads, -1)

        attending, attended, values = (
            projected(0, items),
            projected(1, tokens),
            projected(2, tokens),
        )
        product = jnp.einsum("mhe,nkhe->nmhk", attending, attended)
        attention = jax.nn.softmax(product * attending.shape[-1] ** -0.5, axis=-1)
        average = jnp.einsum("nmhk,nkhe->nmhe", attention, values)
        return attention, average.reshape(*average.shape[:2], -1)

    def compare(self, queries: ArrayLike, points: ArrayLike) -> Float[Array, "n m"]:
        """Score points (M, d) of the item space for queries (N, K, d), in nats."""
        items = self.item_network(points)
        seen = self.attend(self.tokens(queries), items)[1]
        pairs = jnp.concatenate([jnp.broadcast_to(items, seen.shape), seen], axis=-1)
        return self.head(pairs)[..., 0]


def cross_attention_learner(data: ItemPairs) -> ContrastiveLearner:
    """Return the learner of a re-ranker of these pairs, by InfoNCE among groups of candidates."""
    return ContrastiveLearner(build=data.of_modalities(CrossAttention), candidates=CANDIDATES)


@not_differentiable(teacher="a teacher is fixed; hold its scores with jax.lax.stop_gradient")
def distillation_loss(
    student: ArrayLike, teacher: ArrayLike, temperature: Any = 1.0
) -> Float[Array, ""]:
    r"""Mean divergence of the student's ranking from the teacher's, times $\tau^2$, in nats.

    Args:
        student: scores s of the candidates, shape (..., C).
        teacher: scores t, of the same shape, fixed: a derivative in them is refused.
        temperature: $\tau > 0$; the larger, the more the candidates that are far from first count.

    Returns:
        The mean over the queries; zero if and only if the scores differ by a function of the query.

    References:
        Hinton, Vinyals & Dean (2015), "Distilling the knowledge in a neural network", section 2.

    """
    student, teacher = (
        jnp.asarray(validation.finite(name, value))
        for name, value in (("student", student), ("teacher", teacher))
    )
    if student.shape != teacher.shape or student.size == 0:
        raise ValueError(
            f"student and teacher must have one shape (..., C), got {student.shape} and "
            f"{teacher.shape}"
        )
    validation.positive("temperature", temperature, ndim=0)
    wanted = jax.nn.log_softmax(below_largest(teacher) / temperature)
    found = jax.nn.log_softmax(below_largest(student) / temperature)
    divergence = jnp.sum(jnp.exp(wanted) * (wanted - found), axis=-1)
    return temperature**2 * jnp.mean(divergence)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillationLearner:
    """Train a student on the scores of a teacher.

    Attributes:
        build: makes the student, a module with `scores`.
        temperature: of both softmaxes.

    """

    build: Callable[[nnx.Rngs], Any]
    temperature: float = 1.0

    def __post_init__(self) -> None:
        validation.positive("temperature", self.temperature, ndim=0)

    def loss(self, model: Any, batch: Any, *_: Any) -> LossAndRecord:
        """Divergence on a batch (queries, items, teacher's scores (G, C, C)).

        Recorded: how often teacher and student agree on the first candidate.
        """
        queries, items, wanted = batch
        found = grouped_scores(model, queries, items, wanted.shape[-1])
        agree = jnp.mean(jnp.argmax(found, axis=-1) == jnp.argmax(wanted, axis=-1))
        return distillation_loss(found, wanted, self.temperature), {"agreement": agree}


@dataclasses.dataclass(frozen=True)
class TaughtBatch:
    """Draw pairs of a sample, with a teacher's scores of them.

    Attributes:
        candidates: in a group.

    """

    candidates: int

    def __call__(self, key: Key[Array, ""], data: Any) -> tuple[Array, Array, Array]:
        """Draw from (sample, teacher) a batch (queries, items, scores)."""
        sample, teacher = data
        return self.of(draw_batch(key, sample), teacher)

    def of(self, pairs: Any, teacher: ArrayLike) -> tuple[Array, Array, Array]:
        """Add a teacher's scores to pairs (queries, items, ...)."""
        queries, items = pairs[:2]
        return queries, items, grouped_scores(teacher, queries, items, self.candidates)


def distilled_family(
    keys: Key[Array, " 3"], data: ItemPairs, bits: tuple[int, ...], schedule: Schedule
) -> list[System]:
    """Train a re-ranker, distil it into a dual encoder, and store items as quantized embeddings."""
    student = DistillationLearner(build=early_fusion(data).build)
    checked_bits(bits, data.sample[1], learner=student)
    (teacher,) = fitted_models(keys[0], cross_attention_learner(data), data, schedule)
    batch = TaughtBatch(CANDIDATES)
    trained = train(
        keys[1],
        student,
        batch,
        (data.sample, teacher),
        jax.jit(batch.of)(data.held_out, teacher),
        jnp.zeros((STARTS,), jnp.float32),
        schedule=schedule,
    )
    model = trained.model(int(np.nanmin(trained.held_out, axis=1).argmin()))
    return stored_systems(keys[2], model, data.sample[1], bits)
