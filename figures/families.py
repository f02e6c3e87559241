"""Families of learned codes: the rate-loss plane with the converse, and what each one costs to train."""

from typing import Any

import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Families of learned codes on pairs whose canonical correlations fall slowly, Gaussian ones and ones whose items "
    "are bent so that linear analysis no longer sees half of them, each family storing an item in the same number of bits. "
    "Left: MRR in a database of other items, mean over seeds, with the widest interval of any seed (95 % each); black "
    "line: no code of so many bits per item under one encoder is above (C27; of real pairs C4). Middle: MRR at the most bits (filled) "
    "and of the same family untrained (open). Right: CPU seconds of fitting; the first pairs pay for compilation, the others train alone."
)

_MARKS = (*style.MARKERS, "<", ">", "*", "p", "h", "d", "8", "H", "4")


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw the plane, trained beside untrained, and the seconds, a row for each kind of pairs."""
    names = [str(name) for name in dataset.family.values]
    kinds = [str(name) for name in dataset.pairs.values]
    height = max(1.0 + 0.16 * len(names), 2.4)
    figure = Figure(figsize=(style.DOUBLE, height * len(kinds)), layout="constrained")
    axes = figure.subplots(len(kinds), 3, squeeze=False, width_ratios=[1.5, 1.2, 0.8])
    for (plane, middle, right), kind in zip(axes, kinds, strict=True):
        here = dataset.sel(pairs=kind)
        _plane(plane, here, names, kind)
        _most(middle, right, here.isel(bits=-1), names)
    return figure


def _most(middle: Axes, right: Axes, most: xarray.Dataset, names: list[str]) -> None:
    for row, name in enumerate(names):
        here, look = most.sel(family=name), _look(row)
        low, mean, high = (float(v) for v in (here.lower.min(), here.mrr.mean(), here.upper.max()))
        middle.errorbar(
            mean, row, xerr=style.bars(mean, low, high)[:, None], elinewidth=0.6, **look
        )
        middle.plot(here.untrained_mrr.mean(), row, **{**look, "markerfacecolor": "white"})
        right.plot(here.seconds.mean(), row, **look)
    for axis in (middle, right):
        axis.set_yticks(range(len(names)), names)
        axis.set_ylim(len(names) - 0.5, -0.5)
        axis.set_xlim(left=0)
    middle.set(xlabel="MRR", title=f"{int(most.bits)} bits per item")
    right.set(xlabel="CPU seconds", title="fitting")
    right.tick_params(labelleft=False)


def _look(row: int) -> dict[str, Any]:
    colors = style.COLORS[:-1]
    color = colors[row % len(colors)]
    return {
        "color": color,
        "marker": _MARKS[row % len(_MARKS)],
        "linestyle": "none",
        "markersize": 5,
    }


def _plane(axis: Axes, dataset: xarray.Dataset, names: list[str], kind: str) -> None:
    axis.plot(dataset.bits, dataset.converse, color="#000000", linewidth=1.0)
    for row, name in enumerate(names):
        here = dataset.sel(family=name)
        mean = here.mrr.mean("seed")
        bars = style.bars(mean, here.lower.min("seed"), here.upper.max("seed"))
        axis.errorbar(dataset.bits, mean, yerr=bars, elinewidth=0.6, **_look(row))
    axis.set_xscale("log", base=2)
    axis.set_xticks(dataset.bits.values, [str(b) for b in dataset.bits.values])
    axis.set_ylim(bottom=0)
    axis.set(
        xlabel="bits per item", ylabel=f"MRR, M = {int(dataset['size'])}", title=f"{kind} pairs"
    )
