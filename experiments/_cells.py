"""Cells: the finished parts of an unfinished run, so that the next run continues it."""

import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from experiments._store import Recipe, write_file
from experiments._study import call


@dataclass
class Cells:
    """A cell function that keeps what it computes, one file a cell.

    The folder's name holds a hash of the whole recipe and of the software, so that a run never
    continues from cells of other code, another configuration, seed or machine.

    Attributes:
        recipe: what is being run.
        results: folder of all results.
        report: called with the name of each cell and its number, before it is computed or read.

    """

    recipe: Recipe
    results: Path
    report: Callable[[str, int], None] = lambda _name, _number: None
    _seen: set[str] = field(default_factory=set)

    def __call__(
        self, name: str, function: Callable[..., Mapping[str, Any]], /, *args: Any
    ) -> dict[str, np.ndarray]:
        """Return the arrays of this cell, from its file if an earlier run got so far."""
        if not re.fullmatch(r"[A-Za-z0-9_.=+,-]+", name):
            raise ValueError(f"a cell is named by letters, digits and _.=+,- only, got {name!r}")
        if name.casefold() in self._seen:
            raise ValueError(f"the cell name {name!r} is used twice in {self.recipe.study.name}")
        self._seen.add(name.casefold())
        self.report(name, len(self._seen))
        path = self.folder / f"{name}.cell"
        if (kept := _read(path)) is not None:
            return kept
        arrays = call(name, function, *args)
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        content = buffer.getvalue()
        write_file(path, _seal(content) + content)
        return arrays

    @cached_property
    def folder(self) -> Path:
        """Where the cells of this recipe are kept."""
        text = json.dumps(self.recipe.attributes(), sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        return self._parent / f"{self.recipe.study.name}-{key}"

    def clear(self) -> None:
        """Remove every cell of this study and preset, those of other recipes too."""
        for folder in self._parent.glob(f"{self.recipe.study.name}-*"):
            shutil.rmtree(folder)
        if self._parent.exists() and not any(self._parent.iterdir()):
            self._parent.rmdir()

    @property
    def _parent(self) -> Path:
        return self.results / self.recipe.preset / ".cells"


def _seal(content: bytes) -> bytes:
    """Hash of an archive, which stands before it: its own checksums leave out which arrays it has."""
    return hashlib.sha256(content).hexdigest().encode() + b"\n"


def _read(path: Path) -> dict[str, np.ndarray] | None:
    """Return the arrays of a cell, None where there are none that can be trusted."""
    try:
        seal, _, content = path.read_bytes().partition(b"\n")
    except OSError:  # not yet computed
        return None
    if seal + b"\n" != _seal(content):  # damaged: it is computed again
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
