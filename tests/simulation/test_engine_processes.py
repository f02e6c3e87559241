"""The engine on other numbers of devices and processes, and after kill -9: the same digits."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import engine_worker as worker
import jax
import pytest

from rdsim import simulation
from rdsim.simulation.engine import exact_sums, trials

SCRIPT = Path(worker.__file__)
TIMEOUT = 240  # seconds


def start(*arguments, environment, **options):
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | environment,
        **options,
    )


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """What a process found on 2, 3 and 8 devices, and the checkpoint it left when it was killed."""
    path = tmp_path_factory.mktemp("killed") / "run.json"
    process = start(SCRIPT, path, environment=worker.EIGHT_DEVICES)
    watchdog = threading.Timer(TIMEOUT, process.kill)
    watchdog.start()
    try:
        line = process.stdout.readline()
        while not path.exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.1)
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGKILL)
        _, err = process.communicate()
        watchdog.cancel()
    assert process.returncode == -signal.SIGKILL
    assert path.exists(), err
    return json.loads(line), path


def test_result_does_not_depend_on_the_number_of_devices(killed):
    found, _ = killed
    expected = worker.digits(worker.run())
    assert sorted(found) == ["2", "3", "8", "stopped"]
    assert all(found[number] == expected for number in ("2", "3", "8"))
    assert found["stopped"] == worker.digits(worker.run(**worker.TARGET))


def test_a_killed_run_continues_to_the_same_digits(killed, monkeypatch):
    """Killed on eight devices, continued on one."""
    _, path = killed
    kept = json.loads(path.read_text())["body"]["trials"][0]
    assert kept > 0
    expected = worker.digits(worker.run(trials=kept + 777))
    first = []
    inner = exact_sums.span_sums
    monkeypatch.setattr(
        exact_sums, "span_sums", lambda *a, **k: (first.append(int(a[4])), inner(*a, **k))[1]
    )
    assert worker.digits(worker.run(trials=kept + 777, checkpoint=path)) == expected
    assert first[0] == kept


def test_two_processes_run_the_documented_script(tmp_path):
    """Each in a folder of its own, as on two machines: process 0 alone has the checkpoint."""
    code = textwrap.dedent(re.search(r"    # cluster\.py\n(?:    .*\n|\n)+", trials.__doc__)[0])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert "12321" in code
    digits = "    print([float(x).hex() for x in jax.tree.leaves(result.estimates)])"
    code = code.replace("12321", str(port)) + textwrap.dedent(digits) + "\n"
    folders = [tmp_path / "0", tmp_path / "1"]
    for folder in folders:
        folder.mkdir()
        (folder / "cluster.py").write_text(code)
    namespace = {}
    trial = re.search(r"def trial.*?\n\n", code, re.DOTALL)[0]
    exec(compile(trial, "cluster.py", "exec"), {"jax": jax}, namespace)
    asked = (jax.random.key(0), namespace["trial"], 0.9)
    path = folders[0] / "cluster.json"
    simulation.run_trials(*asked, trials=30_011, run=simulation.RunOptions(checkpoint=path))
    processes = [
        start("cluster.py", number, environment={}, cwd=folder)
        for number, folder in enumerate(folders)
    ]
    try:
        answers = [process.communicate(timeout=TIMEOUT) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], answers
    lines = [out.strip().splitlines()[-1] for out, _ in answers]
    expected = simulation.run_trials(*asked, trials=100_000)
    hexadecimal = [float(leaf).hex() for leaf in jax.tree.leaves(expected.estimates)]
    assert lines == [str(hexadecimal)] * 2
    assert json.loads(path.read_text())["body"]["trials"] == [100_000]
    assert sorted(entry.name for entry in folders[0].iterdir()) == ["cluster.json", "cluster.py"]
    assert [entry.name for entry in folders[1].iterdir()] == ["cluster.py"]


def test_the_default_uses_every_device():
    assert list(exact_sums.mesh_of(None).devices.flat) == jax.devices()
    with pytest.raises(TypeError, match="devices must be a sequence"):
        exact_sums.mesh_of([])
