r"""A trained neural code among the codes for items in R^d, and its learned decoder.

The networks compute in float32; their logits, read as float64, define the channel

$$P(u|y) = \frac{e^{\ell_u(y)}}{\sum_{u'} e^{\ell_{u'}(y)}}$$

to the last digit: what is measured of the code is exact for a channel that is its own.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from rdsim import validation
from rdsim.codes.entropy_coding import item_masses
from rdsim.codes.item_code import item_points
from rdsim.learning.stochastic.neural_code import NeuralCode
from rdsim.number_types import ArrayLike
from rdsim.simulation.coded_items import Decoder
from rdsim.sources.categorical import draw_categorical
from rdsim.sources.modalities import chosen_modalities


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("state", "codewords"),
    meta_fields=("graph",),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class NeuralItemCode:
    """A code for items in R^d whose channel is a trained network; an `ItemCode`.

    Codes of one architecture share one compiled evaluation.

    Attributes:
        graph: structure of the `NeuralCode`, hashable.
        state: its parameters.
        codewords: points that stand for the items of each codeword, shape (K, d).

    """

    __no_type_check__ = True

    graph: Any
    state: Any
    codewords: Float[Array, "k d"]

    def channel(self, items: ArrayLike) -> Float[Array, "n k"]:
        """P(u|y) for items of shape (N, d), shape (N, K), float64, rows summing to one."""
        return _channel(self.graph, self.state, item_points(items, self.codewords.shape[1]))

    def encode(self, key: Key[Array, ""], items: ArrayLike) -> Int[Array, " n"]:
        """Draw the index of a codeword for each item from P(.|y), shape (N,)."""
        validation.prng_key("key", key)
        points = item_points(items, self.codewords.shape[1])
        return _draw(key, self.graph, self.state, points)


def neural_item_code(
    model: NeuralCode, items: ArrayLike, *, masses: ArrayLike | None = None
) -> NeuralItemCode:
    r"""Read the code for items out of a trained model.

    The codewords are the means $E[Y|u]$ under the given distribution; a codeword that none of its items has
    stands for the mean of all.

    Args:
        model: the trained code.
        items: support of a distribution of items, shape (N, d), d what the model takes.
        masses: of that distribution, shape (N,), summing to one; None for equal ones.

    Returns:
        The code.

    """
    validation.instance("model", model, NeuralCode)
    points = item_points(items, model.item_encoder.inputs)
    p = item_masses(masses, points.shape[0])
    graph, state = nnx.split(model)
    joint = p[:, None] * _channel(graph, state, points)
    # A codeword that no item of the support has would be 0/0; its row is replaced below.
    mass = joint.sum(axis=0)[:, None]
    mean = joint.T @ points / jnp.where(mass > 0, mass, 1.0)
    return NeuralItemCode(graph=graph, state=state, codewords=jnp.where(mass > 0, mean, p @ points))


@partial(jax.tree_util.register_dataclass, data_fields=("state",), meta_fields=("graph", "seen"))
@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnedScores:
    """Parameters of the learned decoder.

    Attributes:
        graph: structure of the `NeuralCode`, hashable.
        state: its parameters.
        seen: the modalities that queries hold, in their order.

    """

    __no_type_check__ = True

    graph: Any
    state: Any
    seen: tuple[int, ...]


def learned_decoder(model: NeuralCode, modalities: ArrayLike | None = None) -> Decoder:
    r"""Make the decoder that a model was trained with: $\sum_k s_k(x_k, u) / \tau_k$ of those seen.

    Args:
        model: the trained code.
        modalities: which queries are seen, in the order they come in; None for all.

    Returns:
        The decoder, for `simulate_item_code` with the same modalities.

    """
    validation.instance("model", model, NeuralCode)
    seen = tuple(chosen_modalities(modalities, model.log_temperature.shape[0]))
    graph, state = nnx.split(model)
    return Decoder(learned_scores, LearnedScores(graph=graph, state=state, seen=seen))


def learned_scores(parameters: LearnedScores, queries: Float[Array, "m d"]) -> Float[Array, " k"]:
    """Score every codeword for the queries seen, shape (K,), float64 from float32 scores."""
    model = nnx.merge(parameters.graph, parameters.state)
    seen = jnp.array(parameters.seen, int)
    # The model scores all modalities: those that are not seen are given zeros, and their scores are left out of the
    # sum.
    every = jnp.zeros((model.log_temperature.shape[0], queries.shape[-1]), jnp.float32)
    every = every.at[seen].set(jnp.asarray(queries, jnp.float32))
    return jnp.asarray(model.fused_scores(every, parameters.seen), float)


@partial(jax.jit, static_argnames="graph")
def _channel(graph: Any, state: Any, items: Float[Array, "n d"]) -> Float[Array, "n k"]:
    # The float32 logits are taken as they are: float64 begins at the softmax, whose rows then sum to one to the last
    # digit.
    logits = nnx.merge(graph, state).item_logits(items)
    return jax.nn.softmax(jnp.asarray(logits, float), axis=-1)


@partial(jax.jit, static_argnames="graph")
def _draw(
    key: Key[Array, ""], graph: Any, state: Any, items: Float[Array, "n d"]
) -> Int[Array, " n"]:
    # Inversion of the cumulative channel in float64: in float32 rare codewords of one item would lose digits.
    uniform = jax.random.uniform(key, (items.shape[0],), float)
    return draw_categorical(_channel(graph, state, items), uniform)
