r"""Rewards by rank, merged to few cells with a proof on both sides (C25, C26).

With the items sorted for a query, the target of quantile v in [0, 1] earns h'(v): of one encoder
for all items $h'(v) = E\,w(1 + \mathrm{Bin}(M-1, v))$, of joint encoders $h'(v) = w(\lceil Mv
\rceil)$. A test channel, as a distribution of posteriors u, earns $\sum_x \int h(S_x(z))\,dz$,
which rises with h pointwise. So every concave h that lies above the true one bounds the reward
above, and one below bounds it below.

Merging. On a cell [a, b] of quantiles let m be the mean of h'. The chord of h is m, and it lies
below h. Above h lie its tangents at a and b, which meet where a share $(m - h'(b)) / (h'(a) -
h'(b))$ of the cell is passed: there the reward steps from h'(a) to h'(b). The two differ by at most
(b-a)(h'(a)-h'(b))/4, of order N^-2 with N cells that are graded so that the products are alike.
Where the mean itself is only known between two bounds, the chord takes the lower and the tangents
the upper one, and the argument stands.
"""

from typing import Final, NamedTuple

import numpy as np

from rdsim.limits.bottleneck._solver import distinct_columns
from rdsim.ranking.loss import RankLoss
from rdsim.ranking.rank_distribution import expected_loss_kernel

_CELLS: Final = 4096
"""Cells of the table. The reward is then known to some 1e-8."""
_EVEN: Final = 0.1
"""Weight of a grading that does not depend on what was found before."""
_SAME: Final = 1e-14
"""Difference between probabilities P(x|y) below which they count as equal, for they are rounded.
What that may change of a reward is part of the rounding that the bounds allow for."""


class Steps(NamedTuple):
    """A concave function of [0, 1] with f(0) = 0, by its slopes on consecutive cells.

    Attributes:
        length: of the cells, sum one, shape (N,).
        slope: f' on them, not increasing, shape (N,).

    """

    length: np.ndarray
    slope: np.ndarray

    @property
    def whole(self) -> float:
        """Return f(1)."""
        return float(self.length @ self.slope)

    def tangents(self, count: int, scores: tuple[np.ndarray, np.ndarray] | None = None) -> "Steps":
        r"""Bound f above by at most `count` of its tangents: a coarser function with as few steps.

        The first and last cell are among those touched. Between two that are touched the tangents
        meet where a share of the way is passed, as in the module docstring. With no more cells than
        `count` this is f itself.

        Tangents at quantiles v and v + dv cost the reward $dv\,d\omega\,d\tau/8$ where the score
        tau of the items falls by d tau. The cube root of that product is spread evenly over the
        touched cells, which makes the error least, of order count^-2; as long as the scores are not
        known, the square root of dv d omega.

        Args:
            count: of tangents.
            scores: quantiles and the scores there, to grade by.

        Returns:
            The tangents, each on the cell where it is lowest.

        """
        if self.length.size <= count:
            return self
        # At each cell: the fall of f' since the cell before, and the distance of their middles.
        # Equal parts of the cumulative sum of sqrt(fall * distance) make the products of both
        # alike between tangents.
        fall = np.append(0.0, -np.diff(self.slope))
        apart = np.append(0.0, 0.5 * (self.length[1:] + self.length[:-1]))
        cumulative = _share(np.sqrt(fall * apart))
        if scores is not None:
            ends = np.cumsum(self.length)
            lost = np.abs(
                np.diff(np.interp(ends - 0.5 * self.length, *scores), prepend=scores[1][0])
            )
            # A cell takes one tangent at most: what exceeds one group's part of the weight is cut off.
            weight = np.cbrt(fall * apart * lost)
            weight = np.minimum(weight, weight.sum() / count)
            cumulative = _share(weight) + _EVEN * cumulative
        # The last cell is touched in place of what the search gives, since the tangents must
        # reach to one.
        touched = np.searchsorted(cumulative, cumulative[-1] * np.linspace(0.0, 1.0, count))
        touched = np.unique(np.append(touched[:-1], fall.size - 1))
        ends = np.append(0.0, np.cumsum(self.length))
        height = np.append(0.0, np.cumsum(self.length * self.slope))
        slope = self.slope[touched]
        # Between the end of one touched cell and the start of the next f rises by `rise` over the length
        # `between`: along the first tangent for a part t of it and along the second for the rest, with
        # slope_1 t + slope_2 (between - t) = rise. Clipping acts on rounding alone, as f is concave.
        after = touched[:-1] + 1
        between = np.maximum(ends[touched[1:]] - ends[after], 0.0)
        rise = height[touched[1:]] - height[after]
        drop = slope[:-1] - slope[1:]
        on_first = (rise - slope[1:] * between) / np.where(drop > 0, drop, 1.0)
        on_first = np.clip(np.where(drop > 0, on_first, between), 0.0, between)
        length = self.length[touched]
        length[:-1] += on_first
        length[1:] += between - on_first
        return Steps(length, slope)


