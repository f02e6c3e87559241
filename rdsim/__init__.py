"""rdsim: how many bits does cross-modal retrieval need?

Rooms, in the order in which data flows: `sources`, `retrieval`, `limits`, `codes`, `simulation`.
Importing rdsim switches JAX to float64, because a limit in float32 is not a limit.
"""

import jax

jax.config.update("jax_enable_x64", True)

from rdsim import codes, limits, retrieval, simulation, sources  # noqa: E402
from rdsim.certified import Certified  # noqa: E402

__all__ = ["Certified", "codes", "limits", "retrieval", "simulation", "sources"]
