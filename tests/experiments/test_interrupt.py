"""Ctrl-C ends every command with code 130 and one line, also inside one long call of XLA."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ENDLESS = """
def endless(key, index):
    return {"value": jax.jit(lambda x: jax.lax.while_loop(
        lambda x: x < 2, lambda x: x * 0.5, x))(jax.random.uniform(key))}


def run(config, key, checkpoint=without_checkpoint):
    checkpoint("first", part, key, 0)
    checkpoint("endless", endless, key, 0)
"""

SCRIPT = """
import sys
from pathlib import Path

from experiments.runner import drawing
from experiments.runner import store
from experiments.runner import discovery
from rdsim.cli.app import entry

# At module level: the processes that compute import this file too.
discovery.PACKAGE, drawing.PACKAGE = {studies!r}, {figures!r}
store.library_files = lambda: [Path("library.py")]

if __name__ == "__main__":
    entry()
"""

HANG_GUARD = 120.0
"""Seconds, many times what is needed on a busy machine; the work itself never ends."""


def waited_for(condition, process):
    end = time.monotonic() + HANG_GUARD
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it did not begin"
        time.sleep(0.05)


@pytest.fixture
def started(workshop):
    """Start a command on two endless studies in a process group of its own."""
    for name in ("lines", "more"):
        workshop.study(name, more=ENDLESS)
    (workshop.home / "command.py").write_text(
        SCRIPT.format(studies=workshop.studies, figures=workshop.figures)
    )
    paths = os.pathsep.join([str(Path(__file__).parents[2]), str(workshop.home)])
    groups = []

    def start(*arguments: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "command.py", *arguments],
            env={**os.environ, "PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        groups.append(process.pid)
        return process

    yield start
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


@pytest.mark.parametrize("whole_group", [True, False], ids=["terminal", "one process"])
@pytest.mark.parametrize("arguments", ["run lines", "figures --jobs 2"])
def test_an_interrupt_inside_a_long_call_ends_the_command(
    workshop, started, arguments, whole_group
):
    process = started(*arguments.split())
    checkpoints = workshop.home / "results" / "quick" / ".checkpoints"
    wanted = 2 if "figures" in arguments else 1
    waited_for(lambda: len(list(checkpoints.glob("*/first.npz"))) == wanted, process)
    time.sleep(1.0)  # into the call that never ends
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
    # The pipes end when the last process that writes into them has ended.
    out, err = process.communicate(timeout=HANG_GUARD)
    assert process.returncode == 130, err
    assert (
        "interrupted; what was finished is kept; the same command continues where it stopped" in err
    )
    for word in ("Traceback", "Segmentation", "Error"):
        assert word not in out + err
    assert [path.name for path in checkpoints.glob("*/*")] == ["first.npz"] * wanted


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        ("run lines", "kept; the same command continues"),
        ("run lines --force", "kept; the same command without --force continues"),
    ],
)
def test_what_is_said_of_kept_work_is_true(workshop, capsys, command, kept):
    module = workshop.module()
    module.STOP_AT = 3
    assert workshop.main(command) == 130
    assert kept in capsys.readouterr().err
    module.STOP_AT = None
    module.CALLS.clear()
    assert workshop.main("run lines") == 0
    assert module.CALLS == [3, 4]


def test_a_command_that_keeps_nothing_does_not_say_that_it_continues(workshop, capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("rdsim.limits.rank_loss", interrupt)
    assert workshop.main("limit rank --log2-size 10 --bits 1") == 130
    assert capsys.readouterr().err.strip() == "interrupted"
