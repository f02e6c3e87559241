import dataclasses
import functools
import json
import os
import shutil
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import event, given
from hypothesis import strategies as st

from rdsim.learning.training import loop as training
from rdsim.learning.training.loop import train
from rdsim.learning.training.schedule import Schedule
from rdsim.learning.training.trained import TrainingDivergedError
from rdsim.simulation.engine.checkpoint import CheckpointDamagedError, CheckpointMismatchError

SLOPE = np.array([1.5, -0.5], np.float32)
HELD_OUT = (jnp.eye(2, dtype=jnp.float32), jnp.asarray(SLOPE))
FAULTS = {"none": 0, "loss": 1, "gradient": 2, "evaluation": 3}
SCALES = (1.0, 2.0, 1.0)
PLAN = Schedule(
    steps=60,
    evaluate_every=15,
    learning_rate=0.1,
    warmup=0.1,
    clip=0.5,
    weight_decay=0.01,
    patience=2,
)
KEY = jax.random.key(3)


class Line(nnx.Module):
    def __init__(self, rngs, dtype=jnp.float32):
        self.w = nnx.Param(jax.random.normal(rngs.params(), (2,), dtype))


@dataclasses.dataclass(frozen=True)
class Fit:
    """Least squares. A run's scale is that of its target; a negative one is judged by its opposite.

    A run's fault, from half of the training on or when it is judged, is in its setting too, so that
    all tests share one compilation.
    """

    dtype: type = jnp.float32

    def build(self, rngs):
        return Line(rngs, self.dtype)

    def loss(self, model, batch, key, setting, progress):
        x, y = batch
        scale, fault = setting["scale"], setting["fault"]
        judged = progress >= 1
        w = model.w[...]
        error = jnp.mean((x @ w - y * jnp.where(judged, jnp.abs(scale), scale)) ** 2)
        late = (progress >= 0.5) & ~judged
        error = error + jnp.where(late & (fault == FAULTS["loss"]), jnp.nan, 0.0)
        error = error + jnp.where(judged & (fault == FAULTS["evaluation"]), jnp.nan, 0.0)
        # The root of nothing: its value is zero, its slope zero times infinity.
        rootless = late & (fault == FAULTS["gradient"])
        error = error + jnp.sqrt(jnp.where(rootless, 0 * w[0], 1.0)) - jnp.where(rootless, 0, 1)
        return error, {"error": error}


def draw(key, data):
    x = jax.random.normal(key, (16, 2), jnp.float32)
    return x, x @ data


def other_draw(key, data):
    return draw(key, data)


def runs(scales=SCALES, fault="none"):
    """Settings of some runs; the second has the fault."""
    faults = [FAULTS[fault] if run == 1 else 0 for run in range(len(scales))]
    return {"scale": jnp.array(scales, jnp.float32), "fault": jnp.array(faults)}


def observed(model, setting):
    return {"w": model.w[...], "scale": setting["scale"]}


def trained(**changes):
    arguments = {
        "key": KEY,
        "learner": Fit(),
        "draw": draw,
        "data": jnp.asarray(SLOPE),
        "held_out": HELD_OUT,
        "settings": runs(),
        "schedule": PLAN,
        "observe": observed,
    }
    return train(**(arguments | changes))


@functools.cache
def reference():
    return trained()


def by_hand(plan, setting, run, steps, clip=None):
    """Clipped Adam with decoupled decay, warm-up and cosine: float64 NumPy, one run."""
    start, stepping, _ = jax.random.split(jax.random.fold_in(KEY, run), 3)
    w = np.asarray(Line(nnx.Rngs(start)).w[...], float)
    first, second = np.zeros(2), np.zeros(2)
    warm = max(1, round(plan.warmup * plan.steps))
    clip = plan.clip if clip is None else clip
    for t in range(steps):
        batch_key, _ = jax.random.split(jax.random.fold_in(stepping, t))
        x, y = (np.asarray(part, float) for part in draw(batch_key, jnp.asarray(SLOPE)))
        gradient = 2 * x.T @ (x @ w - y * setting) / len(x)
        gradient = gradient * min(1.0, clip / np.linalg.norm(gradient))
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        direction = first / (1 - 0.9 ** (t + 1))
        direction = direction / (np.sqrt(second / (1 - 0.999 ** (t + 1))) + 1e-8)
        turn = 0.5 * (1 + np.cos(np.pi * (t - warm) / (plan.steps - warm)))
        share = t / warm if t < warm else 0.01 + 0.99 * turn
        w = w - plan.learning_rate * share * (direction + plan.weight_decay * w)
    return w


