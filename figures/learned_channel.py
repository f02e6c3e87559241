"""Learned channels: points on the bottleneck, distances, training paths, and the channel."""

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Neural stochastic codes of discrete sources, all slopes and seeds trained at once. Exact "
    "bits of every run on the bottleneck: closed form for the DSBS, certified tangents for the "
    "3x3 source; the largest possible distance below it; paths of training in the information "
    "plane, from the origin to the dots below the bottleneck (black); the learned channel of "
    "one slope beside the exact one."
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw the curves, the distances, the trajectories and two channels."""
    figure, axes = style.panels(2, 3, width=style.DOUBLE, height=4.9)
    _curves(axes[0, 0], dataset)
    _distances(axes[0, 1], dataset)
    _trajectories(axes[0, 2], dataset)
    _channel(axes[1, 0], dataset.exact_channel.values, "exact", dataset)
    _channel(axes[1, 1], dataset.learned_channel.values, "learned", dataset)
    _objective(axes[1, 2], dataset)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure


def _curves(axis: Axes, dataset: xarray.Dataset) -> None:
    for k, name in enumerate(dataset.system.values):
        part = dataset.sel(system=name)
        if "," not in str(name):
            axis.plot(part.line_rate, part.line, **style.curve(k))
        axis.plot(
            part.rate.values.ravel(),
            part.relevance.values.ravel(),
            **style.points(k),
            markersize=3,
            markerfacecolor="none" if "," in str(name) else None,
            label=str(name),
        )
    axis.set(
        title="learned points on the frontier",
        xlabel="rate I(U;Y) [bits]",
        ylabel="relevance I(X;U) [bits]",
        xlim=(0, None),
        ylim=(0, None),
    )


def _missing(dataset: xarray.Dataset) -> xarray.DataArray:
    tangent = dataset.limit_relevance - dataset.slope * dataset.limit_rate + dataset.gap
    return (tangent - dataset.objective).clip(1e-10)


def _distances(axis: Axes, dataset: xarray.Dataset) -> None:
    short = _missing(dataset)
    for k, name in enumerate(dataset.system.values):
        part = short.sel(system=name)
        axis.semilogy(
            dataset.slope, part.min("seed"), **style.curve(k), marker=style.MARKERS[k], markersize=3
        )
        axis.fill_between(
            dataset.slope, part.min("seed"), part.max("seed"), color=style.COLORS[k], alpha=0.15
        )
    within = dataset.attrs["within"]
    axis.axhline(within, color="black", linestyle=":", linewidth=1)
    axis.annotate(f"{within:g} bits", (dataset.slope.values[0], 1.5 * within), fontsize=7)
    axis.set(
        title="distance below, best to worst seed",
        xlabel="slope",
        ylabel="bits below the tangent",
        ylim=(0.5e-10, 3),
    )


def _trajectories(axis: Axes, dataset: xarray.Dataset) -> None:
    name = dataset.system.values[0]
    part = dataset.sel(system=name)
    axis.plot(part.line_rate, part.line, color="black", linewidth=1)
    for k in range(dataset.sizes["slope"])[:: max(1, dataset.sizes["slope"] // 6)]:
        run = part.isel(slope=k, seed=0)
        axis.plot(
            run.path_rate,
            run.path_relevance,
            color=style.COLORS[k % len(style.COLORS)],
            linestyle="-",
            linewidth=0.9,
        )
        axis.plot(
            run.rate,
            run.relevance,
            color=style.COLORS[k % len(style.COLORS)],
            linestyle="none",
            marker="o",
            markersize=3.5,
        )
    axis.set(
        title=f"{name}: one path a slope",
        xlabel="rate I(U;Y) [bits]",
        ylabel="relevance I(X;U) [bits]",
        xlim=(-0.02, None),
        ylim=(-0.01, None),
    )


def _channel(axis: Axes, channel: np.ndarray, kind: str, dataset: xarray.Dataset) -> None:
    axis.grid(visible=False)
    axis.imshow(channel, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    for y, u in np.ndindex(*channel.shape):
        shade = "white" if channel[y, u] > 0.5 else "black"
        axis.annotate(f"{channel[y, u]:.3f}", (u, y), ha="center", va="center", color=shade)
    axis.set_xticks(range(channel.shape[1]))
    axis.set_yticks(range(channel.shape[0]))
    name, slope = dataset.attrs["shown_system"], dataset.attrs["shown_slope"]
    axis.set(title=f"{kind} P(u|y), slope {slope:.2f}", xlabel="u", ylabel=f"y, {name}")


def _objective(axis: Axes, dataset: xarray.Dataset) -> None:
    path = dataset.path_relevance - dataset.slope * dataset.path_rate
    tangent = dataset.limit_relevance - dataset.slope * dataset.limit_rate + dataset.gap
    short = (tangent - path).clip(1e-10).median(("slope", "seed"))
    for k, name in enumerate(dataset.system.values):
        axis.semilogy(dataset.step, short.sel(system=name), **style.curve(k))
    axis.axhline(dataset.attrs["within"], color="black", linestyle=":", linewidth=1)
    axis.set(
        title="median run along training",
        xlabel="steps of the optimiser",
        ylabel="bits below the tangent",
        ylim=(0.5e-10, 3),
    )
