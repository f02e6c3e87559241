"""Random codes: error against the size of the database, exact, sampled and drawn."""

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Probability that a query does not find its item first, averaged over random codebooks, one "
    "for each item, against the size of the database. Lines: exact sums over types, for long "
    "and for short blocks. Circles and squares: sampled targets; triangles and diamonds: "
    "databases of short blocks drawn letter by letter; all with intervals, most of which are "
    "hidden by their markers."
)
_NAMES = {"minimum_distortion": "nearest codeword", "likelihood": "likelihood encoder"}


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw one panel for each source, two encoders and two block lengths in each."""
    figure, axes = style.panels(
        1, dataset.source.size, width=style.DOUBLE, height=style.DOUBLE / 2.3
    )
    short = int(dataset.short_letters)
    for axis, source in zip(axes[0], dataset.source.values, strict=True):
        part = dataset.sel(source=source, loss_name="error")
        for index, encoder in enumerate(dataset.encoder.values):
            one = part.sel(encoder=encoder)
            name = _NAMES[str(encoder)]
            for place, (curve, points, length) in enumerate(
                (("exact", "simulated", "long"), ("exact_short", "drawn", "short"))
            ):
                look = index + 2 * place
                axis.plot(
                    one.log2_size, one[curve], **style.curve(look), label=f"{name}, {length} block"
                )
                _points(axis, one, points, look)
        axis.set(
            title=f"{source}, n = {int(part.letters)} and {short}",
            xlabel="database size log₂ M [bits]",
            ylim=(0, 1.02),
            xlim=(0, float(dataset.log2_size.max())),
        )
    axes[0, 0].set_ylabel("error probability")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, handlelength=3)
    return figure


def _points(axis: Axes, part: xarray.Dataset, kind: str, look: int) -> None:
    mean = part[f"{kind}_mean"]
    spread = style.bars(mean, part[f"{kind}_lower"], part[f"{kind}_upper"])
    axis.errorbar(
        part[f"{kind}_log2_size"],
        mean,
        yerr=np.maximum(spread, 0.0),
        fmt=style.MARKERS[look],
        color=style.COLORS[look],
        capsize=2,
    )
