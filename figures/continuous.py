"""Continuous sources: curves, proved gaps, reproduction points and derivatives of the solver."""

import numpy as np
import xarray
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "R(D) under squared error with reproductions anywhere in space, the gap proved at every "
    "point (one above its line stopped before the tolerance), the optimal reproduction points "
    "of two Gaussians (area: probability) as they split while the distortion falls, and "
    "derivatives through the solver against finite differences (those that are zero, where the "
    "rate is zero, are not drawn)."
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw curves and gaps above, reproduction points and derivatives below."""
    figure, axes = style.panels(2, 2, width=style.DOUBLE, height=5.6)
    (curves, gaps), (atoms, derivatives) = axes
    for index, name in enumerate(dataset.source.values):
        part = dataset.sel(source=name).dropna("point", subset=["rate"])
        look = {"color": style.COLORS[index], "marker": style.MARKERS[index]}
        curves.plot(part.distortion, part.rate, linestyle=style.LINES[index], label=name, **look)
        gaps.plot(part.distortion, np.maximum(part.gap, 1e-16), linestyle="none", **look)
        gaps.axhline(
            float(part.tolerance),
            color=look["color"],
            linewidth=0.8,
            linestyle=style.LINES[1] if index < 2 else style.LINES[3],
        )
    D = np.geomspace(float(dataset.distortion.sel(source="Gaussian").min()), 1, 200)
    curves.plot(D, -0.5 * np.log2(D), color="black", linestyle=":", label="½ log₂(1/D)")
    curves.set(xscale="log", ylabel="R(D) [bits]", xlabel="mean squared error D")
    curves.set_title("reproductions anywhere in space")
    curves.set_ylim(bottom=-0.05)
    curves.legend()
    gaps.set(
        xscale="log",
        yscale="log",
        ylabel="proved gap [bits]",
        xlabel="mean squared error D",
        title="proved gap; lines: tolerance asked for",
    )
    _atoms(atoms, dataset)
    _derivatives(derivatives, dataset)
    return figure


def _atoms(axis: object, dataset: xarray.Dataset) -> None:
    D = dataset.distortion.sel(source=dataset.source.values[1]).dropna("point").values
    weight = dataset.weight.values
    places = np.broadcast_to(D[:, None], weight.shape)
    used = weight > 1e-4
    axis.scatter(  # type: ignore[attr-defined]
        places[used],
        dataset.atom.values[used],
        s=60 * weight[used],
        color=style.COLORS[1],
        linewidths=0,
    )
    axis.set(  # type: ignore[attr-defined]
        xscale="log",
        xlabel="mean squared error D",
        ylabel="reproduction point",
        title=f"{dataset.source.values[1]}: area is probability",
    )


def _derivatives(axis: object, dataset: xarray.Dataset) -> None:
    for index, name in enumerate(dataset.quantity.values):
        exact = dataset.derivative.sel(quantity=name).values
        measured = dataset.difference.sel(quantity=name).values
        off = np.abs(exact - measured) / np.maximum(np.abs(measured), 0.1)
        smooth = dataset.smooth.values.astype(bool)
        shown = smooth & (np.abs(measured) > 1e-9)
        axis.plot(  # type: ignore[attr-defined]
            np.abs(measured[shown]),
            np.maximum(off[shown], 1e-16),
            **style.points(index),
            markersize=3,
            alpha=0.7,
            label=name,
        )
    axis.axhline(1e-6, color="black", linewidth=0.8, linestyle="--")  # type: ignore[attr-defined]
    axis.set(  # type: ignore[attr-defined]
        xscale="log",
        yscale="log",
        xlabel="size of the derivative",
        ylabel="relative difference",
        ylim=(1e-15, 1e-4),
        title="derivatives against finite differences",
    )
    axis.legend(loc="upper center", ncols=3, columnspacing=0.8, handletextpad=0.1)  # type: ignore[attr-defined]
