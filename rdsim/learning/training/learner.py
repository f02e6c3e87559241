"""A learner: a module, how it starts, and the loss of a batch."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from flax import nnx
from jaxtyping import Array, Float, Key

LossAndRecord = tuple[Float[Array, ""], Mapping[str, Float[Array, ""]]]
"""A loss, and named numbers that are recorded with it at each evaluation."""


@runtime_checkable
class Learner(Protocol):
    """A system that can be trained; a frozen dataclass, hashable, since it is compiled in."""

    @property
    def build(self) -> Callable[[nnx.Rngs], nnx.Module]:
        """Makes the module with its first parameters, float32: a method, or an `architecture`."""

    def loss(
        self, model: Any, batch: Any, key: Key[Array, ""], setting: Any, progress: Array
    ) -> LossAndRecord:
        """Loss of a batch, and numbers to record with it.

        Args:
            model: the module.
            batch: what the data source drew.
            key: PRNG key of this step.
            setting: what the run was given (its slope, say), a PyTree of scalars.
            progress: fraction of the steps done, 0 to 1, for annealing; at an evaluation on held-out
                data it is 1.

        """
