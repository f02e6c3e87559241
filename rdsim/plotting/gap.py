"""Draws codes for real embeddings under the rank converse; several studies share it."""

import textwrap

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdsim.plotting import gap_models, style

_TARGETS = (0.9, 0.95, 0.99)
_LOW = 0.3
"""Highest quality up to which it is drawn on a log axis."""
_MARKERS = (*style.MARKERS, "<", ">", "p", "h", "d", "8", "+", "x", "1")
"""One for each kind of code, so that they are told apart without colours; the star is one's own code."""
_LABEL = 28
"""Letters of a line in the legend: two columns of them are as wide as a panel. A name of one's own may be longer."""
_LOG_TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw MRR and recall@10 against bits per item, with intervals over queries; below, what was predicted, if it was."""
    predicted = "twin_by_size" in dataset
    rows = 2 if predicted else 1
    figure, axes = style.panels(rows, 2, width=style.DOUBLE, height=4.4 + 2.6 * (rows - 1))
    if predicted:
        gap_models.predictions(axes[1, 0], axes[1, 1], dataset)
    for axis, metric, name in zip(axes[0], ("mrr", "recall@10"), ("MRR", "recall@10"), strict=True):
        _panel(axis, dataset, metric)
        axis.set_ylabel(name)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return figure


def draw_one(dataset: xarray.Dataset, metric: str, name: str) -> Figure:
    """Draw one of these panels, as wide as a phone can show."""
    figure, axes = style.panels(1, 1, width=gap_models.WIDTH, height=5.6)
    _panel(axes[0, 0], dataset, metric)
    axes[0, 0].set_ylabel(name)
    figure.legend(loc="outside lower center", ncols=2, fontsize=7)
    return figure


def _panel(axis: Axes, dataset: xarray.Dataset, metric: str) -> None:
    """Draw one metric against the bits: what is proved, uncompressed quality, models, and every code with its intervals."""
    part = dataset.quality.sel(metric=metric)
    bits, values = dataset.bits.values, part.sel(end="value").values
    kinds, systems = dataset.kind.values, dataset.system.values
    codes = np.isin(kinds, ("code", "learned"))
    _bound(axis, dataset, metric)
    plain = float(values[int(dataset.attrs["reference"])])
    axis.axhline(plain, color="black", linestyle=":", linewidth=0.9, label="uncompressed")
    for place, share in enumerate(_TARGETS):
        axis.axhline(share * plain, color="#bbbbbb", linewidth=0.5)
        # Side by side, so that lines close to one another keep their names apart.
        axis.annotate(
            f"{share:.0%}",
            (1 - 0.09 * place, share * plain),
            ha="right",
            va="center",
            fontsize=6,
            color="#555555",
            xycoords=("axes fraction", "data"),
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        )
    front = _front(bits, values, codes)
    axis.plot(
        bits[front],
        values[front],
        color="#999999",
        linewidth=4,
        alpha=0.5,
        zorder=1,
        linestyle="-",
        label="best measured",
    )
    gap_models.twin_lines(axis, dataset, metric)
    # A colour and a marker for each code; open for its second reading or kind.
    families = list(dict.fromkeys(str(name).partition(", ")[0] for name in systems[codes]))
    for name in dict.fromkeys(map(str, systems[codes])):
        rows = np.flatnonzero(codes & (systems == name))
        index = families.index(name.partition(", ")[0])
        color = style.COLORS[index % len(style.COLORS)]
        second = "," in name and not name.endswith("float query")
        ends = (part.sel(end=end).values[rows] for end in ("lower", "upper"))
        axis.errorbar(
            bits[rows],
            values[rows],
            yerr=style.bars(values[rows], *ends),
            color=color,
            linestyle="none" if len(rows) < 2 else "--" if second else "-",
            marker=_MARKERS[index % len(_MARKERS)],
            markerfacecolor="white" if second else color,
            markersize=4,
            linewidth=0.9,
            elinewidth=0.5,
            label=name,
        )
    for row in np.flatnonzero(kinds == "yours"):
        axis.plot(
            bits[row],
            values[row],
            color="black",
            marker="*",
            markersize=12,
            linestyle="none",
            label=textwrap.fill(str(systems[row]), _LABEL),
        )
    axis.set_xscale("log", base=2)
    axis.set_xlim(left=2.0)
    ticks = 2 ** np.arange(
        min(1.0, np.floor(np.log2(bits.min()))), np.ceil(np.log2(bits.max())) + 1
    )
    axis.set_xticks(ticks, [f"{int(rate)}" for rate in ticks], rotation=45)
    axis.minorticks_off()
    axis.set(xlabel="bits stored per item", ylim=(0, 1.02))
    most, least = float(part.sel(end="upper").max()), float(values[codes].min(initial=1.0))
    if most < _LOW and least > 0:
        # Where everything is low, codes are told apart by their ratios.
        axis.set(yscale="log", ylim=(0.8 * least, 1.1))
        shown = [tick for tick in _LOG_TICKS if tick >= 0.8 * least]
        axis.set_yticks(shown, [f"{tick:g}" for tick in shown])
        axis.minorticks_off()


def _bound(axis: Axes, dataset: xarray.Dataset, metric: str) -> None:
    """Shade what no system reaches, and what no code of one codebook does."""
    quality = dataset.proved_quality.values
    for name, line, label in (
        ("codebook_proved_bits", (0, (4, 1)), "converse, one codebook (proved)"),
        ("proved_bits", "-", "converse, any system (proved)"),
    ):
        bits = dataset[name].sel(metric=metric).values
        if bits.any():
            # Below a bit the logarithm has no end; beyond the last, no system is excluded.
            shown = np.maximum(bits, 1.0)
            axis.fill_betweenx(quality, 1.0, shown, color="#000000", alpha=0.08, linewidth=0)
            axis.plot(shown, quality, color="black", linestyle=line, linewidth=1, label=label)


def _front(bits: np.ndarray, values: np.ndarray, codes: np.ndarray) -> list[int]:
    """Codes that no other of as few bits exceeds."""
    found: list[int] = []
    for row in sorted(np.flatnonzero(codes), key=lambda i: (bits[i], -values[i])):
        if not found or values[row] > values[found[-1]]:
            found.append(int(row))
    return found
