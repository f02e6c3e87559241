"""The converse for sequences of letters (C27) against known digits, enumerated sets and random codes."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim import codes, sources
from rdsim.limits import bottleneck_dsbs, retrieval_converse
from rdsim.limits.converses import _memoryless

LOSSES = ("error", ("miss", 10), "reciprocal_rank", "dcg")


def binary(numbers):
    table = np.array(numbers).reshape(2, 2)
    return table / table.sum()


tables = st.lists(st.floats(0.05, 1.0), min_size=4, max_size=4).map(binary)


@pytest.mark.parametrize(
    ("n", "separate", "shared"), [(100, 0.105, 0.179), (400, 0.358, 0.396), (1000, 0.667, 0.688)]
)
def test_C27_values_of_the_dsbs(n, separate, shared):
    """The known digits at n = 1000 are rounded down: those at 100 and 400 fix the exponent, hence .6698."""
    size = 1.1 * n * float(bottleneck_dsbs(0.1, rate=0.5))
    wanted = {"separate": separate, "shared": shared}
    for encoder, least in wanted.items():
        found = retrieval_converse(
            sources.dsbs(0.1), size, "error", bits=n / 2, letters=n, encoder=encoder
        )
        assert found.bound == ("sets of sequences",)
        assert least - 1.5e-3 <= float(found.loss) <= least + 5e-3


@settings(max_examples=6)
@given(tables, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_C27_the_exponent_holds_for_every_pair_of_sets(joint, one, other):
    """All pairs of sets of two letters, of any sizes."""
    power, item = min(one, other), max(one, other)
    c = _memoryless.Pair(joint).constant(power, item, 1e-6)
    n = 2
    whole = np.kron(joint, joint)
    subsets = np.array(list(itertools.product([0.0, 1.0], repeat=2**n)))[1:]
    both = subsets @ whole @ subsets.T
    query, items = subsets @ whole.sum(axis=1), subsets @ whole.sum(axis=0)
    bound = 2 ** (-n * c) * query[:, None] ** power * items**item
    assert np.all(both <= bound * (1 + 1e-12))


@settings(max_examples=6)
@given(tables, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_C27_the_constant_is_that_of_all_distributions_of_a_fine_grid(joint, one, other):
    pair = _memoryless.Pair(joint)
    query, item = min(one, other), max(one, other)
    found = pair.constant(query, item, 1e-7)
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


@settings(max_examples=5)
@given(
    st.floats(0.02, 0.4),
    st.just(48),
    st.sampled_from([0.25, 0.5, 0.75]),
    st.floats(1.0, 60.0),
    st.sampled_from(LOSSES),
)
def test_C27_no_random_code_of_the_dsbs_passes_the_bound(p, n, rate, size, loss):
    bits = max(math.floor(rate * n), 1)
    code = float(codes.dsbs_ensemble(p, size, loss, n=n, rate=bits / n))
    for encoder in ("shared", "separate"):
        found = retrieval_converse(
            sources.dsbs(p), size, loss, bits=bits, letters=n, encoder=encoder
        )
        assert float(found.loss) <= code + 1e-9


def test_other_alphabets_are_bounded_by_the_rank_rate():
    found = retrieval_converse(
        sources.binary_erasure_pair(0.3), 20, "error", bits=[2.0, 8.0], letters=16
    )
    assert set(found.bound) <= {"rank rate", "items stored whole"}
    assert found.loss[0] > found.loss[1] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "letters must be given"),
        ({"letters": 4, "rate": "entropy"}, 'rate="fixed_length" only'),
        ({"letters": 0}, "letters must"),
    ],
)
def test_bad_input_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        retrieval_converse(sources.dsbs(0.1), 10, "error", bits=8.0, **options)
    with pytest.raises(ValueError, match="letters must be given for a DiscreteSource"):
        retrieval_converse(sources.gaussian(0.5), 10, "error", bits=8.0, letters=4)
