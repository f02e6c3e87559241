"""The engine in one process: exact sums, numbered trials, stopping, bad input."""

import sys
from fractions import Fraction
from functools import cache

import engine_worker as worker
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import example, given
from hypothesis import strategies as st

from rdsim import simulation
from rdsim.simulation.engine import stopping

KEY = jax.random.key(8)
LARGEST = 2000


def dyadic(key, offset):
    """Losses that float64, the fixed point and a Fraction all hold without rounding."""
    bits = jax.random.bits(key, (), jnp.uint64)
    share = (bits >> 14) * 2.0**-50
    return {"event": bits % 3 == 0, "losses": [share, 4 * share - 2 + offset]}


@cache
def dyadic_values():
    keys = [jax.random.fold_in(KEY, t) for t in range(LARGEST)]
    return np.array(jax.vmap(lambda k: jax.random.bits(k, (), jnp.uint64))(jnp.stack(keys)))


@given(st.integers(2, LARGEST), st.integers(1, 9))
@example(LARGEST, 3)
@example(64, 1)
def test_sums_are_those_of_rational_arithmetic(trials, chunk):
    result = simulation.run_trials(
        KEY,
        dyadic,
        0.0,
        trials=trials,
        run=simulation.RunOptions(chunk=chunk, block=64),
        bounds={"losses.1": (-2, 2)},
    )
    event, (plain, wide) = result.estimates["event"], result.estimates["losses"]
    values = dyadic_values()[:trials]
    assert float(event.mean) == int((values % 3 == 0).sum()) / trials
    shares = [Fraction(int(value) >> 14, 2**50) for value in values]
    mean = sum(shares) / trials
    variance = sum((share - mean) ** 2 for share in shares) / (trials - 1)
    assert float(plain.mean) == float(mean)
    assert float(result.variances["losses"][0]) == float(variance)
    assert float(wide.mean) == pytest.approx(float(4 * mean - 2), abs=1e-15)
    assert float(result.variances["losses"][1]) == pytest.approx(
        16 * float(variance), rel=1e-15, abs=0
    )
    assert int(result.trials) == int(plain.trials) == trials
    assert bool(result.converged)


def test_intervals_are_those_of_the_samples():
    result = simulation.run_trials(
        KEY,
        dyadic,
        0.0,
        trials=LARGEST,
        run=simulation.RunOptions(block=64),
        bounds={"losses.1": (-2, 2)},
        confidence=0.9,
    )
    expected = simulation.empirical_bernstein((dyadic_values() >> 14) * 2.0**-50, confidence=0.9)
    plain, wide = result.estimates["losses"]
    for end, sign in (("lower", -1), ("upper", 1)):
        moved = sign * (float(getattr(plain, end)) - float(getattr(expected, end)))
        assert 2**-50 <= moved <= 2**-48  # wider by twice the quantisation
        assert float(getattr(wide, end)) == pytest.approx(4 * float(getattr(plain, end)) - 2)
    exact = simulation.clopper_pearson(
        int((dyadic_values() % 3 == 0).sum()), LARGEST, confidence=0.9
    )
    event = result.estimates["event"]
    for field in ("mean", "lower", "upper"):
        assert float(getattr(event, field)) == pytest.approx(
            float(getattr(exact, field)), rel=1e-12
        )
    share = float(event.mean)
    assert float(result.variances["event"]) == pytest.approx(
        share * (1 - share) * LARGEST / (LARGEST - 1)
    )
    assert (event.confidence, plain.confidence) == (0.9, 0.9)


def test_sums_beyond_64_bits_are_exact():
    """2^15 losses of 1 in one block are 2^65 units of the fixed point, their squares 2^115."""
    result = simulation.run_trials(
        KEY,
        lambda key, _: jax.random.bits(key) >= 0.0 * jnp.ones(()),
        trials=2**15,
        run=simulation.RunOptions(block=2**15),
    )
    assert result.estimates.mean == 1
    result = simulation.run_trials(
        KEY,
        lambda key, _: jnp.ones(()),
        trials=2**15 - 1,
        run=simulation.RunOptions(block=2**15),
        bounds={"value": (-1, 1)},
    )
    assert float(result.estimates.mean) == 1
    assert float(result.variances) == 0


