"""C18: learned codes are certified optima of their samples, and their excess is measured exactly."""

import math
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import strategies as sts
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsim.finite_sample import plug_in_excess
from rdsim.finite_sample.plug_in_code import _solver_error
from rdsim.finite_sample.plug_in_optimum import solved_source

KEY = jax.random.key(2026)
SMALL_COIN = np.array([0.7, 0.3]), 1 - np.eye(2)
SLOPE = np.log2(9.0)
NINTH = np.longdouble(1) / 9
FALSE_ALARM = 1e-7

LETTERS = 8  # every problem is padded to one shape, so that JAX compiles once
draw = jax.jit(jax.random.multinomial)

# Compiled without optimisation, which takes a third of the time: digits are compared in the process.
TWO_DEVICES = """
import jax, numpy as np
from rdsim.finite_sample import plug_in_excess
one, two = (
    plug_in_excess(jax.random.key(2026), [0.7, 0.3], 1 - np.eye(2), np.log2(9.0), samples=50,
                   replications=150, block=64, devices=jax.devices()[:count])
    for count in (1, 2)
)
assert len(jax.devices()) == 2
for name in ("excess", "suboptimality", "solver_error", "letters"):
    np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
print(len(set(np.asarray(one.excess[0]).tolist())))
"""


def padded(p, d):
    """The same problem with letters without mass and reproductions that are never used."""
    p, d = np.asarray(p), np.asarray(d)
    wider = np.full((LETTERS, LETTERS), 1e6)
    wider[: d.shape[0], : d.shape[1]] = d
    return np.pad(p, (0, LETTERS - p.size)), wider


COIN = padded(*SMALL_COIN)


def solved(p, d, slope):
    """Optimal output marginal and its gap, of a problem padded like all others."""
    problem = solved_source(*map(jnp.asarray, padded(p, d)), jnp.asarray(slope))
    return np.asarray(problem.q)[: d.shape[1]], float(problem.suboptimality)


def coin_marginal(frequency, theta=1 / 9):
    """Optimal probability of letter one of a coin under Hamming distortion at 2^-s = theta."""
    return np.clip((frequency * (1 + theta) - theta) / (1 - theta), 0.0, 1.0)


def coin_excess(ones, samples, theta=NINTH):
    """F(q_N) - F(q*) of the coin, in long doubles, from the number of ones."""
    number, p = np.longdouble, np.longdouble("0.3")
    frequency = np.asarray(ones, number) / samples
    q = np.clip((frequency * (1 + theta) - theta) / (1 - theta), number(0), number(1))
    best = np.clip((p * (1 + theta) - theta) / (1 - theta), number(0), number(1))

    def lagrangian(q):
        return -p * np.log(q + theta * (1 - q)) - (1 - p) * np.log(1 - q + theta * q)

    return lagrangian(q) - lagrangian(best)


def coin_mean(samples):
    """Exact mean excess of the coin: a sum over the number of ones."""
    ones = np.arange(samples + 1)
    return float(np.sum(scipy.stats.binom.pmf(ones, samples, 0.3) * coin_excess(ones, samples)))


@pytest.mark.parametrize(("samples", "expected"), [(100, 0.511206), (1000, 0.501072)])
def test_C18_mean_excess_of_the_coin_is_its_exact_sum(samples, expected):
    assert samples * coin_mean(samples) == pytest.approx(expected, abs=1e-6)
    measured = plug_in_excess(KEY, *COIN, SLOPE, samples=samples, replications=10_000)
    assert bool(measured.mean(confidence=1 - FALSE_ALARM).covers(coin_mean(samples))[0])


