r"""The most a test channel earns less lambda times its rate, from both sides (C25, C26).

The problem is stated by posteriors: $V(\mu) - \lambda I(\mu)$ is concave in the distribution mu of
the posteriors. With one class of queries (a binary query, a binary item, a DSBS) the items have one
order, so that a channel is an entropic transport between quantiles and letters, and its dual is
smooth in |Y| numbers. With more classes, groups of quantiles are refined until both sides meet:
strategies of coarse groups that come near the optimum are split for the next, and those that the
working set lacks are added. With more classes than that can search, and few letters, all posteriors are
searched instead (`_posteriors`); with more letters too the bound comes from smaller problems (`_groups`).
"""

from typing import Final, NamedTuple

import numpy as np

from rdsim.limits.retrieval.items import _posteriors
from rdsim.limits.retrieval.items._alternation import alternated
from rdsim.limits.retrieval.items._interior_point import interior_point
from rdsim.limits.retrieval.items._one_class import one_class
from rdsim.limits.retrieval.items._pricing import best_strategies, interpolated
from rdsim.limits.retrieval.items._ranks import Programme, Queries, Rewards, Steps, class_steps
from rdsim.limits.retrieval.items._strategies import (
    Problem,
    Solution,
    children,
    distinct,
    first_strategies,
)

_MOST_CLASSES: Final = 5
"""Classes of queries up to which strategies can be searched, however many ranks are told apart."""
_MOST_STRATEGIES: Final = 2.0**18
"""Strategies, with all ranks told apart, up to which they can be searched for more classes too. The error tells two ranks apart, so
that it may have eighteen classes; any loss of four items may have nine."""
_ROUGH: Final = 1e-3
"""Gap, bits, from which on posteriors take the place of the strategies of the most classes: they reach it in a tenth of the time."""
_SEARCHED: Final = 0.25
"""Part of the tolerance that the search of all posteriors may leave open: of five letters its time grows as the square of one over that."""
_FIRST_STRATEGIES: Final = 700
"""Strategies of the first, coarsest groups: 8 groups for three classes, 5 for four."""
_WORKING: Final = 6_000
"""Strategies of a working set about, the best of every group of every class."""
_ADDED: Final = 4000
"""Strategies added to the working set in a round, at most about."""
_NEAR: Final = 40_000
"""Strategies that are listed because they come near the optimum."""
_SPLIT: Final = 40_000
"""Strategies that their split may give, before the best are chosen."""
_DEPTH: Final = 10.0
"""Nats below the optimum, times groups squared, down to which strategies are listed."""
_LOOSE: Final = 0.1
"""Nats, times groups squared, that the interior point leaves open as long as strategies are missing.
Dual variables well inside their set change less from round to round than those at a corner."""
_TIGHT: Final = 0.1
"""Nats, times groups squared, that it leaves open once no strategy is missing."""
_ASTRAY: Final = 3.0
"""Excess over the tolerance from which on finer groups are not tried: these did not converge."""
_PRICED: Final = 0.3
"""Part of the gap that strategies which the working set lacks may cause before finer groups are tried. Nor may their excess be larger than
the gap: multipliers that are far off are no guess for those of finer groups."""
_REPAIRS: Final = 2
"""Times that multipliers are raised for strategies that violate the dual."""
_ROUNDS: Final = 12
"""Most rounds of new strategies for one number of groups; what they leave open is part of the bound."""
_FINEST: Final = 144
"""Groups a class has at most."""
_CAREFUL: Final = 1.1
"""By how much more groups are taken than those of which the gap is expected to be small enough."""
_LEAST_FINER: Final = 1.25
"""Least ratio of the numbers of groups of a level and the one before."""
_FINER: Final = 2.5
"""Largest such ratio."""
_ROUNDING: Final = 5e-14
"""Rounding of a reward, a sum of some hundred numbers of probabilities that are rounded to 1e-14."""
_TOLD: Final = 2.0
"""Multiple of the difference between the tables of rewards from below and from above down to which the gap of a slope is
closed: by finer tangents it would fall to once the difference, in ten times the time."""


