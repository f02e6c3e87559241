"""C1 for stored codewords: against loops, all small databases, and the loss of a joint distribution."""

import itertools

import jax
import numpy as np
import pytest
import strategies as sts
from hypothesis import given
from hypothesis import strategies as st
from reference import RHO

from rdsim import ranking
from rdsim.ranking.codewords import codeword_loss

losses = pytest.mark.parametrize("loss", RHO, ids=str)
SIZES = np.log2([2, 4])
targets = st.lists(st.integers(0, 3), min_size=3, max_size=3).map(np.array)


def _over_all_databases(scores, target, competitor, M, loss):
    """Every list of competitors' codewords, and every place of the target among its ties."""
    total = 0.0
    for others in itertools.product(range(len(competitor)), repeat=M - 1):
        better = sum(scores[u] > scores[target] for u in others)
        tied = sum(scores[u] == scores[target] for u in others)
        places = [RHO[loss](better + 1 + i) for i in range(tied + 1)]
        total += np.prod([competitor[u] for u in others]) * np.mean(places)
    return total


@losses
@given(scores=sts.scores((3, 4)), target=targets, competitor=sts.pmfs(4))
def test_C1_codeword_loss_is_the_average_over_all_databases(loss, scores, target, competitor):
    found = codeword_loss(scores, target, competitor, SIZES, loss)
    expected = [
        [_over_all_databases(row, t, competitor, M, loss) for M in (2, 4)]
        for row, t in zip(scores, target, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-13)


@given(sts.joint_pmfs((3, 4)), sts.scores((3, 4)))
def test_C1_codeword_loss_averages_to_the_loss_of_the_joint_distribution(joint, scores):
    table = np.broadcast_to(scores[:, None, :], (3, 4, 4))
    target = np.broadcast_to(np.arange(4), (3, 4))
    each = codeword_loss(table, target, joint.sum(axis=0), [2.0, 40.0], "reciprocal_rank")
    mean = np.sum(joint[..., None] * np.asarray(each), axis=(0, 1))
    expected = ranking.scored_loss(joint, [2.0, 40.0], "reciprocal_rank", scores=scores)
    np.testing.assert_allclose(mean, expected, rtol=1e-12)


def test_C1_codeword_loss_keeps_the_relative_accuracy_of_rare_codewords():
    """Two rare codewords above and the own one, rarer still, in a database of 2^980 items: the
    loss is linear, M (a + e/2) rho(2)."""
    competitor = np.array([2.0**-1010, 1.0, 3.0 * 2.0**-1012, 2.0**-1012])
    found = codeword_loss([3.0, -2.0, 2.0, 1.0], 3, competitor, 980.0, "reciprocal_rank")
    assert found.shape == ()
    assert float(found) == pytest.approx(2.0**-32 * (4 + 3 + 0.5) / 2, rel=1e-8, abs=0)


@given(sts.scores((3, 4)), targets, sts.pmfs(4), st.integers(-64, 64), st.integers(-3, 3))
def test_C1_codeword_loss_sees_the_order_alone(scores, target, competitor, shift, power):
    """Multiples of 1/64, so that neither a constant a query nor a factor rounds."""
    scores = np.round(scores * 64) / 64
    shifts = shift * np.array([1.0, -2.0, 0.25])[:, None]
    plain = codeword_loss(scores, target, competitor, SIZES, "reciprocal_rank")
    moved = codeword_loss(
        2.0**power * scores + shifts, target, competitor, SIZES, "reciprocal_rank"
    )
    np.testing.assert_array_equal(plain, moved)


@given(sts.scores((3, 4)), targets, sts.pmfs(4))
def test_C1_codeword_loss_falls_as_the_target_rises(scores, target, competitor):
    raised = scores.copy()
    raised[np.arange(3), target] += 1.0
    before, after = (
        np.asarray(codeword_loss(table, target, competitor, SIZES, "reciprocal_rank"))
        for table in (scores, raised)
    )
    assert np.all(after <= before + 1e-15)


def test_C1_codeword_loss_is_the_same_inside_jit_and_vmap():
    scores = np.random.default_rng(0).normal(size=(3, 4))
    scores[0, :2] = -np.inf
    target, competitor = np.array([1, 0, 3]), np.array([0.1, 0.2, 0.3, 0.4])

    def one(row, t):
        return codeword_loss(row, t, competitor, SIZES, "reciprocal_rank")

    mapped = jax.jit(jax.vmap(one))(scores, target)
    np.testing.assert_allclose(
        mapped, codeword_loss(scores, target, competitor, SIZES, "reciprocal_rank"), rtol=1e-14
    )
    np.testing.assert_allclose(mapped[0], one(scores[0], target[0]), rtol=1e-14)


GOOD = {
    "scores": np.zeros((3, 4)),
    "target": np.zeros(3, int),
    "competitor": np.full(4, 0.25),
    "log2_size": 4.0,
    "loss": "error",
}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"scores": np.zeros((3, 5))}, ValueError, "scores must have one score for each of 4"),
        ({"scores": 1.0}, ValueError, "scores must have one score"),
        ({"scores": np.full((3, 4), np.nan)}, ValueError, "scores must not contain NaN"),
        ({"scores": np.full((3, 4), np.inf)}, ValueError, "scores must lie in"),
        ({"target": np.zeros(2, int)}, ValueError, r"target must have the shape \(3,\)"),
        ({"target": np.zeros(3)}, TypeError, "target must hold integers"),
        ({"target": [0, 1, 4]}, ValueError, r"target must lie in \[0, 3\], got 4"),
        ({"target": [0, -1, 1]}, ValueError, r"target must lie in \[0, 3\], got -1"),
        ({"competitor": np.full(4, 0.3)}, ValueError, "competitor must sum to one"),
        ({"log2_size": 0.5}, ValueError, "log2_size must lie in"),
        ({"loss": "mrr"}, ValueError, "loss must be"),
    ],
)
def test_codeword_loss_names_a_bad_argument(change, error, message):
    with pytest.raises(error, match=message):
        codeword_loss(**{**GOOD, **change})
