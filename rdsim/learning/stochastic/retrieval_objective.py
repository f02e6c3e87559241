r"""A neural code of a discrete source trained on what retrieval loses, by the rank distribution itself.

The bottleneck's code is not the best one for short items: for one letter, erasing it with some
probability or flagging one letter only beats the bottleneck's noise. So the code is trained on

$$I_\text{upper}(U;Y) + s\,\bigl(E\,\rho(\text{rank}) - D_\text{max}\bigr),$$

both terms exact sums in float64 over the letters' table. The rank distribution is smooth in the
channel as long as the order of the codewords for each query does not change; the order is that of the
information density. Where two densities meet either order costs the same, so that the loss is continuous, and
its gradient is that of the order at hand.

Queries learn their scores beside it: the decoder's log loss, $-E \log_2 r(U|X)$, trains the query
encoder alone and adds nothing to the value that runs are evaluated by.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.information import LN2, below_largest, information_density
from rdsim.learning.stochastic.letters import letter_logits
from rdsim.learning.stochastic.neural_code import NeuralCode
from rdsim.learning.training.learner import LossAndRecord
from rdsim.ranking.loss import Loss, RankLoss, parse_loss
from rdsim.ranking.rank_distribution import expected_loss_kernel
from rdsim.ranking.score_order import dense_ranks
from rdsim.sources.tables import DiscreteSource
from rdsim.transformations import with_derivatives_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetrievalCodeLearner:
    """Trains a `NeuralCode` of a discrete source on bits and rank loss; a `Learner`.

    A run's setting has its "slope", bits per unit of loss, and the "log2_size" of its database, log2 M;
    the batch is the `DiscreteSource` itself (see `whole_data`).

    Attributes:
        letters: |X| and |Y|.
        codewords: K; a letter more than |Y| leaves one to stand for nothing.
        hidden: widths of the hidden layers.
        rank_loss: "error", "reciprocal_rank", ("miss", K) or "dcg".

    """

    letters: tuple[int, int]
    codewords: int
    hidden: tuple[int, ...] = (32, 32)
    rank_loss: Loss = "reciprocal_rank"

    def __post_init__(self) -> None:
        for size in self.letters:
            validation.integer("letters", size, low=1)
        validation.integer("codewords", self.codewords, low=2)
        parse_loss(self.rank_loss)

    def build(self, rngs: nnx.Rngs) -> NeuralCode:
        """Make the code with its first parameters."""
        queries, items = self.letters
        return NeuralCode(items, queries, self.codewords, hidden=self.hidden, rngs=rngs)

    def loss(
        self, model: Any, batch: DiscreteSource, _: Key[Array, ""], setting: Any, *__: Any
    ) -> LossAndRecord:
        """Return I_upper + slope (loss - D_max) in bits, and both with the decoder's log loss."""
        joint = batch.joint
        log_channel, scores = letter_logits(model, joint.shape)
        channel = jnp.exp(log_channel)
        log_prior = jax.nn.log_softmax(jnp.asarray(model.prior_logits[...], float))
        # Rate term: the divergence from the entropy model, averaged over the letters, an upper bound on I(U;Y).
        rate = jnp.sum(joint.sum(axis=0)[:, None] * channel * (log_channel - log_prior)) / LN2
        parsed = parse_loss(self.rank_loss)
        size = jnp.asarray(setting["log2_size"], float)
        lost = ordered_loss(joint @ channel, size, parsed)
        # D_max is the loss of a code of zero bits: no item is above the target with certainty (ln 0), all tie with it
        # (ln 1).
        at_zero_rate = expected_loss_kernel(jnp.array(-jnp.inf), jnp.array(0.0), size, parsed)
        value = rate + jnp.asarray(setting["slope"], float) * (lost - at_zero_rate)
        # The decoder learns from the code and not the other way: neither channel nor prior may lower the log loss by
        # becoming easier to predict, since that is no aim of retrieval.
        through = jax.lax.stop_gradient(joint @ channel)
        log_posterior = jax.nn.log_softmax(jax.lax.stop_gradient(log_prior) + below_largest(scores))
        surprise = -jnp.sum(through * log_posterior) / LN2
        # The surprise moves the query encoder only, and adds nothing to the value.
        loss = with_derivatives_of(value, value + surprise)
        numbers = {"rate": rate, "loss": lost, "decoder_loss": surprise}
        return loss.astype(jnp.float32), numbers


def ordered_loss(
    joint: Float[Array, "x u"], log2_size: Float[Array, ""], loss: RankLoss
) -> Float[Array, ""]:
    """Compute the optimal decoder's expected rank loss, with a gradient in the table P(x,u).

    The order of the codewords is held fixed in the gradient, and so is that none is above the
    first: a probability of exactly zero has no logarithm to differentiate.

    Args:
        joint: P(x,u), every codeword with some mass, shape (|X|, K).
        log2_size: log2 M >= 1.
        loss: parsed.

    """
    # The optimal decoder ranks by the information density. Integer ranks have no gradient, which holds the order
    # fixed.
    order = dense_ranks(information_density(joint))
    competitor = joint.sum(axis=0)
    better = _mass(order[:, None, :] > order[:, :, None], competitor)
    tied = _mass(order[:, None, :] == order[:, :, None], competitor)
    expected = expected_loss_kernel(_log(better), _log(tied), log2_size, loss)
    return jnp.sum(joint * expected)


def _mass(chosen: Any, competitor: Float[Array, " u"]) -> Float[Array, "x u"]:
    return jnp.minimum(jnp.sum(jnp.where(chosen, competitor, 0.0), axis=-1), 1.0)


def _log(probability: Float[Array, "..."]) -> Float[Array, "..."]:
    # The inner where keeps the gradient of log at zero, which is not finite, out of the outer one.
    positive = probability > 0
    return jnp.where(positive, jnp.log(jnp.where(positive, probability, 1.0)), -jnp.inf)
