r"""Codes of embeddings in tens or hundreds of bits: items are rows of digits, and no codeword is listed.

An item's embedding $g(y)$ is stored as digits $j_1..j_S$, of $\prod_s W_s = 2^B$ possible rows, and read
back as a point $v(j_1..j_S)$, which a decoder scores as it scores a listed codeword. The rows that
are in a database are the only codewords that its queries see.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Final, Protocol

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key

from rdsim import validation
from rdsim.codes.item_code import item_points
from rdsim.codes.quantizers.product import ProductQuantizer
from rdsim.learning.families.stored.embedded_codes import embedded_items
from rdsim.number_types import ArrayLike
from rdsim.transformations import on_host

MOST_LISTED_BITS: Final = 12
"""Most bits of a code whose codewords are listed, 4096."""


class Digits(Protocol):
    """How an embedding becomes digits, and digits a point."""

    def digits(self, embeddings: Float[np.ndarray, "n e"]) -> Int[np.ndarray, "n s"]:
        """Store embeddings."""

    def points(self, digits: Int[np.ndarray, "m s"]) -> Float[np.ndarray, "m e"]:
        """Read points back."""


@dataclasses.dataclass(frozen=True)
class ProductDigits:
    """Digits of a product quantizer of the embeddings.

    Attributes:
        code: the quantizer.

    """

    code: ProductQuantizer

    def digits(self, embeddings: Float[np.ndarray, "n e"]) -> Int[np.ndarray, "n s"]:
        """Nearest codeword of each block."""
        # The code is deterministic: the key of `store` goes unused.
        return self.code.store(jax.random.key(0), embeddings)

    def points(self, digits: Int[np.ndarray, "m s"]) -> Float[np.ndarray, "m e"]:
        """Codewords, in the coordinates of the embeddings."""
        rotated = self.code.item_features(digits)[:, :-1]
        return np.asarray(rotated @ np.asarray(self.code.rotation) + np.asarray(self.code.centre))


@dataclasses.dataclass(frozen=True)
class SignDigits:
    """The signs of the first B coordinates; points are -1 and 1, and zero beyond B.

    Attributes:
        bits: B.

    """

    bits: int

    def digits(self, embeddings: Float[np.ndarray, "n e"]) -> Int[np.ndarray, "n s"]:
        """Signs as 0 and 1."""
        return (embeddings[:, : self.bits] > 0).astype(np.int8)

    def points(self, digits: Int[np.ndarray, "m s"]) -> Float[np.ndarray, "m e"]:
        """Corners of a cube."""
        return 2.0 * digits - 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class LongCode:
    """A code of items in R^d that stores digits of an embedding of them.

    Attributes:
        embed: pure, hashable function (parameters, items (N, d)) -> embeddings (N, e).
        parameters: PyTree of arrays it is given.
        digits: how embeddings are stored.
        width: coordinates of the points that a decoder is given, padded with zeros; None for those
            that the digits give.
        precision: of what is stored about a point, shape (e,), where a decoder asks for it.

    """

    embed: Callable[[Any, Array], Array]
    parameters: Any
    digits: Any
    width: int | None = None
    precision: Any = None

    @on_host
    def store(self, key: Key[Array, ""], items: ArrayLike) -> Int[np.ndarray, "n s"]:
        """Store items of shape (N, d) as digits; the key goes unused."""
        del key
        points = validation.coordinates("items", items, ndim=2)
        points = item_points(points, points.shape[1])
        made = embedded_items(self.embed, self.parameters, points)
        return np.asarray(self.digits.digits(np.asarray(made)))

    def rows(self, digits: Int[np.ndarray, "m s"]) -> tuple[np.ndarray, ...]:
        """Decoded items, one in each row: points, and their precisions if there are any."""
        points = np.asarray(self.digits.points(digits), float)
        if self.width is not None:
            points = np.pad(points, ((0, 0), (0, self.width - points.shape[1])))
        if self.precision is None:
            return (points,)
        return points, np.broadcast_to(np.asarray(self.precision), points.shape)