def test_settings_do_not_depend_on_each_other():
    grid = worker.run()
    for setting in (0, 2):
        alone = simulation.run_trials(
            jax.random.fold_in(worker.KEY, setting),
            worker.trial,
            worker.SCALES[setting],
            trials=3001,
            run=simulation.RunOptions(block=64),
        )
        chosen = jax.tree.map(lambda leaf, s=setting: leaf[s], grid)
        assert worker.digits(chosen) == worker.digits(alone)
    assert grid.estimates["pair"].mean.shape == (3, 2)


def test_common_settings_share_their_draws():
    result = simulation.run_trials(
        KEY,
        lambda key, scale: jax.random.uniform(key) < scale,
        np.array([0.5, 0.5, 0.2]),
        trials=500,
        settings="common",
    )
    draws = [float(jax.random.uniform(jax.random.fold_in(KEY, t))) for t in range(500)]
    counts = [sum(draw < scale for draw in draws) for scale in (0.5, 0.5, 0.2)]
    np.testing.assert_array_equal(result.estimates.mean, np.array(counts) / 500)


@pytest.mark.parametrize("chunk", [1, 4, 50])
def test_result_does_not_depend_on_the_chunk(chunk):
    assert worker.digits(worker.run(chunk=chunk)) == worker.digits(worker.run())
    target = worker.TARGET
    assert worker.digits(worker.run(**target, chunk=chunk)) == worker.digits(worker.run(**target))


def test_looks_are_fixed_and_share_the_confidence():
    looks = stopping.looks(10_000)
    assert looks == (1024, 1448, 2048, 2896, 4096, 5792, 8192, 10_000)
    assert stopping.looks(1024) == (1024,)
    assert stopping.looks(7) == (7,)
    width = 0.045
    result = worker.run(trials=None, target_width={"event": width}, cap=10_000, confidence=0.9)
    assert np.asarray(result.converged).all()
    assert len(set(np.asarray(result.trials).tolist())) > 1  # settings stop at their own looks
    for setting, trials in enumerate(np.asarray(result.trials)):
        event = jax.tree.map(lambda leaf, s=setting: leaf[s], result.estimates["event"])
        for look in looks[: looks.index(trials) + 1]:
            fixed = worker.run(trials=look).estimates["event"].mean[setting]
            split = simulation.clopper_pearson(
                round(float(fixed) * look), look, confidence=1 - 0.1 / len(looks)
            )
            stops = float(split.upper - split.lower) <= width
            assert stops == (look == trials)
        assert float(event.upper) == float(split.upper)
        assert float(event.lower) == float(split.lower)
        assert event.confidence == 0.9


def test_the_cap_ends_a_run_that_has_not_converged():
    result = worker.run(trials=None, target_width=1e-3, cap=1500)
    assert np.asarray(result.trials).tolist() == [1500] * 3
    assert not np.asarray(result.converged).any()
    mixed = worker.run(trials=None, target_width={"pair": 0.02}, cap=2048)
    assert 0 < np.asarray(mixed.converged).sum() < 3


def test_intervals_cover_at_the_time_of_stopping():
    """200 settings at 0.9: more than 43 misses have probability below 1e-6 if coverage holds."""
    probabilities = np.linspace(0.02, 0.98, 200)
    result = simulation.run_trials(
        KEY,
        lambda key, probability: jax.random.uniform(key) < probability,
        probabilities,
        target_width=0.05,
        cap=3000,
        confidence=0.9,
        settings="independent",
    )
    assert scipy.stats.binom.sf(43, 200, 0.1) < 1e-6
    assert int((~np.asarray(result.estimates.covers(probabilities))).sum()) <= 43
    assert len(set(np.asarray(result.trials).tolist())) >= 3


