r"""What every code for items in R^d offers, so that one evaluation serves them all.

An item y is described by one of K codewords. A code is known by its channel P(u|y), whose rows hold
a single one if it is deterministic, and by its codewords, the points that a decoder with nothing
but the codebook takes the items for.
"""

from typing import Any, Protocol

from jaxtyping import Array, Float, Int, Key

from rdsim import validation
from rdsim.number_types import ArrayLike


class ItemCode(Protocol):
    """A code for items in R^d, a PyTree."""

    @property
    def codewords(self) -> Float[Array, "k d"]:
        """Points u that stand for the items, shape (K, d)."""

    def channel(self, items: ArrayLike) -> Float[Array, "n k"]:
        """Probabilities P(u|y) of every codeword for items of shape (N, d), rows summing to one."""

    def encode(self, key: Key[Array, ""], items: ArrayLike) -> Int[Array, " n"]:
        """Draw the index of a codeword for each item of shape (N, d); the key may go unused."""


def item_code(name: str, value: Any) -> Any:
    """Check that a value offers what an `ItemCode` does.

    Raises:
        TypeError: naming the argument, if it does not.

    """
    if not all(hasattr(value, part) for part in ("codewords", "channel")):
        raise TypeError(f"{name} must be a code for items, with a channel, got {type(value)}")
    return value


def item_points(items: ArrayLike, dimension: int, name: str = "items") -> Float[Array, "n d"]:
    """Check items (or queries): finite numbers of shape (N, d), N at least 1.

    Raises:
        ValueError: naming them, if they are not.

    """
    points = validation.coordinates(name, items, ndim=2)
    if points.shape[1] != dimension or points.shape[0] == 0:
        raise ValueError(f"{name} must have shape (N, {dimension}) with N >= 1, got {points.shape}")
    return points
