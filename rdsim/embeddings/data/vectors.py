"""Vectors that are read when they are asked for, a block of rows at a time.

A million vectors of 768 coordinates are 3 GB: they stay on disk, and what is computed from them passes
through memory in blocks. Floats of 32 bits and fewer, and integers of 8 and 16 bits, are read as float32,
which holds them exactly; everything else is read as float64.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Int

from rdsim import number_types, validation
from rdsim.embeddings.progress import (
    Progress,
    RowProgress,
    of_stage,
    without_progress,
    without_rows,
)
from rdsim.number_types import ArrayLike

BLOCK_ENTRIES: Final = 1 << 23
"""Numbers of a block of rows: 32 MiB of float32."""


class Vectors:
    """Rows of one length, from one source or from several that follow one another.

    A source is whatever has a shape and a type and gives rows for a slice and for rising integers: an
    array, a memory-mapped file, a dataset of HDF5.

    Attributes:
        shape: rows and coordinates.
        dtype: type in which the numbers are stored.

    """

    def __init__(self, sources: Sequence[Any], chosen: Int[np.ndarray, " n"] | None = None) -> None:
        """Join sources of one width; of their rows only those chosen are there, in that order."""
        self._sources = tuple(sources)
        self._ends = np.cumsum([len(source) for source in self._sources])
        self._chosen = chosen
        self.dtype = self._sources[0].dtype
        rows = int(self._ends[-1]) if chosen is None else len(chosen)
        self.shape = (rows, int(self._sources[0].shape[1]))

    def __len__(self) -> int:
        """Count the rows."""
        return self.shape[0]

    @property
    def chosen(self) -> Int[np.ndarray, " n"]:
        """Numbers of the rows in the sources."""
        return np.arange(len(self)) if self._chosen is None else self._chosen

    def take(self, chosen: Int[np.ndarray, " n"]) -> "Vectors":
        """Return the chosen rows, still unread."""
        inner = chosen if self._chosen is None else self._chosen[chosen]
        return Vectors(self._sources, inner)

    def rows(self, index: slice | Int[np.ndarray, " n"]) -> np.ndarray:
        """Read rows by a slice or by integers, in their order, as float32 or float64."""
        if isinstance(index, slice):
            index = np.arange(*index.indices(len(self)))
        index = np.asarray(index)
        places = index if self._chosen is None else self._chosen[index]
        found: np.ndarray = np.empty((len(places), self.shape[1]), working_type(self.dtype))
        part = np.searchsorted(self._ends, places, side="right")
        for number, source in enumerate(self._sources):
            here = np.flatnonzero(part == number)
            if here.size:
                start = self._ends[number] - len(source)
                found[here] = _read(source, places[here] - start)
        return found

    def blocks(
        self, entries: int = BLOCK_ENTRIES, *, progress: RowProgress = without_rows
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Read all rows in turn: the number of the first row of a block, and the block."""
        step = max(1, entries // self.shape[1])
        for start in range(0, len(self), step):
            yield start, self.rows(slice(start, start + step))
            progress(min(start + step, len(self)), len(self))


def evenly_spread(rows: int, most: int) -> Int[np.ndarray, " n"]:
    """Numbers of at most so many of the rows, evenly spread, so that no part of the data is left out."""
    return np.unique(np.linspace(0, rows - 1, min(rows, most)).astype(int))


def _read(source: Any, places: np.ndarray) -> Any:
    if places.size == places[-1] - places[0] + 1 and (np.diff(places) == 1).all():
        return source[int(places[0]) : int(places[-1]) + 1]
    if isinstance(source, np.ndarray):
        return source[places]
    # HDF5 takes rising integers without repeats.
    distinct, back = np.unique(places, return_inverse=True)
    return np.asarray(source[distinct])[back]


def working_type(dtype: Any) -> type:
    """Choose float32 for what it holds exactly, float64 for the rest."""
    small = number_types.is_integer(dtype) and np.dtype(dtype).itemsize <= 2
    return np.float32 if small or np.dtype(dtype).kind == "b" else number_types.working_type(dtype)


def as_vectors(
    name: str, value: Vectors | ArrayLike, *, progress: Progress = without_progress
) -> Vectors:
    """Check that a value holds vectors, one a row, all of them finite.

    Args:
        name: of the argument, for messages.
        value: an array of shape (N, d), or `Vectors`.
        progress: called as progress(stage, done, total) while they are read.

    Returns:
        The vectors, unread if they were.

    Raises:
        ValueError: if the shape is another, or an entry is not finite; the message names the row.
        TypeError: if they hold no real numbers.

    """
    if isinstance(value, Vectors):
        found = value
    else:
        array = np.asarray(validation.numbers(name, value))
        if array.ndim != 2 or 0 in array.shape:
            raise ValueError(
                f"{name} must have shape (rows, coordinates), one vector a row, got shape "
                f"{array.shape}"
            )
        found = Vectors([array])
    most = validation.LARGEST_COORDINATE
    for start, block in found.blocks(progress=of_stage(progress, f"checking {name}")):
        # NaN stays NaN, and what float32 cannot hold is no bound for it.
        limit = min(most, float(np.finfo(block.dtype).max))
        if not (fine := np.abs(block).max(axis=1) <= limit).all():
            row = int(np.argmin(fine))
            values = block[row].astype(float)
            wrong = float(values[np.argmax(~(np.abs(values) <= limit))])
            raise ValueError(
                f"{name} must be finite, at most {most:g} in size, got {wrong!r} in row {start + row}"
            )
    return found


def first_copies(vectors: Vectors, progress: RowProgress = without_rows) -> Int[np.ndarray, " n"]:
    """Find for each row the first row that equals it."""
    _, first, place = np.unique(_digests(vectors, progress), return_index=True, return_inverse=True)
    return np.asarray(first[place.reshape(-1)], np.int64)


def known_rows(
    vectors: Vectors, others: Vectors, progress: RowProgress = without_rows
) -> Bool[np.ndarray, " n"]:
    """Say of each row whether others have one that equals it."""
    return np.isin(_digests(vectors, progress), _digests(others, progress))


def _digests(vectors: Vectors, progress: RowProgress) -> np.ndarray:
    """Hash every row, 128 bits of its bytes, so that rows can be compared that are not in memory.

    Among 2^32 different rows two have one hash with a probability below 2^-64.
    """
    digests = np.empty(len(vectors), "V16")
    for start, block in vectors.blocks(progress=progress):
        # Zero and minus zero are equal and have different bytes.
        content = np.ascontiguousarray(block + block.dtype.type(0))
        width = content.dtype.itemsize * content.shape[1]
        if width <= 16:
            padded = np.zeros((len(content), 16), np.uint8)
            padded[:, :width] = content.view(np.uint8).reshape(len(content), width)
            digests[start : start + len(content)] = padded.view("V16").reshape(-1)
            continue
        for row, values in enumerate(content):
            digest = hashlib.blake2b(values, digest_size=16).digest()
            digests[start + row] = digest
    return digests
