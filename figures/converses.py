"""Converses: binary items by exact curves, Gaussian items by half-spaces."""

import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Left: bits per item of 16 binary items (crossover .1) against the reciprocal-rank loss: between the "
    "exact curve of one encoder and the converse for every encoder lie the best joint encoders; the "
    "rank rate is far below. Other panels: the recall@1 of Gaussian items (correlation .8, 64 "
    "coordinates) that no code of each kind exceeds, in databases of two sizes. Points: stored signs, simulated, "
    "with intervals."
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw bits against loss, and recall against bits for every database size."""
    sizes = dataset["size"].values
    figure, axes = style.panels(1, 1 + sizes.size, width=style.DOUBLE, height=3.0)
    _binary(axes[0, 0], dataset)
    for axis, size in zip(axes[0, 1:], sizes, strict=True):
        _gaussian(axis, dataset.sel(size=size), int(size))
    handles, labels = axes[0, 1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2)
    return figure


def _binary(axis: Axes, dataset: xarray.Dataset) -> None:
    lines = {
        "one encoder": dataset.shared,
        "every encoder": dataset.joint,
        "rank rate": dataset.rank_rate,
    }
    for index, (name, values) in enumerate(lines.items()):
        axis.plot(dataset.loss, values, **style.curve(index), label=name)
    axis.set(xlabel="reciprocal-rank loss", ylabel="bits per item", title="16 binary items")
    axis.legend(loc="upper right", handlelength=2.5)


def _gaussian(axis: Axes, part: xarray.Dataset, size: int) -> None:
    axis.plot(part.bits, part.rank_rate_recall, color="#999999", linewidth=1.0, label="rank rate")
    for index, kind in enumerate(part.kind.values):
        axis.plot(part.bits, part.recall.sel(kind=kind), **style.curve(index), label=str(kind))
    if size == part.attrs["sign_items"]:
        axis.errorbar(
            part.sign_bits,
            part.sign_mean,
            yerr=style.bars(part.sign_mean, part.sign_lower, part.sign_upper),
            fmt="o",
            color="black",
            markersize=3,
            label="stored signs, simulated",
        )
    axis.set(
        xlabel="bits per item", ylabel="recall@1", title=f"{size:,} Gaussian items", ylim=(0, 1.02)
    )