def _share(weights: np.ndarray) -> np.ndarray:
    """Cumulative sum, scaled to end at one."""
    total = np.cumsum(weights)
    return np.asarray(total / total[-1] if total[-1] > 0 else np.linspace(0.0, 1.0, total.size))


class Rewards(NamedTuple):
    """The reward of a quantile, as a function below the true h and one above it."""

    below: Steps
    above: Steps


def tabulated(log2_size: float, loss: RankLoss, *, joint: bool) -> Rewards:
    """Tabulate the reward by quantile of one encoder for all items, or of joint encoders.

    Args:
        log2_size: log2 M.
        loss: rho, the reward is w = 1 - rho.
        joint: whether the rank is the quantile's own (C26), not a binomial of it (C25).

    Returns:
        h between two concave functions with corners.

    """
    M = 2.0**log2_size if log2_size > 52 else round(2.0**log2_size)
    return _by_rank(float(M), loss) if joint else _by_quantile(float(M), log2_size, loss)


def _by_quantile(M: float, log2_size: float, loss: RankLoss) -> Rewards:
    """One encoder: ends of cells equally spaced in ln(1 + Mv / K), K the last rank without loss."""
    # The reward falls on the scale of v = K/M: below it the cells are even, beyond it geometric.
    scale = M / max(loss.cutoff, 1)
    ends = np.expm1(np.linspace(0.0, np.log1p(scale), _CELLS + 1)) / scale
    ends[-1] = 1.0
    log_end = np.log(np.maximum(ends, 1e-320), where=ends > 0, out=np.full(ends.size, -np.inf))
    length = np.diff(ends)
    # One call: the rewards at the ends, where nobody ties, and the means over the cells.
    both = 1.0 - expected_loss_kernel(
        np.append(log_end, log_end[:-1]),
        np.append(np.full(ends.size, -np.inf), np.log(length)),
        np.asarray(log2_size),
        loss,
    )
    at_end, mean = both[: ends.size], both[ends.size :]
    # h' does not increase, and its mean over a cell lies between its ends: rounding is taken off,
    # so that the steps are concave and the share of `_enclosed` lies in [0, 1].
    at_end = np.minimum.accumulate(at_end)
    mean = np.clip(mean, at_end[1:], at_end[:-1])
    return _enclosed(length, mean, mean, at_end[:-1], at_end[1:])


