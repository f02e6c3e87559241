"""Compiled programs: made quickly in the quick preset, shared while memory lasts, then forgotten."""

import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from experiments.runner.discovery import Preset

_MANY_MAPPINGS: Final = 20_000
_OLDER_GENERATOR: Final = "--xla_cpu_use_fusion_emitters=false"
"""XLA's older code generator for CPUs, done in half to two thirds of the time. jaxlib 0.10 has it, 0.12 not."""


def compile_quickly(preset: Preset) -> None:
    """Choose XLA's older code generator for the quick preset, before JAX compiles anything.

    Most of that preset is XLA's compiler. What the older generator makes may run a little slower and
    round otherwise. Without it, everything is computed all the same.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if preset != "quick" or "emitters" in flags:
        return
    wanted = f"{flags} {_OLDER_GENERATOR}".strip()
    if _starts_with(wanted):
        os.environ["XLA_FLAGS"] = wanted


def _starts_with(flags: str) -> bool:
    """Whether JAX starts with these XLA flags.

    XLA ends a process over a flag that it does not know, and nothing tells which ones it knows, so
    another process tries.
    """
    tried = subprocess.run(
        [sys.executable, "-c", "import jax; jax.devices('cpu')"],
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        check=False,
    )
    return tried.returncode == 0


def forget_if_many() -> None:
    """Forget JAX's compiled programs once this process has many.

    Each holds some forty memory mappings, of which Linux allows a process 65530. Where their number
    is unknown, programs are forgotten at every call.
    """
    try:
        mappings = Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:
        mappings = None
    if mappings is None or mappings > _MANY_MAPPINGS:
        import jax

        jax.clear_caches()
        gc.collect()
