"""How long work says how far it is."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with a stage, how much of it is done, and how much there is."""


def without_progress(stage: str, done: int, total: int) -> None:
    """Show nothing."""
