import numpy as np
import pytest
import strategies
from hypothesis import find, given, settings
from hypothesis import strategies as st


def is_pmf(p):
    return p.dtype == np.float64 and (p >= 0).all() and abs(p.sum() - 1) < 1e-12


@given(st.data())
def test_pmfs_are_pmfs(data):
    size = data.draw(strategies.sizes)
    assert data.draw(strategies.pmfs(size)).shape == (size,)
    assert is_pmf(data.draw(strategies.pmfs()))


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (2, 3, 2)])
def test_joint_pmfs_are_pmfs_of_the_shape(shape):
    @given(strategies.joint_pmfs(shape))
    def check(joint):
        assert joint.shape == shape
        assert is_pmf(joint)

    check()


@given(strategies.channels((3, 4)))
def test_channels_are_row_stochastic(channel):
    assert channel.shape == (3, 4)
    assert all(is_pmf(row) for row in channel)


@given(strategies.distortions((3, 4)), strategies.distortions((3, 4), infinite=True))
def test_distortions_are_not_negative_and_leave_every_row_a_finite_entry(finite, infinite):
    assert finite.shape == infinite.shape == (3, 4)
    assert np.isfinite(finite).all()
    assert (finite >= 0).all()
    assert (infinite >= 0).all()
    assert np.isfinite(infinite).any(axis=1).all()


@given(strategies.scores((2, 6)), strategies.slopes(), strategies.probabilities())
def test_scores_slopes_and_probabilities_lie_in_their_ranges(scores, slope, probability):
    assert scores.shape == (2, 6)
    assert np.isfinite(scores).all()
    assert 0 <= slope <= 100
    assert 0 <= probability <= 1


@given(strategies.permutations(6))
def test_permutations_hold_every_index_once(order):
    assert sorted(order) == list(range(6))


@pytest.mark.parametrize(
    ("strategy", "corner"),
    [
        (strategies.pmfs(3), lambda p: (p == 0).any()),
        (strategies.pmfs(3), lambda p: (p == 1).any()),
        (strategies.pmfs(3), lambda p: (p == p[0]).all()),
        (strategies.pmfs(3), lambda p: ((p > 0) & (p < 1e-11)).any()),
        (strategies.joint_pmfs((3, 3)), lambda j: (j.sum(axis=1) == 0).any()),
        (strategies.distortions((2, 3)), lambda d: (d[:, 0] == d[:, 1]).all() and d.any()),
        (strategies.distortions((2, 3), infinite=True), lambda d: np.isinf(d).any()),
        (strategies.scores((1, 4)), lambda s: np.unique(s).size < s.size),
    ],
)
def test_the_corners_are_drawn(strategy, corner):
    find(strategy, corner, settings=settings(max_examples=500))
