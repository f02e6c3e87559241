"""The report of a user's own embeddings: reads files, measures codes, writes what it found."""

import contextlib
import csv
import hashlib
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import jax
import numpy as np
import xarray
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from rdsim import files
from rdsim.cli.checkpoints import Checkpoints
from rdsim.cli.messages import CommandError, writable
from rdsim.cli.provenance import ENGINE, data_hash, hash_files, library_files, versions
from rdsim.embeddings import (
    METRICS,
    EmbeddingReport,
    RetrievalTask,
    measure_embeddings,
    read_own_code,
    read_targets,
    read_vectors,
    retrieval_task,
    with_models,
)
from rdsim.embeddings.report.rows import FRACTIONS
from rdsim.embeddings.report.words import NOTE, sentences, verdicts
from rdsim.plotting import style
from rdsim.plotting.gap import draw

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


def _task(queries: str, items: str, targets: str | None) -> RetrievalTask:
    x, y = read_vectors(queries, "queries"), read_vectors(items, "items")
    found = None if targets is None else read_targets(targets, len(x))
    return retrieval_task(x, y, found)


def run(
    request: Request, output: Path, *, seed: int, models: bool = True
) -> tuple[EmbeddingReport, xarray.Dataset]:
    """Read, measure and write `FILES` into a folder.

    What is finished is kept in that folder, so that an interrupted run continues; a run that ends
    removes it.

    Raises:
        CommandError: if the files or what is in them, or the folder, cannot be used; it says why.

    """
    with _said():
        task = _task(request.queries, request.items, request.targets)
        fit = None if request.fit is None else _task(*request.fit)
        own = None
        if request.own is not None:
            codes, decoded, scores = request.own
            own = read_own_code(codes, len(task.items), decoded=decoded, scores=scores)
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
            "data": [_file_hash(path) for path in named if path is not None],
            "code": hash_files([Path(__file__), *library_files()]),
            "versions": versions(),
        },
    )
    checkpoints.writable("--output")
    with checkpoints.noting_what_is_kept(), _said(), _Shown() as shown:
        found = measure_embeddings(
            jax.random.key(seed),
            task,
            fit=fit,
            own=own,
            checkpoint=checkpoints,
            progress=shown.update,
            **request.options,
        )
        if models:
            found = with_models(
                jax.random.key(seed), found, checkpoint=checkpoints, progress=shown.update
            )
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
    checkpoints.clear()
    return found, dataset


def _file_hash(path: str) -> str:
    """Hash a file, or every file of a folder, a piece at a time."""
    place = Path(path) if Path(path).exists() else Path(path.partition(":")[0])
    digest = hashlib.sha256()
    for file in sorted(place.iterdir()) if place.is_dir() else [place]:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
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
    csv.writer(text, lineterminator="\n").writerows(_rows(found))
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


_ENDS: Final = ("", "_lower", "_upper")


def _rows(found: EmbeddingReport) -> list[list[Any]]:
    """A header, a row for each line, and one for the converse at each number of bits."""
    header = [
        *("system", "kind", "space", "bits", "code_bits"),
        *(f"{metric}{end}" for metric in METRICS for end in _ENDS),
        *("kept", "kept_lower", "kept_upper", "train_seconds", "encode_seconds", "search_seconds"),
    ]
    rows: list[list[Any]] = [header]
    quality, kept = found.quality, found.kept
    for i, name in enumerate(found.lines):
        ends = np.stack([quality.value[i], quality.lower[i], quality.upper[i]], axis=1)
        rows.append(
            [
                *(name, found.kinds[i], found.spaces[i], int(found.bits[i])),
                *map(float, (found.code_bits[i], *ends.ravel())),
                *map(float, (kept.value[i, 0], kept.lower[i, 0], kept.upper[i, 0])),
                float(found.train_seconds[i]),
                float(found.encode_seconds[i]),
                float(found.search_seconds[i]),
            ]
        )
    for bits, bounds in zip(found.converse_bits, found.converse, strict=True):
        once = [cell for bound in bounds for cell in ("" if math.isnan(bound) else bound, "", "")]
        rows.append(["converse (proved)", "limit", "", int(bits), "", *once, *[""] * 6])
    return rows


