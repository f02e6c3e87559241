"""C8: derivatives through the solver, against finite differences and closed forms."""

import importlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import strategies as sts
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rdsim import limits
from rdsim.limits.rate_distortion import _targets
from rdsim.transformations import STEEPEST, NotDifferentiableError

TOLERANCE = 1e-12
HAMMING = 1 - np.eye(2)
Y, U = 4, 5
SLOPES = jnp.array([0.8, 3.0, 9.0])


def _values(p, d, slopes):
    """F = R + s D and D at each slope."""
    curve = limits.rate_distortion_curve(p, d, slopes, tolerance=TOLERANCE, method="dense")
    return curve.rate.value + curve.slope * curve.distortion, curve.distortion, curve.rate.value


_points = jax.jit(_values)
_forward = jax.jit(jax.jacfwd(_values, argnums=(0, 1, 2)))
_reverse = jax.jit(jax.jacrev(_values, argnums=(0, 1, 2)))


def _random(seed):
    generator = np.random.default_rng(seed)
    return generator.dirichlet(np.full(Y, 2.0)), generator.uniform(0.1, 1.0, (Y, U)), generator


def _central(function, step):
    """Central differences with one Richardson extrapolation: error of order step^4."""
    near = (function(step) - function(-step)) / (2 * step)
    far = (function(2 * step) - function(-2 * step)) / (4 * step)
    return (4 * near - far) / 3


def _supports(p, d, slopes):
    curve = limits.rate_distortion_curve(p, d, slopes, tolerance=TOLERANCE, method="dense")
    return np.asarray(curve.output_marginal) > 0


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_C8_derivatives_of_the_points_agree_with_finite_differences(seed):
    p, d, generator = _random(seed)
    toward = generator.dirichlet(np.ones(Y)) - p
    direction = generator.normal(size=(Y, U))
    step = 1e-4
    jacobian = _forward(p, d, SLOPES)

    def moved(t):
        return p + t * toward, d + t * direction, SLOPES * (1 + t)

    # Where a letter enters or leaves within the step, D has a kink and no derivative to compare.
    here = _supports(p, d, SLOPES)
    smooth = np.ones(len(SLOPES), bool)
    for t in (-2 * step, 2 * step):
        smooth &= (_supports(*moved(t)) == here).all(axis=1)
    for index in range(3):
        by_p, by_d, by_slope = jacobian[index]
        along = by_p @ toward + jnp.tensordot(by_d, direction, 2) + by_slope @ SLOPES
        measured = _central(lambda t, index=index: np.asarray(_points(*moved(t))[index]), step)
        np.testing.assert_allclose(along[smooth], measured[smooth], rtol=1e-6, atol=2e-7)


@settings(max_examples=15)
@given(sts.pmfs(Y), sts.distortions((Y, U)), st.sampled_from((0.7, 2.0, 6.0)))
def test_C8_modes_agree_the_slope_of_F_is_D_and_nothing_is_nan(p, d, slope):
    slopes = jnp.array([slope, 0.0, 1.3 * slope])
    forward, reverse = _forward(p, d, slopes), _reverse(p, d, slopes)
    for ahead, back in zip(jax.tree.leaves(forward), jax.tree.leaves(reverse), strict=True):
        assert np.all(np.isfinite(ahead))
        assert np.all(np.isfinite(back))
    # The two modes are two programs, each with its own solution: certified to 1e-12 bits, it decides what a
    # letter of mass m gets to 1e-12 / m only.
    assume(np.min(p, where=p > 0, initial=1.0) > 1e-4)
    for ahead, back in zip(jax.tree.leaves(forward), jax.tree.leaves(reverse), strict=True):
        np.testing.assert_allclose(ahead, back, rtol=1e-7, atol=1e-7 * (1 + np.max(np.abs(ahead))))
    D = _points(p, d, slopes)[1]
    np.testing.assert_allclose(jnp.diagonal(forward[0][2]), D, rtol=0, atol=1e-10)
    # dR/ds = -s dD/ds, and p means p / sum(p).
    np.testing.assert_allclose(
        jnp.diagonal(forward[2][2]),
        -slopes * jnp.diagonal(forward[1][2]),
        rtol=0,
        atol=1e-9 * (1 + np.max(np.abs(forward[1][2]))),
    )
    np.testing.assert_allclose(forward[0][0] @ p, 0.0, rtol=0, atol=1e-8)


