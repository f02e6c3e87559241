"""Codebooks: a shared one beside independent ones, against database size and rate."""

import xarray
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Random codes for the doubly symmetric binary source. Lines: a codebook for every item, "
    "exact. Points: one codebook of K codewords for all items, simulated, with 95 % intervals "
    "over codebooks. Right: probability that the target is first, shared over independent, with "
    "two standard errors. Sharing costs nothing up to about K items and a growing fraction of "
    "the successes beyond, where items with one codeword are tied."
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw both losses against log2 M, one curve for each codebook size, and the ratio of successes."""
    figure, axes = style.panels(1, 3, width=style.DOUBLE, height=2.9)
    for axis, name in zip(axes[0], dataset.loss_name.values, strict=False):
        part = dataset.sel(loss_name=name)
        for index, bits in enumerate(dataset.codebook_bits.values):
            one = part.sel(codebook_bits=bits)
            color, size = style.COLORS[index], dataset.log2_size
            axis.plot(size, one.independent, color=color, linestyle=style.LINES[index])
            axis.errorbar(
                size,
                one.shared,
                yerr=style.bars(one.shared, one.lower, one.upper),
                fmt=style.MARKERS[index],
                color=color,
                capsize=2,
                label=f"K = 2$^{{{bits}}}$ codewords" if axis is axes[0, 0] else None,
            )
        axis.set(title=str(name), xlabel="database size log₂ M [bits]", ylim=(-0.02, 1.02))
        axis.set_xticks(dataset.log2_size.values[dataset.log2_size.values % 2 == 0])
    axes[0, 0].set_ylabel("expected loss")
    error = dataset.sel(loss_name="error")
    for index, bits in enumerate(dataset.codebook_bits.values):
        one = error.sel(codebook_bits=bits)
        axes[0, 2].errorbar(
            one.log2_size - bits,
            (1 - one.shared) / (1 - one.independent),
            yerr=2 * one.spread / (1 - one.independent),
            fmt=style.MARKERS[index],
            **style.curve(index),
            capsize=2,
        )
    axes[0, 2].axhline(1, color="#777777", linewidth=0.8)
    axes[0, 2].set(title="probability to be first, ratio")
    axes[0, 2].set(ylabel="shared / independent", xlabel="log₂ of items per codeword")
    axes[0, 2].set_ylim(bottom=0)
    figure.legend(loc="outside upper center", ncols=4, handlelength=2)
    return figure
