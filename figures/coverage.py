"""Bounds on the excess of learned codes: rates of violation, and how loose they are."""

import numpy as np
import xarray
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Bounds on the excess, each violated with probability at most δ. Left: bounds and measured "
    "excess of the 8 x 8 source at its low slope; a bound is cut at the range of the loss. Middle: "
    "measured rates of violation over all sources with exact intervals. Right: ratio of each bound "
    "to the mean excess, median and range over the sources."
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw bounds, violations and ratios side by side."""
    figure, axes = style.panels(1, 3, width=style.DOUBLE, height=2.9)
    shown, rates, ratios = axes[0]
    part = dataset.sel(source="8 x 8, low slope")
    low, high = dataset.samples.min(), dataset.samples.max()
    for i, name in enumerate(dataset.bound_name.values):
        color, marker = style.COLORS[i], style.MARKERS[i]
        look = style.curve(i)
        shown.plot(
            part.samples,
            part.bound.sel(bound_name=name),
            label=str(name),
            marker=marker,
            markersize=3,
            **look,
        )
        one = dataset.sel(bound_name=name)
        worst = one.rate.max("source")
        error = style.bars(worst, one.rate_lower.max("source"), one.rate_upper.max("source"))
        # All markers are drawn at their sample size: smaller ones lie on larger ones.
        rates.errorbar(
            dataset.samples,
            worst,
            np.maximum(error, 0),
            color=color,
            marker=marker,
            markersize=7 - 1.5 * i,
            linestyle="none",
        )
        ratio = one.bound / one["mean"]
        ratios.fill_between(
            dataset.samples, ratio.min("source"), ratio.max("source"), color=color, alpha=0.15
        )
        ratios.plot(dataset.samples, ratio.median("source"), **look)
    shown.plot(part.samples, part["mean"], "X", color="black", label="mean excess")
    rates.axhline(dataset.violation, color="black", linewidth=0.8)
    rates.annotate(
        f"δ = {float(dataset.violation):g}",
        (0.03, dataset.violation),
        (0, -2),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        va="top",
    )
    for axis in (shown, rates, ratios):
        axis.set(xscale="log", xlabel="samples N", xlim=(low / 3, high * 3))
    shown.set(yscale="log", ylabel="excess [nats]")
    rates.set(ylabel="violations, worst source", ylim=(-0.015, None))
    ratios.set(yscale="log", ylabel="bound / mean excess")
    figure.legend(loc="outside upper center", ncols=5, columnspacing=1.2)
    return figure