class Optimum(NamedTuple):
    """What one slope gives.

    Attributes:
        reward: that a channel earns at least.
        rate: of the channel, bits.
        bound: of reward less slope times rate, for every channel.
        joint: P(u,y) of the channel, shape (U, |Y|).

    """

    reward: float
    rate: float
    bound: float
    joint: np.ndarray


def programme(queries: Queries, rewards: Rewards) -> Programme:
    """State the problem of classes of queries whose ranks earn given rewards."""
    pairs = list(zip(queries.forward, queries.backward, strict=True))
    return Programme(
        queries,
        rewards,
        [class_steps(rewards.below, *pair) for pair in pairs],
        [class_steps(rewards.above, *pair) for pair in pairs],
    )


def optimum(
    problem: Programme, slope: float, tolerance: float, bound: float | None = None
) -> Optimum:
    """Solve at one slope.

    Args:
        problem: the programme.
        slope: lambda, reward a bit.
        tolerance: gap to reach, bits.
        bound: of reward less slope times rate, if known: then only a channel is sought, by alternation.

    Returns:
        The best channel found, among them the constant and the stored letter, and the least bound.

    """
    multiplier = slope / np.log(2.0)
    queries = problem.queries
    letters = np.diag(queries.py)
    # The constant channel, of rate zero, and the stored letter: no slope does worse than these.
    channels = [queries.py[None], letters]
    # Nobody earns more than the stored letter, and that at no cost.
    bounds = [earned_if_stored(problem)]
    whole, nats = evaluated(problem, letters)
    # What items earn that are stored whole is known to so much: no gap can be told below that, at no slope.
    blurred = bounds[0] - whole
    enough = max(tolerance * slope, _TOLD * blurred, 2 * _ROUNDING)
    if bounds[0] - (whole - multiplier * nats) <= enough:
        pass  # all of the rate is worth less than that, so that the stored letter is the answer
    elif bound is not None:
        channels.append(_by_alternation(problem, multiplier))
        bounds.append(bound)
    elif len(queries.direction) == 1:
        found, above = _by_transport(problem, multiplier)
        channels.append(found)
        bounds.append(above)
    elif (
        # With five classes both ways are open, and the tolerance decides: strategies for a fine
        # one.
        len(queries.direction) >= _MOST_CLASSES + (tolerance < _ROUGH)
        and queries.py.size <= _posteriors.MOST_LETTERS
        and not _few_strategies(problem)
    ):
        more, above = _by_posteriors(problem, multiplier, tolerance)
        channels += more
        bounds.append(above)
    elif len(queries.direction) > 1:
        more, above = _by_strategies(problem, multiplier, enough / slope)
        channels += more
        bounds.append(above)
    # Where a solver did not converge a channel may have forgotten a letter: it cannot be scaled to the masses P(y).
    channels = [each for each in channels if (each.sum(axis=0) > 0).all()]
    points = [evaluated(problem, channel) for channel in channels]
    best = max(range(len(points)), key=lambda i: points[i][0] - multiplier * points[i][1])
    # Both sides move apart by what a computed reward may be off, so that they hold of the true
    # ones.
    reward, nats = points[best]
    return Optimum(reward - _ROUNDING, nats / np.log(2.0), min(bounds) + _ROUNDING, channels[best])


def many_classes(problem: Programme) -> bool:
    """Whether neither strategies nor posteriors of all classes together can be searched."""
    queries = problem.queries
    few = len(queries.direction) <= _MOST_CLASSES or queries.py.size <= _posteriors.MOST_LETTERS
    return not (few or _few_strategies(problem))


def _few_strategies(problem: Programme) -> bool:
    groups = [float(each.length.size) for each in problem.above]
    return float(np.prod(groups)) <= _MOST_STRATEGIES


def earned_if_stored(problem: Programme) -> float:
    """Bound what items that are stored whole earn, the most that any channel does."""
    letters = np.diag(problem.queries.py)
    return _earned(problem, letters, problem.rewards.above, problem.above)


