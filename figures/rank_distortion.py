"""Rank-distortion function: share of log2 M that a loss still needs, for four losses."""

import xarray
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Bits needed to rank a uniform target among M items within an expected loss, as a share of "
    "log2 M. Exact, with certificate, for databases of up to 2^1000 items."
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw one panel a loss, one curve a database size."""
    figure, axes = style.panels(1, dataset.sizes["loss_name"], width=style.DOUBLE, height=2.5)
    for axis, name in zip(axes[0], dataset.loss_name.values, strict=True):
        for size in dataset.log2_size.values:
            rate = dataset.rate.sel(loss_name=name, log2_size=size)
            axis.plot(dataset.loss, rate / float(size), label=f"M = 2$^{{{size}}}$")
        axis.set(xlim=(0, 1), ylim=(0, 1), title=str(name), xlabel="expected loss")
        axis.set_xticks([0, 0.5, 1])
    axes[0, 0].set_ylabel("R(D; M) / log₂ M")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    columns = min(len(labels), 5)
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, handlelength=3)
    return figure
