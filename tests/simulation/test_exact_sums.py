"""The fixed point of the engine's sums: error bound, squares, limbs."""

from fractions import Fraction

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsim.simulation.engine import exact_sums
from rdsim.simulation.engine.exact_sums import QUANTISATION, Outcome

RANGES = [(0.0, 1.0), (-2.0, 5.0), (1e-3, 1e300), (-1e-12, 3e-12), (1e6, 1e6 + 1e-3)]
INTEGERS = {pair: jax.jit(Outcome("loss", (), False, *pair).integers) for pair in RANGES}


@given(
    st.sampled_from(RANGES),
    st.lists(st.floats(0, 1), min_size=8, max_size=8),
)
def test_a_loss_moves_by_at_most_its_quantisation(pair, shares):
    low, high = pair
    losses = np.clip(low + np.array([0.0, 1.0, *shares]) * (high - low), low, high)
    for loss, row in zip(losses, np.asarray(INTEGERS[pair](losses)).tolist(), strict=True):
        q, aa, ab, bb, outside = row
        share = (Fraction(float(loss)) - Fraction(low)) / (Fraction(high) - Fraction(low))
        assert abs(Fraction(q, 2**50) - share) <= Fraction(QUANTISATION)
        assert aa * 2**50 + ab * 2**26 + bb == q * q
        assert 0 <= q <= 2**50
        assert outside == 0


def test_narrow_floats_keep_their_value():
    outcome = Outcome("loss", (), False)
    losses = np.array([0.1, 1 / 3, 1.0], np.float32)
    rows = np.asarray(outcome.integers(jax.numpy.asarray(losses)))
    assert [Fraction(int(q), 2**50) for q in rows[:, 0]] == [Fraction(float(x)) for x in losses]


@given(st.lists(st.integers(0, 2**115), min_size=1, max_size=5))
def test_limbs_put_together_are_the_number(numbers):
    limbs = np.array([[n >> 32 & (2**62 - 1), n & (2**32 - 1)] for n in numbers], np.int64)
    expected = [(n >> 32 & (2**62 - 1)) * 2**32 + (n & (2**32 - 1)) for n in numbers]
    assert exact_sums.whole(limbs).tolist() == expected


def test_moments_need_more_than_64_bits():
    """2^32 losses, half of them 0 and half 1: mean 1/2, variance N/(4(N-1))."""
    outcome, half, trials = Outcome("loss", (), False), 2**31, np.array([2**32])
    totals = np.array([[half * 2**50, half * 2**50, 0, 0, 0]], object)
    mean, variance = outcome.moments(totals, trials)
    assert mean.tolist() == [0.5]
    assert variance.tolist() == pytest.approx([0.25 * 2**32 / (2**32 - 1)], rel=1e-16, abs=0)
