"""Left halves of handwritten digits as queries for their right halves, beside the rank converse."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, without_checkpoint
from experiments.shared import embedding_checks

CLAIMS = ("C4",)
_DIGITS: Final = Path(__file__).parent / "data" / "digits.npz"


@dataclass(frozen=True)
class Config:
    """What is computed."""

    bits: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    """Bits stored per item."""
    pairs: int | None = None
    """How many of the 1797 pairs to use; all by default."""
    held_out: float = 1 / 3
    """Fraction of the pairs that are ranked, and not used for fitting."""
    learned: tuple[int, ...] = ()
    """Bits of the learned code; none by default, for it takes minutes."""


SMOKE = Config(bits=(2, 8), pairs=300)
QUICK = Config()
FULL = Config(bits=(2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128), learned=(2, 4, 8, 16))


def halves(count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return left and right halves of the digits (see experiments/data/README.md), shape (N, 32) each."""
    with np.load(_DIGITS) as file:
        images = file["images"][:count].astype(float)
    return images[:, :, :4].reshape(len(images), -1), images[:, :, 4:].reshape(len(images), -1)


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Measure every system on the halves."""
    left, right = halves(config.pairs)
    return embedding_checks.measured(
        key,
        left,
        right,
        config.bits,
        learned=config.learned,
        held_out=config.held_out,
        checkpoint=checkpoint,
    )


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check that no system beats the converse, or that at the entropy of what it stores."""
    return embedding_checks.checks(dataset)
