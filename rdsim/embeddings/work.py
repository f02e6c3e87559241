"""Parts of long work: each is named, so that a caller can keep what is finished, and says how far it is."""

from collections.abc import Callable, Mapping
from typing import Any

Keep = Callable[[str, Callable[[], Mapping[str, Any]]], Mapping[str, Any]]
"""Takes the name of a part of the work and a function, returns the arrays of function()."""
Told = Callable[[str, int, int], None]
"""Is told the stage, and how much of how much of it is done."""


def now(name: str, function: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:  # noqa: ARG001
    """Compute a part of the work and remember nothing."""
    return function()


def untold(stage: str, done: int, total: int) -> None:
    """Show nothing."""
