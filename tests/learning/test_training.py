"""The training loop: its steps, early stopping, divergence, and runs side by side."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from line_fit import PLAN, SCALES, Fit, by_hand, reference, runs, same, trained

from rdsim.learning.training import loop as training
from rdsim.learning.training.parameter_vector import layout_of, vector
from rdsim.learning.training.schedule import Schedule
from rdsim.learning.training.trained import TrainingDivergedError


def test_every_step_is_clipped_adam_with_warm_up_cosine_and_decay():
    result = reference()
    np.testing.assert_array_equal(result.steps, [0, 15, 30, 45, 60])
    assert result.held_out.shape == (3, 5)
    assert result.observed["w"].shape == (3, 5, 2)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(result.state))
    for run, setting in enumerate(SCALES):
        for check, steps in enumerate(result.steps):
            expected = by_hand(PLAN, float(setting), run, steps)
            np.testing.assert_allclose(
                result.observed["w"][run, check], expected, rtol=0, atol=2e-5
            )
    np.testing.assert_array_equal(result.observed["scale"][:, 0], SCALES)
    np.testing.assert_array_equal(result.recorded["error"], result.held_out)
    assert (result.held_out[:, -1] < 0.2 * result.held_out[:, 0]).all()


def test_gradients_are_clipped():
    # Adam forgives a constant factor but not one that changes from step to step.
    free = [by_hand(PLAN, float(s), run, 60, clip=1e9) for run, s in enumerate(SCALES)]
    assert (np.abs(reference().observed["w"][:, -1] - free).max(axis=1) > 1e-3).all()


def test_the_best_evaluation_is_returned():
    result = reference()
    for run in range(3):
        best = int(np.argmin(result.held_out[run]))
        assert result.best_step[run] == result.steps[best]
        np.testing.assert_array_equal(result.model(run).w[...], result.observed["w"][run, best])
        assert result.stop_reason[run] == f"all 60 steps done; best at step {result.steps[best]}"


def test_seeds_differ_and_a_key_gives_the_same_digits():
    assert same(reference(), trained())
    assert not np.array_equal(reference().held_out[0], reference().held_out[2])
    assert not np.array_equal(reference().held_out, trained(key=jax.random.key(4)).held_out)


def test_a_run_does_not_depend_on_the_runs_beside_it():
    alone = trained(settings=runs(SCALES[:1]))
    np.testing.assert_allclose(
        alone.observed["w"], reference().observed["w"][:1], rtol=0, atol=1e-6
    )
    beside = trained(settings=runs((1.0, -7.0, -7.0)))
    np.testing.assert_allclose(
        beside.observed["w"][0], reference().observed["w"][0], rtol=0, atol=1e-6
    )


OPPOSED = (1.0, -1.0, 1.0)


def test_a_run_stops_early_and_keeps_its_best_state():
    result = trained(settings=runs(OPPOSED))
    assert result.best_step[1] == 0
    assert (
        result.stop_reason[1] == "stopped early: 2 evaluations without a lower loss than at step 0"
    )
    np.testing.assert_array_equal(np.isnan(result.held_out[1]), [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(np.isnan(result.observed["w"][1]).all(axis=1), [0, 0, 0, 1, 1])
    for check, steps in enumerate((0, 15, 30)):
        expected = by_hand(PLAN, -1.0, 1, steps)
        np.testing.assert_allclose(result.observed["w"][1, check], expected, rtol=0, atol=2e-5)
    np.testing.assert_array_equal(result.model(1).w[...], result.observed["w"][1, 0])
    # The others go on as if nothing had happened.
    np.testing.assert_array_equal(result.held_out[0], reference().held_out[0])
    # With no run left to train, no step is taken.
    nobody = trained(settings=runs((-1.0, -1.0, -1.0)))
    assert nobody.steps[-1] == 30


@pytest.mark.parametrize("fault", ["loss", "gradient"])
def test_divergence_names_the_step_and_keeps_the_last_good_state(fault):
    with pytest.raises(TrainingDivergedError, match=r"run 1 has a loss .* at step 30") as caught:
        trained(settings=runs(fault=fault))
    error = caught.value
    assert (error.run, error.step) == (1, 30)
    np.testing.assert_allclose(error.last_good.w[...], by_hand(PLAN, 2.0, 1, 30), rtol=0, atol=2e-5)
    np.testing.assert_array_equal(error.trained.held_out, reference().held_out[:, :3])
    np.testing.assert_array_equal(error.trained.steps, [0, 15, 30])


def test_divergence_inside_a_block_of_steps_keeps_the_state_before_it():
    plan = dataclasses.replace(PLAN, evaluate_every=25, patience=None)
    # A run that would have stopped but has no patience to lose does not stop.
    with pytest.raises(TrainingDivergedError) as caught:
        trained(settings=runs((1.0, 2.0, -1.0), "loss"), schedule=plan)
    assert caught.value.step == 30
    np.testing.assert_allclose(
        caught.value.last_good.w[...], by_hand(PLAN, 2.0, 1, 30), rtol=0, atol=2e-5
    )
    np.testing.assert_array_equal(caught.value.trained.steps, [0, 25])
    assert caught.value.trained.stop_reason[2] == "interrupted after 25 steps; best at step 0"


def test_an_evaluation_that_is_no_number_is_an_error():
    with pytest.raises(TrainingDivergedError, match=r"run 1 has a held-out loss .* step 0"):
        trained(settings=runs(fault="evaluation"))


def test_steps_dealt_out_to_other_calls_are_the_same_to_the_last_digit(monkeypatch):
    monkeypatch.setattr(training, "_SECONDS_A_CALL", 1e-9)
    assert same(trained(), reference())


BAD = [
    ({"schedule": Schedule(steps=-1)}, ValueError, "steps must be at least 0"),
    ({"schedule": Schedule(steps=True)}, TypeError, "steps must be an integer"),
    ({"schedule": Schedule(evaluate_every=0)}, ValueError, "evaluate_every must be at least 1"),
    (
        {"schedule": Schedule(learning_rate=0.0)},
        ValueError,
        r"learning_rate must lie in \(0, inf\)",
    ),
    (
        {"schedule": Schedule(learning_rate=float("nan"))},
        ValueError,
        "learning_rate must not contain NaN",
    ),
    ({"schedule": Schedule(clip=-1.0)}, ValueError, r"clip must lie in \(0, inf\)"),
    ({"schedule": Schedule(warmup=1.2)}, ValueError, r"warmup must lie in \[0, 1\]"),
    ({"schedule": Schedule(weight_decay=-1.0)}, ValueError, r"weight_decay must lie in \[0, inf\)"),
    ({"schedule": Schedule(patience=0)}, ValueError, "patience must be at least 1"),
    ({"settings": 1.0}, ValueError, "settings must be arrays with one common leading axis"),
    ({"settings": jnp.zeros(0)}, ValueError, "settings must be arrays with one common"),
    ({"settings": (jnp.zeros(2), jnp.zeros(3))}, ValueError, r"got shapes \[\(2,\), \(3,\)\]"),
    ({"settings": ()}, ValueError, r"got shapes \[\]"),
    ({"key": jnp.zeros(2, jnp.uint32)}, TypeError, "key"),
    ({"learner": Fit(dtype=jnp.float64)}, TypeError, "learner must build float32 parameters only"),
]


@pytest.mark.parametrize(("changes", "kind", "message"), BAD)
def test_bad_input_is_named(changes, kind, message):
    with pytest.raises(kind, match=message):
        trained(**changes)


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0.0), (2, 1.0), (10, 1.0), (10, 0.97)])
def test_every_schedule_in_range_is_a_schedule(steps, warmup):
    plan = Schedule(steps=steps, warmup=warmup)
    moments = plan.optimiser().init({"w": jnp.ones(1)})
    update, _ = plan.optimiser().update({"w": jnp.ones(1)}, moments, {"w": jnp.ones(1)})
    assert np.isfinite(update["w"]).all()


def test_progress_is_shown_to_those_who_ask(capsys):
    trained()
    silent = capsys.readouterr()
    assert silent.out + silent.err == ""
    trained(progress=True)
    assert "Fit" in capsys.readouterr().err


class Scalar(nnx.Module):
    """A parameter without axes beside one with two."""

    def __init__(self, rngs):
        del rngs
        self.scale = nnx.Param(jnp.float32(3.0))
        self.table = nnx.Param(jnp.arange(6, dtype=jnp.float32).reshape(2, 3))


@dataclasses.dataclass(frozen=True)
class ScalarLearner:
    build = Scalar


@pytest.mark.parametrize("where", [np.asarray, jnp.asarray])
def test_a_vector_becomes_the_module_again_on_the_host_and_the_device(where):
    layout = layout_of(ScalarLearner())
    found = layout.module(where(vector(nnx.split(Scalar(nnx.Rngs(0)))[1])))
    assert found.scale[...].shape == ()
    assert float(found.scale[...]) == 3
    np.testing.assert_array_equal(found.table[...], np.arange(6.0).reshape(2, 3))
