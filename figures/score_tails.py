"""Tails of summed scores by three methods, and the relative error of the saddlepoint."""

import numpy as np
import xarray
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "The probability that a competitor's summed score exceeds a threshold, for three sources. "
    "Left: exact convolution (certified bounds without a lattice), saddlepoint, and importance "
    "sampling with its intervals. Right: the largest relative error of the saddlepoint over all "
    "thresholds down to 1e-200, as the second-order Lugannani-Rice formula alone and with the "
    "rest of its line. Without a lattice the exact tail is known between bounds only, and the "
    "error is that to the farther one; near its maximum such a sum takes few values, which no "
    "smooth formula approximates."
)
_LN10 = np.log(10.0)
_FLOOR = 1e-8


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw log10 tails over thresholds on the left, errors over lengths on the right."""
    figure, ((tails, errors),) = style.panels(1, 2, width=style.DOUBLE, height=3.6)
    n = dataset.attrs["shown_length"]
    for index, name in enumerate(dataset.source.values):
        color, marker = style.COLORS[index], style.MARKERS[index]
        part = dataset.sel(source=name, n=n)
        exact = (part.lower + part.upper) / 2
        tails.plot(part.threshold, exact / _LN10, color=color, linestyle="-")
        tails.plot(
            [], [], color=color, marker=marker, markerfacecolor="none", linestyle="-", label=name
        )
        tails.plot(
            part.threshold,
            part.saddlepoint / _LN10,
            color=color,
            linestyle="none",
            marker=marker,
            markersize=7,
            markerfacecolor="none",
        )
        mean = part.sampled_mean / _LN10
        spread = [
            np.maximum(mean - part.sampled_lower / _LN10, 0.0),
            np.maximum(part.sampled_upper / _LN10 - mean, 0.0),
        ]
        spread = [np.where(np.isfinite(side), side, 0.0) for side in spread]
        tails.errorbar(
            part.threshold,
            mean,
            yerr=spread,
            color="black",
            linestyle="none",
            marker=".",
            capsize=2,
        )
        for method, line, filled in (("second_order", ":", "none"), ("saddlepoint", "-", color)):
            error = _relative_error(dataset.sel(source=name), method).max("point")
            errors.plot(
                dataset.n,
                np.maximum(error, _FLOOR),
                color=color,
                linestyle=line,
                marker=marker,
                markerfacecolor=filled,
            )
    tails.plot([], [], color="#555555", linestyle="-", label="exact")
    tails.plot(
        [],
        [],
        color="#555555",
        linestyle="none",
        marker="o",
        markerfacecolor="none",
        label="saddlepoint",
    )
    tails.plot([], [], color="black", linestyle="none", marker=".", label="importance sampling")
    errors.plot(
        [],
        [],
        color="#555555",
        linestyle=":",
        marker="o",
        markerfacecolor="none",
        label="second order alone",
    )
    errors.plot(
        [], [], color="#555555", linestyle="-", marker="o", label="with the rest of the line"
    )
    errors.axhline(0.01, color="black", linewidth=0.8, linestyle="--")
    errors.annotate(
        "1 %",
        (1.0, 0.01),
        xycoords=("axes fraction", "data"),
        xytext=(-2, 2),
        textcoords="offset points",
        ha="right",
        fontsize=7,
    )
    errors.set(
        xscale="log",
        yscale="log",
        xlabel="letters n",
        ylabel="largest relative error",
        ylim=(_FLOOR / 2, None),
    )
    tails.set(
        xlabel="threshold t (0: mean of S, 1: maximum)",
        ylabel="log₁₀ P[S > t]",
        title=f"n = {n}",
    )
    figure.legend(loc="outside upper center", ncols=4)
    return figure


def _relative_error(dataset: xarray.Dataset, method: str) -> xarray.DataArray:
    """Largest distance of a method from any tail in the certified interval, relative to the tail."""
    return np.expm1(
        np.maximum(np.abs(dataset[method] - dataset.lower), np.abs(dataset[method] - dataset.upper))
    )
