"""A model of given embeddings: what ideal codes reach in it, and what none of its codes exceeds."""

import dataclasses
from typing import Final

import numpy as np
from jaxtyping import Float, Int

from rdsim.embeddings.quality import CUTOFFS, METRICS, NDCG_CUTOFF
from rdsim.embeddings.result import EmbeddingReport
from rdsim.ranking.loss import Loss

GAUSSIAN: Final = "Gaussian twin"
ISOTROPIC: Final = "isotropic twin"
CODE_BITS: Final = 2.0 ** np.arange(2, 10, 0.5)
"""Bits at which a twin's random code is computed, beside unlimited ones, and
those at which its converse is, each of which takes a second."""
CONVERSE_BITS: Final = 2.0 ** np.arange(3, 7.25, 0.5)
CODE_LOSSES: Final[tuple[Loss, ...]] = (
    "reciprocal_rank",
    *(("miss", k) for k in range(1, NDCG_CUTOFF + 1)),
)
"""Losses of a code, from which every metric of one target follows."""
CONVERSE_LOSSES: Final[tuple[Loss, ...]] = (
    "reciprocal_rank",
    *(("miss", k) for k in CUTOFFS),
)


def code_metrics(
    losses: Float[np.ndarray, "11 ..."], misses: Float[np.ndarray, "10 ..."], targets: int
) -> Float[np.ndarray, "... 5"]:
    r"""Turn losses in the order of `CODE_LOSSES` into the metrics in that of `METRICS`.

    With $w_k = 1/\log_2(1 + k)$, P targets of one grade, and R@k the share of them among the first k,
    $nDCG@K \propto P (\sum_{k<K} (w_k - w_{k+1}) R@k + w_K R@K)$.

    Args:
        losses: of the first target that is found.
        misses: beyond 1, ..., 10, of each target on average.
        targets: P.

    """
    gains = 1 - losses
    found = targets * np.tensordot(_STEP, 1 - misses, axes=1)
    ndcg = found / _ideal(targets)
    return np.stack([gains[0], *(gains[k] for k in CUTOFFS), ndcg], axis=-1)


def converse_metrics(
    losses: Float[np.ndarray, "4 ..."], targets: int = 1
) -> Float[np.ndarray, "... 5"]:
    """Turn least losses in the order of `CONVERSE_LOSSES` into bounds.

    Of P targets no more than min(k, P) are among the first k, none if the first is not; and the first is there no
    more often than among the first K, for k below K.
    """
    gains = 1 - np.asarray(losses)
    most = _STEP * np.minimum(np.arange(1, NDCG_CUTOFF + 1), targets)
    ndcg, before = np.zeros(gains.shape[1:]), 0
    for place, k in enumerate(CUTOFFS):
        ndcg += most[before:k].sum() * gains[1 + place]
        before = k
    return np.stack([*gains, ndcg / _ideal(targets)], axis=-1)


_WEIGHT: Final = 1 / np.log2(1 + np.arange(1, NDCG_CUTOFF + 1))
_STEP: Final = _WEIGHT - np.append(_WEIGHT[1:], 0.0)


def _ideal(targets: int) -> float:
    """DCG of so many targets at the first places."""
    return float(_WEIGHT[:targets].sum())


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
            NaN in what its model of several targets a query does not give.
        lower: shape (B, 5); of sampling alone, and equal to `code` where there is none.
        upper: shape (B, 5).
        converse_bits: shape (C,).
        converse: the most that any code of fixed length has in the model, shape (C, 5); NaN likewise.

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
    """Count for each query the items ahead of its best target, and those at its score."""
    starts = np.flatnonzero(np.diff(report.query, prepend=-1))
    own = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(report.query)))
    ahead = np.minimum.reduceat(report.ahead[line], starts)
    best = report.ahead[line] == ahead[own]
    tied = np.maximum.reduceat(np.where(best, report.tied[line], 1), starts)
    # Folds differ in size by a few items; all are taken for the smallest.
    ahead = np.minimum(ahead, report.database - 1)
    return ahead, np.clip(tied, 1, report.database - ahead)


def targets_a_query(report: EmbeddingReport) -> int:
    """Count the targets of a query: their mean, rounded."""
    return round(len(report.query) / len(np.unique(report.query)))
