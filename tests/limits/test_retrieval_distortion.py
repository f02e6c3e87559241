"""C13: the cost matrix against loops, and self-consistent schemes against limits and their matrix."""

import jax
import numpy as np
import pytest
import reference
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim import limits, ranking, sources
from rdsim.information import information_density
from rdsim.limits.retrieval.distortion import retrieval_distortion, self_consistent

KEY = jax.random.key(0)


def log(x):
    return np.log(x) if x > 0 else -np.inf


@settings(max_examples=15)
@given(
    strategies.joint_pmfs((3, 2)),
    strategies.scores((3, 4)),
    strategies.pmfs(4),
    st.sampled_from(["error", "reciprocal_rank"]),
)
def test_C13_matrix_equals_loops_over_letters(joint, scores, competitor, loss):
    found = np.asarray(retrieval_distortion(joint, scores, competitor, 4.0, loss))
    probabilities = np.array(
        [
            [
                (
                    log(min(sum(q for q, s in zip(competitor, row, strict=True) if s > row[u]), 1)),
                    log(
                        min(sum(q for q, s in zip(competitor, row, strict=True) if s == row[u]), 1)
                    ),
                )
                for u in range(4)
            ]
            for row in scores
        ]
    )
    price = np.asarray(
        ranking.expected_loss(4.0, loss, log_a=probabilities[..., 0], log_e=probabilities[..., 1])
    )
    for y in range(2):
        mass = joint[:, y].sum()
        expected = joint[:, y] @ price / mass if mass > 0 else np.zeros(4)
        np.testing.assert_allclose(found[y], expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=15)
@given(strategies.joint_pmfs((3, 2)), strategies.channels((2, 3)))
def test_C13_a_channel_priced_against_itself_has_its_exact_loss(joint, channel):
    through = joint @ channel
    through /= through.sum()
    exact = float(ranking.scored_loss(through, 4.0, "error"))
    density = np.asarray(information_density(jax.numpy.asarray(through)))
    d = retrieval_distortion(joint, density, through.sum(axis=0), 4.0, "error")
    own = np.sum(joint.sum(axis=0)[:, None] * channel * np.asarray(d))
    np.testing.assert_allclose(own, exact, rtol=1e-9, atol=1e-12)


@pytest.fixture(scope="module")
def schemes():
    joint = np.asarray(sources.symmetric(3, 0.15).joint)
    return joint, self_consistent(KEY, joint, 3.0, "error", slope=8.0, starts=4)


def test_C13_fixed_points_are_met_within_the_residual(schemes):
    joint, found = schemes
    assert found.converged.all()
    assert (np.asarray(found.iterations) > 1).all()
    for channel, distortion, rate in zip(
        np.asarray(found.channel), found.distortion, found.rate, strict=True
    ):
        through = joint @ channel
        exact = ranking.scored_loss(np.round(through / through.sum(), 12), 3.0, "error")
        np.testing.assert_allclose(distortion, exact, rtol=0, atol=1e-6)
        information = reference.mutual_information_by_sums(joint.sum(0)[:, None] * channel)
        np.testing.assert_allclose(rate, information, rtol=0, atol=1e-12)


def test_C13_the_stored_letters_fixed_point_solves_its_own_rate_distortion_problem(schemes):
    """Its matrix, built here from its channel, has the scheme on the certified curve."""
    joint, found = schemes
    py = joint.sum(axis=0)
    channel = np.asarray(found.channel[0])
    used = (py @ channel) > 1e-6
    channel = channel[:, used] / channel[:, used].sum(axis=1, keepdims=True)
    through = joint @ channel
    density = np.log2(through / np.outer(through.sum(1), through.sum(0)))
    d = retrieval_distortion(joint, np.round(density, 6), through.sum(axis=0), 3.0, "error")
    curve = limits.rate_distortion_curve(py, d, [8.0])
    least = float(curve.rate[0] - curve.gap[0] + 8.0 * curve.distortion[0])
    most = float(curve.rate[0] + 8.0 * curve.distortion[0])
    reached = float(found.rate[0] + 8.0 * found.distortion[0])
    assert least - 1e-5 <= reached <= most + 1e-5
    assert found.suboptimality[0] < 1e-5


@pytest.mark.parametrize("slope", [2.0, 8.0, 30.0])
def test_C13_no_scheme_beats_the_converse(slope):
    joint = np.asarray(sources.symmetric(3, 0.15).joint)
    found = self_consistent(KEY, joint, 3.0, "error", slope=slope, starts=4, max_iterations=50)
    needed = np.asarray(
        limits.rank_rate(3.0, "error", distortion=np.asarray(found.distortion)).lower
    )
    assert (needed <= np.asarray(found.rate) + 1e-9).all()
    information = [
        reference.mutual_information_by_sums(joint @ channel)
        for channel in np.asarray(found.channel)
    ]
    assert (needed <= np.array(information) + 1e-9).all()


def test_C13_says_when_it_has_not_converged():
    joint = np.asarray(sources.symmetric(3, 0.15).joint)
    found = self_consistent(KEY, joint, 3.0, "error", slope=8.0, starts=4, max_iterations=2)
    assert not found.converged.any()
    np.testing.assert_array_equal(found.iterations, 2)
    assert (np.asarray(found.residual) > 1e-6).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: retrieval_distortion(np.eye(2) / 2, np.eye(3), np.ones(2) / 2, 3.0, "error"),
            r"scores must have one row a letter of X .* shape \(2, 2\), got \(3, 3\)",
        ),
        (
            lambda: retrieval_distortion(np.eye(2) / 2, np.eye(2), np.ones(2), 3.0, "error"),
            "competitor must sum to one",
        ),
        (lambda: self_consistent(KEY, np.eye(2), 3.0, "error", slope=1.0), "joint must sum to one"),
        (
            lambda: self_consistent(KEY, np.eye(2) / 2, 3.0, "error", slope=0.0),
            r"slope must lie in \(0, inf\)",
        ),
        (
            lambda: self_consistent(KEY, np.eye(2) / 2, 3.0, "error", slope=1.0, damping=1.0),
            r"damping must lie in \[0, 1\), got 1.0",
        ),
        (
            lambda: self_consistent(KEY, np.eye(2) / 2, 3.0, "error", slope=1.0, letters=1),
            "letters must be",
        ),
        (
            lambda: self_consistent(KEY, np.eye(2) / 2, 3.0, "error", slope=1.0, starts=0),
            "starts must be",
        ),
        (
            lambda: self_consistent(KEY, np.eye(2) / 2, 0.0, "error", slope=1.0),
            "log2_size must lie in",
        ),
    ],
)
def test_C13_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_C13_needs_a_typed_key():
    with pytest.raises(TypeError, match="key"):
        self_consistent(7, np.eye(2) / 2, 3.0, "error", slope=1.0)
