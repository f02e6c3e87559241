"""The mixture study killed with SIGKILL: finished parts are kept, and the digits are the same."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import xarray

ROOT = Path(__file__).parents[2]
TIMEOUT = 400  # seconds

# The command itself, with the smallest of its configurations, a note of every part that is
# computed rather than read, and a hold where the test kills it.
COMMAND = """
import dataclasses, sys, time
from pathlib import Path
from rdsim import files
from experiments.runner import store
from experiments import gaussian_mixture as study
from rdsim.cli.app import main

hold, notes, *arguments = sys.argv[1:]
store.library_files = lambda: []  # nobody who edits the library meanwhile disturbs the test
study.SMOKE = dataclasses.replace(
    study.SMOKE, codes=("k-means VQ", "uniform scalar"), trials=512, training=64
)
inner = files.without_checkpoint

def noted(name, function, *args):
    found = inner(name, function, *args)
    with Path(notes).open("a") as file:
        file.write(name + "\\n")
    if name == hold:
        time.sleep(1000)
    return found

files.without_checkpoint = noted
sys.exit(main(arguments))
"""
HOLD = "simulate-2-uniform-scalar-3"
"""The part that is computed but not yet stored when the process dies."""
PARTS = [
    *("fit-k-means-VQ-3", "fit-uniform-scalar-3", "simulate-2-k-means-VQ-3"),
    *(HOLD, "bound-2", "codebook"),
]


def start(folder, hold, notes, cache):
    arguments = ["run", "gaussian_mixture", "--preset", "smoke", "--results", str(folder)]
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, hold, str(notes), *arguments],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        # Programs compiled by the first process serve the others: the digits are those of one
        # machine code anyway.
        env=os.environ
        | {
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        },
    )


def finished(process):
    watchdog = threading.Timer(TIMEOUT, process.kill)
    watchdog.start()
    _, errors = process.communicate()
    watchdog.cancel()
    assert process.returncode == 0, errors


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mixture")


def test_C17_a_killed_study_continues_to_the_same_digits(folder):
    notes = [folder / f"notes-{run}" for run in ("killed", "resumed", "whole")]
    process = start(folder / "killed", HOLD, notes[0], folder / "cache")
    deadline = time.monotonic() + TIMEOUT
    while not (notes[0].exists() and HOLD in notes[0].read_text()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "killed" / "smoke" / "gaussian_mixture.nc").exists()
    kept = sorted(path.stem for path in (folder / "killed").rglob("*.npz"))
    assert kept == sorted(PARTS[:3])

    finished(start(folder / "killed", "", notes[1], folder / "cache"))
    finished(start(folder / "whole", "", notes[2], folder / "cache"))
    assert [path.read_text().split() for path in notes] == [PARTS[:4], PARTS[3:], PARTS]
    assert not list((folder / "killed").rglob("*.npz"))
    resumed, whole = (
        (folder / name / "smoke" / "gaussian_mixture.nc").read_bytes()
        for name in ("killed", "whole")
    )
    assert resumed == whole
    stored = xarray.load_dataset(
        folder / "whole" / "smoke" / "gaussian_mixture.nc", engine="h5netcdf"
    )
    assert stored.attrs["trials"] == 512
