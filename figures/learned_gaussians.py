"""Learned codes of Gaussians: their certified informations, and their distance from the bottleneck."""

from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rdsim.plotting import style

CAPTION = (
    "Neural stochastic codes of Gaussian sources, each curve from one training. I(X;U) of the "
    "learned codes, between certified bounds narrower than the markers, below the closed form "
    "of the bottleneck (lines), which is exact for information, and the bits that they lack of it."
)
_NAMES = {"scalar": "scalar Gaussian", "vector": "vector Gaussian"}
_ALLOWED: dict[str, Any] = {"color": "#777777", "linestyle": ":", "linewidth": 1.2}


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw the information plane, and the distances."""
    figure, axes = style.panels(1, 2, width=style.DOUBLE, height=2.9)
    _informations(axes[0, 0], dataset)
    _distances(axes[0, 1], dataset)
    handles = [
        *(
            Line2D(
                [],
                [],
                label=f"{_NAMES[str(name)]}, learned and IB(R)",
                linestyle=style.LINES[index],
                **_look(index),
            )
            for index, name in enumerate(dataset.source.values)
        ),
        Line2D([], [], label=f"{dataset.within} bits", **_ALLOWED),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def _look(index: int) -> dict[str, Any]:
    return {"color": style.COLORS[index], "marker": style.MARKERS[index]}


def _informations(axis: Axes, dataset: xarray.Dataset) -> None:
    for index, name in enumerate(dataset.source.values):
        part = dataset.sel(source=name)
        axis.plot(part.curve_rate, part.curve, **style.curve(index))
        bar = style.bars(part.relevance, part.relevance_lower, part.relevance_upper)
        axis.errorbar(
            part.rate, part.relevance, yerr=np.maximum(bar, 0.0), linestyle="", **_look(index)
        )
    axis.set(xlabel="I(U;Y), bits per item", ylabel="I(X;U), bits", title="Information plane")
    axis.set_xlim(0, float(dataset.curve_rate.max()))
    axis.set_ylim(0, None)


def _distances(axis: Axes, dataset: xarray.Dataset) -> None:
    for index, name in enumerate(dataset.source.values):
        part = dataset.sel(source=name)
        axis.plot(part.rate, part.distance, linestyle="", **_look(index))
    axis.axhline(dataset.within, **_ALLOWED)
    axis.set(xlabel="I(U;Y), bits per item", ylabel="bits below IB(R)", title="Distance in bits")
    axis.set_yscale("log")
    axis.set_xlim(0, float(dataset.curve_rate.max()))
