"""Distortions and scores of letters as integers, on a lattice on which sums over a block are exact.

Entries are integer multiples of a step, exactly where they lie on a lattice and to 2^-50 of the largest sum elsewhere:
sums are then the same in any order, and ties are ties.
"""

import math
from typing import Final, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rdsim import validation
from rdsim.codes.codebook import MAX_LETTERS
from rdsim.number_types import ArrayLike

_EXACT_32, _EXACT_64 = 2.0**24, 2.0**50
"""Largest sums that float32 holds exactly, and that float64 does with three bits to spare."""
_ON_LATTICE: Final = 1e-12
"""Largest distance from the lattice that is taken for rounding, in steps of the lattice."""


class LetterTable(NamedTuple):
    """Distortions or scores of letters as integers of a step, relative to letter u = 0.

    Attributes:
        units: (d(y,u) - d(y,0)) / step for u >= 1, shape (|Y|, |U|-1), integers in float32
            where sums of n of them stay below 2^24, in float64 elsewhere.
        step: what one unit stands for, in the unit of the distortions.

    """

    units: Float[Array, "y u"]
    step: float


def distortion_table(distortions: ArrayLike) -> np.ndarray:
    """Check a table of distortions: finite, at most 256 letters on either side, apart or equal."""
    table = np.asarray(validation.bounded("distortions", distortions, ndim=2))
    if not 1 <= min(table.shape) <= max(table.shape) <= MAX_LETTERS:
        raise ValueError(
            f"distortions must have 1 to {MAX_LETTERS} letters on either side, got {table.shape}"
        )
    check_apart(table)
    return table


def check_apart(distortions: np.ndarray) -> None:
    """Check that distortions differ enough within a row for slopes to be numbers, or not at all."""
    largest = float(np.ptp(distortions, axis=1).max())
    if 0.0 < largest < validation.SMALLEST_DIFFERENCE:
        raise ValueError(
            f"distortions must differ by at least {validation.SMALLEST_DIFFERENCE:g} in some row, or not at all, for "
            f"slopes are their reciprocals: multiply them by a constant; got a largest difference of {largest:.3g}"
        )


def letter_table(table: np.ndarray, n: int) -> LetterTable:
    """Put a finite table on a lattice on which sums of n letters are exact."""
    relative = table[:, 1:] - table[:, :1]
    size = np.abs(relative)
    largest = size.max(initial=0.0)
    # The least difference is the step if all others are multiples of it; else a binary grid, so fine
    # that n entries just stay below 2^50 steps.
    step = size[size > _ON_LATTICE * largest].min(initial=math.inf)
    step = step if math.isfinite(step) else 1.0
    units = np.round(relative / step)
    on_lattice = np.abs(relative - units * step).max(initial=0.0) <= _ON_LATTICE * step
    if not on_lattice or n * np.abs(units).max(initial=0.0) >= _EXACT_64:
        step = 2.0 ** (math.ceil(math.log2(n * largest)) - math.log2(_EXACT_64))
        units = np.round(relative / step)
    small = n * np.abs(units).max(initial=0.0) < _EXACT_32
    units = units.astype(np.float32 if small else np.float64)
    return LetterTable(jnp.asarray(units, units.dtype), float(step))
