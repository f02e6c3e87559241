"""Compiled programs: shared as long as memory lasts, then forgotten."""

import gc
from pathlib import Path
from typing import Final

_MANY_MAPPINGS: Final = 20_000


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
