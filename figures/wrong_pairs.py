"""Wrong pairs in training: MRR of each loss, and what scores made for such pairs keep."""

import xarray
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Dual encoders trained on Gaussian pairs a share of which is wrong, and ranked in a clean database. Left: MRR "
    "of each loss, mean over seeds, with the widest interval of any seed (95 % each); open: the plain loss untrained; black "
    "line: converse of so many bits under one encoder (C27), the same for every share, since scores made for wrong "
    "pairs order single items rightly (C30). Right: what such scores keep letter by letter, the generalized mutual "
    "information, beside the information."
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw the losses and the scores."""
    figure, axes = style.panels(1, 2, width=style.DOUBLE, height=2.9)
    left, right = axes[0]
    for row, rule in enumerate(dataset.rule.values):
        here = dataset.sel(rule=rule)
        mean = here.mrr.mean("seed")
        look = {"color": style.COLORS[row], "marker": style.MARKERS[row]}
        bars = style.bars(mean, here.lower.min("seed"), here.upper.max("seed"))
        left.errorbar(
            dataset.share,
            mean,
            yerr=bars,
            elinewidth=0.6,
            linestyle=style.LINES[row],
            label=rule,
            **look,
        )
    left.plot(
        0.0,
        dataset.untrained_mrr.isel(rule=0).mean(),
        **{
            **look,
            "color": style.COLORS[0],
            "marker": style.MARKERS[0],
            "markerfacecolor": "white",
        },
    )
    left.axhline(float(dataset.converse), color="black", linewidth=1.0)
    size, bits = dataset.attrs["log2_size"], dataset.attrs["bits"]
    left.set(
        xlabel="share of wrong pairs",
        ylabel=f"MRR, M = 2$^{{{size}}}$",
        title=f"{bits} bits per item",
        ylim=(0, 1.1 * float(dataset.converse)),
    )
    left.legend(loc="upper right", bbox_to_anchor=(1.0, 0.95))
    right.plot(
        dataset.share,
        dataset.kept,
        marker="o",
        color=style.COLORS[0],
        label="kept, letter by letter",
    )
    right.axhline(float(dataset.information), color="black", linewidth=1.0, label="information")
    right.set(
        xlabel="share of wrong pairs",
        ylabel="bits per letter",
        title="scores made for such pairs",
        ylim=(0, 1.15 * float(dataset.information)),
    )
    right.legend(loc="lower left")
    return figure
