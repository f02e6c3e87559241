"""Quantizers: recall@1 against bits per item, codes below the converses of their notions of rate."""

import xarray
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "How often 64-dimensional Gaussian items (correlation .8) are found first among 50,000, against bits per item. Lines: "
    "what no code can pass, by its notion of rate; thin grey, the rank converse, which holds for any data. Lines with dots: exact "
    "means over random codes, of one length, and with long codewords for a share of the items that are drawn at random. Filled points: "
    "product (PQ) and residual (RQ) quantizers and the sign of each coordinate, every item stored by the same number of bits. Open points: the "
    "same quantizers for a random share of the items, the others not stored: at few bits they find the target more often "
    "than any code of a fixed length can. Intervals over databases, 95 %."
)
_MARKERS = {"PQ": "o", "RQ": "s", "LSQ": "^", "sign": "D"}


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw the converses as lines and the codes as points."""
    figure, axes = style.panels(1, 1, width=style.DOUBLE, height=3.4)
    axis = axes[0, 0]
    axis.plot(
        dataset.bits, dataset.rank_rate, color="#999999", linewidth=1.0, label="rank converse"
    )
    for index, kind in enumerate(dataset.kind.values):
        axis.plot(
            dataset.bits,
            dataset.converse.sel(kind=kind),
            **style.curve(index),
            label=f"converse: {kind}",
        )
    for bits, recall, line, label in (
        (dataset.bits, dataset.random_recall, "-", "random codes, one length"),
        (dataset.mixed_bits, dataset.mixed_recall, "--", "random codes, a share of the items"),
    ):
        axis.plot(
            bits, recall, color="#555555", linestyle=line, linewidth=0.8, marker=".", label=label
        )
    drawn = set()
    for index in range(dataset.sizes["code"]):
        one = dataset.isel(code=index)
        name, full = str(one.name.values), float(one.share) == 1
        family = name.rstrip("0123456789x")
        label = f"{family}, all items" if full else f"{family}, a share of the items"
        axis.errorbar(
            float(one.code_bits),
            float(one.recall),
            yerr=style.bars(one.recall, one.lower, one.upper)[:, None],
            fmt=_MARKERS[family],
            color="black",
            markerfacecolor="black" if full else "white",
            capsize=1.5,
            label=label if label not in drawn else None,
            zorder=3,
        )
        drawn.add(label)
    axis.set_xscale("log", base=2)
    axis.set(xlabel="bits per item", ylabel="recall@1", xlim=(4, 128), ylim=(0, 1.03))
    axis.set_xticks([4, 8, 16, 32, 64, 128], ["4", "8", "16", "32", "64", "128"])
    figure.legend(loc="outside right center")
    return figure
