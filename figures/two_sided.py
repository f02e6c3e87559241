"""Inner and outer bounds on the identification rate when both sides are compressed."""

import numpy as np
import xarray
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Identification rate with query and items both compressed. Left: equal rates; between the "
    "bounds the rate is not known. Right: inner bound (time-shared) and outer bound over "
    "unequal rates."
)
SHARES = (0.25, 0.5, 0.75)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw the diagonal and the square of rates of each pair."""
    figure, axes = style.panels(2, 2, width=style.DOUBLE, height=5.4)
    for index, (row, name) in enumerate(zip(axes, dataset.source.values, strict=True)):
        part = dataset.sel(source=name)
        rate = part.rate.values
        equal, square = row
        bounds = {
            field: np.diagonal(part[field].values) for field in ("lower", "upper", "long_chain")
        }
        equal.fill_between(rate, bounds["lower"], bounds["upper"], color="#dddddd", linewidth=0)
        for field, color, line, label in (
            ("upper", style.COLORS[1], "--", "outer: one side whole"),
            ("lower", style.COLORS[0], "-", "inner: time-shared chains"),
            ("long_chain", "black", ":", "one chain U-X-Y-V"),
        ):
            named = label if index == 0 else None
            equal.plot(rate, bounds[field], color=color, linestyle=line, label=named)
        equal.set(
            title=f"{name}, $R_x = R_y$",
            xlabel="$R_x = R_y$ [bits]",
            ylabel="identification rate [bits]",
            ylim=(0, None),
        )
        levels = np.array(SHARES) * float(part.upper.max())
        square.contour(
            rate, rate, part.lower.values.T, levels=levels, colors=style.COLORS[0], linestyles="-"
        )
        # The outer bound is the smaller of a function of each rate, so its contours are corners.
        alone = [part.upper.isel({other: -1}).values for other in ("item", "query")]
        for level in levels:
            x, y = (np.interp(level, one, rate) for one in alone)
            square.plot([x, x, rate[-1]], [rate[-1], y, y], color=style.COLORS[1], linestyle="--")
        square.set(
            title=f"{name}, contours at {', '.join(f'{x:.2f}' for x in levels)} bits",
            xlabel="query rate $R_x$ [bits]",
            ylabel="item rate $R_y$ [bits]",
        )
    figure.legend(loc="outside upper center", ncols=3)
    return figure
