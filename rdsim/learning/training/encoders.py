r"""Encoders of pictures and texts, as an `architecture` that a dual encoder is given for either side.

Inputs are rows of numbers, as all data are: a picture is its pixels, row by row, channels last; a text is
the numbers of its tokens, padded with -1. Each encoder reshapes them, and returns one vector:

$$\text{ConvNet: } \mathrm{mean}_{ij}\, h_{ij}, \quad \text{Recurrent: } h_L, \quad
  \text{Transformer: } \mathrm{mean}_t\, h_t,$$

the mean over the places that hold something. All parameters are float32, and no state is kept beside
them. They are small: minutes on two cores are their aim.
"""

import math
from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from rdsim import validation
from rdsim.number_types import ArrayLike

CELLS: Final = ("gru", "lstm")


class ConvNet(nnx.Module):
    """A residual network of 3 x 3 convolutions; every stage halves the sides and doubles the channels.

    References:
        He, Zhang, Ren and Sun (2016), "Deep residual learning for image recognition", CVPR.

    """

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        outputs: int,
        channels: int = 16,
        stages: int = 2,
        rngs: nnx.Rngs,
    ) -> None:
        """Make the layers.

        Args:
            shape: height, width and channels of a picture.
            outputs: numbers in the vector.
            channels: of the first stage.
            stages: how many.
            rngs: of the first parameters.

        """
        self.shape = tuple(validation.integer("shape", side, low=1) for side in shape)
        count = validation.integer("stages", stages, low=1)
        widths = [validation.integer("channels", channels, low=1) * 2**s for s in range(count)]
        self.first = nnx.Conv(self.shape[2], channels, (3, 3), rngs=rngs)
        before = [channels, *widths[:-1]]
        pairs = list(zip(before, widths, strict=True))
        self.inner = nnx.List(nnx.Conv(a, b, (3, 3), strides=2, rngs=rngs) for a, b in pairs)
        self.outer = nnx.List(nnx.Conv(b, b, (3, 3), rngs=rngs) for _, b in pairs)
        self.skip = nnx.List(nnx.Conv(a, b, (1, 1), strides=2, rngs=rngs) for a, b in pairs)
        self.last = nnx.Linear(widths[-1], outputs, rngs=rngs)

    def __call__(self, inputs: ArrayLike) -> Float[Array, "... o"]:
        """Map pixels of shape (..., H W C) to shape (..., outputs)."""
        return _of_rows(self._vectors, inputs)

    def _vectors(self, inputs: Float[Array, "n i"]) -> Float[Array, "n o"]:
        h = convolved(self.first, jnp.asarray(inputs, jnp.float32).reshape(-1, *self.shape))
        for inner, outer, skip in zip(self.inner, self.outer, self.skip, strict=True):
            h = jax.nn.relu(h)
            h = convolved(skip, h) + convolved(outer, jax.nn.relu(convolved(inner, h)))
        return self.last(jax.nn.relu(h).mean(axis=(1, 2)))


