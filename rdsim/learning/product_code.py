r"""A learned stochastic code of several small codebooks, for items of tens of bits.

An item y is stored as one codeword of each of G codebooks, drawn independently given y,

$$P(u|y) = \prod_g P(u_g|y), \qquad s(x,u) = \sum_g T_g(x, u_g),$$

and a query x reads off the score of a stored code from G small tables; `product_code_learner` trains them.
A run may use fewer codewords of a codebook, down to one: codes of different bits train side by side.
"""

import dataclasses
import math
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from rdsim import validation
from rdsim.codes.item_code import item_points
from rdsim.learning.families.canonical_correlations import deviations
from rdsim.learning.product_code_learner import (
    GROUP_BITS,
    ProductCodeLearner,
    ProductCodeModel,
)
from rdsim.learning.training.batches import RowBatch
from rdsim.learning.training.loop import train
from rdsim.learning.training.schedule import Schedule, checked_schedule
from rdsim.learning.training.trained import Trained
from rdsim.number_types import ArrayLike, Integer
from rdsim.transformations import on_host

_MOST_BITS: Final = 2**20
_BLOCK: Final = 4096
"""Rows that pass through a network at a time."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProductCode:
    """A trained code of several codebooks.

    Attributes:
        model: its networks.
        codewords: codewords used of each codebook; those with one codeword store nothing.
        item_centre: subtracted from items, shape (d_y,).
        item_deviation: standard deviations that they are divided by, shape (d_y,).
        query_centre: subtracted from queries, shape (d_x,).
        query_deviation: standard deviations that they are divided by, shape (d_x,).

    """

    __no_type_check__ = True

    model: ProductCodeModel
    codewords: tuple[int, ...]
    item_centre: Float[np.ndarray, " d"]
    item_deviation: Float[np.ndarray, " d"]
    query_centre: Float[np.ndarray, " e"]
    query_deviation: Float[np.ndarray, " e"]

    @property
    def bits(self) -> float:
        """Bits of a stored item without an entropy code."""
        return float(sum(math.log2(count) for count in self.codewords))

    @on_host
    def channel(self, items: ArrayLike) -> Float[np.ndarray, "n g w"]:
        """Probabilities P(u_g|y) of the codewords of every codebook, float64, shape (N, G, W)."""
        given = np.asarray(item_points(items, len(self.item_centre)))
        points = (given - self.item_centre) / self.item_deviation
        logits = _by_blocks(self.model.logits, points).astype(float)
        return np.asarray(jax.nn.softmax(jnp.where(self._used, logits, -jnp.inf)))

    @on_host
    def store(self, key: Key[Array, ""], items: ArrayLike) -> Int[np.ndarray, "n g"]:
        """Draw a codeword of each codebook for each item, shape (N, G)."""
        channel = self.channel(items)
        level = validation.host_generator(key).random((*channel.shape[:2], 1))
        # Below one by rounding at the end, where a codeword of probability zero must not be drawn.
        cumulative = np.cumsum(channel, axis=2) / channel.sum(axis=2, keepdims=True)
        last = (np.asarray(self.codewords) - 1).astype(int)
        return np.minimum((cumulative <= level).sum(axis=2), last)

    @on_host
    def query_features(self, queries: ArrayLike) -> Float[np.ndarray, "q f"]:
        """Tables of queries: the score of every codeword of every codebook, nats, float32."""
        given = np.asarray(item_points(queries, len(self.query_centre), "queries"))
        points = (given - self.query_centre) / self.query_deviation
        return _by_blocks(self.model.tables, points).reshape(len(points), -1)

    @on_host
    def item_features(self, digits: Int[np.ndarray, "m g"]) -> Float[np.ndarray, "m f"]:
        """Ones at the stored codewords: inner products with the tables are the scores."""
        return np.eye(self.model.codewords, dtype=np.float32)[digits].reshape(len(digits), -1)

    @on_host
    def rate(self, items: ArrayLike) -> Float[np.ndarray, " n"]:
        """Divergence of each item's probabilities from the priors, bits, shape (N,).

        Its mean over independent items bounds I(U;Y) from above in expectation.
        """
        prior = jnp.where(self._used, jnp.asarray(self.model.prior[...], float), -jnp.inf)
        log_prior = np.asarray(jax.nn.log_softmax(prior))
        channel = self.channel(items)
        seen = channel > 0
        ratio = np.log2(np.where(seen, channel, 1.0)) - np.where(seen, log_prior / math.log(2), 0.0)
        return np.asarray((channel * ratio).sum(axis=(1, 2)))

    @property
    def _used(self) -> Bool[np.ndarray, "g w"]:
        return np.arange(self.model.codewords) < np.asarray(self.codewords)[:, None]


def group_codewords(bits: Integer) -> tuple[int, ...]:
    """Split so many bits over codebooks of at most `GROUP_BITS` each: the codewords of each codebook."""
    full, rest = divmod(validation.integer("bits", bits, low=1, high=_MOST_BITS), GROUP_BITS)
    return (1 << GROUP_BITS,) * full + ((1 << rest,) if rest else ())


@on_host
def product_codes(
    key: Key[Array, ""],
    queries: ArrayLike,
    items: ArrayLike,
    bits: ArrayLike,
    *,
    slope: ArrayLike = 0.01,
    batch: int = 256,
    hidden: int = 128,
    noise: float = 0.3,
    held_out: float = 0.2,
    validate: tuple[ArrayLike, ArrayLike] | None = None,
    schedule: Schedule | None = None,
    progress: bool = False,
) -> tuple[tuple[ProductCode, ...], Trained]:
    """Train one code for each number of bits, side by side, on pairs of embeddings.

    Args:
        key: PRNG key of the split, the starts and the steps.
        queries: training queries, shape (N, d_x), N >= 10.
        items: training items, row i the target of query i, shape (N, d_y).
        bits: of each code, integers >= 1.
        slope: λ >= 0, bits of information that a stored bit has to bring.
        batch: pairs of a step, at most those left to train on.
        hidden: units of the hidden layer of a tower.
        noise: added to the training points, in units of a coordinate's standard deviation.
        held_out: fraction of the pairs on which the best state of each run is chosen.
        validate: other pairs (queries, items) to choose it on, and then none of these are held out.
        schedule: how to train.
        progress: whether to show a bar.

    Returns:
        The codes in the order of bits, and the record of their training.

    """
    validation.prng_key("key", key)
    x = np.asarray(validation.coordinates("queries", queries, ndim=2))
    y = np.asarray(validation.coordinates("items", items, ndim=2))
    if len(x) != len(y) or len(x) < 10:
        raise ValueError(
            f"queries and items must be at least 10 pairs, got {len(x)} and {len(y)} rows"
        )
    weight = float(validation.non_negative("slope", slope, ndim=0))
    fraction = float(
        validation.interval("held_out", held_out, low=0.0, high=0.5, open_low=True, ndim=0)
    )
    listed = np.atleast_1d(validation.host_array("bits", bits)).tolist()
    sizes = [group_codewords(count) for count in validation.integers("bits", listed, low=1)]
    validation.integer("batch", batch, low=2)
    validation.integer("hidden", hidden, low=1)
    validation.non_negative("noise", noise, ndim=0)
    plan = (
        Schedule(steps=600, learning_rate=3e-3, weight_decay=1e-2) if schedule is None else schedule
    )
    checked_schedule(plan)
    if validate is not None:
        _validation(validate, x, y)
    groups = max(map(len, sizes))
    padded = [size + (1,) * (groups - len(size)) for size in sizes]
    split, learn = jax.random.split(key)
    scales = [(part.mean(axis=0), _positive_deviations(part)) for part in (x, y)]
    chosen_on: Any = validate
    if validate is None:
        order = validation.host_generator(split).permutation(len(x))
        kept, rest = np.split(order, [max(2, round(fraction * len(x)))])
        chosen_on, (x, y) = (x[kept], y[kept]), (x[rest], y[rest])

    def standard(pair: Any) -> tuple[Array, ...]:
        return tuple(
            jnp.asarray((np.asarray(part) - centre) / deviation, jnp.float32)
            for part, (centre, deviation) in zip(pair, scales, strict=True)
        )

    learner = ProductCodeLearner(
        items=y.shape[1], queries=x.shape[1], groups=groups, hidden=hidden, noise=noise
    )
    trained = train(
        learn,
        learner,
        RowBatch(min(batch, len(x))),
        standard((x, y)),
        standard(chosen_on),
        {"slope": jnp.full(len(padded), weight, jnp.float32), "codewords": jnp.asarray(padded)},
        schedule=plan,
        progress=progress,
    )
    (x_centre, x_deviation), (y_centre, y_deviation) = scales
    codes = tuple(
        ProductCode(
            model=trained.model(run),
            codewords=tuple(codewords),
            item_centre=y_centre,
            item_deviation=y_deviation,
            query_centre=x_centre,
            query_deviation=x_deviation,
        )
        for run, codewords in enumerate(padded)
    )
    return codes, trained


def _validation(validate: Any, x: np.ndarray, y: np.ndarray) -> None:
    """Check pairs to choose on beside those to train on."""
    parts = [
        validation.coordinates("validate", part, ndim=2)
        for part in validation.pair("validate", validate)
    ]
    widths = [part.shape[1] for part in parts]
    counts = {part.shape[0] for part in parts}
    if widths != [x.shape[1], y.shape[1]] or len(counts) > 1 or counts == {0}:
        raise ValueError(
            f"validate must be queries of {x.shape[1]} and items of {y.shape[1]} coordinates, as "
            f"many of each, got shapes {[part.shape for part in parts]}"
        )


def _positive_deviations(points: np.ndarray) -> np.ndarray:
    """Standard deviation of each coordinate; one where it is constant."""
    deviation = deviations(points)
    return np.where(deviation > 0, deviation, 1.0)


def _by_blocks(network: Any, points: np.ndarray) -> np.ndarray:
    parts = [
        np.asarray(network(jnp.asarray(points[start : start + _BLOCK], jnp.float32)))
        for start in range(0, len(points), _BLOCK)
    ]
    return np.concatenate(parts)
