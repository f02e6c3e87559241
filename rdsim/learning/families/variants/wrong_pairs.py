r"""Losses that bear a share of wrong pairs, whose query belongs to another item.

With $p_i$ the share of the right item among the batch, $\ell_i = -\ln p_i$, both averaged over the two directions of
InfoNCE, and $\varepsilon$ the share of wrong pairs that is reckoned with:

- symmetric: $\frac1n \sum_i \bigl[w\, \ell_i + 4\, (1 - p_i)\bigr]$. The second part, cross-entropy with the roles of
  label and prediction exchanged and $\ln 0 = -4$, is bounded: a pair that stays wrong stops pulling.
- soft margin: hinges $\omega_i\, (m\, \omega_i + s_{ij} - s_{ii})_+$ of cosines against all others, where $\omega_i \in (0, 1)$
  falls with $\ell_i$ and is one half at the quantile $1 - \varepsilon$ of the batch: a doubtful pair has a small margin.
- co-dividing: two encoders; each learns from the $(1 - \varepsilon) n$ pairs of a batch on which the *other* has
  the least $\ell_i$, so that neither confirms its own mistakes. The share left out grows from zero in the first fifth.

Wrong pairs drawn independently turn the information density i(x;y) into $\ln((1-\varepsilon) e^{i} + \varepsilon)$, which
orders the items of a database in the same way: with pairs without end they would cost a single query nothing (C30).
What they cost is a matter of finite samples and of the loss.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.information import log_share
from rdsim.learning.families.dual_encoder import DualEncoder
from rdsim.learning.families.pairs import ItemPairs, System, fitted_models
from rdsim.learning.families.stored.embedded_codes import embeddings_of
from rdsim.learning.families.stored_embeddings import QUANTIZERS, checked_bits, quantized_systems
from rdsim.learning.training.learner import LossAndRecord
from rdsim.learning.training.schedule import Schedule

RULES: Final = ("plain", "symmetric", "soft margin", "co-dividing")
_LOG_ZERO: Final = 4.0
"""Minus the log that stands for that of zero in the symmetric loss (Wang et al. 2019)."""
_WARM_UP: Final = 0.2
"""Fraction of the steps in which the share that is left out rises from zero: losses say little at the start."""

_STEEPNESS: Final = 4.0
"""Of the weights of a soft margin, in standard deviations of the losses."""


def pair_losses(scores: Float[Array, "n n"]) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Losses in nats and shares of the right item, each the mean of both directions, of every pair of a batch."""
    right = jnp.diagonal(scores)
    logs = jnp.stack([log_share(scores, right), log_share(scores.T, right)])
    return -jnp.mean(logs, axis=0), jnp.mean(jnp.exp(logs), axis=0)


def least_losses(losses: Float[Array, " n"], left_out: Any) -> Float[Array, " n"]:
    """Weights of one for the pairs of least loss, zero for the share of the largest that is left out."""
    kept = jnp.ceil((1 - left_out) * losses.size)
    place = jnp.argsort(jnp.argsort(losses))
    return jax.lax.stop_gradient((place < kept).astype(losses.dtype))


def trusted(losses: Float[Array, " n"], left_out: Any) -> Float[Array, " n"]:
    """Weights in (0, 1) that fall with the losses, one half at the quantile of the share left out."""
    level = jnp.quantile(losses, 1 - left_out)
    deviation = jnp.std(losses) + 1e-6  # zero in a batch of equal losses
    return jax.lax.stop_gradient(jax.nn.sigmoid(_STEEPNESS * (level - losses) / deviation))


class TwinEncoders(DualEncoder):
    """A dual encoder with another one that chooses the pairs it learns from; what it says is its own.

    Attributes:
        other: the other one.

    """

    def __init__(self, *, rngs: nnx.Rngs, **sizes: Any) -> None:
        """Make both; the sizes are those of a `DualEncoder`."""
        super().__init__(rngs=rngs, **sizes)
        self.other = DualEncoder(rngs=rngs, **sizes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RobustLearner:
    """Train a dual encoder by one of the losses; the setting of a run is the share of wrong pairs reckoned with.

    Attributes:
        build: makes a `DualEncoder`, or `TwinEncoders` for co-dividing.
        rule: the loss, one of `RULES`.
        weight: w of the plain part of the symmetric loss.
        margin: m between cosines.

    References:
        Wang, Ma, Chen, Luo, Yi and Bailey (2019), "Symmetric cross entropy", ICCV; Huang, Niu, Liu, Ding, Xiao, Wu
        and Peng (2021), "Learning with noisy correspondence for cross-modal matching", NeurIPS, for soft
        margins and co-dividing; Han et al. (2018), "Co-teaching", NeurIPS.

    """

    build: Callable[[nnx.Rngs], Any]
    rule: str
    weight: float = 0.5
    margin: float = 0.3

    def loss(
        self, model: Any, batch: Any, key: Key[Array, ""], setting: Any, progress: Array
    ) -> LossAndRecord:
        """Loss of a batch (queries, items, ...); records the mean share of the right item."""
        del key
        queries, items = batch[:2]
        scores = model.scores(queries, items)
        losses, shares = pair_losses(scores)
        record = {"share": jnp.mean(shares)}
        left_out = setting * jnp.minimum(progress / _WARM_UP, 1.0)
        if self.rule == "plain":
            return jnp.mean(losses), record
        if self.rule == "symmetric":
            return jnp.mean(self.weight * losses + _LOG_ZERO * (1 - shares)), record
        if self.rule == "co-dividing":
            others = pair_losses(model.other.scores(queries, items))[0]
            chosen, others_chosen = least_losses(others, left_out), least_losses(losses, left_out)
            value = jnp.sum(chosen * losses) + jnp.sum(others_chosen * others)
            return value / jnp.sum(chosen), record
        trust = trusted(losses, left_out)
        cosines = model.embed_queries(queries) @ model.embed_items(items).T
        own = jnp.diagonal(cosines)
        margins = (self.margin * trust - own)[:, None]
        above = margins + cosines, margins + cosines.T
        rest = 1.0 - jnp.eye(own.size, dtype=cosines.dtype)
        hinges = sum(jnp.sum(rest * jax.nn.relu(table), axis=1) for table in above)
        return 0.5 * jnp.mean(trust * hinges) / (own.size - 1), record


@dataclasses.dataclass(frozen=True, kw_only=True)
class RobustFamily:
    """Train a dual encoder that bears wrong pairs, and store items as quantized embeddings.

    Attributes:
        rule: the loss, one of `RULES`.
        share: of wrong pairs that is reckoned with, in [0, 1).
        quantizer: "k-means" or "product".

    """

    rule: str
    share: float = 0.2
    quantizer: str = "product"

    def __post_init__(self) -> None:
        validation.choice("rule", self.rule, RULES)
        validation.interval("share", self.share, low=0.0, high=1.0, open_high=True, ndim=0)
        validation.choice("quantizer", self.quantizer, QUANTIZERS)

    def __call__(
        self, keys: Key[Array, " 3"], data: ItemPairs, bits: tuple[int, ...], schedule: Schedule
    ) -> list[System]:
        """Fit the systems, one for each number of bits."""
        learner = RobustLearner(
            build=data.encoders(TwinEncoders if self.rule == "co-dividing" else DualEncoder),
            rule=self.rule,
        )
        checked_bits(bits, data.sample[1], self.quantizer, learner=learner)
        (model,) = fitted_models(keys[0], learner, data, schedule, settings=(float(self.share),))
        return quantized_systems(
            keys[1], *embeddings_of(model), data.sample[1], bits, quantizer=self.quantizer
        )
