"""The parameters of a module as one vector: an optimiser is then compiled for one array."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float


@dataclasses.dataclass(frozen=True)
class Layout:
    """The structure of a module, and where its parameters lie in one vector; hashable."""

    graph: Any
    tree: Any
    shapes: tuple[tuple[int, ...], ...]

    def state(self, vectors: Any) -> Any:
        """Parameters of vectors (..., p), each with the leading axes of the vectors."""
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])[:-1]
        module = np if isinstance(vectors, np.ndarray) else jnp
        parts = module.split(vectors, ends, axis=-1)
        leading = vectors.shape[:-1]
        return jax.tree.unflatten(
            self.tree,
            [
                part.reshape((*leading, *shape))
                for part, shape in zip(parts, self.shapes, strict=True)
            ],
        )

    def module(self, vector: Any) -> Any:
        """Module whose parameters are a vector (p,)."""
        return nnx.merge(self.graph, jax.tree.map(jnp.asarray, self.state(vector)))


def vector(state: Any) -> Float[Array, " p"]:
    """Lay the parameters of a module end to end."""
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(state)])


def layout_of(learner: Any) -> Layout:
    """Find the layout of the module that a learner builds, which must be of float32 alone."""
    graph, state = nnx.split(nnx.eval_shape(lambda: learner.build(nnx.Rngs(0))))
    leaves = jax.tree_util.tree_leaves_with_path(state)
    for path, leaf in leaves:
        if leaf.dtype != jnp.float32:
            raise TypeError(
                f"learner must build float32 parameters only, got {leaf.dtype} at "
                f"{jax.tree_util.keystr(path)}"
            )
    return Layout(graph, jax.tree.structure(state), tuple(leaf.shape for _, leaf in leaves))
