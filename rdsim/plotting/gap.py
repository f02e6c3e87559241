"""Draws codes for paired embeddings beside the rank converse; several studies share it."""

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdsim.plotting import style


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw MRR and the largest recall against bits an item, with intervals over queries."""
    figure, axes = style.panels(1, 2, width=style.DOUBLE, height=3.4)
    cutoff = int(dataset.cutoff.values[-1])
    _panel(
        axes[0, 0],
        dataset,
        dataset.mrr,
        dataset.mrr_converse,
        dataset.mrr_frontier,
        dataset.uncompressed_mrr,
    )
    _panel(
        axes[0, 1],
        dataset,
        dataset.recall.sel(cutoff=cutoff),
        dataset.recall_converse.sel(cutoff=cutoff),
        dataset.recall_frontier.sel(cutoff=cutoff),
        dataset.uncompressed_recall.sel(cutoff=cutoff),
    )
    axes[0, 0].set_ylabel("MRR")
    axes[0, 1].set_ylabel(f"recall@{cutoff}")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return figure


def _panel(
    axis: Axes,
    dataset: xarray.Dataset,
    values: xarray.DataArray,
    converse: xarray.DataArray,
    frontier: xarray.DataArray,
    plain: xarray.DataArray,
) -> None:
    bits = dataset.bits.values
    axis.plot(
        bits, converse, color="black", linestyle="-", marker=".", label="converse, any system"
    )
    estimate, low, high = (frontier.sel(end=end) for end in ("value", "lower", "upper"))
    axis.fill_between(bits, low, high, color="#bbbbbb", linewidth=0, alpha=0.6)
    axis.plot(
        bits, estimate, color="#555555", linestyle="--", marker=".", label="estimated frontier"
    )
    axis.axhline(float(plain.sel(end="value")), color="black", linestyle=":", label="uncompressed")
    # A colour and a marker for each code; open where the same code is compared by Hamming distance.
    codes = list(dict.fromkeys(str(name).partition(", ")[0] for name in dataset.system.values))
    for name in map(str, dataset.system.values):
        part = values.sel(system=name)
        middle = part.sel(end="value").values
        reach = np.abs(part.sel(end=["lower", "upper"]).values.T - middle)
        index = codes.index(name.partition(", ")[0])
        symmetric = name.endswith("Hamming")
        axis.errorbar(
            bits,
            middle,
            yerr=reach,
            color=style.COLORS[index],
            linestyle=style.LINES[index],
            marker=style.MARKERS[index],
            markerfacecolor="white" if symmetric else style.COLORS[index],
            alpha=0.7 if symmetric else 1.0,
            linewidth=0.6 if symmetric else 1.0,
            elinewidth=0.4 if symmetric else 0.8,
            label=name,
        )
    axis.set_xscale("log", base=2)
    axis.set_xticks(bits, [str(rate) for rate in bits])
    axis.minorticks_off()
    axis.set(xlabel="bits per item", ylim=(0, 1.02))
