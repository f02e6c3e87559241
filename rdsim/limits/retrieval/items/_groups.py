r"""A converse for many classes of queries: each group of a few may have a description of its own (C26).

With the queries split into groups G, what a test channel earns is a sum over the groups, and none earns more than the channel
that is best for it alone:

$$V(\mu) = \sum_G V_G(\mu) \le \sum_G \max_{I(\mu_G) \le R} V_G(\mu_G).$$

Each term is the problem of `_programme` with a few classes. Its solutions at some slopes are lines above V_G as a function of
the rate; the sum of the lowest lines is concave and piecewise linear, and read off exactly. The larger the groups the less
is given away: a letter is described to four classes of queries instead of all. Of six letters and 16 items the bound is
half to four fifths of the bits that C26 needs, in a thirtieth of the time.
"""

from typing import Final, NamedTuple

import numpy as np

from rdsim.limits.retrieval.items._programme import (
    earned_if_stored,
    optimum,
    programme,
)
from rdsim.limits.retrieval.items._ranks import Programme, in_order, only

_TOGETHER: Final = 4
"""Classes of queries in a group at most, where there are no more than two groups."""
_OF_MANY: Final = 3
"""Classes in a group at most where there are more groups: of a million items a slope of three classes takes a third of the time."""
_SLOPES: Final = np.geomspace(1 / 8, 4.0, 5)
"""Rewards a bit at which every group is solved, over its mean reward a bit of stored items."""
_TOLERANCE: Final = 1e-2
"""Gap of each of these solutions, bits: lines of neighbouring slopes leave as much between them."""
_NEGLIGIBLE: Final = 1e-9
"""Reward of stored items below which a group is bounded by that alone, for all rates."""
_ROUNDING: Final = 1e-12
"""Subtracted from losses for the rounding of their sums: a least loss of zero that came out above zero would need infinitely many bits."""


class GroupedConverse(NamedTuple):
    """Least loss by bits, a convex and piecewise linear lower bound.

    Attributes:
        rate: bits at its corners, increasing from zero; it is flat beyond the last.
        loss: bound there, decreasing.

    """

    rate: np.ndarray
    loss: np.ndarray

    def loss_at(self, rate: np.ndarray) -> np.ndarray:
        """Bound the loss of so many bits."""
        return np.asarray(np.interp(rate, self.rate, self.loss))

    def rate_at(self, loss: np.ndarray) -> np.ndarray:
        """Bound the bits that a loss needs; infinite below all losses."""
        return np.asarray(np.interp(-loss, -self.loss, self.rate, right=np.inf))

    def reward_less_rate(self, slope: float) -> float:
        """Bound the reward less the slope times the rate."""
        return float(np.max(1.0 - self.loss - slope * self.rate))


def converse_by_groups(problem: Programme) -> GroupedConverse:
    """Split the classes into groups of nearly equal size, solve each, and add up what they can earn."""
    queries, rewards = problem.queries, problem.rewards
    classes = len(queries.direction)
    together = _TOGETHER if classes <= 2 * _TOGETHER else _OF_MANY
    # The fewest groups of at most that many classes, of sizes that differ by one at most.
    parts = np.array_split(np.arange(classes), -(-classes // together))
    # Groups of a symmetric source are equal but for the order of the letters: those are solved once.
    groups = [in_order(only(queries, part)) for part in parts]
    first = [next(i for i, other in enumerate(groups) if other.equals(one)) for one in groups]
    solved = {i: _lines(programme(groups[i], rewards)) for i in set(first)}
    envelopes = [solved[i] for i in first]
    rate = np.unique(np.concatenate([[0.0], *map(_corners, envelopes)]))
    # Each group's bound is the least of its lines, concave and piecewise linear with its corners
    # among these rates, and so is the sum over the groups: evaluated at the corners it is known
    # everywhere.
    earned = sum(
        (slope[:, None] * rate + height[:, None]).min(axis=0) for slope, height in envelopes
    )
    loss = 1.0 - (rewards.above.whole + earned) - _ROUNDING
    # Rounding apart the sum falls as it is; corners at which it does not would make its inverse ambiguous.
    falls = np.append(True, np.diff(np.minimum.accumulate(loss)) < 0)
    return GroupedConverse(rate[falls], loss[falls])


def _lines(part: Programme) -> tuple[np.ndarray, np.ndarray]:
    """Bound what a group earns beyond a random ranking, by lines over the rate: slopes, decreasing, and heights."""
    base = part.rewards.above.whole
    stored = earned_if_stored(part) - base
    if stored < _NEGLIGIBLE:
        return np.zeros(1), np.array([stored])
    # A stored letter earns this much reward for each of its bits: the slopes that matter lie
    # around it. The last line, of slope zero, says that no rate earns more than the stored
    # letter.
    mean = stored / _entropy(part.queries.py)
    slopes = mean * _SLOPES[::-1]
    heights = np.array([optimum(part, float(s), _TOLERANCE).bound - base for s in slopes])
    return np.append(slopes, 0.0), np.append(heights, stored)


def _entropy(py: np.ndarray) -> float:
    return float(-(py @ np.log2(py)))


def _corners(lines: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return all rates at which two lines cross, corners of the lowest among them."""
    slope, height = lines
    # Crossings of lines that are not the lowest there are listed as well: at worst a few more
    # corners.
    i, j = np.triu_indices(slope.size, 1)
    steeper = slope[i] > slope[j]
    crossing = (height[j] - height[i])[steeper] / (slope[i] - slope[j])[steeper]
    return crossing[crossing > 0]
