"""What `rdsim gap` shows: a table for people, rows for CSV and JSON for programs."""

import json
import math
from typing import Any, Final

import numpy as np
from rich.markup import escape
from rich.table import Table

from rdsim.embeddings import METRICS, EmbeddingReport
from rdsim.embeddings.quality import FRACTIONS, METRIC_NAMES
from rdsim.embeddings.report.words import NOTE, cautions, sentences, verdicts

_ENDS: Final = ("", "_lower", "_upper")


def rows(found: EmbeddingReport) -> list[list[Any]]:
    """A header, a row for each line, and two for the converses at each number of bits."""
    header = [
        "system",
        "kind",
        "space",
        "bits",
        "code_bits",
        *(f"{metric}{end}" for metric in METRICS for end in _ENDS),
        "kept",
        "kept_lower",
        "kept_upper",
        "train_seconds",
        "encode_seconds",
        "search_seconds",
    ]
    lines: list[list[Any]] = [header]
    quality, kept = found.quality, found.kept
    for i, name in enumerate(found.lines):
        ends = np.stack([quality.value[i], quality.lower[i], quality.upper[i]], axis=1)
        lines.append(
            [
                name,
                found.kinds[i],
                found.spaces[i],
                int(found.bits[i]),
                *map(float, (found.code_bits[i], *ends.ravel())),
                *map(float, (kept.value[i, 0], kept.lower[i, 0], kept.upper[i, 0])),
                float(found.train_seconds[i]),
                float(found.encode_seconds[i]),
                float(found.search_seconds[i]),
            ]
        )
    for name, every in (
        ("converse (proved)", found.converse),
        ("converse, one codebook (proved)", found.codebook_converse(found.converse_bits)),
    ):
        for bits, bounds in zip(found.converse_bits, every, strict=True):
            once = [
                cell for bound in bounds for cell in ("" if math.isnan(bound) else bound, "", "")
            ]
            lines.append([name, "limit", "", int(bits), "", *once, *[""] * 6])
    return lines


def summary(found: EmbeddingReport) -> dict[str, Any]:
    """The report for programs: what `rdsim gap --json` prints."""
    header, *lines = rows(found)
    best = {share: found.line_for(share) for share in FRACTIONS}
    return {
        "sentences": sentences(found),
        "cautions": cautions(found),
        "queries": len(found.group),
        "database": found.database,
        "similarity": found.similarity,
        "space": found.chosen_space,
        "lines": [dict(zip(header, row, strict=True)) for row in lines],
        "pareto": [found.lines[i] + f" | {found.bits[i]}" for i in found.pareto()],
        "bits_for": {
            f"{share:.0%}": None
            if (line := best[share]) is None
            else {"system": found.lines[line], "bits": int(found.bits[line])}
            for share in FRACTIONS
        },
        "bits_by_proof": {f"{share:.0%}": found.bits_by_proof(share) for share in FRACTIONS},
        "bits_of_one_codebook_by_proof": {
            f"{share:.0%}": found.bits_by_proof(share, systems="one codebook")
            for share in FRACTIONS
        },
        "models": _models(found),
        "diagnostics": found.diagnostics,
    }


def _models(found: EmbeddingReport) -> dict[str, Any] | None:
    """Lay out what the models say; None without models."""
    models = found.models
    if models is None:
        return None
    wanted = found.values("mrr")[found.reference]
    sizes = models.sizes
    return {
        "calibrated_to": found.lines[models.calibrated_to],
        "missing": models.missing,
        "verdicts": verdicts(found),
        "twins": {
            twin.name: {
                "assumes": twin.assumes,
                "calibration_error": twin.error,
                "bits": twin.bits.tolist(),
                "metrics": METRICS,
                "code": twin.code.tolist(),
                "converse_bits": twin.converse_bits.tolist(),
                "converse": twin.converse.tolist(),
                "bits_for": {f"{s:.0%}": twin.bits_for(s * wanted) for s in FRACTIONS},
                "more_bits_than": {
                    f"{s:.0%}": twin.bits_by_converse(s * wanted) for s in FRACTIONS
                },
                "refuted_by": [
                    f"{found.lines[i]} | {found.bits[i]}" for i in twin.refuted_by(found)
                ],
            }
            for twin in models.twins
        },
        "sizes": sizes
        and {
            "log2_size": sizes.log2_size.tolist(),
            "lines": [f"{found.lines[i]} | {found.bits[i]}" for i in sizes.line],
            "mrr": sizes.value.tolist(),
            "lower": sizes.lower.tolist(),
            "upper": sizes.upper.tolist(),
        },
    }


def as_json(found: EmbeddingReport) -> str:
    """Write the summary as JSON, of plain numbers; what is not known is null."""
    text = json.dumps(summary(found), default=float)
    return json.dumps(json.loads(text, parse_constant=lambda _: None), indent=2)


def conclusions(found: EmbeddingReport) -> list[str]:
    """Return what stands below the table: what was found and what to do, and what to beware of."""
    return [*cautions(found), *sentences(found)]


def table(found: EmbeddingReport) -> Table:
    """Return the report for people: every code by rising bits, the best of its bits marked."""
    shown = Table(caption=NOTE, caption_justify="left")
    for name in ("system", "space"):
        shown.add_column(name)
    for name in ("bits", *METRIC_NAMES, "kept", "train s"):
        shown.add_column(name, justify="right")
    front = set(found.pareto().tolist())
    order = np.lexsort((-found.values("mrr"), found.bits))
    for i in order:
        value, low, high = (getattr(found.quality, end)[i] for end in ("value", "lower", "upper"))
        shown.add_row(
            escape(found.lines[i]) + (" *" if i in front else ""),
            escape(found.spaces[i]),
            str(found.bits[i]),
            f"{value[0]:.3f} [{low[0]:.3f}, {high[0]:.3f}]",
            *(f"{metric:.3f}" for metric in value[1:]),
            f"{found.kept.value[i, 0]:.1%}",
            f"{found.train_seconds[i]:.1f}",
        )
    return shown
