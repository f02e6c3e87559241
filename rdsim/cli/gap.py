"""The report of a user's own embeddings: reads files, measures codes, writes what it found."""

import contextlib
import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import jax
import xarray
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rdsim import files
from rdsim.cli.checkpoints import Checkpoints
from rdsim.cli.gap_output import rows
from rdsim.cli.messages import CommandError, writable
from rdsim.cli.provenance import ENGINE, data_hash, hash_files, library_files, versions
from rdsim.embeddings import (
    EmbeddingReport,
    RetrievalTask,
    measure_embeddings,
    read_own_code,
    read_targets,
    read_vectors,
    retrieval_task,
    with_models,
)
from rdsim.embeddings.report.words import NOTE
from rdsim.plotting import style
from rdsim.plotting.gap import draw

_PIECE: Final = 1 << 24
"""Bytes of a file that are hashed at a time."""
FILES: Final = ("gap.html", "gap.md", "gap.nc", "gap.csv", "gap.png", "gap.pdf")


@dataclass(frozen=True, kw_only=True)
class Request:
    """The arguments of the command `rdsim gap`.

    Attributes:
        queries: file of the queries.
        items: file of the items.
        targets: file of the targets, row i of the items for query i if None.
        fit: files of queries, items and targets to fit to, or None to hold out a part.
        own: files of own codes, decoded vectors and scores, or None.
        options: of `measure_embeddings`.

    """

    queries: str
    items: str
    targets: str | None
    fit: tuple[str, str, str | None] | None
    own: tuple[str, str | None, str | None] | None
    options: dict[str, Any]


def parse_bits(text: str, option: str = "bits") -> tuple[int, ...]:
    """Read a list such as 32,64,128, sorted, each once.

    Raises:
        CommandError: if it holds anything but positive integers.

    """
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise CommandError(f"{option} must be integers separated by commas, got {text!r}") from None
    if found[0] < 1:
        raise CommandError(f"{option} must be at least 1, got {text!r}")
    return tuple(found)


@contextlib.contextmanager
def _said() -> Iterator[None]:
    """Turn an error about files or options into one line of the command."""
    try:
        yield
    except (ValueError, TypeError, ImportError) as error:
        raise CommandError(str(error)) from error


def _task(
    files_of: tuple[str, str, str | None], progress: Callable[[str, int, int], None]
) -> RetrievalTask:
    queries, items, targets = files_of
    progress("reading queries", 0, 1)
    x = read_vectors(queries, "queries")
    progress("reading items", 0, 1)
    y = read_vectors(items, "items")
    found = None if targets is None else read_targets(targets, len(x))
    return retrieval_task(x, y, found, progress=progress)


def run(
    request: Request, output: Path, *, seed: int, models: bool = True
) -> tuple[EmbeddingReport, xarray.Dataset]:
    """Read, measure and write `FILES` into a folder.

    What is finished is kept in that folder, so that an interrupted run continues; a run that ends
    removes it.

    Raises:
        CommandError: if the files or what is in them, or the folder, cannot be used; it says why.

    """
    with _Shown() as shown:
        found, dataset, checkpoints = _measured(request, output, seed, models, shown.update)
    checkpoints.clear()
    return found, dataset


