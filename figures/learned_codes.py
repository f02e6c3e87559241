"""Learned codes: distance from the bottleneck, MRR beside the best known codes, temperatures."""

from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from figures import _style

CAPTION = (
    "Neural stochastic codes, every curve one training. First Gaussian sources: I(X;U) of the "
    "learned codes, between certified bounds narrower than the markers, below the closed form of "
    "the bottleneck, and the bits that they lack of it. Then a Gaussian mixture in the plane with "
    "query modalities of unequal noise: MRR of the learned codes under their own decoders, with "
    "intervals of 95 %, beside the best known codes at the same I(U;Y), shared in time, and the outer "
    "bound; the percentage points that they lack, one by one and shared in time; and the learned "
    "temperatures' ratios beside the optimal ones, those of the noise."
)
_NAMES = {"scalar": "scalar Gaussian", "vector": "vector Gaussian"}
_ALLOWED_BITS = 0.05
_ALLOWED_POINTS = 2.0


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw two panels of the Gaussians, and then those of the mixture."""
    figure, axes = _style.panels(2, 3, width=_style.DOUBLE, height=5.2)
    _informations(axes[0, 0], dataset)
    _distances(axes[0, 1], dataset)
    for axis, size in zip((axes[0, 2], axes[1, 0]), dataset.log2_size.values[:2], strict=False):
        _mrr(axis, dataset.sel(log2_size=size))
    if dataset.sizes["log2_size"] < 2:
        axes[1, 0].set_axis_off()
    _points(axes[1, 1], dataset)
    _temperatures(axes[1, 2], dataset)
    figure.legend(handles=_handles(dataset), loc="outside upper center", ncols=3)
    return figure


def _source_style(dataset: xarray.Dataset, name: str) -> dict[str, Any]:
    index = list(dataset.source.values).index(name)
    return {"color": _style.COLORS[index], "marker": _style.MARKERS[index]}


def _informations(axis: Axes, dataset: xarray.Dataset) -> None:
    for index, name in enumerate(dataset.source.values):
        part = dataset.sel(source=name)
        axis.plot(
            part.curve_rate, part.curve, color=_style.COLORS[index], linestyle=_style.LINES[index]
        )
        bar = np.stack(
            [part.relevance - part.relevance_lower, part.relevance_upper - part.relevance]
        )
        axis.errorbar(
            part.rate,
            part.relevance,
            yerr=np.maximum(bar, 0.0),
            linestyle="",
            **_source_style(dataset, name),
        )
    axis.set(xlabel="I(U;Y), bits per item", ylabel="I(X;U), bits", title="Gaussian sources")
    axis.set_xlim(0, float(dataset.curve_rate.max()))
    axis.set_ylim(0, None)


def _distances(axis: Axes, dataset: xarray.Dataset) -> None:
    for name in dataset.source.values:
        part = dataset.sel(source=name)
        axis.plot(part.rate, part.distance, linestyle="", **_source_style(dataset, name))
    axis.axhline(_ALLOWED_BITS, color="#777777", linestyle="--", linewidth=1.0)
    axis.set(xlabel="I(U;Y), bits per item", ylabel="bits below IB(R)", title="Distance in bits")
    axis.set_yscale("log")
    axis.set_xlim(0, float(dataset.curve_rate.max()))


def _mrr(axis: Axes, part: xarray.Dataset) -> None:
    outer = 1 - np.maximum(part.converse_curve, part.whole_lower)
    axis.fill_between(
        part.mixture_rate, 1 - part.best_known_curve, outer, color="#eeeeee", linewidth=0
    )
    axis.plot(part.mixture_rate, outer, color="#000000", linestyle="-", linewidth=1.0)
    axis.plot(
        part.mixture_rate, 1 - part.best_known_curve, color="#000000", linestyle="--", linewidth=1.0
    )
    own = part.sel(decoder="learned")
    bar = np.stack([own.loss_upper - own.loss, own.loss - own.loss_lower])
    axis.errorbar(
        own.information,
        1 - own.loss,
        yerr=np.maximum(bar, 0.0),
        elinewidth=0.7,
        **_MIXTURE,
    )
    axis.set(xlabel="I(U;Y), bits per item", ylabel="MRR")
    axis.set_title(f"Mixture, M = 2$^{{{int(part.log2_size)}}}$")
    axis.set_xlim(0, float(part.mixture_rate.max()))
    axis.set_ylim(0, min(1.0, 1.12 * float(outer.max())))


_MIXTURE: dict[str, Any] = {"color": _style.COLORS[2], "marker": "^", "linestyle": ""}


def _points(axis: Axes, dataset: xarray.Dataset) -> None:
    own = dataset.sel(decoder="learned")
    order = np.argsort(dataset.information.values)
    for index, size in enumerate(dataset.log2_size.values):
        at = own.sel(log2_size=size).isel(mixture_run=order)
        label = f"2$^{{{int(size)}}}$"
        style: dict[str, Any] = {
            "color": _style.COLORS[index + 3],
            "marker": _style.MARKERS[index + 3],
        }
        axis.plot(at.information, at.above_best_known, linestyle="", **style, label=label)
        axis.plot(
            at.information,
            at.shared_above_best_known,
            color=style["color"],
            linestyle=_style.LINES[index],
            linewidth=1.0,
        )
    axis.axhline(_ALLOWED_POINTS, color="#777777", linestyle="--", linewidth=1.0)
    axis.set(xlabel="I(U;Y), bits per item", ylabel="points below best known")
    axis.set_title("Distance in points of MRR")
    axis.set_xlim(0, float(dataset.mixture_rate.max()))
    bottom, top = axis.get_ylim()
    axis.set_ylim(bottom, top + 0.45 * (top - bottom))
    axis.legend(title="M", ncols=3, loc="upper center", columnspacing=0.8, handletextpad=0.2)


def _temperatures(axis: Axes, dataset: xarray.Dataset) -> None:
    ratio = dataset.temperature / dataset.temperature.isel(modality=0)
    optimal = (dataset.noise / dataset.noise.isel(modality=0)).values
    for k in range(1, optimal.size):
        axis.plot(
            dataset.information,
            ratio.isel(modality=k),
            **_MIXTURE | {"marker": ("^", "v", "<", ">")[(k - 1) % 4]},
        )
        axis.axhline(optimal[k], color="#000000", linestyle=":", linewidth=1.2)
    axis.set(xlabel="I(U;Y), bits per item", ylabel=r"$\tau_k / \tau_1$", title="Temperatures")
    axis.set_xlim(0, float(dataset.mixture_rate.max()))
    axis.set_ylim(0, 1.3 * max(float(ratio.max()), float(optimal.max())))


def _handles(dataset: xarray.Dataset) -> list[Line2D | Patch]:
    def line(label: str, **style: Any) -> Line2D:
        return Line2D([], [], label=label, **style)

    return [
        *(
            line(
                f"{_NAMES[str(name)]}, learned and IB(R)",
                linestyle=_style.LINES[index],
                **_source_style(dataset, name),
            )
            for index, name in enumerate(dataset.source.values)
        ),
        line("mixture, learned", **_MIXTURE),
        line("outer bound", color="#000000", linestyle="-", linewidth=1.0),
        line("best known codes", color="#000000", linestyle="--", linewidth=1.0),
        Patch(color="#eeeeee", label="between them"),
        line("optimal temperatures", color="#000000", linestyle=":", linewidth=1.2),
        line("0.05 bits, 2 points", color="#777777", linestyle="--", linewidth=1.0),
        line("shared in time", color=_style.COLORS[3], linestyle="-", linewidth=1.0),
    ]
