"""Skew penalty: what unequal entropies cost a common code, and an equal split of a rate."""

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "What unequal entropies cost. Left: the empirical kappa of one code for two Zipf targets "
    "(reciprocal rank). Up to the marker the Gibbs distribution majorises both priors and kappa "
    "is 1/2; it remains so while the distribution majorises the prior of the larger entropy. "
    "Middle: the rate less the balanced term, against the converse with kappa = 1/2. Right: "
    "bits wasted by equal rates on two Gaussian modalities: quadratic in a small entropy difference, "
    "so below every line kappa x ΔH; linear in a large one while the rate lasts, then half the "
    "rate."
)
_SHOWN = 4
_SHOWN_LOSSES = (0.5, 0.85, 1.0)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw the common code in two panels and the allocation in the third."""
    figure, axes = style.panels(1, 3, width=style.DOUBLE, height=3.3)
    _kappa(axes[0, 0], dataset)
    _common(axes[0, 1], dataset)
    _allocation(axes[0, 2], dataset)
    for axis in axes[0]:
        axis.legend(loc="upper left", fontsize=6.5, handlelength=2.5, borderaxespad=0.2)
    return figure


def _kappa(axis: Axes, dataset: xarray.Dataset) -> None:
    step = max(dataset.sizes["exponent"] // _SHOWN, 1)
    for index, exponent in enumerate(dataset.exponent.values[step - 1 :: step][:_SHOWN]):
        part = dataset.sel(exponent=exponent)
        color, line = style.COLORS[index], style.LINES[index]
        axis.plot(
            part.loss,
            part.kappa,
            color=color,
            linestyle=line,
            label=f"ΔH = {float(part.entropy_difference):.2f} bits",
        )
        both = np.flatnonzero(part.both_majorised.values > 0)
        if both.size:
            axis.plot(
                part.loss[both[-1]],
                part.kappa[both[-1]],
                color=color,
                marker=style.MARKERS[index],
                fillstyle="none",
            )
    axis.axhline(0.5, color="black", linewidth=0.8, linestyle=":")
    axis.set(xlim=(-0.03, 1.03), ylim=(0, 2), xlabel="expected loss D")
    axis.set_ylabel("empirical κ(D)")
    axis.set_title("one code, two targets")


def _common(axis: Axes, dataset: xarray.Dataset) -> None:
    difference = dataset.entropy_difference.values
    line = np.array([0.0, difference.max()])
    for index, loss in enumerate(_SHOWN_LOSSES):
        part = dataset.sel(loss=loss, method="nearest")
        axis.plot(
            difference,
            part.kappa * difference,
            **style.points(index),
            fillstyle="none",
            label=f"D = {float(part.loss):.2g}",
        )
    axis.plot(line, 0.5 * line, color="black", linestyle="-", label="ΔH / 2 (converse)")
    highest = float(
        (dataset.kappa * dataset.entropy_difference)
        .sel(loss=list(_SHOWN_LOSSES), method="nearest")
        .max()
    )
    axis.set(
        xlim=(0, 1.03 * difference.max()),
        ylim=(0, 1.5 * highest),
        xlabel="entropy difference ΔH [bits]",
    )
    axis.set_ylabel("rate − balanced term [bits]")
    axis.set_title("common rate")


def _allocation(axis: Axes, dataset: xarray.Dataset) -> None:
    difference = dataset.difference.values
    for index, rate in enumerate(dataset.total_rate.values):
        axis.loglog(
            difference,
            dataset.penalty.sel(total_rate=rate),
            color=style.COLORS[index],
            linestyle=style.LINES[index + 1],
            label=f"R = {rate:g} bits",
        )
    axis.loglog(
        difference, dataset.high_rate, color="black", linewidth=0.9, linestyle="-", label="R → ∞"
    )
    axis.loglog(
        difference,
        np.log(2) / 2 * difference**2,
        color="#777777",
        linewidth=0.9,
        linestyle=(0, (1, 1)),
        label="(ln 2 / 2) ΔH²",
    )
    kappa = dataset.attrs["kappa"]
    axis.loglog(
        difference,
        kappa * difference,
        color="#777777",
        linewidth=0.9,
        linestyle="-.",
        label=f"{kappa:g} ΔH",
    )
    axis.set(
        xlim=(difference[0], difference[-1]),
        ylim=(1e-6, 5e4),
        xlabel="entropy difference ΔH [bits]",
    )
    axis.set_ylabel("penalty [bits]")
    axis.set_title("equal rates")
