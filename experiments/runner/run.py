"""Runs the studies whose results are not fresh, and shows their progress on stderr."""

import contextlib
import dataclasses
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import xarray
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from experiments.runner import programs
from experiments.runner.discovery import Preset, Study
from experiments.runner.store import Recipe, State, save, state
from rdsim import compilation
from rdsim.cli import interrupt
from rdsim.cli.checkpoints import Checkpoints
from rdsim.cli.messages import CommandError


def compute(
    study: Study,
    preset: Preset,
    seed: int,
    results: Path,
    *,
    force: bool = False,
    live: bool = True,
    before: State | None = None,
) -> tuple[State, xarray.Dataset]:
    """Return the state that was found and the result, which is computed if that state is not fresh.

    Args:
        study: the study.
        preset: which of its configurations.
        seed: seed of the PRNG key.
        results: folder of the results.
        force: compute the result although it is fresh.
        live: show the part at work if stderr is a terminal.
        before: the state that was found; it is looked up if None.

    """
    recipe = Recipe.of(study, preset, seed)
    before = state(recipe, results) if before is None else before
    if before.kind == "fresh" and before.dataset is not None and not force:
        return before, before.dataset
    programs.compile_quickly(preset)
    import jax  # imported here, so that a fresh result is returned without it

    import rdsim  # noqa: F401  (switches float64 on before any study computes)

    programs.share_contexts()

    with _progress(f"{study.name} ({preset})", live) as report:
        checkpoints = Checkpoints(
            study.name, results / preset / ".checkpoints", recipe.attributes(), report
        )
        if force:
            checkpoints.clear()
        checkpoints.writable("--results")
        dataset = study.module().run(study.config(preset), jax.random.key(seed), checkpoints)
        stored = save(dataset, recipe, results)
    checkpoints.clear()
    programs.forget_if_many()
    compilation.exchange()
    return before, stored


def _start_worker() -> None:
    """Prepare a process that computes studies for another one."""
    interrupt.die_silently()
    compilation.keep_compiled_programs()


def compute_all(
    studies: Sequence[Study], preset: Preset, seed: int, results: Path, jobs: int
) -> Iterator[tuple[State, xarray.Dataset] | CommandError]:
    """Yield what `compute` returns for each study, in their order, computed by `jobs` processes.

    For a study that cannot run on this machine, for lack of a font for example, its error is yielded.
    """
    known = [state(Recipe.of(study, preset, seed), results) for study in studies]
    waiting = sum(before.kind != "fresh" for before in known)
    if min(jobs, waiting) < 2:
        for study, before in zip(studies, known, strict=True):
            try:
                found = compute(study, preset, seed, results, before=before)
            except CommandError as error:
                yield error
            else:
                yield found
        return
    # LAPACK's threads of two processes spin against one another (see the Makefile).
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")  # a process that runs JAX cannot be forked
    with ProcessPoolExecutor(jobs, context, _start_worker) as pool:
        computed = [
            pool.submit(_compute_apart, study, preset, seed, results)
            for study, before in zip(studies, known, strict=True)
            if before.kind != "fresh"
        ]
        remaining = iter(computed)
        try:
            for study, before in zip(studies, known, strict=True):
                if before.kind == "fresh":
                    yield compute(study, preset, seed, results, before=before)
                    continue
                try:
                    yield next(remaining).result()
                except CommandError as error:
                    yield error
        except BrokenProcessPool as error:
            raise CommandError(
                "a process that computed a study was killed, perhaps for lack of memory: fewer --jobs "
                "need less; what was finished is kept; the same command continues where it stopped"
            ) from error
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | GeneratorExit):
                interrupt.end_children()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _compute_apart(
    study: Study, preset: Preset, seed: int, results: Path
) -> tuple[State, xarray.Dataset]:
    before, dataset = compute(study, preset, seed, results, live=False)
    return dataclasses.replace(before, dataset=None), dataset


@contextlib.contextmanager
def _progress(label: str, live: bool) -> Iterator[Callable[[str, int], None]]:
    """Show the part at work if stderr is a terminal, else one line for every study."""
    console = Console(stderr=True)
    if not live or not console.is_terminal:
        console.print(f"running {label}", highlight=False, soft_wrap=True)
        yield lambda _name, _number: None
        return
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(label, total=None)
        yield lambda name, number: progress.update(
            task, description=f"{label}  part {number}: {name}"
        )
