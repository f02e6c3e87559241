"""Temperatures: reciprocal rank against the ratio of two temperatures, and what sets them."""

from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rdsim.plotting import style

CAPTION = (
    "Items of a Gaussian mixture stored as codewords and ranked by squared distances from two "
    "noisy queries, each divided by its temperature. First: mean reciprocal rank against the "
    "ratio of the temperatures for several database sizes M, with the ratios that rules choose, "
    "and decoders without a ratio; bands are 95 % intervals. Last: temperatures fitted with "
    "codebooks of K codewords (two standard errors), the optimum for Gaussian cells (lines) and the "
    "noise variances (dotted)."
)
_RULES = {
    "fitted": ("o", 10, style.COLORS[1]),
    "noise variances": ("s", 6, style.COLORS[2]),
    "one for all": ("^", 6, style.COLORS[3]),
    "difference to the worst": ("D", 6, style.COLORS[5]),
    "difference to the best": ("v", 6, style.COLORS[6]),
}
_LINES: dict[str, tuple[Any, str]] = {
    "information density": ("--", style.COLORS[6]),
    "cosines, fitted": ("-.", style.COLORS[2]),
    "averaged cosine": (":", style.COLORS[1]),
}


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw a panel for each database size, and one of the temperatures."""
    panels = dataset.sizes["log2_size"] + 1
    columns = 2 if panels > 1 else 1
    rows = -(-panels // columns)
    figure, axes = style.panels(rows, columns, width=style.DOUBLE, height=2.2 * rows + 0.5)
    flat = axes.ravel()
    for axis, size in zip(flat, dataset.log2_size.values, strict=False):
        _sweep(axis, dataset.sel(log2_size=size))
        axis.set_title(f"M = 2$^{{{size}}}$, K = {dataset.codewords.values[-1]}")
        axis.set_ylabel("mean reciprocal rank")
        axis.set_xlabel("ratio of temperatures τ₂/τ₁")
    _temperatures(flat[panels - 1], dataset)
    for axis in flat[panels:]:
        axis.axis("off")
    figure.legend(handles=_handles(), loc="outside upper center", ncols=3)
    return figure


def _sweep(axis: Axes, dataset: xarray.Dataset) -> None:
    curve = dataset.mrr.isel(decoder=slice(None, dataset.sizes["ratio"]))
    blue = style.COLORS[0]
    axis.fill_between(
        dataset.ratio, curve.sel(end="lower"), curve.sel(end="upper"), color=blue, alpha=0.2, lw=0
    )
    axis.plot(dataset.ratio, curve.sel(end="mean"), color=blue, linestyle="-")
    best = int(np.argmax(curve.sel(end="mean").values))
    axis.plot(
        dataset.ratio[best],
        curve.sel(end="mean")[best],
        marker="*",
        markersize=6,
        color=blue,
        zorder=5,
    )
    for name, (line, color) in _LINES.items():
        axis.axhline(float(dataset.mrr.sel(decoder=name, end="mean")), linestyle=line, color=color)
    for name, (marker, size, color) in _RULES.items():
        axis.plot(
            dataset.rule_ratio.sel(rule=name),
            dataset.mrr.sel(decoder=name, end="mean"),
            marker=marker,
            color=color,
            markerfacecolor="none",
            markersize=size,
            markeredgewidth=1.3,
        )
    axis.set_xscale("log")
    axis.set_ylim(0, 1.08 * float(curve.max()))
    axis.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)


def _temperatures(axis: Axes, dataset: xarray.Dataset) -> None:
    for k, (marker, color) in enumerate((("o", style.COLORS[0]), ("s", style.COLORS[1]))):
        fitted = dataset.temperature.isel(modality=k)
        spread = np.exp(2 * dataset.log_error.isel(modality=k))
        axis.errorbar(
            dataset.codewords,
            fitted,
            yerr=style.bars(fitted, fitted / spread, fitted * spread),
            marker=marker,
            linestyle="none",
            color=color,
            capsize=2,
            label=f"modality {k + 1}",
        )
        axis.plot(dataset.codewords, dataset.theory.isel(modality=k), color=color, linestyle="-")
        axis.axhline(float(dataset.query_noise[k]), color=color, linestyle=":")
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set(xlabel="codewords K", ylabel="temperature τ", title="fitted temperatures")
    axis.legend(loc="upper right")


def _handles() -> list[Line2D]:
    blue = style.COLORS[0]
    return [
        Line2D([], [], color=blue, linestyle="-", label="ratio swept"),
        Line2D([], [], color=blue, linestyle="none", marker="*", markersize=6, label="its best"),
        *(
            Line2D(
                [],
                [],
                linestyle="none",
                marker=marker,
                color=color,
                markerfacecolor="none",
                markeredgewidth=1.3,
                markersize=size,
                label=f"ΔH, {name}" if name.startswith("difference") else name,
            )
            for name, (marker, size, color) in _RULES.items()
        ),
        *(
            Line2D([], [], color=color, linestyle=line, label=name)
            for name, (line, color) in _LINES.items()
        ),
    ]
