"""Cost of an expected loss: exactly, at one cost for all sizes, and by simulation."""

import xarray
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Left: operations for the expected error at one database size, by the rank distribution, "
    "and for one simulated database. Middle: seconds, measured on the machine at hand. Right: "
    "both give the same error; points with their intervals."
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw operations, seconds and losses against log2 M."""
    figure, axes = style.panels(1, 3, width=style.DOUBLE, height=2.7)
    for axis, name, label in (
        (axes[0, 0], "operations", "operations"),
        (axes[0, 1], "seconds", "time [s]"),
    ):
        axis.plot(dataset.log2_size, dataset[f"rank_distribution_{name}"], color=style.COLORS[0])
        axis.plot(
            dataset.simulated_log2_size,
            dataset[f"direct_{name}"],
            **style.curve(1),
            marker=style.MARKERS[1],
        )
        axis.set(yscale="log", ylabel=label)
    error = axes[0, 2]
    error.plot(
        dataset.log2_size,
        dataset.rank_distribution_error,
        color=style.COLORS[0],
        label="rank distribution",
    )
    mean = dataset.direct_error
    error.errorbar(
        dataset.simulated_log2_size,
        mean,
        yerr=style.bars(mean, dataset.direct_lower, dataset.direct_upper),
        fmt=style.MARKERS[1],
        **style.curve(1),
        capsize=2,
        label="one simulated database (error: many)",
    )
    error.set(ylabel="error probability", ylim=(0, 1.02))
    for axis in axes[0]:
        axis.set_xlabel("log₂ M [bits]")
    figure.legend(loc="outside upper center", ncols=2, handlelength=3)
    return figure
