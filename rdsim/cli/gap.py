"""The report of a user's own embeddings: reads two files, measures the gap, writes what it found."""

import csv
import hashlib
import io
import json
import math
from pathlib import Path
from typing import Any, Final

import jax
import numpy as np
import xarray
from rich.markup import escape
from rich.table import Table

from rdsim import files
from rdsim.cli.cells import Cells
from rdsim.cli.messages import CommandError, writable
from rdsim.cli.provenance import ENGINE, data_hash, hash_files, library_files, versions
from rdsim.cli.tables import read_array
from rdsim.learning.embeddings.gap import MOST_BITS, Keep, embedding_gap, now
from rdsim.learning.embeddings.paired_embeddings import check_pairs, split_pairs
from rdsim.learning.training.schedule import Schedule
from rdsim.plotting import style
from rdsim.plotting.gap import draw

NOTE: Final = (
    "Intervals (95 %) are over queries, for this database and these fitted systems, one number at "
    "a time; ties count as their average. Hamming takes signs of the query too, which saves no bit of "
    "an item. No system of any kind passes the converse, which is one and says nothing from as many "
    "bits on as name an item. The estimated frontier rests on an estimated lower bound of I(X;Y): "
    "it is an estimate and no limit."
)
FILES: Final = ("gap.nc", "gap.csv", "gap.png", "gap.pdf")


def parse_bits(text: str) -> tuple[int, ...]:
    """Read a list such as 32,64,128, sorted, each once.

    Raises:
        CommandError: if it holds anything but integers in [1, 1024].

    """
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise CommandError(f"bits must be integers separated by commas, got {text!r}") from None
    if not 1 <= found[0] <= found[-1] <= MOST_BITS:
        raise CommandError(f"bits must lie in [1, {MOST_BITS}], got {text!r}")
    return tuple(found)


