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
            dataset[f"{twin}_bits"].values,
            code.values,
            color=color,
            linestyle="-.",
            linewidth=1.2,
            label=f"{name}, code",
        )
        axis.plot(
            dataset[f"{twin}_converse_bits"].values,
            bound.values,
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
            size[above],
            values[above],
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


def predictions(by_size: Axes, by_bits: Axes, dataset: xarray.Dataset) -> None:
    """Draw what a quarter of the items predicts, means over the quarters: against the size, and against bits among all."""
    mean = dataset.mean("quarter")
    size = 2.0**mean.predicted_log2_size
    by_size.fill_between(
        size, mean.lower, mean.upper, color=style.COLORS[0], alpha=0.2, linewidth=0
    )
    by_size.plot(size, mean.value, **style.curve(0), label="from ranks, with band")
    for place, twin in enumerate(dataset.twin.values):
        here, look = mean.sel(twin=twin), style.curve(place + 1)
        by_size.plot(2.0**mean.measured_log2_size, here.twin_by_size, **look, label=f"{twin} twin")
        by_bits.plot(mean.part_bits, here.twin_by_bits, **look, label=f"{twin} twin, ideal codes")
    at = 2.0**mean.measured_log2_size.values
    by_size.plot(at, mean.measured, "o", color="black", markersize=4, label="measured")
    by_bits.plot(
        mean.part_bits, mean.best_code, "o", color="black", markersize=4, label="best measured code"
    )
    by_size.set(xscale="log", xlim=(at[0] / 1.2, 4 * at[-1]), ylim=(0, None))
    ticks = [*at, 2 * at[-1], 4 * at[-1]]
    by_size.set_xticks(ticks, [f"{items:.0f}" for items in ticks])
    by_size.minorticks_off()
    by_size.set(xlabel="items in the database", ylabel="MRR", title="predicted from a quarter")
    by_bits.set_xscale("log", base=2)
    by_bits.set_xticks(mean.part_bits.values, [f"{bits:.0f}" for bits in mean.part_bits.values])
    by_bits.minorticks_off()
    by_bits.set(xlabel="bits stored per item", ylim=(0, None), title="among all, from a quarter")
    by_size.legend()
    by_bits.legend()


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
        number,
        dataset.correlations.values[order],
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
            number,
            allocated[row][order],
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
