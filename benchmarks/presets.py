"""What the studies cost, start of Python and compilation included: all in quick, some in full.

It takes a quarter of an hour, so that it runs only when it is named. Every run is a process of its
own into an empty folder; a full study that takes longer than the limit is stopped.
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

    together: str = "quick"
    """Preset that all studies are run in, figures and gallery included; then again, all fresh."""
    jobs: int = 2
    """Studies side by side in that run."""
    alone: str = "full"
    """Preset that each study is run in alone."""
    studies: tuple[str, ...] = ()
    """Those that are run alone; all if empty."""
    limit: float = 45.0
    """Seconds after which one of these is stopped."""


SMOKE = Config(together="", alone="smoke", studies=("rank_law",))
FULL = Config(
    studies=(
        "finite_blocklength",
        "frontier",
        "rank_distortion",
        "rank_law",
        "shift",
        "simulation_cost",
        "skew",
        "two_sided",
    )
)


def run(config: Config) -> list[Row]:
    """Run all studies together, and those that are named alone."""
    rows = []
    if config.together:
        with tempfile.TemporaryDirectory() as folder:
            command = ["figures", "--preset", config.together, "--jobs", str(config.jobs)]
            rows += [
                _row(
                    "all figures", f"{config.together}, {config.jobs} jobs{again}", command, folder
                )
                for again in ("", ", again")
            ]
    for study in _study.chosen(config.studies):
        if config.alone in study.presets:
            with tempfile.TemporaryDirectory() as folder:
                command = ["run", study.name, "--preset", config.alone]
                rows.append(_row(study.name, config.alone, command, folder, config.limit))
    return rows


def _row(
    problem: str, side: str, command: list[str], folder: str, limit: float | None = None
) -> Row:
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments", *command, "--results", folder],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    alarm = threading.Timer(limit or threading.TIMEOUT_MAX, process.kill)
    alarm.daemon = True
    alarm.start()
    _, status, used = os.wait4(process.pid, 0)
    alarm.cancel()
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    stopped = process.returncode < 0
    if process.returncode > 0:
        raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}")
    cpu, memory = used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20
    words = f"{cpu:.3g} CPU s, {memory:.2g} GiB in its largest process"
    return Row(
        problem=problem,
        side=side,
        seconds=seconds,
        fastest=seconds,
        slowest=seconds,
        result=f"stopped unfinished; {words}" if stopped else words,
        numbers={"cpu_seconds": cpu, "peak_memory_gib": memory},
        status="stopped" if stopped else "measured",
    )
