r"""The best of all strategies, by branch and bound over the scores of an item (C25, C26).

With $L_{c,r}(\tau) = \omega_c(r)\tau - \beta_c(r)$ and $G_c = \max_r L_{c,r}$, convex,

$$\max_F f_F = \max_u \Bigl\{ \sum_c G_c(\tau_c(u)) - D(u\|P) - \theta\cdot u \Bigr\},
\qquad \tau_c(u) = \sum_y u_y e_c(y).$$

A node holds an interval of groups for every class, hence an interval of $\tau_c$. There every line
above both ends of G_c lies above it, whatever its slope k_c, so that

$$\sum_c \max_{\tau \in \mathrm{ends}} (G_c(\tau) - k_c \tau) + \ln \sum_y P_y e^{\sum_c k_c e_c(y)
- \theta_y}$$

bounds the node for every k; at a single strategy it is f_F itself. The chord is tried first. Where
the posterior that it leads to lies outside the node, a Newton step for the multipliers of the ends
tilts it. Nodes are split in the class whose chord lies farthest above G_c, the best nodes first.
"""

from typing import Final, NamedTuple

import numpy as np

from rdsim.limits._supporting_lines import lower_hull
from rdsim.limits.retrieval.items._strategies import Problem

_PORTION: Final = 16_384
"""Nodes that are split at a time."""
_NODES: Final = 600_000
"""Nodes that are looked at altogether, some seconds of work for five classes."""
_FIRST_NODES: Final = 2_000
"""Nodes that the search begins with, about: a round of so many takes little longer than one of a few."""
_TILTS: Final = 2
"""Newton steps for the multipliers of the ends: of 4748 nodes without any, one step left 3924, two 3754 and eight 3614 (measured)."""
_EDGE: Final = 8
"""A split leaves at least one part in so many of the groups on either side."""


