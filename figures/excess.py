"""Excess of learned codes: against N, its distribution, failing conditions, and random sources."""

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Excess of a code learned from N samples. Top: mean against N beside (|A| - 1)/(2N), and "
    "the distribution of 2N excess at the largest N beside its limit. Bottom: means of 2N "
    "excess where a condition of the limit fails or nearly fails, and of random sources at N = "
    "1000 and where every margin of the support is wide. Bars are intervals that all hold at "
    "once with 99.99 %."
)
FAILING = ("tied letter", "nearly tied", "same letter twice")


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw the four panels."""
    figure, axes = style.panels(2, 2, width=style.DOUBLE, height=5.6)
    _means(axes[0, 0], dataset)
    _distributions(axes[0, 1], dataset)
    _failing(axes[1, 0], dataset)
    _random(axes[1, 1], dataset)
    return figure


def _means(axis: Axes, dataset: xarray.Dataset) -> None:
    for i, name in enumerate(("coin", "8 x 8")):
        part = dataset.sel(source=name)
        k = round(float((2 * part.samples * part.predicted).mean()))
        color, marker = style.COLORS[i], style.MARKERS[i]
        axis.plot(part.samples, part["mean"], marker, color=color, label=f"{name}, |A| = {k + 1}")
        axis.plot(part.samples, part.predicted, color=color, linestyle=style.LINES[i])
    axis.plot([], [], color="black", linestyle="-", label="(|A| − 1)/(2N)")
    axis.set(xscale="log", yscale="log", xlabel="samples N", ylabel="mean excess [nats]")
    axis.legend()


def _distributions(axis: Axes, dataset: xarray.Dataset) -> None:
    width = float(dataset.bin[1] - dataset.bin[0])
    edges = np.append(dataset.bin - width / 2, float(dataset.bin[-1]) + width / 2)
    for i, name in enumerate(("8 x 8", "tied letter")):
        part = dataset.sel(source=name)
        color = style.COLORS[i]
        # In grey the hatching, not the colour, distinguishes the second from the first.
        axis.stairs(
            part.histogram,
            edges,
            fill=True,
            facecolor=(color, 0.35 if i == 0 else 0.1),
            edgecolor=color,
            linewidth=0.3,
            hatch="/////" if i else None,
            label=f"{name}, measured",
        )
        label = "chi-square" if i == 0 else "half of each chi-square"
        axis.plot(part.bin, part.limit_density, color=color, linestyle=style.LINES[i], label=label)
    axis.set(
        xlim=(0, 15),
        ylim=(0, 0.4),
        xlabel="2N · excess [nats]",
        ylabel="density [1/nat]",
    )
    axis.legend()


def _failing(axis: Axes, dataset: xarray.Dataset) -> None:
    for i, name in enumerate(FAILING):
        part = dataset.sel(source=name)
        twice = 2 * part.samples
        color, marker = style.COLORS[i], style.MARKERS[i]
        middle = twice * part["mean"]
        error = style.bars(middle, twice * part.lower, twice * part.upper)
        axis.errorbar(
            part.samples, middle, error, color=color, marker=marker, linestyle="none", label=name
        )
        axis.axhline(
            float((twice * part.predicted).mean()),
            color=color,
            linestyle=style.LINES[i],
            linewidth=1.0,
        )
    axis.set(xscale="log", ylim=(0.8, 2.75), xlabel="samples N", ylabel="2N · mean excess [nats]")
    axis.legend(loc="upper left", ncols=2)


def _random(axis: Axes, dataset: xarray.Dataset) -> None:
    for i, stage in enumerate(dataset.stage.values):
        part = dataset.sel(stage=stage)
        error = style.bars(part.random_mean, part.random_lower, part.random_upper)
        axis.errorbar(
            dataset.random_degrees,
            part.random_mean,
            error,
            color=style.COLORS[1 - i],
            marker=style.MARKERS[i],
            markersize=7 if i == 0 else 4,
            markerfacecolor="none" if i == 0 else None,
            linestyle="none",
            linewidth=1.0,
            label=str(stage),
        )
    ends = np.array([0, float(dataset.random_degrees.max()) + 0.7])
    axis.plot(ends, ends, color="black", linewidth=0.8, linestyle=":", label="equal")
    axis.set(xlabel="|A| − 1, active letters minus one", ylabel="2N · mean excess [nats]")
    axis.legend()