def _measured(
    request: Request,
    output: Path,
    seed: int,
    models: bool,
    progress: Callable[[str, int, int], None],
) -> tuple[EmbeddingReport, xarray.Dataset, Checkpoints]:
    """Do all of `run` but remove what an interrupted run would continue from."""
    with _said():
        task = _task((request.queries, request.items, request.targets), progress)
        fit = None if request.fit is None else _task(request.fit, progress)
        own = None
        if request.own is not None:
            codes, decoded, scores = request.own
            progress("reading codes", 0, 1)
            own = read_own_code(
                codes, len(task.items), decoded=decoded, scores=scores, progress=progress
            )
    writable(output, "--output")
    if folders := [name for name in FILES if (output / name).is_dir()]:
        raise CommandError(
            f"--output: {output / folders[0]} must be no folder: a file is written there"
        )
    asked = asdict(request)
    named = [request.queries, request.items, request.targets]
    named += [*(request.fit or ()), *(request.own or ())]
    checkpoints = Checkpoints(
        "gap",
        output / ".checkpoints",
        {
            "seed": seed,
            "models": models,
            "request": json.loads(json.dumps(asked)),
            "data": [_file_hash(path, progress) for path in named if path is not None],
            "code": hash_files([Path(__file__), *library_files()]),
            "versions": versions(),
        },
    )
    checkpoints.writable("--output")
    with checkpoints.noting_what_is_kept(), _said():
        found = measure_embeddings(
            jax.random.key(seed),
            task,
            fit=fit,
            own=own,
            checkpoint=checkpoints,
            progress=progress,
            **request.options,
        )
        if models:
            found = with_models(
                jax.random.key(seed), found, checkpoint=checkpoints, progress=progress
            )
        progress("writing the report", 0, 1)
        dataset = found.to_xarray().assign_attrs(
            title="Codes for given embeddings beside their limits",
            claims="C4, C27, C28, C29" if models else "C4",
            note=NOTE,
            seed=seed,
            request_json=json.dumps(asked, sort_keys=True),
            versions_json=json.dumps(versions(), sort_keys=True),
        )
        dataset.attrs["data_hash"] = data_hash(dataset)
        save(found, dataset, output)
    return found, dataset, checkpoints


def _file_hash(path: str, progress: Callable[[str, int, int], None]) -> str:
    """Hash a file, or every file of a folder, a piece at a time."""
    place = Path(path) if Path(path).exists() else Path(path.partition(":")[0])
    digest, done = hashlib.sha256(), 0
    read = sorted(place.iterdir()) if place.is_dir() else [place]
    size = sum(file.stat().st_size for file in read)
    for file in read:
        one = hashlib.sha256()
        with file.open("rb") as stream:
            while piece := stream.read(_PIECE):
                one.update(piece)
                done += len(piece)
                # In MiB, begun ones included.
                progress(f"hashing {place.name}, MiB", -(-done >> 20), -(-size >> 20))
        digest.update(one.digest())
    return digest.hexdigest()


class _Shown:
    """Progress of the stage under way, on standard error."""

    def __init__(self) -> None:
        """Begin with no stage."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        console = Console(stderr=True)
        self._progress = Progress(*columns, TimeElapsedColumn(), console=console, transient=True)
        self._stages: dict[str, Any] = {}

    def __enter__(self) -> "_Shown":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, stage: str, done: int, total: int) -> None:
        """Show how far a stage is; those that are finished go."""
        for other, number in list(self._stages.items()):
            if other != stage:
                self._progress.remove_task(number)
                del self._stages[other]
        if stage not in self._stages:
            self._stages[stage] = self._progress.add_task(escape(stage), total=total)
        self._progress.update(self._stages[stage], completed=done, total=total)


def save(found: EmbeddingReport, dataset: xarray.Dataset, output: Path) -> None:
    """Write the report as a page, Markdown, NetCDF, CSV, PNG and PDF."""
    output.mkdir(parents=True, exist_ok=True)
    files.write(output / "gap.nc", bytes(dataset.to_netcdf(engine=ENGINE)))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows(found))
    files.write(output / "gap.csv", text.getvalue().encode())
    files.write(output / "gap.md", found.report().encode())
    files.write(output / "gap.html", found.page().encode())
    with style.applied():
        metadata = {
            "Claims": str(dataset.attrs["claims"]),
            "Study": "gap",
            "Data": str(dataset.attrs["data_hash"]),
        }
        style.save(draw(dataset), output / "gap", metadata)


def options(
    *,
    bits: str | None,
    learned: str | None,
    systems: str | None,
    **others: Any,
) -> dict[str, Any]:
    """Read the lists among the options of the command."""
    names: Sequence[str] | None = None
    if systems is not None and systems != "usual":
        names = [name.strip() for name in systems.split(";" if ";" in systems else ",")]
    return {
        "bits": None if bits is None else parse_bits(bits),
        "learned": () if learned is None else parse_bits(learned, "learned"),
        "systems": names,
        **others,
    }