def same(one, other):
    """Whether two trainings have the same digits everywhere, NaN included."""
    pairs = [
        *zip(jax.tree.leaves(one.state), jax.tree.leaves(other.state), strict=True),
        (one.held_out, other.held_out),
        (one.steps, other.steps),
        (one.best_step, other.best_step),
        *((one.recorded[name], other.recorded[name]) for name in one.recorded),
        *((one.observed[name], other.observed[name]) for name in one.observed),
    ]
    assert one.recorded.keys() == other.recorded.keys()
    assert one.observed.keys() == other.observed.keys()
    assert one.stop_reason == other.stop_reason
    return all(
        np.asarray(a).dtype == np.asarray(b).dtype and np.array_equal(a, b, equal_nan=True)
        for a, b in pairs
    )


def interrupted_at(monkeypatch, name, call):
    """Let the loop be interrupted when it calls a function of its own for the nth time."""
    real, calls = getattr(training, name), []

    def counted(*args):
        calls.append(name)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(*args)

    counted.lower = real.lower
    monkeypatch.setattr(training, name, counted)


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


@pytest.mark.parametrize(("place", "call"), [("evaluate", 2), ("evaluate", 4), ("advance", 5)])
def test_resumes_to_the_same_digits(tmp_path, monkeypatch, place, call):
    with monkeypatch.context() as patch:
        interrupted_at(patch, place, call)
        with pytest.raises(KeyboardInterrupt):
            trained(checkpoint=tmp_path / "saved")
    # A state that was being written when the machine went down is not a state.
    (tmp_path / "saved").mkdir(exist_ok=True)
    (tmp_path / "saved" / "step-45.orbax-checkpoint-tmp").mkdir()
    with monkeypatch.context() as patch:
        if call == 4:
            # The first evaluation, and the two that the checkpoint holds, are not made again.
            interrupted_at(patch, place, 3)
        assert same(trained(checkpoint=tmp_path / "saved"), reference())


def test_a_finished_training_is_read_back_without_a_step(tmp_path, monkeypatch):
    assert same(trained(checkpoint=tmp_path), reference())
    interrupted_at(monkeypatch, "advance", 1)
    assert same(trained(checkpoint=tmp_path), reference())
    assert len(list(tmp_path.glob("step-*"))) == 2  # a state and its seal


OPPOSED = (1.0, -1.0, 1.0)


def test_a_checkpoint_of_another_format_is_refused(tmp_path):
    trained(checkpoint=tmp_path)
    note = tmp_path / "training.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"format": "another"}))
    with pytest.raises(CheckpointMismatchError, match="different are format"):
        trained(checkpoint=tmp_path)


def test_a_stopped_run_stays_stopped_when_resumed(tmp_path, monkeypatch):
    interrupted_at(monkeypatch, "evaluate", 5)
    with pytest.raises(KeyboardInterrupt):
        trained(checkpoint=tmp_path, settings=runs(OPPOSED))
    monkeypatch.undo()
    resumed = trained(checkpoint=tmp_path, settings=runs(OPPOSED))
    assert same(resumed, trained(settings=runs(OPPOSED)))


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


OTHER = {
    "key": {"key": jax.random.key(4)},
    "learner": {"learner": Fit(dtype=np.float32)},
    "schedule": {"schedule": dataclasses.replace(PLAN, steps=61)},
    "draw": {"draw": other_draw},
    "observe": {"observe": None},
    "data": {"settings": runs((1.0, 2.0, 1.5))},
}


def loud_draw(key, data):
    x = jax.random.normal(key, (16, 2), jnp.float32)
    return x, x @ data + 3


@dataclasses.dataclass(frozen=True)
class FarFit(Fit):
    def loss(self, model, batch, key, setting, progress):
        error, numbers = super().loss(model, batch, key, setting, progress)
        return error + 8, numbers


@dataclasses.dataclass(frozen=True)
class LateFit(Fit):
    def build(self, rngs):
        model = super().build(rngs)
        model.w[...] = 2 * model.w[...]
        return model


def watched(model, setting):
    return {"w": model.w[...] + 1, "scale": setting["scale"]}


# As if the user had changed the text of the function and run the script again.
for edited, known in ((loud_draw, draw), (watched, observed), (FarFit, Fit), (LateFit, Fit)):
    edited.__qualname__ = known.__qualname__
