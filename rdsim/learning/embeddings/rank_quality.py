"""MRR and recall of several systems that rank the same queries, with intervals over queries."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from rdsim.ranking.metrics.paired import PairRanks, drawn_ranks, recalls, reciprocal_ranks
from rdsim.simulation.intervals import clopper_pearson, empirical_bernstein


@dataclasses.dataclass(frozen=True, kw_only=True)
class RankQuality:
    """MRR and recall of systems (S) at rates (B), with intervals over queries.

    Attributes:
        mrr: exact over ties, shape (S, B); NaN where a system does not exist at a rate: the
            rotated hash has a coordinate a bit, the product quantizer a coordinate a block.
        mrr_interval: empirical Bernstein, shape (S, B, 2).
        recall: shape (S, B, K), exact over ties.
        recall_interval: Clopper-Pearson of hits with ties broken at random, widened to include the
            recall, shape (S, B, K, 2).
        code_bits: entropy of the stored codes in the database, shape (S, B).

    """

    mrr: Float[np.ndarray, "s b"]
    mrr_interval: Float[np.ndarray, "s b 2"]
    recall: Float[np.ndarray, "s b k"]
    recall_interval: Float[np.ndarray, "s b k 2"]
    code_bits: Float[np.ndarray, "s b"]


def measured(
    generator: np.random.Generator, ranks: PairRanks, cutoffs: Sequence[int], confidence: float
) -> dict[str, np.ndarray]:
    """Quality of one system at one rate: the fields of `RankQuality` for it alone."""
    reciprocal = np.clip(reciprocal_ranks(ranks), 0.0, 1.0)
    mrr = empirical_bernstein(reciprocal, confidence=confidence)
    recall = np.array([recalls(ranks, k).mean() for k in cutoffs])
    drawn = drawn_ranks(generator, ranks)
    hits = [int((drawn <= k).sum()) for k in cutoffs]
    found = clopper_pearson(np.array(hits), len(drawn), confidence=confidence)
    return {
        "mrr": np.asarray(mrr.mean),
        "mrr_interval": np.array([mrr.lower, mrr.upper]),
        "recall": recall,
        "recall_interval": np.stack(
            [np.minimum(found.lower, recall), np.maximum(found.upper, recall)], axis=-1
        ),
        "code_bits": np.array(ranks.code_bits),
    }


def missing(cutoffs: Sequence[int]) -> dict[str, np.ndarray]:
    """Quality of a system that does not exist at a rate."""
    count = len(cutoffs)
    return {
        "mrr": np.array(np.nan),
        "mrr_interval": np.full(2, np.nan),
        "recall": np.full(count, np.nan),
        "recall_interval": np.full((count, 2), np.nan),
        "code_bits": np.array(np.nan),
    }


def gathered(cells: list[list[dict[str, np.ndarray]]]) -> RankQuality:
    """Stack qualities, a row a system and a column a rate."""
    return RankQuality(
        **{name: np.array([[cell[name] for cell in row] for row in cells]) for name in cells[0][0]}
    )
