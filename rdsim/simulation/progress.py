"""A progress bar for those who ask: how much is done, how fast, and the time left."""

import contextlib
from collections.abc import Callable, Iterator

import jax


@contextlib.contextmanager
def shown(
    wanted: bool, label: str, first: int, total: int, *, unit: str = "trials"
) -> Iterator[Callable[[int, int], None]]:
    """Yield a function of (units done, units expected); it draws on process 0 if wanted.

    The rate counts this run's units only, not those that a checkpoint brought.
    """
    if not wanted or jax.process_index() != 0:
        yield lambda _done, _expected: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """Units a second."""

        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:,.0f} {unit}/s")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=total, completed=first)
        yield lambda done, expected: progress.update(task, completed=done, total=expected)
