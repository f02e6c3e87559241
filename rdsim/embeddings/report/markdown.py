"""The report as Markdown."""

import math
from collections.abc import Iterable

from rdsim.embeddings.diagnostics import MEANING
from rdsim.embeddings.quality import METRIC_NAMES
from rdsim.embeddings.report.rows import allocation_rows, size_rows, system_rows, target_rows
from rdsim.embeddings.report.words import (
    NOTE,
    SIZES,
    allocation_words,
    cautions,
    model_words,
    proved_words,
    sentences,
    setting,
    verdicts,
)
from rdsim.embeddings.result import EmbeddingReport


def report(found: EmbeddingReport) -> str:
    """Write all of the report but the figures."""
    header, *rows = system_rows(found)
    parts = [
        "# Codes for given embeddings\n",
        " ".join(sentences(found)) + "\n",
        *(line + "\n" for line in cautions(found)),
        setting(found) + "\n",
        "## Bits for a target\n",
        table(*target_rows(found)),
        *([model_words(found) + "\n"] if found.models is not None else []),
        *(line + "\n" for line in verdicts(found)),
    ]
    if found.models is not None and found.models.sizes is not None:
        parts += ["## Other databases\n", SIZES + "\n", table(*size_rows(found))]
    parts += [
        "## Systems at equal bits\n",
        NOTE + "\n",
        table([name for name, _ in header], ([cell for cell, _ in row] for row in rows)),
        "## What is proved for all data\n",
        _limit(found),
        "## Bits by coordinate\n",
        allocation_words(found) + "\n",
        table(*allocation_rows(found)),
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


def _limit(found: EmbeddingReport) -> str:
    both = ("one codebook", found.codebook_converse(found.converse_bits)), ("any", found.converse)
    rows = (
        (int(bits), systems, *("" if math.isnan(value) else f"{value:.4f}" for value in bound[i]))
        for i, bits in enumerate(found.converse_bits)
        for systems, bound in both
    )
    return f"{proved_words(found)}\n\n" + table(("bits", "systems", *METRIC_NAMES), rows)
