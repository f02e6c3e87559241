"""The Monte Carlo engine on two devices and in two processes of this machine, beside one of each.

The trials of a run are shared among the devices of all processes, and every side finds the same digits. A device of
the CPU is a queue of programs: of work that one device already spreads over the cores two gain nothing. Each side runs
in processes of its own; a first run compiles, the second is timed, by the slower of two processes.
"""

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks._rows import Row

TITLE = "Devices and processes"
_ROOT = Path(__file__).parent.parent

_CODE = """
import json, sys, time
processes, index, port, trials, numbers = map(int, sys.argv[1:])
import jax, jax.numpy as jnp
if processes > 1:
    jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=processes, process_id=index)
from rdsim import simulation
def trial(key, width):
    return jnp.mean(jnp.exp(-width * jax.random.normal(key, (numbers,)) ** 2))
def run():
    start = time.perf_counter(), time.process_time()
    mean = float(simulation.run_trials(jax.random.key(0), trial, 0.5, trials=trials).estimates.mean)
    return mean, time.perf_counter() - start[0], time.process_time() - start[1]
run()
print(json.dumps(run()))
"""


@dataclass(frozen=True)
class Config:
    """What is timed."""

    trials: int = 20_000
    """Trials of a run."""
    numbers: int = 4096
    """Normal random numbers of a trial."""
    limit: float = 300.0
    """Seconds for a side."""


SMOKE = Config(trials=600, numbers=8)
FULL = Config()
_SIDES = {
    "one device": (1, 1),
    "two devices of one process": (2, 1),
    "two processes of one device each": (1, 2),
}
"""Devices of a process, and processes."""


def run(config: Config) -> list[Row]:
    """Run each side once; ratios are to one device in one process."""
    problem = f"{config.trials} trials of {config.numbers} normal numbers"
    found = {name: _side(config, *side) for name, side in _SIDES.items()}
    alone = found["one device"][1]
    return [
        Row(
            problem,
            name,
            seconds=seconds,
            fastest=seconds,
            slowest=seconds,
            ratio=None if name == "one device" else seconds / alone,
            ratio_low=None if name == "one device" else seconds / alone,
            ratio_high=None if name == "one device" else seconds / alone,
            result=f"mean {mean:.12f}, {cpu:.3g} CPU s of all processes",
            numbers={"mean": mean, "cpu_seconds": cpu},
        )
        for name, (mean, seconds, cpu) in found.items()
    ]


def _side(config: Config, devices: int, processes: int) -> tuple[float, float, float]:
    """Mean, seconds of the slower process, and CPU seconds of both."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "PYTHONPATH": str(_ROOT),
    }
    started = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                _CODE,
                *map(str, (processes, index, port, config.trials, config.numbers)),
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(processes)
    ]
    parts = []
    try:
        for process in started:
            out, error = process.communicate(timeout=config.limit)
            if process.returncode:
                raise RuntimeError(f"a process of {processes} failed:\n{error}")
            parts.append(json.loads(out.splitlines()[-1]))
    finally:
        for process in started:
            process.kill()
            process.wait()
    means, seconds, cpu = zip(*parts, strict=True)
    if len(set(means)) > 1:
        raise RuntimeError(f"processes of one run found different means {means}")
    return float(means[0]), float(max(seconds)), float(sum(cpu))
