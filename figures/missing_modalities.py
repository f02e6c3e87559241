"""Missing modalities at test time: MRR of each family for each set that is present."""

import numpy as np
import xarray
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Gaussian items seen in modalities of unequal noise, the first the least noisy. Each panel is a set of modalities that the query has; "
    "filled: MRR of each family, mean over seeds, with the widest interval of any seed (95 % each); open: untrained. Black "
    "line: no code of so many bits per item under one encoder is right of it for that set (C27). Families with gaps lost "
    "modalities at random in training."
)


_COLUMNS = 4
"""Most panels side by side."""


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw a panel a set."""
    names = [str(name) for name in dataset.family.values]
    sets = dataset.present.values
    columns = min(len(sets), _COLUMNS)
    rows = -(-len(sets) // columns)
    figure, axes = style.panels(
        rows, columns, width=style.DOUBLE, height=rows * (1.3 + 0.22 * len(names))
    )
    for place, axis in enumerate(axes.flat):
        if place >= len(sets):
            axis.axis("off")
            continue
        there = sets[place]
        for row, name in enumerate(names):
            here = dataset.sel(family=name, present=there)
            look = style.points(row % len(style.COLORS))
            low, mean, high = (
                float(v) for v in (here.lower.min(), here.mrr.mean(), here.upper.max())
            )
            axis.errorbar(
                mean, row, xerr=style.bars(mean, low, high)[:, None], elinewidth=0.6, **look
            )
            axis.plot(here.untrained_mrr.mean(), row, markerfacecolor="white", **look)
        axis.axvline(float(dataset.converse.sel(present=there)), color="black", linewidth=1.0)
        axis.set_yticks(range(len(names)), [""] * len(names) if place % columns else names)
        axis.set_ylim(len(names) - 0.5, -0.5)
        noun = "modalities" if "+" in there else "modality"
        axis.set(xlabel="MRR", title=f"{noun} {there.replace('+', ', ')}")
        axis.set_xlim(0, 1.08 * float(np.max(dataset.converse)))
    return figure
