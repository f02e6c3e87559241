"""What each study costs as a whole, compilation and start of Python included, by preset.

Half an hour and more, so that it runs only when it is named. Every study runs alone, in a process of
its own, into an empty folder; one that takes longer than the limit is stopped.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass

from benchmarks._rows import Row
from experiments import _study

TITLE = "Cost of the studies"
BY_NAME_ONLY = True


@dataclass(frozen=True)
class Config:
    """What is timed."""

    studies: tuple[str, ...] = ()
    """Their names; all if empty."""
    presets: tuple[str, ...] = ("quick", "full")
    """Which configurations of them."""
    limit: float = 150.0
    """Seconds after which a study is stopped."""


SMOKE = Config(studies=("rank_law",), presets=("smoke",))
FULL = Config()


def run(config: Config) -> list[Row]:
    """Run every study in every preset, one after the other."""
    return [
        _row(study.name, preset, config.limit)
        for study in _study.chosen(config.studies)
        for preset in config.presets
        if preset in study.presets
    ]


def _row(name: str, preset: str, limit: float) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "experiments", "run", name, "--preset", preset]
        start = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--results", folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        alarm = threading.Timer(limit, process.kill)
        alarm.start()
        _, status, used = os.wait4(process.pid, 0)
        alarm.cancel()
        seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    stopped = process.returncode < 0
    if process.returncode > 0:
        raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}")
    cpu, memory = used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20
    return Row(
        problem=name,
        side=preset,
        seconds=seconds,
        fastest=seconds,
        slowest=seconds,
        result=f"{'stopped after ' if stopped else ''}{cpu:.3g} CPU s, {memory:.2g} GiB",
        numbers={"cpu_seconds": cpu, "peak_memory_gib": memory},
        status="stopped" if stopped else "measured",
    )
