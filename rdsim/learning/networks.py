"""The networks that encoders are made of."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from rdsim import validation


class MLP(nnx.Module):
    """A multilayer perceptron in float32: linear layers with a GELU between them."""

    def __init__(self, features: tuple[int, ...], rngs: nnx.Rngs) -> None:
        """Make the layers.

        Args:
            features: widths of input, hidden layers and output, at least two; two make one linear
                layer.
            rngs: keys of the first parameters.

        Raises:
            ValueError: if there are fewer than two widths, or one is below 1.
            TypeError: if a width is not an integer.

        """
        if len(features) < 2:
            raise ValueError(f"features must name input and output at least, got {features}")
        widths = [validation.integer("features", width, low=1) for width in features]
        self.layers = nnx.List(
            nnx.Linear(before, after, rngs=rngs) for before, after in itertools.pairwise(widths)
        )

    def __call__(self, inputs: Any) -> Float[Array, "... o"]:
        """Map inputs of shape (..., features[0]) to shape (..., features[-1])."""
        value = jnp.asarray(inputs, jnp.float32)
        for layer in self.layers[:-1]:
            value = jax.nn.gelu(layer(value))
        return self.layers[-1](value)
