"""The networks that encoders are made of, and how a learner says which module it builds."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.number_types import ArrayLike

_LARGEST_LOG: Final = 8.0
"""Largest size of the log of a precision: e^8 is a standard deviation of a fiftieth of the data's unit."""


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A module and the sizes it is built with; hashable, so that a learner that holds it is.

    Attributes:
        module: called with the sizes by name, and with `rngs`.
        sizes: names and values.

    """

    module: Callable[..., nnx.Module]
    sizes: tuple[tuple[str, Any], ...]

    def __call__(self, rngs: nnx.Rngs, **more: Any) -> nnx.Module:
        """Make the module with its first parameters; more sizes may be given now."""
        return self.module(**dict(self.sizes), **more, rngs=rngs)


def architecture(module: Callable[..., nnx.Module], **sizes: Any) -> Architecture:
    """Say which module a learner builds.

    Args:
        module: a class of modules, or a function that makes one.
        **sizes: the arguments it is called with, hashable; those of the module itself.

    """
    return Architecture(validation.function("module", module), tuple(sizes.items()))


class MLP(nnx.Module):
    """A multilayer perceptron in float32: linear layers with a GELU between them."""

    def __init__(self, features: tuple[int, ...], rngs: nnx.Rngs) -> None:
        """Make the layers.

        Args:
            features: widths of input, hidden layers and output, at least two; two make one linear
                layer.
            rngs: keys of the first parameters.

        """
        if len(features) < 2:
            raise ValueError(f"features must name input and output at least, got {features}")
        widths = [validation.integer("features", width, low=1) for width in features]
        self.layers = nnx.List(
            nnx.Linear(before, after, rngs=rngs) for before, after in itertools.pairwise(widths)
        )

    @property
    def inputs(self) -> int:
        """Numbers that it takes."""
        return int(self.layers[0].kernel.shape[0])

    def __call__(self, inputs: ArrayLike) -> Float[Array, "... o"]:
        """Map inputs of shape (..., features[0]) to shape (..., features[-1])."""
        value = jnp.asarray(inputs, jnp.float32)
        for layer in self.layers[:-1]:
            value = jax.nn.gelu(layer(value))
        return self.layers[-1](value)


class Comparing(nnx.Module):
    """A module that scores items by what is stored of them: with `embed_items` and `compare`."""

    def scores(self: Any, queries: ArrayLike, items: ArrayLike) -> Float[Array, "n m"]:
        """Score items (M, d) for queries (N, K, d), in nats."""
        found: Array = self.compare(queries, self.embed_items(items))
        return found


def stacked_networks(number: int, widths: tuple[int, ...], rngs: nnx.Rngs) -> MLP:
    """Make networks of one shape, their parameters stacked along a first axis.

    A program of stacked networks compiles as fast as one network's.

    Args:
        number: how many.
        widths: of the layers of each.
        rngs: of the first parameters.

    """
    keys = jax.random.split(rngs.params(), number)
    return jax.vmap(lambda key: MLP(widths, nnx.Rngs(key)))(keys)


def of_each(networks: MLP, points: Float[Array, "n s d"]) -> Float[Array, "n s e"]:
    """Apply the i-th of stacked networks to the i-th points of the second axis."""
    return jax.vmap(lambda network, x: network(x), in_axes=(0, 1), out_axes=1)(networks, points)


def unit_length(points: Float[Array, "... e"]) -> Float[Array, "... e"]:
    """Points scaled to length one."""
    # The gradient of a norm is not finite at zero.
    return points / jnp.sqrt(jnp.sum(points**2, axis=-1, keepdims=True) + 1e-12)


def bounded_precisions(logs: Float[Array, "..."]) -> Float[Array, "..."]:
    """Precisions of which a network gives the logs, bounded smoothly between e^-8 and e^8 by a tanh."""
    return jnp.exp(_LARGEST_LOG * jnp.tanh(logs / _LARGEST_LOG))
