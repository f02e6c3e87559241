"""A disk that is full, and a process that is killed, lose no finished result."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from experiments.runner import store


@contextlib.contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size: what writing to a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def hidden_or_checkpoints(folder) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not name.endswith(".nc"))


@pytest.mark.parametrize("size", [0, 2000, 30_000])
def test_a_full_disk_keeps_what_was_finished(workshop, capsys, size):
    workshop.study("curves")
    workshop.main("run lines")
    finished = workshop.result(preset="quick").read_bytes()
    with room_for(size):
        assert workshop.main("run curves") == 1
    assert "what was finished is kept" in capsys.readouterr().err
    assert workshop.result(preset="quick").read_bytes() == finished
    assert not workshop.result("curves", "quick").exists()
    assert hidden_or_checkpoints(workshop.result(preset="quick").parent) in ([], [".checkpoints"])
    assert workshop.main("run curves") == 0
    store.load(workshop.result("curves", "quick"))


def test_a_killed_process_leaves_whole_files_only(workshop):
    workshop.main("run lines --preset smoke")
    finished = workshop.result().read_bytes()
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from rdsim import files\n"
        "print('ready', flush=True)\n"
        "number = 0\n"
        "while True:\n"
        "    number += 1\n"
        "    files.write(Path('results/other/x.bin'), bytes([number % 256]) * 300_000)\n"
    )
    path = workshop.home / "results/other/x.bin"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment
    ) as process:
        process.stdout.readline()
        while not path.exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    content = path.read_bytes()
    assert len(content) == 300_000
    assert len(set(content)) == 1
    assert workshop.result().read_bytes() == finished
