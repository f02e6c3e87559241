"""A model of given embeddings: what ideal codes reach in it, and what none of its codes exceeds."""

import dataclasses
from collections.abc import Callable
from typing import Final

import numpy as np
from jaxtyping import Float, Int

from rdsim.embeddings.quality import (
    CUTOFFS,
    DISCOUNTS,
    FRACTIONS,
    METRICS,
    NDCG_CUTOFF,
    best_gains,
)
from rdsim.embeddings.result import EmbeddingReport
from rdsim.ranking.loss import Loss

GAUSSIAN: Final = "Gaussian twin"
ISOTROPIC: Final = "isotropic twin"
CODE_BITS: Final = 2.0 ** np.arange(2, 10, 0.5)
"""Bits at which a twin's random code is computed, beside unlimited ones."""
CONVERSE_BITS: Final = 2.0 ** np.arange(8)
"""Bits at which its converse is: powers of two from one bit on, at which codes are measured by default; and a few more
about the bits of each target."""
_BETWEEN: Final = 2.0 ** np.arange(0.25, 1.25, 0.25)
"""Bits of a target are bounded to a fourth root of two."""
SHOWN: Final = 1e-3
"""Tolerance of its converse: what a figure shows."""
CODE_LOSSES: Final[tuple[Loss, ...]] = (
    "reciprocal_rank",
    *(("miss", k) for k in range(1, NDCG_CUTOFF + 1)),
)
"""Losses of a code, from which every metric of one target follows."""
CONVERSE_LOSSES: Final[tuple[Loss, ...]] = (
    "reciprocal_rank",
    *(("miss", k) for k in CUTOFFS),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gains:
    r"""What the targets of the queries of a report are worth in nDCG@10.

    Of query q a target of grade g counts $g / I_q$ at the first place, $I_q$ the best DCG@10.

    Attributes:
        targets: P, of a query; their mean, rounded.
        share: of each target in all that targets count, in all one, shape (T,).
        all: what the targets of a query count on average.
        best: what those of the largest grades count, k of them, k = 1 to 10, shape (10,); the mean over queries.

    """

    targets: int
    share: Float[np.ndarray, " t"]
    all: float
    best: Float[np.ndarray, "10"]


def gains_of(query: Int[np.ndarray, " t"], grade: Float[np.ndarray, " t"]) -> Gains:
    """Find what targets are worth, from the query of each, rising, and its grade."""
    best = best_gains(query, grade)
    row = np.cumsum(np.diff(query, prepend=-1) > 0) - 1
    each = grade / best[row, -1]
    # The grades themselves, by falling size, are the steps of the DCG by what their places count.
    grades = np.diff(best, axis=1, prepend=0.0) / DISCOUNTS
    return Gains(
        targets=round(len(query) / len(best)),
        share=each / each.sum(),
        all=float(each.sum() / len(best)),
        best=np.cumsum(grades / best[:, -1:], axis=1).mean(axis=0),
    )


def code_metrics(
    losses: Float[np.ndarray, "11 ..."], misses: Float[np.ndarray, "10 ..."], worth: float = 1.0
) -> Float[np.ndarray, "... 5"]:
    r"""Turn losses in the order of `CODE_LOSSES` into the metrics in that of `METRICS`.

    With $w_k = 1/\log_2(1 + k)$ and R@k the probability that a target is among the first k,
    $nDCG@K = G (\sum_{k<K} (w_k - w_{k+1}) R@k + w_K R@K)$, G being what all targets count.

    Args:
        losses: of the first target that is found.
        misses: beyond 1, ..., 10, of each target, the mean by what they count.
        worth: G, `Gains.all`.

    """
    gains = 1 - losses
    ndcg = worth * np.tensordot(_STEP, 1 - misses, axes=1)
    return np.stack([gains[0], *(gains[k] for k in CUTOFFS), ndcg], axis=-1)


def converse_metrics(
    losses: Float[np.ndarray, "4 ..."], best: Float[np.ndarray, "10"] | None = None
) -> Float[np.ndarray, "... 5"]:
    """Turn least losses of the first target, in the order of `CONVERSE_LOSSES`, into bounds.

    Of the targets none are among the first k if the first is not, and they count no more than the best k of them
    (`Gains.best`; one target without them).
    """
    gains = 1 - np.asarray(losses)
    most = np.ones(NDCG_CUTOFF) if best is None else best
    return np.stack([*gains, np.tensordot(_STEP * most, _within(gains[1:]), axes=1)], axis=-1)


def converse_about_targets(
    bound: Callable[[Float[np.ndarray, " b"]], Float[np.ndarray, "b 5"]], report: EmbeddingReport
) -> tuple[Float[np.ndarray, " c"], Float[np.ndarray, "c 5"]]:
    """Bound the quality at `CONVERSE_BITS`, and between those two of them that need the bits of a target.

    A bound holds at the bits at which it was computed, so that nothing is interpolated.

    Args:
        bound: takes bits to bounds in the order of `METRICS`.
        report: of whose uncompressed MRR the targets are shares, `FRACTIONS`.

    Returns:
        Bits, rising integers, and the bounds there.

    """
    bits, found = CONVERSE_BITS, bound(CONVERSE_BITS)
    wanted = np.array(FRACTIONS) * report.values("mrr")[report.reference]
    # The most bits that are too few for each target; the next are twice as many, computed or not.
    few = [bits[found[:, 0] < one].max(initial=0.0) for one in wanted]
    more = np.setdiff1d(np.floor(np.outer(few, _BETWEEN)), np.append(bits, 0.0))
    if not more.size:
        return bits, found
    order = np.argsort(bits := np.append(bits, more))
    return bits[order], np.concatenate([found, bound(more)])[order]


def converse_of_each(
    losses: Float[np.ndarray, "4 ..."], by_worth: Float[np.ndarray, "4 ..."], gains: Gains
) -> Float[np.ndarray, "... 5"]:
    """Turn least losses of each of several targets into bounds.

    Tell the decoder which items are the other targets: given the query they tell nothing more of this one, which
    is then the only target among the others. The first is found no more often than all of them together, and
    targets count no more than the best.

    Args:
        losses: mean over the targets, in the order of `CONVERSE_LOSSES`.
        by_worth: mean by what they count.
        gains: of the targets.

    """
    # Union bound: some target is first with at most the sum of their probabilities, and at most one.
    first = np.minimum(gains.targets * (1 - losses), 1.0)
    each = np.minimum(gains.all * _within(1 - by_worth[1:]), gains.best[:, None])
    return np.stack([*first, _STEP @ each], axis=-1)


def _within(recalls: Float[np.ndarray, "3 ..."]) -> Float[np.ndarray, "10 ..."]:
    """Bound the recall within 1, ..., 10 places by those at `CUTOFFS`: within k it is at most that within K > k."""
    # The least cutoff K >= k: a recall rises with the places looked at.
    return recalls[np.searchsorted(CUTOFFS, np.arange(1, NDCG_CUTOFF + 1))]


_STEP: Final = DISCOUNTS - np.append(DISCOUNTS[1:], 0.0)
"""Weights of the recalls within 1, ..., 10 places: the sum of discounts times gains, summed by parts."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Twin:
    """A model of the pairs. Metrics stand in the order of `METRICS`.

    Attributes:
        name: of the model.
        assumes: what it takes the pairs for, with its fitted numbers.
        error: its MRR at unlimited bits before it was calibrated, less the measured one.
        uncompressed: its quality at unlimited bits, shape (5,).
        bits: an item, shape (B,).
        code: quality of its random code there, shape (B, 5); no code is known to reach it in the Gaussian twin.
        lower: shape (B, 5); of sampling alone, and equal to `code` where there is none.
        upper: shape (B, 5).
        converse_bits: shape (C,).
        converse: the most that any code of one codebook has in the model, shape (C, 5).

    """

    name: str
    assumes: str
    error: float
    uncompressed: Float[np.ndarray, " 5"]
    bits: Float[np.ndarray, " b"]
    code: Float[np.ndarray, "b 5"]
    lower: Float[np.ndarray, "b 5"]
    upper: Float[np.ndarray, "b 5"]
    converse_bits: Float[np.ndarray, " c"]
    converse: Float[np.ndarray, "c 5"]

    def bits_for(self, quality: float, metric: str = "mrr") -> float | None:
        """Interpolate the bits at which the random code has a quality; None beyond those computed."""
        code = self.code[:, METRICS.index(metric)]
        above = np.flatnonzero(code >= quality)
        if not above.size:
            return None
        i = int(above[0])
        if i == 0:
            return float(self.bits[0])
        share = (quality - code[i - 1]) / (code[i] - code[i - 1])
        return float(self.bits[i - 1] * (self.bits[i] / self.bits[i - 1]) ** share)

    def bits_by_converse(self, quality: float, metric: str = "mrr") -> float | None:
        """Find the most of `converse_bits` at which no code of the model has a quality."""
        short = self.converse_bits[self.converse[:, METRICS.index(metric)] < quality]
        return float(short.max()) if short.size else None

    def refuted_by(self, report: EmbeddingReport) -> Int[np.ndarray, " n"]:
        """Lines of codes whose MRR the model says is impossible, their intervals included.

        A code of fewer bits is also one of more, so each is held against the next bits that were bounded.
        """
        at = np.searchsorted(self.converse_bits, report.bits)
        there = at < len(self.converse_bits)
        bound = self.converse[np.minimum(at, len(self.converse_bits) - 1), 0]
        code = np.array([kind in ("code", "learned", "yours") for kind in report.kinds])
        return np.flatnonzero(code & there & (report.quality.lower[:, 0] > bound))


def first_targets(
    report: EmbeddingReport, line: int
) -> tuple[Int[np.ndarray, " q"], Int[np.ndarray, " q"]]:
    """Count for each query the items ahead of its best target, and at its score, that are no targets of it."""
    starts = np.flatnonzero(np.diff(report.query, prepend=-1))
    own = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(report.query)))
    ahead = np.minimum.reduceat(report.ahead[line], starts)
    best = report.ahead[line] == ahead[own]
    tied = np.maximum.reduceat(np.where(best, report.tied[line], 1), starts)
    # Targets at one score have one place: whichever of them is first, the others do not compete with it.
    tied = tied - np.add.reduceat(best.astype(int), starts) + 1
    competitors = report.database - targets_a_query(report)
    # Folds, and numbers of targets, differ a little; all are taken for one size.
    ahead = np.minimum(ahead, competitors)
    return ahead, np.clip(tied, 1, competitors + 1 - ahead)


def beside_targets(
    report: EmbeddingReport, line: int
) -> tuple[Int[np.ndarray, " t"], Int[np.ndarray, " t"]]:
    """Count for each target the items ahead of it, and at its score, that are no targets of its query."""
    ahead, tied = report.ahead[line], report.tied[line]
    # Numbers in the order of queries, and within a query of places.
    number = report.query.astype(np.int64) * (report.ahead[line].max() + 1) + ahead
    ordered = np.sort(number)
    before = np.searchsorted(ordered, number)
    others = before - np.searchsorted(report.query, report.query)
    level = np.searchsorted(ordered, number, side="right") - before
    competitors = report.database - targets_a_query(report)
    # Folds, and numbers of targets, differ a little; all are taken for one size.
    ahead = np.clip(ahead - others, 0, competitors)
    return ahead, np.clip(tied - level + 1, 1, competitors + 1 - ahead)


def targets_a_query(report: EmbeddingReport) -> int:
    """Count the targets of a query: their mean, rounded."""
    return round(len(report.query) / len(np.unique(report.query)))
