r"""What codes for items in R^d offer, so that one evaluation serves them all, and checks of their arguments.

An `ItemCode` describes an item y by one of K listed codewords. It is known by its channel P(u|y), whose
rows hold a single one if the code is deterministic, and by its codewords, the points that a decoder
with nothing but the codebook takes the items for. A `StoredCode` keeps a row of small integers for
each item, so there may be hundreds of bits. Items and queries live in one space, where an inner
product is a similarity.

Every method that takes items raises a ValueError if they are not finite numbers of shape (N, d), N >= 1.
"""

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from jaxtyping import Array, Float, Int, Key

from rdsim import validation
from rdsim.codes.distances import indicator
from rdsim.number_types import ArrayLike


class ItemCode(Protocol):
    """A code for items in R^d whose codewords are listed, a PyTree."""

    @property
    def codewords(self) -> Float[Array, "k d"]:
        """Points u that stand for the items, shape (K, d)."""

    def channel(self, items: ArrayLike) -> Float[Array, "n k"]:
        """Probabilities P(u|y) of every codeword for items of shape (N, d), rows summing to one."""

    def encode(self, key: Key[Array, ""], items: ArrayLike) -> Int[Array, " n"]:
        """Draw the index of a codeword for each item of shape (N, d); the key may go unused."""


class StoredCode(Protocol):
    """A code whose stored items are rows of small integers, however many codewords there are."""

    def store(self, key: Key[Array, ""], items: ArrayLike) -> Int[np.ndarray, "n g"]:
        """Store items of shape (N, d); the key may go unused."""

    def query_features(self, queries: ArrayLike) -> Float[np.ndarray, "q f"]:
        """Features of queries; inner products with those of stored items are scores."""

    def item_features(self, digits: Int[np.ndarray, "m g"]) -> Float[np.ndarray, "m f"]:
        """Features of stored items, a function of nothing but what is stored."""


class DeterministicCode:
    """An `ItemCode` that takes every item for one codeword; what is below follows from its indices."""

    def _indices(self, items: ArrayLike) -> Int[Array, " n"]:
        """Number of the codeword of each item of shape (N, d), int32, shape (N,)."""
        raise NotImplementedError

    @property
    def _size(self: Any) -> int:
        """Number of codewords K."""
        return int(self.codewords.shape[0])

    def channel(self, items: ArrayLike) -> Float[Array, "n k"]:
        """Rows with a one at the codeword of the item, shape (N, K), for items of shape (N, d)."""
        return indicator(self._indices(items), self._size)

    def encode(self, key: Key[Array, ""], items: ArrayLike) -> Int[Array, " n"]:
        """Number of the codeword of each item, int32, shape (N,); the key goes unused."""
        del key
        return self._indices(items)


if TYPE_CHECKING:
    GivenItemCode: TypeAlias = ItemCode
    GivenStoredCode: TypeAlias = StoredCode
else:
    # At run time every type passes here: functions check what they need of a code, and their messages name it.
    GivenItemCode = GivenStoredCode = Any


def item_code(name: str, value: Any) -> Any:
    """Check that a value offers what an `ItemCode` does; the TypeError names the argument."""
    if not all(hasattr(value, part) for part in ("codewords", "channel")):
        raise TypeError(f"{name} must be a code for items, with a channel, got {type(value)}")
    return value


def item_points(items: ArrayLike, dimension: int, name: str = "items") -> Float[Array, "n d"]:
    """Check items (or queries): finite numbers of shape (N, d), N at least 1."""
    return _of_shape(validation.coordinates(name, items, ndim=2), dimension, name)


def host_points(items: ArrayLike, dimension: int, name: str = "items") -> Float[np.ndarray, "n d"]:
    """Check them, and leave float32 as it is: many items are made float64 a part at a time."""
    return np.asarray(_of_shape(validation.finite(name, items, ndim=2), dimension, name))


def _of_shape(points: Any, dimension: int, name: str) -> Any:
    if points.shape[1] != dimension or points.shape[0] == 0:
        raise ValueError(f"{name} must have shape (N, {dimension}) with N >= 1, got {points.shape}")
    return points
