import itertools

import jax
import numpy as np
import pytest
import scipy.optimize
import strategies
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference import entropy, mutual_information_by_sums

from rdsim import sources
from rdsim.limits.bottleneck import (
    bottleneck_at,
    bottleneck_dsbs,
    bottleneck_dsbs_rate,
    bottleneck_erasure,
    bottleneck_rate,
    information_bottleneck,
)

DSBS = np.asarray(sources.dsbs(0.1).joint)
ASYMMETRIC = np.array([[0.6, 0.1], [0.06, 0.24]])
TERNARY = np.array([[0.25, 0.05, 0.02], [0.03, 0.2, 0.1], [0.02, 0.05, 0.28]])
SLOPES = np.array([0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])


def measured(joint, encoder):
    """I(U;Y) and I(U;X) of an encoder P(u|y), shape (y, u), cell by cell."""
    return (
        mutual_information_by_sums(encoder * joint.sum(axis=0)[:, None]),
        mutual_information_by_sums(joint @ encoder),
    )


def lattice(letters, steps):
    grid = itertools.product(range(steps + 1), repeat=letters - 1)
    return np.array([(*g, steps - sum(g)) for g in grid if sum(g) <= steps]) / steps


def by_linear_program(joint, slope, steps):
    """A lower bound on L(s): the best mixture of the posteriors on a lattice."""
    joint = joint[:, joint.sum(axis=0) > 0]
    px, py = joint.sum(axis=1), joint.sum(axis=0)
    points = lattice(py.size, steps)
    value = np.array(
        [
            entropy(px) - entropy((joint / py) @ p) - slope * (entropy(py) - entropy(p))
            for p in points
        ]
    )
    found = scipy.optimize.linprog(-value, A_eq=points.T, b_eq=py, method="highs")
    return -found.fun


def alternating(joint, slope, channel, steps):
    """Tishby, Pereira and Bialek's iteration from an encoder P(u|y), shape (u, y)."""
    py = joint.sum(axis=0)
    for _ in range(steps):
        weight = channel @ py
        rows = (joint @ channel.T) / weight
        log_ratio = np.log(np.maximum(rows, 1e-300)).T @ (joint / py)
        exponent = log_ratio / slope + np.log(np.maximum(weight, 1e-300))[:, None]
        channel = np.exp(exponent - exponent.max(axis=0))
        channel /= channel.sum(axis=0)
    return channel


def test_C11_reference_values():
    limit = bottleneck_at(ASYMMETRIC, 0.4, compress="columns")
    np.testing.assert_allclose(limit.value, 0.1514494, rtol=0, atol=5e-8)
    assert limit.converged
    limit = bottleneck_at(DSBS, [0.25, 0.5, 0.75], compress="columns")
    np.testing.assert_allclose(
        limit.value, [0.156246835, 0.302684135, 0.433434276], rtol=0, atol=1.5e-9
    )
    assert limit.converged.all()


def test_C11_meets_the_DSBS_closed_form_along_the_curve():
    curve = information_bottleneck(DSBS, np.linspace(0.02, 0.98, 16), compress="columns")
    assert curve.converged.all()
    assert not curve.local.any()
    exact = bottleneck_dsbs(0.1, rate=curve.complexity)
    np.testing.assert_allclose(curve.relevance, exact, rtol=0, atol=1e-12)
    # From the squared correlation on, nothing is worth its rate.
    assert (curve.relevance[curve.slope >= 0.64] == 0).all()
    rates = np.array([1e-6, 0.01, 0.2, 0.5, 0.8, 0.99, 0.9999])
    exact = np.asarray(bottleneck_dsbs(0.1, rate=rates))
    limit = bottleneck_at(DSBS, rates, compress="columns")
    assert limit.converged.all()
    assert (limit.lower <= exact).all()
    assert (exact <= limit.upper).all()
    back = bottleneck_rate(DSBS, exact, compress="columns")
    inside = rates < 0.999
    assert (back.lower <= rates * (1 + 1e-13)).all()
    assert (rates[inside] <= back.upper[inside] + 1e-13).all()
    np.testing.assert_allclose(back.value[inside], rates[inside], rtol=0, atol=1e-9)
    assert (exact <= np.asarray(curve.upper(rates)) + 1e-14).all()
    assert (np.asarray(curve.lower(rates)) <= exact + 1e-14).all()


