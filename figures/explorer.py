"""Explorer: the least loss of any system against the rate, one panel for each source."""

import numpy as np
import xarray
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rdsim.plotting import style

CAPTION = (
    "Least expected reciprocal-rank loss of any system that stores items of n letters at R bits a "
    "letter, by source, for the largest database of at most 2^20 items, whatever the bits are: the tightest of the rank-distortion "
    "function at n IB(R) bits (C4), for Gaussian pairs half-spaces (C27), and for one letter C26. Points: exact averages over random codes of the doubly symmetric "
    "binary source; crosses: no codewords of so many bits and as many letters have a smaller loss (C27). The explorer of this page draws these "
    "curves too, and C4 for other losses and sizes."
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw one panel for each source, one curve for each block length, random codes as points."""
    loss, size = dataset.attrs["drawn_loss"], dataset.attrs["drawn_log2_size"]
    part = dataset.sel(loss_name=loss, code_loss_name=loss, log2_size=size)
    tightest = np.fmax(part.best_loss_lower, part.converse_loss.max("converse"))
    names = list(map(str, dataset.source.values))
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure, axes = style.panels(rows, columns, width=style.DOUBLE, height=1.9 * rows + 0.4)
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    lengths = list(dataset.block_length.values)
    for axis, name in zip(axes.flat, names, strict=False):
        for n, color, line in zip(lengths, style.COLORS, style.LINES, strict=False):
            curve = tightest.sel(source=name, block_length=n)
            axis.plot(dataset.rate, curve, color=color, linestyle=line, label=f"n = {n}")
        if name in dataset.code_source:
            place = lengths.index(dataset.attrs["code_length"])
            axis.plot(
                dataset.code_rate,
                part.code_loss.sel(code_source=name),
                **style.points(place),
                markersize=2.5,
                label=f"random codes, n = {lengths[place]}",
            )
            axis.plot(
                dataset.tight_rate,
                part.codewords_loss.sel(code_source=name),
                linestyle="none",
                color="#000000",
                marker="x",
                markersize=4,
                label=f"no codewords below, n = {lengths[place]}",
            )
        title = name.partition(" [")[0]
        axis.set(xlim=(0, None), ylim=(-0.02, 1.02), title=title)
        axis.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 5, 10]))
    for axis in axes[-1]:
        axis.set_xlabel("R [bits per letter]")
    for axis in axes[:, 0]:
        axis.set_ylabel(f"1 − MRR, M = 2$^{{{size}}}$")
    handles = {
        label: handle
        for axis in axes.flat
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(), handles.keys(), loc="outside upper center", ncols=3, handlelength=3
    )
    return figure
