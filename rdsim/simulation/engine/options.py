"""How a run of trials is computed, and when it may stop: options that many simulations share."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import jax

from rdsim import validation
from rdsim.number_types import Integer
from rdsim.simulation.engine.exact_sums import MOST_TRIALS, mesh_of

if TYPE_CHECKING:
    File: TypeAlias = str | os.PathLike[str]
    Devices: TypeAlias = Sequence[jax.Device]
else:
    # A checker of types at run time lets everything through: it is checked below, by name.
    File = Devices = Any

_LARGEST_BLOCK: Final = 2**20
"""Most trials side by side; the sum over a block would stay exact up to 2^31 of them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run of trials is computed; only the block has to do with the digits of its result.

    Attributes:
        block: trials computed side by side, 1..2^20; None for a choice of the simulation, 256 unless it
            says otherwise. Floats of another block may round differently. Large on a GPU, small for
            trials that need much memory.
        chunk: most blocks that a device computes of each setting before it returns to the host,
            where checkpoints are written and interrupts seen; in one process fewer, where they take
            more than a few seconds. Changes no digit.
        devices: JAX devices to share the blocks; None for all devices of all processes.
        checkpoint: file to continue from and to write to; a symbolic link stays one, and several
            processes may share it. A run with more `trials` continues from the file of one with fewer.
            Written every checkpoint_seconds, at the end and on KeyboardInterrupt, in one step each time.
        checkpoint_seconds: least time between two writes, in seconds.
        progress: whether to show a bar with rate and remaining time on stderr (needs the package rich).

    """

    block: Integer | None = None
    chunk: Integer = 16
    devices: Devices | None = None
    checkpoint: File | None = None
    checkpoint_seconds: float | int = 10.0
    progress: bool = False

    def __post_init__(self) -> None:
        if self.block is not None:
            validation.integer("block", self.block, low=1, high=_LARGEST_BLOCK)
        validation.integer("chunk", self.chunk, low=1)
        if self.devices is not None:
            mesh_of(self.devices)
        validation.path("checkpoint", self.checkpoint)
        validation.interval("checkpoint_seconds", self.checkpoint_seconds, low=0.0, ndim=0)

    def with_block(self, block: int) -> "RunOptions":
        """Return the same options with this block, unless a block was chosen."""
        return self if self.block is not None else dataclasses.replace(self, block=block)

    @property
    def path(self) -> Path | None:
        """The checkpoint as a path."""
        return validation.path("checkpoint", self.checkpoint)


def checked_run(
    run: RunOptions | None,
    *,
    trials: Integer | None,
    target_width: float | Mapping[str, float] | None = None,
    cap: Integer | None = None,
    confidence: float,
) -> RunOptions:
    """Refuse what no run of trials could have, before anything is computed; arguments as in `run_trials`.

    Names of outcomes in a target_width are known only once a trial is traced.

    Returns:
        The options of the run, the default ones if none are given.

    """
    options: RunOptions = validation.instance(
        "run", RunOptions() if run is None else run, RunOptions
    )
    validation.open_unit("confidence", confidence)
    if (trials is None) == (target_width is None) or (target_width is None) != (cap is None):
        raise ValueError("give either trials, or target_width and cap")
    if trials is not None:
        validation.integer("trials", trials, low=2, high=MOST_TRIALS)
        return options
    widths = target_width.values() if isinstance(target_width, Mapping) else (target_width,)
    if not widths:
        raise ValueError("target_width names no outcome")
    for width in widths:
        validation.interval("target_width", width, low=0.0, open_low=True, ndim=0)
    validation.integer("cap", cap, low=2, high=MOST_TRIALS)
    return options