def test_C8_the_gap_is_a_constant_and_the_marginal_keeps_its_sum():
    p, d, _ = _random(3)
    curve = jax.jacfwd(
        lambda s: limits.rate_distortion_curve(p, d, s, tolerance=TOLERANCE, method="dense")
    )(SLOPES)
    assert np.all(curve.gap == 0)
    np.testing.assert_allclose(curve.output_marginal.sum(axis=1), 0.0, rtol=0, atol=1e-10)
    assert np.max(np.abs(curve.output_marginal)) > 1e-3


def test_C8_second_derivatives_of_the_points():
    p, d, _ = _random(5)

    def F(s):
        return _values(p, d, s[None])[0][0]

    D = jax.jit(lambda s: _values(p, d, s[None])[1][0])
    second = jax.jit(jax.grad(jax.grad(F)))
    measured = _central(lambda t: D(9.0 + t), 1e-3)
    assert abs(measured) > 1e-4
    np.testing.assert_allclose(second(9.0), measured, rtol=1e-6)
    third = jax.jit(jax.jacfwd(jax.grad(jax.grad(F))))
    measured = _central(lambda t: second(9.0 + t), 1e-3)
    np.testing.assert_allclose(third(9.0), measured, rtol=1e-6)


ENTROPY = np.log2(0.7 / 0.3)


@pytest.mark.parametrize("method", ["dense", "auto"])
def test_C8_bernoulli_hamming_in_closed_form(method):
    d = 1 - np.eye(2)
    D = jnp.array([0.02, 0.1, 0.25])

    def rate(D, p):
        return limits.rate_at(jnp.stack([p, 1 - p]), d, D, method=method).value

    by_D = jax.jit(jax.vmap(jax.grad(rate), in_axes=(0, None)))(D, 0.3)
    np.testing.assert_allclose(by_D, -np.log2((1 - D) / D), rtol=1e-9)
    by_p = jax.jit(jax.jacfwd(rate, argnums=1))(D, 0.3)
    np.testing.assert_allclose(by_p, np.full(3, ENTROPY), rtol=1e-9)

    def distortion(R):
        return limits.distortion_at([0.3, 0.7], d, R, method=method).value

    R = limits.rate_at([0.3, 0.7], d, D).value
    by_R = jax.jit(jax.jacrev(distortion))(R)
    np.testing.assert_allclose(by_R, np.diag(-1 / np.log2((1 - D) / D)), rtol=1e-7, atol=1e-12)


def _at(by_rate):
    def value(p, d, target):
        function = limits.distortion_at if by_rate else limits.rate_at
        return function(p, d, target, tolerance=TOLERANCE, method="dense").value

    return jax.jit(value), jax.jit(jax.grad(value, argnums=(0, 1, 2))), value


RATE_AT, DISTORTION_AT = _at(by_rate=False), _at(by_rate=True)


@settings(max_examples=8)
@given(st.integers(0, 10_000), st.booleans())
def test_C8_rate_at_and_distortion_at_agree_with_finite_differences(seed, by_rate):
    value, gradient, _ = DISTORTION_AT if by_rate else RATE_AT
    p, d, generator = _random(seed)
    toward, direction = generator.dirichlet(np.ones(Y)) - p, generator.normal(size=(Y, U))
    slope = SLOPES[2:]
    curve = limits.rate_distortion_curve(p, d, slope, tolerance=TOLERANCE, method="dense")
    target = float(curve.rate[0] if by_rate else curve.distortion[0])
    assume(float(curve.rate[0]) > 0.05)
    by_p, by_d, by_target = gradient(p, d, target)
    np.testing.assert_allclose(by_target, -1 / slope[0] if by_rate else -slope[0], rtol=1e-6)
    along = by_p @ toward + jnp.sum(by_d * direction) + by_target
    step = 1e-4
    corners = [
        _supports(p + t * toward, d + t * direction, slope * (1 + 100 * t * side))
        for t in (-2 * step, 2 * step)
        for side in (-1, 1)
    ]
    if all((corner == corners[0]).all() for corner in corners):
        measured = _central(
            lambda t: float(value(p + t * toward, d + t * direction, target + t)), step
        )
        np.testing.assert_allclose(along, measured, rtol=1e-6, atol=1e-7)


