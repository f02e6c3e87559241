"""Checks of a report on paired embeddings, which several studies share."""

import numpy as np
import xarray

from experiments.runner.claims import Check
from rdsim import limits


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check C4 where every item was a target: exactly, and at the better ends of the intervals."""
    size = np.log2(float(dataset.database))
    mrr = dataset.mrr.sel(end="value")
    seen = np.isfinite(mrr.values)
    needed = limits.rank_rate(size, "reciprocal_rank", D=1 - mrr.values[seen]).lower
    stored = dataset.code_bits.values[seen]
    found = [
        Check.at_most(
            "C4",
            "rank rate of the measured MRR less the entropy of the stored codes, largest, bits",
            "exact",
            np.max(np.asarray(needed) - stored),
            1e-9,
        ),
        Check.at_most(
            "C4",
            "upper end of the measured MRR less the converse at the stored bits, largest",
            "Monte Carlo",
            (dataset.mrr.sel(end="upper") - dataset.mrr_converse).max(),
            0.0,
        ),
    ]
    found.append(
        Check.at_most(
            "C4",
            "upper end of the measured recall less the converse at the stored bits, largest",
            "Monte Carlo",
            (dataset.recall.sel(end="upper") - dataset.recall_converse).max(),
            0.0,
        )
    )
    used = limits.rank_rate(
        size, "reciprocal_rank", D=1 - dataset.mrr.sel(end="lower").values[seen]
    ).lower
    found.append(
        Check.at_most(
            "C4",
            "rank rate at the lower end of the measured MRR less the upper end of the estimated "
            "information, largest, bits",
            "Monte Carlo",
            np.max(np.asarray(used)) - float(dataset.information.sel(end="upper")),
            0.0,
        )
    )
    return found
