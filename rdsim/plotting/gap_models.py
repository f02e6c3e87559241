"""Draws single panels of the page of real embeddings: bits, database sizes, coordinates."""

from typing import Final

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdsim.plotting import style

TWINS: Final = ("gaussian_twin", "isotropic_twin")
_NAMES: Final = {"gaussian_twin": "Gaussian twin", "isotropic_twin": "isotropic twin"}
_COLORS: Final = {"gaussian_twin": "#000000", "isotropic_twin": "#777777"}
WIDTH: Final = 4.4
"""Inches: on a phone its letters are still read."""


def twin_lines(axis: Axes, dataset: xarray.Dataset, metric: str) -> None:
    """Draw each twin's random code and its converse."""
    for twin in TWINS:
        if f"{twin}_code" not in dataset:
            continue
        code, bound = (dataset[f"{twin}_{end}"].sel(metric=metric) for end in ("code", "converse"))
        name, color = _NAMES[twin], _COLORS[twin]
        axis.plot(
            *(dataset[f"{twin}_bits"].values, code.values),
            color=color,
            linestyle="-.",
            linewidth=1.2,
            label=f"{name}, code",
        )
        axis.plot(
            *(dataset[f"{twin}_converse_bits"].values, bound.values),
            color=color,
            linestyle=(0, (1, 1.2)),
            linewidth=1.6,
            label=f"{name}, converse",
        )


def sizes(dataset: xarray.Dataset) -> Figure:
    """Draw the MRR against the size of the database: exact below the measured size, predicted with a band above it."""
    figure, axes = style.panels(1, 1, width=WIDTH, height=4.2)
    axis = axes[0, 0]
    size = 2.0**dataset.log2_size.values
    measured = int(dataset.attrs["database"])
    below = size <= measured * (1 + 1e-9)
    above = size >= measured * (1 - 1e-9)
    for place, line in enumerate(dataset.sized_line.values):
        color = style.COLORS[place % len(style.COLORS)]
        row = dataset.isel(sized_line=place)
        values = row.mrr_by_size.values
        name = f"{dataset.system.values[line]}, {int(dataset.bits.values[line])} bits"
        axis.fill_between(
            size[above],
            row.mrr_by_size_lower.values[above],
            row.mrr_by_size_upper.values[above],
            color=color,
            alpha=0.13,
            linewidth=0,
        )
        axis.plot(size[below], values[below], color=color, linestyle="-")
        axis.plot(
            *(size[above], values[above]),
            color=color,
            linestyle="--",
            marker=style.MARKERS[place],
            markevery=4,
            label=name,
        )
        if dataset.sizes.get("twin_log2_size"):
            axis.plot(
                2.0**dataset.twin_log2_size.values,
                row.twin_mrr_by_size.values,
                color=color,
                linestyle=":",
                marker=style.MARKERS[place],
                markerfacecolor="white",
                markersize=3,
                linewidth=0.9,
                label=None,
            )
    axis.axvline(measured, color="#555555", linewidth=0.8, linestyle="-")
    axis.annotate(
        f"measured\n{measured:,}",
        (measured, 0.99),
        xycoords=("data", "axes fraction"),
        xytext=(3, 0),
        textcoords="offset points",
        va="top",
        fontsize=7,
        color="#555555",
    )
    axis.set_xscale("log")
    axis.set(xlabel="items in the database", ylabel="MRR", ylim=(0, 1.02))
    figure.legend(loc="outside lower center", ncols=2, fontsize=7)
    return figure


def coordinates(dataset: xarray.Dataset) -> Figure:
    """Draw the correlation of every canonical coordinate, above, and the bits that the transform code gives it, below."""
    figure, axes = style.panels(2, 1, width=WIDTH, height=4.2)
    top, bottom = axes[:, 0]
    # By the correlations that bits are allocated by: then the bits fall from left to right.
    fitted = dataset.fitted_correlations.values
    order = np.argsort(-fitted, kind="stable")
    number = np.arange(1, fitted.size + 1)
    top.plot(
        number,
        fitted[order],
        color=style.COLORS[0],
        label="of pairs held back, by which bits are allocated",
    )
    top.plot(
        *(number, dataset.correlations.values[order]),
        color=style.COLORS[1],
        linestyle="none",
        marker="o",
        markersize=2.5,
        label="of the pairs ranked",
    )
    top.set(
        ylabel="correlation",
        xscale="log",
        ylim=(min(-0.05, float(dataset.correlations.min())), 1.02),
    )
    top.legend(fontsize=7)
    rates = dataset.rate.values
    allocated = dataset.allocation.values
    useful = np.flatnonzero(allocated.sum(axis=1) >= rates)
    shown = useful[
        np.unique(np.linspace(0, len(useful) - 1, min(4, len(useful))).round().astype(int))
    ]
    for place, row in enumerate(shown):
        bottom.step(
            *(number, allocated[row][order]),
            where="mid",
            color=style.COLORS[place],
            linestyle=style.LINES[place],
            label=f"code of {int(rates[row])} bits",
        )
    bottom.set(xlabel="canonical coordinate, by falling correlation", ylabel="bits", xscale="log")
    figure.legend(
        *bottom.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=7
    )
    return figure
