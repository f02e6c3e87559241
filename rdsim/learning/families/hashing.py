r"""Learned cross-modal hashing: items become B bits; queries stay as they are, or become B bits too.

$$b(y) = \mathrm{sign}\, g(y) \in \{-1, 1\}^B, \quad s(x, u) = \langle f(x), u \rangle
    \quad\text{or}\quad \langle \mathrm{sign}\, f(x), u \rangle = B - 2\, d_H.$$

The items' network ends in a tanh and is trained with gradients taken straight through the sign. Only
items cost bits, so that the first score is the system's own: the query says by the size of f_k(x)
how sure it is of bit k. Hamming distance is the second: a query of B bits tells at most B bits of
its item (C4).

Left to the contrast alone, a hash collapses: its tanh saturates before the bits differ, no gradient passes
any more, and several bits cut the items along the same line. So the probability that two items of a
batch have the same codeword is part of the loss.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from rdsim import validation
from rdsim.codes.distances import training_items
from rdsim.codes.quantizers.hashing import HyperplaneHash, signs_of_cells
from rdsim.learning.families.dual_encoder import DualEncoder, info_nce_loss
from rdsim.learning.families.pairs import ItemPairs, System, fitted_models
from rdsim.learning.families.stored import MOST_LISTED_BITS, LongCode, SignDigits
from rdsim.learning.families.stored.embedded_codes import embedded_code, embeddings_of
from rdsim.learning.training.learner import LossAndRecord
from rdsim.learning.training.schedule import Schedule
from rdsim.number_types import ArrayLike
from rdsim.simulation.coded_items import Decoder
from rdsim.transformations import on_host, with_derivatives_of

SUPERVISION: Final = ("pairs", "classes", "both")
"""What a hash is trained by."""
_LABELLED: Final = 8
"""Semi-supervised hashing knows the class of one pair in so many."""
_FLIP: Final = 1e-3
"""Probability of a flip of each bit, in the probability that two codewords collide. So small that codewords one bit
apart hardly collide, and above zero so that their gradient knows of the collision next to them."""
_WIDTH: Final = 8
"""Fewest outputs of a network: hashes of up to so many bits are one program."""


def straight_through_sign(values: Float[Array, "..."]) -> Float[Array, "..."]:
    """Take signs in {-1, 1} whose gradient is that of the values."""
    return with_derivatives_of(jnp.where(values > 0, 1.0, -1.0).astype(values.dtype), values)


def log_collisions(codewords: Float[Array, "n e"], bits: Any) -> Float[Array, ""]:
    r"""Log of the probability that two codewords of a batch collide, added to 1/n, in nats.

    $$\ln\Bigl(\frac1n + \frac{1}{n(n-1)} \sum_{i \ne j} \prod_k \frac{1 + \rho\, h_{ik} h_{jk}}{2}\Bigr), \quad
        \rho = 1 - 2\varepsilon.$$

    The product is the probability that two codewords agree in a bit after one of the two is flipped with
    probability $\varepsilon$, for all bits. Its log is minus the Rényi entropy of order two, in nats, of
    the codewords. Collisions rarer than 1/n hardly show in a batch, and 1/n keeps them from counting.

    Args:
        codewords: values -1 and 1, and zero beyond the bits, shape (n, e).
        bits: B.

    Returns:
        A number of nats.

    """
    number, rho = codewords.shape[0], 1 - 2 * _FLIP
    agree = codewords @ codewords.T
    different = 0.5 * (bits - jax.lax.stop_gradient(agree))
    value = different * math.log(_FLIP) + (bits - different) * math.log(1 - _FLIP)
    # A factor has the slope rho h' / (1 + rho h h') of its log in h. Where h h' is -1 or 1, this is
    # rho (h' - rho h) / (1 - rho^2): the gradient is that of a matrix product, and no table of
    # n * n * B numbers is held.
    square = jnp.sum(codewords**2, axis=1)
    slope = rho / (1 - rho**2) * (agree - 0.5 * rho * (square[:, None] + square))
    logs = with_derivatives_of(value, slope)
    others = 1.0 - jnp.eye(number, dtype=codewords.dtype)
    return jnp.log(1 / number + jnp.sum(others * jnp.exp(logs)) / (number * (number - 1)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class HashLearner:
    r"""Train a hash of B bits, B the setting of the run.

    By pairs, the bits are trained for what they are used for: the stored signs must find the item,

    $$\mathrm{InfoNCE}(s), \quad s_{ij} = \langle f(x_i), \mathrm{sign}\, g(y_j) \rangle / \tau.$$

    (A loss that only asks the bits of a pair to agree does not ask this: bits agree best where they cut
    the items between their classes.) By classes,
    hashes of one class should agree, $-\ln P(\text{same class} \mid \theta)$ logistic in
    $\theta = \langle f(x), \tanh g(y) \rangle / 2$; which item of the class it was is
    not asked for, nor found. Semi-supervised, the second is added to the first over the pairs whose
    classes are known. All add the squared mean of every bit, which is least if half the items have it,
    and by pairs the log of the probability that two codewords collide (`log_collisions`).

    Attributes:
        build: makes the `DualEncoder`, not of unit length, whose dimension is the most bits of a
            run; runs of fewer bits use the first.
        by: "pairs", "classes" or "both".
        balance: weight of the squared mean of every bit.
        collisions: weight of the log of the probability that two codewords collide.

    References:
        Hu, Zhu, Peng, Peng and Zhu (2023), "Unsupervised contrastive cross-modal hashing", IEEE Trans.
        PAMI 45(3), for contrast; Jiang & Li (2017), "Deep cross-modal hashing", CVPR, for the
        classes; Weiss, Torralba & Fergus (2008), NIPS, for balanced bits; Wang, Kumar and Chang
        (2012), IEEE Trans. PAMI 34(12), for semi-supervised hashing.

    """

    build: Callable[[nnx.Rngs], Any]
    by: str
    balance: float = 0.1
    collisions: float = 0.3

    def loss(
        self, model: Any, batch: Any, _: Key[Array, ""], setting: Any, *__: Any
    ) -> LossAndRecord:
        """Loss of a batch (queries, items, classes); records how many bits of a pair agree."""
        x, y = model.embed_queries(batch[0]), model.embed_items(batch[1])
        used = jnp.arange(x.shape[-1]) < setting
        # Bits that are not used are zero in every product.
        x, y = jnp.where(used, x, 0.0), jnp.where(used, jnp.tanh(y), 0.0)
        hash_x, hash_y = (jnp.where(used, straight_through_sign(values), 0.0) for values in (x, y))
        agreement = jnp.mean(jnp.sum(hash_x * hash_y, axis=1)) / setting
        value = jnp.zeros(())
        if self.by != "classes":
            value += info_nce_loss(x @ hash_y.T / jnp.exp(model.log_temperature[...]))
            value += self.collisions * log_collisions(hash_y, setting)
        if self.by != "pairs":
            theta = 0.5 * x @ y.T
            known = (batch[2][:, None] >= 0) & (batch[2] >= 0)
            same = batch[2][:, None] == batch[2]
            each = jax.nn.softplus(theta) - jnp.where(same, theta, 0.0)
            value += jnp.sum(jnp.where(known, each, 0.0)) / jnp.maximum(jnp.sum(known), 1)
        total = value + self.balance * jnp.sum(jnp.mean(hash_y, axis=0) ** 2) / setting
        return total, {"agreement": 0.5 * (1 + agreement)}


@dataclasses.dataclass(frozen=True)
class SignScores:
    """Inner products of the query's embedding, or of its signs, with each of all 2^B hashes.

    Attributes:
        embed: pure, hashable function (parameters, queries (K, d)) -> (e,), of which the first B
            are used.
        hashed: whether the signs are taken: the scores are then B minus twice the Hamming distance.

    References:
        Gordo, Perronnin, Gong and Lazebnik (2014), IEEE Trans. PAMI 36(1), for asymmetric
        distances; Jiang and Li (2018), "Asymmetric deep supervised hashing", AAAI.

    """

    embed: Callable[[Any, Array], Array]
    hashed: bool = False

    def __call__(self, parameters: Any, queries: Float[Array, "m d"]) -> Float[Array, " k"]:
        """Score all hashes, in the order of their index; corners are zero beyond B."""
        inner, corners = parameters
        query = self.embed(inner, queries)
        return corners @ (jnp.where(query > 0, 1.0, -1.0) if self.hashed else query)


def sign_code(bits: Any, *, coordinates: Any = None) -> HyperplaneHash:
    """Code of points that stores their first B signs; its codewords are the corners of a cube.

    Args:
        bits: B, 1 to 12.
        coordinates: of a point, B or more; None for B. Codewords are zero in those beyond.

    Returns:
        An `ItemCode`; the first sign is the highest bit of an index.

    """
    number = validation.integer("bits", bits, low=1, high=MOST_LISTED_BITS)
    width = (
        number
        if coordinates is None
        else validation.integer("coordinates", coordinates, low=number)
    )
    corners = np.pad(signs_of_cells(number), ((0, 0), (0, width - number)))
    return HyperplaneHash(
        codewords=jnp.asarray(corners),
        planes=jnp.asarray(np.eye(number, width)),
        centre=jnp.asarray(np.zeros(width)),
        masses=jnp.asarray(np.full(2**number, 0.5**number)),
    )


@on_host
def sign_system(
    of_items: tuple[Callable[[Any, Array], Array], Any],
    of_queries: tuple[Callable[[Any, Array], Array], Any],
    items: ArrayLike,
    bits: Any,
) -> System:
    """Store items as the signs of an embedding's first coordinates, and rank by the query's own embedding.

    Args:
        of_items: pure, hashable function (parameters, items (N, d)) -> (N, e), and parameters.
        of_queries: the same of the queries of one item, (K, d) -> (e,).
        items: whose means the codewords are, shape (N, d).
        bits: B, 1 to e; up to 12 the cells are listed.

    Returns:
        The code and its decoder, for `operating_point` (of 12 bits or fewer) or `held_out_point`.

    """
    items = training_items(items)
    scores = SignScores(of_queries[0])
    # All outputs are kept, so that hashes of different bits are one program.
    outputs = jax.eval_shape(*of_items, jnp.asarray(items)).shape[-1]
    number = validation.integer("bits", bits, low=1, high=outputs)
    if number > MOST_LISTED_BITS:
        digits = SignDigits(number)
        long = LongCode(embed=of_items[0], parameters=of_items[1], digits=digits, width=outputs)
        return long, Decoder(scores, (of_queries[1],))
    inner = sign_code(number, coordinates=outputs)
    return embedded_code(*of_items, inner, items), Decoder(scores, (of_queries[1], inner.codewords))


def with_hamming(system: System) -> System:
    """Return the same hash of items with the query's signs compared, by Hamming distance.

    Args:
        system: as `sign_system` returns it.

    Returns:
        The code and its decoder, for `operating_point`.

    """
    code, decoder = validation.pair("system", system)
    scores = validation.instance("system: decoder", decoder, Decoder).scores
    validation.instance("system: scores", scores, SignScores)
    return code, Decoder(dataclasses.replace(scores, hashed=True), decoder.parameters)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HashingFamily:
    """Train hashes of each number of bits.

    Attributes:
        by: "pairs", "classes", or "both": by pairs, and by the classes of every eighth one.
        weight_decay: of AdamW, in the place of the schedule's. Without it a hash of tens of bits learns a few
            thousand pairs by heart: its held-out loss rises again after 150 steps.

    """

    by: str
    weight_decay: float = 1.0

    def __post_init__(self) -> None:
        validation.choice("by", self.by, SUPERVISION)
        validation.non_negative("weight_decay", self.weight_decay, ndim=0)

    def __call__(
        self, keys: Key[Array, " 3"], data: ItemPairs, bits: tuple[int, ...], schedule: Schedule
    ) -> list[System]:
        """Fit the systems, one for each number of bits."""
        if self.by != "pairs" and len(np.unique(np.maximum(data.sample[2], -1))) < 2:
            raise ValueError(
                "data must name two classes or more for a hash that is trained by classes; train it by "
                "pairs"
            )
        learner = HashLearner(
            build=data.encoders(
                DualEncoder, dimension=max(_WIDTH, *bits), unit=False, temperature=1.0
            ),
            by=self.by,
        )
        known = data
        if self.by == "both":
            queries, items, classes = data.sample
            few = jnp.where(jnp.arange(len(classes)) % _LABELLED == 0, classes, -1)
            known = data._replace(sample=(queries, items, few))
        plan = dataclasses.replace(schedule, weight_decay=self.weight_decay)
        models = fitted_models(keys[0], learner, known, plan, settings=bits)
        items = data.sample[1]
        return [
            sign_system(*embeddings_of(model), items, b)
            for model, b in zip(models, bits, strict=True)
        ]