def evaluated(problem: Programme, joint: np.ndarray) -> tuple[float, float]:
    """Compute what a channel P(u,y) earns at least, and its rate in nats."""
    py = problem.queries.py
    # Scaling every letter to P(y) makes any array a true test channel, however the solver ended:
    # what is evaluated below is achieved, up to rounding.
    joint = joint * (py / joint.sum(axis=0))
    weight = joint.sum(axis=1, keepdims=True)
    # I(U;Y) as a sum of P ln (P / (P_U P_Y)), terms of mass zero left out.
    inside = joint > 0
    ratio = np.where(inside, joint, 1.0) / np.where(inside, weight * py, 1.0)
    nats = float(np.sum(joint * np.log(ratio)))
    return _earned(problem, joint, problem.rewards.below, problem.below), max(nats, 0.0)


def _earned(problem: Programme, joint: np.ndarray, rewards: Steps, classes: list[Steps]) -> float:
    """Sort the codewords by every class and add up what their intervals of quantiles earn."""
    weight = joint.sum(axis=1)
    joint, weight = joint[weight > 0], weight[weight > 0]
    total = rewards.whole
    for direction, steps in zip(problem.queries.direction, classes, strict=True):
        score = (joint @ direction) / weight
        # The target's codeword at quantiles [a, b] of the sorted codewords earns the mean of
        # omega over them: the integral of omega is piecewise linear, and read off at both ends.
        order = np.argsort(-score, kind="stable")
        ends = np.append(0.0, np.cumsum(weight[order]))
        knots = np.append(0.0, np.cumsum(steps.length))
        heights = np.append(0.0, np.cumsum(steps.length * steps.slope))
        total += float(score[order] @ np.diff(np.interp(ends / ends[-1], knots, heights)))
    return total


def _by_transport(problem: Programme, multiplier: float) -> tuple[np.ndarray, float]:
    """Solve one class, from below for the channel and from above for the bound."""
    direction, py = problem.queries.direction[0], problem.queries.py
    # The two problems differ by the table's 1e-8, so that the theta of one starts the other near
    # its end.
    channel, _, theta = one_class(problem.below[0], direction, py, multiplier)
    _, value, _ = one_class(problem.above[0], direction, py, multiplier, theta)
    return channel, problem.rewards.above.whole + multiplier * value


def _by_posteriors(
    problem: Programme, multiplier: float, tolerance: float
) -> tuple[list[np.ndarray], float]:
    """Solve many classes of few letters by a channel of some codewords, and bound over all posteriors."""
    found = _by_alternation(problem, multiplier)
    nats = _SEARCHED * tolerance * np.log(2.0)
    channels, value = _posteriors.solve(problem.queries, problem.above, found, multiplier, nats)
    return channels, problem.rewards.above.whole + multiplier * value


def _by_alternation(problem: Programme, multiplier: float) -> np.ndarray:
    """Find a channel of some dozens of codewords, without a bound."""
    queries, below = problem.queries, problem.rewards.below
    # Codewords are graded by the share of ranks after which half of what a rank can earn is lost.
    half = below.slope >= 0.5 * (below.slope[0] + below.slope[-1])
    size = 1.0 / max(float(below.length[half].sum()), 1e-300)
    towards = queries.py * (1.0 + queries.direction)
    (found,) = alternated(problem, towards, size, np.array([multiplier]))
    return found


