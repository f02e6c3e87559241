"""Retrieval sandwich: outer and inner bounds for each source, the gap per letter, single letters."""

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rdsim.plotting import style

CAPTION = (
    "Bits per item of the stored description against reciprocal-rank loss. Thin lines: every "
    "system needs at least so many bits, by the rank-distortion function (C4), for Gaussian items also by half-spaces (C27; dotted: C4 alone), for one letter "
    "also by C26. Thick lines: achieved by one test channel for every item, exact, "
    "time-shared (joint encoders need fewer bits). Last panels: the gap per letter of the binary "
    "source as blocks grow with the database, and self-consistent schemes for items of one "
    "letter."
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw one panel for each source, then the gap and the single letters."""
    figure, axes = style.panels(2, 3, width=style.DOUBLE, height=4.9)
    for axis, name in zip(axes[0], dataset.source.values, strict=True):
        for index, size in enumerate(dataset.log2_size.values):
            part = dataset.sel(source=name, log2_size=size)
            if name == "Gaussian":
                there = np.isfinite(part.outer) & (part.outer > part.rank_rate)
                axis.plot(
                    part.loss[there],
                    part.rank_rate[there],
                    **style.curve(index) | {"linestyle": ":"},
                    linewidth=0.8,
                )
            for bound, width in (("outer", 0.8), ("inner", 1.8)):
                positive = np.isfinite(part[bound]) & (part[bound] > 0)
                axis.plot(
                    part.loss[positive],
                    part[bound][positive],
                    **style.curve(index),
                    linewidth=width,
                )
        axis.set_yscale("log", base=2)
        axis.yaxis.set_major_formatter("{x:g}")
        axis.set(xlim=(0, 1), ylim=(0.25, None), title=str(name), xlabel="loss 1 − MRR")
    axes[0, 0].set_ylabel("bits per item")
    _gap(axes[1, 0], dataset)
    _single(axes[1, 1], dataset)
    axes[1, 2].axis("off")
    sources = ", ".join(map(str, dataset.source.values))
    axes[1, 2].legend(handles=_handles(dataset), loc="center left", title=f"n: {sources}")
    return figure


def _gap(axis: Axes, dataset: xarray.Dataset) -> None:
    axis.plot(dataset.block_length, dataset.gap_per_letter, color="#000000", marker="o")
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set(
        xlabel="letters in an item, n",
        ylabel="gap [bits per letter]",
        title=f"DSBS, (log₂ M)/n = {dataset.attrs['density']:g}",
        ylim=(0, None),
    )


def _single(axis: Axes, dataset: xarray.Dataset) -> None:
    grey = "#777777"
    axis.plot(dataset.single_loss, dataset.single_outer, color=grey, linestyle="-", linewidth=0.8)
    axis.plot(dataset.single_loss, dataset.single_inner, color=grey, linestyle="-", linewidth=1.8)
    axis.plot(
        dataset.fixed_loss.values.ravel(),
        dataset.fixed_bits.values.ravel(),
        linestyle="none",
        marker="D",
        markerfacecolor="none",
        color=style.COLORS[1],
    )
    size = dataset.attrs["single_log2_size"]
    axis.set(xlabel="loss 1 − MRR", title=f"DSBS, n = 1, M = 2$^{{{size}}}$", ylim=(0, 1.05))
    axis.set_ylabel("bits per item")


def _handles(dataset: xarray.Dataset) -> list[Line2D]:
    sizes = [
        Line2D(
            [],
            [],
            **style.curve(index),
            label=f"M = 2$^{{{size}}}$, n = "
            + ", ".join(f"{n:g}" for n in dataset.letters.sel(log2_size=size).values),
        )
        for index, size in enumerate(dataset.log2_size.values)
    ]
    grey = "#777777"
    return [
        *sizes,
        Line2D([], [], color=grey, linestyle="-", linewidth=0.8, label="outer bound"),
        Line2D([], [], color=grey, linestyle=":", linewidth=0.8, label="outer bound by C4 alone"),
        Line2D([], [], color=grey, linestyle="-", linewidth=1.8, label="inner bound, achieved"),
        Line2D(
            [],
            [],
            linestyle="none",
            marker="D",
            markerfacecolor="none",
            color=style.COLORS[1],
            label="self-consistent",
        ),
    ]
