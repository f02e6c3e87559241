"""The converse for sequences of letters (C27) against known digits, enumerated sets and random codes."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim import sources
from rdsim.limits import (
    bottleneck_at,
    bottleneck_dsbs,
    joint_retrieval_curve,
    rank_loss,
    retrieval_converse,
    retrieval_curve,
)
from rdsim.limits.converses import _memoryless

LOSSES = ("error", ("miss", 10), "reciprocal_rank", "dcg")


def binary(numbers):
    table = np.array(numbers).reshape(2, 2)
    return table / table.sum()


tables = st.lists(st.floats(0.05, 1.0), min_size=4, max_size=4).map(binary)
TERNARY = np.array([[0.2, 0.05, 0.04], [0.03, 0.22, 0.1], [0.06, 0.1, 0.2]])
ERASURES = np.array([[0.35, 0.0], [0.15, 0.15], [0.0, 0.35]])


@st.composite
def sources_of_few_letters(draw):
    """Binary and ternary letters, with zeros."""
    shape = draw(st.sampled_from([(2, 2), (3, 2), (2, 3), (3, 3)]))
    size = shape[0] * shape[1]
    numbers = draw(st.lists(st.floats(0.05, 1.0), min_size=size, max_size=size))
    table = np.array(numbers).reshape(shape)
    if draw(st.booleans()):
        table[0, -1] = 0.0
    return table / table.sum()


@pytest.mark.parametrize(
    ("n", "separate", "shared"),
    [(100, 0.10495, 0.17870), (400, 0.35827, 0.39627), (1000, 0.67011, 0.68802)],
)
def test_C27_values_of_the_dsbs(n, separate, shared):
    """Values of the same bound with multipliers chosen at sixty shares of the database in place of nine, to a tenth of the tolerance.

    They take five times as long, and are no more than 6e-4 higher. Rounded they are the known digits (.105 and .179, .358 and
    .396, .688), but for separate encoders at n = 1000, where .667 is known.
    """
    size = 1.1 * n * float(bottleneck_dsbs(0.1, rate=0.5))
    wanted = {"separate": separate, "shared": shared}
    for encoder, most in wanted.items():
        found = retrieval_converse(
            sources.dsbs(0.1), size, "error", bits=n / 2, letters=n, encoder=encoder
        )
        assert found.bound == ("sets of sequences",)
        assert most - 6e-4 <= float(found.loss) <= most + 1e-5


@settings(max_examples=8)
@given(sources_of_few_letters(), st.floats(0.0, 0.99), st.floats(0.0, 0.99))
def test_C27_the_exponent_holds_for_every_pair_of_sets(joint, one, other):
    """All pairs of sets of two letters, of any sizes; for ternary letters, sets of half of the items."""
    power, item = min(one, other), max(one, other)
    c, _ = _memoryless.constant(joint, power, item, 1e-6)
    n = 2
    whole = np.kron(joint, joint)
    subsets, of_items = (
        np.array(list(itertools.product([0.0, 1.0], repeat=size)))[1:] for size in whole.shape
    )
    both = subsets @ whole @ of_items.T
    query, items = subsets @ whole.sum(axis=1), of_items @ whole.sum(axis=0)
    bound = 2 ** (-n * c) * query[:, None] ** power * items**item
    assert np.all(both <= bound * (1 + 1e-12))


@settings(max_examples=6)
@given(tables, st.floats(0.0, 0.99), st.floats(0.0, 0.99))
def test_C27_the_constant_is_that_of_all_distributions_of_a_fine_grid(joint, one, other):
    query, item = min(one, other), max(one, other)
    found, _ = _memoryless.constant(joint, query, item, 1e-7)
    steps = np.arange(61) / 60
    Q = np.array([(a, b, c, 1 - a - b - c) for a in steps for b in steps for c in steps])
    Q = np.abs(Q[Q[:, 3] >= -1e-9]).reshape(-1, 2, 2)
    with np.errstate(divide="ignore", invalid="ignore"):

        def divergence(q, p):
            return np.where(q > 0, q * np.log2(q / p), 0.0).reshape(len(q), -1).sum(axis=1)

        value = divergence(Q, joint) - query * divergence(Q.sum(2), joint.sum(1))
        value = value - item * divergence(Q.sum(1), joint.sum(0))
    assert found <= value.min() + 1e-9
    assert found >= value.min() - 0.01


@pytest.mark.parametrize("joint", [TERNARY, ERASURES, ERASURES.T, np.kron(ERASURES, ERASURES)[:4]])
@pytest.mark.parametrize(("query", "item"), [(0.4, 0.9), (0.8, 0.85), (0.3, 0.4)])
def test_C27_the_constant_is_that_of_many_descents(joint, query, item):
    r"""2^-c is the largest $E\,u^\lambda v^\mu$ for $E\,u = E\,v = 1$, by alternation from many starts."""
    joint = joint[joint.sum(axis=1) > 0] / joint.sum()
    joint = joint[:, joint.sum(axis=0) > 0]
    px, py = joint.sum(axis=1), joint.sum(axis=0)
    random = np.random.default_rng(3)
    v = random.dirichlet(np.full(py.size, 0.3), size=400) / py
    for _ in range(300):
        u = (v**item @ (joint / px[:, None]).T) ** (1 / (1 - query))
        u /= (u @ px)[:, None]
        v = (u**query @ (joint / py)) ** (1 / (1 - item))
        v /= (v @ py)[:, None]
    reached = np.log2(np.einsum("nx,xy,ny->n", u**query, joint, v**item).max())
    found, met = _memoryless.constant(joint, query, item, 1e-6)
    np.testing.assert_allclose(-found, max(reached, 0.0), rtol=0, atol=2e-6)
    np.testing.assert_allclose(met @ [1, -query, -item], found, rtol=0, atol=3e-6)


@settings(max_examples=10)
@given(data=st.data())
def test_C27_affine_functions_lie_below_the_divergence_at_given_marginals(data):
    """At any distribution, and close to it where they are made for its marginal."""
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    joint = data.draw(sources_of_few_letters())
    other = data.draw(st.sampled_from([0.0, 0.5, 0.8]))
    shape = joint.shape
    Q = np.where(
        joint > 0, random.dirichlet(np.full(joint.size, 0.5), size=50).reshape(-1, *shape), 0
    )
    Q /= Q.sum(axis=(1, 2), keepdims=True)
    slope, offset = _memoryless._tangent(joint, other, Q.sum(axis=1))
    best = _memoryless._nearest(joint, other, Q.sum(axis=1))
    value, of_x, _ = (np.log(2) * _memoryless._divergences(joint, Q)).T
    every = Q.sum(axis=1) @ slope.T + offset
    assert np.all(every <= (value - other * of_x)[:, None] + 1e-9)
    np.testing.assert_allclose(best.sum(axis=(1, 2)), 1.0, rtol=0, atol=1e-9)
    own = (Q.sum(axis=1) * slope).sum(axis=1) + offset
    value, of_x, _ = (np.log(2) * _memoryless._divergences(joint, best)).T
    near = np.abs(best.sum(axis=1) - Q.sum(axis=1)).max(axis=1) < 1e-9
    assert near.mean() > 0.5
    np.testing.assert_allclose(own[near], (value - other * of_x)[near], rtol=0, atol=1e-6)


def test_C27_ternary_sequences_are_bounded_by_sets_and_larger_alphabets_by_the_rank_rate():
    found = retrieval_converse(
        sources.DiscreteSource(joint=TERNARY), 40, "error", bits=[30.0], letters=100
    )
    assert found.bound == ("sets of sequences",)
    many = np.eye(5) / 10 + np.full((5, 5), 0.02)
    found = retrieval_converse(
        sources.DiscreteSource(joint=many), 40, "error", bits=[30.0], letters=100
    )
    assert found.bound == ("rank rate",)
    # Thirty of 100 letters' bits are .3 a letter.
    kept = 100 * float(bottleneck_at(many, 0.3, compress="columns").upper)
    by_rank = rank_loss(40, "error", rate=kept).lower
    np.testing.assert_allclose(found.loss, by_rank, rtol=0, atol=1e-7)


@settings(max_examples=4)
@given(
    tables,
    st.sampled_from([1, 3, 40]),
    st.sampled_from(["error", "reciprocal_rank"]),
    st.floats(1.0, 60.0),
)
def test_C27_wider_classes_of_codes_have_smaller_bounds(joint, n, loss, size):
    """Entropy is less than the length, information less than entropy; shared encoders are separate, those are joint."""
    bits = np.array([0.0, 0.4, 0.6, 0.9]) * n
    least = {
        (rate, encoder): np.asarray(
            retrieval_converse(
                sources.DiscreteSource(joint=joint),
                size,
                loss,
                bits=bits,
                rate=rate,
                encoder=encoder,
                letters=n,
            ).loss
        )
        for rate in ("fixed_length", "entropy", "information")
        for encoder in ("shared", "separate", "joint")
        if (rate, encoder) != ("fixed_length", "joint")
    }
    for (rate, encoder), found in least.items():
        assert (np.diff(found) <= 1e-12).all()
        for wider in (("information", encoder), (rate, "separate"), ("information", "joint")):
            if encoder != "joint" or wider[1] == "joint":
                assert (least[wider] <= found + 1e-9).all()


@settings(max_examples=4)
@given(tables, st.sampled_from(["error", "reciprocal_rank", "dcg"]), st.floats(1.0, 30.0))
def test_C25_C26_the_information_of_one_letter_is_bounded_by_the_single_letter_curve(
    joint, loss, size
):
    bits = np.array([0.2, 0.7])
    for encoder, of_all in (("shared", "shared"), ("separate", "joint"), ("joint", "joint")):
        found = retrieval_converse(
            sources.DiscreteSource(joint=joint),
            size,
            loss,
            bits=bits,
            rate="information",
            encoder=encoder,
            letters=1,
        )
        curve = retrieval_curve(joint, size, loss, np.zeros(0), encoder=of_all).loss_at(bits)
        assert (np.asarray(curve.lower) - 1e-11 <= np.asarray(found.loss)).all()
        assert (np.asarray(found.loss) <= np.asarray(curve.upper)).all()


def test_C26_ternary_letters_are_bounded_by_the_single_letter_curve():
    """By the exact optimum of joint encoders of four items from above, and tighter than the rank rate."""
    bits = np.array([0.1, 0.4])
    joint = {"rate": "information", "encoder": "joint", "letters": 1}
    found = retrieval_converse(
        sources.DiscreteSource(joint=TERNARY), 2.0, "error", bits=bits, **joint
    )
    exact = joint_retrieval_curve(TERNARY, "error", np.zeros(0), items=4, tolerance=1e-6)
    least = np.asarray(exact.loss_at(bits).upper)
    kept = bottleneck_at(TERNARY, bits, compress="columns").upper
    by_rank = np.asarray(rank_loss(2.0, "error", rate=kept).lower)
    assert set(found.bound) == {"single-letter curve"}
    assert (by_rank + 5e-3 < np.asarray(found.loss)).all()
    assert (np.asarray(found.loss) <= least).all()


def test_C26_letters_of_five_values_are_bounded_by_the_single_letter_curve():
    """Between the rank rate and the optimum of joint encoders of two items."""
    many = np.eye(5) / 10 + np.full((5, 5), 0.02)
    bits, joint = np.array([0.3]), {"rate": "information", "encoder": "joint", "letters": 1}
    found = retrieval_converse(
        sources.DiscreteSource(joint=many), 1.0, "error", bits=bits, tolerance=3e-3, **joint
    )
    exact = joint_retrieval_curve(many, "error", np.zeros(0), items=2, tolerance=1e-3)
    kept = bottleneck_at(many, bits, compress="columns").upper
    assert found.bound == ("single-letter curve",)
    assert float(rank_loss(1.0, "error", rate=kept).lower[0]) + 1e-3 < float(found.loss[0])
    assert float(found.loss[0]) <= float(exact.loss_at(bits).upper[0])


def test_C26_many_queries_of_few_letters_are_bounded_by_the_single_letter_curve():
    """Forty-nine kinds of queries and three letters, or the reverse: posteriors or strategies can be searched all the same."""
    bits, options = np.array([0.3]), {"rate": "information", "encoder": "joint", "letters": 1}
    table = np.random.default_rng(0).dirichlet(np.full(147, 0.3)).reshape(49, 3)
    for joint in (table, table.T):
        source = sources.DiscreteSource(joint=joint)
        found = retrieval_converse(source, 6.0, "error", bits=bits, tolerance=3e-3, **options)
        assert found.bound == ("single-letter curve",)


@pytest.mark.parametrize("encoder", ["shared", "joint"])
@pytest.mark.parametrize("loss", ["error", "reciprocal_rank"])
def test_C26_letters_of_six_values_are_bounded_by_groups_of_queries(loss, encoder):
    """Above the rank rate, and below the optimum of joint encoders of two items."""
    many = np.eye(6) / 12 + np.full((6, 6), 1 / 72)
    source = sources.DiscreteSource(joint=many)
    bits, options = np.array([0.4, 1.2]), {"rate": "information", "letters": 1}
    two = retrieval_converse(source, 1.0, loss, bits=bits, encoder="joint", **options)
    exact = joint_retrieval_curve(many, loss, np.zeros(0), items=2, tolerance=1e-3)
    assert (np.asarray(two.loss) <= np.asarray(exact.loss_at(bits).upper)).all()
    large = retrieval_converse(source, 10.0, loss, bits=bits, encoder=encoder, **options)
    kept = bottleneck_at(many, bits, compress="columns").upper
    by_rank = np.asarray(rank_loss(10.0, loss, rate=kept).lower)
    assert set(large.bound) == {"single-letter curve"}
    assert (by_rank + 5e-3 < np.asarray(large.loss)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "letters must be given"),
        ({"letters": 40, "encoder": "joint"}, "covered by no bound"),
        ({"letters": 0}, "letters must"),
    ],
)
def test_bad_input_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        retrieval_converse(sources.dsbs(0.1), 10, "error", bits=8.0, **options)
    with pytest.raises(ValueError, match="letters must be given for a DiscreteSource"):
        retrieval_converse(sources.gaussian(0.5), 10, "error", bits=8.0, letters=4)
