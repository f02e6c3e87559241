"""Frontier: bits per item against retrieval loss, the tightest converse and exact random codes.

For the doubly symmetric binary source: no codewords of B bits per item have a loss below the converse, and
random codes of n letters come this close to it. Beside it the rank rate alone, which also holds for every other
notion of rate.
"""

from dataclasses import dataclass

import jax
import numpy as np
import xarray

from experiments.runner import Check, Checkpoint, without_checkpoint
from rdsim import codes, limits, sources

CLAIMS = ("C4", "C27")
LOSSES = ("reciprocal_rank", "error")


@dataclass(frozen=True)
class Config:
    """What is computed."""

    crossover: float = 0.1
    """Probability that a query bit differs from the item's."""
    block_lengths: tuple[int, ...] = (16, 32, 64, 128)
    """Letters in an item."""
    log2_sizes: tuple[int, ...] = (10, 20, 40)
    """log2 of the database sizes."""
    rates: tuple[float, ...] = tuple(2.0 ** (-k / 2) for k in range(14, -1, -1))
    """Bits per letter."""


SMOKE = Config(block_lengths=(16,), log2_sizes=(10,), rates=(0.25, 0.5, 1.0))
QUICK = Config()
FULL = Config(
    block_lengths=(16, 32, 64, 128, 256, 512, 1024),
    rates=tuple(2.0 ** (-k / 8) for k in range(80, -1, -1)),
)


def run(
    config: Config,
    key: jax.Array,  # noqa: ARG001
    checkpoint: Checkpoint = without_checkpoint,
) -> xarray.Dataset:
    """Compute the loss of random codes and the converses for every block length and size."""
    cells = [checkpoint(f"block-{n}", _block, config, n) for n in config.block_lengths]
    dims = ("block_length", "loss_name", "log2_size", "rate")
    losses = ("code_loss", "converse", "rank_rate")
    return xarray.Dataset(
        {
            **{name: (dims, np.stack([c[name] for c in cells]), {"units": "1"}) for name in losses},
            "bits": (
                ("block_length", "rate"),
                np.outer(config.block_lengths, config.rates),
                {"long_name": "bits per item", "units": "bits"},
            ),
        },
        coords={
            "block_length": list(config.block_lengths),
            "loss_name": list(LOSSES),
            "log2_size": list(config.log2_sizes),
            "rate": ("rate", list(config.rates), {"units": "bits per letter"}),
        },
        attrs={"crossover": config.crossover},
    )


def _block(config: Config, n: int) -> dict[str, np.ndarray]:
    rates = np.array(config.rates)
    bits = n * rates
    sizes = np.array(config.log2_sizes, float)[:, None]
    source = sources.dsbs(config.crossover)
    kept = n * np.asarray(limits.bottleneck_dsbs(config.crossover, rate=rates))
    code, rank_rate, converse = [], [], []
    for name in LOSSES:
        code.append(codes.dsbs_ensemble(config.crossover, sizes, name, n=n, rate=rates))
        rank_rate.append(limits.rank_loss(sizes, name, rate=kept).lower)
        bound = limits.retrieval_converse(source, sizes, name, bits=bits, letters=n)
        converse.append(bound.loss)
    return {
        "code_loss": np.array(code),
        "converse": np.array(converse),
        "rank_rate": np.array(rank_rate),
    }


def checks(dataset: xarray.Dataset) -> list[Check]:
    """Check that no code lies beyond the converse, nor the converse below the rank rate."""
    beaten = (dataset.converse - dataset.code_loss).max()
    looser = (dataset.rank_rate - dataset.converse).max()
    return [
        Check.at_most(
            "C27", "loss by which a random code beats the converse", "exact", beaten, 1e-9
        ),
        Check.at_most(
            "C4",
            "loss by which the tightest converse lies below the rank rate",
            "exact",
            looser,
            1e-6,
        ),
    ]
