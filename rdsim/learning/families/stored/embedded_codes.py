r"""Codes behind the network that embeds items: codewords are of embeddings, and stand for means of items."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from rdsim import validation
from rdsim.codes.distances import training_items
from rdsim.codes.item_code import GivenItemCode, item_code, item_points
from rdsim.number_types import ArrayLike
from rdsim.transformations import on_host


@partial(jax.jit, static_argnames="embed")
def embedded_points(embed: Callable[[Any, Array], Array], parameters: Any, points: Any) -> Array:
    """Embeddings of points in float64; one compiled program for each function and shape."""
    return jnp.asarray(embed(parameters, points), float)


def embedded_items(embed: Callable[[Any, Array], Array], parameters: Any, items: Any) -> Array:
    """Embeddings of items (N, d), in float64."""
    try:
        return embedded_points(embed, parameters, items)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"items must have the coordinates that their embedding takes, got shape {items.shape}: {error}"
        ) from error


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("parameters", "code", "codewords"),
    meta_fields=("embed",),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbeddedCode:
    """A code for items in R^d that quantizes an embedding of them; an `ItemCode`.

    Attributes:
        embed: pure, hashable function (parameters, items (N, d)) -> embeddings (N, e).
        parameters: PyTree of arrays it is given.
        code: `ItemCode` of the embeddings, K codewords in R^e.
        codewords: points of R^d that stand for the items of each codeword, shape (K, d).

    """

    __no_type_check__ = True

    embed: Callable[[Any, Float[Array, "n d"]], Float[Array, "n e"]]
    parameters: Any
    code: Any
    codewords: Float[Array, "k d"]

    def channel(self, items: ArrayLike) -> Float[Array, "n k"]:
        """P(u|y) for items of shape (N, d), shape (N, K), rows summing to one."""
        return self.code.channel(self.embedding(items))

    def encode(self, key: Key[Array, ""], items: ArrayLike) -> Int[Array, " n"]:
        """Draw the index of a codeword for each item, shape (N,)."""
        return self.code.encode(key, self.embedding(items))

    def embedding(self, items: ArrayLike) -> Float[Array, "n e"]:
        """Embed items of shape (N, d), shape (N, e), float64."""
        points = item_points(items, self.codewords.shape[1])
        return embedded_points(self.embed, self.parameters, points)


@on_host
def embedded_code(
    embed: Callable[[Any, Float[Array, "n d"]], Float[Array, "n e"]],
    parameters: Any,
    code: GivenItemCode,
    items: ArrayLike,
) -> EmbeddedCode:
    r"""Put a code of embeddings behind the network that makes them.

    The codewords in the items' space are the means $E[Y|u]$ of the given items; a codeword that
    none of them has stands for their common mean.

    Args:
        embed: pure, hashable function (parameters, items (N, d)) -> embeddings (N, e).
        parameters: PyTree of arrays it is given.
        code: `ItemCode` fitted to embeddings.
        items: items whose means are taken, shape (N, d).

    Returns:
        The code of the items.

    """
    validation.function("embed", embed)
    item_code("code", code)
    points = training_items(items)
    channel = np.asarray(code.channel(embedded_items(embed, parameters, points)))
    codewords = jax.device_put(_means(channel, np.asarray(points)))
    return EmbeddedCode(embed=embed, parameters=parameters, code=code, codewords=codewords)


def _means(
    channel: Float[np.ndarray, "n k"], points: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, "k d"]:
    """Mean of the points of each codeword; the common mean for one that has none."""
    mass = channel.sum(axis=0)[:, None]
    means = channel.T @ points / np.where(mass > 0, mass, 1.0)
    return np.where(mass > 0, means, points.mean(axis=0))


def embedding(name: str, value: Any) -> tuple[Callable[[Any, Array], Array], Any]:
    """Check a function and the parameters that it is given.

    Raises:
        TypeError: naming the argument, if this is not a pair whose first part is a function.

    """
    function, parameters = validation.pair(name, value)
    return validation.function(name, function), parameters


@dataclasses.dataclass(frozen=True)
class ModuleMethod:
    """A method of a module as a pure, hashable function (parameters, points) -> what it returns.

    Attributes:
        graph: structure of the module, from `nnx.split`.
        name: of the method.

    """

    graph: Any
    name: str

    def __call__(self, parameters: Any, points: Array) -> Array:
        """Call the method of the module with these parameters."""
        return getattr(nnx.merge(self.graph, parameters), self.name)(points)


@dataclasses.dataclass(frozen=True)
class Chain:
    """Two functions (parameters, points), one after the other; parameters are those of the first and of the second.

    Attributes:
        first: pure and hashable.
        second: pure and hashable, of what the first returns.

    """

    first: Callable[[Any, Any], Any]
    second: Callable[[Any, Any], Any]

    def __call__(self, parameters: Any, points: Array) -> Array:
        """Apply both."""
        first, second = parameters
        found: Array = self.second(second, self.first(first, points))
        return found


def module_method(model: nnx.Module, name: str) -> tuple[ModuleMethod, Any]:
    """Take a method of a module apart into a function and the parameters it is given.

    Args:
        model: module of flax.nnx.
        name: of a method that takes one array.

    Returns:
        The function, the same for all modules of one structure, and the parameters.

    """
    if not isinstance(model, nnx.Module) or not callable(getattr(model, name, None)):
        raise TypeError(f"model must be a module with {name}, got {type(model)}")
    graph, parameters = nnx.split(model)
    return ModuleMethod(graph, name), parameters


def embeddings_of(model: nnx.Module) -> tuple[tuple[ModuleMethod, Any], tuple[ModuleMethod, Any]]:
    """Take `embed_items` and `embed_queries` of a module apart, as `module_method` does."""
    return module_method(model, "embed_items"), module_method(model, "embed_queries")
