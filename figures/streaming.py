"""Streaming items: MRR over time of codebooks kept, refitted and grown, and what each of them costs."""

import xarray
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Codebooks of k-means for items whose distribution drifts along a line, in a database of the last batches. Left: MRR with "
    "the widest interval of any stream (99 % each); thin lines: the rank converse of the bits in use (C4). Right: bits per "
    "item. A codebook fitted anew stores the whole database again at each batch, the two others never do."
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw the MRR and the bits over the batches."""
    figure = Figure(figsize=(style.DOUBLE, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.6, 1])
    for place, policy in enumerate(dataset.policy.values):
        here = dataset.sel(policy=policy)
        mean = here.mrr.mean("seed")
        bars = style.bars(mean, here.lower.min("seed"), here.upper.max("seed"))
        look = style.curve(place)
        left.errorbar(
            here.batch,
            mean,
            yerr=bars,
            elinewidth=0.5,
            marker=style.MARKERS[place],
            markersize=3,
            label=str(policy),
            **look,
        )
        left.plot(here.batch, here.converse, linewidth=0.6, **look)
        right.plot(here.batch, here.bits.mean("seed"), label=str(policy), **look)
    left.set_ylim(bottom=0)
    left.set(xlabel="batch", ylabel=f"MRR, M = {int(dataset.attrs['size'])}")
    right.set(xlabel="batch", ylabel="bits per item")
    right.set_ylim(bottom=0)
    right.xaxis.get_major_locator().set_params(integer=True)
    right.legend()
    return figure
