"""Growth: excess error of learned codes against samples, modalities and entropy difference."""

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "What learning a retrieval code from N samples costs, on random sources of eight letters "
    "and binary query modalities, evaluated exactly. Circles: error above that of the best "
    "decoder of the same descriptions; squares: divergence of the learned decoder, in bits; "
    "triangles: the bound on the excess error in variation. Lines are fitted power laws with 95 "
    "% bootstrap intervals of their exponents; bars are two standard errors. The entropy difference is "
    "the difference between the mean information of the strong and of the weak modalities."
)
AXES = {
    "samples": ("samples", "training samples N"),
    "modalities": ("modalities", "query modalities K"),
    "skew": ("entropy_difference", "entropy difference ΔH [bits]"),
}
NAMES = {
    "variation": "bound on the excess error",
    "divergence": "divergence [bits]",
    "excess": "excess error",
}


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw one panel for each quantity that is varied."""
    figure, axes = style.panels(1, 3, width=style.DOUBLE, height=3.2)
    for axis, name in zip(axes[0], AXES, strict=True):
        _panel(axis, dataset, name)
    axes[0, 0].set_ylabel("excess error; divergence [bits]")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return figure


def _panel(axis: Axes, dataset: xarray.Dataset, name: str) -> None:
    variable, label = AXES[name]
    x = dataset[variable].values.astype(float)
    grid = np.geomspace(x.min(), x.max(), 50)
    exponents = []
    for index, (quantity, shown) in enumerate(NAMES.items()):
        color = style.COLORS[index]
        axis.errorbar(
            x,
            dataset[f"{quantity}_{name}"],
            yerr=2 * dataset[f"{quantity}_{name}_error"],
            color=color,
            linestyle="none",
            marker=("^", "s", "o")[index],
            label=shown,
        )
        if quantity in dataset.quantity.values:
            fit = dataset.sel(quantity=quantity, axis=name)
            axis.plot(
                grid,
                float(fit.fit_coefficient) * grid ** float(fit.fit_exponent),
                color=color,
                linestyle=style.LINES[index],
                linewidth=1.0,
            )
            exponents.append(
                f"{quantity}: {float(fit.fit_exponent):.2f} "
                f"[{float(fit.fit_lower):.2f}, {float(fit.fit_upper):.2f}]"
            )
    axis.set(xscale="log", yscale="log", xlabel=label)
    axis.set_title("exponents\n" + "\n".join(exponents), fontsize=7)
    if name == "modalities":
        axis.set_xticks(x, [f"{value:g}" for value in x])
        axis.minorticks_off()
    elif name == "skew":
        shown_ticks = [tick for tick in (0.02, 0.05, 0.1, 0.2) if x.min() <= tick <= x.max()]
        axis.set_xticks(shown_ticks, [f"{tick:g}" for tick in shown_ticks])
        axis.minorticks_off()
