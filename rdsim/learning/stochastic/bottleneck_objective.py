r"""The variational information bottleneck of a neural code, between true bounds on both sides.

With the channel P(u|y), the entropy model p and the decoder r, over a batch of B weighted pairs:

$$I_\text{upper}(U;Y) = \hat E\, D(P(\cdot|Y)\|p), \qquad
I_\text{lower}(X;U) = H(\bar P) + \hat E \sum_u P(u|Y) \log_2 r(u|X), \qquad
\bar P = \hat E\, P(\cdot|Y).$$

Why they are bounds, when the pairs of the batch are drawn from the source:

* $E\,I_\text{upper} = I(U;Y) + D(P_U\|p) \ge I(U;Y)$.
* $E\,H(\bar P) \le H(E \bar P) = H(U)$, since entropy is concave (Jensen), and
  $E \sum_u P(u|Y) \log r(u|X) = E \log r(U|X) \le -H(U|X)$, since U - Y - X makes (U, X) the pair
  that r predicts (Gibbs). Hence $E\,I_\text{lower} \le H(U) - H(U|X) = I(X;U)$.

So the loss, slope I_upper - I_lower, is in expectation no less than the bottleneck's Lagrangian at
that slope. The entropy model must not stand in for $\bar P$: its cross entropy exceeds H(U). When the
batch is the whole table of the source with its weights, no expectation over batches is left: the two
inequalities hold as they stand, with equality where p and r are the true distributions.

Three relaxations train the second term: "exact" sums over the codewords; "straight_through" draws one
codeword, which leaves the term unbiased, and takes the gradient of its Gumbel relaxation;
"gumbel" uses the relaxed draw itself, whose mean is P(u|y) only in the limit of temperature zero,
so that its training value is no bound. Runs are always evaluated by the exact sum.
"""

import dataclasses
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.information import LN2
from rdsim.learning.stochastic.neural_code import SCORES, NeuralCode
from rdsim.learning.training.learner import LossAndRecord
from rdsim.transformations import with_derivatives_of

RELAXATIONS: Final = ("exact", "gumbel", "straight_through")


class Pairs(NamedTuple):
    """A batch of queries and items.

    Attributes:
        queries: shape (B, m, d).
        items: shape (B, item_dimension).
        weights: of the pairs, summing to one, shape (B,); None for equal ones.

    """

    queries: Any
    items: Any
    weights: Any = None


class Bounds(NamedTuple):
    """Bounds of one batch, in bits.

    Attributes:
        rate: I_upper(U;Y).
        relevance: I_lower(X;U).
        index_entropy: H of the batch's mean of P(u|y).

    """

    rate: Float[Array, ""]
    relevance: Float[Array, ""]
    index_entropy: Float[Array, ""]


