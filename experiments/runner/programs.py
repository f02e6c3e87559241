"""Compiled programs: compiled quickly in the quick preset, and dropped before they are too many."""

import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from experiments.runner.discovery import Preset

_MANY_MAPPINGS: Final = 20_000
"""Memory mappings of a process above which its compiled programs are dropped; Linux allows 65530."""
_OLDER_GENERATOR: Final = "--xla_cpu_use_fusion_emitters=false"
"""Chooses XLA's older code generator for CPUs, which compiles in half to two thirds of the time. jaxlib 0.10 has it, 0.12 does not."""
_IN_ONE_PIECE: Final = "--xla_cpu_parallel_codegen_split_count=1"
"""Has a program compiled whole, not in parts for several threads: a tenth to a fifth less work, and where several
processes compute studies or tests no core is idle that could take a part."""


def compile_quickly(preset: Preset) -> None:
    """Choose XLA's older code generator and undivided programs for the quick preset, before JAX compiles anything.

    Most of the time of that preset is spent in XLA's compiler. The programs of the older generator may
    run a little slower and round differently. A flag that this jaxlib does not know is left out.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    new = [
        flag for flag in (_OLDER_GENERATOR, _IN_ONE_PIECE) if flag.partition("=")[0] not in flags
    ]
    if preset != "quick" or not new:
        return
    for chosen in (new, *([flag] for flag in new)):
        wanted = " ".join([flags, *chosen]).strip()
        if _starts_with(wanted):
            os.environ["XLA_FLAGS"] = wanted
            return


def _starts_with(flags: str) -> bool:
    """Whether JAX starts with these XLA flags.

    XLA ends a process that gives a flag it does not know, and offers no list of those it knows.
    Therefore another process tries.
    """
    tried = subprocess.run(
        [sys.executable, "-c", "import jax; jax.devices('cpu')"],
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        check=False,
    )
    return tried.returncode == 0


def forget_if_many() -> None:
    """Drop JAX's compiled programs once this process has many memory mappings.

    Each program holds about forty mappings. Where their number is unknown, programs are dropped at
    every call.
    """
    try:
        mappings = Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:
        mappings = None
    if mappings is None or mappings > _MANY_MAPPINGS:
        import jax

        jax.clear_caches()
        gc.collect()
