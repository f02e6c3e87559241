"""Gaussian mixture: MRR against bits per item, two and three modalities, and database sizes."""

from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from rdsim.plotting import style

CAPTION = (
    "MRR of codes for items of a Gaussian mixture in the plane, seen through two or three noisy "
    "modalities, with intervals of 95 %. Every code is decoded with fitted temperatures and "
    "stands at the entropy H(U) of its index; the entropy-weighted code also at I(U;Y), open "
    "circles, and with one temperature and averaged cosines. Upper edge of the shade: no system "
    "is above it, joint encoders included; it is the tighter of the rank converse (C4) and items stored whole. Lower edge: "
    "the best codes found, charged I(U;Y) and time-shared. Dash-dotted: one codebook of 2^B codewords (C27), which "
    "is far tighter where the bits are fewer than those of the database's size; codes that send an index are below it at log2 of their number of "
    "codewords, at or right of where they stand. On the logarithmic axis intervals "
    "are left out: at the largest database, where a few trials decide, they are as large as the MRR, and codes stand above that line by chance."
)

_CODEBOOK: dict[str, Any] = {"color": "#000000", "linestyle": "-.", "linewidth": 1.0}
_FITTED, _ONE, _COSINE = "fitted temperatures", "one temperature", "averaged cosine"
_ADAPTIVE = "entropy-weighted"
_GREY = "#777777"
_LOG_FROM = 16
"""log2 of the database size from which MRR is drawn on a logarithmic axis."""


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw a row of panels for each number of modalities, a panel for each database size."""
    data = dataset.sel(loss_name="reciprocal_rank")
    rows, columns = data.sizes["modalities"], data.sizes["log2_size"]
    figure, axes = style.panels(rows, columns, width=style.DOUBLE, height=2.1 * rows + 1.1)
    for row, modalities in zip(axes, data.modalities.values, strict=True):
        for axis, size in zip(row, data.log2_size.values, strict=True):
            _panel(axis, data.sel(modalities=modalities, log2_size=size))
            axis.set_title(f"{modalities} modalities, M = 2$^{{{size}}}$")
        row[0].set_ylabel("MRR")
    for axis in axes[-1]:
        axis.set_xlabel("bits per item")
    figure.legend(handles=_handles(data), loc="outside upper center", ncols=3)
    return figure


def _panel(axis: Axes, part: xarray.Dataset) -> None:
    outer = 1 - np.maximum(part.converse, part.whole_lower)
    axis.fill_between(part.rate, 1 - part.best_shared, outer, color="#eeeeee", linewidth=0)
    axis.plot(part.rate, outer, color="#000000", linestyle="-", linewidth=1.0)
    axis.plot(part.rate, np.minimum(1 - part.codebook, outer), **_CODEBOOK)
    axis.plot(part.rate, 1 - part.best_shared, color="#000000", linestyle="--", linewidth=1.0)
    for name, look in _code_styles(part).items():
        _points(axis, part.sel(code=name, decoder=_FITTED), "entropy", **look)
    adaptive = part.sel(code=_ADAPTIVE)
    fitted = adaptive.sel(decoder=_FITTED)
    _points(axis, fitted, "information", **_OPEN)
    for decoder, look in _DECODERS.items():
        _points(axis, adaptive.sel(decoder=decoder), "entropy", **look)
    if part.log2_size > _LOG_FROM:
        axis.set_yscale("log")
        axis.set_ylim(0.5 * float(1 - part.loss.sel(decoder=_FITTED).max()), None)
    else:
        axis.set_ylim(0, min(1.0, 1.12 * float(outer.max())))
    axis.set_xlim(0, float(part.rate.max()))


def _points(axis: Axes, part: xarray.Dataset, charged: str, **look: object) -> None:
    """Markers at the bits of a code, with the intervals of its MRR."""
    order = np.argsort(part[charged].values)
    bits, loss, lower, upper = (
        part[name].values[order] for name in (charged, "loss", "loss_lower", "loss_upper")
    )
    if part.log2_size > _LOG_FROM:
        axis.plot(bits, 1 - loss, **look)  # type: ignore[arg-type]
        return
    bar = np.maximum(np.stack([upper - loss, loss - lower]), 0.0)
    axis.errorbar(bits, 1 - loss, yerr=bar, elinewidth=0.7, capsize=0, **look)  # type: ignore[arg-type]


_OPEN: dict[str, object] = {
    "color": style.COLORS[0],
    "marker": "o",
    "markerfacecolor": "white",
    "linestyle": "-",
}
_DECODERS: dict[str, dict[str, object]] = {
    _ONE: {"color": style.COLORS[1], "marker": "s", "linestyle": "--"},
    _COSINE: {"color": style.COLORS[2], "marker": "^", "linestyle": "-."},
}


def _code_styles(data: xarray.Dataset) -> dict[str, dict[str, object]]:
    """The adaptive code as a line of its own; the others in thin grey, with different markers."""
    markers = iter(("D", "v", "P", "X", "*", "d"))
    return {
        str(name): {"color": style.COLORS[0], "marker": "o", "linestyle": "-"}
        if name == _ADAPTIVE
        else {
            "color": _GREY,
            "marker": next(markers),
            "linestyle": ":",
            "linewidth": 0.6,
            "markersize": 4,
        }
        for name in data.code.values
    }


def _handles(data: xarray.Dataset) -> list[Line2D | Patch]:
    styles = _code_styles(data)
    labelled = {
        "entropy-weighted, fitted, at H(U)": styles.pop(_ADAPTIVE),
        "the same at I(U;Y)": _OPEN,
        **{f"the same, {decoder}": look for decoder, look in _DECODERS.items()},
        **styles,
    }
    return [
        *(Line2D([], [], label=name, **look) for name, look in labelled.items()),  # type: ignore[arg-type]
        Line2D([], [], color="#000000", linestyle="-", linewidth=1.0, label="outer bound"),
        Line2D([], [], label="one codebook of so many bits", **_CODEBOOK),
        Line2D([], [], color="#000000", linestyle="--", linewidth=1.0, label="best known code"),
        Patch(color="#eeeeee", label="between them"),
    ]
