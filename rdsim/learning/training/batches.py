"""How a step draws its batch: rows of a sample, with repetitions."""

import dataclasses
from typing import Any

import jax
from jaxtyping import Array, Key


@dataclasses.dataclass(frozen=True)
class RowBatch:
    """Draws rows of arrays, the same rows of each.

    Attributes:
        size: rows of a batch.

    """

    size: int

    def __call__(self, key: Key[Array, ""], sample: Any) -> tuple[Array, ...]:
        """Draw from a tuple of arrays with as many rows each."""
        # A remainder of 32 bits: the bias is of order N / 2^32, and a step compiles faster than with
        # `randint`, which draws twice.
        rows = jax.random.bits(key, (self.size,), "uint32") % sample[0].shape[0]
        return tuple(part[rows] for part in sample)


def whole_data(key: Key[Array, ""], data: Any) -> Any:  # noqa: ARG001
    """Return the data as the batch of every step: the `draw` of what holds all pairs, a `letter_table` or a source."""
    return data
