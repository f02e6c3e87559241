"""What `rdsim limit` shows: a table of numbers, and a curve with its certificate as a band."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from rdsim import files
from rdsim.cli.messages import CommandError, needing, say, writable


def with_bounds(found: Any, name: str) -> dict[str, Any]:
    """Return the columns of a certified limit: its value under the given name, and its bounds."""
    return {name: found.value, "lower bound": found.lower, "upper bound": found.upper}


def show_table(name: str, points: Sequence[float], columns: dict[str, Any]) -> None:
    """Print a table: the points under the given name, and the columns beside them."""
    found = Table(name, *columns, show_edge=False, pad_edge=False)
    for row in zip(points, *(np.atleast_1d(value) for value in columns.values()), strict=True):
        found.add_row(f"{row[0]:g}", *map(_cell, row[1:]))
    Console(soft_wrap=True).print(found)


def check_plot(path: Path, points: Sequence[float]) -> None:
    """Refuse, before any work, a figure that could not be drawn or written."""
    if path.suffix not in (".png", ".pdf") or path.is_dir():
        raise CommandError(f"--plot must name a .png or .pdf file, got {path}")
    if len(set(points)) < 2:
        raise CommandError("--plot needs two different points, between which it draws")
    with needing("studies"):
        import matplotlib  # noqa: F401
    writable(path.parent, "--plot")


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.9f}" if np.isfinite(value) else "out of reach"


def draw_curve(path: Path | None, points: Sequence[float], curve: Any, x: str, y: str) -> int:
    """Draw the curve between the least and the greatest point, with its certificate as a band."""
    if path is None:
        return 0
    from rdsim.plotting import style

    at = np.linspace(min(points), max(points), 97)
    with style.applied():
        figure, axes = style.panels()
        for name, found in curve(at).items():
            (line,) = axes[0, 0].plot(at, np.asarray(getattr(found, "value", found)), label=name)
            if hasattr(found, "lower"):
                ends, color = (np.asarray(found.lower), np.asarray(found.upper)), line.get_color()
                label = f"certificate, at most {np.max(ends[1] - ends[0]):.0e} wide"
                axes[0, 0].fill_between(at, *ends, color=color, alpha=0.3, linewidth=0, label=label)
        axes[0, 0].set(xlabel=x, ylabel=y)
        axes[0, 0].legend()
        drawn = io.BytesIO()
        figure.savefig(drawn, format=path.suffix[1:], dpi=200)
    files.write(path, drawn.getvalue())
    say(f"wrote {path}")
    return 0
