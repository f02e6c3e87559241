"""The interface of a code for real vectors, and the items as such a code stores them."""

import dataclasses
import time
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float, Integer

from rdsim.embeddings.canonical import Canonical
from rdsim.embeddings.data.vectors import Vectors, first_copies
from rdsim.embeddings.progress import RowProgress, without_rows
from rdsim.embeddings.ranks import Stored
from rdsim.embeddings.spaces import Space

Reading = Callable[[np.ndarray], np.ndarray]
"""Takes query vectors as they are given to features whose inner products with items' are scores."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FittedCode:
    """A code that was fitted; vectors come as they are given, and codes are rows of small integers.

    Attributes:
        bits: stored per item, packed.
        encode: vectors (n, d) -> codes (n, w), an integer type.
        decode: codes (n, w) -> features (n, F), and what is added to scores (n,) or None.
        readings: query features, by a word that says how the query is kept; most codes have one
            reading, named "".

    """

    bits: int
    encode: Callable[[np.ndarray], np.ndarray]
    decode: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]
    readings: Mapping[str, Reading]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """The data that codes are fitted to.

    Attributes:
        seed: of what is drawn.
        space: in which most codes work.
        plain: vectors as given; None where queries and items have different dimensions.
        items: training items there, shape (n, e).
        raw: the same items as given, shape (n, d).
        variables: canonical variables of queries and items, and those of shared axes where there are any.

    """

    seed: int
    space: Space
    plain: Space | None
    items: Float[np.ndarray, "n e"]
    raw: Float[np.ndarray, "n d"]
    variables: tuple[Canonical, ...]


Maker = Callable[[Training, int], FittedCode | None]
"""Fits a code of so many bits; None where there is none of that size."""


def encoded(
    code: FittedCode, items: Vectors, progress: RowProgress = without_rows
) -> tuple[Stored, float]:
    """Encode all items, in blocks; return what is stored and the seconds that it took."""
    began, codes = time.perf_counter(), None
    for start, block in items.blocks(progress=progress):
        found = code.encode(block)
        if codes is None:
            codes = np.empty((len(items), found.shape[1]), found.dtype)
        codes[start : start + len(found)] = found
    assert codes is not None  # there are items
    seconds = time.perf_counter() - began
    return stored_codes(codes, code.decode), seconds


def stored_codes(
    codes: Integer[np.ndarray, "m w"],
    decode: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]],
) -> Stored:
    """Find the distinct codes among those of all items."""
    first, label, times = np.unique(
        first_copies(Vectors([codes])), return_inverse=True, return_counts=True
    )
    return Stored(
        features=lambda chosen: decode(codes[first[chosen]]),
        label=label.reshape(-1),
        multiplicity=times,
    )


def in_space(
    space: Space,
    bits: int,
    encode: Callable[[np.ndarray], np.ndarray],
    decode: Callable[[np.ndarray], np.ndarray],
) -> FittedCode:
    """Make a code of one that takes points of a space to codes, and codes back to points there."""

    def read(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        points = decode(codes)
        return points, space.bias(points)

    return FittedCode(
        bits=bits,
        encode=lambda raw: encode(space.items(raw)),
        decode=read,
        readings={"": space.queries},
    )
