"""The certificate of the mixture entropy is honest everywhere and tight where it must be."""

import math

import numpy as np
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from rdsim.sources.mixture import _entropy
from rdsim.sources.mixture import _entropy_panels as module
from rdsim.sources.mixture._entropy import mixture_entropy

TOLERANCE = 1e-9

means_on_a_line = st.lists(
    st.sampled_from((0.0, 1.0, -3.0)) | st.floats(-6.0, 6.0), min_size=3, max_size=3
)
variances = st.lists(
    st.sampled_from((1.0, 0.05, 4.0)) | st.floats(0.05, 4.0), min_size=3, max_size=3
)


def entropy_by_trapezoid(weights, means, variances, step=0.01):
    """Bits, by the trapezoid rule, which converges geometrically on the whole line."""
    x = np.arange(-32.0, 32.0, step)
    density = sum(
        w * np.exp(-((x - m) ** 2) / (2 * v)) / math.sqrt(2 * math.pi * v)
        for w, m, v in zip(weights, means, variances, strict=True)
    )
    positive = density[density > 0]
    return -np.sum(positive * np.log2(positive)) * step


def column(values):
    return np.asarray(values, float)[:, None]


@given(strategies.pmfs(3), means_on_a_line, variances)
def test_the_bounds_hold_the_truth_and_are_tight(weights, means, variances):
    bounds = mixture_entropy(weights, column(means), column(variances), TOLERANCE)
    assert bounds.lower <= bounds.value <= bounds.upper
    assert bounds.upper - bounds.lower <= TOLERANCE
    exact = entropy_by_trapezoid(weights, means, variances)
    np.testing.assert_allclose(bounds.value, exact, rtol=0, atol=2e-12)


@given(
    strategies.pmfs(3),
    means_on_a_line,
    variances,
    st.sampled_from((2, 3, 5)),
    st.sampled_from((3.0, 1e-1, 1e-3)),
)
def test_the_bound_on_the_quadrature_is_honest_with_few_nodes(
    weights, means, variances, nodes, tolerance
):
    weights = 0.9 * weights + 0.1 / 3
    mixture = module.ReducedMixture(weights, column(means), column(variances))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(module._NODES, 1, nodes)
        patch.setitem(module.MAX_PANELS, 1, 200)
        value, error = module.integrate(mixture, tolerance)
    exact = entropy_by_trapezoid(weights, means, variances) * math.log(2)
    assert abs(value - exact) <= error + 1e-11


@pytest.mark.parametrize("dimension", [1, 2])
@pytest.mark.parametrize("nodes", [2, 3, 6])
def test_the_error_of_every_single_panel_is_bounded(monkeypatch, dimension, nodes):
    # Against the same panel in 16 nodes, cut in four along every axis.
    generator = np.random.default_rng(nodes)
    for half in (0.02, 0.1, 0.3, 1.0, 3.0):
        mixture = module.ReducedMixture(
            generator.dirichlet(np.ones(3)),
            generator.uniform(-2, 2, (3, dimension)),
            generator.choice([0.05, 1.0, 4.0], (3, dimension)),
        )
        centre = generator.uniform(-3, 3, (1, dimension))
        halves = half * generator.uniform(0.2, 1.0, (1, dimension))
        with monkeypatch.context() as patch:
            patch.setitem(module._NODES, dimension, nodes)
            error = module._panel_errors(mixture, centre, halves)[0][0]
            value = module._panel_sum(mixture, centre, halves)
        offsets = np.array([-0.75, -0.25, 0.25, 0.75])
        grid = np.stack(np.meshgrid(*[offsets] * dimension), -1).reshape(-1, dimension)
        exact = module._panel_sum(
            mixture, centre + halves * grid, np.tile(halves / 4, (len(grid), 1))
        )
        assert abs(value - exact) <= error + 1e-15


def test_a_narrow_class_under_the_leading_one_widens_the_bound():
    # At the common mean both classes are level: only the difference of their curvatures tells.
    mixture = module.ReducedMixture(np.array([0.999, 0.001]), np.zeros((2, 1)), column([1.0, 0.01]))
    centre, half = np.zeros((1, 1)), np.ones((1, 1))
    value = module._panel_sum(mixture, centre, half)
    middles = column(np.arange(-15, 16, 2) / 16)
    exact = module._panel_sum(mixture, middles, np.full((16, 1), 1 / 16))
    error = module._panel_errors(mixture, centre, half)[0][0]
    assert 1e-10 < abs(value - exact) <= error