def _by_strategies(
    problem: Programme, multiplier: float, tolerance: float
) -> tuple[list[np.ndarray], float]:
    """Return channels and the least bound of several classes, of more and more groups until both meet.

    Tangents take the place of the rewards above, so that the dual of every level is a bound,
    whatever strategies it was solved over: the largest excess over all of them is added.

    A level is solved by column generation: the interior point over a working set, then branch and bound for
    the strategies that violate its dual most (`best_strategies`), which join the set. The next level has
    as many more tangents as the gap asks for, which falls with the square of their number, and starts from the strategies in use,
    split into their groups' parts, and from the interpolated dual variables.
    """
    queries = problem.queries
    C = len(queries.direction)
    nats = tolerance * np.log(2.0)
    count = max(int(_FIRST_STRATEGIES ** (1.0 / C)), 2)
    parents: np.ndarray | None = None
    coarse: tuple[Problem, Solution] | None = None
    scores: list[tuple[np.ndarray, np.ndarray] | None] = [None] * C
    channels, least_bound = [], np.inf
    while True:
        # One level: f is replaced by `count` of its tangents in each class, from above.
        steps = [
            each.tangents(count, known) for each, known in zip(problem.above, scores, strict=True)
        ]
        groups = Problem(
            queries.direction,
            queries.py,
            [each.length for each in steps],
            [each.slope / multiplier for each in steps],
        )
        sizes = [mass.size for mass in groups.mass]
        if parents is None or coarse is None:
            strategies, start = first_strategies(groups, _FIRST_STRATEGIES), None
        else:
            # Warm start: the strategies of the coarser level are split into those of the finer
            # groups that overlap theirs, the best by interpolated dual variables are taken, and
            # plans of the prescribed masses are added, without which the programme over the
            # working set might have no solution.
            split = children(parents, coarse[0].mass, groups.mass, _SPLIT)
            guess = _guessed(groups, *coarse)
            split = _best_of_every_group(
                split, groups.excess(split, coarse[1].theta, guess), groups, _WORKING
            )
            strategies = distinct(np.append(split, first_strategies(groups, 0), axis=0), sizes)
            start = Solution(np.zeros(0), coarse[1].theta, guess)
        # As many tangents as the reward has pieces: the rewards are exact, and no finer level follows.
        exact = all(
            some.length.size == whole.length.size
            for some, whole in zip(steps, problem.above, strict=True)
        )
        # Where no finer groups follow, what the interior point leaves open is all of the gap.
        least, tight = 0.01 * nats, 0.0 if exact else _TIGHT / count**2
        reach = least if exact else max(_LOOSE / count**2, least)
        for rounds_left in range(_ROUNDS - 1, -1, -1):
            solution = interior_point(groups, strategies, reach, start)
            # Pricing: the largest excess over all strategies makes the dual a bound, whatever the
            # working set.
            excess, near, f = best_strategies(
                groups,
                solution.theta,
                solution.beta,
                deepest=min(0.1, _DEPTH / count**2),
                most=_NEAR,
            )
            # Strategies with f > 0 are the constraints that the dual variables violate: raised multipliers make up for them, and
            # they enter the working set if that costs much.
            value, feasible = _made_feasible(groups, solution, excess, near, f)
            least_bound = min(least_bound, problem.rewards.above.whole + multiplier * value)
            lost = value - groups.dual(solution)
            found, gap = groups.channel(strategies, solution), np.inf
            if (found.sum(axis=0) > 0).all():  # otherwise it did not converge, and forgot a letter
                channels.append(found)
                reward, spent = evaluated(problem, found)
                gap = (least_bound - reward) / multiplier + spent
            last = exact or count >= _FINEST
            solved = reach <= (least if exact else _TIGHT / count**2) and lost <= 0.1 * nats
            if (
                gap <= nats
                or not rounds_left
                or solved
                or (not last and max(lost / _PRICED, excess) <= gap)
            ):
                break
            # Solving the working set to far less than it misses is wasted: the accuracy follows
            # what is missed down.
            reach = min(reach, max(0.1 * lost, least, 0.4 * tight))
            worst = _best_of_every_group(near[f > 0], f[f > 0], groups, _ADDED)
            strategies = distinct(np.append(strategies, worst, axis=0), sizes)
        if gap <= nats or last or lost > max(_ASTRAY * nats, _PRICED * gap):
            return channels, least_bound
        scores = _scores(groups, solution)
        parents = _to_split(groups, strategies, solution, near, f)
        coarse = groups, feasible
        # The number expected to do, and where it is much larger some between, by equal ratios.
        finer = min(_CAREFUL * np.sqrt(gap / nats), _FINEST / count)
        levels = max(int(np.ceil(np.log(finer) / np.log(_FINER))), 1)
        count = min(int(np.ceil(max(finer ** (1.0 / levels), _LEAST_FINER) * count)), _FINEST)