def test_progress_is_shown_only_when_asked(capsys):
    worker.run(trials=200)
    assert capsys.readouterr() == ("", "")
    worker.run(trials=200, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "trial" in err
    assert "200/200" in err


def test_without_rich_progress_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(ImportError, match="pip install rich"):
        worker.run(trials=200, progress=True)


def outside(key, arguments):
    return {"loss": jnp.where(jax.random.uniform(key) < 0.01, arguments, 0.5)}


@pytest.mark.parametrize("value", [1.0000001, -0.01, np.nan, np.inf])
def test_losses_outside_their_bounds_are_an_error(value):
    with pytest.raises(
        ValueError, match=r"loss 'loss' must lie in \[0, 1\]; \d+ values in trials 0"
    ):
        simulation.run_trials(KEY, outside, value, trials=1000)


def test_losses_at_their_bounds_are_none():
    assert float(simulation.run_trials(KEY, outside, 1.0, trials=1000).estimates["loss"].mean) > 0.5


class Unhashable:
    __hash__ = None

    def __call__(self, _key, _arguments):
        return True


def ok(arguments=None, **options):
    return simulation.run_trials(
        KEY,
        lambda key, scale: {"event": jax.random.bits(key) > 7},
        arguments,
        **worker.with_run(**options),
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ok(), ValueError, "either trials, or target_width and cap"),
        (lambda: ok(trials=9, target_width=0.1, cap=9), ValueError, "either trials, or"),
        (lambda: ok(trials=9, cap=9), ValueError, "either trials, or target_width and cap"),
        (lambda: ok(target_width=0.1), ValueError, "either trials, or target_width and cap"),
        (lambda: ok(trials=1), ValueError, "trials must be in"),
        (lambda: ok(trials=2**32 + 1), ValueError, "trials must be in"),
        (lambda: ok(trials=3.0), TypeError, "trials must be an integer"),
        (lambda: ok(target_width=0.0, cap=9), ValueError, "target_width must lie in"),
        (lambda: ok(target_width={"miss": 0.1}, cap=9), ValueError, r"target_width names \['miss'"),
        (lambda: ok(target_width={}, cap=9), ValueError, "target_width names"),
        (lambda: ok(target_width=0.1, cap=1), ValueError, "cap must be in"),
        (lambda: ok(trials=9, confidence=1.0), ValueError, "confidence must lie in"),
        (lambda: ok(trials=9, block=0), ValueError, "block must be in"),
        (lambda: ok(trials=9, chunk=0), ValueError, "chunk must be at least"),
        (lambda: ok(trials=9, checkpoint_seconds=-1), ValueError, "checkpoint_seconds must lie"),
        (lambda: ok(trials=9, checkpoint=3), TypeError, "checkpoint must be a path"),
        (
            lambda: simulation.run_trials(KEY, dyadic, 0.0, trials=9, run={"block": 3}),
            TypeError,
            "run",
        ),
        (lambda: ok(trials=9, settings="grid"), ValueError, "settings must be one of"),
        (lambda: ok(trials=9, settings="common"), ValueError, "share a leading settings axis"),
        (lambda: ok(2.0, trials=9, settings="common"), ValueError, "share a leading settings axis"),
        (lambda: ok([[1.0], []], trials=9, settings="common"), ValueError, "share a leading"),
        (lambda: ok("text", trials=9), TypeError, "arguments must hold arrays of numbers"),
        (lambda: ok({"k": KEY}, trials=9), TypeError, "arguments must hold .* at 'k'"),
        (lambda: ok(trials=9, bounds={"event": (0, 1)}), ValueError, "bounds names"),
        (lambda: ok(trials=9, bounds={"event": (1, 1)}), ValueError, "low < high"),
        (lambda: ok(trials=9, bounds={"event": (0, np.inf)}), ValueError, "must be finite"),
        (lambda: ok(trials=9, bounds=(0, 1)), TypeError, "bounds must map names"),
        (lambda: ok(trials=9, devices=[]), TypeError, "devices must be a sequence"),
        (lambda: ok(trials=9, devices=[3]), TypeError, "devices must be a sequence"),
        (lambda: ok(trials=9, devices=jax.devices()[:1] * 2), ValueError, "must not repeat"),
        (lambda: simulation.run_trials(KEY, 3, trials=9), TypeError, "trial must be a hashable"),
        (lambda: simulation.run_trials(KEY, Unhashable(), trials=9), TypeError, "hashable"),
        (lambda: simulation.run_trials(KEY, lambda k, a: 3, trials=9), TypeError, "must return"),
        (lambda: simulation.run_trials(KEY, lambda k, a: {}, trials=9), ValueError, "at least one"),
        (lambda: simulation.run_trials(0, lambda k, a: True, trials=9), TypeError, "key must be"),
        (lambda: jax.jit(lambda x: ok(x, trials=9).trials)(1.0), TypeError, "cannot be traced"),
    ],
)
@pytest.mark.usefixtures("unchecked_annotations")
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


JUNK = ("x", -1, 1.5, np.nan, [], {}, [None], object(), 1j)


@pytest.mark.parametrize("name", ["block", "chunk", "devices", "checkpoint", "checkpoint_seconds"])
def test_options_that_make_no_sense_are_named(name):
    for junk in JUNK:
        if (name, junk) in (("checkpoint", "x"), ("checkpoint_seconds", 1.5)):
            continue
        with pytest.raises((ValueError, TypeError), match=name):
            simulation.RunOptions(**{name: junk})
