"""Learned retrieval codes: bits per item against loss, between outer and inner bound."""

import numpy as np
import xarray
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Codes of one letter of the DSBS (p = 0.1), trained on bits and exact reciprocal-rank loss "
    "for each database size. Lines: no code lies below the outer bound, not even with joint encoders (C26; thin grey, "
    "the rank converse, C4); the inner bound is the "
    "best single channel for every item, found within 0.001 bits (joint encoders need fewer "
    "bits); the bottleneck's own binary channel is a poor code for short items."
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw one panel for each database size, at most four of them."""
    count = dataset.sizes["log2_size"]
    chosen = np.unique(np.linspace(0, count - 1, min(count, 3)).round().astype(int))
    figure, axes = style.panels(1, chosen.size, width=style.DOUBLE, height=2.7)
    for axis, place in zip(axes[0], chosen, strict=True):
        part = dataset.isel(log2_size=place)
        axis.plot(
            part.line_loss, part.any_data, color="#999999", linewidth=0.8, label="rank converse"
        )
        curves = (
            ("outer bound", part.line_loss, part.outer),
            ("inner bound, searched", part.line_loss, part.inner),
            ("bottleneck's channel", part.bottleneck_loss, part.bottleneck_rate),
        )
        for k, (label, loss, rate) in enumerate(curves):
            axis.plot(loss, rate, **style.curve(k), label=label)
        axis.plot(
            part.learned_loss.values.ravel(),
            part.rate.values.ravel(),
            color="black",
            linestyle="none",
            marker="o",
            markersize=3.5,
            label="learned, own scores",
        )
        axis.set(
            title=f"M = 2$^{{{int(part.log2_size)}}}$",
            xlabel="reciprocal-rank loss",
            ylim=(0, 1.03),
        )
        axis.locator_params(axis="x", nbins=4)
        axis.ticklabel_format(axis="x", useOffset=False)
    axes[0, 0].set_ylabel("bits per item")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, handlelength=2.5)
    return figure
