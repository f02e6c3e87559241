r"""Every rank loss as a mean of recalls, and the rewards that follow from a bound of the recall.

With w(k) the reward of rank k and C(t) a bound on the probability that the target lies within the best share t of
all items, the reward is at most $\sum_k (w(k) - w(k+1))\, C(k/M) + w(M)$. One encoder for all items knows less
than one for each: the number of competitors that win is then binomial given their share, and the reward is at most
$\int E\,w(1 + \mathrm{Bin}(M-1, v))\, dC(v)$.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rdsim.information import LN2
from rdsim.ranking.loss import Loss, RankLoss, log_database_size
from rdsim.ranking.rank_distribution import gain_without_ties

Reals = NDArray[np.float64]

_ONE_BY_ONE: Final = 32
"""The first ranks are taken one by one, later ones in groups."""
_RATIO: Final = 1.1
"""Ratio of the last rank of a group to its first, or of the shares at the ends of a piece."""
_GROUPS: Final = 1500
"""Most groups; in the largest databases their ratio is larger than `_RATIO`."""
_WEIGHT: Final = 2e-3
"""Neighbouring shares are joined until they have this fraction of all weight."""
_MOST_LINES: Final = 13
"""Lines that are chosen at shares which divide the reward evenly."""
_TAILS: Final = np.array([0.003, 0.01, 0.03, 0.97, 0.99, 0.997])
"""Further parts of the reward at whose shares a line is chosen; every line is a bound at all other shares too."""
_LEAST: Final = 1e-8
"""Expected number of winners, M t, at which the integral over shares starts: below it the loss is smaller than this."""
_LOBATTO: Final = np.array([-1.0, -math.sqrt(3 / 7), 0.0, math.sqrt(3 / 7), 1.0])
_LOBATTO_WEIGHT: Final = np.array([9.0, 49.0, 64.0, 49.0, 9.0]) / 90
_SIMPSON_WEIGHT: Final = np.array([1.0, 0.0, 4.0, 0.0, 1.0]) / 3


@dataclass(frozen=True)
class Recalls:
    """A reward as a mean of recalls: the sum of weight times the recall of a list of share t.

    Attributes:
        log_t: ln of the shares, shape (T,).
        weight: of each, positive, shape (T,).

    """

    log_t: Reals
    weight: Reals

    def joined(self, fraction: float = _WEIGHT, width: float = math.inf) -> "Recalls":
        """Join neighbouring shares: a concave recall has at their mean share at least its mean.

        Args:
            fraction: weight of shares that are joined, of all the weight.
            width: difference of ln t of shares that are joined, nats.

        """
        there = self.weight > 0
        if not there.any():
            return self
        log_t, weight = self.log_t[there], self.weight[there]
        # A new group begins where the cumulative weight passes a multiple of the fraction, or ln
        # t one of the width: groups are fixed by these grids, not by what was joined before.
        part = np.floor((np.cumsum(weight) - weight) / (fraction * weight.sum()))
        near = np.floor(log_t / width)
        new = (np.diff(part, prepend=-1.0) > 0) | (np.diff(near, prepend=1.0) != 0)
        first = np.flatnonzero(new)
        total = np.add.reduceat(weight, first)
        # The weighted mean of the shares of each group, with shares of 2^-1000 in the log domain.
        # A share passes one by rounding alone.
        mean = np.logaddexp.reduceat(log_t + np.log(weight), first) - np.log(total)
        return Recalls(np.minimum(mean, 0.0), total)

    def chosen_shares(self) -> Reals:
        """Ln of the shares at which lines are chosen: those by which so many parts of the reward are reached, and both ends."""
        below = np.cumsum(self.weight) / max(float(self.weight.sum()), 1e-300)
        some = np.searchsorted(below, np.append(_TAILS, np.linspace(0.0, 1.0, _MOST_LINES)))
        return self.log_t[np.unique(some.clip(0, below.size - 1))]


def ranks(size: float, loss: RankLoss) -> tuple[Recalls, float]:
    r"""Write the reward as $\sum_k (w(k) - w(k+1)) \mathrm{recall@}k + w(M)$.

    Later ranks are grouped. The recall is a concave function of the share that increases, so that a group
    is bounded by its recall at a share no smaller than its mean; w is convex in the rank, and the middle
    of the group is no smaller.
    """
    log_M = float(log_database_size(size))
    if loss.is_two_valued:
        if math.log(loss.cutoff) >= log_M * (1 - 1e-15):
            return Recalls(np.zeros(1), np.zeros(1)), 1.0
        return Recalls(np.array([math.log(loss.cutoff) - log_M]), np.ones(1)), 0.0
    M = round(2.0**size) if size <= 52 else math.inf
    first = np.arange(1, min(_ONE_BY_ONE, M), dtype=float)
    log_edges = np.log(np.append(first, first.size + 1))
    if first.size + 1 < M:
        groups = _number_of_groups(log_M - log_edges[-1])
        log_edges = np.append(log_edges[:-1], np.linspace(log_edges[-1], log_M, groups + 1))
        if M < 2**52:  # ranks are integers
            log_edges = np.log(np.unique(np.round(np.exp(log_edges))))
    low, high = log_edges[:-1], log_edges[1:]
    if loss.kind == "reciprocal_rank":
        # The weight of a group is w(low) - w(high), summed by telescoping: 1/low - 1/high for the
        # reciprocal rank. For the DCG, 1/log2(1+low) - 1/log2(1+high) is written as one fraction,
        # in which only logarithms are subtracted.
        weight = np.exp(-low) - np.exp(-high)
        rest = math.exp(-log_edges[-1])
    else:
        more, less = low + np.log1p(np.exp(-low)), high + np.log1p(np.exp(-high))
        weight, rest = LN2 * (less - more) / (less * more), float(LN2 / less[-1])
    # Ranks low, ..., high - 1.
    middle = np.log(0.5) + np.logaddexp(low, high + np.log1p(-np.exp(-high)))
    return Recalls(np.minimum(middle - log_M, 0.0), weight), rest


def binomial_ranks(size: float, loss: RankLoss) -> tuple[Recalls, float]:
    r"""Write $\int E\,w(1 + \mathrm{Bin}(M-1, v))\, dC(v)$ as a mean of C at shares t, by parts.

    On a piece [t, t'] the concave C is at most its value at the mean of the share under -dw, which is
    integrated by Lobatto's rule of five nodes. Three of them are Simpson's. The mean is rounded up by the distance of
    the two rules: far more than the error of the better one, and up to t' where a piece is too wide for either.
    """
    log_M = float(log_database_size(size))
    pieces = _number_of_groups(log_M - math.log(_LEAST))
    edges = np.linspace(math.log(_LEAST) - log_M, 0.0, pieces + 1)
    half = 0.5 * (edges[1] - edges[0])
    # Pieces share their ends, so that of the five nodes of Lobatto's rule the last is the next
    # piece's first.
    inner = (edges[:-1] + half)[:, None] + half * _LOBATTO[:-1]
    log_t = np.append(inner.ravel(), 0.0)
    lost, t = 1 - gain_without_ties(size, loss, log_t), np.exp(log_t)
    product = t * lost  # d(t) = t d(ln t)
    each = np.column_stack([product[:-1].reshape(inner.shape), product[4::4]])
    area, roughly = half * (each @ _LOBATTO_WEIGHT), half * (each @ _SIMPSON_WEIGHT)
    lost, t = lost[::4], t[::4]
    weight = np.append(lost[0], np.diff(lost))
    # The integral of t dl(t) over a piece, by parts: t l at its ends less the integral of l dt.
    moment = each[:, -1] - each[:, 0] - area + np.abs(area - roughly)
    inside = weight[1:] > 0
    mean = np.where(inside, moment / np.where(inside, weight[1:], 1.0), t[1:])
    # A mean lies within its piece; where the weight has underflowed its upper end is taken, which
    # is safe.
    mean = np.clip(mean, t[:-1], t[1:])
    return Recalls(np.log(np.append(t[0], mean)), np.maximum(weight, 0.0)), float(1 - lost[-1])


def _number_of_groups(length: float) -> int:
    """Number of groups of ranks, or of shares, over a range of so many nats."""
    return min(math.ceil(length / math.log(_RATIO)), _GROUPS)


def loss_name(loss: RankLoss) -> Loss:
    """Write a parsed loss as an argument of public functions."""
    return (loss.kind, loss.cutoff) if loss.is_two_valued else loss.kind
