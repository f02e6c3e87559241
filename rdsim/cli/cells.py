"""Cells: the finished parts of an unfinished run, so that the next run continues it."""

import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rdsim import files
from rdsim.cli.messages import told, writable
from rdsim.cli.provenance import CorruptError, sealed, unsealed


class Cell(Protocol):
    """How a study calls its expensive parts, so that an interrupted run can continue."""

    def __call__(
        self, name: str, function: Callable[..., Mapping[str, Any]], /, *args: Any
    ) -> dict[str, np.ndarray]:
        """Return the named arrays of function(*args), computed now or read from an earlier run."""


def call(
    name: str,  # noqa: ARG001
    function: Callable[..., Mapping[str, Any]],
    /,
    *args: Any,
) -> dict[str, np.ndarray]:
    """Return function(*args) as NumPy arrays: the cell of a run that remembers nothing."""
    return {key: np.array(value) for key, value in function(*args).items()}


@dataclass
class Cells:
    """A cell function that keeps what it computes, one file a cell.

    The folder's name holds a hash of all that the run is made of, so that a run never continues from
    cells of other data, other code, another configuration, seed or machine.

    Attributes:
        name: of what is being run.
        parent: folder of the folders of cells.
        made_of: what decides the numbers, to be written as JSON.
        report: called with the name of each cell and its number, before it is computed or read.

    """

    name: str
    parent: Path
    made_of: Mapping[str, Any]
    report: Callable[[str, int], None] = lambda _name, _number: None
    _seen: set[str] = field(default_factory=set)

    def __call__(
        self, name: str, function: Callable[..., Mapping[str, Any]], /, *args: Any
    ) -> dict[str, np.ndarray]:
        """Return the arrays of this cell, from its file if an earlier run got so far."""
        if not re.fullmatch(r"[A-Za-z0-9_.=+,-]+", name):
            raise ValueError(f"a cell is named by letters, digits and _.=+,- only, got {name!r}")
        if name.casefold() in self._seen:
            raise ValueError(f"the cell name {name!r} is used twice in {self.name}")
        self._seen.add(name.casefold())
        self.report(name, len(self._seen))
        path = self.folder / f"{name}.npz"
        if (kept := _read(path)) is not None:
            return kept
        arrays = call(name, function, *args)
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        files.write(path, sealed(buffer.getvalue()))
        return arrays

    @cached_property
    def folder(self) -> Path:
        """Where the cells of this run are kept."""
        text = json.dumps(self.made_of, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        return self.parent / f"{self.name}-{key}"

    def writable(self, option: str) -> None:
        """See, before the work, that cells can be kept; no folder is made for it.

        Raises:
            CommandError: if they cannot; it names the option and what is in the way.

        """
        folders = (self.folder, *self.folder.parents)
        writable(next(part for part in folders if part.exists() or part.is_symlink()), option)

    def clear(self) -> None:
        """Remove every cell of this name, those made of other things too."""
        for folder in self.parent.glob(f"{self.name}-*"):
            shutil.rmtree(folder)
        if self.parent.exists() and not any(self.parent.iterdir()):
            self.parent.rmdir()

    def told(self) -> AbstractContextManager[None]:
        """Let what ends the work early, an interruption or a full disk, say how much is kept."""
        return told(self._kept)

    def _kept(self) -> str:
        count = sum(1 for _ in self.folder.glob("*.npz"))
        if not count:
            return "nothing was finished, so that nothing is kept"
        parts = "1 finished part is" if count == 1 else f"{count} finished parts are"
        return f"{parts} kept in {self.folder.as_posix()}; the same command continues from there"


def _read(path: Path) -> dict[str, np.ndarray] | None:
    """Return the arrays of a cell, None where there are none that can be trusted."""
    try:
        content = unsealed(path.read_bytes())
    except (OSError, CorruptError):  # not yet computed, or damaged: it is computed again
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