def test_a_narrow_class_far_from_every_panel_centre_is_not_missed():
    # Before any halving the classes are 1e-400 as likely as float64 can say at the centre.
    weights = np.array([0.5, 0.25, 0.25])
    means, variances = np.array([-300.0, 300.0, 299.0]), np.array([1.0, 0.01, 1e-4])
    apart = [0.5 * math.log2(2 * math.pi * math.e * v) for v in variances]
    bounds = mixture_entropy(weights, column(means), column(variances), TOLERANCE)
    # The second and the third overlap by a Bhattacharyya distance of 25 nats.
    np.testing.assert_allclose(bounds.value, weights @ apart + 1.5, rtol=0, atol=1e-9)
    value, error = module.integrate(
        module.ReducedMixture(weights, column(means), column(variances)), 1e-9
    )
    assert abs(value / math.log(2) - weights @ apart - 1.5) < 1e-9
    assert error <= 1e-9


LINES = (
    ([0.3, 0.7], [-1.0, 1.0], [0.5, 1.0]),
    ([0.6, 0.4], [0.0, 2.5], [1.0, 0.2]),
    ([0.8, 0.2], [0.0, 1.0], [1.0, 2.0]),
    ([0.5, 0.5], [0.0, 1.0], [1.0, 3.0]),
)


def product_mixture(lines):
    """The distribution of independent coordinates, as one mixture."""
    index = np.stack(np.meshgrid(*[range(2)] * len(lines), indexing="ij"), -1).reshape(
        -1, len(lines)
    )
    pick = [np.array([line[k] for line in lines]) for k in range(3)]
    axes = np.arange(len(lines))
    chosen = [table[axes, index] for table in pick]
    return chosen[0].prod(axis=1), chosen[1], chosen[2]


@pytest.mark.parametrize(("dimension", "tolerance"), [(2, 1e-9), (3, 1e-3)])
def test_independent_coordinates_add_up(dimension, tolerance):
    lines = LINES[:dimension]
    bounds = mixture_entropy(*product_mixture(lines), tolerance)
    exact = sum(entropy_by_trapezoid(*line) for line in lines)
    assert bounds.lower <= exact <= bounds.upper
    assert bounds.upper - bounds.lower <= tolerance
    np.testing.assert_allclose(bounds.value, exact, rtol=0, atol=min(tolerance, 1e-6))


def test_in_many_dimensions_the_pairwise_bounds_are_left():
    bounds = mixture_entropy(*product_mixture(LINES), TOLERANCE)
    exact = sum(entropy_by_trapezoid(*line) for line in LINES)
    assert bounds.lower <= exact <= bounds.upper
    assert TOLERANCE < bounds.upper - bounds.lower < 3.0


@given(strategies.pmfs(3), means_on_a_line, variances)
def test_the_pairwise_bounds_hold_the_truth(weights, means, variances):
    weights = 0.9 * weights + 0.1 / 3
    mixture = module.ReducedMixture(weights, column(means), column(variances))
    lower, upper = np.array(_entropy._pairwise_bounds(mixture)) / math.log(2)
    exact = entropy_by_trapezoid(weights, means, variances)
    assert lower - 1e-11 <= exact <= upper + 1e-11


@given(strategies.pmfs(3), means_on_a_line, st.floats(0.0, 6.3))
def test_directions_without_difference_are_split_off(weights, means, angle):
    # Three classes on a slanted line, embedded in four dimensions with one spherical variance.
    direction = np.array([math.cos(angle), math.sin(angle), 0.5, 0.0])
    direction /= np.linalg.norm(direction)
    points = np.outer(means, direction) + 7.0
    whole = mixture_entropy(weights, points, np.full((3, 4), 0.3), TOLERANCE)
    line = mixture_entropy(weights, column(means), np.full((3, 1), 0.3), TOLERANCE)
    assert whole.upper - whole.lower <= TOLERANCE
    rest = 1.5 * math.log2(2 * math.pi * math.e * 0.3)
    np.testing.assert_allclose(whole.value, line.value + rest, rtol=0, atol=1e-11)


def test_one_class_and_equal_classes_are_exact():
    exact = math.log2(2 * math.pi * math.e * 0.7)
    for classes in (1, 3):
        weights = np.full(classes, 1 / classes)
        bounds = mixture_entropy(
            weights, np.full((classes, 2), 5.0), np.full((classes, 2), 0.7), 1e-12
        )
        np.testing.assert_allclose(bounds.value, exact, rtol=1e-14)
        assert bounds.upper - bounds.lower < 1e-12
