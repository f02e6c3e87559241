"""How long work says how far it is."""

import functools
from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with a stage, how much of it is done, and how much there is."""
RowProgress = Callable[[int, int], None]
"""Progress of one stage: called with how many rows are done, and how many there are."""


def without_progress(stage: str, done: int, total: int) -> None:
    """Show nothing."""


def without_rows(done: int, total: int) -> None:
    """Show nothing of one stage."""


def of_stage(progress: Progress, stage: str) -> RowProgress:
    """Return what tells of one stage; it has begun."""
    progress(stage, 0, 1)
    return functools.partial(progress, stage)
