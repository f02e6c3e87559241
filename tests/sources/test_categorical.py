"""A categorical draw: which numbers of [0, 1) give which letter."""

import jax.numpy as jnp
import numpy as np
import strategies
from hypothesis import given
from hypothesis import strategies as st

from rdsim.sources.categorical import draw_categorical

UNIFORM = st.floats(0.0, 1.0, exclude_max=True)


@given(strategies.pmfs(), UNIFORM, st.sampled_from((1.0, 3.0, 1e-200)))
def test_a_letter_is_the_first_whose_cumulative_sum_exceeds_the_point(p, uniform, scale):
    weights = np.asarray(p) * scale
    letter = int(draw_categorical(jnp.asarray(weights), jnp.asarray(uniform)))
    cumulative = np.cumsum(weights)
    point = uniform * cumulative[-1]
    slack = 1e-14 * cumulative[-1]
    assert weights[letter] > 0
    assert cumulative[letter] >= point - slack
    assert letter == 0 or cumulative[letter - 1] <= point + slack


def test_letters_without_weight_are_never_drawn_and_rows_are_drawn_alone():
    weights = jnp.array([[0.0, 2.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0]])
    ends = jnp.array([0.0, np.nextafter(1.0, 0.0)])
    np.testing.assert_array_equal(draw_categorical(weights[0], ends), [1, 3])
    np.testing.assert_array_equal(draw_categorical(weights, ends[:, None]), [[1, 0], [3, 0]])
    np.testing.assert_array_equal(draw_categorical(weights, jnp.array([2 / 3 + 1e-9, 0.5])), [3, 0])
