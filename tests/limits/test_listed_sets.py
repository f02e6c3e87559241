"""C27 by listing all sets of items of few values, against all codes of two items."""

import itertools
import math

import numpy as np
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import entr

from rdsim import ranking, sources
from rdsim.limits import retrieval_converse
from rdsim.limits.converses import _listed_sets, _memoryless
from rdsim.limits.converses._recalls import Recalls, ranks
from rdsim.ranking.loss import parse_loss

DSBS = np.asarray(sources.dsbs(0.1).joint)
SKEW = np.array([[0.5, 0.1], [0.05, 0.35]])


def partitions(count):
    """All partitions of range(count), as labels."""
    labels = [[0]]
    for _ in range(count - 1):
        labels = [[*row, k] for row in labels for k in range(max(row) + 2)]
    return np.array(labels)


def words(joint, labels):
    """P(x,k) of the words of a partition, shape (|X|, N)."""
    return joint @ np.eye(max(labels) + 1)[labels]


@pytest.mark.parametrize("joint", [DSBS, SKEW, np.kron(SKEW, [[1.0, 0.0]])[:, ::2]])
@pytest.mark.parametrize("rate", ["fixed_length", "entropy"])
def test_C27_no_pair_of_codes_of_two_items_passes_the_bound(joint, rate):
    """Two items of two letters, each with any partition of its four values: recall@1 of the better one."""
    n = 2
    whole = np.kron(joint, joint)
    codes = [words(whole, labels) for labels in partitions(4)]
    found, spent = [], []
    for one, other in itertools.combinations_with_replacement(codes, 2):
        q, p = one.sum(axis=0), other.sum(axis=0)
        best = np.maximum(one[:, :, None] * p, other[:, None, :] * q[:, None])
        found.append(0.5 * float(best.sum()))
        if rate == "entropy":
            spent.append(0.5 * float(entr(q).sum() + entr(p).sum()) / math.log(2))
        else:
            spent.append(math.log2(max(q.size, p.size)))
    bits = np.unique(np.round(spent, 9))
    bound = retrieval_converse(
        sources.DiscreteSource(joint=joint),
        1.0,
        "error",
        bits=bits,
        letters=n,
        rate=rate,
        encoder="separate",
    )
    assert set(bound.bound) <= {"listed sets", "rank rate", "items stored whole"}
    allowed = 1 - np.asarray(bound.loss)[np.searchsorted(bits, np.round(spent, 9))]
    assert np.max(np.array(found) - allowed) <= 1e-9
    # It is no empty bound: some of it is reached (nothing stored, items stored whole), and no more than the rank rate.
    assert np.max(np.array(found)[np.array(spent) <= 1e-9]) == pytest.approx(0.5, abs=1e-9, rel=0)
    assert "listed sets" in bound.bound


@settings(max_examples=10)
@given(data=st.data())
def test_C27_the_excess_of_every_partition_lies_below_the_hull(data):
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    joint = random.dirichlet(np.ones(12)).reshape(3, 4)
    gamma, px = data.draw(st.sampled_from([0.0, 0.6, 1.0, 1.7])), joint.sum(axis=1)
    subsets = np.array(list(itertools.product([0.0, 1.0], repeat=4)))[1:]
    q, both = subsets @ joint.sum(axis=0), subsets @ joint.T
    phi = np.maximum(both - gamma * q[:, None] * px, 0.0).sum(axis=1)
    for labels in partitions(4):
        code = words(joint, labels)
        total = np.maximum(code - gamma * code.sum(axis=0) * px[:, None], 0.0).sum()
        N = code.shape[1]
        hull = N * _listed_sets._hull_at(np.append(0.0, q), np.append(0.0, phi), 1 / N)
        assert total <= hull + 1e-12
    # The hull itself, by all chords.
    x, y = np.append(0.0, q), np.append(0.0, phi)
    for at in (0.2, 0.5, 0.9):
        chords = [
            y[i] + (y[j] - y[i]) * (at - x[i]) / (x[j] - x[i])
            for i in range(x.size)
            for j in range(x.size)
            if x[i] <= at < x[j]
        ]
        np.testing.assert_allclose(_listed_sets._hull_at(x, y, at), max(chords), atol=1e-13, rtol=0)


@settings(max_examples=15)
@given(
    strategies.joint_pmfs((3, 2)),
    st.sampled_from([1.0, 3.0, 6.0]),
    st.sampled_from(["error", "reciprocal_rank"]),
    st.sampled_from(["fixed_length", "entropy"]),
)
def test_C27_more_codewords_than_items_bound_items_stored_whole(joint, size, loss, rate):
    """No code knows more than which item it is: the bound stays what it is, and holds of items that are stored."""
    n = 2
    joint = _memoryless.joined(joint)
    stored = float(ranking.block_loss(joint, np.eye(joint.shape[1]), size, loss, n=n))
    recalls, rest = ranks(size, parse_loss(loss))
    found = [_listed_sets.reward(joint, n, bits, recalls, rate) + rest for bits in (2.0, 5.0, 40.0)]
    assert found[0] == pytest.approx(found[1], rel=1e-12, abs=0)
    assert found[1] == found[2]
    assert found[2] >= 1 - stored - 1e-12
    # By hand: each query takes the items by which it is most likely, and gamma is the price of a place in its list.
    whole = np.kron(joint, joint)
    px, py = whole.sum(axis=1, keepdims=True), whole.sum(axis=0)
    # A sum of convex and piecewise linear functions of gamma: it is the least at one of their corners.
    gammas = np.append(0.0, (whole / (px * py)).ravel())
    phi = np.maximum(whole - gammas[:, None, None] * px * py, 0.0).sum(axis=(1, 2))
    lines = np.exp(recalls.log_t)[:, None] * gammas + phi
    by_hand = float(recalls.weight @ np.minimum(lines.min(axis=1), 1.0)) + rest
    assert by_hand * (1 - 1e-9) <= found[2] <= by_hand * 1.01  # where not all corners are tried


@pytest.mark.parametrize("joint", [DSBS, SKEW])
def test_C27_listed_sets_are_tighter_than_their_exponent(joint):
    recalls = Recalls(np.log([0.01, 0.25]), np.array([0.5, 0.5]))
    for bits in (1.0, 2.0):
        listed = _listed_sets.reward(joint, 3, bits, recalls, "fixed_length")
        sets = _memoryless.fixed_length(joint, 3, np.array([bits]), [recalls])
        assert listed <= float(sets[0, 0]) + 1e-9
    # Nothing stored is a guess, and stored items are known.
    assert _listed_sets.reward(joint, 3, 0.0, recalls, "fixed_length") == pytest.approx(
        0.13, abs=1e-12, rel=0
    )
    assert _listed_sets.reward(joint, 3, 3.0, recalls, "fixed_length") == pytest.approx(
        _listed_sets.reward(joint, 3, 9.0, recalls, "entropy"), abs=1e-12, rel=0
    )


def test_C27_sixteen_values_are_listed_and_more_are_not():
    assert _listed_sets.covered(DSBS, 4)
    assert not _listed_sets.covered(DSBS, 5)
    found = retrieval_converse(
        sources.dsbs(0.1), 6.0, "reciprocal_rank", bits=[1.0, 2.0, 3.0], letters=4
    )
    assert "listed sets" in found.bound
    assert np.all(np.diff(found.loss) < 0)
    more = retrieval_converse(
        sources.dsbs(0.1), 6.0, "error", bits=[1.0], letters=5, rate="entropy"
    )
    assert more.bound == ("rank rate",)
