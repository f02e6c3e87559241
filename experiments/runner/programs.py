"""Compiled programs: compiled quickly in the quick preset, and dropped before they are too many."""

import contextlib
import functools
import gc
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Final

from experiments.runner.discovery import Preset

_MANY_MAPPINGS: Final = 20_000
"""Memory mappings of a process above which its compiled programs are dropped; Linux allows 65530."""
_OLDER_GENERATOR: Final = "--xla_cpu_use_fusion_emitters=false"
"""Chooses XLA's older code generator for CPUs, which compiles in half to two thirds of the time. jaxlib 0.10 has it, 0.12 does not."""
_IN_ONE_PIECE: Final = "--xla_cpu_parallel_codegen_split_count=1"
"""Has a program compiled whole, not in parts for several threads: a tenth to a fifth less work, and where several
processes compute studies or tests no core is idle that could take a part."""
_IN_A_CONTEXT: Final = 100
"""Programs written in one context of MLIR. It keeps their types and constants until it is dropped."""


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


@functools.cache
def share_contexts() -> None:
    """Have JAX write a hundred programs, not one, in each context of MLIR.

    Making a context registers thousands of operations: five milliseconds, a fifth of what a program of one operation
    takes until it runs, and studies and tests have thousands of those. A context also takes a megabyte for as long as
    the program is kept. What is written, and so every digit, is the same. JAX has no switch for it. A JAX
    that makes its contexts elsewhere makes one for each program, as before.
    """
    with contextlib.suppress(ImportError, AttributeError):
        from jax._src.interpreters import mlir

        make, kept = mlir.make_ir_context, threading.local()

        def shared() -> Any:
            if not getattr(kept, "left", 0):
                kept.context, kept.left = make(), _IN_A_CONTEXT
            kept.left -= 1
            return kept.context

        mlir.make_ir_context = shared


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
