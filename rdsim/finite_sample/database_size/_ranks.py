"""The ranks that databases of other sizes are predicted from: checked, with their exact gains below the measured size."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rdsim import validation
from rdsim.finite_sample.database_size._mixing import Reals
from rdsim.number_types import ArrayLike, Integer
from rdsim.ranking import subset_loss
from rdsim.ranking.loss import Loss, RankLoss, parse_loss

FEWEST: Final = 64
"""Least number of items from whose ranks larger databases are predicted."""


class Ranks(NamedTuple):
    """Checked ranks, and the loss whose quality is wanted."""

    ahead: NDArray[np.int64]
    tied: NDArray[np.int64]
    competitors: int
    loss: RankLoss

    def gains(self, size: int) -> Reals:
        """Exact expected gain of every query among so many items."""
        lost = subset_loss(
            self.ahead, self.loss, competitors=self.competitors, sampled=size - 1, tied=self.tied
        )
        return np.asarray(1 - lost)

    def require_larger(self, quality: float, what: str) -> None:
        """Refuse ranks that say nothing of larger databases."""
        if self.competitors + 1 < FEWEST:
            raise ValueError(
                f"competitors must be at least {FEWEST - 1} for {what}, got {self.competitors}"
            )
        if not 0 < quality < 1:
            raise ValueError(
                f"ahead must leave a quality strictly between 0 and 1 for {what}, got {quality!r}"
            )


def check_ranks(ahead: ArrayLike, loss: Loss, competitors: Integer, tied: ArrayLike) -> Ranks:
    """Check the arguments that every function of ranks takes."""
    N = validation.integer("competitors", competitors, low=1)
    a = validation.counts("ahead", ahead, ndim=1)
    validation.interval("ahead", a, high=float(N))
    if a.size < 2:
        raise ValueError(f"ahead must hold at least 2 queries, got {a.size}")
    t = validation.counts("tied", tied)
    validation.interval("tied", t, low=1.0)
    if t.shape not in ((), a.shape):
        raise ValueError(f"tied must have shape {a.shape} or (), got {t.shape}")
    places = a.astype(np.int64), np.broadcast_to(t, a.shape).astype(np.int64)
    return Ranks(*places, N, parse_loss(loss))
