r"""Distillation: a dual encoder learns the soft ranking of a re-ranker that it could not run itself.

$$\frac{\tau^2}{N} \sum_i D\bigl(\operatorname{softmax}(t_{i\cdot}/\tau)\,\|\,
  \operatorname{softmax}(s_{i\cdot}/\tau)\bigr)$$

in nats over the candidates of each query, t the scores of the teacher and s those of the student.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.information import below_largest
from rdsim.learning.families.cross_attention import CrossAttentionLearner, grouped_scores
from rdsim.learning.families.fusion import FusedEncoder, FusionLearner
from rdsim.learning.families.pairs import STARTS, check_fit, draw_batch, fitted_models, item_pairs
from rdsim.learning.families.quantized_embedding import stored_systems
from rdsim.learning.training.loop import Schedule, train
from rdsim.simulation.coded_items import Decoder
from rdsim.sources.mixture import GaussianMixtureSource
from rdsim.transformations import not_differentiable, on_host


@not_differentiable(teacher="a teacher is fixed; hold its scores with jax.lax.stop_gradient")
def distillation_loss(student: Any, teacher: Any, temperature: Any = 1.0) -> Float[Array, ""]:
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
    validation.interval("temperature", temperature, low=0.0, open_low=True, open_high=True, ndim=0)
    wanted = jax.nn.log_softmax(below_largest(teacher) / temperature)
    found = jax.nn.log_softmax(below_largest(student) / temperature)
    divergence = jnp.sum(jnp.exp(wanted) * (wanted - found), axis=-1)
    return temperature**2 * jnp.mean(divergence)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillationLearner:
    """Train a student of fused encoders on the scores of a teacher.

    Attributes:
        student: how the student is built.
        temperature: of both softmaxes.

    """

    student: FusionLearner
    temperature: float = 1.0

    def build(self, rngs: nnx.Rngs) -> FusedEncoder:
        """Make the student.

        Raises:
            ValueError: if the temperature is not a positive number, or a size is out of range.

        """
        validation.interval(
            "temperature", self.temperature, low=0.0, open_low=True, open_high=True, ndim=0
        )
        return self.student.build(rngs)

    def loss(
        self, model: Any, batch: Any, key: Key[Array, ""], setting: Any, progress: Array
    ) -> tuple[Float[Array, ""], Mapping[str, Float[Array, ""]]]:
        """Divergence on a batch (queries, items, teacher's scores (G, C, C)).

        Recorded: how often teacher and student agree on the first candidate.
        """
        del key, setting, progress
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

    def of(self, pairs: Any, teacher: Any) -> tuple[Array, Array, Array]:
        """Add a teacher's scores to pairs (queries, items, ...)."""
        queries, items = pairs[:2]
        return queries, items, grouped_scores(teacher, queries, items, self.candidates)


@on_host
def fit_distillation(
    key: Key[Array, ""],
    source: GaussianMixtureSource,
    bits: tuple[int, ...],
    schedule: Schedule,
    training: int,
) -> list[tuple[Any, Decoder]]:
    """Train a re-ranker, distil it into a dual encoder, and store items as quantized embeddings."""
    bits = check_fit(key, source, bits, schedule, training)
    data_key, teacher_key, student_key, code_key = jax.random.split(key, 4)
    data = item_pairs(data_key, source, training)
    _, modalities, size = data.sample[0].shape
    teaching = CrossAttentionLearner(modalities=modalities, size=size)
    (teacher,) = fitted_models(teacher_key, teaching, data, schedule)
    student = FusionLearner(fusion="early", modalities=modalities, size=size)
    batch = TaughtBatch(teaching.candidates)
    found = train(
        *(student_key, DistillationLearner(student=student), batch, (data.sample, teacher)),
        *(jax.jit(batch.of)(data.held_out, teacher), jnp.zeros((STARTS,), jnp.float32)),
        schedule=schedule,
    )
    model = found.model(int(np.nanmin(found.held_out, axis=1).argmin()))
    return stored_systems(code_key, model, data.sample[1], bits)