@pytest.mark.parametrize(
    ("samples", "slope", "theta"),
    [(N, SLOPE, NINTH) for N in (3, 50, 10**4, 10**9)] + [(50, 1.0, np.longdouble(0.5))],
)
def test_every_replication_is_the_closed_form_of_its_own_samples(samples, slope, theta):
    """The coin is padded with letters that have no mass: they are never drawn.

    At slope 1 the optimum uses one letter, and learned codes often two.
    """
    found = plug_in_excess(KEY, *COIN, slope, samples=samples, replications=60)
    counts = [draw(jax.random.fold_in(KEY, t), float(samples), COIN[0]) for t in range(60)]
    ones = np.stack(counts)[:, 1]
    expected = np.asarray(coin_excess(ones, samples, theta), float)
    excess, error = np.asarray(found.excess[0]), np.asarray(found.solver_error[0])
    assert np.all(np.abs(excess - expected) <= error + 1e-12 * expected)
    drawn = (ones > 0) & (ones < samples)
    np.testing.assert_array_equal(np.isfinite(error), drawn)
    # The error bound is of use: far below the excess, at every N.
    assert np.all(samples * error[drawn] < 0.05)
    used = coin_marginal(ones / samples, float(theta))
    np.testing.assert_array_equal(found.letters[0], 1 + ((used > 1e-9) & (used < 1 - 1e-9)))
    np.testing.assert_array_equal(found.same_support[0], found.letters[0] == 1 + (slope > 2))
    assert bool(jnp.all(found.converged))


@pytest.mark.parametrize("slope", [60.0, 3000.0])
def test_a_letter_that_was_not_drawn_may_be_out_of_reach_but_not_at_infinity(slope):
    """Two samples of one letter: the other is reproduced wrongly, at s ln 2 nats."""
    p = np.array([0.99, 0.01])
    found = plug_in_excess(KEY, *padded(p, SMALL_COIN[1]), slope, samples=2, replications=20)
    ones = [
        draw(jax.random.fold_in(KEY, t), 2.0, np.pad(p, (0, LETTERS - 2)))[1] for t in range(20)
    ]
    alone = np.array(ones) == 0
    assert alone.sum() > 10
    # At such slopes the optimum is q = p, but for terms below 2^-slope.
    expected = 0.01 * slope * math.log(2) + 0.99 * math.log(0.99) + 0.01 * math.log(0.01)
    np.testing.assert_allclose(np.asarray(found.excess[0])[alone], expected, rtol=1e-12)


@given(
    sts.pmfs(5), sts.distortions((5, 4)), st.floats(0.05, 15.0), st.sampled_from((0, 1, 2, 3, 4))
)
@settings(max_examples=25)
def test_C18_the_code_is_optimal_within_its_certificate(frequencies, d, slope, seed):
    q, gap = solved(frequencies, d, slope)
    K = 2.0 ** (-slope * (d - d.min(axis=1, keepdims=True)))
    seen = frequencies > 0

    def lagrangian(q):
        return -np.sum(frequencies[seen] * np.log(K[seen] @ q))

    assert abs(q.sum() - 1) < 1e-12
    assert np.all(q >= 0)
    assert gap < 1e-12
    start = np.random.default_rng(seed).dirichlet(np.ones(4))
    rival = scipy.optimize.minimize(
        lagrangian,
        start,
        method="SLSQP",
        bounds=[(1e-12, 1)] * 4,
        constraints={"type": "eq", "fun": lambda q: q.sum() - 1},
        options={"ftol": 1e-13},
    )
    weights = np.clip(rival.x, 1e-12, None)
    for other in (start, weights / weights.sum()):
        assert lagrangian(q) <= lagrangian(other) + gap + 1e-15
    # The gap is no empty number: a code moved away from the optimum fails it.
    assert lagrangian(q) <= lagrangian(0.999 * q + 0.001 * start) + gap


@given(sts.pmfs(5), sts.distortions((5, 4)), st.floats(0.05, 15.0))
@settings(max_examples=25)
def test_error_bounds_the_distance_of_any_near_optimum(p, d, slope):
    """A code at a known gap stands for a solver that stopped early."""
    K = 2.0 ** (-slope * (d - d.min(axis=1, keepdims=True)))
    frequencies = 0.5 * p + 0.1
    best = solved(frequencies, d, slope)[0]
    for share in (1e-3, 1e-5):
        early = (1 - share) * best + share / 4
        moved = np.log((K @ early) / (K @ best))
        gap = max(-frequencies @ moved, 0.0) + 1e-14
        bound = float(_solver_error(jnp.asarray(p), jnp.asarray(frequencies), jnp.asarray(gap)))
        assert abs(p @ moved) <= bound