class Upper(NamedTuple):
    """G_c by the groups that are its maximum somewhere.

    Attributes:
        group: their indices, from the largest tau on, shape (A,).
        slope: omega of them, shape (A,).
        offset: beta of them, shape (A,).
        ends: tau where they begin and end, decreasing, shape (A + 1,).

    """

    group: np.ndarray
    slope: np.ndarray
    offset: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, reward: np.ndarray, beta: np.ndarray, direction: np.ndarray) -> "Upper":
        least, most = float(direction.min()), float(direction.max())
        # G is the greatest of lines; the least beta for a reward, its conjugate, is convex.
        # Sheared so that it falls strictly, its lower hull has all corners.
        reach = float(np.ptp(reward)) or 1.0
        steep = most + 1.0 + float(np.ptp(beta)) / reach
        corners = lower_hull(reward, beta - steep * reward)[::-1]
        slope, offset = reward[corners], beta[corners]
        cuts = (offset[:-1] - offset[1:]) / (slope[:-1] - slope[1:])
        ends = np.clip(np.concatenate([[most], cuts, [least]]), least, most)
        # Groups whose line is the greatest nowhere between the least and the largest score never
        # carry the maximum: they are left out.
        used = ends[:-1] > ends[1:]
        if not used.any():  # all letters have one score
            used[0] = True
        return cls(corners[used], slope[used], offset[used], np.append(ends[:-1][used], least))

    def at(self, tau: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return G(tau) and the place of the line that attains it."""
        place = np.searchsorted(-self.ends, -tau, side="right") - 1
        place = np.clip(place, 0, self.slope.size - 1)
        return self.slope[place] * tau - self.offset[place], place


def best_strategies(
    problem: Problem, theta: np.ndarray, beta: list[np.ndarray], *, deepest: float, most: int
) -> tuple[float, np.ndarray, np.ndarray]:
    r"""Bound max_F f_F over all strategies, and find those that come near it.

    Args:
        problem: the classes and their groups.
        theta: dual variables of the letters.
        beta: multipliers of the groups, an array for every class.
        deepest: strategies with f >= -deepest are wanted.
        most: number of strategies to return at most, the best.

    Returns:
        An upper bound of the maximum, which is the maximum unless that took too many nodes; and
        strategies with their f, the best first, shapes (J, C) and (J,): among them one of the
        largest f, but not all that come near it.

    """
    C = len(beta)
    upper = [Upper.of(*one) for one in zip(problem.reward, beta, problem.direction, strict=True)]
    base = np.log(problem.py) - theta
    new = _first_nodes([g.slope.size for g in upper])
    found, values = [np.zeros((C, 0), int)], [np.zeros(0)]
    low, high = new[0][:, :0], new[1][:, :0]
    bound, tau, split = np.zeros(0), np.zeros((C, 0)), np.zeros(0, int)
    # Best-first branch and bound. Invariant: a strategy of f >= floor is in `found` or inside an open node,
    # whose bound is at least its f.
    floor, looked = -deepest, 0
    while True:
        looked += new[0].shape[1]
        f, new_tau, new_split = _bounded(problem, upper, base, *new)
        # A node of one group in every class is a strategy, and its bound is f_F itself: see the module.
        single = (new[0] == new[1]).all(axis=0)
        near = single & (f >= floor)
        found.append(new[0][:, near])
        values.append(f[near])
        if sum(map(len, values)) > 2 * most:
            # Keep the best; the floor rises to the worst of these, for nothing below it will be
            # returned. It is not raised above zero, from where on strategies violate the dual.
            all_f, places = np.concatenate(values), np.concatenate(found, axis=1)
            best = np.argpartition(-all_f, most)[:most]
            found, values = [places[:, best]], [all_f[best]]
            floor = max(floor, min(float(values[0].min()), 0.0))
        # The open nodes of the next round: those that waited and the new ones, less what the floor rules out.
        divisible, waiting = (f >= floor) & ~single, bound >= floor
        low = np.append(low[:, waiting], new[0][:, divisible], axis=1)
        high = np.append(high[:, waiting], new[1][:, divisible], axis=1)
        tau = np.append(tau[:, waiting], new_tau[:, divisible], axis=1)
        split = np.append(split[waiting], new_split[divisible])
        bound = np.append(bound[waiting], f[divisible])
        if not bound.size or looked >= _NODES:
            break
        if bound.size <= _PORTION:
            new = _halves(low, high, tau, split, upper)
            low, high, tau, split, bound = low[:, :0], high[:, :0], tau[:, :0], split[:0], bound[:0]
        else:
            order = np.argpartition(-bound, _PORTION)
            first, later = order[:_PORTION], order[_PORTION:]
            new = _halves(low[:, first], high[:, first], tau[:, first], split[first], upper)
            low, high, tau = low[:, later], high[:, later], tau[:, later]
            split, bound = split[later], bound[later]
    f, places = np.concatenate(values), np.concatenate(found, axis=1)
    # What is left open when the number of nodes is exhausted enters by its bounds; all else lies
    # below the floor or was found. So this is an upper bound in every case.
    largest = max(float(f.max(initial=floor)), float(bound.max(initial=floor)))
    order = np.argsort(-f, kind="stable")[:most]
    groups = [g.group[places[c, order]] for c, g in enumerate(upper)]
    return largest, np.stack(groups, axis=1), f[order]


def _bounded(
    problem: Problem, upper: list[Upper], base: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Bound nodes; return also the scores tau of the maximum, shape (C, N), and the class to split, shape (N,).

    A node restricts each class to a range of groups, that is its score tau_c to an interval. There the
    convex reward of the class lies below a line (its chord, or any line above both ends), and with lines in
    place of rewards the maximum is a log-sum-exp. So every choice of slopes gives an upper bound: first the
    chords, then `_TILTS` Newton steps, with the variance of tau as second derivative, that tilt the lines of
    classes whose maximum lies outside their interval. The least of the bounds is returned.
    """
    e = problem.direction
    # The node's interval of scores in each class, from `first` down to `last`, and the values of
    # G at both. Classes along the first axis, nodes along the second: sums over few classes are fast.
    rows = list(zip(upper, low, high, strict=True))
    first = np.stack([g.ends[a] for g, a, _ in rows])
    last = np.stack([g.ends[b + 1] for g, _, b in rows])
    first_slope = np.stack([g.slope[a] for g, a, _ in rows])
    last_slope = np.stack([g.slope[b] for g, _, b in rows])
    at_first = first_slope * first - np.stack([g.offset[a] for g, a, _ in rows])
    at_last = last_slope * last - np.stack([g.offset[b] for g, _, b in rows])
    alone = low == high
    width = np.where(first > last, first - last, 1.0)
    # G of a single group is a line, and its own slope is exact. Otherwise the chord is the least
    # line above both ends, and by convexity above G between them.
    chord = np.where(alone | (first <= last), first_slope, (at_first - at_last) / width)
    best, slope = np.full(low.shape[1], np.inf), chord
    for tilt in range(_TILTS + 1):
        # The maximum over all posteriors of a linear function less the divergence is a
        # log-sum-exp (Donsker and Varadhan), attained at `posterior`; that it may lie outside the
        # node only loosens the bound.
        posterior = base[:, None] + e.T @ slope
        top = posterior.max(axis=0)
        posterior -= top
        np.exp(posterior, out=posterior)
        total = posterior.sum(axis=0)
        posterior /= total
        offset = np.maximum(at_first - slope * first, at_last - slope * last)
        value = offset.sum(axis=0) + top + np.log(total)
        mean_score = e @ posterior
        if tilt == 0:
            tau = mean_score
        best = np.minimum(best, value)
        if tilt == _TILTS:
            break
        # The derivative of the bound in a slope k_c is the mean score less the end that attains
        # the maximum: it has a kink at the chord, and is stationary there where the mean score
        # lies between the ends. Where it does not, the second derivative is the variance of the
        # score.
        outside = np.where(
            alone, 0.0, np.maximum(mean_score - first, 0.0) + np.minimum(mean_score - last, 0.0)
        )
        # Several slopes change at once, each as if alone: dividing by their number keeps the
        # joint step from overshooting.
        many = np.maximum((outside != 0).sum(axis=0), 1)
        variance = np.maximum((e * e) @ posterior - mean_score**2, 1e-12)
        step = np.clip(outside / (variance * many), -1e3, 1e3)
        slope = np.clip(slope - step, last_slope, first_slope)
    inside = np.clip(tau, last, first)
    # How far the chord lies above the reward at the maximum: what splitting the class may gain.
    reward = np.stack([g.at(score)[0] for g, score in zip(upper, inside, strict=True)])
    above = at_last + chord * (inside - last) - reward
    # Where the chords touch, the class of most groups is split.
    above = np.where(alone, -1.0, above + 1e-12 * (high - low))
    return best, inside, above.argmax(axis=0)


def _first_nodes(sizes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Divide the groups of every class evenly, first and last group of each node: as many nodes as are bounded in about the time of few."""
    parts = max(int(_FIRST_NODES ** (1.0 / len(sizes))), 1)
    ends = [np.unique(np.linspace(0, size, min(parts, size) + 1).astype(int)) for size in sizes]
    low, high = (
        np.stack([each.ravel() for each in np.meshgrid(*some, indexing="ij")])
        for some in ([each[:-1] for each in ends], [each[1:] - 1 for each in ends])
    )
    return low, high


def _halves(
    low: np.ndarray, high: np.ndarray, tau: np.ndarray, split: np.ndarray, upper: list[Upper]
) -> tuple[np.ndarray, np.ndarray]:
    """Split nodes where the maximum lies, but not at the very edge."""
    nodes = np.arange(split.size)
    a, b = low[split, nodes], high[split, nodes]
    place = np.zeros(split.size, int)
    for c, g in enumerate(upper):
        here = split == c
        place[here] = g.at(tau[c, here])[1]
    # A cut at the very edge would leave a node nearly as large as before.
    # The cut follows the group that holds the maximum, so that the chords of both halves end near
    # it.
    margin = (b - a) // _EDGE
    place = np.clip(place, a + margin, np.maximum(b - 1 - margin, a))
    place = np.minimum(place, np.maximum(b - 1, a))
    left_high, right_low = high.copy(), low.copy()
    left_high[split, nodes] = place
    right_low[split, nodes] = place + 1
    several = a < b
    return (
        np.append(low, right_low[:, several], axis=1),
        np.append(left_high, high[:, several], axis=1),
    )


def interpolated(
    reward: np.ndarray, beta: np.ndarray, direction: np.ndarray, finer: np.ndarray
) -> np.ndarray:
    """Interpolate multipliers between the groups of a coarser level: a guess for finer groups.

    Cubic pieces between the groups in use, with the scores tau where they meet as derivatives: the
    multipliers are the conjugate of G, a smooth convex function of the reward.
    """
    upper = Upper.of(reward, beta, direction)
    x, y = upper.slope[::-1], upper.offset[::-1]
    tau = (0.5 * (upper.ends[:-1] + upper.ends[1:]))[::-1]
    if x.size < 2:
        return np.asarray(y[0] + (finer - x[0]) * tau[0])
    i = np.clip(np.searchsorted(x, finer) - 1, 0, x.size - 2)
    h = x[i + 1] - x[i]
    t = (finer - x[i]) / h
    # Hermite's cubic on each piece; beyond the first and the last group the line of the end's
    # derivative.
    inside = np.clip(t, 0.0, 1.0)
    cubic = (
        (1 + 2 * inside) * (1 - inside) ** 2 * y[i]
        + inside * (1 - inside) ** 2 * h * tau[i]
        + inside**2 * (3 - 2 * inside) * y[i + 1]
        - inside**2 * (1 - inside) * h * tau[i + 1]
    )
    return np.asarray(
        cubic + h * (np.minimum(t, 0.0) * tau[i] + np.maximum(t - 1, 0.0) * tau[i + 1])
    )
