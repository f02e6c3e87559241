"""Information bottleneck: curves and bounds, a concave envelope, and a slow iteration."""

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Information bottlenecks: closed forms as lines, certified points as markers, supporting "
    "lines as bounds from above. The concave envelope that certifies one slope, the two "
    "posteriors that support it, and P(Y). The Lagrangian of plain Blahut-Arimoto above its "
    "optimum: geometric inside the curve, of order 1/t² where a letter is about to appear."
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw the discrete and the Gaussian curves, the envelope and the iteration."""
    figure, axes = style.panels(2, 2, width=style.DOUBLE, height=5.6)
    _discrete(axes[0, 0], dataset)
    _gaussian(axes[0, 1], dataset)
    _envelope(axes[1, 0], dataset)
    _iterations(axes[1, 1], dataset)
    return figure


def _discrete(axis: Axes, dataset: xarray.Dataset) -> None:
    for k, name in enumerate(dataset.joint.values):
        part, color = dataset.sel(joint=name), style.COLORS[k]
        axis.plot(part.line_rate, part.dual, color=color, linestyle=":", linewidth=1)
        if np.isfinite(part.line).all():
            axis.plot(part.line_rate, part.line, color=color, linestyle="-")
        axis.plot(
            part.rate,
            part.value,
            color=color,
            linestyle="none",
            marker=style.MARKERS[k],
            markersize=3.5,
            label=str(name),
        )
    axis.plot([], [], color="black", linestyle="-", label="closed form")
    axis.plot([], [], color="black", linestyle=":", linewidth=1, label="upper bound")
    top = float(dataset.information.max())
    axis.set(
        title="certified points, four pairs",
        xlabel="rate R = I(U;Y) [bits]",
        ylabel="IB(R) = I(U;X) [bits]",
        xlim=(0, None),
        ylim=(0, 1.45 * top),
    )
    axis.legend(loc="upper left", ncols=2, columnspacing=1.2)


def _gaussian(axis: Axes, dataset: xarray.Dataset) -> None:
    for k, name in enumerate(dataset.gaussian_source.values):
        label = "r = 0.9" if name == "scalar" else "r = (0.9, 0.6, 0.3)"
        axis.plot(
            dataset.gaussian_rate,
            dataset.gaussian.sel(gaussian_source=name),
            **style.curve(k),
            label=label,
        )
    axis.plot(
        dataset.gaussian_rate, dataset.gaussian_rate, color="black", linewidth=0.8, linestyle=":"
    )
    axis.annotate("IB(R) = R", (1.62, 1.5), fontsize=7)
    axis.set(
        title="Gaussian pairs, closed form",
        xlabel="rate R [bits]",
        ylabel="IB(R) [bits]",
        xlim=(0, 4),
        ylim=(0, 1.6),
    )
    axis.legend(loc="lower right")


def _envelope(axis: Axes, dataset: xarray.Dataset) -> None:
    marginal = dataset.attrs["marginal"]
    axis.plot(dataset.posterior, dataset.objective, color=style.COLORS[0], label="g")
    axis.plot(
        dataset.posterior,
        dataset.concave_envelope,
        color=style.COLORS[1],
        linestyle="--",
        label="concave envelope",
    )
    heights = np.interp(dataset.atom, dataset.posterior, dataset.concave_envelope)
    axis.plot(
        dataset.atom, heights, color="black", linestyle="none", marker="o", label="atoms of U"
    )
    ends = [
        float(np.interp(marginal, dataset.posterior, dataset[name]))
        for name in ("objective", "concave_envelope")
    ]
    axis.plot(
        [marginal, marginal],
        ends,
        color=style.COLORS[2],
        marker="D",
        linestyle="-.",
        label="gain at P(Y=0)",
    )
    axis.set(
        title=f"envelope at slope {dataset.attrs['envelope_slope']:g}, asymmetric pair",
        xlabel="posterior P(Y=0 | u)",
        ylabel="objective g [bits]",
        xlim=(0, 1),
    )
    axis.legend(loc="lower right")


def _iterations(axis: Axes, dataset: xarray.Dataset) -> None:
    names = {"inside": "inside, D = 0.1", "transition": "at a transition"}
    step = dataset.step.values[1:]
    for k, (name, label) in enumerate(names.items()):
        part = dataset.sel(problem=name).isel(step=slice(1, None))
        shown = part.iteration_gap.values > 1e-16
        axis.loglog(
            step[shown],
            part.iteration_gap.values[shown],
            **style.points(k),
            markevery=0.05,
            label=label,
        )
        predicted = part.iteration_prediction.values
        label = "∝ (3/7)$^{2t}$" if name == "inside" else "1 / (2 χ² t²)"
        axis.loglog(
            step[predicted > 1e-16], predicted[predicted > 1e-16], **style.curve(k), label=label
        )
    axis.set(
        title="plain Blahut-Arimoto, Bernoulli(0.3)",
        xlabel="iteration t",
        ylabel="gap of the Lagrangian [nats]",
        ylim=(1e-16, 1),
    )
    axis.legend(loc="lower right")
