"""Learned families: the rate-loss plane with the frontier, and the distances to it."""

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rdsim.plotting import style

CAPTION = (
    "Systems of the literature trained on pairs of a Gaussian mixture in the plane with two "
    "query modalities of unequal noise, each storing an item at a few bits. Above: MRR against "
    "I(U;Y), with intervals of 95 %; solid line, no system is above, the tighter of the rank "
    "converse (C4) and items stored whole; dashed, the entropy-weighted code ranked by the "
    "information density, time-shared, whose index costs H(U) > I(U;Y) bits where no randomness "
    "is shared; the learned codes are deterministic, so that H(U) = I(U;Y). Below: the points of MRR by which "
    "each system lies below the outer bound at its bits, here also by one codebook of as many codewords (C27), and the bits that it spends "
    "beyond those with which the converse would allow its MRR; small to large markers for few "
    "to many bits."
)

_KNOWN = "entropy-weighted"
_MARKS = (*style.MARKERS, "<", ">", "*", "p", "h", "d", "8")


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw a panel of the plane for each database size, and two panels of distances."""
    sizes = dataset.log2_size.values
    learned = [str(name) for name in dataset.family.values if name != _KNOWN]
    lower = 0.9 + 0.17 * (len(learned) + 1)
    figure = Figure(figsize=(style.DOUBLE, 3.9 + lower), layout="constrained")
    grid = figure.add_gridspec(2, 2 * len(sizes), height_ratios=[2.6, lower])
    planes = [figure.add_subplot(grid[0, 2 * place : 2 * place + 2]) for place in range(len(sizes))]
    for axis, size in zip(planes, sizes, strict=True):
        _plane(axis, dataset.sel(log2_size=size))
        axis.set_title(f"M = 2$^{{{size}}}$")
        axis.set_xlabel("I(U;Y), bits per item")
    planes[0].set_ylabel("MRR")
    least = dataset.sel(log2_size=sizes[0])
    left = figure.add_subplot(grid[1, : len(sizes)])
    right = figure.add_subplot(grid[1, len(sizes) :], sharey=left)
    _distances(left, least.points_from_outer)
    left.set_title(f"distance from the outer bound, M = 2$^{{{sizes[0]}}}$")
    left.set_xlabel("points of MRR")
    _distances(right, least.bits_from_converse)
    right.set_title(f"distance from the converse, M = 2$^{{{sizes[0]}}}$")
    right.set_xlabel("bits per item")
    right.tick_params(labelleft=False)
    figure.legend(handles=_handles(dataset), loc="outside upper center", ncols=4)
    return figure


def _style_of(dataset: xarray.Dataset) -> dict[str, dict[str, object]]:
    """A marker and a colour for each family; the best known code in open black circles."""
    colors = style.COLORS[:-1]
    learned = [str(name) for name in dataset.family.values if name != _KNOWN]
    styles: dict[str, dict[str, object]] = {
        name: {
            "color": colors[place % len(colors)],
            "marker": _MARKS[place % len(_MARKS)],
            "linestyle": "none",
            "markerfacecolor": "white" if place >= len(colors) else colors[place % len(colors)],
        }
        for place, name in enumerate(learned)
    }
    styles[_KNOWN] = {
        "color": "#000000",
        "marker": "o",
        "markerfacecolor": "white",
        "linestyle": "none",
    }
    return styles


def _plane(axis: Axes, part: xarray.Dataset) -> None:
    outer = 1 - np.maximum(part.converse, part.whole_lower)
    axis.plot(part.rate, outer, color="#000000", linestyle="-", linewidth=1.0)
    known = part.sel(family=_KNOWN).mean("seed")
    order = np.argsort(known.information.values)
    bits = np.concatenate([[0.0], known.information.values[order]])
    none = 1 - float(part.converse[0])
    axis.plot(
        bits,
        np.concatenate([[none], 1 - known.loss.values[order]]),
        color="#000000",
        linestyle="--",
        linewidth=1.0,
    )
    for name, look in _style_of(part).items():
        here = part.sel(family=name).stack(point=("bits", "seed"))
        bar = np.stack([here.loss_upper - here.loss, here.loss - here.loss_lower])
        axis.errorbar(
            here.information,
            1 - here.loss,
            yerr=np.maximum(bar, 0.0),
            elinewidth=0.6,
            capsize=0,
            **look,  # type: ignore[arg-type]
        )
    axis.set_xlim(0, float(part.rate.max()))
    axis.set_ylim(0, min(1.0, 1.08 * float(outer.max())))


def _distances(axis: Axes, values: xarray.DataArray) -> None:
    """One row for each family, one marker for each number of bits, mean over seeds."""
    styles = _style_of(values.to_dataset(name="values"))
    names = [str(name) for name in values.family.values]
    for row, name in enumerate(names):
        means = values.sel(family=name).mean("seed").values
        for place, value in enumerate(means):
            look = styles[name] | {"markersize": 3 + 4 * place / max(len(means) - 1, 1)}
            axis.plot(value, row, **look)  # type: ignore[arg-type]
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.axvline(0.0, color="#000000", linestyle="-", linewidth=0.8)


def _handles(dataset: xarray.Dataset) -> list[Line2D]:
    return [
        *(Line2D([], [], label=name, **look) for name, look in _style_of(dataset).items()),  # type: ignore[arg-type]
        Line2D([], [], color="#000000", linestyle="-", linewidth=1.0, label="outer bound"),
        Line2D([], [], color="#000000", linestyle="--", linewidth=1.0, label="best known code"),
    ]
