"""No rate depends on the unit in which distortions are measured, and no probability on that of scores.

A tolerance in such units that should have been relative is wrong in others. They differ by powers
of two, so that nothing is rounded.
"""

import numpy as np
import pytest

from rdsim import finite_sample, limits
from rdsim.limits import finite_blocklength
from rdsim.ranking import saddlepoint_tail, score_tail

D_TABLE = np.random.default_rng(0).uniform(size=(3, 3))
P, Q = np.array([0.5, 0.3, 0.2]), np.array([0.3, 0.3, 0.4])
JOINT = np.array([[0.3, 0.1, 0.1], [0.05, 0.2, 0.05], [0.05, 0.05, 0.1]])
LEAST, CONSTANT = D_TABLE.min(axis=1), D_TABLE.T @ P
D = 0.7 * P @ LEAST + 0.3 * CONSTANT.min()
WIDE = max(LEAST) + 0.05  # what every distribution reaches
POINTS = np.array([-1.0, 0.2, 1.5])

RATES = {
    "R(D)": lambda k: limits.rate_at(P, k * D_TABLE, k * D).value,
    "mismatched": lambda k: limits.mismatched_rate(P, k * D_TABLE, Q, k * WIDE).value,
    "mismatched, the worst of a ball": lambda k: (
        limits.worst_mismatched_rate(P, k * D_TABLE, Q, 0.05, distortion=k * WIDE).value
    ),
    "mismatched, out of reach in the ball": lambda k: (
        limits.worst_mismatched_rate(P, k * (D_TABLE + 1), Q, 0.05, distortion=k).value
    ),
    "minimax": lambda k: limits.minimax_rate(P, k * D_TABLE, 0.05, distortion=k * WIDE).rate.value,
    "conditional": lambda k: (
        limits.conditional_rate_at(JOINT, k * D_TABLE, k * D, compress="rows").value
    ),
    "Wyner-Ziv": lambda k: limits.wyner_ziv_at(JOINT, k * D_TABLE, k * D, compress="rows").value,
    "successive refinement": lambda k: (
        limits.successive_refinement(P, k * D_TABLE, coarse=k * 1.2 * D, fine=k * D).residual
    ),
    "one block": lambda k: (
        finite_blocklength.discrete(
            P, k * D_TABLE, distortion=k * D, excess_probability=0.01, block_lengths=[12]
        ).lower
    ),
    "continuous": lambda k: (
        limits.continuous_rate_distortion(np.sqrt(k) * POINTS, P, [3.0 / k]).rate
    ),
    "plug-in": lambda k: (
        finite_sample.plug_in_rate([5, 7, 3], k * D_TABLE, k * WIDE).standard_error
    ),
}


@pytest.mark.parametrize("unit", [2.0**-60, 2.0**60])
@pytest.mark.parametrize("rate", RATES.values(), ids=RATES.keys())
def test_C5_no_rate_depends_on_the_unit_of_distortion(rate, unit):
    np.testing.assert_allclose(rate(unit), rate(1.0), rtol=0, atol=2e-6)


def test_C5_a_ball_out_of_reach_is_refused_in_every_unit():
    for unit in (2.0**-60, 1.0, 2.0**60):
        with pytest.raises(ValueError, match="at least the largest D_min over the ball"):
            limits.minimax_rate(P, unit * (D_TABLE + 1), 0.05, distortion=unit)


@pytest.mark.parametrize("unit", [2.0**-60, 1.0, 2.0**60])
@pytest.mark.parametrize("tail", [score_tail, saddlepoint_tail])
def test_C15_no_tail_depends_on_the_unit_of_scores(tail, unit):
    values = unit * np.array([[3.0, 3.0, -np.inf], [-1.0, 0.0, 1.0]])
    pmf = np.array([[0.25, 0.5, 0.25], [0.2, 0.3, 0.5]])
    counts = np.array([[1, 0], [1, 0], [1, 0], [1, 0], [0, 0], [1, 1], [1, 1]])
    threshold = unit * np.array([3.0, 2.9, 3.1, 0.0, 0.1, 3.0, 3.5])
    found = tail(values, pmf, counts, threshold)
    log_tail, log_tie = (
        np.asarray(getattr(part, "value", part)) for part in (found.log_tail, found.log_tie)
    )
    above = [0.0, 0.75, 0.0, 0.75, 0.0, 0.75 * 0.5, 0.75 * 0.5]
    equal = [0.75, 0.0, 0.0, 0.0, 0.0, 0.75 * 0.3, 0.0]
    exact = slice(None) if tail is score_tail else slice(5)  # one letter is few for a saddlepoint
    np.testing.assert_allclose(np.exp(log_tail)[exact], above[exact], rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.exp(log_tie)[exact], equal[exact], rtol=0, atol=1e-12)
