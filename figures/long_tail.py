"""Long tail: rate of Zipf priors and how far it lies above the converse by entropies."""

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Bits needed to rank a target with a Zipf prior within an expected loss. Left: exact rate "
    "(lines) and the converse H(p) - max H(q) where it is not met (dots); the marker is where the "
    "Gibbs law ceases to majorise the prior. Right: what the converse misses."
)
_LINES = tuple(line for line in style.LINES if line != ":")
_SMALLEST = 1e-3  # bits; below it the two cannot be told apart in the panels on the left


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw one row a loss for the largest number of items."""
    size = int(dataset["size"].values.max())
    losses = dataset.loss_name.values
    figure, axes = style.panels(len(losses), 2, width=style.DOUBLE, height=2.35 * len(losses))
    for row, name in zip(axes, losses, strict=True):
        for index, exponent in enumerate(dataset.exponent.values):
            part = dataset.sel(loss_name=name, size=size, exponent=exponent)
            _curve(row[0], row[1], part.sortby("distortion"), index, f"Zipf exponent {exponent:g}")
        row[0].set(xlim=(0, 1), ylim=(0, np.log2(size) * 1.02), ylabel="rate R(D) [bits]")
        row[0].set_title(f"{name}, M = {size:,} items")
        row[1].set(xlim=(0, 1), ylim=(_SMALLEST, 4), yscale="log")
        row[1].set(ylabel="excess [bits]", title=f"{name}: what the converse misses")
        for axis in row:
            axis.set_xlabel("expected loss D")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    (dots,) = axes[0, 0].plot([], [], color="black", linestyle=":")
    (end,) = axes[0, 0].plot([], [], color="black", linestyle="none", marker="s", fillstyle="none")
    handles += [dots, end]
    labels += ["converse, not met", "end of majorisation"]
    figure.legend(handles, labels, loc="outside upper center", ncols=3, handlelength=3)
    return figure


def _curve(
    rate_axis: Axes, excess_axis: Axes, part: xarray.Dataset, index: int, label: str
) -> None:
    color, line = style.COLORS[index], _LINES[index]
    D, rate, bound = part.distortion.values, part.rate.values, part.bound.values
    met = part.majorised.values > 0
    rate_axis.plot(D, rate, color=color, linestyle=line, label=label)
    rate_axis.plot(
        D, np.where(met | (bound < 0), np.nan, bound), color=color, linestyle=":", linewidth=1.0
    )
    if met.any() and not met.all():
        last = np.flatnonzero(met)[-1]
        rate_axis.plot(
            D[last],
            rate[last],
            color=color,
            marker=style.MARKERS[index],
            linestyle="none",
            fillstyle="none",
            markersize=6,
            clip_on=False,
        )
    positive = (bound > 0) & ~met
    excess_axis.plot(D, np.where(positive, rate - bound, np.nan), color=color, linestyle=line)
