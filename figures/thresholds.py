"""Thresholds: errors below and above them, rules for temperatures, several targets."""

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Left: error of random codes whose database grows at 0.8 (solid) and 1.2 (dashed) times the threshold of each "
    "situation, which stands in brackets in bits per letter, against the letters of an item. Middle: share of the information of two "
    "views that a rule for their temperatures keeps, over random pairs of views. Right: bits that a ranking needs "
    "against one minus the average precision, for several relevant items."
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw errors, rules and rates side by side."""
    figure, axes = style.panels(1, 3, width=style.DOUBLE, height=3.3)
    _errors(axes[0, 0], dataset)
    _rules(axes[0, 1], dataset)
    _several(axes[0, 2], dataset)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return figure


def _errors(axis: Axes, dataset: xarray.Dataset) -> None:
    for index, name in enumerate(dataset.situation.values):
        part = dataset.sel(situation=name)
        color = style.COLORS[index % len(style.COLORS)]
        for factor, line in zip(dataset.factor.values, ("-", "--"), strict=True):
            axis.plot(
                part.n,
                part.error.sel(factor=factor),
                color=color,
                linestyle=line,
                marker=style.MARKERS[index % len(style.MARKERS)],
                markersize=4,
                label=f"{name} ({float(part.threshold):.3f})" if line == "-" else None,
            )
    axis.set(
        xscale="log",
        xlabel="letters of an item n",
        ylabel="error",
        ylim=(-0.02, 1.02),
        xticks=dataset.n.values,
        xticklabels=[str(n) for n in dataset.n.values],
        title="0.8 and 1.2 of the threshold",
    )
    axis.minorticks_off()


def _rules(axis: Axes, dataset: xarray.Dataset) -> None:
    for index, name in enumerate(dataset.rule.values):
        share = np.sort(dataset.rule_share.sel(rule=name))
        axis.plot(
            share,
            (np.arange(share.size) + 1) / share.size,
            color=style.COLORS[index],
            linestyle=style.LINES[index % len(style.LINES)],
            label=str(name),
        )
    axis.set(
        xlabel="share of the information kept",
        ylabel="sources below",
        title="temperature set by",
    )
    axis.legend(loc="upper left", handlelength=2.5)


def _several(axis: Axes, dataset: xarray.Dataset) -> None:
    for index, count in enumerate(dataset.targets.values):
        axis.plot(
            dataset.loss,
            dataset.several_rate.sel(targets=count),
            color=style.COLORS[index],
            linestyle=style.LINES[index % len(style.LINES)],
            label=f"{count}",
        )
    axis.set(
        xlabel="1 − average precision",
        ylabel="bits",
        yscale="log",
        ylim=(5e-2, None),
        title=f"relevant items of 2$^{{{dataset.attrs['log2_items']:.0f}}}$",
    )
    axis.legend(loc="lower left", handlelength=2.5)
