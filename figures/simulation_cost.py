"""Cost of an expected loss: the rank law is flat in the size, simulation grows with it."""

import numpy as np
import xarray
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Left: operations for the expected error at one database size, by the rank law, and for one "
    "simulated database. Middle: seconds, measured on the machine at hand. Right: both give the "
    "same error; points with their intervals."
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw operations, seconds and losses against log2 M."""
    figure, axes = style.panels(1, 3, width=style.DOUBLE, height=2.7)
    for axis, name, label in (
        (axes[0, 0], "operations", "operations"),
        (axes[0, 1], "seconds", "time [s]"),
    ):
        axis.plot(dataset.log2_size, dataset[f"rank_law_{name}"], color=style.COLORS[0])
        axis.plot(
            dataset.simulated_log2_size,
            dataset[f"direct_{name}"],
            color=style.COLORS[1],
            linestyle=style.LINES[1],
            marker=style.MARKERS[1],
        )
        axis.set(yscale="log", ylabel=label)
    error = axes[0, 2]
    error.plot(dataset.log2_size, dataset.rank_law_error, color=style.COLORS[0], label="rank law")
    mean = dataset.direct_error
    error.errorbar(
        dataset.simulated_log2_size,
        mean,
        yerr=np.stack([mean - dataset.direct_lower, dataset.direct_upper - mean]),
        fmt=style.MARKERS[1],
        linestyle=style.LINES[1],
        color=style.COLORS[1],
        capsize=2,
        label="one simulated database (error: many)",
    )
    error.set(ylabel="error probability", ylim=(0, 1.02))
    for axis in axes[0]:
        axis.set_xlabel("log₂ M [bits]")
    figure.legend(loc="outside upper center", ncols=2, handlelength=3)
    return figure
