r"""Rates and losses of a learned code of a discrete source, exactly: float64 tables, no sampling.

Letters enter the networks as one-hot vectors. The logits that come out, read as float64, define the
channel P(u|y) to the last digit; every number below is a finite sum over (x, y, u).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.information import entropy, mutual_information
from rdsim.learning.stochastic.bottleneck_objective import Pairs
from rdsim.learning.stochastic.neural_code import NeuralCode
from rdsim.number_types import ArrayLike
from rdsim.ranking.codewords import scored_loss
from rdsim.ranking.loss import Loss
from rdsim.results import result
from rdsim.sources.tables import DiscreteSource
from rdsim.transformations import M_IS_AN_INTEGER, not_differentiable, on_host


@result
class DiscreteCode:
    """The exact tables of a code of a discrete source.

    Attributes:
        joint: P(x,y), shape (|X|, |Y|).
        channel: P(u|y), shape (|Y|, K).
        scores: the learned score of each codeword for each query, nats, shape (|X|, K).
        temperatures: learned, of each query modality, shape (m,).

    """

    joint: Float[Array, "x y"]
    channel: Float[Array, "y k"]
    scores: Float[Array, "x k"]
    temperatures: Float[Array, " m"]

    @property
    def output_marginal(self) -> Float[Array, " k"]:
        """P(u), the distribution of a random item's codeword."""
        return self.joint.sum(axis=0) @ self.channel

    @property
    def rate(self) -> Float[Array, ""]:
        """I(U;Y) in bits per item: what the description costs with common randomness."""
        return mutual_information(self.joint.sum(axis=0)[:, None] * self.channel)

    @property
    def index_entropy(self) -> Float[Array, ""]:
        """H(U) in bits per item: what an entropy coder sends without common randomness."""
        return entropy(self.output_marginal)

    @property
    def relevance(self) -> Float[Array, ""]:
        """I(X;U) in bits."""
        return mutual_information(self.joint @ self.channel)

    @not_differentiable(log2_size=M_IS_AN_INTEGER)
    def loss(
        self, log2_size: ArrayLike, loss: Loss, *, learned: bool = True
    ) -> Float[Array, "..."]:
        r"""Compute the expected rank loss over x, the target's codeword and its competitors.

        Args:
            log2_size: log2 M >= 1, any shape.
            loss: "error", "reciprocal_rank", ("miss", K) or "dcg".
            learned: whether codewords are ranked by the learned scores, or by the information
                density, which is optimal for this channel.

        Returns:
            Loss in [0, 1], shape of log2_size.

        """
        scores = self.scores if learned else None
        return scored_loss(self.joint @ self.channel, log2_size, loss, scores=scores)


@validation.needs_float64
def discrete_code(model: NeuralCode, source: DiscreteSource) -> DiscreteCode:
    """Read the exact tables of a trained code.

    Args:
        model: a code of one query modality whose items and queries are one-hot letters.
        source: the distribution of the letters.

    Returns:
        The tables, float64.

    """
    validation.instance("model", model, NeuralCode)
    validation.instance("source", source, DiscreteSource)
    queries, items = source.joint.shape
    if (taken := model.item_encoder.inputs) != items:
        raise ValueError(f"model must take {items} item letters, got one for {taken}")
    points = model.points
    taken = model.query_encoders[0].inputs if points is None else points.shape[1]
    if taken != queries:
        raise ValueError(f"model must take queries of {queries} letters, got one for {taken}")
    modalities = model.log_temperature.shape[0]
    if modalities != 1:
        raise ValueError(f"model must have one query modality, got {modalities}")
    return _tables(model, source.joint)


def letter_logits(
    model: NeuralCode, letters: tuple[int, ...]
) -> tuple[Float[Array, "y k"], Float[Array, "x k"]]:
    """Ln P(u|y) and the fused scores of all letters, |X| and |Y| of them, float64."""
    # One-hot rows of all letters: one call of each network gives its whole table.
    queries, items = (jnp.eye(size, dtype=jnp.float32) for size in letters)
    # Softmax in float64: in float32 its rows sum to one to seven digits only.
    logits = jnp.asarray(model.item_logits(items), float)
    scores = jnp.asarray(model.fused_scores(queries[:, None, :]), float)
    return jax.nn.log_softmax(logits), scores


def _tables(model: NeuralCode, joint: Float[Array, "x y"]) -> DiscreteCode:
    log_channel, scores = letter_logits(model, joint.shape)
    return DiscreteCode(
        joint=joint,
        channel=jnp.exp(log_channel),
        scores=scores,
        temperatures=jnp.asarray(model.temperatures, float),
    )


@dataclasses.dataclass(frozen=True)
class ExactPoint:
    """An observer for `train`: exact bits of a code at every evaluation, float64.

    Attributes:
        joint: P(x,y) as rows of numbers, so that it can be hashed.

    """

    joint: tuple[tuple[float, ...], ...]

    def __call__(self, model: NeuralCode, setting: Any) -> Mapping[str, Float[Array, ""]]:  # noqa: ARG002
        """Return rate I(U;Y), relevance I(X;U) and index_entropy H(U), bits."""
        code = _tables(model, jnp.asarray(self.joint, float))
        return {
            "rate": code.rate,
            "relevance": code.relevance,
            "index_entropy": code.index_entropy,
        }


@on_host
def exact_point(source: DiscreteSource) -> ExactPoint:
    """Make the observer of a source's exact points."""
    validation.instance("source", source, DiscreteSource)
    return ExactPoint(tuple(tuple(row) for row in np.asarray(source.joint).tolist()))


def letter_table(source: DiscreteSource) -> Pairs:
    """All pairs of letters, one-hot, weighted by P(x,y): a batch without sampling error."""
    # Row (x, y) of the batch is x times |Y| plus y, the order of the raveled table of weights.
    x, y = validation.instance("source", source, DiscreteSource).joint.shape
    items = jnp.tile(jnp.eye(y, dtype=jnp.float32), (x, 1))
    queries = jnp.repeat(jnp.eye(x, dtype=jnp.float32), y, axis=0)[:, None, :]
    return Pairs(queries, items, source.joint.ravel().astype(jnp.float32))


@dataclasses.dataclass(frozen=True)
class LetterBatch:
    """A `draw` for `train`: pairs of letters sampled from a source.

    Attributes:
        size: pairs in a batch.

    """

    size: int = 256

    def __call__(self, key: Key[Array, ""], data: DiscreteSource) -> Pairs:
        """Draw pairs, one-hot and equally weighted."""
        x, y = data.sample(key, (self.size,))
        queries, items = (
            jax.nn.one_hot(letter, size, dtype=jnp.float32)
            for letter, size in zip((x, y), data.joint.shape, strict=True)
        )
        return Pairs(queries[:, None, :], items)
