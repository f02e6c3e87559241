"""Runs a study, unless its result is fresh, and shows on stderr how far it is."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import xarray
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

import rdsim  # noqa: F401  (switches float64 on before any study computes)
from experiments._cells import Cells
from experiments._store import Recipe, State, save, state
from experiments._study import Preset, Study


def compute(
    study: Study, preset: Preset, seed: int, results: Path, *, force: bool = False
) -> tuple[State, xarray.Dataset]:
    """Return the state that was found and the result, computed if that state was not fresh."""
    recipe = Recipe.of(study, preset, seed)
    before = state(recipe, results)
    if before.kind == "fresh" and before.dataset is not None and not force:
        return before, before.dataset
    with _progress(f"{study.name} ({preset})") as report:
        cells = Cells(recipe, results, report)
        if force:
            cells.clear()
        dataset = study.module().run(study.config(preset), jax.random.key(seed), cells)
        stored = save(dataset, recipe, results)
    cells.clear()
    return before, stored


@contextlib.contextmanager
def _progress(label: str) -> Iterator[Callable[[str, int], None]]:
    """Show the cell at work where a person watches, else one line a study."""
    console = Console(stderr=True)
    if not console.is_terminal:
        console.print(f"running {label}", highlight=False, soft_wrap=True)
        yield lambda _name, _number: None
        return
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(label, total=None)
        yield lambda name, number: progress.update(
            task, description=f"{label}  cell {number}: {name}"
        )
