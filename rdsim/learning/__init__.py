"""Learned systems measured against the limit: modules of flax.nnx, one training loop, exact points.

Learning runs in float32; what is reported of a learned system is computed in float64 from its exact
discrete code. Before anything is drawn or compiled, a number out of range or a wrong shape is refused by
a ValueError, a key, schedule, model or source of another type by a TypeError, each naming the argument;
exact points need float64 and raise a RuntimeError without it. It needs flax, optax and orbax: `pip install "rdsim[learning]"`.
"""

try:
    import flax  # noqa: F401
    import optax  # noqa: F401
    import orbax.checkpoint  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError(
        f'rdsim.learning needs {error.name}: pip install "rdsim[learning]"', name=error.name
    ) from error

from rdsim.learning import families, stochastic, training
from rdsim.learning.families import *
from rdsim.learning.held_out_points import HeldOutPoint, held_out_point
from rdsim.learning.operating_points import operating_point
from rdsim.learning.product_code import product_codes
from rdsim.learning.stacking import stacked_systems
from rdsim.learning.stochastic import *
from rdsim.learning.streaming import streamed_codes
from rdsim.learning.training import *

__all__ = [
    "HeldOutPoint",
    "held_out_point",
    "operating_point",
    "product_codes",
    "stacked_systems",
    "streamed_codes",
]
__all__ += families.__all__
__all__ += stochastic.__all__
__all__ += training.__all__