def measure(
    key: jax.Array,
    queries: Any,
    items: Any,
    bits: tuple[int, ...],
    *,
    held_out: float,
    steps: int,
    most_queries: int = 10_000,
    progress: bool = False,
    keep: Keep = now,
) -> xarray.Dataset:
    """Check and split the pairs, and measure the gap.

    What is finished goes through `keep`, as in `embedding_gap`.

    Raises:
        ValueError: if the pairs, or an option, are not as they should be.
        TypeError: if the embeddings are not numbers.

    """
    x, y = check_pairs(queries, items)
    split, fit = jax.random.split(key)
    pairs = split_pairs(split, x, y, held_out=held_out)
    gap = embedding_gap(
        fit,
        pairs,
        bits,
        cutoffs=tuple(k for k in (1, 10) if k < len(pairs.held_out_items)),
        most_queries=most_queries,
        schedule=Schedule(
            steps=steps,
            learning_rate=3e-3,
            weight_decay=1e-2,
            # At least so often, for an interruption waits for the next evaluation.
            evaluate_every=max(1, min(steps // 8, 250)),
        ),
        progress=progress,
        keep=keep,
    )
    return gap.to_xarray()


def run(
    queries: Path,
    items: Path,
    output: Path,
    *,
    bits: tuple[int, ...],
    seed: int,
    held_out: float,
    steps: int,
) -> xarray.Dataset:
    """Read, measure and write gap.nc, gap.csv, gap.png and gap.pdf into a folder.

    What is finished is kept in that folder, so that an interrupted run continues; a run that ends
    removes it.

    Raises:
        CommandError: if the files or what is in them, or the folder, cannot be used; it says why.

    """
    x, y = read_array(queries, "queries"), read_array(items, "items")
    try:
        x, y = check_pairs(x, y)
    except (ValueError, TypeError) as error:
        raise CommandError(str(error)) from error
    writable(output, "--output")
    if folders := [name for name in FILES if (output / name).is_dir()]:
        raise CommandError(
            f"--output: {output / folders[0]} must be no folder: a file is written there"
        )
    options = {"seed": seed, "held_out": held_out, "steps": steps}
    cells = Cells(
        "gap",
        output / ".cells",
        {
            **options,
            "bits": bits,
            "data": [hashlib.sha256(part.tobytes()).hexdigest() for part in (x, y)],
            "shapes": [x.shape, y.shape],
            "code": hash_files([Path(__file__), *library_files()]),
            "versions": versions(),
        },
    )
    cells.writable("--output")
    with cells.told():
        dataset = _report(x, y, bits, cells, queries, items, options)
        save(dataset, output)
    cells.clear()
    return dataset


def _report(
    x: np.ndarray,
    y: np.ndarray,
    bits: tuple[int, ...],
    cells: Cells,
    queries: Path,
    items: Path,
    options: dict[str, Any],
) -> xarray.Dataset:
    """Measure, and say in attributes where the numbers come from."""
    try:
        measured = measure(
            jax.random.key(options["seed"]),
            x,
            y,
            bits,
            held_out=options["held_out"],
            steps=options["steps"],
            progress=True,
            keep=cells,
        )
    except (ValueError, TypeError) as error:
        raise CommandError(str(error)) from error
    dataset = measured.assign_attrs(
        title="Codes for paired embeddings beside the rank converse",
        claims="C4",
        note=NOTE,
        queries_file=queries.name,
        items_file=items.name,
        queries_shape=json.dumps(x.shape),
        items_shape=json.dumps(y.shape),
        **options,
        versions_json=json.dumps(versions(), sort_keys=True),
    )
    dataset.attrs["data_hash"] = data_hash(dataset)
    return dataset


def save(dataset: xarray.Dataset, output: Path) -> None:
    """Write the report as NetCDF, CSV, PNG and PDF."""
    output.mkdir(parents=True, exist_ok=True)
    files.write(output / "gap.nc", bytes(dataset.to_netcdf(engine=ENGINE)))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header, *rows = _rows(dataset)
    writer.writerows([header, *rows])
    files.write(output / "gap.csv", text.getvalue().encode())
    with style.applied():
        metadata = {"Claims": "C4", "Study": "gap", "Data": str(dataset.attrs["data_hash"])}
        style.save(draw(dataset), output / "gap", metadata)


def _rows(dataset: xarray.Dataset) -> list[list[Any]]:
    """A header and a row for each system and rate, then for the bounds and the uncompressed."""
    metrics = ["mrr", *(f"recall@{k}" for k in dataset.cutoff.values)]
    header = ["system", "bits", *(f"{name}{end}" for name in metrics for end in _SUFFIXES)]
    rows: list[list[Any]] = [[*header, "code_bits"]]

    def numbers(mrr: xarray.DataArray, recall: xarray.DataArray) -> list[float]:
        return [*map(float, mrr.values), *map(float, recall.values.ravel())]

    for name in dataset.system.values:
        for rate in dataset.bits.values:
            part = dataset.sel(system=name, bits=rate)
            rows.append(
                [str(name), int(rate), *numbers(part.mrr, part.recall), float(part.code_bits)]
            )
    for rate in dataset.bits.values:
        part = dataset.sel(bits=rate)
        once = [part.mrr_converse, *part.recall_converse]
        repeated = [value for bound in once for value in (float(bound), "", "")]
        rows.append(["converse (proved)", int(rate), *repeated, ""])
        estimate = numbers(part.mrr_frontier, part.recall_frontier)
        rows.append(["estimated frontier", int(rate), *estimate, ""])
    plain = numbers(dataset.uncompressed_mrr, dataset.uncompressed_recall)
    rows.append(["uncompressed", "", *plain, ""])
    return rows


_SUFFIXES: Final = ("", "_lower", "_upper")


def table(dataset: xarray.Dataset) -> Table:
    """Return the report for people."""
    log2_size = math.log2(int(dataset.database))
    low, high = dataset.information.sel(end=["lower", "upper"]).values
    shown = Table(
        title=f"{int(dataset.queries)} queries, {int(dataset.database)} items "
        f"({log2_size:.2f} bits to name one), fitted to {int(dataset.fitted)} other pairs; "
        f"I(X;Y) at least about {float(dataset.information[0]):.2f} bits [{low:.2f}, {high:.2f}]; "
        f"compared {escape(str(dataset.attrs['space']))}",
        caption=NOTE,
    )
    shown.add_column("system")
    shown.add_column("bits", justify="right")
    for name in ("MRR", *(f"recall@{k}" for k in dataset.cutoff.values)):
        shown.add_column(name, justify="right")
    for name, rate, *numbers, _ in _rows(dataset)[1:]:
        triples = [numbers[i : i + 3] for i in range(0, len(numbers), 3)]
        shown.add_row(escape(str(name)), str(rate), *map(_shown, triples))
    return shown


def _shown(triple: list[Any]) -> str:
    value, low, high = triple
    if math.isnan(value):
        return "-"
    return f"{value:.4f}" if low == "" else f"{value:.4f} [{low:.4f}, {high:.4f}]"
