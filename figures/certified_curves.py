"""Certified R(D): curves above, proved gaps below, test channels of the Gaussian at the bottom."""

import numpy as np
import xarray
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Rate-distortion functions of three sources with the certified gap between upper and lower "
    "bound at every point, and test channels of the discretised Gaussian along its curve, letters joined "
    "in cells."
)
LABELS = ("Hamming distortion", "distortion", "squared error")


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw a curve and its gap for each source, then the test channels."""
    figure = Figure(figsize=(style.DOUBLE, 6.4), layout="constrained")
    upper, lower = np.ravel(np.asarray(figure.subfigures(2, 1, height_ratios=(1.25, 1))))
    axes = upper.subplots(2, 3, sharex="col", height_ratios=(2, 1))
    for column, name in enumerate(dataset.source.values):
        part = dataset.sel(source=name)
        curve, gap = axes[:, column]
        color = style.COLORS[column]
        curve.plot(part.distortion, part.rate, color=color, linestyle="-", marker=".", markersize=3)
        if column == 2:
            D = np.linspace(float(part.distortion.min()), 1, 200)
            curve.plot(D, -0.5 * np.log2(D), color="black", linestyle=":", label="½ log₂(1/D)")
            curve.legend()
        gap.semilogy(
            part.distortion, part.gap, color=color, linestyle="none", marker=".", markersize=3
        )
        gap.axhline(1e-9, color="black", linewidth=0.8, linestyle="--")
        gap.set(ylim=(1e-15, 1e-7), xlabel=f"{LABELS[column]} D")
        curve.set(title=str(name), ylim=(0, None))
    axes[0, 0].set_ylabel("R(D) [bits]")
    axes[1, 0].set_ylabel("gap [bits]")
    axes[1, 0].annotate(
        "tolerance",
        (0.02, 1e-9),
        xycoords=("axes fraction", "data"),
        xytext=(0, 2),
        textcoords="offset points",
        fontsize=7,
    )
    maps = np.atleast_1d(lower.subplots(1, dataset.sizes["shown"], squeeze=False)[0])
    for axis, slope in zip(maps, dataset.shown.values, strict=True):
        part = dataset.sel(shown=slope)
        image = axis.pcolormesh(
            part.u,
            part.y,
            np.maximum(part.channel, 1e-6),
            norm=LogNorm(1e-4, 1.0),
            cmap="cividis",
            rasterized=True,
            shading="nearest",
        )
        axis.grid(visible=False)
        axis.set(
            title=f"slope {slope:g}: D = {float(part.shown_distortion):.3f}, R = {float(part.shown_rate):.2f} bits",
            xlabel="reproduction u",
        )
        axis.title.set_fontsize(8)
    maps[0].set_ylabel("source y")
    lower.colorbar(image, ax=list(maps), label="P(cell of u | cell of y)", extend="min")
    return figure
