"""Left halves of handwritten digits as queries for their right halves, beside the rank converse and predictions of them."""

from dataclasses import dataclass

import jax
import xarray

from experiments.runner import Check, Checkpoint, without_checkpoint
from experiments.shared import embedding_checks, pictures, predictions

CLAIMS = ("C1", "C4", "C27", "C29")


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


SMOKE = Config(bits=(2, 16), pairs=800)
QUICK = Config()
FULL = Config(bits=(2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128), learned=(2, 4, 8, 16))


def run(
    config: Config, key: jax.Array, checkpoint: Checkpoint = without_checkpoint
) -> xarray.Dataset:
    """Measure every system on the halves."""
    left, right = pictures.digit_halves(config.pairs)
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
    """Check that no system beats the converse, or that at the entropy of what it stores, and what was predicted."""
    return embedding_checks.checks(dataset) + predictions.checks(dataset)
