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

hold, *runs = sys.argv[1:]
store.library_files = lambda: []  # nobody who edits the library meanwhile disturbs the test
study.SMOKE = dataclasses.replace(
    study.SMOKE, codes=("k-means VQ", "uniform scalar"), trials=512, training=64
)
inner = files.without_checkpoint

def noted(name, function, *args):
    found = inner(name, function, *args)
    with (results / "notes").open("a") as file:
        file.write(name + "\\n")
    if name == hold:
        time.sleep(1000)
    return found

files.without_checkpoint = noted
for results in map(Path, runs):
    results.mkdir(exist_ok=True)
    arguments = ["run", "gaussian_mixture", "--preset", "smoke", "--results", str(results)]
    if main(arguments):
        sys.exit(1)
"""
HOLD = "simulate-2-uniform-scalar-3"
"""The part that is computed but not yet stored when the process dies."""
PARTS = [
    "fit-k-means-VQ-3",
    "fit-uniform-scalar-3",
    "simulate-2-k-means-VQ-3",
    HOLD,
    "bound-2",
    "codebook",
]


def start(hold, *folders, cache):
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, hold, *map(str, folders)],
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
    killed, whole = folder / "killed", folder / "whole"
    notes = killed / "notes"
    process = start(HOLD, killed, cache=folder / "cache")
    deadline = time.monotonic() + TIMEOUT
    while not (notes.exists() and HOLD in notes.read_text()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (killed / "smoke" / "gaussian_mixture.nc").exists()
    kept = sorted(path.stem for path in killed.rglob("*.npz"))
    assert kept == sorted(PARTS[:3])
    assert notes.read_text().split() == PARTS[:4]
    notes.unlink()

    # One process more, in which the killed run continues and another one begins.
    finished(start("", killed, whole, cache=folder / "cache"))
    assert notes.read_text().split() == PARTS[3:]
    assert (whole / "notes").read_text().split() == PARTS
    assert not list(killed.rglob("*.npz"))
    stored = [results / "smoke" / "gaussian_mixture.nc" for results in (killed, whole)]
    assert stored[0].read_bytes() == stored[1].read_bytes()
    assert xarray.load_dataset(stored[1], engine="h5netcdf").attrs["trials"] == 512
