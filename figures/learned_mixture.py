"""Learned codes of a mixture: MRR beside the best known codes, the distance, and temperatures."""

from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from rdsim.plotting import style

CAPTION = (
    "Neural stochastic codes of a Gaussian mixture in the plane with query modalities of "
    "unequal noise, the whole curve from one training. MRR of the learned codes under their own "
    "decoders, with intervals of 95 %, beside the best known codes at the same I(U;Y), "
    "time-shared, and the outer bound (C4, items stored whole, or one codebook of as many codewords, C27); the percentage points that they lack, one by one "
    "(markers) and time-shared (lines); and the learned temperatures' ratios beside the optimal "
    "ones, those of the noise."
)
_LEARNED: dict[str, Any] = {"color": style.COLORS[0], "marker": "o", "linestyle": ""}
_OUTER: dict[str, Any] = {"color": "#000000", "linestyle": "-", "linewidth": 1.0}
_KNOWN: dict[str, Any] = {"color": "#000000", "linestyle": "--", "linewidth": 1.0}
_OPTIMAL: dict[str, Any] = {"color": "#000000", "linestyle": ":", "linewidth": 1.2}
_ALLOWED: dict[str, Any] = {"color": "#777777", "linestyle": (0, (8, 2)), "linewidth": 1.0}


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw the MRR at the two smaller sizes, the distances at all, and the temperatures."""
    figure, axes = style.panels(2, 2, width=style.DOUBLE, height=5.4)
    for axis, size in zip(axes[0], dataset.log2_size.values, strict=False):
        _mrr(axis, dataset.sel(log2_size=size))
    if dataset.sizes["log2_size"] < 2:
        axes[0, 1].set_axis_off()
    _points(axes[1, 0], dataset)
    _temperatures(axes[1, 1], dataset)
    handles = [
        Line2D([], [], label="learned", **_LEARNED),
        Line2D([], [], label="outer bound", **_OUTER),
        Line2D([], [], label="best known codes", **_KNOWN),
        Patch(color="#eeeeee", label="between the two"),
        Line2D([], [], label="optimal temperatures", **_OPTIMAL),
        Line2D([], [], label=f"{100 * dataset.within:g} points", **_ALLOWED),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def _mrr(axis: Axes, part: xarray.Dataset) -> None:
    rates, known = part.curve_rate, 1 - part.best_known_curve
    outer = 1 - np.maximum(part.converse_curve, np.maximum(part.whole_lower, part.codebook))
    axis.fill_between(rates, known, outer, color="#eeeeee", linewidth=0)
    axis.plot(rates, outer, **_OUTER)
    axis.plot(rates, known, **_KNOWN)
    own = part.sel(decoder="learned")
    bar = np.stack([own.loss_upper - own.loss, own.loss - own.loss_lower])
    axis.errorbar(
        own.information, 1 - own.loss, yerr=np.maximum(bar, 0.0), elinewidth=0.7, **_LEARNED
    )
    axis.set(xlabel="I(U;Y), bits per item", ylabel="MRR")
    axis.set_title(f"M = 2$^{{{int(part.log2_size)}}}$")
    axis.set_xlim(0, float(rates.max()))
    axis.set_ylim(0, min(1.0, 1.12 * float(outer.max())))


def _points(axis: Axes, dataset: xarray.Dataset) -> None:
    own = dataset.sel(decoder="learned")
    order = np.argsort(dataset.information.values)
    for index, size in enumerate(dataset.log2_size.values):
        at = own.sel(log2_size=size).isel(run=order)
        color, marker = (part[(index + 1) % 7] for part in (style.COLORS, style.MARKERS))
        axis.plot(
            at.information,
            at.above_best_known,
            color=color,
            marker=marker,
            linestyle="",
            label=f"2$^{{{int(size)}}}$",
        )
        axis.plot(
            at.information,
            at.shared_above_best_known,
            color=color,
            linestyle=style.LINES[index],
            linewidth=1.0,
        )
    axis.axhline(100 * dataset.within, **_ALLOWED)
    axis.set(xlabel="I(U;Y), bits per item", ylabel="points below best known")
    axis.set_title("Distance in points of MRR; lines: time-shared")
    axis.set_xlim(0, float(dataset.curve_rate.max()))
    bottom, top = axis.get_ylim()
    axis.set_ylim(bottom, top + 0.5 * (top - bottom))
    axis.legend(title="M", ncols=3, loc="upper center", columnspacing=0.8, handletextpad=0.2)


def _temperatures(axis: Axes, dataset: xarray.Dataset) -> None:
    ratio = dataset.temperature / dataset.temperature.isel(modality=0)
    optimal = (dataset.noise / dataset.noise.isel(modality=0)).values
    for k in range(1, optimal.size):
        axis.plot(
            dataset.information,
            ratio.isel(modality=k),
            **_LEARNED | {"marker": style.MARKERS[(k - 1) % 7]},
        )
        axis.axhline(optimal[k], **_OPTIMAL)
    axis.set(xlabel="I(U;Y), bits per item", ylabel=r"$\tau_k / \tau_1$", title="Temperatures")
    axis.set_xlim(0, float(dataset.curve_rate.max()))
    axis.set_ylim(0, 1.3 * max(float(ratio.max()), float(optimal.max())))
