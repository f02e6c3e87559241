"""The report in words and tables, as Markdown."""

import math
from collections.abc import Iterable

import numpy as np

from rdsim.embeddings.diagnostics import MEANING
from rdsim.embeddings.quality import METRICS
from rdsim.embeddings.result import EmbeddingReport

FRACTIONS = (0.90, 0.95, 0.99)


def sentences(found: EmbeddingReport) -> list[str]:
    """Say in three sentences what was found."""
    mrr, plain = found.values("mrr"), found.reference
    said = [
        f"{len(found.group)} queries find their target among {found.database} items with an MRR of "
        f"{mrr[plain]:.3f} [{found.quality.lower[plain, 0]:.3f}, {found.quality.upper[plain, 0]:.3f}] "
        f"uncompressed ({found.lines[plain]}, {found.bits[plain]} bits an item)."
    ]
    line = found.line_for(0.95)
    if line is None:
        said.append("No code that was measured keeps 95 % of it.")
    else:
        said.append(
            f"{found.lines[line]} keeps {found.kept.value[line, 0]:.1%} of it at {found.bits[line]} "
            f"bits an item, {found.bits[plain] / found.bits[line]:.0f} times fewer."
        )
    proved = found.bits_by_proof(0.95)
    if proved is None:
        said.append(
            "No proof for all data excludes 95 % at any of the numbers of bits that were measured."
        )
    else:
        said.append(f"No system of any kind keeps 95 % at {proved} bits an item: that is proved.")
    return said


def report(found: EmbeddingReport) -> str:
    """Write all of the report but the figure."""
    parts = [
        "# Codes for given embeddings\n",
        " ".join(sentences(found)) + "\n",
        _setting(found),
        "## Bits for a target\n",
        _targets(found),
        "## Systems at equal bits\n",
        _systems(found),
        "## The limit of all systems\n",
        _limit(found),
        "## Bits by coordinate\n",
        _allocation(found),
        "## Diagnostics\n",
        table(
            ("quantity", "value"),
            ((MEANING[name], f"{value:.4g}") for name, value in found.diagnostics.items()),
        ),
    ]
    return "\n".join(parts)


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Write a table of Markdown."""
    names = tuple(header)
    lines = [names, ("---",) * len(names), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def _setting(found: EmbeddingReport) -> str:
    whole = ""
    if found.whole is not None:
        values = ", ".join(
            f"{name} {value:.4f}"
            for name, value in zip(METRICS, found.whole.quality.value, strict=True)
        )
        whole = (
            f" Among all {found.whole.database} items, where nothing is held out, the vectors as given "
            f"have {values}."
        )
    left_out = (
        f" {found.without_target} queries have no target and were left out."
        if found.without_target
        else ""
    )
    copies = (
        f" {found.copies} items equal an earlier one: they tie with it." if found.copies else ""
    )
    return (
        f"Similarity: {found.similarity}. Codes work in the space {found.chosen_space}, fitted to "
        f"{found.fitted} pairs ({found.split}), and never to what is ranked. Intervals "
        f"({found.confidence:.0%}) are over groups of queries, for this database and these codes.{left_out}"
        f"{copies}{whole}\n"
    )


def _targets(found: EmbeddingReport) -> str:
    def row(fraction: float) -> tuple[str, str, str]:
        line, proved = found.line_for(fraction), found.bits_by_proof(fraction)
        code = "none measured" if line is None else f"{found.bits[line]}: {found.lines[line]}"
        return f"{fraction:.0%}", code, "none" if proved is None else f"more than {proved}"

    header = ("of the uncompressed MRR", "fewest bits that were measured to do", "needed by proof")
    return table(header, map(row, FRACTIONS))


def _systems(found: EmbeddingReport) -> str:
    header = (
        *("system", "space", "bits", "entropy"),
        *METRICS,
        *("kept", "train s", "encode s", "search s"),
    )

    def row(line: int) -> tuple[str, ...]:
        mean = found.quality
        metrics = (
            f"{mean.value[line, k]:.4f} [{mean.lower[line, k]:.4f}, {mean.upper[line, k]:.4f}]"
            for k in range(len(METRICS))
        )
        entropy = found.code_bits[line]
        seconds = (found.train_seconds, found.encode_seconds, found.search_seconds)
        return (
            found.lines[line],
            found.spaces[line],
            str(found.bits[line]),
            "" if math.isnan(entropy) else f"{entropy:.1f}",
            *metrics,
            f"{found.kept.value[line, 0]:.1%}",
            *(f"{part[line]:.2g}" for part in seconds),
        )

    order = np.lexsort((-found.values("mrr"), found.bits)).tolist()
    return table(header, map(row, order))


def _limit(found: EmbeddingReport) -> str:
    said = (
        "At so many bits an item no system of any kind ranks better, whatever the data (C4). From "
        f"{found.log2_groups:.2f} bits for a query's group on, so many bits can name it, and no bound that "
        "holds for all data exists.\n\n"
    )
    rows = (
        (bits, *("" if math.isnan(value) else f"{value:.4f}" for value in bound))
        for bits, bound in zip(found.converse_bits, found.converse, strict=True)
    )
    return said + table(("bits", *METRICS), rows)


def _allocation(found: EmbeddingReport) -> str:
    def row(bits: int, dealt: np.ndarray) -> tuple[str, str, str]:
        used = np.flatnonzero(dealt)
        counts = ", ".join(
            f"{int((dealt == b).sum())} of {b}" for b in sorted(set(dealt[used]), reverse=True)
        )
        return str(bits), str(len(used)), counts

    said = "The transform code keeps so many canonical coordinates, each with its own number of bits.\n\n"
    rows = (
        row(int(b), dealt) for b, dealt in zip(found.converse_bits, found.allocation, strict=True)
    )
    return said + table(("bits", "coordinates", "with bits each"), rows)
