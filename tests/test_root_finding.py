"""Both bisections: on every bracket, under jit and on the host, with the same digits."""

import jax
import numpy as np
import pytest

from rdsim.root_finding import bisect, bisect_on_host

TARGETS = np.array([0.25, 2.0, 81.0])


@pytest.mark.parametrize("steps", [0, 1, 7, 60])
def test_bisection_keeps_false_below_and_true_above(steps):
    low, high = np.zeros(3), 1.0 + TARGETS
    found = bisect_on_host(lambda x: x**2 >= TARGETS, low, high, steps=steps)
    assert (found[0] ** 2 < TARGETS).all()
    assert (found[1] ** 2 >= TARGETS).all()
    np.testing.assert_allclose(found[1] - found[0], (high - low) / 2**steps, rtol=0, atol=1e-13)
    traced = jax.jit(lambda a, b: bisect(lambda x: x**2 >= TARGETS, a, b, steps=steps))(low, high)
    np.testing.assert_array_equal(found, traced)


def test_bisection_on_the_host_takes_conditions_that_cannot_be_traced():
    def passed(x):
        return np.array([float(each) >= 0.3 for each in x])

    _, high = bisect_on_host(passed, np.zeros(1), np.ones(1), steps=80)
    assert high[0] == 0.3
