"""Product quantization: MRR against bits per item, beside the converse, one panel a size."""

import xarray
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Product quantizers of 8-dimensional Gaussian items, queries noisy copies of them. Points: "
    "MRR with 95 % intervals over databases, ranked by the distance weighted by noise and "
    "quantization error; filled, blocks of neighbouring coordinates; open, coordinates "
    "distributed so that the blocks are balanced. Faint points: ranked by the plain distance. "
    "Line: tilted half-spaces at the codes' bits, which no code of that length exceeds (C29); thin grey, the rank "
    "converse, which holds for any data and any encoder. Dotted: items "
    "stored whole, ranked optimally."
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw the points of every number of subspaces below the converse of each database size."""
    figure, axes = style.panels(1, dataset.sizes["log2_size"], width=style.DOUBLE, height=2.9)
    plain, weighted = dataset.decoder.values
    for axis, size in zip(axes[0], dataset.log2_size.values, strict=True):
        part = dataset.sel(log2_size=size)
        axis.plot(part.rate, part.converse, color="#999999", linewidth=0.8, label="rank converse")
        axis.plot(
            part.own_bits, part.tight, color="black", linestyle="-", label="converse, fixed length"
        )
        axis.axhline(
            float(part.whole_mrr),
            color="#777777",
            linestyle=":",
            linewidth=1,
            label="items stored whole",
        )
        for index, subspaces in enumerate(sorted(set(dataset.subspaces.values.tolist()))):
            color, marker = style.COLORS[index], style.MARKERS[index]
            for kind, face in (("plain", color), ("balanced", "white")):
                chosen = part.isel(code=(part.subspaces == subspaces) & (part.kind == kind))
                if not chosen.sizes["code"]:
                    continue
                one = chosen.sel(decoder=weighted)
                axis.errorbar(
                    one.bits,
                    one.mrr,
                    yerr=style.bars(one.mrr, one.lower, one.upper),
                    fmt=marker,
                    color=color,
                    markerfacecolor=face,
                    capsize=1.5,
                    label=f"S = {subspaces}{', balanced' if kind == 'balanced' else ''}",
                    zorder=3,
                )
                other = chosen.sel(decoder=plain)
                axis.plot(
                    other.bits,
                    other.mrr,
                    linestyle="none",
                    marker=marker,
                    color=color,
                    markerfacecolor=face,
                    alpha=0.35,
                    zorder=2,
                )
        axis.set(title=f"M = 2$^{{{size}}}$", xlabel="bits per item", ylim=(0, 1.02))
        axis.set_xlim(left=0)
    axes[0, 0].set_ylabel("mean reciprocal rank")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, handlelength=2)
    return figure
