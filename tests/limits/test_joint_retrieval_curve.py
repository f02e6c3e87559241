"""C26: the exact optimum of joint encoders, collapsed by the exchange of items, against all databases."""

import itertools

import numpy as np
import pytest
import reference
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim import limits, sources
from rdsim.limits.retrieval._arrangements import arranged, orbits, types_of

RECIPROCAL = "reciprocal_rank"
LOSSES = (RECIPROCAL, "error", "dcg", ("miss", 2))
DSBS = sources.dsbs(0.1)
TERNARY = np.array([[0.2, 0.05, 0.04], [0.03, 0.22, 0.1], [0.06, 0.1, 0.2]])
SLOPES = np.array([0.3, 0.03])


def joint_optimum(joint, size, loss, slopes):
    """The exact optimum of joint encoders of a small database, by C5 on |Y|^M letters."""
    py, weight = joint.sum(axis=0), reference.reward_of_rank(loss, size)
    databases = np.array(list(itertools.product(range(py.size), repeat=size)))
    orders = np.array(list(itertools.permutations(range(size))))  # rank of each item
    likelihood = (joint / py)[:, databases]
    lost = np.einsum("xdi,oi->xod", likelihood, 1 - weight[orders]) / size
    rankings = np.array(list(itertools.product(range(len(orders)), repeat=len(joint))))
    distortions = sum(lost[x, rankings[:, x]] for x in range(len(joint))).T
    return limits.rate_distortion_curve(
        py[databases].prod(axis=1), np.maximum(distortions, 0.0), slopes
    )


@pytest.mark.parametrize(
    ("joint", "size", "loss"),
    [
        (np.asarray(DSBS.joint), 3, RECIPROCAL),
        (np.asarray(DSBS.joint), 3, "error"),
        (TERNARY, 2, RECIPROCAL),
        (np.array([[0.3, 0.1, 0.05], [0.05, 0.2, 0.3]]), 3, "dcg"),
    ],
)
def test_C26_collapsed_databases_have_the_optimum_of_all_rankings(joint, size, loss):
    plain = joint_optimum(joint, size, loss, size / SLOPES)
    found = limits.joint_retrieval_curve(joint, loss, SLOPES, items=size)
    assert np.all(np.asarray(found.converged))
    np.testing.assert_allclose(found.loss, plain.distortion, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.rate.value, plain.rate.value / size, rtol=0, atol=1e-6)


@settings(max_examples=6)
@given(data=st.data())
def test_C26_means_over_arrangements_are_those_of_a_list(data):
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    letters, M, C = data.draw(st.sampled_from([(2, 4, 1), (3, 3, 2), (3, 4, 1), (1, 3, 1)]))
    direction, py = random.normal(size=(C, letters)), random.dirichlet(np.ones(letters))
    rewards = [np.round(random.exponential(size=M), data.draw(st.integers(0, 2))) for _ in range(C)]
    strategies_ = orbits(rewards)
    types = types_of(letters, M, len(strategies_))
    scale = data.draw(st.sampled_from([0.0, 0.7, 30.0]))
    found = arranged(strategies_, direction, py, types, scale)
    np.testing.assert_allclose(np.exp(found.log_p).sum(), 1.0, rtol=0, atol=1e-12)
    for t, counts in enumerate(types):
        database = np.repeat(np.arange(letters), counts)
        for o, v in enumerate(strategies_):
            gains = [
                np.sum(direction[:, database] * v[list(p)].T)
                for p in itertools.permutations(range(M))
            ]
            weight = np.exp(scale * (np.array(gains) - max(gains)))
            mean = np.log(weight.mean()) + scale * max(gains)
            np.testing.assert_allclose(found.log_mean[t, o], mean, rtol=1e-12, atol=1e-11)
            np.testing.assert_allclose(
                found.gain[t, o], weight @ gains / weight.sum(), rtol=0, atol=1e-9
            )


