"""Results as JSON, and the tables made from them: in the terminal and in RESULTS.md."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import _machine
from benchmarks._rows import Row

FOLDER = Path(__file__).parent
RESULTS, TABLES = FOLDER / "results.json", FOLDER / "RESULTS.md"
COLUMNS = ("problem", "side", "time (fastest to slowest)", "compiling", "ratio", "result")
_HEAD = """# Speed, side by side

Written by `make bench` from `results.json`; not edited by hand. Sides of one problem ran in turns in
one process, the order reversed every other turn. Times are medians, compilation apart; a ratio is
over the first side of the problem, within a turn, with the least and the largest of the turns. A side
stopped at its time limit has a ratio of at least so much. Gaps of all sides are measured by one
certificate.
"""


def entry(title: str, rows: list[Row]) -> dict[str, Any]:
    """One benchmark as it is saved."""
    return {"title": title, "rows": [asdict(row) for row in rows]}


def read(path: Path = RESULTS) -> dict[str, Any]:
    """Read saved results: by device, the machine and its benchmarks; empty if there are none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write(results: dict[str, Any], folder: Path = FOLDER) -> None:
    """Write the results and the tables made from them."""
    text = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
    (folder / RESULTS.name).write_text(text, encoding="utf-8")
    (folder / TABLES.name).write_text(markdown(results), encoding="utf-8")


def markdown(results: dict[str, Any]) -> str:
    """Render all results as one page of tables."""
    parts = [_HEAD]
    for device, run in results.items():
        machine = run["machine"]
        versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
        parts.append(f"## {device.upper()}: {_machine.in_words(machine)}\n\n{versions}\n")
        for benchmark in run["benchmarks"].values():
            lines = [f"### {benchmark['title']}\n", _line(COLUMNS), _line(["---"] * len(COLUMNS))]
            lines += [_line(cells(row)) for row in benchmark["rows"]]
            parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def show(title: str, rows: list[Row], console: Console) -> None:
    """Print one benchmark as a table."""
    table = Table(*COLUMNS, title=title, title_justify="left")
    for row in rows:
        table.add_row(*cells(asdict(row)))
    console.print(table)


def cells(row: dict[str, Any]) -> list[str]:
    """The cells of one row, in words."""
    spread = ""
    if row["seconds"] is not None:
        spread = seconds(row["seconds"])
        if row["fastest"] != row["slowest"]:
            spread += f" ({seconds(row['fastest'])} to {seconds(row['slowest'])})"
    compiling = "" if row["compiling"] is None else seconds(row["compiling"])
    ratio = ""
    if row["ratio"] is not None and row["ratio_high"] is None:
        ratio = f"at least {row['ratio_low']:.3g}"
    elif row["ratio"] is not None:
        ratio = f"{row['ratio']:.3g}"
        if row["ratio_low"] != row["ratio_high"]:
            ratio += f" ({row['ratio_low']:.3g} to {row['ratio_high']:.3g})"
    return [row["problem"], row["side"], spread, compiling, ratio, row["result"]]


def seconds(value: float) -> str:
    """Three digits with a unit that suits."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if value * scale >= 1 or unit == "µs":
            return f"{value * scale:.3g} {unit}"
    raise AssertionError(value)


def _line(texts: list[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"
