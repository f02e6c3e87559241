"""Wyner-Ziv: the general solver meets the closed forms, and its certificate is an error bar."""

import itertools

import jax
import numpy as np
import pytest
import strategies
from hypothesis import given, settings
from scipy.optimize import brentq

from rdsim.limits import rate_at
from rdsim.limits.side_information import _strategies
from rdsim.limits.side_information.both_ends import conditional_rate_at
from rdsim.limits.side_information.closed_forms import wyner_ziv_dsbs, wyner_ziv_gaussian
from rdsim.limits.side_information.decoder_only import wyner_ziv, wyner_ziv_at

HAMMING = 1 - np.eye(2)


def dsbs(crossover):
    return np.array([[1 - crossover, crossover], [crossover, 1 - crossover]]) / 2


def h(p):
    return 0.0 if p in (0, 1) else -p * np.log2(p) - (1 - p) * np.log2(1 - p)


def plain_alternating(joint, d, slope, steps):
    """Alternating minimisation over q(t|z) in NumPy: Lagrangian achieved and its lower bound."""
    p, pz = joint.sum(axis=1), joint.sum(axis=0)
    ys, zs = joint.shape
    table = list(itertools.product(range(d.shape[1]), repeat=zs))
    backward = np.array([joint[y] / p[y] if p[y] > 0 else pz for y in range(ys)])
    cost = np.array(
        [[sum(backward[y, z] * d[y, t[z]] for z in range(zs)) for t in table] for y in range(ys)]
    )
    q = np.full((len(table), zs), 1 / len(table))
    for _ in range(steps):
        exponent = backward @ np.log2(np.maximum(q, 1e-300)).T - slope * cost
        top = exponent.max(axis=1, keepdims=True)
        weight = 2.0 ** (exponent - top)
        Z = weight.sum(axis=1, keepdims=True)
        channel = weight / Z
        F = -p @ (np.log2(Z) + top)[:, 0]
        flow = (p[:, None] * channel).T @ backward
        lower = F - (np.sum((flow / np.maximum(q, 1e-300)).max(axis=0)) - 1) / np.log(2)
        q = flow / np.where(pz > 0, pz, 1)
    # I(Y;T|Z) by its definition, one cell after the other.
    rate = 0.0
    for y, z, t in itertools.product(range(ys), range(zs), range(len(table))):
        mass = joint[y, z] * channel[y, t]
        if mass > 0:
            rate += mass * np.log2(channel[y, t] / q[t, z])
    return rate + slope * np.sum(p[:, None] * channel * cost), lower


def test_C6_reference_values():
    np.testing.assert_allclose(
        wyner_ziv_dsbs(0.25, distortion=[0.05, 0.10]),
        [0.562151221, 0.411179440],
        rtol=0,
        atol=6e-10,
    )
    assert float(wyner_ziv_gaussian(0.8, variance=1.0, distortion=0.1)) == pytest.approx(
        0.923998453, abs=6e-10
    )


@pytest.mark.parametrize("a", [0.05, 0.25, 0.4])
def test_C6_binary_closed_form_is_the_lower_envelope(a):
    def g(D):
        m = a * (1 - D) + D * (1 - a)
        return h(m) - h(D)

    def tangent_misses(D):
        m = a * (1 - D) + D * (1 - a)
        return g(D) - (D - a) * ((1 - 2 * a) * np.log2((1 - m) / m) - np.log2((1 - D) / D))

    # The tangent through (a, 0) is g(D) = (D - a) g'(D).
    critical = brentq(tangent_misses, 1e-9, a * (1 - 1e-9), xtol=1e-15)
    for D in np.linspace(0, a, 12):
        exact = g(D) if critical >= D else g(critical) * (a - D) / (a - critical)
        assert float(wyner_ziv_dsbs(a, distortion=D)) == pytest.approx(exact, abs=1e-11)
        assert float(wyner_ziv_dsbs(1 - a, distortion=D)) == pytest.approx(exact, abs=1e-11)
    assert (
        float(wyner_ziv_dsbs(a, distortion=critical * 1.5)) < g(critical * 1.5)
        or critical * 1.5 > a
    )


def test_C6_edges_of_the_closed_forms():
    np.testing.assert_array_equal(wyner_ziv_dsbs(0.0, distortion=[0.0, 0.1]), [0, 0])
    np.testing.assert_allclose(
        wyner_ziv_dsbs(0.5, distortion=[0.0, 0.11]), [1.0, 1 - h(0.11)], rtol=0, atol=1e-12
    )
    np.testing.assert_array_equal(
        wyner_ziv_gaussian(0.6, variance=2.0, distortion=[0.0, 1.3, 3.0]), [np.inf, 0, 0]
    )
    np.testing.assert_array_equal(wyner_ziv_gaussian(1.0, variance=2.0, distortion=[0.0]), [0.0])


