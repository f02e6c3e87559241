r"""Fusion of ranks: each modality ranks the stored items by itself, and the ranks are combined.

With $r_k(u)$ the rank of u by modality k among the n codewords that are compared, ties at their mean rank,

$$s(u) = \sum_k \frac{1}{60 + r_k(u)} \ \text{(reciprocal ranks)}, \qquad
  s(u) = \sum_k (n - r_k(u)) \ \text{(Borda)},$$

and for hybrid fusion half of the late-fused score and half of the reciprocal ranks, each in units of its
standard deviation. Ranks need no common unit of the modalities' scores, and know no modality that is
more certain than others.
"""

import dataclasses
from typing import Any, Final

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.learning.families.fusion import late_fusion
from rdsim.learning.families.pairs import ItemPairs, System, fitted_models
from rdsim.learning.families.stored_embeddings import checked_bits, stored_systems
from rdsim.learning.training.schedule import Schedule
from rdsim.simulation.coded_items import Decoder

RULES: Final = ("reciprocal ranks", "Borda", "hybrid")
_OFFSET: Final = 60.0
"""The constant of Cormack, Clarke and Buettcher."""


def mean_ranks(scores: Float[Array, "s n"]) -> Float[Array, "s n"]:
    """Rank of every column in its row from 1, ties at their mean rank."""

    def one(row: Array) -> Array:
        ordered = jnp.sort(row)
        below = jnp.searchsorted(ordered, row, side="left").astype(row.dtype)
        to = jnp.searchsorted(ordered, row, side="right").astype(row.dtype)
        # n - to items score higher; the mean place among the tied ones is half their number further.
        return row.size - to + (to - below + 1) / 2

    return jax.vmap(one)(scores)


def fused_ranks(scores: Float[Array, "s n"], rule: str) -> Float[Array, " n"]:
    """Fuse the scores that modalities (S) give to codewords (n)."""
    ranks = mean_ranks(scores)
    if rule == "Borda":
        return jnp.sum(ranks.shape[1] - ranks, axis=0)
    reciprocal = jnp.sum(1.0 / (_OFFSET + ranks), axis=0)
    if rule == "reciprocal ranks":
        return reciprocal
    return _standard(jnp.sum(scores, axis=0)) + _standard(reciprocal)


def _standard(values: Float[Array, " n"]) -> Float[Array, " n"]:
    deviation = jnp.std(values)
    return (values - jnp.mean(values)) / jnp.where(deviation > 0, deviation, 1.0)


@dataclasses.dataclass(frozen=True)
class RankScores:
    """Scores of stored embeddings by fused ranks.

    Attributes:
        graph: structure of the `FusedEncoder`, from `nnx.split`.
        rule: how ranks are fused.

    """

    graph: Any
    rule: str

    def __call__(self, parameters: Any, queries: Float[Array, "m d"]) -> Float[Array, " k"]:
        """Score; parameters are those of the module, and the stored embeddings (K, e)."""
        inner, stored = parameters
        parts = nnx.merge(self.graph, inner).parts(queries[None], stored)[0]
        return fused_ranks(jnp.asarray(parts, float), self.rule)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RankFusionFamily:
    """Train late fusion, and fuse the ranks of its modalities.

    Attributes:
        rule: "reciprocal ranks", "Borda" or "hybrid".

    References:
        Cormack, Clarke and Buettcher (2009), "Reciprocal rank fusion outperforms Condorcet and
        individual rank learning methods", SIGIR; de Borda (1781).

    """

    rule: str

    def __post_init__(self) -> None:
        validation.choice("rule", self.rule, RULES)

    def __call__(
        self, keys: Key[Array, " 3"], data: ItemPairs, bits: tuple[int, ...], schedule: Schedule
    ) -> list[System]:
        """Fit the systems, one for each number of bits."""
        learner = late_fusion(data)
        checked_bits(bits, data.sample[1], learner=learner)
        (model,) = fitted_models(keys[0], learner, data, schedule)
        scores = RankScores(nnx.split(model)[0], self.rule)
        return [
            (code, Decoder(scores, rule.parameters))
            for code, rule in stored_systems(keys[1], model, data.sample[1], bits)
        ]
