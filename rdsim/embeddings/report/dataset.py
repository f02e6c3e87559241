"""The numbers of a report as a dataset of xarray, with their dimensions and units."""

from typing import Any, Final

import numpy as np
import xarray

from rdsim.embeddings.models.variables import model_variables
from rdsim.embeddings.quality import METRICS, Mean
from rdsim.embeddings.result import CURVE, EmbeddingReport

_SCALARS: Final = (
    "reference",
    "log2_groups",
    "similarity",
    "chosen_space",
    "coordinate_space",
    "split",
    "database",
    "fitted",
    "training_items",
    "without_target",
    "copies",
    "confidence",
)
"""Fields of a report that are attributes of its dataset."""


def dataset(report: EmbeddingReport) -> xarray.Dataset:
    """Lay out all numbers along their dimensions; value, lower and upper of an interval along "end"."""
    one, bits, seconds = {"units": "1"}, {"units": "bits"}, {"units": "s"}
    measured = ("line", "metric", "end")
    variables: dict[str, Any] = {
        "quality": (measured, _ends(report.quality), one),
        "kept": (measured, _ends(report.kept), one),
        "bits": ("line", report.bits, {"units": "bits per item"}),
        "code_bits": ("line", report.code_bits, bits),
        "train_seconds": ("line", report.train_seconds, seconds),
        "encode_seconds": ("line", report.encode_seconds, seconds),
        "search_seconds": ("line", report.search_seconds, seconds),
        "ahead": (("line", "target"), report.ahead, {"units": "items"}),
        "tied": (("line", "target"), report.tied, {"units": "items"}),
        "query": ("target", report.query),
        "grade": ("target", report.grade, one),
        "group": ("query_row", report.group),
        "converse": (("rate", "metric"), report.converse, one),
        "proved_quality": ("proved", CURVE, one),
        "proved_bits": (("proved", "metric"), report.proved_curve[0], bits),
        "codebook_converse": (
            ("rate", "metric"),
            report.codebook_converse(report.converse_bits),
            one,
        ),
        "codebook_converse_of_line": (("line", "metric"), report.converse_of_lines(), one),
        "codebook_proved_bits": (("proved", "metric"), report.proved_curve[1], bits),
        "groups": ("fold", report.groups),
        "group_shares": (("fold", "group_items"), report.group_shares, one),
        "correlations": ("coordinate", report.correlations, one),
        "fitted_correlations": ("coordinate", report.fitted_correlations, one),
        "item_dimension": ("line", report.item_dimension, one),
        "item_length_spread": ("line", report.item_length_spread, one),
        "allocation": (("rate", "coordinate"), report.allocation, bits),
        "diagnostics": ("diagnostic", np.array(list(report.diagnostics.values()), float)),
    }
    if report.whole is not None:
        variables |= {
            "whole_quality": (("metric", "end"), _ends(report.whole.quality), one),
            "whole_ahead": ("whole_target", report.whole.ahead, {"units": "items"}),
            "whole_tied": ("whole_target", report.whole.tied, {"units": "items"}),
            "whole_database": ((), report.whole.database, {"units": "items"}),
            "whole_queries": ((), report.whole.queries, {"units": "queries"}),
        }
    if report.models is not None:
        variables |= model_variables(report.models)
    return xarray.Dataset(
        variables,
        coords={
            "line": [f"{n} | {b}" for n, b in zip(report.lines, report.bits, strict=True)],
            "system": ("line", list(report.lines)),
            "kind": ("line", list(report.kinds)),
            "space": ("line", list(report.spaces)),
            "rate": ("rate", report.converse_bits, {"units": "bits per item"}),
            "metric": list(METRICS),
            "end": ["value", "lower", "upper"],
            "diagnostic": list(report.diagnostics),
        },
        attrs={name: getattr(report, name) for name in _SCALARS},
    )


def _ends(mean: Mean) -> np.ndarray:
    return np.stack([mean.value, mean.lower, mean.upper], axis=-1)
