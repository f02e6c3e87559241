"""Files written whole or not at all: no reader ever sees half of one. And how long work saves its finished parts."""

import contextlib
import os
import secrets
from collections.abc import Callable, Mapping
from glob import escape
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

import numpy as np

_T = TypeVar("_T")
_TRIES: Final = 100
"""How often a folder is made again that another process removes at the same moment. A hundred losses in a row do not
happen by chance: then something else is wrong, and the error of the last try says what."""


def write(path: Path, content: bytes) -> None:
    """Write a file in one step; an interruption, kill -9 included, leaves the old file as it was.

    Several processes may write the same file: the last one wins. A symbolic link is followed, and the file that
    it names is written. Temporary files of earlier writes that were killed are removed.

    Args:
        path: of the file; missing folders are made.
        content: all of its bytes.

    Raises:
        OSError: if it cannot be written.

    """
    target = Path(os.path.realpath(path))
    temporary, descriptor = in_folder(target.parent, lambda: _created(target))
    try:
        _remove_abandoned(target)
        # Content first, name second: the bytes are on the disk before the rename, which is one step, puts the name on
        # them; so a loss of power leaves the old file or the whole new one.
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(target.parent)


def writable(path: Path) -> None:
    """Make sure, before any work, that a file can be written there, without touching it.

    Raises:
        OSError: naming the path and why it cannot be.

    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"{path} is a folder, a file is to be written there")
    try:
        temporary, descriptor = in_folder(target.parent, lambda: _created(target))
        os.close(descriptor)
        temporary.unlink()
    except OSError as error:
        raise type(error)(f"{path} cannot be written: {error.strerror or error}") from error


def in_folder(folder: Path, create: Callable[[], _T]) -> _T:
    """Make a folder unless there is one, create something in it, and return that.

    Another process may remove the empty folder at any moment, as a run does with its folder of checkpoints when it
    ends. Where that happens before something is created in it, both steps are done again.

    Args:
        folder: to create something in; folders above it are made too.
        create: creates it.

    Raises:
        OSError: if the folder cannot be made, or what `create` raises.

    """
    for _ in range(_TRIES - 1):
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            folder.mkdir(parents=True, exist_ok=True)
            return create()
    folder.mkdir(parents=True, exist_ok=True)
    return create()


def _created(target: Path) -> tuple[Path, int]:
    """Create a locked temporary file of its own beside the target."""
    while True:
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        locked(descriptor, wait=True)
        if os.fstat(descriptor).st_nlink:
            return temporary, descriptor
        os.close(descriptor)  # another process removed it before it was locked


def _remove_abandoned(target: Path) -> None:
    """Remove temporary files that nobody writes any more: a lock ends with its process."""
    for abandoned in target.parent.glob(f".{escape(target.name)}.*.tmp"):
        with contextlib.suppress(OSError), abandoned.open("rb") as file:
            if locked(file.fileno(), wait=False):
                abandoned.unlink()


def locked(descriptor: int, *, wait: bool) -> bool:
    """Lock an open file until it is closed, and say whether that was possible."""
    try:
        import fcntl  # not on every system; without it no temporary file is removed

        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (ImportError, OSError):
        return False
    return True


def _sync_folder(folder: Path) -> None:
    """Write the folder's entries to disk, so that a new name survives a loss of power."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # not every system opens folders
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@runtime_checkable
class Checkpoint(Protocol):
    """How long work calls its expensive parts, so that an interrupted run can continue."""

    def __call__(
        self, name: str, function: Callable[..., Mapping[str, Any]], /, *args: Any
    ) -> dict[str, np.ndarray]:
        """Return the named arrays of function(*args), computed now or read from an earlier run."""


def without_checkpoint(
    name: str,  # noqa: ARG001
    function: Callable[..., Mapping[str, Any]],
    /,
    *args: Any,
) -> dict[str, np.ndarray]:
    """Return function(*args) as NumPy arrays, and save nothing."""
    return {key: np.array(value) for key, value in function(*args).items()}
