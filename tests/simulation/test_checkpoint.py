"""Checkpoints in one process: continued runs, interrupts, files of other runs, damaged files."""

import json
import tempfile
from pathlib import Path

import engine_worker as worker
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsim import simulation
from rdsim.simulation.engine import checkpoint, exact_sums
from rdsim.simulation.engine import spans as host_loop


@pytest.fixture
def spans(monkeypatch):
    """First and last trial of every call of the compiled program; raise after so many calls."""
    calls = []
    inner = exact_sums.span_sums

    class Spans(list):
        stop_after = None

    calls = Spans()

    def spy(*args, **kwargs):
        if len(calls) == calls.stop_after:
            raise KeyboardInterrupt
        calls.append(tuple(int(np.asarray(number)) for number in args[4:6]))
        return inner(*args, **kwargs)

    monkeypatch.setattr(exact_sums, "span_sums", spy)
    return calls


@pytest.mark.parametrize("options", [{}, worker.TARGET], ids=["trials", "width"])
def test_an_interrupted_run_continues_to_the_same_digits(tmp_path, spans, options):
    path = tmp_path / "folder" / "run.json"
    spans.stop_after = 3
    with pytest.raises(KeyboardInterrupt):
        worker.run(**options, chunk=8, checkpoint=path)
    assert json.loads(path.read_text())["body"]["trials"] == [spans[-1][1]] * 3
    assert [entry.name for entry in path.parent.iterdir()] == ["run.json"]
    kept, spans.stop_after = spans[-1][1], None
    del spans[:]
    continued = worker.run(**options, chunk=5, checkpoint=str(path))
    assert spans[0][0] == kept
    again = worker.run(**options, checkpoint=path)
    assert spans[-1][1] == int(continued.trials.max())
    assert worker.digits(worker.run(**options)) == worker.digits(continued)
    assert worker.digits(again) == worker.digits(continued)


def test_a_finished_run_of_a_target_adds_no_trial(tmp_path, spans):
    path = tmp_path / "run.json"
    worker.run(**worker.TARGET, checkpoint=path)
    del spans[:]
    worker.run(**worker.TARGET, checkpoint=path)
    assert spans == []


def test_more_trials_continue_in_the_middle_of_a_block(tmp_path, spans):
    path = tmp_path / "run.json"
    worker.run(trials=1001, checkpoint=path)
    more = worker.run(trials=1500, checkpoint=path)
    assert [first for first, last in spans].count(1001) == 1
    assert max(last for first, last in spans if first >= 1001) == 1500
    assert worker.digits(more) == worker.digits(worker.run(trials=1500))
    with pytest.raises(ValueError, match="trials must be at least the 1500 that checkpoint"):
        worker.run(trials=1400, checkpoint=path)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    worker.run(trials=1001, checkpoint=path)
    before = path.read_bytes()

    def full(_descriptor):
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        worker.run(trials=1500, checkpoint=path)
    assert path.read_bytes() == before


def test_it_is_written_as_often_as_asked(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(checkpoint, "save", lambda *args: written.append(int(args[2][0])))
    # Two blocks of 64 at most: the first call, in which programs are compiled, is of one.
    worker.run(trials=640, chunk=2, checkpoint=tmp_path / "run.json", checkpoint_seconds=0)
    assert written[0] == 64
    assert written[-2:] == [640, 640]
    assert set(np.diff(written[:-1]).tolist()) <= {64, 128}
    del written[:]
    worker.run(trials=640, chunk=2, checkpoint=tmp_path / "run.json", checkpoint_seconds=1e6)
    assert written == [640]


def test_calls_that_take_long_hold_fewer_blocks_and_give_the_same_digits(monkeypatch, spans):
    expected = worker.digits(worker.run(trials=640, chunk=4))
    longest = max(last - first for first, last in spans)
    del spans[:]
    monkeypatch.setattr(host_loop, "_SECONDS_A_CALL", 1e-9)
    assert worker.digits(worker.run(trials=640, chunk=4)) == expected
    assert max(last - first for first, last in spans) == 64 < longest


def test_a_link_stays_a_link_and_what_cannot_be_written_is_said_before_any_trial(tmp_path, spans):
    (tmp_path / "disk").mkdir()
    link = tmp_path / "run.json"
    link.symlink_to(tmp_path / "disk" / "run.json")
    worker.run(trials=640, checkpoint=link)
    worker.run(trials=1001, checkpoint=link)
    assert link.is_symlink()
    assert [entry.name for entry in (tmp_path / "disk").iterdir()] == ["run.json"]
    del spans[:]
    with pytest.raises(IsADirectoryError, match="disk is a folder"):
        worker.run(trials=640, checkpoint=tmp_path / "disk")
    with pytest.raises(OSError, match=r"more\.json cannot be written"):
        worker.run(trials=640, checkpoint=link / "more.json")
    assert spans == []


def test_two_runs_share_a_checkpoint(tmp_path, monkeypatch):
    """The other goes through all of its trials while this one writes its file."""
    path, replace, other = tmp_path / "run.json", Path.replace, []

    def meanwhile(temporary, target):
        if not other:
            other.append(None)
            other[0] = worker.run(trials=1500, checkpoint=path)
        return replace(temporary, target)

    monkeypatch.setattr(Path, "replace", meanwhile)
    mine = worker.run(trials=1001, checkpoint=path)
    assert worker.digits(mine) == worker.digits(worker.run(trials=1001))
    assert worker.digits(other[0]) == worker.digits(worker.run(trials=1500))
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]
    worker.run(trials=1001, checkpoint=path)


