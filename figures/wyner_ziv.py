"""Rate against distortion with side information at both ends, at the decoder alone, or nowhere."""

import xarray
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Rate-distortion functions without side information, with it at the decoder alone "
    "(Wyner-Ziv, the solver's certified values) and at both ends. Binary pair: dots on the closed "
    "form, whose end is a straight tangent."
)
CURVES = (
    ("plain", "no side information"),
    ("wyner_ziv", "decoder alone (Wyner-Ziv)"),
    ("conditional", "both ends"),
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw the three rates of each source."""
    figure, axes = style.panels(1, dataset.sizes["source"], width=style.DOUBLE, height=2.9)
    for axis, name in zip(axes[0], dataset.source.values, strict=True):
        part = dataset.sel(source=name)
        for (field, label), color, line in zip(CURVES, style.COLORS, style.LINES, strict=False):
            axis.plot(
                part.distortion,
                part[field],
                color=color,
                linestyle=line,
                label=label if axis is axes[0, 0] else None,
            )
        axis.set(title=str(name), xlabel="distortion D", ylim=(0, None))
        axis.locator_params(axis="x", nbins=6)
    binary = dataset.sel(source=dataset.source.values[0])
    axes[0, 0].plot(
        binary.distortion,
        dataset.closed_form,
        color="black",
        linestyle="none",
        marker=".",
        label="closed form",
    )
    axes[0, 0].set_ylabel("rate [bits per letter]")
    figure.legend(loc="outside upper center", ncols=4)
    return figure
