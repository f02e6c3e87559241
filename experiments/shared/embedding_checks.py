"""Measures paired embeddings for a study, and checks the report, which several studies share."""

from typing import Any

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, Claim
from experiments.shared import predictions
from rdsim import limits
from rdsim.embeddings import measure_embeddings, retrieval_task, split_task

C4, C27 = Claim("C4"), Claim("C27")

OWN = ("transform code", "rotated PQ", "ITQ", "hyperplane hash", "signs")
"""Codes of the project, so that a study needs no other library."""


def measured(
    key: jax.Array,
    queries: Any,
    items: Any,
    bits: tuple[int, ...],
    *,
    held_out: float,
    checkpoint: Checkpoint,
    learned: tuple[int, ...],
) -> xarray.Dataset:
    """Measure the project's codes on pairs, and predict them from quarters; times of training are no result."""
    split_key, key = jax.random.split(key)
    (split,) = split_task(split_key, retrieval_task(queries, items), held_out=held_out)
    report = measure_embeddings(
        key,
        split.ranked,
        bits,
        systems=OWN,
        learned=learned,
        fit=split.fit,
        checkpoint=checkpoint,
    )
    found = report.to_xarray().drop_vars(["train_seconds", "encode_seconds", "search_seconds"])
    parts = checkpoint("predictions", predictions.predictions, key, split.fit, split.ranked, report)
    return found.merge(predictions.labelled(parts, report))


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check C4 where every item was a target: exactly, and at the better ends of the intervals; and one codebook, exactly."""
    size = np.log2(float(dataset.attrs["database"]))
    codes = dataset.isel(line=np.flatnonzero(~np.isin(dataset.kind.values, ("space", "rescored"))))
    mrr = codes.quality.sel(metric="mrr", end="value").values
    needed = limits.rank_rate(size, "reciprocal_rank", distortion=1 - mrr).lower
    found = [
        C4.exact.at_most(
            "rank rate of the measured MRR less the entropy of the stored codes, largest, bits",
            np.max(np.asarray(needed) - codes.code_bits.values),
            1e-9,
        )
    ]
    above = dataset.quality.sel(end="value") - dataset.codebook_converse_of_line
    found.append(
        C27.exact.at_most(
            "every metric of every code less the converse of one codebook at its bits, largest",
            above.max(),
            1e-9,
        )
    )
    for metric, name in (("mrr", "MRR"), ("recall@1", "recall")):
        loss: Any = "reciprocal_rank" if metric == "mrr" else ("miss", 1)
        rate = np.minimum(codes.bits.values.astype(float), size)
        best = 1 - np.asarray(limits.rank_loss(size, loss, rate=rate).lower)
        upper = codes.quality.sel(metric=metric, end="upper").values
        found.append(
            C4.monte_carlo.at_most(
                f"upper end of the measured {name} less the converse at the stored bits, largest",
                np.max((upper - best)[codes.bits.values < size]),
                0.0,
            )
        )
    return found
