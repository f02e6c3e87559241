"""Successive refinement: Hamming always, Gerrish's ternary source with absolute error not always."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim.limits.rate_distortion.refinement import successive_refinement

THREE = 1 - np.eye(3)
ABSOLUTE = np.abs(np.arange(3.0)[:, None] - np.arange(3.0))


@settings(max_examples=8)
@given(st.lists(st.floats(0.05, 1.0), min_size=3, max_size=3), st.floats(0, 0.9), st.floats(0.1, 1))
def test_hamming_is_always_refinable(weights, low, high):
    p = np.array(weights) / sum(weights)
    top = 1 - p.max()
    fine = low * top
    found = successive_refinement(p, THREE, coarse=fine + high * (top - fine), fine=fine)
    assert found.sum_of_gaps <= 1e-9
    assert found.refinable
    assert not found.undecided
    np.testing.assert_allclose(found.refinement.sum(axis=1), 1.0, rtol=0, atol=1e-9)


def test_gerrish_source_is_not_refinable_and_its_neighbour_is():
    # Equitz and Cover's counterexample, middle mass below 3 - 2 sqrt 2.
    counter = successive_refinement([0.425, 0.15, 0.425], ABSOLUTE, coarse=0.7, fine=0.3)
    assert counter.residual == pytest.approx(0.0294117647, abs=1e-6)
    assert not counter.refinable
    assert not counter.undecided
    for middle in (0.2, 0.5):
        distribution = [(1 - middle) / 2, middle, (1 - middle) / 2]
        assert successive_refinement(distribution, ABSOLUTE, coarse=0.45, fine=0.2).refinable


def test_an_empty_coarse_description_is_refinable():
    found = successive_refinement([0.425, 0.15, 0.425], ABSOLUTE, coarse=0.9, fine=0.3)
    assert found.coarse_slope == 0
    assert found.refinable


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: successive_refinement([0.5, 0.4, 0], THREE, coarse=0.2, fine=0.1),
            "p must sum to one",
        ),
        (
            lambda: successive_refinement([0.5, 0.5, 0], np.eye(2), coarse=0.2, fine=0.1),
            "one row a source",
        ),
        (
            lambda: successive_refinement([0.5, 0.5, 0], THREE, coarse=0.1, fine=0.2),
            "coarse must be above",
        ),
        (
            lambda: successive_refinement([0.5, 0.5, 0], THREE + 1, coarse=2, fine=0.2),
            "at least D_min",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_two_empty_descriptions_refine_one_another():
    # Both distortions are beyond D_max = 0.5, and no other is reached without information.
    found = successive_refinement([0.5, 0.5], 1 - np.eye(2), coarse=0.9, fine=0.6)
    assert found.refinable
    assert found.residual == pytest.approx(0, abs=1e-12)


def test_the_largest_distortions_are_a_unit_like_others():
    d = 1.7e308 * (1 - np.eye(2))
    found = successive_refinement([0.5, 0.5], d, coarse=0.3 * 1.7e308, fine=0.1 * 1.7e308)
    assert found.refinable