def test_C11_straight_lines_are_certified():
    pmf = np.array([0.5, 0.3, 0.2])
    joint = np.vstack([0.6 * np.diag(pmf), 0.4 * pmf])
    rates = np.array([0.1, 0.7, 1.3, 1.6])
    for table, exact in (
        (joint, bottleneck_erasure(pmf, 0.4, rate=rates)),
        (np.diag(pmf), bottleneck_erasure(pmf, 0.0, rate=rates)),
    ):
        limit = bottleneck_at(table, rates, compress="columns")
        assert limit.converged.all()
        assert (limit.lower <= exact + 1e-15).all()
        assert (exact <= limit.upper + 1e-15).all()
        back = bottleneck_rate(table, np.asarray(exact)[:3], compress="columns")
        np.testing.assert_allclose(back.value, rates[:3], rtol=0, atol=1e-9)
        assert back.converged.all()


ternary = strategies.joint_pmfs((3, 3)) | strategies.joint_pmfs((2, 3))


@settings(max_examples=15)
@given(ternary)
@example(np.array([[0.4, 0.2, 0.0], [0.0, 0.2, 0.2]]))
@example(np.array([[0.2, 0.2, 0.0], [0.0, 0.2, 0.0], [0.2, 0.0, 0.2]]))
@example(np.array([[2, 9, 12], [4, 4, 4], [3, 15, 3]]) / 56)
def test_C11_three_letters_agree_with_a_linear_program_over_posteriors(joint):
    curve = information_bottleneck(joint, SLOPES, compress="columns")
    assert curve.converged.all()
    value = np.asarray(curve.relevance - curve.slope * curve.complexity)
    upper = value + np.asarray(curve.gap)
    everything = mutual_information_by_sums(joint)
    for k in (0, 3, 5):
        coarse = by_linear_program(joint, SLOPES[k], 30)
        assert coarse <= upper[k] + 1e-9
    # Nothing worse than saying nothing, or than storing the letter.
    assert (value >= -1e-15).all()
    assert (value >= everything - SLOPES * entropy(joint.sum(axis=0)) - 1e-12).all()
    for encoder, rate, kept in zip(curve.encoder, curve.complexity, curve.relevance, strict=True):
        np.testing.assert_allclose(np.sum(encoder, axis=1), 1.0, rtol=0, atol=1e-12)
        assert np.min(encoder) >= 0
        assert np.sum(joint.sum(axis=0) @ np.asarray(encoder) > 0) <= joint.shape[1]
        np.testing.assert_allclose(
            measured(joint, np.asarray(encoder)), (rate, kept), rtol=0, atol=1e-11
        )


def test_C11_no_two_codewords_are_copies_of_one_another():
    for joint, slopes in (
        (ASYMMETRIC, np.linspace(0.08, 0.58, 24)),
        (TERNARY, SLOPES),
        (np.array([[1, 2, 0], [3, 1, 1]]) / 8, [0.243]),
        (np.array([[3, 2, 1], [1, 2, 3], [0, 4, 0], [4, 1, 1]]) / 22, [0.254]),
        (np.array([[3, 2, 1], [1, 3, 2], [4, 1, 1]]) / 18, [0.179]),
        (np.array([[3, 2, 1], [0, 1, 2]]) / 9, [0.364]),
        (np.array([[1, 2, 3, 4], [1, 0, 4, 3], [1, 4, 0, 1]]) / 24, [0.41]),
        (
            np.array([[1, 2, 1, 4], [2, 3, 2, 1], [1, 1, 4, 2], [1, 0, 1, 0], [1, 4, 0, 1]]) / 32,
            [0.249],
        ),
    ):
        py = joint.sum(axis=0)
        for encoder in np.asarray(
            information_bottleneck(joint, slopes, compress="columns").encoder
        ):
            used = encoder[:, py @ encoder > 0]
            posteriors = (py[:, None] * used / (py @ used)).T
            for a, b in itertools.combinations(posteriors, 2):
                assert np.abs(a - b).sum() > 1e-6


