"""Planted items against the exact rank distribution of mixed databases, and against all or none of them planted."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsim.ranking import expected_loss, with_planted_items

WINS = st.floats(0.0, 0.5)


@given(WINS, WINS, WINS, WINS, st.floats(0.0, 1.0), st.sampled_from([2, 3, 9]))
def test_C1_the_error_is_that_of_each_number_of_planted_items(a, e, b, f, share, size):
    r"""Of H planted and M - 1 - H ordinary competitors the target wins by a draw among those that tie."""
    with np.errstate(divide="ignore"):
        log_a, log_e = with_planted_items(
            log_a=np.log(a),
            log_e=np.log(e),
            share=share,
            planted_log_a=np.log(b),
            planted_log_e=np.log(f),
        )
    found = float(expected_loss(math.log2(size), "error", log_a=log_a, log_e=log_e))
    # The draw against T that tie is won with probability 1/(T+1), the mean of v^T over uniform v.
    v, weight = np.polynomial.legendre.leggauss(10)
    v, weight = 0.5 * (1 + v), 0.5 * weight
    won = 0.0
    for planted in range(size):
        chance = math.comb(size - 1, planted) * share**planted * (1 - share) ** (size - 1 - planted)
        each = (1 - a - e + v * e) ** (size - 1 - planted) * (1 - b - f + v * f) ** planted
        won += chance * float(weight @ each)
    assert found == pytest.approx(1 - won, rel=0, abs=1e-12)


def test_no_item_and_every_item_planted_are_the_two_kinds_alone():
    for share, wanted in ((0.0, (-700.0, -math.inf)), (1.0, (-2.0, -3.0))):
        found = with_planted_items(
            log_a=-700.0, log_e=-math.inf, share=share, planted_log_a=-2.0, planted_log_e=-3.0
        )
        np.testing.assert_allclose(found, wanted, rtol=1e-15, atol=0)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"planted_log_a and planted_log_e .* a \+ e <= 1"):
        with_planted_items(
            log_a=-3.0, log_e=-3.0, share=0.5, planted_log_a=-0.1, planted_log_e=-0.1
        )
    with pytest.raises(ValueError, match="share"):
        with_planted_items(log_a=-3.0, log_e=-3.0, share=1.5, planted_log_a=-0.1)