def summary(found: EmbeddingReport) -> dict[str, Any]:
    """The report for programs: what `rdsim gap --json` prints."""
    header, *rows = _rows(found)
    shares = FRACTIONS
    lines = {share: found.line_for(share) for share in shares}
    return {
        "sentences": sentences(found),
        "queries": len(found.group),
        "database": found.database,
        "similarity": found.similarity,
        "space": found.chosen_space,
        "lines": [dict(zip(header, row, strict=True)) for row in rows],
        "pareto": [found.lines[i] + f" | {found.bits[i]}" for i in found.pareto()],
        "bits_for": {
            f"{share:.0%}": None
            if (line := lines[share]) is None
            else {"system": found.lines[line], "bits": int(found.bits[line])}
            for share in shares
        },
        "bits_by_proof": {f"{share:.0%}": found.bits_by_proof(share) for share in shares},
        "models": _models(found),
        "diagnostics": found.diagnostics,
    }


def _models(found: EmbeddingReport) -> dict[str, Any] | None:
    """Return the predictions of the models as variables of a dataset."""
    models = found.models
    if models is None:
        return None
    wanted = found.values("mrr")[found.reference]
    sizes = models.sizes
    return {
        "calibrated_to": found.lines[models.calibrated_to],
        "missing": models.missing,
        "verdicts": verdicts(found),
        "twins": {
            twin.name: {
                "assumes": twin.assumes,
                "calibration_error": twin.error,
                "bits": twin.bits.tolist(),
                "metrics": METRICS,
                "code": twin.code.tolist(),
                "converse_bits": twin.converse_bits.tolist(),
                "converse": twin.converse.tolist(),
                "bits_for": {f"{s:.0%}": twin.bits_for(s * wanted) for s in FRACTIONS},
                "more_bits_than": {
                    f"{s:.0%}": twin.bits_by_converse(s * wanted) for s in FRACTIONS
                },
                "refuted_by": [
                    f"{found.lines[i]} | {found.bits[i]}" for i in twin.refuted_by(found)
                ],
            }
            for twin in models.twins
        },
        "sizes": sizes
        and {
            "log2_size": sizes.log2_size.tolist(),
            "lines": [f"{found.lines[i]} | {found.bits[i]}" for i in sizes.line],
            "mrr": sizes.value.tolist(),
            "lower": sizes.lower.tolist(),
            "upper": sizes.upper.tolist(),
        },
    }


def as_json(found: EmbeddingReport) -> str:
    """Write the summary as JSON, of plain numbers; what is not known is null."""
    text = json.dumps(summary(found), default=float)
    return json.dumps(json.loads(text, parse_constant=lambda _: None), indent=2)


def table(found: EmbeddingReport) -> Table:
    """Return the report for people: every code by rising bits, the best of its bits marked."""
    shown = Table(
        title="\n".join(map(escape, sentences(found))),
        caption=NOTE,
        title_justify="left",
        caption_justify="left",
    )
    for name in ("system", "space"):
        shown.add_column(name)
    for name in ("bits", "MRR", *METRICS[1:], "kept", "train s"):
        shown.add_column(name, justify="right")
    front = set(found.pareto().tolist())
    order = np.lexsort((-found.values("mrr"), found.bits))
    for i in order:
        value, low, high = (getattr(found.quality, end)[i] for end in ("value", "lower", "upper"))
        shown.add_row(
            escape(found.lines[i]) + (" *" if i in front else ""),
            escape(found.spaces[i]),
            str(found.bits[i]),
            f"{value[0]:.3f} [{low[0]:.3f}, {high[0]:.3f}]",
            *(f"{metric:.3f}" for metric in value[1:]),
            f"{found.kept.value[i, 0]:.1%}",
            f"{found.train_seconds[i]:.1f}",
        )
    return shown


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
