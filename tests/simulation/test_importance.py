"""C15: importance sampling of tails and losses against exact values, far below plain simulation."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim import ranking, sources
from rdsim.ranking.tails.score_tails import score_tail
from rdsim.simulation.importance import importance_loss, importance_tail

KEY = jax.random.key(15)
# Of one interval: with less than 100 of them a false alarm has probability below 1e-6.
SURE = 1 - 1e-9
BINARY = ([[0.0, 1.0]], [[0.9, 0.1]], [100])


def test_C15_tilted_sampling_covers_binomial_tails_down_to_1e_minus_99():
    k = np.array([5.0, 20.0, 60.0, 99.0])
    exact = np.asarray(score_tail(*BINARY, k).log_tail.value)
    assert exact[-1] < -99 * np.log(10)
    found = importance_tail(KEY, *BINARY, k, trials=4000, confidence=SURE)
    assert found.covers(exact).all()
    # Six standard errors of weights whose deviation is below 1.5 times their mean.
    np.testing.assert_allclose(found.log_mean, exact, rtol=0, atol=6 * 1.5 / np.sqrt(4000))
    assert (found.relative_width < 1.5).all()
    assert (found.log_scale >= exact).all()
    assert (found.trials == 4000).all()


def test_C15_tilted_sampling_covers_the_bounds_of_a_sum_without_a_lattice():
    values, pmf = [[0.0, 1.0, np.sqrt(2.0)], [-1.0, 0.5, np.pi]], [[0.5, 0.3, 0.2], [0.2, 0.5, 0.3]]
    t = np.array([[5.0, 60.0], [80.0, 103.0]])
    exact = score_tail(values, pmf, [20, 25], t).log_tail
    found = importance_tail(KEY, values, pmf, [20, 25], t, trials=2000, confidence=SURE)
    assert found.log_mean.shape == (2, 2)
    assert (found.log_lower <= exact.upper).all()
    assert (found.log_upper >= exact.lower).all()
    np.testing.assert_allclose(found.log_mean, exact.value, rtol=0, atol=0.25)


def test_C15_thresholds_at_and_beyond_the_ends():
    found = importance_tail(KEY, *BINARY, [-1.0, 99.5, 100.0, 101.0], trials=4000, confidence=SURE)
    mean = np.asarray(found.log_mean)
    assert mean[0] == 0.0
    assert found.covers([0.0, 100 * np.log(0.1), -np.inf, -np.inf]).all()
    assert (mean[2:] == -np.inf).all()
    assert (np.asarray(found.log_upper)[2:] == -np.inf).all()
    barred = importance_tail(
        KEY, [[0.0, -np.inf]], [[0.9, 0.1]], [100], [-1.0, 0.0, 1.0, 2.0], trials=4000
    )
    np.testing.assert_allclose(barred.log_mean[0], 100 * np.log(0.9), rtol=1e-12)


@settings(max_examples=8)
@given(st.integers(0, 99), st.floats(0.01, 0.99))
def test_C15_weights_never_exceed_their_bound(threshold, p):
    """The engine refuses a loss above one; the exact tail never exceeds the largest weight."""
    values, pmf, t = [[0.0, 1.0]], [[1 - p, p]], np.full(4, float(threshold))
    found = importance_tail(KEY, values, pmf, [100], t, trials=4000, confidence=SURE)
    exact = score_tail(values, pmf, [100], t).log_tail.value
    assert (found.log_scale >= exact - 1e-9).all()
    assert found.covers(exact).all()


def test_C15_an_error_of_1e_minus_14_matches_the_exact_sum():
    joint, encoder, sizes = sources.dsbs(0.05).joint, np.eye(2), np.array([5.0])
    exact = np.log(ranking.block_loss(joint, encoder, sizes, "error", n=100))
    assert exact[0] < -14 * np.log(10)
    found = importance_loss(
        KEY, joint, encoder, sizes, "error", n=100, trials=1500, confidence=SURE
    )
    assert found.covers(exact).all()
    np.testing.assert_allclose(found.log_mean, exact, rtol=0, atol=0.3)
    assert (found.relative_width < 1.5).all()
    assert (found.log_scale >= exact).all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"trials": 1}, ValueError, r"trials must be in \[2, "),
        ({"trials": 2.5}, TypeError, "trials must be an integer"),
        ({"confidence": 1.0}, ValueError, r"confidence must lie in \(0, 1\)"),
        ({"key": 3}, TypeError, "key must be a typed key"),
        (
            {"probabilities": [[0.9, 0.2]]},
            ValueError,
            "probabilities must have rows that sum to one",
        ),
        ({"counts": [-1]}, ValueError, "counts must lie in"),
        ({"threshold": np.nan}, ValueError, "threshold must not contain NaN"),
    ],
)
def test_bad_input_is_named(change, error, message):
    values, pmf, counts = BINARY
    good = {"key": KEY, "values": values, "probabilities": pmf, "counts": counts, "threshold": 3.0}
    with pytest.raises(error, match=message):
        importance_tail(**{**good, "trials": 10, **change})


def test_bad_input_of_the_loss_is_named():
    with pytest.raises(ValueError, match="n must be at least 1"):
        importance_loss(KEY, np.eye(2) / 2, np.eye(2), 3.0, "error", n=0, trials=10)
    with pytest.raises(ValueError, match="encoder must have one row a letter"):
        importance_loss(KEY, np.eye(2) / 2, np.eye(3), 3.0, "error", n=5, trials=10)
