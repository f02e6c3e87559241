"""Error against database size: codes of about as many bits, the converse, items stored whole."""

from collections.abc import Callable

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Loss of codes for items of a Gaussian mixture in the plane, seen through two noisy "
    "modalities and decoded by distances weighted by the noise, against the size of the "
    "database: one simulation of each code and the exact distribution of the rank. Shade: "
    "impossible for one codebook of as many codewords as the entropy-weighted code has (C27); of items stored whole the end "
    "of the interval counts. Thin: the rank converse at that code's I(U;Y) (C4), which every encoder obeys. Dashed: the "
    "optimal ranking of items stored whole. In a large database the MRR of a code falls as 1/M, because items with one "
    "codeword are tied: that is all that C27 says, and most of what these codes lose."
)

_GREY = "#777777"


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw the error, and the MRR on a logarithmic axis."""
    figure, axes = style.panels(1, 2, width=style.DOUBLE, height=3.6)
    left, right = axes[0]
    _panel(left, dataset.sel(loss_name="error"), lambda loss: loss)
    left.set(ylabel="probability that the target is not first", ylim=(0, 1.02))
    part = dataset.sel(loss_name="reciprocal_rank")
    _panel(right, part, lambda loss: 1 - loss)
    right.set_yscale("log")
    right.set(ylabel="MRR", ylim=(0.3 * float((1 - part["mean"]).min()), 1.5))
    _legend(figure, dataset)
    return figure


def _panel(
    axis: Axes, part: xarray.Dataset, shown: Callable[[xarray.DataArray], xarray.DataArray]
) -> None:
    size = part.log2_size
    at = part.sel(code="entropy-weighted")
    outer = np.maximum(np.maximum(at.converse, at.codebook), part.whole_lower)
    axis.fill_between(size, shown(0 * outer), shown(outer), color="#eeeeee", linewidth=0)
    axis.plot(size, shown(at.codebook), color="#000000", linestyle="-")
    axis.plot(size, shown(at.converse), color=_GREY, linestyle="-", linewidth=0.8)
    axis.plot(size, shown(part.whole_mean), color="#000000", linestyle="--")
    for index, name in enumerate(part.code.values):
        axis.plot(
            size,
            shown(part["mean"].sel(code=name)),
            color=style.COLORS[index] if index < 6 else _GREY,
            linestyle=style.LINES[index],
            marker=style.MARKERS[index],
            markevery=(index, 7),
            linewidth=1.0,
        )
    axis.set(
        xlabel="log₂ of the database size M", xlim=(float(size[0]) - 0.6, float(size[-1]) + 0.6)
    )


def _legend(figure: Figure, dataset: xarray.Dataset) -> None:
    """Name each code with the bits of its index, and the two bounds."""
    lines = figure.axes[0].get_lines()
    names = ["one codebook (C27)", "any encoder (C4)", "items stored whole"]
    for name in dataset.code.values:
        code = dataset.sel(code=name)
        bits = f"{float(code.entropy):.1f}"
        if abs(float(code.entropy - code.information)) > 0.05:
            bits = f"{float(code.information):.1f} to {bits}"
        names.append(f"{name}, {bits} bits")
    figure.legend(lines, names, loc="outside upper center", ncols=3)
