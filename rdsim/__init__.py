"""rdsim: how many bits does cross-modal retrieval need?

Rooms, in the order in which data flows: `sources`, `retrieval`, `limits`, `codes`, `simulation`.
Importing rdsim switches JAX to float64, because a limit in float32 is not a limit. An environment
variable JAX_ENABLE_X64 is the user's own choice and stands: where it is 0, limits raise an error.
"""

import os

import jax

if "JAX_ENABLE_X64" not in os.environ:
    jax.config.update("jax_enable_x64", True)

from rdsim import codes, limits, retrieval, simulation, sources
from rdsim.certified import Certified

__all__ = ["Certified", "codes", "limits", "retrieval", "simulation", "sources"]