@pytest.mark.parametrize(
    ("joint", "slope"),
    [
        ([[4, 0, 1], [0, 0, 1], [0, 2, 1]], 0.705),
        ([[3, 4, 1], [1, 0, 3]], 0.243),
        ([[0, 3, 1], [3, 3, 3], [4, 0, 0], [3, 0, 2]], 0.321),
        ([[1, 1, 0], [0, 1, 3], [3, 2, 1], [0, 0, 4]], 0.5),
        ([[1, 2, 3, 0], [2, 0, 1, 4], [0, 0, 1, 2]], 0.382),
    ],
)
def test_C11_vanishing_masses_fix_no_dual_variable(joint, slope):
    counts = np.array(joint, float)
    assert information_bottleneck(
        counts / counts.sum(), [slope], compress="columns"
    ).converged.all()


@pytest.mark.parametrize(
    ("joint", "slopes"),
    [
        (np.array([[1, 2], [4, 0], [0, 4]]) / 11, [0.77, 0.7700001]),
        (np.array([[0, 3], [3, 3], [4, 0]]) / 13, [0.636, 0.6361]),
        (np.array([[0, 3, 0], [3, 3, 0], [4, 0, 0], [0, 3, 0]]) / 16, [0.636, 0.6361]),
    ],
)
def test_C11_a_posterior_enters_where_every_slot_is_taken(joint, slopes):
    # One of n + 1 posteriors is superfluous, and not always that of least weight.
    curve = information_bottleneck(joint, slopes, compress="columns")
    assert curve.converged.all()
    value = np.asarray(curve.relevance - curve.slope * curve.complexity)
    letters = joint[:, joint.sum(axis=0) > 0]
    for slope, found in zip(slopes, value, strict=True):
        fine = by_linear_program(letters, slope, 4000 if letters.shape[1] == 2 else 120)
        assert fine <= found + 1e-9


def test_C11_is_certified_where_two_posteriors_become_one():
    joint = np.array([[4, 4, 2], [4, 0, 1], [1, 0, 3]]) / 19
    curve = information_bottleneck(
        joint, 0.2 * np.array([0.99, 0.999, 1.0, 1.001, 1.01]), compress="columns"
    )
    assert curve.converged.all()


@settings(max_examples=6)
@given(strategies.pmfs(3))
@example(np.array([0.4, 0.4, 0.2]))
@example(np.array([0.36, 0.48, 0.16]))
def test_C11_is_certified_where_a_whole_curve_of_posteriors_is_best(genotype):
    """X is one of the two copies in Y: at slope 1/2 all mixtures of (p^2, 2pq, q^2) tie.

    There g = D(p || P_X) - D(pi || P_Y) / 2 is affine along the curve, since
    H(pi) = 2 h(p) - 2pq, so that L(1/2) = H(X) - H(Y)/2 - P_Y(1)/2 for every P_Y in its hull.
    """
    joint = np.array([[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]]) * genotype
    curve = information_bottleneck(joint, [0.5], compress="columns")
    value = float(curve.relevance[0] - 0.5 * curve.complexity[0])
    height = entropy(joint.sum(axis=1)) - entropy(genotype) / 2 - genotype[1] / 2
    inside = genotype[1] ** 2 <= 4 * genotype[0] * genotype[2]
    if inside:
        np.testing.assert_allclose(value, height, rtol=0, atol=1e-9)
    # Outside the hull the same affine function still bounds it.
    assert value <= height + 1e-12
    assert curve.converged.all()
    assert not curve.local.any()


