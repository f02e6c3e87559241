"""Checkpoints: files of the finished parts of an unfinished run, from which the next run continues."""

import contextlib
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
from typing import Any

import numpy as np

from rdsim import files
from rdsim.cli.messages import noting_what_is_kept, writable
from rdsim.cli.provenance import CorruptError, sealed, unsealed


@dataclass
class Checkpoints:
    """A `files.Checkpoint` that saves what it computes, one file for each part.

    The folder's name holds a hash of all that decides the numbers, so that a run never continues from
    files of other data, other code, another configuration, seed or machine.

    Attributes:
        name: of what is being run.
        parent: folder of the folders of checkpoints.
        made_of: what decides the numbers, to be written as JSON.
        report: called with the name of each part and its number, before it is computed or read.

    """

    name: str
    parent: Path
    made_of: Mapping[str, Any]
    report: Callable[[str, int], None] = lambda _name, _number: None
    _seen: set[str] = field(default_factory=set)

    def __call__(
        self, name: str, function: Callable[..., Mapping[str, Any]], /, *args: Any
    ) -> dict[str, np.ndarray]:
        """Return the arrays of this part, from its file if an earlier run got so far."""
        if not re.fullmatch(r"[A-Za-z0-9_.=+,-]+", name):
            raise ValueError(f"a part is named by letters, digits and _.=+,- only, got {name!r}")
        if name.casefold() in self._seen:
            raise ValueError(f"the part name {name!r} is used twice in {self.name}")
        self._seen.add(name.casefold())
        self.report(name, len(self._seen))
        path = self.folder / f"{name}.npz"
        if (kept := _read(path)) is not None:
            return kept
        arrays = files.without_checkpoint(name, function, *args)
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        files.write(path, sealed(buffer.getvalue()))
        return arrays

    @cached_property
    def folder(self) -> Path:
        """Where the checkpoints of this run are saved."""
        text = json.dumps(self.made_of, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        return self.parent / f"{self.name}-{key}"

    def writable(self, option: str) -> None:
        """Check, before the work, that checkpoints can be saved; no folder is made for it.

        Raises:
            CommandError: if they cannot; it names the option and what is in the way.

        """
        folders = (self.folder, *self.folder.parents)
        writable(next(part for part in folders if part.exists() or part.is_symlink()), option)

    def clear(self) -> None:
        """Remove every checkpoint of this name, those of other data or code too."""
        for folder in self.parent.glob(f"{self.name}-*"):
            shutil.rmtree(folder)
        # The folder of all runs may hold checkpoints of others, or another run may have removed it.
        with contextlib.suppress(OSError):
            self.parent.rmdir()

    def noting_what_is_kept(self) -> AbstractContextManager[None]:
        """Add how much is saved to the error that ends the work early, an interruption or a full disk."""
        return noting_what_is_kept(self._kept)

    def _kept(self) -> str:
        count = sum(1 for _ in self.folder.glob("*.npz"))
        if not count:
            return "nothing was finished, so that nothing is kept"
        parts = "1 finished part is" if count == 1 else f"{count} finished parts are"
        return f"{parts} kept in {self.folder.as_posix()}; the same command continues from there"


def _read(path: Path) -> dict[str, np.ndarray] | None:
    """Return the arrays of a file, None where there are none that can be trusted."""
    try:
        content = unsealed(path.read_bytes())
    except (OSError, CorruptError):  # not yet computed, or damaged: it is computed again
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
