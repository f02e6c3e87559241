"""Messages of the command: what prevents its work, and how much of the work is saved."""

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from rdsim import files


class CommandError(Exception):
    """What was asked for cannot be done: the command prints this one line and ends with code 2."""


_KEPT: Final[list[Callable[[], str]]] = []
"""Functions that say how much of the running work is saved, innermost last."""


@contextlib.contextmanager
def noting_what_is_kept(kept: Callable[[], str]) -> Iterator[None]:
    """Add a note of what is kept of the work to an interruption, or to the error of a failed write."""
    _KEPT.append(kept)
    try:
        yield
    except (KeyboardInterrupt, OSError) as error:
        error.add_note(kept())
        raise
    finally:
        _KEPT.pop()


def kept_now() -> list[str]:
    """Say what is kept of the work under way: for a process that ends without an exception."""
    return [kept() for kept in reversed(_KEPT)]


def writable(folder: Path, option: str) -> None:
    """Make a folder, unless there is one, and see that files can be written into it.

    Raises:
        CommandError: if they cannot; it names the option that gave the folder, and says why.

    """

    def write_nothing() -> None:
        with tempfile.TemporaryFile(dir=folder):
            pass

    try:
        files.in_folder(folder, write_nothing)
    except OSError as error:
        why = error.strerror or str(error)
        with contextlib.suppress(OSError):  # a folder above that may not be looked into
            for part in (folder, *folder.parents):
                if part.is_symlink() and not part.exists():
                    why = f"{part} is a symbolic link to {part.readlink()}, which does not exist"
                elif part.exists() and not part.is_dir():
                    why = "it is no folder" if part == folder else f"{part} is no folder"
        raise CommandError(f"{option}: files cannot be written into {folder}: {why}") from error


@contextlib.contextmanager
def needing(extra: str) -> Iterator[None]:
    """Import optional packages inside this context: where one is missing, say which extra brings it.

    Raises:
        CommandError: naming the package and the command that installs it.

    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("rdsim"):
            raise
        raise CommandError(
            f'this needs {error.name}, which is not installed: pip install "rdsim[{extra}]"'
        ) from error


def say(what: str | Table, *, error: bool = False) -> None:
    """Print a line as it is, or a table, to standard output or standard error."""
    if isinstance(what, Table):
        (Console() if sys.stdout.isatty() else Console(width=160)).print(what)
    else:
        Console(stderr=error).print(what, markup=False, highlight=False, soft_wrap=True)
