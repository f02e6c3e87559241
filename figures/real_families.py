"""CCA and trained families on real pairs: MRR under the converse, and what each has more than CCA."""

import xarray
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "CCA and other families of learned codes on real pairs, at equal bits; a column for each kind of pairs. Above: MRR in the "
    "databases of a third of the pairs, families having learned from the others, each third in turn; in numbers: what no code of the fewest "
    "bits passes on any data (C4), far above the panel. Below: MRR more than CCA's on the same queries. Bars are 95 % intervals over all queries."
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw two panels for each kind of pairs, or the reason why there is nothing to draw."""
    if "skipped" in dataset.attrs:
        return style.skipped()
    kinds = dataset.pairs.values
    figure, axes = style.panels(2, len(kinds), width=style.DOUBLE, height=4.6)
    bits = dataset.bits.values
    for column, kind in enumerate(kinds):
        here = dataset.sel(pairs=kind)
        above, below = axes[:, column]
        # Far above the panel, in which the codes could not be told apart beside it.
        above.annotate(
            f"converse at {bits[0]} bits: {float(here.converse[0]):.2f}",
            (0.03, 0.97),
            xycoords="axes fraction",
            va="top",
            fontsize=7,
        )
        for row, family in enumerate(dataset.family.values):
            part = here.sel(family=family)
            look = style.curve(row % len(style.COLORS))
            for axis, name in ((above, "mrr"), (below, "difference")):
                axis.errorbar(
                    bits,
                    part[name],
                    yerr=1.96 * part[f"{name}_error"],
                    elinewidth=0.8,
                    linewidth=0.8,
                    marker=style.MARKERS[row % len(style.MARKERS)],
                    label=str(family),
                    **look,
                )
        below.axhline(0, color="#777777", linewidth=0.8)
        above.set(title=f"{kind}, M = {int(here['size'])}", ylim=(0, 1.4 * float(here.mrr.max())))
        for axis in (above, below):
            axis.set_xscale("log", base=2)
            axis.set_xticks(bits, [str(rate) for rate in bits])
            axis.minorticks_off()
        below.set_xlabel("bits per item")
    axes[0, 0].set_ylabel("MRR")
    axes[1, 0].set_ylabel("MRR more than CCA's")
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7
    )
    return figure