@pytest.mark.parametrize("joint", [TERNARY, ASYMMETRIC])
def test_C11_a_fine_lattice_comes_close_from_below(joint):
    curve = information_bottleneck(joint, SLOPES, compress="columns")
    value = np.asarray(curve.relevance - curve.slope * curve.complexity)
    steps = 120 if joint is TERNARY else 4000
    for k in (1, 3, 4):
        fine = by_linear_program(joint, SLOPES[k], steps)
        assert fine <= value[k] + 1e-9
        assert value[k] <= fine + 5e-4 * (120 / steps)


@settings(max_examples=20)
@given(strategies.joint_pmfs((3, 3)), strategies.channels((3, 4)))
def test_C11_no_test_channel_beats_the_bound(joint, channel):
    curve = information_bottleneck(joint, SLOPES, compress="columns")
    rate, kept = measured(joint, channel)
    assert kept <= curve.upper(max(rate, 0.0)) + 1e-12


def test_C11_no_ascent_of_the_alternating_iteration_beats_the_bound():
    generator = np.random.default_rng(3)
    for joint in (TERNARY, generator.dirichlet(np.full(9, 0.5)).reshape(3, 3)):
        curve = information_bottleneck(joint, SLOPES, compress="columns")
        value = np.asarray(curve.relevance - curve.slope * curve.complexity)
        for k in (1, 3, 5):
            best = -np.inf
            for _ in range(8):
                start = generator.dirichlet(np.full(3, 0.5), 3).T
                rate, kept = measured(joint, alternating(joint, SLOPES[k], start, 400).T)
                best = max(best, kept - SLOPES[k] * rate)
            assert best <= value[k] + float(curve.gap[k]) + 1e-12
            assert best >= value[k] - 2e-3


@settings(max_examples=8)
@given(strategies.joint_pmfs((3, 3)), strategies.permutations(3), strategies.permutations(3))
def test_C11_does_not_depend_on_the_names_of_the_letters(joint, rows, columns):
    plain = information_bottleneck(joint, SLOPES, compress="columns")
    moved = information_bottleneck(joint[np.ix_(rows, columns)], SLOPES, compress="columns")
    value, other = (np.asarray(c.relevance - c.slope * c.complexity) for c in (plain, moved))
    np.testing.assert_allclose(value, other, rtol=0, atol=1e-9)


@settings(max_examples=8)
@given(strategies.joint_pmfs((3, 3)))
@example(np.array([[8, 3, 4], [16, 0, 13]]) / 44)
def test_C11_a_certified_curve_is_concave_increasing_and_obeys_data_processing(joint):
    everything, most = mutual_information_by_sums(joint), entropy(joint.sum(axis=0))
    rates = np.linspace(0, most * 1.1 + 1e-3, 12)
    limit = bottleneck_at(joint, rates, compress="columns")
    assert (limit.lower <= limit.upper).all()
    assert limit.converged.all()
    assert (np.diff(limit.value) >= -1e-9).all()
    assert (np.diff(limit.value, 2) <= 4e-9).all()
    assert (limit.upper <= np.minimum(rates, everything) + 1e-12).all()
    assert limit.value[0] == 0
    np.testing.assert_allclose(limit.value[rates >= most + 1e-12], everything, rtol=0, atol=1e-12)