def test_C6_general_solver_meets_the_binary_closed_form_on_curve_and_tangent():
    a, D = 0.25, np.array([0.0, 0.01, 0.05, 0.1, 0.17, 0.2, 0.23, 0.2499, 0.25, 0.4])
    limit = wyner_ziv_at(dsbs(a), HAMMING, D, compress="rows")
    exact = np.asarray(wyner_ziv_dsbs(a, distortion=D))
    assert np.all(limit.converged)
    np.testing.assert_allclose(limit.value, exact, rtol=0, atol=1e-9)
    assert np.all(limit.lower <= exact + 1e-12)
    assert np.all(exact <= limit.upper + 1e-12)


def test_C6_points_of_the_binary_curve_and_ends():
    curve = wyner_ziv(dsbs(0.25), HAMMING, [0.0, 2.5, 6.0, np.inf], compress="rows")
    assert np.all(curve.converged)
    np.testing.assert_allclose(
        curve.rate, wyner_ziv_dsbs(0.25, distortion=curve.distortion), rtol=0, atol=1e-9
    )
    assert float(curve.distortion[0]) == pytest.approx(0.25)
    np.testing.assert_allclose(curve.test_channel.sum(axis=2), 1.0, rtol=1e-12)


def _information(joint, curve, point):
    channel = np.asarray(curve.test_channel[point])
    table = joint[:, :, None] * channel[:, None, :]

    def entropy(x):
        x = x[x > 0]
        return -np.sum(x * np.log2(x))

    # I(Y;T|Z) = H(YZ) + H(TZ) - H(Z) - H(YZT)
    return (
        entropy(table.sum(axis=2))
        + entropy(table.sum(axis=0))
        - entropy(table.sum(axis=(0, 2)))
        - entropy(table)
    )


@settings(max_examples=12)
@given(strategies.joint_pmfs((4, 3)), strategies.distortions((4, 3)), strategies.slopes())
def test_C5_certificate_is_an_error_bar_against_plain_alternation(joint, d, slope):
    curve = wyner_ziv(joint, d, [slope], compress="rows")
    # 1e-12 masses put some problems out of reach: those must say so, and be true all the same.
    value = float(curve.rate[0] + slope * curve.distortion[0])
    assert value >= 0
    upper, lower = plain_alternating(joint, d, slope, 200)
    slack = 1e-10 * (1 + slope)
    assert value - float(curve.gap[0]) <= upper + slack
    assert lower <= value + slack
    assert float(curve.rate[0]) == pytest.approx(_information(joint, curve, 0), abs=1e-9)
    table = np.asarray(curve.strategies)
    spent = sum(
        joint[y, z] * d[y, table[:, z]] @ np.asarray(curve.test_channel[0, y])
        for y in range(4)
        for z in range(3)
    )
    assert float(curve.distortion[0]) == pytest.approx(spent, abs=1e-10)
    assert curve.gap[0] < 1e-5


@settings(max_examples=6)
@given(strategies.joint_pmfs((4, 3)), strategies.distortions((4, 3)))
def test_C6_lies_between_the_conditional_and_the_plain_rate(joint, d):
    p = joint.sum(axis=1)
    low = p @ d.min(axis=1)
    D = low + np.array([0.0, 0.2, 0.7]) * ((p @ d).min() - low)
    limit = wyner_ziv_at(joint, d, D, compress="rows")
    assert np.all(conditional_rate_at(joint, d, D, compress="rows").lower <= limit.upper + 1e-9)
    assert np.all(limit.lower <= rate_at(p, d, D).upper + 1e-9)
    assert np.all(limit.lower <= limit.upper)


@pytest.mark.parametrize("seed", range(3))
def test_C5_ordinary_problems_reach_the_tolerance(seed):
    generator = np.random.default_rng(seed)
    joint = generator.dirichlet(np.ones(12)).reshape(4, 3)
    d = generator.uniform(size=(4, 3))
    curve = wyner_ziv(joint, d, [0.5, 2.0, 8.0, 30.0, np.inf], compress="rows")
    assert np.all(curve.converged)
    limit = wyner_ziv_at(joint, d, curve.distortion, compress="rows")
    assert np.all(limit.converged)
    np.testing.assert_allclose(limit.value, curve.rate, rtol=0, atol=2e-9)


def _dense_direction(problem, Q, flow, q, product, right):
    """Newton's step from the whole matrix and its constraints, assembled entry by entry."""
    p, B, _ = problem
    strategies, zs = q.shape
    n = strategies * zs
    matrix = np.zeros((n + zs, n + zs))
    for t in range(strategies):
        here = slice(t * zs, (t + 1) * zs)
        joint = p * Q[:, t]
        matrix[here, here] = np.diag(flow[t] + product[t]) - np.einsum("y,yz,yw->zw", joint, B, B)
        matrix[here, n:] = np.diag(q[t])
    pull = (Q[:, :, None] * B[:, None, :]).reshape(p.size, n)
    matrix[:n, :n] += pull.T @ (p[:, None] * pull)
    matrix[n:, :n] = matrix[:n, n:].T
    sides = np.concatenate([right.ravel(), 1 - q.sum(axis=0)])
    return np.linalg.solve(matrix, sides)[:n].reshape(q.shape)


