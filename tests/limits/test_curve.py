"""The one curve of all limits: its hull, its lines, its search, and what it shows of itself."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import matplotlib.figure
import numpy as np
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Array, Float

from rdsim import limits
from rdsim.certified import Certified
from rdsim.limits import closed_forms
from rdsim.limits._curve import Curve, RateCurve
from rdsim.limits._supporting_lines import Points, lower_hull, search
from rdsim.results import result
from rdsim.transformations import ComputesOnHostError

BIT = 1 - np.eye(2)
SLOPES = [0.3, 1.0, 2.0, 4.0, 9.0]
reals = st.integers(-3, 3).map(float) | st.floats(-10, 10, width=32, allow_subnormal=False)


def brute_hull(x, y, at):
    """Least time-sharing of any two points, and of any one that asks for no more than is allowed."""
    best = np.min(np.where(x <= at, y, np.inf))
    for i in np.flatnonzero(x < at):
        for j in np.flatnonzero(x > at):
            share = (at - x[i]) / (x[j] - x[i])
            best = min(best, (1 - share) * y[i] + share * y[j])
    return best


@given(st.lists(st.tuples(reals, reals), min_size=1, max_size=12), st.floats(-11, 11))
def test_hull_is_the_best_time_sharing_of_two_points(points, at):
    x, y = np.array(points).T
    corners = lower_hull(x, y)
    found = np.interp(at, x[corners], y[corners], left=np.inf)
    np.testing.assert_allclose(found, brute_hull(x, y, at), rtol=1e-12, atol=1e-12)
    assert np.all(np.diff(x[corners]) > 0)
    assert np.all(np.diff(y[corners]) < 0)


def test_hull_leaves_out_what_is_infinite_and_what_lies_between():
    x = np.array([0.0, 1.0, 2.0, 3.0, np.inf, 0.5])
    y = np.array([4.0, 2.0, 0.0, 0.0, -1.0, np.inf])
    assert lower_hull(x, y).tolist() == [0, 2]


def of_a_parabola(slope):
    """f(x) = (1 - x)^2 on [0, 1], its tangent lowered and its point raised by 1e-12."""
    x = np.clip(1 - np.asarray(slope) / 2, 0.0, 1.0)
    f = (1 - x) ** 2
    return Points(np.asarray(slope, float), x, f - 1e-12, f + 1e-12)


@given(st.floats(0.0, 1.2), st.booleans())
def test_search_closes_on_a_goal_from_both_sides(goal, inverse):
    known = Points(*(np.array([entry]) for entry in (0.0, 1.0, 0.0, 0.0)))
    lower, upper = search(of_a_parabola, known, np.array([goal]), 1e-9, inverse=inverse)
    # A gap of f is divided by its slope in the inverse; at x = 1, where that is zero, it is its root.
    slack = 1e-9 + (2e-12 / max(np.sqrt(goal), 1e-6) if inverse else 0.0)
    truth = max(1 - np.sqrt(goal), 0.0) if inverse else max(1 - goal, 0.0) ** 2
    assert lower[0] <= truth + 1e-15
    assert truth <= upper[0] + 1e-15
    assert upper[0] - lower[0] <= slack


def test_search_of_an_unreachable_goal_says_infinite():
    nowhere = Points(*(np.array([entry]) for entry in (0.0, np.inf, 0.0, 0.0)))
    lower, upper = search(of_a_parabola, nowhere, np.array([-0.1, 0.5]), 1e-9)
    assert upper[0] == np.inf
    assert lower[1] <= 0.25 <= upper[1]


@given(strategies.pmfs(size=2), st.floats(0.0, 1.0))
def test_bounds_enclose_the_closed_form(p, D):
    curve = limits.rate_distortion_curve(p, BIT, SLOPES)
    truth = closed_forms.bernoulli_hamming(p[0], distortion=D)
    assert curve.lower(D) <= truth + 1e-12
    assert truth <= curve.upper(D) + 1e-12
    at_points = closed_forms.bernoulli_hamming(p[0], distortion=curve.distortion)
    assert np.all(curve.rate.lower <= at_points + 1e-12)
    assert np.all(at_points <= curve.rate.upper + 1e-12)


def test_derivative_of_the_rate_is_minus_the_slope():
    curve = limits.rate_distortion_curve([0.3, 0.7], BIT, SLOPES[2:])
    for s, D, line in zip(SLOPES[2:], curve.distortion, curve.rate.lower, strict=True):
        assert jax.grad(lambda D: curve.rate_at(D).value)(D) == pytest.approx(-s, rel=1e-5, abs=0)
        # So is that of the line that is tangent there.
        assert curve.lower(D) == pytest.approx(float(line), rel=1e-12, abs=0)
        assert jax.grad(curve.lower)(D) == pytest.approx(-s, rel=1e-12, abs=0)


def test_bounds_are_exact_on_a_straight_piece_and_beyond_its_ends():
    curve = limits.rate_distortion_curve([0.5, 0.5], [[0, 1, 0.3], [1, 0, 0.3]], [0.0, 2.0, np.inf])
    D = np.linspace(0.0, 0.5, 11)
    np.testing.assert_array_less(curve.lower(D), curve.upper(D) + 1e-12)
    np.testing.assert_array_equal([curve.lower(0.5), curve.upper(0.5), curve.upper(9.0)], 0.0)
    assert curve.upper(0.0) == pytest.approx(1.0, rel=0, abs=1e-9)


def test_no_finite_distortion_is_free_of_bits():
    curve = limits.rate_distortion_curve([0.5, 0.5], [[0, np.inf], [np.inf, 0]], [0.0, 3.0])
    np.testing.assert_allclose(curve.lower([0.0, 5.0]), 1.0, rtol=0, atol=1e-9)
    np.testing.assert_allclose(curve.upper([0.0, 5.0]), 1.0, rtol=0, atol=1e-9)
    empty = limits.rate_distortion_curve([0.5, 0.5], BIT, [])
    assert (float(empty.lower(0.1)), float(empty.upper(0.1))) == (0.0, np.inf)


def test_lines_can_be_traced_and_the_hull_of_a_traced_curve_is_refused():
    def bound(p, name):
        return getattr(limits.rate_distortion_curve(p, BIT, jnp.array(SLOPES)), name)(0.1)

    p = jnp.array([0.3, 0.7])
    assert jax.jit(bound, static_argnums=1)(p, "lower") == pytest.approx(float(bound(p, "lower")))
    with pytest.raises(ComputesOnHostError, match="_corners computes on the host"):
        jax.jit(bound, static_argnums=1)(p, "upper")
    curve = limits.rate_distortion_curve(p, BIT, SLOPES)
    slope = jax.jit(jax.grad(curve.upper))(0.1)
    assert -4.0 < slope < -2.0  # of a chord between points of these slopes


@result
class Relevance(Curve):
    """The bottleneck of an erasure with probability 1/2 and a bit: the lesser of R / 2 and 1/2."""

    complexity: Float[Array, " s"]
    relevance: Certified

    _along: ClassVar[str] = "complexity"
    _limit: ClassVar[str] = "relevance"
    _concave: ClassVar[bool] = True

    def _ends(self):
        one, zero = jnp.ones(1), jnp.zeros(1)
        ends = (one, zero, zero, zero), (zero, one, -one / 2, -one / 2)
        return Points(*ends[0]).and_also(Points(*ends[1]))


def test_a_concave_limit_has_lines_above_and_chords_below():
    inside = jnp.array([0.4])
    relevance = Certified(
        value=inside / 2 - 0.05,
        lower=inside / 2 - 0.05,
        upper=inside / 2 + 0.1,
        tolerance=jnp.asarray(1e-9),
    )
    curve = Relevance(slope=jnp.array([0.5]), complexity=inside, relevance=relevance)
    R = np.array([0.0, 0.2, 0.4, 0.9, 3.0])
    # The point lies below the chord of the ends, which is what time sharing achieves.
    np.testing.assert_allclose(curve.lower(R), np.minimum(R / 2, 0.5), rtol=0, atol=1e-15)
    lines = np.minimum(np.minimum(R, 0.5), 0.3 + (R - 0.4) / 2)
    np.testing.assert_allclose(curve.upper(R), lines, rtol=0, atol=1e-15)
    assert not curve.converged.any()
    np.testing.assert_allclose(curve.gap, 0.15, rtol=1e-12)
    assert list(curve.to_xarray()) == [
        "complexity",
        "relevance",
        "relevance_lower",
        "relevance_upper",
        "converged",
    ]


def test_curve_shows_itself():
    curve = limits.rate_distortion_curve([0.3, 0.7], BIT, SLOPES)
    dataset = curve.to_xarray()
    np.testing.assert_array_equal(dataset.slope, SLOPES)
    np.testing.assert_array_equal(dataset.rate_lower, curve.rate.lower)
    assert bool(dataset.converged.all())
    axes = matplotlib.figure.Figure().subplots()
    assert curve.plot(axes, color="k") is axes
    line, points = axes.lines
    np.testing.assert_array_equal(points.get_xdata(), curve.distortion)
    np.testing.assert_allclose(line.get_ydata(), curve.upper(line.get_xdata()), rtol=0, atol=0)
    assert axes.get_ylabel() == "rate (bits)"


SIDE = [[0.375, 0.125], [0.125, 0.375]]
THREE_POINTS = ([0.0, 1.0, 3.0, 3.0], [0.4, 0.3, 0.2, 0.1])
KINDS = {
    "discrete": limits.rate_distortion_curve([0.3, 0.7], BIT, [2.0, 4.0]),
    "conditional": limits.conditional_rate_distortion(SIDE, BIT, [2.5, 4.0], compress="rows"),
    "Wyner-Ziv": limits.wyner_ziv(SIDE, BIT, [2.0, 4.0], compress="rows"),
    "continuous": limits.continuous_rate_distortion(*THREE_POINTS, [1.0, 3.0]),
}
kinds = pytest.mark.parametrize("curve", KINDS.values(), ids=KINDS.keys())


@kinds
def test_rate_and_distortion_at_agree_with_the_points_and_with_each_other(curve):
    rate = curve.rate_at(curve.distortion)
    np.testing.assert_array_less(rate.lower, curve.rate.upper + 1e-12)
    np.testing.assert_array_less(curve.rate.lower, rate.upper + 1e-12)
    assert rate.converged.all()
    distortion = curve.distortion_at(curve.rate.value)
    np.testing.assert_allclose(distortion, curve.distortion, rtol=0, atol=3e-9)
    assert distortion.converged.all()
    assert np.all(distortion.lower <= distortion.upper)


@kinds
def test_ends_of_every_kind_of_curve(curve):
    low, high = float(curve.minimum_distortion), float(curve.maximum_distortion)
    assert 0.0 <= low < high
    most = float(curve.rate_at(low).value)
    np.testing.assert_array_equal(curve.rate_at([high, 2 * high]), 0.0)
    np.testing.assert_allclose(
        curve.distortion_at([0.0, most + 1]), [high, low], rtol=1e-12, atol=0
    )
    with pytest.raises(ValueError, match="rate must lie in"):
        curve.distortion_at(-0.1)
    with pytest.raises(ValueError, match="distortion must"):
        curve.rate_at(low - 0.1)


def test_C7_continuous_ends_in_the_entropy_of_distinct_points():
    curve = KINDS["continuous"]
    p = np.array([0.4, 0.3, 0.3])
    assert curve.rate_at(0.0).value == pytest.approx(-p @ np.log2(p), rel=1e-14, abs=0)


@given(st.floats(0.0, 0.3))
def test_wyner_ziv_at_a_rate_inverts_the_closed_form(D):
    rate = limits.wyner_ziv_dsbs(0.25, distortion=D)
    found = KINDS["Wyner-Ziv"].distortion_at(rate)
    assert found.lower - 1e-12 <= min(D, 0.25) <= found.upper + 1e-12
    assert found.converged


def kinds(base):
    """Every class of the library derived from a base."""
    found = [kind for kind in base.__subclasses__() if kind.__module__.startswith("rdsim.")]
    return [*found, *(deeper for kind in found for deeper in kinds(kind))]


def test_every_kind_of_curve_says_what_the_base_leaves_to_it():
    # SideInformationCurve is itself a base of two kinds.
    rates = [kind for kind in kinds(RateCurve) if not kind.__subclasses__()]
    assert len(rates) >= 5
    for kind in rates:
        for name in ("minimum_distortion", "maximum_distortion"):
            assert getattr(kind, name) is not getattr(RateCurve, name), (kind, name)
        solves = kind._solve is not RateCurve._solve or kind._solve_at is not RateCurve._solve_at
        own = all(
            getattr(kind, name) is not getattr(RateCurve, name)
            for name in ("rate_at", "distortion_at")
        )
        assert solves or own, kind
    for kind in kinds(Curve):
        assert kind._ends is not Curve._ends or kind._known is not Curve._known, kind
