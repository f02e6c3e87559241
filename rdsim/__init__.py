"""rdsim: how many bits does cross-modal retrieval need?

Packages, in the order in which data flows: `sources`, `ranking`, `limits`, `codes`, `simulation`,
`finite_sample`, `learning`, `embeddings`. Each is imported when it is first used.

`keep_compiled_programs()` makes the first calls of the next process fast; the command does so by itself.

Importing rdsim switches JAX to float64, because a limit in float32 is not a limit. An environment
variable JAX_ENABLE_X64 is the user's own choice and stands: where it is 0, limits raise an error.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

import jax

if "JAX_ENABLE_X64" not in os.environ:
    jax.config.update("jax_enable_x64", True)

from rdsim._version import __version__
from rdsim.certified import Certified
from rdsim.compilation import keep_compiled_programs

if TYPE_CHECKING:
    from rdsim import (
        codes,
        embeddings,
        finite_sample,
        learning,
        limits,
        ranking,
        simulation,
        sources,
    )

__all__ = [
    "Certified",
    "__version__",
    "codes",
    "embeddings",
    "finite_sample",
    "keep_compiled_programs",
    "learning",
    "limits",
    "ranking",
    "simulation",
    "sources",
]


def __getattr__(name: str) -> Any:
    """Import a package when it is first used."""
    if name in __all__:
        return importlib.import_module(f"rdsim.{name}")
    raise AttributeError(f"module 'rdsim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