@settings(max_examples=6)
@given(data=st.data())
def test_C26_orbits_are_the_rankings_up_to_exchange(data):
    """Each set of arrangements of all classes, with its items sorted, is one orbit."""
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    M, C = data.draw(st.sampled_from([(3, 3), (4, 2), (2, 4)]))
    rewards = [random.integers(0, 3, size=M).astype(float) for _ in range(C)]
    listed = {
        tuple(sorted(zip(*each, strict=True)))
        for each in itertools.product(*(itertools.permutations(r) for r in rewards))
    }
    found = [tuple(sorted(map(tuple, orbit))) for orbit in orbits(rewards)]
    assert len(found) == len(set(found))
    assert set(found) == listed


@pytest.mark.parametrize(
    ("loss", "items", "at", "rate"),
    [
        (RECIPROCAL, 4, [0.3713541667, 0.4072916667], [0.2059, 0.0835]),
        ("error", 4, [0.61875], [0.1776]),
        ("error", 12, [0.8666917], [0.0763]),
    ],
)
def test_C26_exact_values_of_the_binary_source(loss, items, at, rate):
    exact = limits.joint_retrieval_curve(DSBS, loss, [0.1], items=items, tolerance=1e-6)
    found = exact.rate_at(np.array(at))
    assert np.all(np.asarray(found.converged))
    np.testing.assert_allclose(found.value, rate, rtol=0, atol=5.1e-5)
    np.testing.assert_allclose(exact.loss_at(found.value).value, at, rtol=0, atol=1e-4)


@st.composite
def small_sources(draw):
    """Sources of one class of queries and of three; of the latter only a few items can be solved fast."""
    shape = draw(st.sampled_from([(2, 2), (2, 3), (3, 2), (3, 3)]))
    joint = draw(strategies.joint_pmfs(shape))
    joint = 0.98 * joint + 0.02 / joint.size if draw(st.booleans()) else joint
    return joint, 3 if shape == (3, 3) else draw(st.sampled_from([2, 5, 16]))


@settings(max_examples=5)
@given(problem=small_sources(), loss=st.sampled_from(LOSSES))
def test_C4_C26_exact_and_C25_lie_in_this_order(problem, loss):
    joint, items = problem
    size = np.log2(items)
    exact = limits.joint_retrieval_curve(joint, loss, SLOPES, items=items, tolerance=1e-6)
    assert np.all(np.asarray(exact.converged))
    at, rate = np.asarray(exact.loss), np.asarray(exact.rate.upper)
    shared, converse = (
        limits.retrieval_curve(joint, size, loss, SLOPES, encoder=kind, tolerance=1e-3)
        for kind in ("shared", "joint")
    )
    inside = np.maximum(at, float(converse.minimum_loss))
    assert np.all(converse.lower(inside) <= rate + 1e-9)
    assert np.all(exact.lower(shared.loss) <= shared.rate.upper + 1e-9)
    for one, bits in zip(at, rate, strict=True):
        needed = float(limits.rank_rate(size, loss, distortion=one).lower)
        kept = limits.bottleneck_at(joint, bits, compress="columns", tolerance=1e-7)
        assert needed <= float(kept.upper) + 1e-8


def test_C26_the_optimum_of_many_binary_items_lies_between_the_converse_and_one_encoder():
    items = 256
    exact = limits.joint_retrieval_curve(DSBS, RECIPROCAL, [0.05], items=items)
    shared, converse = (
        limits.retrieval_curve(DSBS, 8.0, RECIPROCAL, [0.05], encoder=kind)
        for kind in ("shared", "joint")
    )
    # The largest reward less a twentieth a bit, of each kind.
    best = [1 - float(c.loss[0]) - 0.05 * float(c.rate.upper[0]) for c in (shared, exact)]
    bound = 1 - float(converse.loss[0]) - 0.05 * float(converse.rate.lower[0])
    assert best[0] <= best[1] <= bound
    assert float(exact.gap[0]) < 1e-9


def test_too_many_rankings_are_refused_by_name():
    with pytest.raises(ValueError, match="items and classes of queries must be so few"):
        limits.joint_retrieval_curve(TERNARY, RECIPROCAL, [0.1], items=9)
    many = np.full((2, 8), 1 / 16) + np.linspace(-0.01, 0.01, 16).reshape(2, 8)
    with pytest.raises(ValueError, match="items and letters must be so few"):
        limits.joint_retrieval_curve(many, "error", [0.1], items=64)