def _made_feasible(
    groups: Problem, solution: Solution, excess: float, near: np.ndarray, f: np.ndarray
) -> tuple[float, Solution]:
    r"""Return the bound of dual variables that some strategies violate, in units of lambda, and better ones.

    The largest excess over all strategies, added to the dual, makes it a bound. It costs less to raise a multiplier of every strategy
    that is violated, of the group of the least mass. Strategies of groups that were nowhere the best may come to the fore then, so that
    the largest excess is searched again.
    """
    value, feasible = groups.dual(solution) + excess, solution
    for _ in range(_REPAIRS):
        violated = np.flatnonzero(f > 0)
        if excess <= 0 or violated.size == 0:
            break
        before, beta = feasible.beta, [each.copy() for each in feasible.beta]
        for strategy, more in zip(near[violated], f[violated], strict=True):
            # What multipliers were raised by so far counts for all strategies that share them.
            for c, r in enumerate(strategy):
                more -= beta[c][r] - before[c][r]
            if more > 0:
                _, c = min((groups.mass[c][r], c) for c, r in enumerate(strategy))
                beta[c][strategy[c]] += more
        feasible = feasible._replace(beta=beta)
        excess, near, f = best_strategies(groups, feasible.theta, beta, deepest=0.0, most=_NEAR)
        value = min(value, groups.dual(feasible) + excess)
    return value, feasible


def _to_split(
    groups: Problem, strategies: np.ndarray, solution: Solution, near: np.ndarray, f: np.ndarray
) -> np.ndarray:
    """Order the strategies to split: those in use, by their mass, and then those of the largest f."""
    used = np.flatnonzero(solution.q > 1e-7)
    used = used[np.argsort(-solution.q[used])][:_WORKING]
    return np.concatenate([strategies[used], _best_of_every_group(near, f, groups, _WORKING)])


def _guessed(groups: Problem, coarse: Problem, solution: Solution) -> list[np.ndarray]:
    """Interpolate the multipliers from coarser groups."""
    return [
        interpolated(reward, multipliers, direction, finer)
        for reward, multipliers, direction, finer in zip(
            coarse.reward, solution.beta, coarse.direction, groups.reward, strict=True
        )
    ]


def _best_of_every_group(
    strategies: np.ndarray, f: np.ndarray, groups: Problem, most: int
) -> np.ndarray:
    """Choose about so many strategies: the best of every group of every class, evenly.

    A group of which the working set holds few strategies has a multiplier without bounds.
    """
    if len(strategies) <= most:
        return strategies
    strategies = strategies[np.argsort(-f, kind="stable")]
    each = max(most // sum(m.size for m in groups.mass), 2)
    chosen = np.zeros(len(strategies), bool)
    for c, mass in enumerate(groups.mass):
        order = np.argsort(strategies[:, c], kind="stable")
        first = np.searchsorted(strategies[order, c], np.arange(mass.size))
        # Place of each strategy among those of its group, which are in order of f since the sort
        # is stable.
        rank = np.arange(len(order)) - first[strategies[order, c]]
        chosen[order[rank < each]] = True
    return strategies[chosen]


def _scores(groups: Problem, solution: Solution) -> list[tuple[np.ndarray, np.ndarray] | None]:
    """Read off the dual variables at which scores tau the items pass from one group to the next."""
    found: list[tuple[np.ndarray, np.ndarray] | None] = []
    for mass, reward, beta, e in zip(
        groups.mass, groups.reward, solution.beta, groups.direction, strict=True
    ):
        fall = -np.diff(reward)
        # Neighbouring lines omega tau - beta meet where tau is the fall of beta over the fall of
        # omega. Scores fall along the quantiles: what converged badly is made monotone, for this
        # only grades the groups.
        tau = -np.diff(beta) / np.where(fall > 0, fall, 1.0)
        tau = np.minimum.accumulate(np.clip(tau, e.min(), e.max()))
        ends = np.append(0.0, np.cumsum(mass))
        found.append((ends, np.concatenate([[e.max()], tau, [e.min()]])))
    return found
