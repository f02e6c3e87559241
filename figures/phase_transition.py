"""Phase transition: error against the identification rate, with the limit IB(R)."""

import xarray
from matplotlib.figure import Figure

from rdsim.plotting import style

CAPTION = (
    "Error of random codes on the doubly symmetric binary source against the identification rate "
    "(log2 M)/n. Lines: exact ensemble averages. Points: direct simulation with its confidence "
    "intervals. As the block grows, the error falls to zero below IB(R) and rises to one above."
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw the exact curves, the simulated points at short blocks, and the limit."""
    figure, axes = style.panels(1, 2, width=style.DOUBLE, height=3.0)
    long, short = axes[0]
    for n in dataset.block_length.values:
        long.plot(dataset.density, dataset.error.sel(block_length=n), label=f"n = {n}")
    limit = float(dataset.limit)
    long.axvline(limit, color="black", linewidth=1.0, linestyle=(0, (1, 1)))
    long.annotate(
        f"IB(R) = {limit:.4f}", (limit, 0.02), xytext=(4, 0), textcoords="offset points", fontsize=8
    )
    long.set(
        xlabel="identification rate (log₂ M)/n [bits per letter]",
        ylabel="error probability",
        xlim=(0, float(dataset.density.max())),
        ylim=(0, 1),
        title=f"Exact, R = {dataset.attrs['rate']:g} bits per letter, p = {dataset.attrs['crossover']:g}",
    )
    long.legend(loc="upper left", handlelength=3)
    for index, n in enumerate(dataset.simulated_length.values):
        row = dataset.sel(simulated_length=n)
        density = row.log2_size / float(n)
        look = {"color": style.COLORS[index], "label": f"n = {n}"}
        short.plot(density, row.simulated_exact, color=look["color"], linestyle=style.LINES[index])
        short.errorbar(
            density,
            row.simulated_mean,
            yerr=style.bars(row.simulated_mean, row.simulated_lower, row.simulated_upper),
            fmt=style.MARKERS[index],
            capsize=2,
            **look,
        )
    short.axvline(limit, color="black", linewidth=1.0, linestyle=(0, (1, 1)))
    short.set(
        xlabel="identification rate (log₂ M)/n [bits per letter]",
        ylabel="error probability",
        ylim=(0, 1),
        title="Lines exact, points simulated",
    )
    short.legend(loc="lower right")
    return figure
