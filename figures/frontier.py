"""Frontier: bits per item against loss, converses as lines and random codes as points."""

from typing import Any, Final

import xarray
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rdsim.plotting import style

CAPTION = (
    "Bits per item against reciprocal-rank loss and error, for binary items of n letters. Lines: no codewords of fixed length "
    "have a smaller loss, by the exponent of sets of sequences (C27) or the rank rate of the information that the "
    "bits keep (C4), whichever is tighter. Thin dotted lines: the rank rate alone, which holds for every notion "
    "of rate. Marked lines: exact averages over random codes. Crosses: linear codes of 16 to 64 letters."
)
NAMES = {"reciprocal_rank": "reciprocal-rank loss 1 − MRR", "error": "error probability"}
CROSS: Final[dict[str, Any]] = {"marker": "x", "color": "black", "markersize": 4, "linestyle": ""}


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw one panel for each loss and database size."""
    rows, columns = dataset.sizes["loss_name"], dataset.sizes["log2_size"]
    figure, axes = style.panels(rows, columns, width=style.DOUBLE, height=2.4 * rows)
    for row, name in enumerate(dataset.loss_name.values):
        for column, size in enumerate(dataset.log2_size.values):
            axis = axes[row, column]
            part = dataset.sel(loss_name=name, log2_size=size)
            for index, n in enumerate(dataset.block_length.values):
                block = part.sel(block_length=n)
                color = style.COLORS[index % len(style.COLORS)]
                axis.plot(
                    block.converse,
                    block.bits,
                    color=color,
                    linestyle=style.LINES[index % len(style.LINES)],
                )
                axis.plot(block.rank_rate, block.bits, color=color, linestyle=":", linewidth=0.5)
                axis.plot(
                    block.code_loss,
                    block.bits,
                    color=color,
                    linestyle="-",
                    linewidth=0.6,
                    marker=style.MARKERS[index % len(style.MARKERS)],
                    markersize=3,
                    markevery=2,
                )
            if name == "error" and size in dataset.linear_size:
                linear = dataset.sel(linear_size=size)
                lost = 1 - linear.recall_linear
                axis.plot(lost, linear.linear_bits, **CROSS)
            axis.set_yscale("log", base=2)
            axis.set(xlim=(-0.02, 1.02), ylim=(1, 2 * float(dataset.bits.max())))
            axis.yaxis.set_major_formatter("{x:g}")
            if row == 0:
                axis.set_title(f"M = 2$^{{{size}}}$ items")
            if column == 0:
                axis.set_ylabel("bits per item")
            axis.set_xlabel(NAMES[str(name)])
    handles = []
    for index, n in enumerate(dataset.block_length.values):
        color = style.COLORS[index % len(style.COLORS)]
        line, marker = (
            style.LINES[index % len(style.LINES)],
            style.MARKERS[index % len(style.MARKERS)],
        )
        handles.append(Line2D([], [], color=color, linestyle=line, label=f"converse, n = {n}"))
        handles.append(
            Line2D(
                [],
                [],
                color=color,
                marker=marker,
                markersize=3,
                linewidth=0.6,
                linestyle="-",
                label=f"random codes, n = {n}",
            )
        )
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=min(4, max(len(handles) // 2, 1)),
        columnspacing=1.2,
        handlelength=1.8,
    )
    alone = Line2D([], [], color="gray", linestyle=":", linewidth=0.5, label="rank rate alone")
    crosses = Line2D([], [], label="linear codes", **CROSS)
    axes[-1, 0].legend(handles=[alone, crosses], loc="lower left", handlelength=1.2)
    return figure
