"""Families of learned codes: the rate-loss plane with the converse, and what each one costs to train."""

from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Families of learned codes on Gaussian pairs whose canonical correlations fall slowly, each storing an item "
    "in the same number of bits. Left: MRR in a database of fresh items, mean over seeds, with the widest "
    "interval of any seed (95 % each); black line: no code of so many bits per item under one encoder is above "
    "(C27). Middle: MRR at the most bits (filled) and of the same family untrained (open). Right: seconds of "
    "fitting, compilation included."
)

_MARKS = (*style.MARKERS, "<", ">", "*", "p", "h", "d", "8", "H", "4")


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw the plane, trained beside untrained, and the seconds."""
    names = [str(name) for name in dataset.family.values]
    height = 1.6 + 0.2 * len(names)
    figure = Figure(figsize=(style.DOUBLE, max(height, 3.2)), layout="constrained")
    grid = figure.add_gridspec(1, 3, width_ratios=[1.5, 1.2, 0.8])
    plane = figure.add_subplot(grid[0, 0])
    middle = figure.add_subplot(grid[0, 1])
    right = figure.add_subplot(grid[0, 2], sharey=middle)
    _plane(plane, dataset, names)
    most = dataset.isel(bits=-1)
    for row, name in enumerate(names):
        here, look = most.sel(family=name), _look(row)
        low, mean, high = (float(v) for v in (here.lower.min(), here.mrr.mean(), here.upper.max()))
        middle.errorbar(mean, row, xerr=[[mean - low], [high - mean]], elinewidth=0.6, **look)
        middle.plot(here.untrained_mrr.mean(), row, **{**look, "markerfacecolor": "white"})
        right.plot(here.seconds.mean(), row, **look)
    middle.set_yticks(range(len(names)), names)
    middle.set_ylim(len(names) - 0.5, -0.5)
    middle.set_xlim(left=0)
    middle.set(xlabel="MRR", title=f"{int(most.bits)} bits per item")
    right.set(xlabel="seconds", title="fitting")
    right.set_xlim(left=0)
    right.tick_params(labelleft=False)
    return figure


def _look(row: int) -> dict[str, Any]:
    colors = style.COLORS[:-1]
    color = colors[row % len(colors)]
    return {
        "color": color,
        "marker": _MARKS[row % len(_MARKS)],
        "linestyle": "none",
        "markersize": 5,
    }


def _plane(axis: Axes, dataset: xarray.Dataset, names: list[str]) -> None:
    axis.plot(dataset.bits, dataset.converse, color="#000000", linewidth=1.0)
    for row, name in enumerate(names):
        here = dataset.sel(family=name)
        mean = here.mrr.mean("seed")
        bars = np.stack([mean - here.lower.min("seed"), here.upper.max("seed") - mean])
        axis.errorbar(dataset.bits, mean, yerr=bars, elinewidth=0.6, **_look(row))
    axis.set_xscale("log", base=2)
    axis.set_xticks(dataset.bits.values, [str(b) for b in dataset.bits.values])
    axis.set_ylim(0, 1)
    axis.set(xlabel="bits per item", ylabel=f"MRR, M = 2$^{{{dataset.attrs['log2_size']}}}$")
