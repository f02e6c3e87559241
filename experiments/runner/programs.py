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


def compile_quickly(preset: Preset) -> None:
    """Choose XLA's older code generator for the quick preset, before JAX compiles anything.

    Most of the time of that preset is spent in XLA's compiler. The programs of the older generator may
    run a little slower and round differently. Where it is missing, the newer one is used.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if preset != "quick" or "emitters" in flags:
        return
    wanted = f"{flags} {_OLDER_GENERATOR}".strip()
    if _starts_with(wanted):
        os.environ["XLA_FLAGS"] = wanted


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
