"""Checkpoints of a training: it continues to the same digits, and no other training is continued."""

import dataclasses
import json
import os
import shutil
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from line_fit import (
    HELD_OUT,
    PLAN,
    Fit,
    draw,
    interrupted_at,
    observed,
    other_draw,
    reference,
    runs,
    same,
    trained,
)

from rdsim.learning.training import loop as training
from rdsim.simulation.engine.checkpoint import CheckpointDamagedError, CheckpointMismatchError


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
    edited.__qualname__, edited.__module__ = known.__qualname__, known.__module__

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