def test_C11_split_and_empty_letters_change_nothing():
    plain = bottleneck_at(ASYMMETRIC, [0.2, 0.4, 0.9], compress="columns")
    split = np.stack(
        [0.25 * ASYMMETRIC[:, 0], np.zeros(2), ASYMMETRIC[:, 1], 0.75 * ASYMMETRIC[:, 0]], axis=1
    )
    other = bottleneck_at(np.vstack([split, np.zeros(4)]), [0.2, 0.4, 0.9], compress="columns")
    np.testing.assert_allclose(other.value, plain.value, rtol=0, atol=1e-9)
    curve = information_bottleneck(split, [0.1, 0.2], compress="columns")
    assert curve.encoder.shape[1] == 4
    np.testing.assert_allclose(curve.encoder.sum(axis=2), 1.0, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(curve.encoder[:, 0], curve.encoder[:, 3])
    rate, kept = measured(split, np.asarray(curve.encoder[0]))
    np.testing.assert_allclose(
        (curve.complexity[0], curve.relevance[0]), (rate, kept), rtol=0, atol=1e-12
    )


def test_C11_the_encoder_is_a_channel_from_y_to_u():
    """Rows are letters of Y, as in every channel of the package: joint @ encoder is P(x,u)."""
    joint = np.array([[0.3, 0.05, 0.1], [0.05, 0.25, 0.25]])
    curve = information_bottleneck(joint, [0.05, 0.2], compress="columns")
    assert curve.encoder.shape[:2] == (2, 3)
    np.testing.assert_allclose(curve.encoder.sum(axis=2), 1.0, rtol=0, atol=1e-12)
    for encoder, rate, kept in zip(curve.encoder, curve.complexity, curve.relevance, strict=True):
        table = np.einsum("xy,yu->xyu", joint, encoder)
        np.testing.assert_allclose(table.sum(axis=2), joint, rtol=0, atol=1e-12)
        np.testing.assert_allclose(
            mutual_information_by_sums(table.sum(axis=0)), rate, rtol=0, atol=1e-12
        )
        np.testing.assert_allclose(
            mutual_information_by_sums(table.sum(axis=1)), kept, rtol=0, atol=1e-12
        )
        assert kept > 0.01


def test_C11_independent_letters_keep_nothing():
    joint = np.outer([0.2, 0.8], [0.3, 0.5, 0.2])
    curve = information_bottleneck(joint, SLOPES, compress="columns")
    assert (curve.relevance == 0).all()
    assert (curve.complexity == 0).all()
    assert curve.converged.all()
    limit = bottleneck_at(joint, [0.0, 0.5, 3.0], compress="columns")
    np.testing.assert_array_equal(limit.value, 0.0)
    np.testing.assert_array_equal(limit.upper, 0.0)
    assert bottleneck_rate(joint, 0.1, compress="columns").value == np.inf
    assert bottleneck_rate(joint, 0.0, compress="columns").value == 0


def test_C11_more_letters_are_local_but_bounded():
    generator = np.random.default_rng(7)
    joint = generator.dirichlet(np.full(24, 0.4)).reshape(4, 6)
    curve = information_bottleneck(joint, SLOPES, starts=1, compress="columns")
    value = np.asarray(curve.relevance - curve.slope * curve.complexity)
    upper = value + np.asarray(curve.gap)
    assert curve.local.all()
    assert (curve.converged == (curve.gap <= 1e-9)).all()
    everything = mutual_information_by_sums(joint)
    assert (value >= -1e-15).all()
    assert (value >= everything - SLOPES * entropy(joint.sum(axis=0)) - 1e-12).all()
    assert (upper <= (1 - SLOPES) * everything + 1e-12).all()
    for k in (1, 3, 5):
        best = -np.inf
        for _ in range(10):
            start = generator.dirichlet(np.full(6, 0.5), 6).T
            rate, kept = measured(joint, alternating(joint, SLOPES[k], start, 600).T)
            best = max(best, kept - SLOPES[k] * rate)
        assert best <= upper[k]
        assert best <= value[k] + 1e-9
    again = information_bottleneck(
        joint, SLOPES, starts=1, key=jax.random.key(0), compress="columns"
    )
    np.testing.assert_array_equal(again.relevance, curve.relevance)


def test_C11_a_point_that_missed_the_tolerance_says_so_and_keeps_true_bounds():
    strict = information_bottleneck(TERNARY, SLOPES, tolerance=1e-15, compress="columns")
    assert not strict.converged[:4].any()
    local = information_bottleneck(TERNARY, SLOPES, method="local", compress="columns")
    assert local.local.all()
    assert (local.gap >= strict.gap).all()
    np.testing.assert_allclose(local.relevance, strict.relevance, rtol=0, atol=1e-12)


def test_C11_ends_and_shapes():
    everything = mutual_information_by_sums(ASYMMETRIC)
    limit = bottleneck_at(ASYMMETRIC, [[0.0, 0.1], [1.0, np.inf]], compress="columns")
    assert limit.shape == (2, 2)
    np.testing.assert_allclose(limit.value[1], everything, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(limit.lower[1], limit.upper[1])
    back = bottleneck_rate(
        ASYMMETRIC, [0.0, everything, everything + 1e-6, np.inf], compress="columns"
    )
    np.testing.assert_allclose(
        back.value, [0.0, entropy(ASYMMETRIC.sum(axis=0)), np.inf, np.inf], rtol=0, atol=1e-12
    )
    assert float(bottleneck_at(ASYMMETRIC, 0.1, compress="columns").value) == pytest.approx(
        float(limit.value[0, 1])
    )
    assert information_bottleneck(ASYMMETRIC, [], compress="columns").relevance.shape == (0,)
    doubled = jax.tree.map(
        lambda x: x, information_bottleneck(ASYMMETRIC, [0.2], compress="columns")
    )
    assert doubled.converged.all()


@given(st.floats(0.001, 0.53))
@settings(max_examples=5)
def test_C11_the_inverse_brackets_the_closed_form(relevance):
    back = bottleneck_rate(DSBS, relevance, compress="columns")
    exact = float(bottleneck_dsbs_rate(0.1, relevance=relevance))
    assert back.lower - 1e-13 <= exact <= back.upper + 1e-13


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: information_bottleneck([[0.5, 0.6]], [0.5], compress="columns"),
            "joint must sum to one",
        ),
        (
            lambda: information_bottleneck(DSBS[0], [0.5], compress="columns"),
            "joint must have 2 dimensions",
        ),
        (
            lambda: information_bottleneck(DSBS, [0.0], compress="columns"),
            r"slopes must lie in \(0, 1\), got 0.0",
        ),
        (
            lambda: information_bottleneck(DSBS, [1.0], compress="columns"),
            r"slopes must lie in \(0, 1\), got 1.0",
        ),
        (
            lambda: information_bottleneck(DSBS, 0.5, compress="columns"),
            "slopes must have 1 dimensions",
        ),
        (
            lambda: information_bottleneck(DSBS, [0.5], method="fast", compress="columns"),
            "method must be one of 'auto', 'local'",
        ),
        (
            lambda: information_bottleneck(DSBS, [0.5], tolerance=0.0, compress="columns"),
            "tolerance must lie in",
        ),
        (
            lambda: information_bottleneck(DSBS, [0.5], starts=-1, compress="columns"),
            "starts must be at least 0",
        ),
        (
            lambda: bottleneck_at(DSBS, -0.1, compress="columns"),
            r"rate must lie in \[0, inf\], got -0.1",
        ),
        (
            lambda: bottleneck_rate(DSBS, -0.1, compress="columns"),
            r"relevance must lie in \[0, inf\], got -0.1",
        ),
        (
            lambda: information_bottleneck(DSBS, [0.5], compress="columns").upper(-1),
            "complexity must lie in",
        ),
    ],
)
def test_C11_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_C11_wrong_types_are_named():
    with pytest.raises(TypeError, match="unexpected keyword argument 'slope'"):
        bottleneck_at(DSBS, 0.1, slope=0.5, compress="columns")
    with pytest.raises(TypeError, match="key"):
        information_bottleneck(DSBS, [0.5], key=0, compress="columns")
    for call in (
        lambda: information_bottleneck(DSBS, [0.5], compress="columns"),
        lambda: bottleneck_at(DSBS, 0.5, compress="columns"),
        lambda: bottleneck_rate(DSBS, 0.5, compress="columns"),
    ):
        with jax.enable_x64(False), pytest.raises(RuntimeError, match="needs float64"):
            call()
