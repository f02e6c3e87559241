"""What solves C25 and C26: ranks merged into groups, the search of strategies, multipliers and the interior point, against plain enumeration."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim import sources
from rdsim.limits.retrieval.items import _programme, _ranks
from rdsim.limits.retrieval.items._alternation import alternated
from rdsim.limits.retrieval.items._interior_point import interior_point
from rdsim.limits.retrieval.items._pricing import best_strategies, interpolated
from rdsim.limits.retrieval.items._programme import evaluated, optimum, programme
from rdsim.limits.retrieval.items._ranks import classes_of, tabulated
from rdsim.limits.retrieval.items._strategies import (
    Problem,
    Solution,
    children,
    first_strategies,
)
from rdsim.ranking.loss import parse_loss

RECIPROCAL = "reciprocal_rank"
LOSSES = (RECIPROCAL, "error", "dcg", ("miss", 2))
DSBS = sources.dsbs(0.1)
TERNARY = np.array([[0.2, 0.05, 0.04], [0.03, 0.22, 0.1], [0.06, 0.1, 0.2]])
losses = st.sampled_from(LOSSES)


def random_duals(data, shapes):
    """A problem of a few classes, and dual variables that many strategies violate."""
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    C, n, m = data.draw(st.sampled_from(shapes))
    reward = [np.sort(random.exponential(size=m))[::-1] for _ in range(C)]
    masses = [random.dirichlet(np.ones(m)) for _ in range(C)]
    problem = Problem(random.normal(size=(C, n)), random.dirichlet(np.ones(n)), masses, reward)
    beta = [random.normal(scale=data.draw(st.sampled_from((0.01, 1.0))), size=m) for _ in range(C)]
    return problem, Solution(np.zeros(0), random.normal(size=n), beta)


def every_excess(problem, solution):
    """f of all strategies, by its formula."""
    C, m = len(problem.reward), problem.reward[0].size
    groups = np.array(list(itertools.product(range(m), repeat=C))).T
    tilt = sum(
        r[g][:, None] * e for r, g, e in zip(problem.reward, groups, problem.direction, strict=True)
    )
    sums = np.exp(tilt - solution.theta) @ problem.py
    return np.log(sums) - sum(b[g] for b, g in zip(solution.beta, groups, strict=True))


@settings(max_examples=12)
@given(data=st.data())
def test_C26_the_largest_excess_is_that_of_a_plain_search(data):
    """Of few groups, and of so many that the search has to divide its first nodes."""
    shapes = ((3, 3, 5), (4, 3, 4), (2, 5, 6), (2, 3, 90), (3, 3, 22))
    problem, solution = random_duals(data, shapes)
    largest = every_excess(problem, solution).max()
    found = best_strategies(
        problem, solution.theta, solution.beta, deepest=1.0 - largest, most=10_000
    )
    np.testing.assert_allclose(found[0], largest, rtol=0, atol=1e-11)
    _, near, f = found
    np.testing.assert_allclose(
        f, problem.excess(near, solution.theta, solution.beta), rtol=0, atol=1e-11
    )
    np.testing.assert_allclose(f.max(), largest, rtol=0, atol=1e-11)


@settings(max_examples=12)
@given(data=st.data())
def test_C26_raised_multipliers_keep_a_bound(data):
    """Groups that are nowhere the best may become it once others are raised: the bound counts them."""
    problem, solution = random_duals(data, ((3, 3, 5), (2, 3, 20), (3, 4, 8)))
    excess, near, f = best_strategies(
        problem, solution.theta, solution.beta, deepest=0.0, most=10_000
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_programme, "_REPAIRS", 1)
        value, raised = _programme._made_feasible(problem, solution, excess, near, f)
    both = [
        problem.dual(each) + max(every_excess(problem, each).max(), 0.0)
        for each in (solution, raised)
    ]
    np.testing.assert_allclose(value, min(both), rtol=1e-12, atol=1e-11)
    again, _ = _programme._made_feasible(problem, solution, excess, near, f)
    assert again <= value


@settings(max_examples=6)
@given(data=st.data())
def test_C26_the_interior_point_finds_the_same_from_a_near_start(data):
    """From far away, and from the solution with some of it changed."""
    problem, noise = random_duals(data, ((3, 3, 5), (2, 4, 7)))
    m, C = problem.reward[0].size, len(problem.reward)
    every = np.array(list(itertools.product(range(m), repeat=C)))
    far = interior_point(problem, every, 1e-8)
    changed = [b + 0.02 * other for b, other in zip(far.beta, noise.beta, strict=True)]
    start = Solution(np.zeros(0), far.theta + 0.02 * noise.theta, changed)
    near = interior_point(problem, every, 1e-8, start)
    for found in (far, near):
        # The dual is feasible over all strategies, the channel has all prescribed masses, and both have the same value.
        assert every_excess(problem, found).max() <= 1e-12
        np.testing.assert_allclose(
            problem.channel(every, found).sum(axis=0), problem.py, rtol=0, atol=1e-6
        )
        for c, mass in enumerate(problem.mass):
            np.testing.assert_allclose(
                np.bincount(every[:, c], found.q, m), mass, rtol=0, atol=1e-6
            )
    np.testing.assert_allclose(problem.dual(near), problem.dual(far), rtol=0, atol=1e-6)


def test_C26_interpolated_multipliers_are_those_of_a_smooth_function():
    """beta(r) = r^2 / 2 is the conjugate of tau^2 / 2: from 30 groups to 100."""
    coarse, fine = np.linspace(0.9, -0.9, 30), np.linspace(0.9, -0.9, 100)
    found = interpolated(coarse, coarse**2 / 2, np.array([-1.0, 1.0]), fine)
    # Exact between groups. Those at the ends own half an interval of scores: a cell squared / 8 there.
    inside = np.abs(fine) < coarse[2]
    np.testing.assert_allclose(found[inside], fine[inside] ** 2 / 2, rtol=0, atol=1e-14)
    np.testing.assert_allclose(found, fine**2 / 2, rtol=0, atol=(coarse[0] - coarse[1]) ** 2 / 8)


@settings(max_examples=3)
@given(strategies.joint_pmfs((3, 3)), st.sampled_from([0.05, 0.1]))
def test_C25_alternation_comes_near_the_optimum_and_never_passes_it(joint, slope):
    joint = 0.9 * joint + 0.1 / joint.size
    problem = programme(classes_of(joint), tabulated(4.0, parse_loss(RECIPROCAL), joint=False))
    best = optimum(problem, slope, 2e-3)
    multipliers = np.array([slope]) / np.log(2)
    (channel,) = alternated(problem, joint, 16.0, multipliers)
    np.testing.assert_allclose(channel.sum(axis=0), joint.sum(axis=0), rtol=0, atol=1e-9)
    reward, nats = evaluated(problem, channel)
    assert reward - multipliers[0] * nats <= best.bound + 1e-12
    assert reward - multipliers[0] * nats >= best.bound - 0.01 * slope


@settings(max_examples=6)
@given(loss=losses, joint=st.booleans(), log2_size=st.sampled_from((1.0, 4.0, 20.0, 1000.0)))
def test_C25_C26_merged_ranks_keep_both_sides(loss, joint, log2_size):
    rewards = tabulated(log2_size, parse_loss(loss), joint=joint)
    at = np.unique(np.append(np.geomspace(1e-9, 1.0, 200), np.linspace(0.0, 1.0, 300)))

    def value(steps):
        ends = np.append(0.0, np.cumsum(steps.length))
        return np.interp(at, ends, np.append(0.0, np.cumsum(steps.length * steps.slope)))

    for steps in rewards:
        np.testing.assert_allclose(steps.length.sum(), 1.0, rtol=0, atol=1e-12)
        assert np.all(np.diff(steps.slope) <= 1e-15)
    above, below = value(rewards.above), value(rewards.below)
    assert np.all(above >= below - 1e-14)
    assert np.max(above - below) <= 1e-6
    coarse = value(rewards.above.tangents(7))
    assert np.all(coarse >= above - 1e-14)
    if log2_size <= 20 and joint:
        # The sum over ranks, at the quantiles of whole ranks.
        size = round(2**log2_size)
        exact = np.cumsum(
            1 - np.asarray(parse_loss(loss).of_log_rank(jnp.log(jnp.arange(1.0, size + 1))))
        )
        exact = np.interp(at * size, np.arange(size + 1), np.append(0.0, exact)) / size
        assert np.all(above >= exact - 1e-12)
        assert np.all(below <= exact + 1e-12)


def test_C25_the_reward_is_the_integral_of_the_binomial_one():
    """h(s) of the reciprocal rank is (1/M) sum_k (1 - (1-s)^k) / k."""
    size = 16
    below, above = tabulated(4.0, parse_loss(RECIPROCAL), joint=False)
    s = np.cumsum(below.length)[::97]
    k = np.arange(1, size + 1)
    exact = np.sum((1 - (1 - s[:, None]) ** k) / k, axis=1) / size
    np.testing.assert_allclose(
        np.cumsum(below.length * below.slope)[::97], exact, rtol=0, atol=1e-14
    )
    ends = np.append(0.0, np.cumsum(above.length))
    tangents = np.interp(s, ends, np.append(0.0, np.cumsum(above.length * above.slope)))
    np.testing.assert_allclose(tangents, exact, rtol=0, atol=1e-8)
    assert np.all(tangents >= exact - 1e-15)


@settings(max_examples=6)
@given(data=st.data())
def test_C26_split_strategies_keep_a_plan(data):
    """A plan of coarse groups, spread evenly, is carried by their children."""
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    C = 3
    coarse = [random.dirichlet(np.ones(4)) for _ in range(C)]
    fine = [random.dirichlet(np.ones(7)) for _ in range(C)]
    rewards = [np.linspace(1, 0, 4)] * C
    e = random.normal(size=(C, 3))
    problem = Problem(e, np.array([0.2, 0.3, 0.5]), coarse, rewards)
    plan = first_strategies(problem, 0)
    # The working set can have the masses of the coarse groups, its children those of the finer.
    for strategies_, masses in ((plan, coarse), (children(plan, coarse, fine, 10_000), fine)):
        rows = [
            (strategies_[:, c] == r).astype(float) for c in range(C) for r in range(masses[c].size)
        ]
        found = scipy.optimize.linprog(
            np.zeros(len(strategies_)), A_eq=np.array(rows), b_eq=np.concatenate(masses)
        )
        assert found.status == 0


def test_C26_queries_that_rank_alike_are_one_class():
    d = np.asarray(DSBS.joint)
    assert len(classes_of(d).direction) == 1
    assert len(classes_of(np.vstack([0.3 * d, 0.7 * d])).direction) == 1
    assert len(classes_of(np.outer([0.3, 0.7], [0.2, 0.8])).direction) == 0
    found = classes_of(TERNARY)
    assert len(found.direction) == 3
    np.testing.assert_allclose(found.direction @ found.py, 0.0, rtol=0, atol=1e-15)


def test_C26_one_class_and_many_agree():
    """A binary query solved as two classes, which it is not, gives the same optimum."""
    joint = np.array([[0.3, 0.1, 0.05], [0.05, 0.2, 0.3]])
    rewards = tabulated(2.0, parse_loss(RECIPROCAL), joint=True)
    one = optimum(programme(classes_of(joint), rewards), 0.1, 1e-8)
    py = joint.sum(axis=0)
    rows = joint / py - joint.sum(axis=1)[:, None]
    size = np.abs(rows).max(axis=1)
    apart = _ranks.Queries(rows / size[:, None], size, np.zeros(2), py)
    two = optimum(programme(apart, rewards), 0.1, 1e-8)
    np.testing.assert_allclose(
        two.reward - 0.1 * two.rate, one.reward - 0.1 * one.rate, rtol=0, atol=1e-9
    )
    np.testing.assert_allclose(two.bound, one.bound, rtol=0, atol=2e-9)
