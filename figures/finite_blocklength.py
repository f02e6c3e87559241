"""Finite block length: the least rate between converse and random coding, against n."""

import numpy as np
import xarray
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Rate at which n letters are kept within distortion D except with probability ε: no code "
    "lies below the converse, random codes reach the achievability, and the Gaussian "
    "approximation runs near both. The number of wrong bits is an integer, so that n D is "
    "rounded down: hence the teeth of the coins' bounds. At short blocks the random code of two "
    "sources is infeasible; no number is drawn there. Rates of the shortest random codes lie "
    "above the panels."
)
LABELS = {
    "achievability": "random coding (achievable)",
    "approximation": "Gaussian approximation",
    "converse": "converse",
}


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw one panel a source."""
    figure, axes = style.panels(2, 2, width=style.DOUBLE, height=4.8)
    n = dataset.block_length.values
    for axis, name in zip(axes.ravel(), dataset.source.values, strict=True):
        part = dataset.sel(source=name)
        for index, (curve, label) in enumerate(LABELS.items()):
            values = part[curve].values
            shown = np.isfinite(values)
            axis.plot(n[shown], values[shown], **style.curve(index), label=label)
        limit = float(part.rate_distortion)
        axis.axhline(limit, color="black", linewidth=1.0, linestyle=(0, (1, 1)), label="R(D)")
        # The shortest feasible random codes are so wasteful that they would flatten the panel.
        heights = part.achievability.values[np.isfinite(part.achievability.values)]
        top = limit + 1.6 * float(np.median(heights) - limit) + 0.4 * limit
        axis.set(
            xscale="log",
            xlabel="block length n",
            ylabel="rate [bits per letter]",
            title=str(part.setting.item()),
            ylim=(0.95 * limit, top),
        )
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4)
    return figure