def _by_rank(M: float, loss: RankLoss) -> Rewards:
    """Joint encoders: the ranks one by one, or from some rank on in groups.

    w of the reciprocal rank and of DCG is convex in the rank, so that the mean over a group is at
    most the mean of its first and last rank's, and at least that of its middle one. A two-valued
    loss has two groups.
    """

    def reward(rank: np.ndarray) -> np.ndarray:
        return 1.0 - np.asarray(loss.of_log_rank(np.log(rank)))

    if loss.is_two_valued:
        last = np.unique([0.0, min(float(loss.cutoff), M), M])
    elif M <= _CELLS:
        last = np.arange(M + 1)
    else:
        # A quarter of the cells holds the first ranks one by one, where the reward changes most; groups that grow
        # geometrically hold the others with equal relative widths.
        single = np.arange(_CELLS // 4 + 1)
        grown = np.geomspace(single[-1], M, 3 * _CELLS // 4 + 1)
        last = np.unique(np.append(single, np.round(grown)))
        last[-1] = M
    first, end = reward(last[:-1] + 1.0), reward(last[1:])
    if loss.is_two_valued:
        first = end
    middle = reward(0.5 * (last[:-1] + 1.0 + last[1:])) if M > _CELLS else end
    # By convexity of w the middle rank's reward is at most the mean (Jensen), and the mean of the
    # ends at least. A group of one rank is exact.
    low = np.where(first == end, end, middle)
    return _enclosed(np.diff(last) / M, low, 0.5 * (first + end), first, end)


def _enclosed(
    length: np.ndarray, low: np.ndarray, high: np.ndarray, first: np.ndarray, end: np.ndarray
) -> Rewards:
    """Chords below, tangents at both ends of every cell above."""
    fall = first - end
    # The upper function reaches the true one, or an upper bound of it, at the end of every cell,
    # and within a cell it is the lower of two lines of the steepest and the flattest slope that h
    # has there.
    share = np.where(fall > 0, (high - end) / np.where(fall > 0, fall, 1.0), 1.0)
    share = np.clip(share, 0.0, 1.0)
    split = np.stack([share * length, (1.0 - share) * length], axis=1).ravel()
    slope = np.stack([first, end], axis=1).ravel()
    used = split > 0
    return Rewards(Steps(length, low), Steps(split[used], slope[used]))


class Queries(NamedTuple):
    r"""Queries joined to classes that rank every set of items alike, or in reverse.

    Up to a constant $P(x|u)$ is $a_x \tau_c(u)$ with one $\tau_c(u) = \sum_y u_y e_c(y)$ for all
    queries x of class c, so that sorting by one of them sorts by all.

    Attributes:
        direction: e_c(y), of mean zero under P_Y and largest size one, shape (C, |Y|).
        forward: sum of the positive a_x, shape (C,); at least `backward`.
        backward: sum of the sizes of the negative a_x, shape (C,).
        py: P(y) > 0, shape (|Y|,).

    """

    direction: np.ndarray
    forward: np.ndarray
    backward: np.ndarray
    py: np.ndarray

    def equals(self, other: "Queries") -> bool:
        """Whether both are the same but for rounding."""
        return all(
            mine.shape == theirs.shape and np.abs(mine - theirs).max(initial=0.0) <= _SAME
            for mine, theirs in zip(self, other, strict=True)
        )


class Programme(NamedTuple):
    """What one problem needs at every slope.

    Attributes:
        queries: classes of queries, and P(y).
        rewards: by quantile, from both sides.
        below: what each class earns by the quantile, from below.
        above: from above.

    """

    queries: Queries
    rewards: Rewards
    below: list[Steps]
    above: list[Steps]


def classes_of(joint: np.ndarray) -> Queries:
    """Join the rows of P(x|y) that are parallel once their mean is taken off.

    Args:
        joint: P(x,y), every column with mass.

    Returns:
        The classes; none if no query tells the items apart.

    """
    py = joint.sum(axis=0)
    rows = joint / py
    # P(x|u) = P(x) + sum_y u_y rows[x,y]: only the deviation from P(x) decides how a query sorts
    # the items.
    rows = rows - (rows @ py)[:, None]
    rows = rows[np.abs(rows).max(axis=1) > _SAME]
    directions: list[np.ndarray] = []
    forward: list[float] = []
    backward: list[float] = []
    for row in rows:
        norm = float(np.linalg.norm(row))
        for c, direction in enumerate(directions):
            along = float(row @ direction)
            if np.abs(row - along * direction).max() <= _SAME:
                forward[c] += max(along, 0.0)
                backward[c] += max(-along, 0.0)
                break
        else:
            directions.append(row / norm)
            forward.append(norm)
            backward.append(0.0)
    if not directions:
        return Queries(np.zeros((0, py.size)), np.zeros(0), np.zeros(0), py)
    # A class and its reverse are one: the direction has the sign by which the larger coefficient is the forward one,
    # and the largest entry one; the coefficients take up the scale.
    e, plus, minus = np.stack(directions), np.array(forward), np.array(backward)
    # The heavier sense of a class is called forward, so that `backward` is at most `forward`.
    sign = np.where(minus > plus, -1.0, 1.0)
    plus, minus = np.maximum(plus, minus), np.minimum(plus, minus)
    size = np.abs(e).max(axis=1)
    return Queries(e * (sign / size)[:, None], plus * size, minus * size, py)


def only(queries: Queries, chosen: np.ndarray) -> Queries:
    """Keep some classes, and join the letters that they do not tell apart."""
    letter, columns = distinct_columns(queries.direction[chosen], _SAME)
    py = np.bincount(letter, weights=queries.py)
    return Queries(columns, queries.forward[chosen], queries.backward[chosen], py)


def in_order(queries: Queries) -> Queries:
    """Sort the letters by their probabilities and scores, up to rounding, so that equal problems are seen to be so."""
    order = np.lexsort(np.round(np.vstack([queries.direction, queries.py]), 12))
    return queries._replace(direction=queries.direction[:, order], py=queries.py[order])


def class_steps(steps: Steps, forward: float, backward: float) -> Steps:
    r"""Return what a class of queries earns by the quantile v of the item in its order.

    $$\omega(v) = a_+ h'(v) - a_- h'(1 - v).$$

    The cells of [0, 1/2] are those of h and of its mirror image, so that lengths near both ends
    keep their relative accuracy.
    """
    if backward == 0.0:
        return Steps(steps.length, forward * steps.slope)
    ends = np.append(0.0, np.cumsum(steps.length))
    ends[-1] = 1.0
    # Near v = 1 a float64 cannot tell quantiles closer than 1e-16, near 0 it can. So cells are
    # cut in [0, 1/2], where 1 - ends is exact by Sterbenz's lemma, and mirrored.
    left = np.unique(np.concatenate([[0.0, 0.5], ends[ends < 0.5], 1.0 - ends[ends > 0.5]]))
    middle = 0.5 * (left[1:] + left[:-1])

    def at(v: np.ndarray) -> np.ndarray:
        cell = np.searchsorted(ends, v, side="right") - 1
        return steps.slope[np.minimum(cell, steps.slope.size - 1)]

    near, far = at(middle), at(1.0 - middle)
    low, high = forward * near - backward * far, forward * far - backward * near
    length = np.diff(left)
    return Steps(np.append(length, length[::-1]), np.append(low, high[::-1]))