def information_bounds(model: NeuralCode, batch: Pairs, chosen: Any = None) -> Bounds:
    """Compute I_upper(U;Y) and I_lower(X;U) of a batch, as at the head of this file.

    Args:
        model: the code.
        batch: pairs.
        chosen: stands in for P(u|y) before log r, shape (B, K); None for P(u|y), the exact sum.

    Returns:
        The bounds, float32.

    """
    validation.instance("model", model, NeuralCode)
    validation.instance("batch", batch, Pairs)
    given = {name: part for name, part in batch._asdict().items() if part is not None}
    batch = batch._replace(
        **{name: validation.finite(f"{name} of the batch", part) for name, part in given.items()}
    )
    log_channel = model.log_channel(batch.items)
    channel = jnp.exp(log_channel)
    pairs = log_channel.shape[0]
    if batch.queries.shape[0] != pairs:
        raise ValueError(f"batch must hold pairs, got {batch.queries.shape[0]} queries of {pairs}")
    if chosen is not None:
        chosen = validation.finite("chosen", chosen)
        if chosen.shape != log_channel.shape:
            raise ValueError(f"chosen must have shape {log_channel.shape}, got {chosen.shape}")
    equal = batch.weights is None
    weight = jnp.full(pairs, 1.0 / pairs) if equal else jnp.asarray(batch.weights)
    weight = weight.astype(jnp.float32)
    # The entropy of the mean, not the mean of the entropies: Jensen then makes the second bound a lower one (head of
    # this file).
    mean = weight @ channel
    entropy = jnp.sum(jax.scipy.special.entr(mean))
    # Kullback-Leibler divergence of the channel from the entropy model, item by item. Both logarithms come from
    # log_softmax and are finite, so that no codeword needs a guard.
    rate = weight @ jnp.sum(channel * (log_channel - model.log_prior()), axis=-1)
    # A draw takes the place of P(u|y) here only: it is unbiased, since this term is linear in the channel. The
    # entropy of the mean is not linear and always takes the exact channel.
    seen = channel if chosen is None else chosen
    predicted = weight @ jnp.sum(seen * model.log_posterior(batch.queries), axis=-1)
    return Bounds(rate / LN2, (entropy + predicted) / LN2, entropy / LN2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StochasticCodeLearner:
    """Trains a `NeuralCode` on slope I_upper(U;Y) - I_lower(X;U), in bits; a `Learner`.

    A run's setting is its slope, bits about X a bit about Y, a number in [0, 1]; batches are
    `Pairs`. At progress 1, where runs are evaluated, the sum over the codewords is exact
    whatever the relaxation, so that an evaluation does not depend on its key.

    Attributes:
        item_dimension: of an item.
        query_dimension: of each modality's query.
        codewords: K.
        modalities: m.
        hidden: widths of the hidden layers.
        scores: "free" or "distance", as in `NeuralCode`.
        relaxation: "exact", "gumbel" or "straight_through".
        temperatures: of the Gumbel relaxation at the first and at the last step; geometric between.

    """

    item_dimension: int
    query_dimension: int
    codewords: int
    modalities: int = 1
    hidden: tuple[int, ...] = (32, 32)
    scores: str = "free"
    relaxation: str = "exact"
    temperatures: tuple[float, float] = (1.0, 0.2)

    def __post_init__(self) -> None:
        for name in ("item_dimension", "query_dimension", "modalities"):
            validation.integer(name, getattr(self, name), low=1)
        validation.integer("codewords", self.codewords, low=2)
        for name, allowed in (("scores", SCORES), ("relaxation", RELAXATIONS)):
            validation.choice(name, getattr(self, name), allowed)
        validation.positive("temperatures", self.temperatures, ndim=1)
        if len(self.temperatures) != 2:
            raise ValueError(f"temperatures must be two, first and last, got {self.temperatures}")

    def build(self, rngs: nnx.Rngs) -> NeuralCode:
        """Make the code with its first parameters."""
        return NeuralCode(
            self.item_dimension,
            self.query_dimension,
            self.codewords,
            modalities=self.modalities,
            hidden=self.hidden,
            scores=self.scores,
            rngs=rngs,
        )

    def loss(
        self, model: NeuralCode, batch: Pairs, key: Key[Array, ""], setting: Any, progress: Array
    ) -> LossAndRecord:
        """Return slope I_upper(U;Y) - I_lower(X;U) in bits, and both with H of the batch's mean."""
        chosen = None
        if self.relaxation != "exact":
            log_channel = model.log_channel(batch.items)
            drawn = self.relaxed(key, log_channel, progress)
            # Runs are evaluated by the exact sum, which a draw only estimates.
            chosen = jnp.where(progress >= 1.0, jnp.exp(log_channel), drawn)
        bounds = information_bounds(model, batch, chosen)
        slope = jnp.asarray(setting, jnp.float32)
        return slope * bounds.rate - bounds.relevance, bounds._asdict()

    def relaxed(
        self, key: Key[Array, ""], log_channel: Float[Array, "b k"], progress: Array | float
    ) -> Float[Array, "b k"]:
        """Draw codewords by the Gumbel trick, softened, or hard with the soft gradient.

        Args:
            key: PRNG key.
            log_channel: ln P(u|y), shape (B, K).
            progress: fraction of the training done, which sets the temperature.

        Returns:
            Rows that sum to one, shape (B, K); one-hot for "straight_through".

        References:
            Jang, Gu and Poole (2017), "Categorical reparameterization with Gumbel-softmax".

        """
        # Geometric cooling: a warm draw is biased and has gradients of small variance, a cold one the reverse, and it
        # is the ratio of temperatures that tells one from the other.
        first, last = self.temperatures
        temperature = first * (last / first) ** jnp.asarray(progress, jnp.float32)
        # Gumbel-max trick: the largest of ln P(u|y) plus independent Gumbel noise is a draw from P(.|y), exactly.
        # Dividing by the temperature first does not move the largest, so that the hard draw is the limit of the soft
        # one.
        noisy = log_channel + jax.random.gumbel(key, log_channel.shape, jnp.float32)
        soft = jax.nn.softmax(noisy / temperature)
        if self.relaxation != "straight_through":
            return soft
        hard = jax.nn.one_hot(jnp.argmax(noisy, axis=-1), soft.shape[-1], dtype=jnp.float32)
        return with_derivatives_of(hard, soft)
