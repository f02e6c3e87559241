"""A progress bar on stderr: how much is done, how fast, and the time left."""

import contextlib
from collections.abc import Callable, Iterator

import jax


@contextlib.contextmanager
def shown(
    wanted: bool, label: str, first: int, total: int, *, unit: str = "trials"
) -> Iterator[Callable[[int, int], None]]:
    """Yield a function of (units done, units expected); it draws on process 0 if wanted.

    The rate counts this run's units only, not those that a checkpoint brought. An ImportError says what
    to install where the package rich is missing.
    """
    if not wanted or jax.process_index() != 0:
        yield lambda _done, _expected: None
        return
    try:
        from rich import progress as bars
        from rich.console import Console
        from rich.text import Text
    except ImportError as error:
        raise ImportError(
            "progress=True draws its bar with the package rich: pip install rich"
        ) from error

    class Rate(bars.ProgressColumn):
        """Units a second."""

        def render(self, task: bars.Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:,.0f} {unit}/s")

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        Rate(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total, completed=first)
        yield lambda done, expected: bar.update(task, completed=done, total=expected)
