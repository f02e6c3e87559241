r"""What a codeword can tell about items of few values, by listing all sets of them (C27).

Codewords of probabilities $q_k$ are sets B of items. For every $\gamma \ge 0$ and every share t of the database,

$$\mathrm{recall} \le \gamma t + \sum_k \varphi_\gamma(B_k), \qquad
  \varphi_\gamma(B) = \sum_x \bigl(P(x, B) - \gamma P(x) P(B)\bigr)^+,$$

at most N times the concave hull of the points $(P(B), \varphi_\gamma(B))$ at 1/N for N codewords, and at most the
hull of $(-\log_2 P(B), \varphi_\gamma(B)/P(B))$ at R for codewords of entropy R. Encoders that draw the codeword are covered:
$\varphi_\gamma$ is convex and homogeneous, so that a function of the items with values in [0, 1] is a mean of sets. For the same
reason it is subadditive: no code exceeds the sum of phi over all items, each a set of its own.
"""

import functools
import itertools
import math
from typing import Final, NamedTuple

import numpy as np

from rdsim.limits.converses._recalls import Reals, Recalls

_MOST_ITEMS: Final = 16
"""Most sequences of an item: they have 2^16 sets."""
_MOST_ENTRIES: Final = 2**21
"""Largest number of entries of the table of sets by queries, 16 MiB."""
_THRESHOLDS: Final = 64
"""Values of gamma. The bound in gamma is piecewise linear; with few sets all its corners are taken."""
_HULL: Final = 60
"""Steps of the search for an edge of the hull. Each finds a corner; some five are enough."""


class _Sets(NamedTuple):
    """All sets of items of positive probability.

    Attributes:
        mass: P(B), shape (S,).
        thresholds: gamma, shape (G,).
        excess: phi, shape (G, S).
        stored: sum of phi over all sets of one item, shape (G,).

    """

    mass: Reals
    thresholds: Reals
    excess: Reals
    stored: Reals


def covered(joint: Reals, letters: int) -> bool:
    """Whether there are few enough items and queries, of n letters each, to list all sets of items."""
    queries, items = (math.log2(size) * letters for size in joint.shape)
    return items <= math.log2(_MOST_ITEMS) and 2**queries * 2**2**items <= _MOST_ENTRIES


def reward(joint: Reals, letters: int, bits: float, recalls: Recalls, rate: str) -> float:
    """Bound a reward by the recalls of codewords, separate encoders.

    Args:
        joint: P(x,y) of one letter, without letters of no mass; `covered` holds.
        letters: n.
        bits: R, of all letters together.
        recalls: whose mean the reward is.
        rate: "fixed_length" or "entropy".

    """
    sets = _listed(joint.tobytes(), joint.shape, letters)
    if rate == "fixed_length":
        # 2^R is rounded down to whole codewords, after an allowance for the rounding of R; beyond 2^60 of them the sum over
        # single items is less than any hull.
        codewords = float(math.floor(2.0 ** min(bits, 60.0) * (1 + 1e-12)))
        # The empty set, with mass and excess zero, is the end of the hull for many codewords.
        mass = np.append(0.0, sets.mass)
        most = [
            codewords * _hull_at(mass, np.append(0.0, each), 1 / codewords) for each in sets.excess
        ]
    else:
        length = -np.log2(sets.mass)
        longest = float(length.max())
        most = []
        for each in sets.excess:
            known = each / sets.mass
            # More bits than needed do no harm: the hull does not fall.
            x, y = np.append(length, longest), np.append(known, known.max())
            most.append(_hull_at(x, y, min(bits, longest)))
    heights = np.minimum(most, sets.stored)
    lines = heights + np.exp(recalls.log_t)[:, None] * sets.thresholds
    return float(recalls.weight @ np.minimum(lines.min(axis=1), 1.0))


@functools.lru_cache(maxsize=2)
def _listed(buffer: bytes, shape: tuple[int, int], letters: int) -> _Sets:
    """List the sets of items of n letters, and phi of each."""
    letter: Reals = np.frombuffer(buffer).reshape(shape)
    joint: Reals = letter
    for _ in range(letters - 1):
        joint = np.asarray(np.kron(joint, letter), float)
    # Every subset of the items but the empty one, as an indicator: 2^16 rows at most.
    subsets = np.array(list(itertools.product([0.0, 1.0], repeat=joint.shape[1])))[1:]
    both = subsets @ joint.T
    px, mass = joint.sum(axis=1), subsets @ joint.sum(axis=0)
    # phi has its corners in gamma where a query is as likely given the set as it is without.
    corners = np.unique(np.round(both / (mass[:, None] * px), 12))
    # Every gamma gives a bound, so that few of the corners may be taken: that only loosens it.
    places = np.linspace(0, corners.size - 1, min(_THRESHOLDS, corners.size)).astype(int)
    thresholds = np.union1d([0.0, 1.0], corners[places])
    product = mass[:, None] * px
    excess = [np.maximum(both - gamma * product, 0.0).sum(axis=1) for gamma in thresholds]
    single = subsets.sum(axis=1) == 1
    return _Sets(mass, thresholds, np.array(excess), np.array(excess)[:, single].sum(axis=1))


def _hull_at(x: Reals, y: Reals, at: float) -> float:
    """The upper concave hull of points, at a place between the first and the last of them.

    The edge over the place is found from both sides. A line of any slope that touches the points from
    above bounds the hull, so that the value holds wherever the search stops.
    """
    # The highest of the leftmost and of the rightmost points: both are corners of the hull.
    left = int(np.lexsort((-y, x))[0])
    right = int(np.lexsort((-y, -x))[0])
    found = math.inf
    for _ in range(_HULL):
        run = x[right] - x[left]
        slope = (y[right] - y[left]) / run if run > 0 else 0.0
        # The point farthest above the chord is a corner. The line of the chord's slope through it
        # lies above all points, which bounds the hull; the search goes on between it and the end
        # beyond the place.
        above = y - slope * x
        best = int(above.argmax())
        found = min(found, float(above[best] + slope * at))
        if run <= 0 or above[best] <= above[left] + 1e-15:
            break
        left, right = (best, right) if x[best] <= at else (left, best)
    return found
