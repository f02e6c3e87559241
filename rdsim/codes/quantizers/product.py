r"""Product quantization: blocks of coordinates, each with a small codebook of its own.

$$y' = A (y - c), \quad y' = (y'_1, \dots, y'_S), \quad
    j_s = \arg\min_j |y'_s - u_{sj}|^2,$$

so that $\prod_s W_s$ codewords need only $\sum_s W_s$ stored points. A is the identity, or a rotation onto
the principal axes of the training items, which are divided among the blocks. An item is stored as the digits
$j_1..j_S$; up to 2^16 codewords can be listed, with the digits as an index in mixed radix.

Every method raises a ValueError if points are not finite numbers of shape (N, d).

References:
    Jegou, Douze and Schmid (2011), IEEE Trans. PAMI 33(1).

"""

import math
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from rdsim.codes.assignment import assign
from rdsim.codes.distances import (
    nearest,
)
from rdsim.codes.item_code import (
    DeterministicCode,
    host_points,
    item_points,
)
from rdsim.number_types import ArrayLike
from rdsim.results import result
from rdsim.threads import side_by_side
from rdsim.transformations import on_host

MAX_LISTED: Final = 1 << 16
"""Most codewords that are listed."""
_STORED_AT_ONCE: Final = 1 << 13
"""Items that are rotated and quantized at a time, so that the work stays in the cache."""


@result
class ProductQuantizer(DeterministicCode):
    """A code that quantizes blocks of (rotated) coordinates by themselves.

    It is a `StoredCode`, and an `ItemCode` if it has at most 2^16 codewords.

    Attributes:
        codebooks: of each block, S arrays of shape (W_s, d_s) in the rotated coordinates.
        rotation: A, shape (d, d), orthogonal; its rows are the new axes.
        centre: c, shape (d,).
        distortion: mean squared error of the training items that were looked at.
        converged: of each block, whether no item changed its cell in the last iteration, so that it is
            a local optimum, shape (S,).
        iterations: of each block, those of the start that was kept, shape (S,).

    """

    codebooks: tuple[Float[Array, "w s"], ...]
    rotation: Float[Array, "d d"]
    centre: Float[Array, " d"]
    distortion: Float[Array, ""]
    converged: Bool[Array, " s"]
    iterations: Int[Array, " s"]

    @property
    def codewords(self) -> Float[Array, "k d"]:
        """Every combination of the blocks' codewords, shape (K, d), the last block fastest."""
        _ = self._size  # refuses a code of more codewords
        return _codewords(self)

    @property
    def _counts(self) -> tuple[int, ...]:
        return tuple(book.shape[0] for book in self.codebooks)

    @property
    def _size(self) -> int:
        """Number of codewords, which must be small enough to be listed."""
        if (number := math.prod(self._counts)) > MAX_LISTED:
            raise ValueError(
                f"a product quantizer of {number} codewords cannot list them, {MAX_LISTED} are the "
                "most: use store, query_features and item_features"
            )
        return number

    def _indices(self, items: ArrayLike) -> Int[Array, " n"]:
        points = item_points(items, self.centre.shape[0])
        _ = self._size  # refuses a code of more codewords, whose indices overflow
        return _encode(self, points)

    @on_host
    def store(self, key: Key[Array, ""], items: ArrayLike) -> Int[np.ndarray, "n s"]:
        """Number of the nearest codeword of each block, shape (N, S); the key goes unused."""
        del key
        points = host_points(items, len(self.centre))
        books = [np.asarray(book) for book in self.codebooks]
        ends = np.cumsum([book.shape[1] for book in books])[:-1]
        digits = np.empty((len(points), len(books)), np.int32)

        def store_block(first: int) -> None:
            block = slice(first, first + _STORED_AT_ONCE)
            parts = np.split(self._rotated(points[block]), ends, axis=1)
            for place, (part, book) in enumerate(zip(parts, books, strict=True)):
                digits[block, place] = assign(part, book)

        side_by_side(store_block, range(0, len(points), _STORED_AT_ONCE))
        return digits

    @on_host
    def query_features(self, queries: ArrayLike) -> Float[np.ndarray, "q f"]:
        """Rotated queries, kept as they are, and a one."""
        x = self._rotated(host_points(queries, len(self.centre), "queries"))
        return np.column_stack([x, np.ones(len(x))])

    @on_host
    def item_features(self, digits: Int[np.ndarray, "m s"]) -> Float[np.ndarray, "m f"]:
        """Codewords u, and half their squared length off: |x - u|^2 orders as |u|^2/2 - <x, u>."""
        chosen = [np.asarray(book)[digits[:, s]] for s, book in enumerate(self.codebooks)]
        u = np.concatenate(chosen, axis=1)
        return np.column_stack([u, -0.5 * (u**2).sum(axis=1)])

    def _rotated(self, points: np.ndarray) -> np.ndarray:
        return np.asarray((points - np.asarray(self.centre)) @ np.asarray(self.rotation).T)


def _blocks(code: ProductQuantizer, points: Float[Array, "n d"]) -> list[Float[Array, "n s"]]:
    ends = np.cumsum([book.shape[1] for book in code.codebooks])[:-1]
    return jnp.split((points - code.centre) @ code.rotation.T, ends, axis=1)


@jax.jit
def _codewords(code: ProductQuantizer) -> Float[Array, "k d"]:
    choice = jnp.unravel_index(jnp.arange(code._size), code._counts)
    parts = [book[place] for book, place in zip(code.codebooks, choice, strict=True)]
    return jnp.concatenate(parts, axis=1) @ code.rotation + code.centre


@jax.jit
def _encode(code: ProductQuantizer, items: Float[Array, "n d"]) -> Int[Array, " n"]:
    index = jnp.zeros(items.shape[0], jnp.int32)
    for part, book in zip(_blocks(code, items), code.codebooks, strict=True):
        index = index * book.shape[0] + nearest(part, book, jnp.zeros(book.shape[0]))
    return index