def test_excess_matches_the_difference_of_two_lagrangians():
    """The sum without cancellation against the plain difference, in long doubles."""
    generator = np.random.default_rng(4)
    p, d = generator.dirichlet(np.ones(5)), generator.uniform(size=(5, 4))
    problem = padded(p, d)
    found = plug_in_excess(KEY, *problem, 20.0, samples=[20, 10**7], replications=40)
    best = np.asarray(found.output_marginal, np.longdouble)[:4]
    K = 2.0 ** (-20.0 * np.asarray(d, np.longdouble))
    for row, samples in enumerate((20, 10**7)):
        for t in (0, 7, 39):
            counts = draw(jax.random.fold_in(KEY, t), float(samples), problem[0])
            q = np.asarray(solved(counts[:5] / samples, d, 20.0)[0], np.longdouble)
            direct = float(-np.sum(p * np.log((K @ q) / (K @ best))))
            assert direct > 1e-10
            assert float(found.excess[row, t]) == pytest.approx(direct, rel=1e-6, abs=0)


def test_numbers_do_not_depend_on_replications():
    many = plug_in_excess(KEY, *COIN, SLOPE, samples=50, replications=600)
    few = plug_in_excess(KEY, *COIN, SLOPE, samples=[7, 50], replications=300)
    np.testing.assert_array_equal(many.excess[0, :300], few.excess[1])
    assert len(set(np.asarray(few.excess[1]).tolist())) > 15


def test_numbers_do_not_depend_on_devices():
    script = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES],
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(script.stdout) > 10


def test_mean_is_students_interval():
    found = plug_in_excess(KEY, *COIN, SLOPE, samples=50, replications=200)
    values = np.asarray(found.excess[0])
    low, high = scipy.stats.t.interval(0.9, 199, values.mean(), scipy.stats.sem(values))
    interval = found.mean(confidence=0.9)
    assert float(interval.lower[0]) == pytest.approx(low, rel=1e-12, abs=0)
    assert float(interval.upper[0]) == pytest.approx(high, rel=1e-12, abs=0)
    with pytest.raises(ValueError, match="confidence must lie in"):
        found.mean(confidence=1.0)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"key": 3}, TypeError, "key must be a typed key"),
        ({"p": [0.7, 0.7]}, ValueError, "p must sum to one"),
        ({"p": [0.5, 0.3, 0.2]}, ValueError, "distortions must have one row a source letter"),
        (
            {"distortions": [[0.0, np.inf], [1.0, 0.0]]},
            ValueError,
            r"distortions must lie in \[0, inf\)",
        ),
        (
            {"distortions": np.zeros((2, 0))},
            ValueError,
            "one row a source letter and at least one column",
        ),
        ({"slope": 0.0}, ValueError, r"slope must lie in \(0, inf\)"),
        ({"slope": np.inf}, ValueError, "slope must lie in"),
        ({"samples": 0}, ValueError, "samples must be in"),
        ({"samples": [10, 2.5]}, TypeError, "samples must be an integer"),
        ({"samples": []}, ValueError, "samples must hold at least one integer"),
        ({"replications": 1}, ValueError, "replications must be in"),
        ({"block": 0}, ValueError, "block must be in"),
        ({"tolerance": 0.0}, ValueError, "tolerance must lie in"),
        ({"devices": []}, TypeError, "devices must be a sequence"),
    ],
)
def test_bad_inputs_are_named(change, error, message):
    p, d = SMALL_COIN
    arguments = {"key": KEY, "p": p, "distortions": d, "slope": SLOPE, "samples": 10} | change
    with pytest.raises(error, match=message):
        plug_in_excess(**arguments)
