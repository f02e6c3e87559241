"""Gaussian vectors: recall against bits for each size, and the bits of the modes."""

import xarray
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Gaussian pairs of 64 unequal canonical correlations. Left: recall@1 against bits per item. Upper "
    "bounds by the rank rate, and by tilted half-spaces for information (joint encoders) and fixed "
    "length (one encoder); below them the Gaussian test channel, computed, with its interval. Right: "
    "the water-filled bits of each mode."
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw a panel for each size, and one for the bits of the modes."""
    count = dataset.sizes["size"]
    figure, axes = style.panels(1, count + 1, width=style.DOUBLE, height=2.9)
    lines = (
        ("recall_information", "tilted, information"),
        ("recall_fixed_length", "tilted, fixed length"),
        ("recall", "test channel"),
    )
    for place, axis in enumerate(axes[0, :count]):
        part = dataset.isel(size=place)
        axis.plot(
            part.bits, part.recall_rank_rate, color="#999999", linewidth=0.8, label="rank rate"
        )
        for index, (name, label) in enumerate(lines):
            color = style.COLORS[index]
            axis.plot(part.bits, part[name], linestyle=style.LINES[index], color=color, label=label)
        axis.fill_between(part.bits, part.recall_lower, part.recall_upper, color=color, alpha=0.2)
        axis.set(
            xlabel="bits per item",
            ylabel="recall@1",
            ylim=(0, 1.1 * float(part.recall_rank_rate.max())),
            title=f"{int(part['size']):,} items",
        )
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter("{x:g}")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=4)
    last = axes[0, count]
    for index, bits in enumerate(dataset.bits.values):
        last.plot(
            dataset.mode,
            dataset.rates.sel(bits=bits),
            color=style.COLORS[index % len(style.COLORS)],
            linestyle=style.LINES[index % len(style.LINES)],
            label=f"{bits} bits",
        )
    last.set_xscale("log", base=2)
    last.xaxis.set_major_formatter("{x:g}")
    last.set(xlabel="mode", ylabel="bits of the mode", title="water-filled bits")
    last.legend(loc="upper right")
    return figure
