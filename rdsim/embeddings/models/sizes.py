"""The MRR of the same queries in databases of other sizes."""

import dataclasses
import math
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Int

from rdsim.embeddings.models.gaussian import ideal_codes
from rdsim.embeddings.models.twin import CODE_LOSSES, first_targets, targets_a_query
from rdsim.embeddings.result import EmbeddingReport
from rdsim.finite_sample import predict_quality

LARGEST_LOG2_SIZE: Final = math.log2(1e9)
_TWIN_SIZES: Final = 5
"""Sizes above the measured one at which the Gaussian twin is computed."""
_SIZED_CODES: Final = 3
"""Codes whose quality in other databases is predicted, beside the uncompressed vectors."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OtherSizes:
    """The MRR of the same queries in databases of other sizes, at several bits.

    Attributes:
        log2_size: log2 of the sizes, shape (S,).
        line: of the report, shape (K,).
        value: shape (K, S): exact averages over subsets up to the measured size, predicted above.
        lower: of the band, shape (K, S).
        upper: shape (K, S).
        method: how each value was found, shape (K, S).
        twin_log2_size: sizes at which the Gaussian twin was computed, shape (T,); empty without it.
        twin: MRR of its random code of as many bits, shape (K, T).

    """

    log2_size: Float[np.ndarray, " s"]
    line: Int[np.ndarray, " k"]
    value: Float[np.ndarray, "k s"]
    lower: Float[np.ndarray, "k s"]
    upper: Float[np.ndarray, "k s"]
    method: np.ndarray
    twin_log2_size: Float[np.ndarray, " t"]
    twin: Float[np.ndarray, "k t"]


def sized_lines(report: EmbeddingReport) -> Int[np.ndarray, " k"]:
    """Choose the reference and a few codes along the best measured, up to the first that keeps 99 %."""
    front = [int(line) for line in report.pareto()]
    enough = report.line_for(0.99)
    if enough is not None:
        front = front[: front.index(enough) + 1]
    # Codes evenly spaced along the front, its last one included, the best first.
    places = np.unique(np.linspace(0, len(front) - 1, min(_SIZED_CODES, len(front))).round())
    lines = [report.reference, *(front[int(place)] for place in places[::-1])]
    quality = report.values("mrr")
    return np.array([line for line in lines if 0 < quality[line] < 1], int)


def other_sizes(
    key: Any, report: EmbeddingReport, best: int, correlations: np.ndarray | None
) -> dict[str, Any]:
    """Measure below, predict above, and compute the Gaussian twin beside it."""
    lines = sized_lines(report)
    if not lines.size:
        raise ValueError("every line has an MRR of 0 or 1")
    measured, targets = math.log2(report.database), targets_a_query(report)
    sizes = np.unique(
        np.append(np.arange(4.0, LARGEST_LOG2_SIZE), (measured, math.log2(1e6), LARGEST_LOG2_SIZE))
    )
    # No other target of its query competes with the first one: of M items it has M - P beside it.
    sizes = sizes[2.0**sizes >= targets + 1]
    competing = sizes if targets == 1 else np.log2(2.0**sizes - (targets - 1))
    predicted = []
    for line in lines:
        ahead, tied = first_targets(report, int(line))
        predicted.append(
            predict_quality(
                ahead,
                CODE_LOSSES[0],
                competitors=report.database - targets,
                log2_size=competing,
                tied=tied,
            )
        )
    twin_sizes = np.zeros(0)
    twin = np.zeros((len(lines), 0))
    if correlations is not None:
        twin_sizes = np.linspace(measured, max(LARGEST_LOG2_SIZE, measured), _TWIN_SIZES + 1)
        space = np.array([report.kinds[line] == "space" for line in lines])
        bits = np.where(space, np.inf, report.bits[lines].astype(float))
        found = ideal_codes(key, correlations, twin_sizes, CODE_LOSSES[:1], bits, targets=targets)
        twin = 1 - np.asarray(found.value)[0]
        # Vectors of another space than that of the calibration are worse than unlimited bits can be.
        twin[space & (lines != best)] = np.nan
    return {
        "log2_size": sizes,
        "line": lines,
        "value": np.stack([one.value for one in predicted]),
        "lower": np.stack([one.lower for one in predicted]),
        "upper": np.stack([one.upper for one in predicted]),
        "method": np.array([one.method for one in predicted]),
        "twin_log2_size": twin_sizes,
        "twin": twin,
    }
