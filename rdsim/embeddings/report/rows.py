"""The tables of the report."""

import math
from typing import Final

import numpy as np

from rdsim.embeddings.quality import FRACTIONS, METRIC_NAMES
from rdsim.embeddings.report.words import LEAST_BITS, assumption, rounded_down, standing
from rdsim.embeddings.result import EmbeddingReport

_SIZES: Final = (1e6, 1e9)
Rows = tuple[tuple[str, ...], list[tuple[str, ...]]]


def target_rows(found: EmbeddingReport) -> Rows:
    """Bits for each fraction: the best code, what models say, and what is proved."""
    twins = () if found.models is None else found.models.twins
    header = ["of the uncompressed MRR", "fewest measured bits that keep it"]
    for twin in twins:
        model = standing(found, twin)
        header.append(f"ideal codes in the {twin.name} ({model})")
        header.append(f"any code of one codebook in the {twin.name} ({model})")
    header += ["any code of one codebook, on any data (proved)", "any system, on any data (proved)"]

    def row(fraction: float) -> tuple[str, ...]:
        line = found.line_for(fraction)
        wanted = fraction * float(found.values("mrr")[found.reference])
        cells = [
            f"{fraction:.0%}",
            "none measured" if line is None else f"{found.bits[line]} ({found.lines[line]})",
        ]
        for twin in twins:
            bits, least = twin.bits_for(wanted), twin.bits_by_converse(wanted)
            cells.append(f"over {twin.bits[-1]:.0f}" if bits is None else f"about {bits:.0f}")
            cells.append("nothing said" if least is None else f"more than {least:.0f}")
        for systems in ("one codebook", "any"):
            proved = found.bits_by_proof(fraction, systems=systems)
            some = proved >= LEAST_BITS
            cells.append(f"at least {rounded_down(proved)}" if some else "nothing proved")
        return tuple(cells)

    return tuple(header), [row(fraction) for fraction in FRACTIONS]


def size_rows(found: EmbeddingReport) -> Rows:
    """MRR in this database and in larger ones."""
    models = found.models
    if models is None or models.sizes is None:
        return (), []
    sizes = models.sizes
    shown = [
        size
        for size in (found.database / 16, float(found.database), *_SIZES)
        if size in (found.database, found.database / 16) or size > found.database
    ]
    places = [int(np.abs(sizes.log2_size - math.log2(max(size, 16))).argmin()) for size in shown]
    header = (
        "system",
        "bits",
        *(f"{_items(2.0 ** sizes.log2_size[place])} items" for place in places),
        "what most of the prediction assumes",
    )

    def row(k: int) -> tuple[str, ...]:
        line = int(sizes.line[k])
        cells = []
        for place in places:
            value, low, high = (end[k, place] for end in (sizes.value, sizes.lower, sizes.upper))
            band = f" [{low:.3f}, {high:.3f}]" if low < high else ""
            cells.append(f"{value:.3f}{band}")
        return (
            found.lines[line],
            str(found.bits[line]),
            *cells,
            assumption(str(sizes.method[k, -1])),
        )

    return header, [row(k) for k in range(len(sizes.line))]


def system_rows(found: EmbeddingReport) -> list[list[tuple[str, str]]]:
    """Rows of all systems by rising bits, a header first; with each cell the kind of its row."""
    header = (
        "system",
        "bits",
        "kept",
        *METRIC_NAMES,
        "space",
        "bytes",
        "entropy",
        "train s",
        "encode s",
        "search s",
    )
    front = set(found.pareto().tolist())
    rows = [[(name, "") for name in header]]
    for line in np.lexsort((-found.values("mrr"), found.bits)).tolist():
        mean = found.quality
        metrics = [
            f"{mean.value[line, k]:.3f} [{mean.lower[line, k]:.3f}, {mean.upper[line, k]:.3f}]"
            if k == 0
            else f"{mean.value[line, k]:.3f}"
            for k in range(len(METRIC_NAMES))
        ]
        entropy = found.code_bits[line]
        seconds = (found.train_seconds, found.encode_seconds, found.search_seconds)
        kind = "best" if line in front else found.kinds[line]
        cells = (
            found.lines[line] + (" *" if line in front else ""),
            str(found.bits[line]),
            f"{found.kept.value[line, 0]:.1%}",
            *metrics,
            found.spaces[line],
            f"{found.bits[line] / 8:g}",
            "" if math.isnan(entropy) else f"{entropy:.1f}",
            *(f"{part[line]:.2g}" for part in seconds),
        )
        rows.append([(cell, kind) for cell in cells])
    return rows


def allocation_rows(found: EmbeddingReport) -> Rows:
    """Coordinates kept at each number of bits, and bits of each."""

    def row(bits: int, allocated: np.ndarray) -> tuple[str, ...]:
        used = np.flatnonzero(allocated)
        counts = ", ".join(
            f"{int((allocated == b).sum())} of {b}"
            for b in sorted(set(allocated[used]), reverse=True)
        )
        return str(bits), str(len(used)), counts

    rows = [
        row(int(b), allocated)
        for b, allocated in zip(found.converse_bits, found.allocation, strict=True)
        if allocated.sum() >= b
    ]
    return ("bits", "coordinates", "with bits each"), rows


def _items(size: float) -> str:
    whole = round(size)
    for unit, name in ((10**9, "billion"), (10**6, "million")):
        if whole % unit == 0:
            return f"{whole // unit} {name}"
    return f"{whole:,}"
