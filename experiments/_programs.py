"""Compiled programs: made quickly in the quick preset, shared while memory lasts, then forgotten."""

import gc
import importlib.metadata
import os
import sys
from pathlib import Path
from typing import Final

from experiments._study import Preset

_MANY_MAPPINGS: Final = 20_000
OLDER_GENERATOR: Final = "--xla_cpu_use_fusion_emitters=false"
_KNOWN_TO: Final = "0.10."
"""Releases of jaxlib that have the flag; XLA ends a process over one that it does not know."""


def compile_quickly(preset: Preset) -> None:
    """Choose XLA's older code generator for the quick preset, before JAX is imported.

    Most of that preset is XLA's compiler, and its older generator is done in two thirds of the
    time. What it makes may run a little slower and round otherwise.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    known = importlib.metadata.version("jaxlib").startswith(_KNOWN_TO)
    if preset == "quick" and known and "jax" not in sys.modules and "emitters" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {OLDER_GENERATOR}".strip()


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
