"""C5 and C6: the solver's certificate is honest everywhere and tight where it must be."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import strategies
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rdsim import limits
from rdsim.limits import closed_forms
from rdsim.limits.rate_distortion import _column_generation as column_generation
from rdsim.limits.rate_distortion._column_generation import FEW_LETTERS

ERASER = np.concatenate([np.where(np.eye(4) > 0, 0.0, np.inf), np.ones((4, 1))], axis=1)
HAMMING_PMF = np.array([0.5, 0.25, 0.15, 0.1])


def _gaussian(points):
    x = np.linspace(-5, 5, points)
    p = np.exp(-(x**2) / 2)
    return p / p.sum(), (x[:, None] - x) ** 2


def _random(letters, seed=0):
    generator = np.random.default_rng(seed)
    return generator.dirichlet(np.ones(letters)), generator.uniform(size=(letters, letters))


# One table of hard instances: pmf, distortions, slopes.
PROBLEMS = {
    "random, 256 letters": (*_random(256), np.geomspace(0.1, 300, 12)),
    "Gaussian, 300 points": (*_gaussian(300), np.geomspace(0.75, 72, 8)),
    "letters without mass": ([0.5, 0.0, 0.5, 0.0], 1 - np.eye(4), [0.5, 2.0, 8.0]),
    "duplicate letters": (HAMMING_PMF, np.repeat(1 - np.eye(4), 3, axis=1), [1.0, 3.0, 9.0]),
    "forbidden pairs": (HAMMING_PMF, ERASER, [0.5, 1.2, 1.7, 5.0]),
    "D_min above zero, to slope 3000": (
        [0.4, 0.6],
        [[0.5, 0.9, 1.0], [0.7, 0.5, 0.6]],
        [0.1, 1.0, 10.0, 100.0, 3000.0],
    ),
    "critical slope": (HAMMING_PMF, 1 - np.eye(4), [np.log2(7), np.log2(5), np.log2(3) + 1e-9]),
    "a corrector that goes round in circles": (
        [0.9462384, 0.0238495, 0.0009404, 0.0289717],
        [
            [5.4923, 3.9009, 7.5927, 1.7728, 4.2110],
            [6.0570, 7.2208, 6.2385, 1.7713, 0.1048],
            [2.6196, 1.4353, 8.6748, 7.0535, 9.1846],
            [6.5377, 0.7602, 0.5014, 5.9325, 4.8682],
        ],
        [1.235, 1.247, 1.259],
    ),
    "tiny masses": ([1 - 1e-12 - 1e-200, 1e-12, 1e-200], 1 - np.eye(3), [1.0, 50.0, 500.0]),
    "ends of the curve": (HAMMING_PMF, 1 - np.eye(4), [0.0, np.inf]),
    "one letter": ([1.0], [[0.3, 0.2]], [0.0, 1.0, np.inf]),
}
problems = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS.keys())


@problems
@pytest.mark.parametrize("method", ["column_generation", "dense"])
def test_C5_every_point_is_certified_within_the_tolerance(problem, method):
    if method == "dense" and len(problem[0]) > 100:
        problem = (*problem[:2], problem[2][::4])
    curve = limits.rate_distortion_curve(*problem, method=method)
    assert np.all(curve.gap <= 1e-9)
    assert np.all(curve.converged)
    np.testing.assert_allclose(curve.output_marginal.sum(axis=1), 1.0, rtol=1e-12)


@pytest.mark.parametrize(
    "name",
    ["forbidden pairs", "D_min above zero, to slope 3000", "tiny masses", "ends of the curve"],
)
def test_C5_letters_worse_than_others_change_nothing_and_make_letters_be_exchanged(name):
    p, d, slopes = (np.asarray(part, float) for part in PROBLEMS[name])
    worse = np.concatenate([d + 0.01 * copy for copy in range(48 // d.shape[1] + 1)], axis=1)
    assert worse.shape[1] > FEW_LETTERS
    few, many = (limits.rate_distortion_curve(p, table, slopes) for table in (d, worse))
    assert np.all(many.gap <= 1e-9)
    finite = np.isfinite(slopes)
    found, wanted = (
        np.where(finite, curve.rate + np.where(finite, slopes, 0) * curve.distortion, curve.rate)
        for curve in (many, few)
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=2e-9)


@problems
def test_C5_rate_and_distortion_are_those_of_the_test_channel(problem):
    curve = limits.rate_distortion_curve(*problem)
    p, d = np.asarray(curve.source), np.asarray(curve.distortions)
    for channel, D, rate, gap in zip(
        np.asarray(curve.test_channel()), curve.distortion, curve.rate, curve.gap, strict=True
    ):
        np.testing.assert_allclose(channel.sum(axis=1), 1.0, rtol=1e-12)
        joint = p[:, None] * channel
        spent = np.sum(joint[joint > 0] * d[joint > 0])
        np.testing.assert_allclose(D, spent, rtol=1e-10, atol=1e-14)
        output = joint.sum(axis=0)
        used = joint > 0
        information = np.sum(
            joint[used] * np.log2((channel / np.where(output > 0, output, 1))[used])
        )
        assert rate - gap - 1e-12 <= information <= rate + 1e-12


@given(strategies.pmfs(4), strategies.distortions((4, 5), infinite=True), strategies.slopes())
def test_C5_truth_lies_between_the_bounds_and_agrees_with_plain_blahut_arimoto(p, d, slope):
    curve = limits.rate_distortion_curve(p, d, [slope])
    assert curve.converged[0]
    D, upper, lower = reference.blahut_arimoto(p, d, slope, 300)
    # The Lagrangians R + s D of both are achievable and bounded below: the intervals must meet.
    ours = float(curve.rate[0] + slope * curve.distortion[0])
    slack = 1e-11 * (1 + slope)
    assert ours - float(curve.gap[0]) <= upper + slope * D + slack
    assert lower + slope * D <= ours + slack
    # The supporting line bounds every other achievable point as well.
    if float(curve.minimum_distortion) <= D:
        assert curve.lower(D) <= upper + slack


@given(
    strategies.pmfs(4),
    strategies.distortions((4, 5)),
    strategies.permutations(4),
    strategies.permutations(5),
    st.lists(st.floats(0, 3), min_size=4, max_size=4),
)
def test_C5_invariant_under_permutation_and_under_adding_to_rows(p, d, rows, columns, shift):
    slopes = [0.7, 3.0]
    plain = limits.rate_distortion_curve(p, d, slopes)
    moved = limits.rate_distortion_curve(p[rows], d[np.ix_(rows, columns)], slopes)
    shifted = limits.rate_distortion_curve(p, d + np.array(shift)[:, None], slopes)
    lagrangian = plain.rate + plain.slope * plain.distortion
    for other, offset in ((moved, 0.0), (shifted, np.dot(p, shift))):
        found = other.rate + other.slope * (other.distortion - offset)
        np.testing.assert_allclose(found, lagrangian, rtol=0, atol=3e-9)


@given(strategies.pmfs(4), strategies.distortions((4, 5)))
def test_C5_curve_is_convex_and_decreasing(p, d):
    slopes = np.array([0.1, 0.5, 1.0, 2.0, 8.0, 60.0])
    curve = limits.rate_distortion_curve(p, d, slopes)
    assert np.all(np.diff(curve.distortion) <= 1e-8 * 10)
    for D, rate in zip(curve.distortion, curve.rate, strict=True):
        assert curve.lower(D) <= rate + 1e-12
    assert np.all(curve.rate - curve.gap <= np.sum(-p[p > 0] * np.log2(p[p > 0])) + 1e-12)


def test_C5_a_point_that_missed_the_tolerance_says_so_and_keeps_true_bounds():
    p, d = _random(64, seed=3)
    strict = limits.rate_distortion_curve(p, d, [5.0, 40.0], tolerance=1e-16)
    assert not np.any(strict.converged)
    assert np.all(strict.gap < 1e-9)
    loose = limits.rate_distortion_curve(p, d, [5.0, 40.0], tolerance=1e-2)
    assert np.all(loose.converged)
    assert np.all(
        loose.rate - loose.gap
        <= strict.rate + loose.slope * (strict.distortion - loose.distortion) + 1e-12
    )


CLOSED = {
    "Bernoulli": (
        [0.3, 0.7],
        1 - np.eye(2),
        lambda D: closed_forms.bernoulli_hamming(0.3, distortion=D),
    ),
    "uniform": (
        np.full(8, 0.125),
        1 - np.eye(8),
        lambda D: closed_forms.uniform_hamming(8, distortion=D),
    ),
    "Hamming": (
        HAMMING_PMF,
        1 - np.eye(4),
        lambda D: closed_forms.hamming(HAMMING_PMF, distortion=D),
    ),
    "erasure": (HAMMING_PMF, ERASER, lambda D: closed_forms.erasure(HAMMING_PMF, distortion=D)),
}
closed = pytest.mark.parametrize("problem", CLOSED.values(), ids=CLOSED.keys())


@closed
def test_C6_solver_meets_the_closed_form_by_slope(problem):
    p, d, closed_form = problem
    curve = limits.rate_distortion_curve(p, d, np.geomspace(0.3, 30, 40))
    np.testing.assert_allclose(curve.rate, closed_form(curve.distortion), rtol=0, atol=1e-9)


@closed
def test_C6_solver_meets_the_closed_form_at_given_distortions_and_back(problem):
    p, d, closed_form = problem
    D = np.array([0.0, 1e-9, 0.03, 0.1, 0.2, 0.25, 0.3, 0.45, 0.9, 1.0, 2.0])
    exact = np.asarray(closed_form(D))
    limit = limits.rate_at(p, d, D)
    assert np.all(limit.converged)
    assert np.all(limit.lower <= exact + 1e-12)
    assert np.all(exact <= limit.upper + 1e-12)
    back = limits.distortion_at(p, d, exact)
    achieved = np.asarray(closed_form(back.upper))
    assert np.all(achieved <= exact + 1e-7)
    inside = exact > 0
    np.testing.assert_allclose(back.value[inside], D[inside], rtol=0, atol=2e-9)


def test_C6_erasure_of_a_non_uniform_source_lies_below_the_straight_line():
    D = np.linspace(0.05, 0.95, 19)
    straight = (1 - D) * np.sum(-HAMMING_PMF * np.log2(HAMMING_PMF))
    achieved = limits.rate_at(HAMMING_PMF, ERASER, D).upper
    assert np.all(achieved < straight - 0.01)


def test_C6_straight_pieces_are_time_shared():
    # With an eraser of cost 0.3 the curve of a fair coin is a line from (0, 1) to (0.3, 0).
    D = np.array([0.05, 0.1, 0.2, 0.3])
    limit = limits.rate_at([0.5, 0.5], [[0.0, 1.0, 0.3], [1.0, 0.0, 0.3]], D)
    assert np.all(limit.converged)
    curved = np.asarray(closed_forms.bernoulli_hamming(0.5, distortion=D))
    assert np.all(limit.value <= curved + 1e-9)
    on_the_line = limits.rate_at([0.5, 0.5], [[0.0, 1.0, 0.3], [1.0, 0.0, 0.3]], [0.15, 0.2, 0.25])
    left, middle, right = np.asarray(on_the_line.value)
    assert middle == pytest.approx((left + right) / 2, abs=2e-9)
    assert left < closed_forms.bernoulli_hamming(0.5, distortion=0.15)


def test_C6_discretised_gaussian_comes_close_to_the_closed_form():
    curve = limits.rate_distortion_curve(*_gaussian(400), np.geomspace(1, 14, 5))
    np.testing.assert_allclose(
        curve.rate, closed_forms.gaussian(1.0, distortion=curve.distortion), rtol=0, atol=2e-5
    )


@settings(max_examples=10)
@given(strategies.pmfs(3), strategies.distortions((3, 3)), st.floats(0.01, 0.99))
def test_C5_rate_at_a_distortion_is_certified_on_random_problems(p, d, share):
    curve = limits.rate_distortion_curve(p, d, [0.0, np.inf])
    low, high = float(curve.minimum_distortion), float(curve.maximum_distortion)
    D = low + share * (high - low)
    limit = curve.rate_at(D)
    assert limit.converged
    assert curve.lower(D) <= limit.upper + 1e-12
    back = curve.distortion_at(limit.upper)
    assert back.lower <= D + 1e-9


@settings(max_examples=30)
@given(
    strategies.pmfs(4),
    strategies.distortions((4, 5), infinite=True),
    st.floats(0.1, 20.0),
    st.floats(0.01, 0.99),
)
def test_C5_distortion_at_a_rate_is_certified_with_forbidden_pairs(p, d, slope, share):
    """Every constant reproduction may be forbidden, so that no rate below some floor will do."""
    curve = limits.rate_distortion_curve(p, d, [slope, np.inf])
    (D, least), (R, enough) = curve.distortion, curve.rate
    assume(enough - R > 1e-6)
    goal = R + share * (enough - R)
    limit = limits.distortion_at(p, d, goal)
    assert limit.converged
    assert limit.lower <= limit.upper
    assert limit.lower <= D + share * (least - D) + 1e-12  # time sharing of the two points
    assert limit.upper >= D + (R - curve.gap[0] - goal) / slope - 1e-12  # a supporting line


@pytest.mark.parametrize("method", ["dense", "column_generation"])
def test_C5_a_rate_below_that_of_every_finite_distortion_is_refused(method):
    # The least rate: the middle letter chooses at random which of its two neighbours it joins.
    d = [[0.0, np.inf], [0.0, 0.0], [np.inf, 0.0]]
    p = [0.2, 0.6, 0.2]
    assert limits.distortion_at(p, d, 0.4 + 1e-9, method=method).upper == 0
    with pytest.raises(ValueError, match=r"rate must allow a finite distortion, got 0\.39"):
        limits.distortion_at(p, d, [0.5, 0.39], method=method)
    with pytest.raises(ValueError, match=r"rate must allow a finite distortion, got 0"):
        limits.distortion_at(p, d, 0, method=method)


def test_C5_slope_zero_is_the_best_constant_also_when_others_have_rate_zero_too():
    # Every output distribution has rate 0 here; rounding once let the uniform one win.
    p = [1 - 3e-12, 1e-12, 1e-12, 1e-12]
    d = np.zeros((4, 5))
    d[0, 4] = 1.0
    for method in ("dense", "column_generation"):
        curve = limits.rate_distortion_curve(p, d, [0.7, 0.0, 0.91], tolerance=1e-12, method=method)
        assert curve.distortion[1] == 0


def test_slopes_do_not_see_each_other():
    p, d = _random(40)
    together = limits.rate_distortion_curve(p, d, [1.0, 7.0, 90.0])
    alone = limits.rate_distortion_curve(p, d, [7.0])
    np.testing.assert_array_equal(together.rate[1], alone.rate[0])
    np.testing.assert_array_equal(together.output_marginal[1], alone.output_marginal[0])


def test_float32_is_refused_with_a_way_out():
    with jax.enable_x64(False), pytest.raises(RuntimeError, match="jax_enable_x64"):
        limits.rate_distortion_curve([0.5, 0.5], 1 - np.eye(2), [1.0])


def test_a_curve_is_a_pytree():
    curve = limits.rate_distortion_curve([0.5, 0.5], 1 - np.eye(2), [1.0, 2.0])
    doubled = jax.tree.map(lambda leaf: 2 * leaf, curve)
    np.testing.assert_array_equal(doubled.rate, 2 * curve.rate)
    assert doubled.method == curve.method


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5, 0.4], 1 - np.eye(2), [1.0]), r"p must sum to one, got a sum of 0\.9"),
        (
            ([0.5, 0.5], [[0, np.nan], [1, 0]], [1.0]),
            r"distortions must not contain NaN, got nan at",
        ),
        (
            ([0.5, 0.5], [[0, -1.0], [1, 0]], [1.0]),
            r"distortions must lie in \[0, inf\], got -1.0 at",
        ),
        (([0.5, 0.5], np.eye(3), [1.0]), r"distortions must have one row a source letter"),
        (([0.5, 0.5], [[0, 1], [np.inf, np.inf]], [1.0]), "only inf in row 1"),
        (([0.5, 0.5], 1 - np.eye(2), [-1.0]), r"slopes must lie in \[0, inf\], got -1.0"),
        (([0.5, 0.5], 1 - np.eye(2), 1.0), r"slopes must have 1 dimensions"),
    ],
)
def test_bad_problems_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        limits.rate_distortion_curve(*arguments)


def test_bad_targets_are_named():
    p, d = [0.4, 0.6], [[0.5, 0.9], [0.7, 0.5]]
    with pytest.raises(ValueError, match=r"distortion must be at least D_min = 0\.5, got 0\.4"):
        limits.rate_at(p, d, [0.6, 0.4])
    with pytest.raises(ValueError, match="distortion must lie in"):
        limits.rate_distortion_curve(p, d, [1.0]).lower(-1.0)
    with pytest.raises(ValueError, match=r"rate must lie in \[0, inf\), got -0\.1"):
        limits.distortion_at(p, d, -0.1)
    with pytest.raises(ValueError, match="method must be"):
        limits.rate_distortion_curve(p, d, [1.0], method="newton")
    with pytest.raises(ValueError, match="tolerance must lie in"):
        limits.rate_distortion_curve(p, d, [1.0], tolerance=0.0)


def test_dense_solver_batches_under_an_outer_vmap():
    p, d = _random(12)
    rates = jax.vmap(
        lambda scale: (
            limits.rate_distortion_curve(p, scale * d, jnp.array([4.0]), method="dense").rate.value
        )
    )(jnp.array([0.5, 1.0]))
    single = limits.rate_distortion_curve(p, 0.5 * d, [4.0], method="dense").rate.value
    np.testing.assert_allclose(rates[0], single, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("count", "calls"), [(2, [2]), (7, [3, 3, 3])])
def test_slopes_in_several_calls_are_those_of_one(monkeypatch, count, calls):
    p, d = _random(5, seed=3)
    slopes = np.geomspace(1, 30, count)
    whole = limits.rate_distortion_curve(p, d, slopes, method="dense")
    module = importlib.import_module("rdsim.limits.rate_distortion._slopes")
    monkeypatch.setattr(module, "_ENTRIES_A_CALL", 3 * d.size)
    made, solve = [], module._solve_slopes
    monkeypatch.setattr(
        module, "_solve_slopes", lambda *args: made.append(len(args[3])) or solve(*args)
    )
    parts = limits.rate_distortion_curve(p, d, slopes, method="dense")
    assert made == calls
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def test_C5_what_numpy_finds_is_what_compiled_code_finds():
    p, d = _random(5, seed=4)
    d = d - d.min(axis=1, keepdims=True)
    slopes, targets = np.array([0.0, 2.0, 9.0, np.inf]), np.array([0.1, 0.2, 0.9])
    for function, argument in (
        (limits.rate_distortion_curve, slopes),
        (limits.rate_at, targets),
        (limits.distortion_at, targets),
    ):
        host, compiled = (
            function(p, d, argument, method=method) for method in ("column_generation", "dense")
        )
        for one, other in zip(jax.tree.leaves(host), jax.tree.leaves(compiled), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=2e-9)


@settings(max_examples=60)
@given(strategies.pmfs(6), st.floats(0.01, 30.0) | st.just(np.inf))
def test_C6_water_filling_is_the_optimum_of_a_hamming_distortion(p, slope):
    excess = 1 - np.eye(len(p))
    K = np.where(excess > 0, 2.0**-slope, 1.0)
    q, _ = column_generation.solve_on_host(p, excess, K, slope, 1e-9)
    used = p > 0
    c = (p[used] / (K @ q)[used]) @ K[used]
    assert np.log2(c.max()) <= 1e-13
    assert q.sum() == pytest.approx(1, rel=1e-14, abs=0)


@pytest.mark.parametrize("tolerance", [1.0, 100.0, 1e4, 1e300])
@pytest.mark.parametrize("light", [1e-300, 1e-4, 0.2])
def test_C5_a_tolerance_of_many_bits_proves_bounds_that_hold(light, tolerance):
    """Letters are certified apart up to a mass in proportion to the tolerance; of 100 bits that were all of them."""
    p = np.array([0.5 - light / 2, 0.5 - light / 2, light])
    forbidden = np.where(np.eye(3) > 0, 0.0, np.where(np.arange(3) < 2, 1.0, np.inf))
    for d in (1 - np.eye(3), np.random.default_rng(0).uniform(size=(3, 4)), forbidden):
        goal = p @ d.min(axis=1) + 0.05
        exact = limits.rate_at(p, d, goal, method="column_generation")
        loose = limits.rate_at(p, d, goal, tolerance=tolerance, method="column_generation")
        assert loose.lower <= exact.upper
        assert loose.upper >= exact.lower
        curve = limits.rate_distortion_curve(
            p, d, [0.0, 0.5, 3.0, np.inf], tolerance=tolerance, method="column_generation"
        )
        assert np.isfinite(curve.rate.upper).all()
        assert np.isfinite(curve.rate.lower).all()
        assert (np.asarray(curve.output_marginal) >= 0).all()


@pytest.mark.parametrize("table", ["random", "duplicates", "squares"])
@pytest.mark.parametrize(
    "masses", [10.0 ** -np.linspace(0, 300, 40), np.where(np.arange(40) == 0, 1.0, 1e-300)]
)
def test_C5_letters_of_next_to_no_mass_are_certified_at_every_slope(table, masses):
    """Their limits are those of the other letters alone, up to their masses times the bits of the least float."""
    p = masses / masses.sum()
    x = np.linspace(-3, 3, 40)
    d = np.random.default_rng(0).uniform(size=(40, 40))
    if table == "duplicates":
        d[:, 20:] = d[:, :20]
    d = (x[:, None] - x) ** 2 if table == "squares" else d
    slopes = np.array([1e-12, 1.0, 30.0, 1e3, 1e6, 1e12])
    found = limits.rate_distortion_curve(p, d, slopes, method="column_generation")
    assert found.converged.all()
    rest = np.where(p < 1e-14, 0.0, p)
    rest /= rest.sum()
    plain = limits.rate_distortion_curve(rest, d, slopes, method="column_generation")
    left = 1100 * float(p[p < 1e-14].sum())
    # F = R + s D by the excess of D over D_min, in which nothing cancels at steep slopes.
    cost, other = (
        np.asarray(c.rate.value) + slopes * (np.asarray(c.distortion) - pmf @ d.min(axis=1))
        for c, pmf in ((found, p), (plain, rest))
    )
    rounding = 1e-14 * slopes  # of a distortion
    assert (np.abs(cost - other) <= 2e-9 + left + rounding).all()