def base(key, scale):
    return jax.random.uniform(key) * scale


def doubled(key, scale):
    return jax.random.uniform(key) * (scale * 0.5)


doubled.__qualname__ = base.__qualname__
CONSTANT = jnp.arange(4000.0) / 4000


def looked_up(constant):
    def trial(key, scale):
        return jnp.asarray(constant)[jax.random.randint(key, (), 0, 4000)] * scale

    return trial


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"key": jax.random.key(1)}, "different are key "),
        ({"key": jax.random.key(0, impl="rbg")}, "different are key .*program"),
        ({"arguments": 0.25}, "different are arguments "),
        ({"trial": doubled}, "different are program "),
        ({"trial": looked_up(CONSTANT)}, "different are program .*trial "),
        ({"block": 32}, "different are block .*program"),
        ({"bounds": {"value": (0.0, 2.0)}}, "different are program "),
        ({"trials": None, "target_width": 0.1, "cap": 300}, "different are rule "),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_file_of_another_run_is_refused(tmp_path, changed, message):
    path = tmp_path / "run.json"
    asked = {"trial": base, "key": jax.random.key(0), "arguments": 0.5, "trials": 300, "block": 64}
    simulation.run_trials(**worker.with_run(**asked, checkpoint=path))
    before = path.read_bytes()
    with pytest.raises(simulation.CheckpointMismatchError, match=message):
        simulation.run_trials(**worker.with_run(**asked | changed, checkpoint=path))
    assert path.read_bytes() == before


def test_constants_of_the_trial_are_part_of_the_run(tmp_path):
    path = tmp_path / "run.json"
    asked = {"key": jax.random.key(0), "arguments": 0.5, "trials": 300, "checkpoint": path}
    simulation.run_trials(trial=looked_up(CONSTANT), **worker.with_run(**asked))
    simulation.run_trials(trial=looked_up(CONSTANT + 0), **worker.with_run(**asked))
    with pytest.raises(simulation.CheckpointMismatchError, match="program"):
        simulation.run_trials(
            trial=looked_up(CONSTANT.at[1234].set(0.7)), **worker.with_run(**asked)
        )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("finished") / "run.json"
    asked = {"trial": base, "key": jax.random.key(0), "arguments": 0.5, "trials": 300, "block": 64}
    return (
        asked,
        simulation.run_trials(**worker.with_run(**asked, checkpoint=path)),
        path.read_bytes(),
    )


@given(st.data())
def test_no_damage_goes_unseen(finished, data):
    asked, result, whole = finished
    content = bytearray(whole)
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.json"
        path.write_bytes(content)
        try:
            again = simulation.run_trials(**worker.with_run(**asked, checkpoint=path))
        except simulation.CheckpointDamagedError:
            return
        assert worker.digits(again) == worker.digits(result)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: "[" * 100_000,
        lambda text: json.dumps({"body": {}, "sha256": checkpoint._hash({})}),
        lambda text: text.replace('"trials": [300]', '"trials": [200]'),
        lambda text: text[:-70] + chr(ord(text[-70]) ^ 1) + text[-69:],
    ],
    ids=[
        "truncated",
        "empty",
        "no document",
        "nested",
        "no fingerprint",
        "other trials",
        "one bit",
    ],
)
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "run.json"
    asked = {"trial": base, "key": jax.random.key(0), "arguments": 0.5, "trials": 300, "block": 64}
    simulation.run_trials(**worker.with_run(**asked, checkpoint=path))
    path.write_text(damage(path.read_text()))
    with pytest.raises(simulation.CheckpointDamagedError, match=r"run\.json is damaged; delete it"):
        simulation.run_trials(**worker.with_run(**asked, checkpoint=path))