def convolved(layer: nnx.Conv, maps: Float[Array, "n h w c"]) -> Float[Array, "n i j o"]:
    """Apply a convolution with padding "SAME" as one matrix product of shifted maps.

    The training loop runs its steps inside one compiled loop, and runs side by side: there XLA has no fast program for
    convolutions on a CPU (three times the time), and makes those of several runs grouped ones. Matrix products are fast in both.
    """
    kernel = layer.kernel[...]
    strides, bias = layer.strides, layer.bias
    stride = strides[0] if isinstance(strides, tuple | list) else int(strides or 1)  # type: ignore[arg-type]
    sizes, sides = kernel.shape[:2], maps.shape[1:3]
    outputs = [-(-side // stride) for side in sides]
    missing = [
        max((out - 1) * stride + size - side, 0)
        for out, size, side in zip(outputs, sizes, sides, strict=True)
    ]
    padding = [(0, 0), *((more // 2, more - more // 2) for more in missing), (0, 0)]
    wide = jnp.pad(maps, padding)
    shifted = [
        wide[
            :,
            a : a + (outputs[0] - 1) * stride + 1 : stride,
            b : b + (outputs[1] - 1) * stride + 1 : stride,
        ]
        for a in range(sizes[0])
        for b in range(sizes[1])
    ]
    found = jnp.concatenate(shifted, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])
    return found if bias is None else found + bias[...]


class Recurrent(nnx.Module):
    r"""A recurrent network over tokens; padding leaves its state as it is.

    GRU: $h' = (1-z) \odot h + z \odot \tanh(W[x, r \odot h])$, with sigmoid gates z, r of [x, h]. LSTM:
    $c' = f \odot c + i \odot \tanh(g)$, $h' = o \odot \tanh(c')$.

    References:
        Cho et al. (2014), EMNLP; Hochreiter and Schmidhuber (1997), Neural Computation 9(8).

    """

    def __init__(
        self, *, vocabulary: int, outputs: int, width: int = 32, cell: str = "gru", rngs: nnx.Rngs
    ) -> None:
        """Make the layers for so many different tokens; the cell is "gru" or "lstm"."""
        self.cell = validation.choice("cell", cell, CELLS)
        self.width = validation.integer("width", width, low=1)
        words = validation.integer("vocabulary", vocabulary, low=1)
        self.embedding = nnx.Embed(words, width, rngs=rngs)
        self.gates = nnx.Linear(2 * width, (2 if cell == "gru" else 4) * width, rngs=rngs)
        self.candidate = nnx.Linear(2 * width, width, rngs=rngs) if cell == "gru" else None
        self.last = nnx.Linear(width, outputs, rngs=rngs)

    def __call__(self, inputs: ArrayLike) -> Float[Array, "... o"]:
        """Map tokens of shape (..., L), padded with -1, to shape (..., outputs)."""
        return _of_rows(self._vectors, inputs)

    def _vectors(self, inputs: Float[Array, "n i"]) -> Float[Array, "n o"]:
        tokens, held = _tokens(inputs)
        x = self.embedding(tokens)

        def step(state: tuple[Array, Array], now: tuple[Array, Array]) -> Any:
            h, c = state
            given, here = now
            both = jnp.concatenate([given, h], axis=-1)
            if self.candidate is not None:
                update, reset = jnp.split(jax.nn.sigmoid(self.gates(both)), 2, axis=-1)
                new = jnp.tanh(self.candidate(jnp.concatenate([given, reset * h], axis=-1)))
                after = ((1 - update) * h + update * new, c)
            else:
                forget, take, give, value = jnp.split(self.gates(both), 4, axis=-1)
                # A forget gate that starts open keeps early tokens (Gers et al. 2000).
                cell = jax.nn.sigmoid(forget + 1) * c + jax.nn.sigmoid(take) * jnp.tanh(value)
                after = (jax.nn.sigmoid(give) * jnp.tanh(cell), cell)
            return tuple(
                jnp.where(here[:, None], new, old) for new, old in zip(after, state, strict=True)
            ), None

        zero = jnp.zeros((x.shape[0], self.width), jnp.float32)
        (h, _), _ = jax.lax.scan(step, (zero, zero), (x.swapaxes(0, 1), held.T))
        return self.last(h)


class Transformer(nnx.Module):
    """A transformer encoder over tokens, or over the patches of a picture.

    References:
        Vaswani et al. (2017), NIPS; Dosovitskiy et al. (2021), ICLR, for patches; Xiong et al. (2020),
        ICML, for the normalisation before each part.

    """

    def __init__(
        self,
        *,
        outputs: int,
        vocabulary: int | None = None,
        length: int | None = None,
        shape: tuple[int, int, int] | None = None,
        patch: int = 4,
        width: int = 32,
        heads: int = 2,
        layers: int = 2,
        rngs: nnx.Rngs,
    ) -> None:
        """Make the layers.

        Args:
            outputs: numbers in the vector.
            vocabulary: different tokens, of texts.
            length: most tokens of a text.
            shape: height, width and channels, of pictures; sides are multiples of the patch.
            patch: side of a square patch.
            width: of a token inside, a multiple of the heads.
            heads: of the attention.
            layers: how many.
            rngs: of the first parameters.

        """
        if (shape is None) == (vocabulary is None or length is None):
            raise ValueError(
                "a transformer reads texts (vocabulary and length) or pictures (shape), got "
                f"vocabulary={vocabulary}, length={length}, shape={shape}"
            )
        if validation.integer("width", width, low=1) % validation.integer("heads", heads, low=1):
            raise ValueError(f"heads must divide the width {width}, got {heads}")
        self.shape, self.patch, self.heads = shape, patch, heads
        if shape is None:
            words = validation.integer("vocabulary", vocabulary, low=1)
            self.embedding: Any = nnx.Embed(words, width, rngs=rngs)
            places = validation.integer("length", length, low=1)
        else:
            if shape[0] % patch or shape[1] % patch:
                raise ValueError(f"patch must divide the sides {shape[:2]}, got {patch}")
            self.embedding = nnx.Linear(patch * patch * shape[2], width, rngs=rngs)
            places = (shape[0] // patch) * (shape[1] // patch)
        start = 0.1 * jax.random.normal(rngs.params(), (places, width), jnp.float32)
        self.positions = nnx.Param(start)
        count = range(validation.integer("layers", layers, low=1))
        self.norms = nnx.List(nnx.LayerNorm(width, rngs=rngs) for _ in range(2 * layers + 1))
        self.projections = nnx.List(nnx.Linear(width, 3 * width, rngs=rngs) for _ in count)
        self.mixed = nnx.List(nnx.Linear(width, width, rngs=rngs) for _ in count)
        self.inner = nnx.List(nnx.Linear(width, 4 * width, rngs=rngs) for _ in count)
        self.outer = nnx.List(nnx.Linear(4 * width, width, rngs=rngs) for _ in count)
        self.last = nnx.Linear(width, outputs, rngs=rngs)

    def __call__(self, inputs: ArrayLike) -> Float[Array, "... o"]:
        """Map tokens (..., L), padded with -1, or pixels (..., H W C), to shape (..., outputs)."""
        return _of_rows(self._vectors, inputs)

    def _vectors(self, inputs: Float[Array, "n i"]) -> Float[Array, "n o"]:
        if self.shape is None:
            tokens, held = _tokens(inputs)
        else:
            tokens = self._patches(jnp.asarray(inputs, jnp.float32), self.shape)
            held = jnp.ones(tokens.shape[:2], bool)
        h = self.embedding(tokens) + self.positions[...][: tokens.shape[1]]
        for i, (project, mix) in enumerate(zip(self.projections, self.mixed, strict=True)):
            h += mix(self._attended(project(self.norms[2 * i](h)), held))
            h += self.outer[i](jax.nn.gelu(self.inner[i](self.norms[2 * i + 1](h))))
        h = jnp.where(held[..., None], self.norms[-1](h), 0.0)
        return self.last(h.sum(axis=1) / jnp.maximum(held.sum(axis=1), 1)[:, None])

    def _attended(
        self, projected: Float[Array, "n t w"], held: Bool[Array, "n t"]
    ) -> Float[Array, "n t v"]:
        """Attend from every place to those that hold something."""
        n, t, _ = projected.shape
        parts = projected.reshape(n, t, 3, self.heads, -1)
        asked, keys, values = (parts[:, :, i] for i in range(3))
        product = jnp.einsum("nthe,nshe->nhts", asked, keys) / math.sqrt(asked.shape[-1])
        weights = jax.nn.softmax(jnp.where(held[:, None, None], product, -1e9), axis=-1)
        return jnp.einsum("nhts,nshe->nthe", weights, values).reshape(n, t, -1)

    def _patches(
        self, pixels: Float[Array, "n p"], shape: tuple[int, int, int]
    ) -> Float[Array, "n t c"]:
        height, width, channels = shape
        rows, columns, side = height // self.patch, width // self.patch, self.patch
        cut = pixels.reshape(-1, rows, side, columns, side, channels).swapaxes(2, 3)
        return cut.reshape(len(pixels), rows * columns, side * side * channels)


def _of_rows(vectors: Callable[[Array], Array], inputs: ArrayLike) -> Float[Array, "... o"]:
    """Apply a function of rows (N, I) to inputs with any leading axes."""
    given = jnp.asarray(inputs, jnp.float32)
    found = vectors(given.reshape(-1, given.shape[-1]))
    return found.reshape(*given.shape[:-1], -1)


def _tokens(inputs: ArrayLike) -> tuple[Array, Array]:
    """Numbers of tokens, zero where there is none, and where there is one."""
    numbers = jnp.asarray(inputs).astype(jnp.int32)
    return jnp.maximum(numbers, 0), numbers >= 0
