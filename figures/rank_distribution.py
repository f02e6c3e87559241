"""Rank distribution: losses against database size, exact lines and simulated points."""

import xarray
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Expected losses of the Bayes-optimal ranking on a random discrete source against the size "
    "of the database. Lines: exact, by the distribution of the rank. Points: simulated "
    "databases with their intervals."
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw one line and its simulated points for each loss."""
    figure, axes = style.panels(1, 1, width=style.SINGLE, height=2.9)
    axis = axes[0, 0]
    for index, name in enumerate(dataset.loss_name.values):
        part = dataset.sel(loss_name=name)
        color = style.COLORS[index]
        axis.plot(
            part.log2_size, part.loss, color=color, linestyle=style.LINES[index], label=str(name)
        )
        axis.errorbar(
            part.simulated_log2_size,
            part["mean"],
            yerr=style.bars(part["mean"], part.lower, part.upper),
            fmt=style.MARKERS[index],
            color=color,
            capsize=2,
        )
    axis.set(
        xlabel="database size log₂ M [bits]",
        ylabel="expected loss",
        ylim=(-0.02, 1.02),
        xlim=(0, float(dataset.log2_size.max())),
        title="lines exact, points simulated",
    )
    axis.legend(loc="lower right", handlelength=3)
    return figure
