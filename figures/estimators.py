"""Estimators: errors of the plug-in rate and of the learned code, and bounds from samples."""

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Left: a Bernoulli(0.4) source at D = 0.11, exact sums over all counts of N samples. The "
    "plug-in estimate R(P_N, D) has a standard deviation of sqrt(V/N) and a bias of 1/(2N) "
    "nats, which the jackknife removes; the code learned from the same counts has a mean excess "
    "of 1/(2N) nats. Middle: how often its 95 % interval covers; at small N the empirical pmf "
    "may lie near the fair coin, whose dispersion is zero. Right: R(D) of a Gaussian between "
    "the bounds that samples alone give, of every data set; the lower bound is proved at every "
    "N, the upper is asymptotic."
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw the errors, the coverage and the bounds."""
    figure, axes = style.panels(1, 3, width=style.DOUBLE, height=3.0)
    _errors(axes[0, 0], dataset)
    _coverage(axes[0, 1], dataset)
    _bounds(axes[0, 2], dataset)
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def _errors(axis: Axes, dataset: xarray.Dataset) -> None:
    N = dataset.samples.values.astype(float)
    nats = np.log(2)
    rows = (
        ("standard deviation", nats * dataset.deviation),
        ("bias of the estimate", nats * np.abs(dataset.bias)),
        ("bias after the jackknife", nats * np.abs(dataset.corrected_bias)),
        ("excess of the code", dataset.code_excess),
    )
    for index, (label, values) in enumerate(rows):
        axis.plot(
            N,
            values,
            **style.points(index),
            fillstyle="none" if index == 3 else "full",
            markersize=7 if index == 3 else 4,
            label=label,
        )
    axis.plot(
        N,
        nats * np.sqrt(float(dataset.dispersion) / N),
        color="#000000",
        linestyle="-",
        linewidth=0.9,
        label="sqrt(V/N)",
    )
    axis.plot(N, 0.5 / N, color="#000000", linestyle="--", linewidth=0.9, label="1/(2N)")
    axis.set(xscale="log", yscale="log", xlabel="samples N", ylabel="error of N samples [nats]")


def _coverage(axis: Axes, dataset: xarray.Dataset) -> None:
    axis.plot(
        dataset.samples,
        dataset.coverage,
        color=style.COLORS[0],
        linestyle="-",
        marker="o",
        linewidth=0.8,
    )
    axis.axhline(dataset.attrs["confidence"], color="#000000", linestyle=":", linewidth=1.0)
    axis.set(
        xscale="log",
        xlabel="samples N",
        ylabel=f"coverage, {100 * dataset.attrs['confidence']:g} % interval",
        ylim=(min(0.75, float(dataset.coverage.min()) - 0.02), 1.0),
    )


def _bounds(axis: Axes, dataset: xarray.Dataset) -> None:
    order = np.argsort(dataset.distortion.values)
    grid = np.geomspace(float(dataset.distortion.min()), 1.2 * float(dataset.at.max()), 100)
    axis.plot(
        grid, np.maximum(-0.5 * np.log2(grid), 0), color="#000000", linestyle="-", label="R(D)"
    )
    sizes = dataset.gaussian_samples.values
    shown = sizes[[0, -1]] if len(sizes) > 1 else sizes
    for index, size in enumerate(shown):
        part = dataset.sel(gaussian_samples=size)
        look = {
            "color": style.COLORS[4 + index],
            "linestyle": style.LINES[1 + index],
            "linewidth": 0.8,
        }
        for repetition in range(dataset.sizes["repetition"]):
            one = part.isel(repetition=repetition)
            label = f"bounds, N = {size}" if repetition == 0 else None
            axis.plot(dataset.distortion[order], one.lower[order], label=label, **look)
            axis.plot(one["at"][order], one.upper[order], **look)
    axis.set(xscale="log", xlabel="distortion D", ylabel="R(D) of N(0,1) [bits]", ylim=(0, None))
    ticks = [tick for tick in (0.05, 0.1, 0.2, 0.4) if grid[0] <= tick <= grid[-1]]
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