EDITED = {"draw": loud_draw, "learner": FarFit(), "build": LateFit(), "observe": watched}


@pytest.mark.parametrize("name", list(EDITED))
def test_an_edited_function_of_the_same_name_is_another_training(tmp_path, name):
    trained(checkpoint=tmp_path)
    argument = {"build": "learner"}.get(name, name)
    with pytest.raises(CheckpointMismatchError, match=r"different are program "):
        trained(checkpoint=tmp_path, **{argument: EDITED[name]})


def scaled_draw(factor):
    def draw(key, data):
        x = jax.random.normal(key, (16, 2), jnp.float32)
        return x, x @ data * jnp.asarray(factor)[jax.random.randint(key, (), 0, 4000)]

    return draw


def test_a_constant_that_is_closed_over_is_part_of_the_training(tmp_path):
    factor = np.ones(4000, np.float32)
    trained(checkpoint=tmp_path, draw=scaled_draw(factor))
    changed = factor.copy()
    changed[1234] = 1.5
    for other in (changed, jnp.asarray(changed)):
        with pytest.raises(CheckpointMismatchError, match="different are program "):
            trained(checkpoint=tmp_path, draw=scaled_draw(other))
    assert same(
        trained(checkpoint=tmp_path, draw=scaled_draw(factor + 0)),
        trained(checkpoint=tmp_path, draw=scaled_draw(factor + 0)),
    )


def test_steps_dealt_out_to_other_calls_are_the_same_to_the_last_digit(monkeypatch):
    monkeypatch.setattr(training, "_SECONDS_A_CALL", 1e-9)
    assert same(trained(), reference())


def _damage(content, draw):
    content = bytearray(content)
    if draw(st.booleans()):
        del content[draw(st.integers(0, max(len(content) - 1, 0))) :]
    elif content:
        content[draw(st.integers(0, len(content) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(content)


@pytest.fixture(scope="module")
def saved_training(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training") / "saved"
    trained(checkpoint=folder)
    return folder


@given(st.data())
def test_a_damaged_folder_is_named_or_gives_the_same_digits(saved_training, data):
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "saved"
        shutil.copytree(saved_training, folder)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        path = paths[data.draw(st.integers(0, len(paths) - 1))]
        if data.draw(st.booleans()):
            path.write_bytes(_damage(path.read_bytes(), data.draw))
        else:
            path.unlink()
        try:
            assert same(trained(checkpoint=folder), reference())
        except CheckpointDamagedError as error:
            event(f"named: {path.name}")
            assert "delete the folder" in str(error)  # noqa: PT017
        except CheckpointMismatchError:
            assert path.name == "training.json"


def test_a_folder_that_cannot_be_written_is_named_before_any_step(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"training\.json cannot be written"):
        trained(checkpoint=tmp_path / "file")


def test_what_a_killed_process_left_is_removed_and_fresh_work_is_not(tmp_path):
    trained(checkpoint=tmp_path)
    old, new = (tmp_path / f"step-{i}-ab.orbax-checkpoint-tmp" for i in (15, 30))
    for unfinished in (old, new):
        unfinished.mkdir()
    os.utime(old, (1, 1))
    trained(checkpoint=tmp_path)
    assert not old.exists()
    assert new.exists()


def test_two_trainings_share_a_folder(tmp_path, monkeypatch):
    """The other goes through all of its training between two steps of this one."""
    real, other = training.evaluate, []

    def judged(*args):
        if not other:
            other.append(None)
            other[0] = trained(checkpoint=tmp_path)
        return real(*args)

    judged.lower = real.lower
    monkeypatch.setattr(training, "evaluate", judged)
    assert same(trained(checkpoint=tmp_path), other[0])
    assert len(list(tmp_path.glob("step-*"))) == 2  # a state and its seal


@pytest.mark.parametrize("name", list(OTHER))
def test_a_foreign_checkpoint_is_refused(tmp_path, monkeypatch, name):
    interrupted_at(monkeypatch, "advance", 1)
    with pytest.raises(KeyboardInterrupt):
        trained(checkpoint=tmp_path)
    monkeypatch.undo()
    with pytest.raises(CheckpointMismatchError, match=f"different are .*{name} "):
        trained(checkpoint=tmp_path, **OTHER[name])
    if name == "data":
        for change in ({"data": jnp.zeros(2)}, {"held_out": (HELD_OUT[0], jnp.zeros(2))}):
            with pytest.raises(CheckpointMismatchError, match="different are data "):
                trained(checkpoint=tmp_path, **change)


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
