"""Redundancy of mismatched codebooks, and the minimax rate over a divergence ball."""

import numpy as np
import xarray
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Binary source under Hamming distortion. Left: bits above R(D) that a codebook designed for "
    "another source costs. Right: worst-case rate over a divergence ball of the best codebook "
    "and of the one designed for the centre."
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw the redundancies and the rates over the ball."""
    figure, axes = style.panels(1, 2, width=style.DOUBLE, height=2.9)
    left, right = axes[0]
    for index, design in enumerate(dataset.design.values):
        left.semilogy(
            dataset.distortion,
            # A cost of zero (both codebooks are one letter) cannot be drawn on this axis.
            np.where(
                dataset.redundancy.sel(design=design) > 1e-8,
                dataset.redundancy.sel(design=design),
                np.nan,
            ),
            **style.curve(index),
            label=f"P′(1) = {design:g}",
        )
    left.set(
        title=f"used at P(1) = {dataset.attrs['source']:g}",
        xlabel="distortion D",
        ylabel="R(P,q,D) − R(P,D) [bits]",
        ylim=(5e-3, 1.5),
    )
    left.legend(ncols=2, title="codebook made for")
    right.plot(
        dataset.radius,
        dataset.centre,
        color=style.COLORS[1],
        linestyle="--",
        label="codebook of the centre",
    )
    right.plot(dataset.radius, dataset.minimax, color=style.COLORS[0], label="minimax codebook")
    right.plot(
        dataset.radius,
        dataset.largest_rate,
        color="black",
        linestyle="none",
        marker="o",
        markerfacecolor="none",
        label="largest R(P,D) in the ball",
    )
    right.set(
        title=f"D = {dataset.attrs['minimax_distortion']:g}",
        xlabel="radius of the ball δ [bits]",
        ylabel="worst-case rate [bits]",
    )
    right.legend(loc="upper left")
    right.set_ylim(top=1.25 * float(dataset.centre.max()))
    return figure