def test_C8_gradients_of_a_curve_of_numbers_are_those_of_points_solved_in_numpy(monkeypatch):
    """Nothing but the implicit derivative is compiled for them; compiled points have the same."""
    p, d, _ = _random(4)
    slopes = jnp.array([1.0, 4.0, 20.0])

    def derivatives(method):
        def curve(*problem):
            found = limits.rate_distortion_curve(*problem, tolerance=TOLERANCE, method=method)
            return found.rate.value, found.distortion

        return jax.jacrev(curve, argnums=(0, 1, 2))(jnp.asarray(p), jnp.asarray(d), slopes)

    wanted = derivatives("dense")
    monkeypatch.setattr(
        importlib.import_module("rdsim.limits.rate_distortion._slopes"), "_solve_slopes", None
    )
    for ours, theirs in zip(derivatives("column_generation"), wanted, strict=True):
        for part, same in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(part, same, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("by_rate", [False, True])
def test_C8_gradients_of_numbers_are_searched_in_numpy(by_rate, monkeypatch):
    """Nothing but the envelope formula is compiled for them; the compiled search finds the same."""
    function, (_, compiled, _) = (
        (limits.distortion_at, DISTORTION_AT) if by_rate else (limits.rate_at, RATE_AT)
    )
    p, d, _ = _random(4)
    least, most = p @ d.min(axis=1), np.min(p @ d)
    whole = float(limits.rate_at(p, d, least).value)
    # Between the ends, at both, and beyond that of the rates.
    targets = whole * np.array([0.0, 0.3, 0.9, 1.5])
    if not by_rate:
        targets = least + (most - least) * np.array([0.0, 0.1, 0.7, 1.0, 1.2])
    wanted = [compiled(p, d, target) for target in targets]
    monkeypatch.setattr(_targets, "solve_point", None)
    monkeypatch.setattr(_targets, "_compiled", None)
    for mode in (jax.jacrev, jax.jacfwd):
        derivative = mode(
            lambda *problem: (
                function(*problem, tolerance=TOLERANCE, method="column_generation").value
            ),
            argnums=(0, 1, 2),
        )
        by_p, by_d, by_target = derivative(jnp.asarray(p), jnp.asarray(d), jnp.asarray(targets))
        found = zip(by_p, by_d, jnp.diagonal(by_target), strict=True)
        for ours, theirs in zip(found, wanted, strict=True):
            for part, same in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(part, same, rtol=1e-6, atol=1e-9)


def test_C8_on_a_straight_piece_and_at_the_ends():
    # An eraser of cost 0.3: below D_max = 0.3 the curve of a fair coin is a straight line.
    p, d = jnp.array([0.5, 0.5]), jnp.array([[0.0, 1.0, 0.3], [1.0, 0.0, 0.3]])
    gradient = jax.jit(
        jax.grad(lambda d, D: limits.rate_at(p, d, D, method="dense").value, argnums=(0, 1))
    )
    D = np.array([0.15, 0.2, 0.25])
    value = np.asarray(limits.rate_at(p, d, D, tolerance=TOLERANCE).value)
    chord = (value[2] - value[0]) / (D[2] - D[0])
    for index, distortion in enumerate(D):
        by_d, by_D = gradient(d, distortion)
        np.testing.assert_allclose(by_D, chord, rtol=1e-6)
        # All distortions scaled by t move R(D) like D scaled by 1 / t.
        np.testing.assert_allclose(jnp.sum(by_d * d), -chord * distortion, rtol=1e-6)
        assert by_d[0, 2] > 0, index
    by_d, by_D = gradient(d, 0.4)
    assert by_D == 0
    assert np.all(by_d == 0)
    _, by_D = gradient(d, 0.0)
    assert by_D == -STEEPEST
    at_zero_rate = jax.grad(lambda d: limits.distortion_at(p, d, 0.0, method="dense").value)(d)
    np.testing.assert_allclose(at_zero_rate, [[0, 0, 0.5], [0, 0, 0.5]], rtol=0, atol=1e-15)


def test_C8_duplicate_letters_do_not_disturb_the_derivatives():
    p, d, _ = _random(11)
    twice = jnp.concatenate([d, d[:, :2], d[:, :2]], axis=1)
    single, double = (
        jax.jacfwd(lambda s, table=table: _values(p, table, s)[1:])(SLOPES) for table in (d, twice)
    )
    np.testing.assert_allclose(double[0], single[0], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(double[1], single[1], rtol=1e-6, atol=1e-9)


def test_C8_a_letter_without_mass_has_its_one_sided_derivative():
    p, d = np.array([0.6, 0.4, 0.0]), 1 - np.eye(3)
    d[2] = [0.3, 0.8, 0.6]
    toward = np.array([-0.3, -0.7, 1.0])
    slopes = jnp.array([2.5])
    by_p = jax.jacfwd(lambda p: _values(p, d, slopes)[0])(p)
    step = 1e-5
    at = [float(_values(jnp.asarray(p + k * step * toward), d, slopes)[0][0]) for k in range(3)]
    measured = (-3 * at[0] + 4 * at[1] - at[2]) / (2 * step)
    np.testing.assert_allclose(by_p[0] @ toward, measured, rtol=1e-6)


def test_C8_forbidden_pairs_and_infinite_slope_give_no_nan():
    p = jnp.array([0.5, 0.3, 0.2])
    d = jnp.concatenate([jnp.where(jnp.eye(3) > 0, 0.0, jnp.inf), jnp.ones((3, 1))], axis=1)
    slopes = jnp.array([0.0, 1.7, jnp.inf])
    jacobian = jax.jacfwd(_values, argnums=(0, 1, 2))(p, d, slopes)
    curve = limits.rate_distortion_curve(p, d, slopes)
    assert np.all(np.isfinite(jacobian[1][1]))
    assert np.all(np.isfinite(jacobian[2][0]))
    # At slope inf the rate is H(p); p stands for p / sum(p).
    np.testing.assert_allclose(jacobian[2][0][2], -jnp.log2(p) - curve.rate[2], rtol=0, atol=1e-9)


def test_C8_vmap_of_grad_with_the_sequential_method():
    p, d, _ = _random(2)

    def rate(scale):
        return limits.rate_distortion_curve(p, scale * d, [4.0], method="auto").rate.value[0]

    scales = jnp.array([0.9, 1.2])
    batched = jax.jit(jax.vmap(jax.grad(rate)))(scales)
    dense = [
        jax.jacfwd(lambda s: _values(p, s * d, jnp.array([4.0]))[2][0])(scale) for scale in scales
    ]
    np.testing.assert_allclose(batched, dense, rtol=1e-6)


def test_C8_second_derivatives_through_the_search_are_refused():
    p, d, _ = _random(1)
    modes = jax.jacfwd, jax.grad
    limits_of = (
        lambda D: limits.rate_at(p, d, D).value,
        lambda rate: limits.distortion_at(p, d, rate=rate).value,
    )
    for limit, outer, inner in itertools.product(limits_of, modes, modes):
        for derivative in (outer(inner(limit)), jax.jit(outer(inner(limit)))):
            with pytest.raises(NotDifferentiableError, match="first derivatives only"):
                derivative(0.2)


@pytest.mark.parametrize("rate", [0.0, 1e-20, 1e-14, 1e-12, 1e-9, 1e-4])
def test_derivatives_near_rate_zero(rate):
    r"""A coin of bias p near D = p: $R = s_0 x + (a/2) x^2 + O(x^3)$ with x = p - D.

    Here $s_0 = \log_2((1-p)/p)$ and $a = 1/(p (1-p) \ln 2)$. At rate zero of the fair coin the
    tangent is vertical.
    """
    slope = jax.jit(jax.grad(lambda rate, p: limits.distortion_at(p, HAMMING, rate=rate).value))
    for p in (0.5, 0.4999, 0.3):
        first, second = np.log2((1 - p) / p), 1 / (p * (1 - p) * np.log(2))
        s = np.sqrt(first**2 + 2 * second * rate)
        # The next order: s changes by about x^2 of the third derivative.
        x = 2 * rate / (first + s) if s > 0 else 0.0
        wanted = -1 / s if s > 0 else -STEEPEST
        order = 5e-5 + 20 * x**2 / max(s, 1e-300)
        assert slope(rate, np.array([1 - p, p])) == pytest.approx(wanted, rel=order, abs=0)


def test_derivatives_near_the_largest_distortion():
    slope = jax.jit(jax.grad(lambda D, p: limits.rate_at(p, HAMMING, D).value))
    for p in (0.5, 0.4999, 0.3):
        for x in (1e-10, 1e-8, 1e-6, 1e-3):
            wanted = -np.log2((1 - p + x) / (p - x))
            assert slope(p - x, np.array([1 - p, p])) == pytest.approx(wanted, rel=2e-4, abs=0)
