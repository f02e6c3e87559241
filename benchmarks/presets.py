"""What the studies cost, start of Python and compilation included: all in quick, each in full.

It takes hours, so that it runs only when it is named. Every run is a process of its own into
an empty folder; a full study that takes longer than the limit is stopped.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks._rows import Row
from experiments.runner import discovery

TITLE = "Cost of the studies"
BY_NAME_ONLY = True


@dataclass(frozen=True)
class Config:
    """What is timed."""

    together: str = "quick"
    """Preset that all studies are run in, figures and gallery included; then again, all fresh."""
    jobs: int = 2
    """Studies side by side, in that run and of those below."""
    alone: str = "full"
    """Preset that each study is run in, in a process of its own."""
    studies: tuple[str, ...] = ()
    """Those that are run so; all if empty."""
    limit: float = 900.0
    """Seconds after which one of these is stopped."""


SMOKE = Config(together="", alone="smoke", studies=("rank_law",))
FULL = Config()


def run(config: Config) -> list[Row]:
    """Run all studies together, and each in a process of its own."""
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

    def alone(name: str) -> Row:
        with tempfile.TemporaryDirectory() as folder:
            command = ["run", name, "--preset", config.alone]
            return _row(name, config.alone, command, folder, config.limit)

    named = [s.name for s in discovery.chosen(config.studies) if config.alone in s.presets]
    with ThreadPoolExecutor(config.jobs) as pool:
        apart = list(pool.map(alone, named))
    return [*rows, *apart, total(apart, config.alone)]


def total(rows: list[Row], side: str) -> Row:
    """Add up the studies that ran in processes of their own."""
    cpu, memory = (
        [row.numbers[name] for row in rows] for name in ("cpu_seconds", "peak_memory_gib")
    )
    seconds = sum(row.seconds or 0.0 for row in rows)
    ended = sum(row.status == "measured" for row in rows)
    return Row(
        problem="the above, one after another",
        side=side,
        seconds=seconds,
        fastest=seconds,
        slowest=seconds,
        result=f"{sum(cpu):.4g} CPU s; {ended} of {len(rows)} ran to their end",
        numbers={"cpu_seconds": sum(cpu), "peak_memory_gib": max(memory)},
        status="measured" if ended == len(rows) else "stopped",
    )


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
    process.returncode = code = os.waitstatus_to_exitcode(status)
    cpu, memory = used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20
    words = f"{cpu:.3g} CPU s, {memory:.2g} GiB in its largest process"
    end = "measured" if code == 0 else "stopped" if code < 0 else "failed"
    said = {"measured": "", "stopped": "stopped unfinished; ", "failed": f"ended with {code}; "}
    return Row(
        problem=problem,
        side=side,
        seconds=seconds,
        fastest=seconds,
        slowest=seconds,
        result=said[end] + words,
        numbers={"cpu_seconds": cpu, "peak_memory_gib": memory},
        status=end,
    )
