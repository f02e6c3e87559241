"""Sets of regions and words: the rate-loss plane, and the attention weights of one pair."""

import xarray
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Pairs whose regions and words show common Gaussian parts in random orders. Left: MRR of cross-attention on stored sets "
    "of regions, its two directions concatenated or averaged, and of a dual encoder of the means, at the same bits per "
    "item, mean over seeds, with the widest interval of any seed (95 % each); open: untrained; black line: converse of so many "
    "bits under one encoder that knows the orders (C27). Middle and right: attention in a pair that was not trained on, "
    "over regions for each word (columns add up to one) and over words for each region (rows do); circles mark the region "
    "that shows the part of the word."
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw the plane and the weights."""
    figure, axes = style.panels(1, 3, width=style.DOUBLE, height=2.9)
    plane, *maps = axes[0]
    for row, name in enumerate(dataset.family.values):
        here = dataset.sel(family=name)
        mean = here.mrr.mean("seed")
        look = {**style.curve(row), "marker": style.MARKERS[row]}
        bars = style.bars(mean, here.lower.min("seed"), here.upper.max("seed"))
        plane.errorbar(dataset.bits, mean, yerr=bars, elinewidth=0.6, label=name, **look)
        start = here.untrained_mrr.mean("seed")
        plane.plot(dataset.bits, start, **{**look, "linestyle": "none"}, markerfacecolor="white")
    plane.plot(
        dataset.bits,
        dataset.converse,
        color="black",
        linewidth=1.0,
        linestyle="-",
        label="converse",
    )
    plane.set_xscale("log", base=2)
    plane.set_xticks(dataset.bits.values, [str(b) for b in dataset.bits.values])
    plane.set(
        xlabel="bits per item", ylabel=f"MRR, M = 2$^{{{dataset.attrs['log2_size']}}}$", ylim=(0, 1)
    )
    figure.legend(*plane.get_legend_handles_labels(), loc="outside lower left", ncols=3)
    for axis, name, title in zip(
        maps, ("alpha", "beta"), ("words attend to regions", "regions attend to words"), strict=True
    ):
        image = axis.pcolormesh(
            dataset.word, dataset.region, dataset[name], cmap="Greys", vmin=0, vmax=1
        )
        axis.plot(
            dataset.word, dataset.match, linestyle="none", marker="o", markersize=9, markerfacecolor="none",
            markeredgewidth=1.5, color=style.COLORS[1],
        )  # fmt: skip
        axis.grid(False)
        axis.set_aspect("equal")
        axis.set_xticks(dataset.word)
        axis.set_yticks(dataset.region)
        axis.invert_yaxis()
        axis.set(xlabel="word", ylabel="region", title=title)
    figure.colorbar(image, ax=maps, shrink=0.6, label="attention")
    return figure
