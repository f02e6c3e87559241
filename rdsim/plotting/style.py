"""One look for every figure: sizes, colours that survive colour blindness and grey, fixed bytes."""

import contextlib
import hashlib
import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.rcsetup import cycler

from rdsim import files

SINGLE: Final = 3.4
"""Width of one column in inches."""
DOUBLE: Final = 7.0
"""Width of both columns in inches."""

COLORS: Final = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#000000")
"""Okabe and Ito's palette without its yellow, which white paper swallows."""
LINES: Final[tuple[Any, ...]] = (
    "-",
    "--",
    "-.",
    ":",
    (0, (5, 1, 1, 1, 1, 1)),
    (0, (8, 2)),
    (0, (3, 1)),
)
"""Line styles in step with the colours, so that curves differ in grey as well."""
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
"""Markers in step with the colours, for points that were measured rather than computed."""


def curve(index: int) -> dict[str, Any]:
    """Return colour and line style of the curve of a number."""
    return {"color": COLORS[index], "linestyle": LINES[index]}


def points(index: int) -> dict[str, Any]:
    """Return colour and marker of points without a line."""
    return {"color": COLORS[index], "marker": MARKERS[index], "linestyle": "none"}


def bars(value: Any, lower: Any, upper: Any) -> np.ndarray:
    """Return the lengths of error bars, as Matplotlib wants them, from the ends of an interval."""
    return np.stack([value - lower, upper - value])


STYLE: Final[dict[str, Any]] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 9,
    "axes.prop_cycle": cycler(color=COLORS) + cycler(linestyle=LINES),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "figure.dpi": 100,
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
    "mathtext.fontset": "dejavusans",
    "pdf.fonttype": 42,
    "savefig.bbox": None,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}

_FOOTER_INCHES: Final = 0.15
PNG_DPI: Final = 200
"""Pixels per inch of a PNG."""


@contextlib.contextmanager
def applied() -> Iterator[None]:
    """Draw in the house style inside this context, whatever the user's own settings are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)  # type: ignore[arg-type]
        yield


def panels(
    rows: int = 1, columns: int = 1, *, width: float = SINGLE, height: float | None = None
) -> tuple[Figure, np.ndarray]:
    """Make a figure and its axes, an array of shape (rows, columns).

    The width is in inches, SINGLE or DOUBLE; without a height, every panel is three wide by
    two and a half high.
    """
    height = rows * (width / columns) * 2.5 / 3 if height is None else height
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def skipped() -> Figure:
    """Make a figure that says why it is empty: the data of its study are not on this machine."""
    figure, axes = panels(1, 1, height=1.5)
    axes[0, 0].axis("off")
    axes[0, 0].text(0.5, 0.5, "skipped: the data are missing", ha="center", va="center")
    return figure


def rendered(figure: Figure, metadata: Mapping[str, str]) -> tuple[bytes, bytes]:
    """Return a figure as PNG and PDF, the same bytes for the same figure.

    The metadata (Claims, Study, Data, any more) goes into both files; the first three are also
    printed in a small grey line under the figure.
    """
    with applied(), _footer(figure, metadata):
        png = _rendered(figure, "png", {"Software": "rdsim", **metadata}, dpi=PNG_DPI)
        # The PDF keeps the places that the PNG found. (After "none" Matplotlib would still draw once more, for a
        # layout that no longer exists.)
        figure.set_layout_engine(None)
        facts = "; ".join(f"{key}: {value}" for key, value in metadata.items())
        info = {"Creator": "rdsim", "Producer": "rdsim", "Subject": facts, "CreationDate": None}
        pdf = _rendered(figure, "pdf", info)
    return _with_text(png, "PDF", digest(pdf)), pdf


def save(figure: Figure, stem: Path, metadata: Mapping[str, str]) -> None:
    """Write STEM.pdf and STEM.png."""
    png, pdf = rendered(figure, metadata)
    # The PNG carries the hashes that make a second run skip this figure, so it comes last.
    files.write(stem.with_name(f"{stem.name}.pdf"), pdf)
    files.write(stem.with_name(f"{stem.name}.png"), png)


def digest(content: bytes) -> str:
    """Hash of a file, by which a PNG knows the PDF beside it."""
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def _footer(figure: Figure, metadata: Mapping[str, str]) -> Iterator[None]:
    """Keep a strip free at the bottom and say there where the figure comes from."""
    share = _FOOTER_INCHES / figure.get_figheight()
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(rect=(0, share, 1, 1 - share))
    parts = (metadata.get("Claims"), metadata.get("Study"), metadata.get("Data", "")[:8])
    line = figure.text(
        0.995,
        0.1 * share,
        " · ".join(part for part in parts if part),
        ha="right",
        va="bottom",
        fontsize=6,
        color="#777777",
    )
    try:
        yield
    finally:
        line.remove()


def _with_text(png: bytes, key: str, text: str) -> bytes:
    """Add a text to a PNG, as the chunk after its header of 33 bytes."""
    body = b"tEXt" + f"{key}\0{text}".encode("latin-1")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:33] + chunk + png[33:]


def _rendered(
    figure: Figure, kind: str, metadata: Mapping[str, str | None], dpi: int | str = "figure"
) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=dict(metadata), dpi=dpi)
    return buffer.getvalue()
