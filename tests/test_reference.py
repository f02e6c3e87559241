import math

import numpy as np
import pytest
import reference
import strategies
from hypothesis import given
from scipy import stats


def test_blahut_arimoto_follows_the_recorded_trace():
    trace = reference.blahut_arimoto([0.7, 0.3], 1 - np.eye(2), math.log2(9), 5)
    np.testing.assert_allclose(
        trace, (0.099573089530, 0.413654550255, 0.410872057725), rtol=0, atol=6e-13
    )


def test_blahut_arimoto_converges_at_the_rate_of_the_second_canonical_correlation():
    # At D = 0.1 the error of q shrinks by 1 - sigma^2 = 3/7 a step.
    def error(steps):
        return reference.blahut_arimoto([0.7, 0.3], 1 - np.eye(2), math.log2(9), steps)[0] - 0.1

    assert error(21) / error(20) == pytest.approx(3 / 7, rel=1e-5, abs=0)


@given(strategies.pmfs(3), strategies.distortions((3, 4), infinite=True), strategies.slopes())
def test_blahut_arimoto_bounds_enclose(p, d, slope):
    distortion, upper, lower = reference.blahut_arimoto(p, d, slope, 30)
    assert 0 <= distortion < np.inf
    assert lower <= upper + 1e-10
    assert -1e-12 <= upper <= reference.entropy(p) + 1e-10


@pytest.mark.parametrize("p", [0.0, 0.25, 0.9, 1.0])
def test_binomial_pmf_agrees_with_scipy(p):
    np.testing.assert_allclose(
        reference.binomial_pmf(12, p), stats.binom.pmf(np.arange(13), 12, p), rtol=1e-12
    )
