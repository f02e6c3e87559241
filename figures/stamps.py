"""Stamps: quality against bits under the converse, and against the size of the database, for every pair."""

import math
from itertools import chain
from typing import Final

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Stamps of Tux Paint: pictures, texts in several languages, two of them together, or recordings of the texts, as "
    "queries for a text or a picture. Spaces and codes were fitted to one half of the stamps, the other half is ranked. "
    "Upper panel of a pair: MRR against the bits stored per item, under the converses for any data, of any code (C4) and "
    "of one codebook, which these are (C27); both say nothing where they are one. Dotted: items stored whole. Lower panel: MRR against the number of items. Points: measured; line and band: "
    "predicted from a quarter of the items (C1), means over the quarters. All are means over the random halves; "
    "bars are two standard errors over the queries of one."
)

_COLUMNS: Final = 4


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw two panels a pair of modalities, or the reason why there is nothing to draw."""
    if "skipped" in dataset.attrs:
        return style.skipped()
    pairs = dataset.pair.values
    blocks = math.ceil(len(pairs) / _COLUMNS)
    figure, axes = style.panels(2 * blocks, _COLUMNS, width=style.DOUBLE, height=3.7 * blocks)
    # The converse leaves the panel: beside all of it, what the codes reach would lie on the axis.
    highest = 1.15 * float(dataset.measured.max())
    for place in range(blocks * _COLUMNS):
        block, column = divmod(place, _COLUMNS)
        rate, size = axes[2 * block : 2 * block + 2, column]
        if place >= len(pairs):
            for axis in (rate, size):
                axis.set_axis_off()
            continue
        part = dataset.isel(pair=place).mean("split")
        _rate(rate, part, highest)
        _size(size, part, highest)
        rate.set_title(str(pairs[place]).replace(" → ", "\n→ "))
        rate.set_xlabel("bits per item")
        size.set_xlabel("log₂ M [bits]")
        for axis in (rate, size):
            if column:
                axis.set_yticklabels([])
            else:
                axis.set_ylabel("MRR")
    drawn = [axis.get_legend_handles_labels() for axis in axes[:2, 0]]
    handles, labels = (list(chain(*parts)) for parts in zip(*drawn, strict=True))
    figure.legend(handles, labels, loc="outside lower center", ncols=5)
    return figure


def _rate(axis: Axes, part: xarray.Dataset, highest: float) -> None:
    axis.plot(part.bits, part.converse, color="black", label="converse, any code")
    axis.plot(part.bits, part.codebook_converse, "--", color="black", label="one codebook")
    for index, code in enumerate(part.code.values):
        found = part.sel(code=code)
        axis.errorbar(
            part.bits,
            found.code_mrr,
            yerr=2 * found.code_error,
            **style.curve(index),
            marker=style.MARKERS[index],
            markersize=3,
            label=str(code),
        )
    axis.axhline(float(part.whole), color="#777777", linestyle=":", linewidth=1)
    axis.set_xscale("log", base=2)
    axis.set_xticks(part.bits.values[::2], [f"{bits:.0f}" for bits in part.bits.values[::2]])
    axis.minorticks_off()
    axis.set_ylim(0, highest)


def _size(axis: Axes, part: xarray.Dataset, highest: float) -> None:
    mean = part.mean("quarter")
    size = mean.predicted_log2_size
    axis.fill_between(size, mean.lower, mean.upper, color=style.COLORS[2], alpha=0.25, linewidth=0)
    axis.plot(size, mean.value, color=style.COLORS[2], label="predicted, with band")
    axis.plot(
        mean.measured_log2_size, mean.measured, "o", color="black", markersize=3, label="measured"
    )
    axis.axvline(np.log2(part.attrs["part"]), color="#777777", linestyle=":", linewidth=1)
    axis.set_ylim(0, highest)
