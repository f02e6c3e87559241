"""Real texts: quality against the size of the database and against bits, measured and predicted."""

import numpy as np
import xarray
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Words of WordNet as queries for their definitions, both as means of static word vectors. Left: MRR "
    "against the number of items. Points: measured, with two standard errors; line and band: predicted from "
    "the size marked by the dotted line; dashed: the isotropic Gaussian twin fitted at that size. Right: MRR at "
    "that size against the bits stored per item. Points: product quantizers; dashed: random codes for the twin; "
    "solid: what no code for the twin passes. Quantizers above it refute the isotropic twin as a model of the real items."
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw both panels, or the reason why there is nothing to draw."""
    if "skipped" in dataset.attrs:
        return style.skipped()
    figure, axes = style.panels(1, 2, width=style.DOUBLE, height=3.0)
    size, rate = axes[0]
    x = dataset.predicted_log2_size
    size.fill_between(
        x, dataset.lower, dataset.upper, color=style.COLORS[0], alpha=0.2, linewidth=0
    )
    size.plot(x, dataset.value, color=style.COLORS[0], label="predicted, with band")
    size.plot(
        x, dataset.twin_quality, color=style.COLORS[1], linestyle="--", label="isotropic twin"
    )
    size.errorbar(
        dataset.log2_size,
        dataset.measured,
        yerr=2 * dataset.measured_error,
        fmt="o",
        color="black",
        markersize=3,
        label="measured",
    )
    size.axvline(np.log2(dataset.attrs["fitted"]), color="#999999", linestyle=":", linewidth=1)
    size.set(xlabel="database size log₂ M [bits]", ylabel="MRR", ylim=(0, None))
    size.set_title(f"fitted on {dataset.attrs['fitted']:,} items")
    size.legend(loc="upper right")
    rate.plot(
        dataset.bits, dataset.twin_converse, color=style.COLORS[2], label="converse of the twin"
    )
    rate.plot(
        dataset.bits,
        dataset.twin_code,
        color=style.COLORS[1],
        linestyle="--",
        label="random codes, twin",
    )
    rate.errorbar(
        dataset.bits,
        dataset.code_mrr,
        yerr=2 * dataset.code_error,
        fmt="s",
        color="black",
        markersize=3,
        label="product quantizers",
    )
    rate.axhline(float(dataset.whole), color="#999999", linestyle=":", linewidth=1)
    highest = 1.5 * float(np.max([dataset.twin_converse.max(), dataset.whole]))
    rate.set(xlabel="bits per item", ylabel="MRR", ylim=(0, highest))
    rate.set_xscale("log", base=2)
    rate.set_xticks(dataset.bits.values, [f"{bits:.0f}" for bits in dataset.bits.values])
    rate.minorticks_off()
    rate.set_title(f"{dataset.attrs['fitted']:,} items; dotted: stored whole")
    rate.legend(loc="upper left")
    return figure
