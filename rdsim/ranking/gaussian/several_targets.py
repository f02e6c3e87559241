r"""Mean losses from the distribution of a target's score given the query: of one target, or of several (C31).

Of P targets whose scores are independent given the query, each of density f and distribution function F, the first
that is found has the largest score, of density $P F^{P-1} f$, and $\mathrm{Bin}(M-P, a)$ items ahead of it. Any one of
them, at a score where a competitor wins with probability a, has

$$\mathrm{Bin}(M-P, a) + \mathrm{Bin}(P-1, 1-F)$$

items ahead of it, the others among them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy

from rdsim.ranking.tails.contour import Reals

Average = Callable[[Reals, Reals], Reals]
"""Takes ln a and the probabilities of the target's scores, rising, shape (queries, T), to means of n losses, shape (queries, n)."""
Table = Callable[[Reals], Any]
"""A loss as a function of ln a, among M - P competitors."""


def of_one(tables: Sequence[Table]) -> Average:
    """Average losses of the only target."""

    def average(log_a: Reals, probability: Reals) -> Reals:
        return np.stack([(probability * table(log_a)).sum(axis=1) for table in tables], axis=-1)

    return average


def of_first(tables: Sequence[Table], targets: int) -> Average:
    """Average losses of the first target that is found."""
    whole = of_one(tables)

    def average(log_a: Reals, probability: Reals) -> Reals:
        largest = targets * _below(probability) ** (targets - 1) * probability
        return whole(log_a, largest)

    return average


def of_each(misses: Sequence[Sequence[Table]], targets: int) -> Average:
    """Average, over all targets, the probability to rank beyond k = 1, 2, ...; shape (queries, K sizes).

    Args:
        misses: of one target among the competitors alone beyond k = 1, ..., K, for each size.
        targets: P.

    """

    def average(log_a: Reals, probability: Reals) -> Reals:
        above = 1 - _below(probability)
        found = np.empty((len(log_a), len(misses[0]), len(misses)))
        for place, tables in enumerate(misses):
            recalls = among_others([1 - table(log_a) for table in tables], above, targets)
            for k, recall in enumerate(recalls):
                found[:, k, place] = (probability * (1 - recall)).sum(axis=1)
        return found.reshape(len(log_a), -1)

    return average


def among_others(recalls: Sequence[Reals], above: Reals, targets: int) -> list[Reals]:
    """Recall within k = 1, 2, ... places of one of several targets, from those among the competitors alone.

    Args:
        recalls: within 1, 2, ... places, at each score.
        above: probability that another target has a higher score.
        targets: P.

    """
    # With m of the others ahead, k - m places are left.
    return [
        np.asarray(
            sum(
                scipy.stats.binom.pmf(m, targets - 1, above) * recalls[k - m - 1]
                for m in range(min(k, targets))
            )
        )
        for k in range(1, len(recalls) + 1)
    ]


def _below(probability: Reals) -> Reals:
    """Probability of a lower score than each point's, from a cubic spline of the density in the number of the point."""
    density = scipy.interpolate.CubicSpline(np.arange(probability.shape[1]), probability, axis=1)
    below = density.antiderivative()(np.arange(probability.shape[1]))
    return np.asarray(np.clip(below / probability.sum(axis=1, keepdims=True), 0.0, 1.0))