@pytest.mark.parametrize("barrier", [1e-1, 1e-5, 1e-10])
def test_C5_newton_step_by_blocks_is_that_of_the_whole_matrix(barrier):
    generator = np.random.default_rng(8)
    ys, zs, strategies = 3, 3, 27
    p, B = generator.dirichlet(np.ones(ys)), generator.dirichlet(np.ones(zs), ys)
    problem = _strategies.StrategyProblem(p, B, generator.uniform(size=(ys, strategies)))
    # Two strategies carry nearly all mass, as they do late on the central path.
    q = np.full((strategies, zs), 20 * barrier)
    q[:2] = [[0.3, 0.6, 0.8], [0.7, 0.4, 0.2]]
    q /= q.sum(axis=0)
    Q, _ = _strategies._strategy_channel(problem, -problem.excess, q)
    flow = (p[:, None] * Q).T @ B
    product = barrier * generator.uniform(0.5, 2.0, q.shape)
    arguments = Q, flow, q, product, flow + barrier
    found = _strategies._newton_direction(problem, *(each[None] for each in arguments))[0]
    wanted = _dense_direction(problem, *arguments)
    # Both systems are as ill-conditioned as one over the barrier.
    assert np.max(np.abs(found - wanted)) <= 1e-14 / barrier * np.max(np.abs(wanted))


def test_C5_five_letters_with_thousands_of_strategies_are_certified():
    # Y is Z but for an error: Hamming at the decoder alone costs no less than at both ends.
    joint = np.where(np.eye(5, dtype=bool), 0.8, 0.05) / 5
    curve = wyner_ziv(joint, 1 - np.eye(5), [3.0, 8.0], compress="rows")
    assert curve.test_channel.shape == (2, 5, 5**5)
    assert np.all(curve.converged)
    both = conditional_rate_at(joint, 1 - np.eye(5), curve.distortion, compress="rows")
    assert np.all(both.lower <= curve.rate.upper + 1e-9)
    assert np.all(curve.distortion <= 0.2 + 1e-9)


def test_C5_independent_side_information_is_useless_and_the_letter_itself_suffices():
    p, d = np.array([0.4, 0.3, 0.2, 0.1]), (1 - np.eye(4))[:, :3]
    D = np.array([0.15, 0.3, 0.4])
    useless = wyner_ziv_at(np.outer(p, [0.2, 0.3, 0.5]), d, D, compress="rows")
    np.testing.assert_allclose(useless.value, rate_at(p, d, D).value, rtol=0, atol=2e-9)
    told = np.zeros((4, 3))
    told[[0, 1, 2, 3], [0, 1, 2, 2]] = p
    assert np.max(wyner_ziv_at(told, d, D, compress="rows").upper) <= 1e-9


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: wyner_ziv([[0.5, 0.4]], HAMMING, [1.0], compress="rows"),
            "joint must sum to one",
        ),
        (
            lambda: wyner_ziv(dsbs(0.1), np.eye(3), [1.0], compress="rows"),
            "one row a letter y of the joint",
        ),
        (lambda: wyner_ziv(dsbs(0.1), HAMMING, [-1.0], compress="rows"), "slopes must lie in"),
        (
            lambda: wyner_ziv(dsbs(0.1), HAMMING, [1.0], tolerance=0.0, compress="rows"),
            "tolerance must lie in",
        ),
        (
            lambda: wyner_ziv(np.full((4, 8), 1 / 32), np.ones((4, 4)), [1.0], compress="rows"),
            r"\|U\|\^\|Z\| = 4\^8 = 65536 strategies",
        ),
        (
            lambda: wyner_ziv_at(dsbs(0.1), HAMMING + 0.5, 0.4, compress="rows"),
            r"at least D_min = 0\.5, got 0\.4",
        ),
        (
            lambda: wyner_ziv_at(dsbs(0.1), HAMMING, np.nan, compress="rows"),
            "must not contain NaN",
        ),
        (lambda: wyner_ziv_dsbs(1.5, distortion=0.1), "crossover must lie in"),
        (lambda: wyner_ziv_gaussian(0.5, variance=0.0, distortion=0.1), "variance must lie in"),
        (lambda: wyner_ziv_gaussian(1.5, variance=1.0, distortion=0.1), "correlation must lie in"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_float32_is_refused():
    with jax.enable_x64(False), pytest.raises(RuntimeError, match="jax_enable_x64"):
        wyner_ziv(dsbs(0.1), HAMMING, [1.0], compress="rows")
